"""What may go wrong on this machine or with a cluster file, looked at before anyone waits or pays for it."""

import os
import re
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import yaml

State = Literal["ok", "warning", "problem"]

LEAST_PYTHON = (3, 11)
LEAST_SHARED_MEMORY = 2 * 2**30
"""Bytes of /dev/shm: Ray's objects and the batches of loader processes lie there."""

LEAST_FREE_DISK = 20 * 2**30
LEAST_OPEN_FILES = 4096
"""Of a process; Ray's own advice for a head is 65,536."""

LONGEST_TEMPORARY_FOLDER = 60
"""Characters: Ray's sockets lie some 45 below it, and a socket's path may have 107."""

_NEWER_AUTOSCALER = "RAY_UP_enable_autoscaler_v2"
"""Of the launcher."""

_EDIT = re.compile(r"EDIT\b")
_SECRET = re.compile(r"AKIA[0-9A-Z]{16}|aws_secret_access_key|WANDB_API_KEY\s*[=:]\s*\S|-----BEGIN [A-Z ]*PRIVATE KEY")


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    mend: str = ""
    """What to do about it; empty when all is well."""


def check_machine(storage: Path) -> Iterator[Check]:
    """This machine, as training, Ray and Weights & Biases need it; ``storage`` is where a study would be kept."""
    yield _python()
    yield from _packages()
    yield _accelerators()
    yield _ray()
    yield _shared_memory(Path("/dev/shm"))
    yield _temporary_folder(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")
    yield _disk(storage)
    yield _open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield _wandb()


def check_cluster_file(path: Path) -> Iterator[Check]:
    """A launcher's file, as far as it can be checked without an account."""
    name = path.name
    try:
        text = path.read_text(encoding="utf-8")
        contents = list(yaml.safe_load_all(text))
    except (OSError, yaml.YAMLError) as error:
        mend = "give a file such as cluster.yaml"
        yield Check(name=name, state="problem", found=f"cannot be read: {error}", mend=mend)
        return
    content = contents[0] if contents else None
    if not isinstance(content, dict) or not ("provider" in content or content.get("kind") == "RayCluster"):
        mend = "start from cluster.yaml or clusters/"
        yield Check(name=name, state="problem", found="has no provider, and is no RayCluster", mend=mend)
        return
    yield _placeholders(name, text)
    yield _secrets(name, text)
    if "provider" not in content:
        yield from _kubernetes(content.get("spec") or {})
        return
    yield _token(name, text)
    yield _key_file(name, content)
    provider = str(content["provider"].get("type"))
    if provider == "aws":
        yield _aws_account(content["provider"].get("region"))
    if provider == "local" and os.environ.get(_NEWER_AUTOSCALER) != "0":
        yield Check(
            name="autoscaler",
            state="warning",
            found="Ray's newer autoscaler loses a machine of a fresh local cluster",
            mend=f"start it with: {_NEWER_AUTOSCALER}=0 ray up {path}",
        )


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < LEAST_PYTHON:
        return Check(name="python", state="problem", found=version, mend="install Python 3.11 or newer")
    return Check(name="python", state="ok", found=version)


def _packages() -> Iterator[Check]:
    for name in ("torch", "torchvision", "ray", "pycocotools", "optuna", "wandb"):
        try:
            yield Check(name=name, state="ok", found=metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Check(name=name, state="problem", found="not installed", mend="make venv, or pip install raystudy")


def _accelerators() -> Check:
    import torch

    if not torch.cuda.is_available():
        has_driver = Path("/proc/driver/nvidia/version").exists()
        if has_driver:
            mend = f"torch {torch.__version__} cannot use the driver: install the build for its CUDA version"
            return Check(name="gpu", state="problem", found="a driver, but no GPU that torch can use", mend=mend)
        return Check(name="gpu", state="ok", found="none: trials train on the CPU, which suits smoke and demo only")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    nccl = torch.distributed.is_available() and torch.distributed.is_nccl_available()
    found = f"{len(names)} x {names[0]}, NCCL {'there' if nccl else 'missing'}"
    mend = "" if nccl or len(names) == 1 else "several GPUs a trial need a torch build with NCCL"
    return Check(name="gpu", state="problem" if mend else "ok", found=found, mend=mend)


def _ray() -> Check:
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        count = len(os.sched_getaffinity(0))
        return Check(name="ray", state="ok", found=f"a local one is started for a study, with {count} CPUs")
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    if not (token.is_file() or "RAY_AUTH_TOKEN" in os.environ):
        return Check(
            name="ray",
            state="warning",
            found=f"cluster {address}, and no token",
            mend=f"a cluster that asks for one refuses you: copy its token to {token} (mode 600)",
        )
    return Check(name="ray", state="ok", found=f"cluster {address}, with a token")


def _shared_memory(folder: Path) -> Check:
    size = shutil.disk_usage(folder).total if folder.is_dir() else 0
    if size < LEAST_SHARED_MEMORY:
        return Check(
            name="shared memory",
            state="warning",
            found=f"{folder} has {size / 2**30:.1f} GiB",
            mend="Ray's objects spill to the disk; in Docker, start the container with --shm-size=8g",
        )
    return Check(name="shared memory", state="ok", found=f"{folder} has {size / 2**30:.1f} GiB")


def _temporary_folder(folder: str) -> Check:
    if len(folder) > LONGEST_TEMPORARY_FOLDER:
        return Check(
            name="temporary folder",
            state="problem",
            found=f"{folder} has {len(folder)} characters",
            mend=f"Ray's sockets do not fit below it: export RAY_TMPDIR=/tmp/ray (at most {LONGEST_TEMPORARY_FOLDER})",
        )
    return Check(name="temporary folder", state="ok", found=folder)


def _disk(storage: Path) -> Check:
    there = next(folder for folder in (storage, *storage.parents) if folder.is_dir())
    if not os.access(there, os.W_OK):
        return Check(name="storage", state="problem", found=f"{there} cannot be written", mend="give another --storage")
    free = shutil.disk_usage(there).free
    found = f"{storage}: {free / 2**30:.0f} GiB free"
    if free < LEAST_FREE_DISK:
        mend = "enough for smoke and demo; `--plan` says what a study takes"
        return Check(name="storage", state="warning", found=found, mend=mend)
    return Check(name="storage", state="ok", found=found)


def _open_files(limit: int) -> Check:
    if limit < LEAST_OPEN_FILES:
        mend = "Ray may run out of them: ulimit -n 65536"
        return Check(name="open files", state="warning", found=f"at most {limit} a process", mend=mend)
    return Check(name="open files", state="ok", found=f"at most {limit} a process")


def _wandb() -> Check:
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    has_key = bool(os.environ.get("WANDB_API_KEY")) or (netrc.is_file() and "wandb" in netrc.read_text(errors="ignore"))
    if has_key:
        return Check(name="weights & biases", state="ok", found="a key is there")
    return Check(
        name="weights & biases",
        state="ok",
        found="no key: needed for --wandb only; `wandb login` stores one, --wandb-offline needs none",
    )


def _placeholders(name: str, text: str) -> Check:
    lines = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if _EDIT.search(line.split("#")[0]) and not line.lstrip().startswith("#")
    ]
    if lines:
        shown = ", ".join(map(str, lines))
        mend = "put your own values there" + ("; clusters/prepare_aws.py prints them" if name == "cluster.yaml" else "")
        return Check(name=name, state="problem", found=f"EDIT is still in line {shown}", mend=mend)
    return Check(name=name, state="ok", found="every line that is marked was edited")


def _secrets(name: str, text: str) -> Check:
    found = [str(number) for number, line in enumerate(text.splitlines(), 1) if _SECRET.search(line)]
    if found:
        mend = "Ray copies the file to the head and prints its commands: mount a file of mode 600 instead"
        return Check(name="secrets", state="problem", found=f"line {', '.join(found)} looks like one", mend=mend)
    return Check(name="secrets", state="ok", found="none in the file")


def _token(name: str, text: str) -> Check:
    token = Path("~/.ray/auth_token").expanduser()
    if "RAY_AUTH_MODE=token" not in text:
        mend = "anybody who reaches a port may run code there: export RAY_AUTH_MODE=token before each `ray start`"
        return Check(name="token", state="problem", found=f"{name} starts Ray without one", mend=mend)
    if not token.is_file():
        mend = f"ray get-auth-token --generate; chmod 600 {token}; export RAY_AUTH_MODE=token"
        return Check(name="token", state="problem", found=f"{token} is not there", mend=mend)
    if token.stat().st_mode & 0o077:
        return Check(name="token", state="problem", found=f"{token} can be read by others", mend=f"chmod 600 {token}")
    return Check(name="token", state="ok", found=f"{token}, for you alone")


def _kubernetes(spec: dict[str, Any]) -> Iterator[Check]:
    if (spec.get("authOptions") or {}).get("mode") == "token":
        yield Check(name="token", state="ok", found="the operator makes one and keeps it as a Secret")
    else:
        mend = "anybody who reaches a port may run code there: authOptions: {mode: token}"
        yield Check(name="token", state="problem", found="none is asked for", mend=mend)
    there, here = str(spec.get("rayVersion")), metadata.version("ray")
    mend = "" if there == here else f"a job from here wants the same: rayVersion: {here}"
    yield Check(name="ray version", state="problem" if mend else "ok", found=there, mend=mend)


def _key_file(name: str, content: dict[str, Any]) -> Check:
    key = content.get("auth", {}).get("ssh_private_key")
    if key is None:
        return Check(name="ssh key", state="ok", found="Ray makes one")
    if not Path(key).expanduser().is_file():
        return Check(name="ssh key", state="problem", found=f"{key} is not there", mend=f"name yours in {name}, auth")
    return Check(name="ssh key", state="ok", found=str(key))


def _aws_account(region: Any, connect: Callable[..., Any] | None = None) -> Check:
    try:
        if connect is None:
            import boto3

            connect = boto3.client
        identity = connect("sts", region_name=region).get_caller_identity()
    except ImportError:
        mend = 'the launcher needs it: pip install -c constraints.txt -e ".[aws]"'
        return Check(name="aws account", state="problem", found="boto3 is not installed", mend=mend)
    except Exception as error:  # of botocore, which has no common base for what may be wrong with credentials
        mend = "aws configure, or aws sso login"
        return Check(name="aws account", state="problem", found=str(error).strip(), mend=mend)
    return Check(name="aws account", state="ok", found=f"{identity['Arn']} in {region}")
