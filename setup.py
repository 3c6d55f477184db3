"""Keeps the commit in what is built, so that results can name it without a checkout; all else is in pyproject.toml."""

import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
KEPT = Path("raystudy") / "commit.txt"
"""Read by ``raystudy.api.commit``."""


def commit() -> str:
    """Of this checkout; of an unpacked sdist, what it has kept; else ``unknown``."""
    if (HERE / KEPT).is_file():
        return (HERE / KEPT).read_text().strip()
    if not (HERE / ".git").exists():  # some other repository may be above
        return "unknown"
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class BuildWithCommit(build_py):
    """Into a wheel; an editable installation asks its checkout."""

    def run(self) -> None:
        """Build, then keep."""
        super().run()
        if not self.editable_mode:
            (Path(self.build_lib) / KEPT).write_text(commit() + "\n")


class SdistWithCommit(sdist):
    """Into a source distribution."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Gather, then keep."""
        super().make_release_tree(base_dir, files)
        (Path(base_dir) / KEPT).write_text(commit() + "\n")


setup(cmdclass={"build_py": BuildWithCommit, "sdist": SdistWithCommit})
