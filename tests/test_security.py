"""What SECURITY.md says of our own code: nothing that it reads could run, no shell is fed, no key is written down."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from raystudy.api import study_record
from raystudy.spec.plan import make_plan
from raystudy.spec.study import StudySpec
from raystudy.store import Store
from tests.cluster.without_ray import run_here
from tests.tiny_trials import tiny_trial

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("raystudy", "analysis", "experiments", "benchmarks", "clusters", "notebooks")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

FORBIDDEN = {
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "cloudpickle.load",
    "cloudpickle.loads",
    "ray.cloudpickle.loads",
    "yaml.load",
    "yaml.unsafe_load",
    "eval",
    "exec",
    "os.system",
    "os.popen",
}
"""Calls that run what a file or a text says."""

SECRETS = {
    "WANDB_API_KEY": "5ecre7wandb" * 4,
    "AWS_SECRET_ACCESS_KEY": "5ecre7aws" * 4,
    "AWS_SESSION_TOKEN": "5ecre7session" * 4,
    "RAY_AUTH_TOKEN": "5ecre7ray" * 4,
    "HF_TOKEN": "5ecre7hub" * 4,
}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a module by its dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield ast.unparse(node.func), node


def is_true(call: ast.Call, keyword: str) -> bool:
    """Whether a call says ``keyword=True`` itself."""
    given = [word.value for word in call.keywords if word.arg == keyword]
    return bool(given) and isinstance(given[0], ast.Constant) and given[0].value is True


def problems(text: str) -> list[str]:
    """The calls of a module that could run what a file says."""
    found = []
    for name, call in calls(ast.parse(text)):
        if name == "torch.load" and not is_true(call, "weights_only"):
            found.append(f"line {call.lineno}: torch.load without weights_only=True")
        if name in ("np.load", "numpy.load") and is_true(call, "allow_pickle"):
            found.append(f"line {call.lineno}: arrays with pickle")
        if name in FORBIDDEN or is_true(call, "shell"):
            found.append(f"line {call.lineno}: {name}")
    return found


@pytest.mark.parametrize(
    "text",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "pickle.load(stream)",
        "yaml.load(text, Loader=yaml.Loader)",
        "subprocess.run(line, shell=True)",
    ],
)
def test_what_would_run_is_seen(text: str) -> None:
    assert problems(text)


def test_nothing_is_read_in_a_way_that_could_run_it() -> None:
    assert len(FILES) > 100
    found = {str(path.relative_to(ROOT)): problems(path.read_text()) for path in FILES}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_the_only_unpickler_admits_arrays_and_nothing_else() -> None:
    importing = [
        str(path.relative_to(ROOT))
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any("Unpickler" in ast.unparse(base) for base in node.bases)
    ]
    assert importing == ["raystudy/models/detectron_file.py"]


def test_no_key_of_the_environment_is_written_by_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    study = StudySpec(name="keys", question="Are any kept?", base=tiny_trial(total=4, before_end=2))
    plan = make_plan(study.trials())
    run_here(plan, tmp_path / "s")
    Store.open(tmp_path / "s").write_study(study.name, study_record(study, plan))
    written = [path for path in (tmp_path / "s").rglob("*") if path.is_file()]
    assert len(written) > 5
    for path in written:
        content = path.read_bytes()
        assert not [name for name, secret in SECRETS.items() if secret.encode() in content], path
