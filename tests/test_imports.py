"""Imports go one way only: the arrows of CONTRIBUTING.md, checked on every import statement of the project."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

BASE = {"errors", "records", "provenance", "spec", "store", "segment_store", "search_records", "atomic"}
BASE |= {"files", "lineage", "segment_look", "finished", "evaluations", "exported"}
MIDDLE = {"data", "models", "evaluation"}
MAY_IMPORT = {
    **dict.fromkeys(BASE, BASE),
    **dict.fromkeys(MIDDLE, BASE | MIDDLE),
    "training": BASE | MIDDLE | {"training"},
    "cluster": BASE | MIDDLE | {"training", "cluster"},
    "analysis": BASE | {"analysis"},
    "console": BASE | {"console"},
    "live_tree": BASE | {"live_tree"},
    "live_view": BASE | {"console", "live_tree", "live_view"},
    "api": BASE | MIDDLE | {"training", "cluster", "analysis", "console", "live_view", "api"},
    "crossover": BASE | {"cluster", "analysis", "console", "api", "crossover"},
    "data_flags": BASE | {"data", "data_flags"},
    "weights_flags": BASE | {"data", "models", "weights_flags"},
    "flags": BASE | MIDDLE | {"cluster", "api", "data_flags", "weights_flags", "flags"},
    "study_file": BASE | {"study_file"},
    "commands": BASE
    | MIDDLE
    | {
        "training",
        "cluster",
        "analysis",
        "console",
        "api",
        "crossover",
        "data_flags",
        "weights_flags",
        "flags",
        "study_file",
        "commands",
    },
    "cli": BASE
    | MIDDLE
    | {"training", "cluster", "analysis", "console", "api", "crossover", "flags", "commands", "cli"},
    "__main__": {"cli"},
    "__init__": BASE | {"api", "cluster", "data", "flags", "study_file"},
}
"""Area -> areas that it may import. An area is a folder or module of raystudy, or the package analysis."""

STANDARD_LIBRARY_ONLY = {"errors", "spec"}
ONLY_IN = {
    **{name: {"cluster"} for name in ("ray", "optuna", "wandb")},
    **{name: MIDDLE | {"training", "cluster"} for name in ("torch", "torchvision")},
}
"""Third-party package -> the areas that may import it."""


def project_files() -> list[Path]:
    return sorted(path for package in ("raystudy", "analysis") for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def area_of(module: str) -> str:
    package, *rest = module.split(".")
    if package == "analysis":
        return "analysis"
    return rest[0] if rest else "__init__"


def imported(source: str, module: str) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of all that ``source`` imports, wherever in the file the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parents, node.module] if node.module else parents)
            # `from raystudy import spec` names a module of ours: the area is in the imported name.
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "raystudy" else [base]
            yield from ((node.lineno, name) for name in names)


def violations(source: str, module: str) -> list[str]:
    here = area_of(module)
    found = []
    for line, name in imported(source, module):
        top = name.split(".")[0]
        if top in ("raystudy", "analysis"):
            there = area_of(name)
            if there not in MAY_IMPORT[here]:
                found.append(f"{module}:{line} imports {name}: {here} may import {', '.join(sorted(MAY_IMPORT[here]))}")
        elif here in STANDARD_LIBRARY_ONLY and top not in sys.stdlib_module_names:
            found.append(f"{module}:{line} imports {name}: {here} is standard library only")
        elif here not in ONLY_IN.get(top, {here}):
            found.append(f"{module}:{line} imports {name}: only {', '.join(sorted(ONLY_IN[top]))} may")
    return found


def test_every_import_goes_the_right_way() -> None:
    found = [text for path in project_files() for text in violations(path.read_text(), module_name(path))]
    assert not found, "\n".join(found)


def test_every_area_has_its_rule() -> None:
    areas = {area_of(module_name(path)) for path in project_files()}
    assert areas <= set(MAY_IMPORT), f"give {areas - set(MAY_IMPORT)} a place in MAY_IMPORT, DESIGN and CONTRIBUTING"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("raystudy.spec.trial", "import numpy"),
        ("raystudy.spec.trial", "from raystudy.data.batch import Batch"),
        ("raystudy.data.coco", "from raystudy.training import loop"),
        ("raystudy.data.coco", "from raystudy import training"),
        ("raystudy.data.coco", "from ..training import loop"),
        ("raystudy.training.loop", "def train():\n    import ray.train"),
        ("raystudy.training.loop", "from raystudy.cluster import driver"),
        ("raystudy.cluster.tuner", "from raystudy.cli import main"),
        ("raystudy.cli", "import wandb"),
        ("raystudy.store", "import torch"),
        ("analysis.load", "import torch"),
        ("analysis.load", "from raystudy.training.loop import train"),
        ("raystudy.store", "import analysis.load"),
    ],
)
def test_a_wrong_arrow_is_seen(module: str, source: str) -> None:
    assert violations(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("raystudy.spec.trial", "import json\nfrom raystudy.errors import SpecError"),
        ("raystudy.models.rpn", "import torch\nfrom raystudy.data.batch import Target"),
        ("raystudy.cluster.tuner", "import ray\nfrom raystudy.training.loop import train"),
        ("raystudy.cli", "from raystudy.cluster.tuner import run\nimport analysis.report"),
        ("analysis.load", "import pandas\nfrom raystudy.store import Store\nfrom analysis import paper"),
    ],
)
def test_a_right_arrow_is_left_alone(module: str, source: str) -> None:
    assert violations(source, module) == []


@pytest.mark.parametrize(
    "program",
    [
        "import analysis",
        "import raystudy",
        "import raystudy.cli, sys\ntry: raystudy.cli.main(['--help'])\nexcept SystemExit: pass",
    ],
    ids=["import analysis", "import raystudy", "raystudy --help"],
)
def test_start_up_loads_neither_torch_nor_ray(program: str) -> None:
    check = "import sys; sys.exit(', '.join({'torch', 'ray', 'wandb', 'optuna'} & set(sys.modules)) or 0)"
    command = [sys.executable, "-c", f"{program}\n{check}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"loaded: {done.stderr}"
