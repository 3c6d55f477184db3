"""Completion, asked of a real bash, and what the scripts for other shells say; those are asked in ``test_shells``."""

import subprocess
import sys
from pathlib import Path

import pytest

from raystudy.cli import main


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "raystudy.bash"
    command = [sys.executable, "-m", "raystudy", "completion", "bash"]
    path.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    return path


def completed(script: Path, folder: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words, in a folder."""
    lines = [
        'source "$1"',
        "shift",
        'COMP_WORDS=("$@")',
        "COMP_CWORD=$(($# - 1))",
        "_raystudy",
        'printf "%s\\n" "${COMPREPLY[@]}"',
    ]
    command = ["bash", "-c", "\n".join(lines), "bash", str(script), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("raystudy", "sta"), ["status"]),
        (("raystudy", "wandb-"), ["wandb-sync", "wandb-view"]),
        (("raystudy", "--debug", "pl"), ["plan"]),
        (("raystudy", "run", "study.yaml", "--sche"), ["--schedules"]),
        (("raystudy", "run", "--preset", ""), ["smoke", "demo", "paper"]),
        (("raystudy", "predict", "--device", "cu"), ["cuda"]),
        (("raystudy", "status", "--json"), ["--json"]),
        (("raystudy", "completion", "f"), ["fish"]),
        (("raystudy", "plan", "st"), ["study.yaml"]),
        (("raystudy", "nothing", "st"), []),
    ],
)
def test_bash_completes(words: tuple[str, ...], offered: list[str], script: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").touch()
    assert completed(script, tmp_path, *words) == offered


@pytest.mark.parametrize(
    ("shell", "lines"),
    [
        ("zsh", ["#compdef raystudy", "'--preset[the scale (default demo)]:value:(smoke demo paper)'"]),
        ("fish", ["-n '__fish_seen_subcommand_from run' -l preset -x -a 'smoke demo paper'"]),
    ],
)
def test_other_shells_get_every_command_and_value(
    shell: str, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert [line for line in lines if line not in printed] == []
    assert [word for word in ("status", "wandb-sync", "calibrate", "completion") if word not in printed] == []
