"""How commands end and what they answer: exit statuses, mistakes, tracebacks, JSON, colours."""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from raystudy.cli import main, make_parser
from raystudy.commands.frame import DEBUG_VARIABLE, guarded, print_json
from raystudy.errors import SpecError

ROOT = Path(__file__).resolve().parents[2]


def raises(error: BaseException) -> argparse.Namespace:
    """A command that ends with an error, as ``guarded`` gets it."""

    def function(options: argparse.Namespace) -> int:
        raise error

    return argparse.Namespace(function=function)


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (SpecError("norm is 'x'"), 2, "raystudy: norm is 'x'\n"),
        (PermissionError(13, "Permission denied", "/locked"), 2, "raystudy: /locked: Permission denied\n"),
        (KeyError("lost"), 3, "raystudy: unexpected KeyError: 'lost' (test_frame.py, line "),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_has_its_exit_status_and_a_line_but_no_traceback(
    error: BaseException, status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = raises(error)
    assert guarded(options.function, options) == status
    printed = capsys.readouterr().err
    assert printed.startswith(told)
    assert "Traceback" not in printed


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_debugging_shows_the_traceback_of_a_mistake_too(
    by: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = raises(SpecError("norm is 'x'"))
    if by == "flag":
        options.debug = True
    else:
        monkeypatch.setenv(DEBUG_VARIABLE, "1")
    assert guarded(options.function, options) == 2
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert printed.endswith("raystudy: norm is 'x'\n")


@pytest.mark.parametrize("arguments", [["--debug", "status", "nowhere"], ["status", "nowhere", "--debug"]])
def test_the_flag_may_stand_before_and_after_the_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_has_read_enough_is_no_mistake() -> None:
    command = f"{sys.executable} -m raystudy plan experiments/schedule_length.py --preset paper --json | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "{", "")


def test_an_unknown_flag_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["status", "runs", "--no-such-flag"])
    assert ended.value.code == 2


def test_every_command_says_what_it_does_and_shows_examples_of_itself() -> None:
    parser = make_parser()
    (added,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name, command in added.choices.items():
        text = command.format_help()
        examples = re.findall(rf"(?m)^  (?:eval \"\$\()?raystudy {name}\b", text.split("examples:")[-1])
        assert examples, f"no example in the help of {name}"
        assert command.description, name
        silent = [action.dest for action in command._actions if not action.help]
        assert silent == [], f"flags of {name} without help"


def test_examples_in_the_help_can_be_given() -> None:
    parser = make_parser()
    (added,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    lines = [
        line.split()[1:]
        for command in added.choices.values()
        for line in str(command.epilog).splitlines()
        if line.startswith("  raystudy ") and not re.search(r"[|>]", line)
    ]
    assert len(lines) > 20
    for line in lines:
        parser.parse_args(line)


def test_numbers_that_are_not_finite_are_null_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"metrics": {"box_ap": float("nan"), "loss": 1.5}, "list": [float("inf"), 1], "path": Path("a")})
    found = json.loads(capsys.readouterr().out)
    assert found == {"metrics": {"box_ap": None, "loss": 1.5}, "list": [None, 1], "path": "a"}


def documented_keys(command: str) -> list[str]:
    """The keys that docs/commands.md names for a command's JSON."""
    page = (ROOT / "docs" / "commands.md").read_text()
    (line,) = (line for line in page.splitlines() if line.startswith(f"| `{command}` |") and line.count("|") == 3)
    return re.findall(r"`([a-z_]+)`", line.split("|")[2].split(":")[0])


@pytest.mark.parametrize(
    ("command", "arguments", "status"),
    [
        ("plan", ["experiments/schedule_length.py", "--preset", "smoke", "--budget", "1h"], 2),
        ("plan", ["experiments/schedule_length.py", "--preset", "smoke"], 0),
        ("inspect", ["nowhere"], 1),
    ],
)
def test_json_is_all_that_is_printed_and_has_the_documented_keys(
    command: str,
    arguments: list[str],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(ROOT / word) if word.startswith("experiments/") else word for word in arguments]
    monkeypatch.chdir(tmp_path)
    assert main([command, *arguments, "--json"]) == status
    printed = capsys.readouterr().out
    if status == 2:
        assert printed == ""
        return
    assert list(json.loads(printed)) == documented_keys(command)


def test_the_plan_for_programs_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(ROOT / "experiments/schedule_length.py"), "--preset", "smoke", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert sum(one["end"] - one["start"] for one in plan["segments"]) == plan["iterations"]["shared"]
    assert sum(one["iterations"] for one in plan["trials"]) == plan["iterations"]["naive"]
    known = {one["segment_id"] for one in plan["segments"]}
    assert {name for one in plan["trials"] for name in one["segments"]} == known
    assert plan["cost"] is None


@pytest.mark.parametrize(
    ("variables", "is_coloured"), [({"FORCE_COLOR": "1"}, True), ({"NO_COLOR": "1"}, False), ({}, False)]
)
def test_colours_are_for_terminals_and_for_who_wants_them(variables: dict[str, str], is_coloured: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
    code = "from raystudy.console import make_console; make_console().print('[red]x[/red]')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | variables, capture_output=True, text=True, check=True
    )
    assert ("\x1b[" in done.stdout) == is_coloured
