"""Factors of a trial as columns: what was varied, read from its spec as plain data."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raystudy.spec.model import BACKBONE_PREFIX

FACTORS = ("init", "norm", "backbone", "schedule", "data", "seed", "other")
"""Columns that, together, tell the trials of one study apart. ``other`` holds what else varies, as text."""

NAMES = {"random": "random", "pretrained": "pre-trained"}
"""What tables call the inits."""

SETTING = ("backbone", "norm", "data", "other")
"""Factors that the two inits of a comparison have in common, with the schedule."""

_CAPTURED = ("init.", "schedule.", "model.norm", "model.backbone", "data.fraction", "data.num_images", "seed")
_DECIDES_NOTHING = ("eval_interval", "log_interval")


def factors(spec: Mapping[str, Any], unit: int) -> dict[str, Any]:
    """The factors of one trial from ``TrialSpec.to_dict()``; ``unit`` is the iterations of 1x."""
    data, model, schedule = spec["data"], spec["model"], spec["schedule"]
    num_images, fraction = data.get("num_images"), float(data.get("fraction", 1.0))
    total = int(schedule["total"])
    return {
        "init": spec["init"]["kind"],
        "weights_id": spec["init"].get("weights_id", ""),
        "norm": model["norm"],
        "backbone": BACKBONE_PREFIX.get(model["backbone"], model["backbone"]),
        "schedule": schedule.get("label") or (f"{total // 1000}k" if total % 1000 == 0 else f"{total}it"),
        "total": total,
        "units": total / unit,
        "first_drop": total - max((d["before_end"] for d in schedule["drops"]), default=0),
        "data": _data_label(num_images, fraction),
        "fraction": fraction,
        "train_images": _train_images(data, num_images, fraction),
        "seed": int(spec.get("seed", 0)),
        "global_batch": int(spec["workers"]) * int(spec["images_per_worker"]),
        "eval_interval": int(spec["eval_interval"]),
        "log_interval": int(spec["log_interval"]),
    }


def varying(specs: Iterable[Mapping[str, Any]]) -> list[str]:
    """For each trial, the spec fields that vary over the study and are no named factor, as ``path=value, ...``."""
    chosen = list(specs)
    paths: set[tuple[str, ...]] = set()
    for one in chosen[1:]:
        _differences(chosen[0], one, (), paths)
    unnamed = sorted(path for path in paths if not _is_named(".".join(path)))
    return [", ".join(f"{'.'.join(path)}={_at(one, path)}" for path in unnamed) for one in chosen]


def in_levels(others: Sequence[str], study: Mapping[str, Any]) -> list[str]:
    """The texts of ``varying`` as the study calls them, ``row cascade`` for a list of fields, where its axes allow it.

    An axis is named when its levels change a field that is no named factor and when they follow from those fields and
    from backbone, norm and data; the fields stay when that tells fewer trials apart than they do. What an axis of inits
    changes beside the init, such as the rate that a search found for each, is part of the init and makes no two
    settings: inits are what is compared.

    Args:
        others: of each of the study's trials.
        study: what the storage keeps of it: ``trials``, each one's ``levels``, and ``spec`` with its axes.
    """
    of_trial, axes = study.get("levels") or {}, (study.get("spec") or {}).get("axes") or ()
    levels = [of_trial.get(trial_id, {}) for trial_id in study["trials"]]
    if not all(levels):
        return list(others)
    settings = [(other, *_named_of(spec)) for other, spec in zip(others, study["trials"].values(), strict=True)]
    telling: list[str] = []
    arms: list[str] = []
    for axis in axes:
        changed = {path for level in axis["levels"] for path in level["overrides"]}
        of_axis = {(setting, own.get(axis["name"])) for setting, own in zip(settings, levels, strict=True)}
        follows = len(of_axis) == len(set(settings))
        if follows and len(axis["levels"]) > 1 and not all(_is_named(f"{path}.") for path in changed):
            (arms if "init.kind" in changed else telling).append(axis["name"])
    named = [", ".join(_level_words(axis, own[axis]) for axis in telling) for own in levels]
    of_arm = [(name, *(own[axis] for axis in arms)) for name, own in zip(named, levels, strict=True)]
    return named if len(set(zip(others, of_arm, strict=True))) == len(set(of_arm)) else list(others)


def _named_of(spec: Mapping[str, Any]) -> tuple[Any, ...]:
    """The named factors that two inits of a comparison have in common."""
    data, model = spec["data"], spec["model"]
    return model["backbone"], model["norm"], data.get("fraction"), data.get("num_images")


def _level_words(axis: str, level: str) -> str:
    """``row cascade``; the level alone where it says what it is of: ``6 categories`` on the axis num_categories."""
    words = axis.split("_")
    subject = max(words, key=len).removesuffix("s")
    return level if subject in level else f"{' '.join(words)} {level}"


def setting_label(setting: Mapping[str, Any], constant: Iterable[str] = ()) -> str:
    """A setting in words, leaving out the factors in ``constant`` (those that do not vary in the study)."""
    skip = set(constant)
    parts = [str(setting[name]) for name in SETTING if name not in skip and setting[name]]
    return ", ".join(parts) or "all trials"


def _data_label(num_images: int | None, fraction: float) -> str:
    if num_images is not None:
        return f"{num_images:,} images"
    return "all images" if fraction == 1 else f"{100 * fraction:.4g}% of the images"


def _train_images(data: Mapping[str, Any], num_images: int | None, fraction: float) -> float:
    if num_images is not None:
        return float(num_images)
    shapes = data.get("shapes")
    return float(round(fraction * shapes["num_train"])) if shapes else float("nan")


def _is_named(path: str) -> bool:
    return path.startswith(_CAPTURED) or path.rstrip(".") in _DECIDES_NOTHING


def _differences(first: Any, other: Any, path: tuple[str, ...], found: set[tuple[str, ...]]) -> None:
    """Add to ``found`` the paths at which two specs differ."""
    if first == other:
        return
    if isinstance(first, dict) and isinstance(other, dict):
        for key in {**first, **other}:
            _differences(first.get(key), other.get(key), (*path, str(key)), found)
    else:
        found.add(path)


def _at(spec: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        spec = spec.get(key) if isinstance(spec, dict) else None
    return "-" if spec is None else spec
