"""What is built: a source distribution with all of the project, a wheel with what runs, both with the commit."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ONLY_IN_GIT = (".ci/", ".gitignore")


def run(*command: str, cwd: Path, **variables: str) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=os.environ | variables, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def build(kind: str, source: Path, target: Path) -> Path:
    """What `pip` and `build` ask setuptools for, without a network."""
    code = f"from setuptools import build_meta; print('built', build_meta.build_{kind}({str(target)!r}))"
    return target / run(sys.executable, "-c", code, cwd=source).splitlines()[-1].removeprefix("built ")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the working tree as it is, with leftovers that no distribution should have."""
    folder = tmp_path_factory.mktemp("packaging") / "checkout"
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in (name for name in listed if (ROOT / name).is_file()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    run("git", "init", "-q", cwd=folder)
    run("git", "add", ".", cwd=folder)
    run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "-m", "all", cwd=folder)
    (folder / "runs").mkdir()
    (folder / "runs" / "weights.pt").touch()
    (folder / "raystudy" / "__pycache__").mkdir(exist_ok=True)
    (folder / "raystudy" / "__pycache__" / "cli.pyc").touch()
    return folder


@pytest.fixture(scope="module")
def sdist(checkout: Path) -> Path:
    return build("sdist", checkout, checkout.parent)


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """Built as pip builds from PyPI: from the source distribution, where there is no git."""
    with tarfile.open(sdist) as archive:
        archive.extractall(sdist.parent, filter="data")
    return build("wheel", sdist.parent / sdist.name.removesuffix(".tar.gz"), sdist.parent)


def tracked(checkout: Path) -> set[str]:
    return set(run("git", "ls-files", cwd=checkout).splitlines())


def test_a_source_distribution_has_all_of_the_project_and_nothing_else(checkout: Path, sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    made = {name for name in names if name.startswith("raystudy.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    wanted = {name for name in tracked(checkout) if not name.startswith(ONLY_IN_GIT)} | {"raystudy/commit.txt"}
    assert wanted - names == set()
    assert names - wanted - made == set()


def test_a_wheel_has_both_packages_and_nothing_else(checkout: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {name for name in tracked(checkout) if name.startswith(("raystudy/", "analysis/"))}
    assert names == wanted | {"raystudy/commit.txt"}


def test_an_installed_wheel_says_its_commit_even_inside_another_repository(
    checkout: Path, wheel: Path, tmp_path: Path
) -> None:
    run("git", "init", "-q", cwd=tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    said = run(sys.executable, "-m", "raystudy", "--version", cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    commit = run("git", "describe", "--always", "--exclude=*", cwd=checkout)
    assert said == f"raystudy {wheel.name.split('-')[1]} ({commit})"
