"""Every command of the documentation is one that can be given."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from raystudy import cli

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))


def commands() -> list[str]:
    """Each line of the documents' bash blocks, without comments and without the environment's prefix."""
    blocks = [block for path in DOCUMENTS for block in re.findall(r"```bash\n(.*?)```", path.read_text(), re.DOTALL)]
    lines = [re.sub(r"\s+#.*", "", line) for block in blocks for line in block.splitlines()]
    return sorted({line.removeprefix(".venv/bin/") for line in lines if line.strip()})


def check(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when the command does not exist or does not take its arguments; nothing is trained."""
    match words:
        case ["make", *targets]:
            makefile = (ROOT / "Makefile").read_text()
            targets = [target for target in targets if "=" not in target]
            assert all(re.search(rf"(?m)^{target}:", makefile) for target in targets), f"no target among {targets}"
        case ["python", script, *flags] if script.startswith("experiments/"):
            check_experiment(script, flags, monkeypatch)
        case ["python", script, *flags]:
            subprocess.run([sys.executable, script, "--help"], cwd=ROOT, check=True, capture_output=True)
            known = (ROOT / script).read_text()
            assert all(f'"{flag}"' in known for flag in flags if flag.startswith("--"))
        case ["raystudy", *rest]:
            monkeypatch.setattr(cli, "guarded", lambda function, options: 0)
            assert cli.main(rest) == 0
        case ["ray", "job", "submit", *rest]:
            check(rest[rest.index("--") + 1 :], monkeypatch)
        case ["ray", "up" | "down" | "dashboard", file]:
            assert (ROOT / file).is_file()
        case ["eval", substituted]:
            check(shlex.split(substituted.removeprefix("$(").removesuffix(")")), monkeypatch)
        case ["ray", "get-auth-token", "--generate"] | ["export", _] | ["chmod", "600", _]:
            pass
        case ["for", *_]:  # over machines that are not here
            subprocess.run(["bash", "-n", "-c", " ".join(words)], check=True)
        case ["pip", "install", "-c", constraints, "-e", extra]:
            assert (ROOT / constraints).is_file()
            name = extra.removeprefix(".[").removesuffix("]")
            assert re.search(rf"(?m)^{name} = ", (ROOT / "pyproject.toml").read_text())
        case _:
            pytest.fail(f"no rule for {words}: add one here")


def check_experiment(script: str, flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if "--plan" in flags and not any(flag.startswith("path/to/") for flag in flags):
        subprocess.run([sys.executable, script, *flags], cwd=ROOT, check=True, capture_output=True)
        return
    monkeypatch.setattr(cli, "guarded", lambda function, options: 0)
    spec = importlib.util.spec_from_file_location(Path(script).stem, ROOT / script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    with pytest.raises(SystemExit) as ended:
        cli.experiment(module.study, flags)
    assert ended.value.code == 0


@pytest.mark.parametrize("command", commands())
def test_the_command_can_be_given(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(shlex.split(command), monkeypatch)


@pytest.mark.parametrize(
    "command",
    [
        "make nothing",
        "python experiments/schedule_length.py --no-such-flag",
        "raystudy nothing",
        "ray up nothing.yaml",
        'pip install -c constraints.txt -e ".[nothing]"',
    ],
)
def test_a_wrong_command_is_seen(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((AssertionError, SystemExit)):
        check(shlex.split(command), monkeypatch)


def test_the_two_commands_are_there() -> None:
    assert {"make study", "python experiments/schedule_length.py --preset smoke"} <= set(commands())


def test_the_tree_in_the_readme_exists() -> None:
    tree = (ROOT / "README.md").read_text().split("## Where things are")[1].split("```")[1]
    folder = ROOT
    for line in tree.strip().splitlines():
        names = re.match(r"\s*((?:[\w.]+/?\s)+)", line + " ")
        assert names is not None, line
        for name in names[1].split():
            if not re.search(r"[./]", name):
                break  # the description begins
            assert ((ROOT / "raystudy" if line.startswith("  ") else folder) / name).exists(), name
