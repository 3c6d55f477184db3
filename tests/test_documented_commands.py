"""Every command of the documentation is given here, word for word, in the order in which somebody reads it.

They share one folder, so that what one makes is there for the next: `report` after a study, `predict` after `export`.
So that they end soon, the presets are tiny (``tests.newcomer``) and nothing starts a Ray (``tests.in_this_process``):
that scripts run on a real one, in their smoke preset, is tested in ``tests.test_experiments``.
"""

import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from raystudy import cli
from tests.documents import documented
from tests.in_this_process import without_ray
from tests.newcomer import settle_in, shrink_presets

CHANGED = (
    (r"(s3://my-bucket|/shared)/coco", "path/to/coco"),
    (r"(s3://my-bucket|/shared)/study", "runs/study"),
    (r"\bTRIAL\b", "tiny-gn-random-f100-6x-s0"),
    (r"\bSTORAGE\b", "runs/demo"),
    (r" --trials 20\b", " --trials 2"),
    (r"(small_data_search.* --preset) demo", r"\1 smoke"),  # of which a trial is shorter
    (r"--data (COCO|DATA)\b", "--data path/to/coco --plan"),  # what the table of experiments names is planned here
    (r"--data VOCDEVKIT\b", "--data path/to/VOCdevkit --plan"),
    (r"--pretrain-data IMAGENET\b", "--pretrain-data path/to/imagenet"),
    (r" --weights [A-Z0-9]+_[A-Z_]+", ""),
)
"""What is not given as it stands: pattern and replacement."""

NOT_GIVEN = {
    r"git clone|pip (install|freeze)|make (venv|bench|docs|test|lint)\b": "makes or measures a whole environment",
    r"ray (up|down|dashboard|job submit$|job logs)": "needs machines; tests/real_cluster does it",
    r"for worker in": "needs machines; tests/real_cluster does it",
    r"python clusters/prepare_aws.py": "needs an account of AWS; tests/cluster/test_cluster_yaml.py has the parts",
    r"raystudy wandb-|wandb ": "needs an account; tests/cluster/test_tracking_*.py use a stand-in",
    r".* --weights torchvision": "needs the network; tests/models has the files' form",
    r".* --workers 2": "needs a cluster; tests/cluster/test_two_workers.py",
    r"python (-m benchmarks|benchmarks/chaos.py)": "measures for minutes; tests/benchmarks has the parts",
    r"raystudy (COMMAND|run SCRIPT|run experiments/X.py|run …)": "stands for many commands",
    r".* --live": "goes on until it is ended; tests/commands/test_storage.py",
}
"""Beginning of a command -> why it is not given."""

IN_A_SHELL = ("ray", "chmod", "export", "eval")
MAY_FIND_PROBLEMS = "raystudy doctor"
"""Its exit status says what it finds of this machine, or of a cluster file that nobody has edited."""


def reason_against(command: str) -> str | None:
    """Why a command is not given; None when it is."""
    return next((reason for pattern, reason in NOT_GIVEN.items() if re.match(pattern, command)), None)


def given(command: str, home: Path) -> int | str | None:
    """The exit status of a command of the documentation."""
    for pattern, replacement in CHANGED:
        command = re.sub(pattern, replacement, command)
    words = shlex.split(command)
    match words:
        case ["make", *_]:
            return _make(words, home)
        case ["python", script, *flags]:
            return _script(script, flags)
        case ["raystudy", *flags]:
            with contextlib.suppress(SystemExit):
                return cli.main(flags)
            return "refused"
        case ["ray", "job", "submit", *_]:
            return given(shlex.join(words[words.index("--") + 1 :]), home)
        case [program, *_] if program in IN_A_SHELL:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            environment = os.environ | {"HOME": str(home), "PATH": path}
            return subprocess.run(
                ["bash", "-ec", command], check=False, env=environment, capture_output=True
            ).returncode
    return "no rule gives it: add one, or a reason against it"


def _make(words: list[str], home: Path) -> int | str | None:
    """The lines that a target stands for, given one by one."""
    of_another_make = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARGS")  # such as `make test`, which may run this
    environment = {name: value for name, value in os.environ.items() if name not in of_another_make}
    command = ["make", "--dry-run", "--no-print-directory", *words[1:]]
    listed = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    lines = [line.removeprefix(".venv/bin/") for line in listed.stdout.splitlines()]
    if listed.returncode:
        return listed.stderr
    return next((status for status in (given(line, home) for line in lines) if status), 0)


def _script(script: str, flags: list[str]) -> int | str | None:
    if not Path(script).is_file():
        return "there is no such script"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *flags])
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as ended:
            return ended.code
    return 0


def outcome(command: str, home: Path) -> str:
    """What is wrong with a command; empty when nothing is."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = given(command, home)
    if not status or (status == 1 and command.startswith(MAY_FIND_PROBLEMS)):
        return ""
    return f"{command}: {status}\n{said.getvalue()[-1500:]}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where somebody has followed the documentation up to here."""
    place = tmp_path_factory.mktemp("newcomer")
    settle_in(place)
    return place


def is_trained_elsewhere(command: str, document: str) -> bool:
    """Scripts in the table of experiments are run by ``tests.test_experiments``, but for the data that they name."""
    return document == "experiments/README.md" and not re.search("--(data|plan|crossover)|benchmarks", command)


def test_every_command_works_as_it_stands(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("RAYSTUDY_CACHE", str(home / "cache"))
    shrink_presets(monkeypatch)
    failures = []
    with without_ray():
        for command, document in documented().items():
            if reason_against(command) is None and not is_trained_elsewhere(command, document):
                failures += [f"{document}: {told}" for told in [outcome(command, home)] if told]
    assert not failures, "\n\n".join(failures)


def test_no_exception_is_left_over() -> None:
    commands = documented()
    patterns = [*NOT_GIVEN, *(pattern for pattern, _ in CHANGED)]
    assert [pattern for pattern in NOT_GIVEN if not any(re.match(pattern, command) for command in commands)] == []
    assert [pattern for pattern in patterns if not any(re.search(pattern, command) for command in commands)] == []
    assert [command for command in IN_A_SHELL if not any(given.startswith(command) for given in commands)] == []


@pytest.mark.parametrize(
    "command",
    [
        "make nothing",
        "docker run raystudy",
        "python experiments/nothing.py",
        "python experiments/schedule_length.py --no-such-flag",
        "python experiments/schedule_length.py --preset paper --storage runs/paper",
        "raystudy nothing",
        "raystudy status runs/nothing",
        "chmod 600 nothing",
    ],
)
def test_a_command_that_does_not_work_is_seen(command: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    shrink_presets(monkeypatch)
    assert reason_against(command) is None
    assert outcome(command, home) != ""


def test_the_two_commands_of_the_readme_are_there() -> None:
    assert {"make study", "python experiments/schedule_length.py --preset smoke"} <= documented().keys()
