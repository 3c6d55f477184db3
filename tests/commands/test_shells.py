"""Completion in zsh and fish, asked of the shells themselves where they are installed."""

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from raystudy.cli import main

PATIENCE_S = 30.0
ASKED = [
    ("raystudy sta", "raystudy status"),
    ("raystudy --debug pl", "raystudy --debug plan"),
    ("raystudy --vers", "raystudy --version"),
    ("raystudy run --sche", "raystudy run --schedules"),
    ("raystudy run study.yaml --sche", "raystudy run study.yaml --schedules"),
    ("raystudy predict --device cu", "raystudy predict --device cuda"),
    ("raystudy completion f", "raystudy completion fish"),
    ("raystudy plan stu", "raystudy plan study.yaml"),
    ("raystudy nothing pla", "raystudy nothing pla"),
]
"""What is typed before the tab, and what it becomes."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of somebody with a study's file."""
    (tmp_path / "study.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What `raystudy completion SHELL` prints; skips where the shell is not."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def zsh(path: Path, lines: list[str]) -> list[str]:
    """What an interactive zsh makes of lines when tab is pressed at their ends."""
    process, terminal = pty.fork()
    if process == 0:
        os.execvp("zsh", ["zsh", "-f", "-i"])
    begin = f"PS1=; autoload -Uz compinit; compinit -u -D; source {path}; bindkey '^I' complete-word"
    _type(terminal, f"{begin}; print RE''ADY\n")
    _read(terminal, "\nREADY")
    completed = []
    for line in lines:
        _type(
            terminal, f"{line}\t\x01print -r 'GO''T:\x05:END'\n"
        )  # ^A and ^E: what is there now is quoted, and printed
        said = _read(terminal, ":END\r\n", after="\nGOT:")
        completed.append(said.rsplit("\nGOT:", 1)[1].split(":END")[0].strip())
    os.close(terminal)
    os.waitpid(process, 0)
    return completed


def _type(terminal: int, text: str) -> None:
    os.write(terminal, text.encode())


def _read(terminal: int, until: str, after: str = "") -> str:
    said, end = "", time.monotonic() + PATIENCE_S
    while until not in said[max(0, said.find(after)) :] or after not in said:
        assert time.monotonic() < end, f"zsh says no {until!r}: {said!r}"
        if select.select([terminal], [], [], 0.1)[0]:
            said += os.read(terminal, 65536).decode(errors="replace")
    return said


def test_zsh_completes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "raystudy.zsh"
    path.write_text(script("zsh", capsys))
    typed = [line for line, _ in ASKED]
    assert list(zip(typed, zsh(path, typed), strict=True)) == ASKED


def test_fish_completes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "raystudy.fish"
    path.write_text(script("fish", capsys))
    asked = "\n".join(f"echo :; complete -C '{line}' | string replace -r '\\t.*' ''" for line, _ in ASKED)
    command = ["fish", "--no-config", "-c", f"source {path}\n{asked}\ntrue"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert done.stderr == ""
    offered = [answer.split() for answer in done.stdout.split(":\n")[1:]]
    expected = [[] if typed == becomes else [becomes.split()[-1]] for typed, becomes in ASKED]
    assert offered == expected
