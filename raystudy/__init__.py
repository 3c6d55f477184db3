"""raystudy: does pre-training pay for your detector, or does training longer from scratch get there too?

    from raystudy import load, load_preset, run, StudySpec, init_axis

    preset = load_preset("demo")
    study = StudySpec(
        name="mine", base=preset.base, axes=(init_axis(), preset.schedule_axis((1, 2))), pretraining=preset.pretraining
    )
    run(study, "runs/mine")
    table = load("runs/mine", "mine")

The names below are what a program may rely on. Importing this loads neither torch nor Ray; the functions do.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raystudy.api import Outcome, load, run
    from raystudy.cluster.settings import RunSettings
    from raystudy.data.resolve import resolve_data
    from raystudy.errors import RaystudyError
    from raystudy.flags import on_data
    from raystudy.spec.plan import Plan, make_plan
    from raystudy.spec.presets import Preset, fraction_axis, init_axis, load_preset, norm_axis, schedule_axis, seed_axis
    from raystudy.spec.study import Axis, Level, StudySpec
    from raystudy.spec.trial import TrialSpec, replaced
    from raystudy.store import Store
    from raystudy.study_file import read_study, write_study

_PLACES = {
    "raystudy.api": ("Outcome", "load", "run"),
    "raystudy.cluster.settings": ("RunSettings",),
    "raystudy.data.resolve": ("resolve_data",),
    "raystudy.errors": ("RaystudyError",),
    "raystudy.flags": ("on_data",),
    "raystudy.spec.plan": ("Plan", "make_plan"),
    "raystudy.spec.presets": (
        "Preset",
        "fraction_axis",
        "init_axis",
        "load_preset",
        "norm_axis",
        "schedule_axis",
        "seed_axis",
    ),
    "raystudy.spec.study": ("Axis", "Level", "StudySpec"),
    "raystudy.spec.trial": ("TrialSpec", "replaced"),
    "raystudy.store": ("Store",),
    "raystudy.study_file": ("read_study", "write_study"),
}
_PLACE_OF = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "Axis",
    "Level",
    "Outcome",
    "Plan",
    "Preset",
    "RaystudyError",
    "RunSettings",
    "Store",
    "StudySpec",
    "TrialSpec",
    "fraction_axis",
    "init_axis",
    "load",
    "load_preset",
    "make_plan",
    "norm_axis",
    "on_data",
    "read_study",
    "replaced",
    "resolve_data",
    "run",
    "schedule_axis",
    "seed_axis",
    "write_study",
]


def __getattr__(name: str) -> Any:
    """Import a public name where it lives, when it is first asked for."""
    if name not in _PLACE_OF:
        raise AttributeError(f"module 'raystudy' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
