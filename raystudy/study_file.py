"""Studies as files: the spec that a script makes, as YAML or JSON to review, compare, cite and run.

A file holds what differs from the defaults, and the ids of the trials that it means. The ids are what makes it citable:
a raystudy that would train anything else, because a default moved or somebody edited a number, says so and trains
nothing. `raystudy plan FILE --save FILE` writes the ids anew after an edit that is meant.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from raystudy import atomic
from raystudy.errors import SpecError
from raystudy.spec.identity import compact_dict
from raystudy.spec.study import StudySpec

SUFFIXES = (".yaml", ".yml", ".json")

_HEADER = """\
# A study of raystudy: what differs from the defaults of its specs (raystudy/spec), and the trials that it means.
#   raystudy plan {name}                  what it trains
#   raystudy run {name}                   train it
#   raystudy plan {name} --save {name}    write the ids of the trials anew after an edit
"""


def write_study(path: Path, study: StudySpec) -> None:
    """Write ``study`` as the suffix of ``path`` says, whole or not at all.

    Raises:
        SpecError: the suffix is unknown, or the study cannot be.
    """
    _check_suffix(path)
    content = {"study": compact_dict(study), "trials": sorted({trial.trial_id for trial in study.trials()})}
    if path.suffix == ".json":
        atomic.write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())
        return
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    atomic.write_bytes(path, (_HEADER.format(name=path.name) + text).encode())


def read_study(path: Path, *, check_trials: bool = True) -> StudySpec:
    """The study that a file holds.

    Args:
        path: a YAML or JSON file.
        check_trials: False takes a file whose ids do not fit its study any more, to write them anew.

    Raises:
        SpecError: it is none, cannot be a study (every problem at once), or means other trials than it names.
    """
    _check_suffix(path)
    content = _parsed(path)
    if not isinstance(content, dict) or not isinstance(content.get("study"), dict):
        raise SpecError(f"{path} has no mapping `study`; write one with `raystudy plan SCRIPT --save {path.name}`")
    unknown = sorted(set(content) - {"study", "trials"})
    if unknown:
        raise SpecError(f"{path} has {', '.join(map(str, unknown))} beside `study` and `trials`; nothing reads that")
    study = StudySpec.from_dict(content["study"])
    if check_trials:
        _check_trials(path, study, content.get("trials"))
    return study


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise SpecError(f"{path} is no study file: its name must end with {', '.join(SUFFIXES)}")


def _parsed(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise SpecError(f"{path} is not sound {path.suffix[1:]}: {error}") from error


def _check_trials(path: Path, study: StudySpec, named: Any) -> None:
    """The trials of the study are those that the file names, when it names any."""
    if named is None:
        return
    means = {trial.trial_id for trial in study.trials()}
    names = set(named) if isinstance(named, list) and all(isinstance(name, str) for name in named) else set()
    if means != names:
        strange = [f"+ {trial}" for trial in sorted(means - names)] + [f"- {trial}" for trial in sorted(names - means)]
        shown = "".join(f"\n    {line}" for line in strange[:6]) + ("\n    ..." if len(strange) > 6 else "")
        raise SpecError(
            f"{path} names other trials than its study means (+ would be trained, - would not):{shown}\n"
            f"  if the edit is meant, write the ids anew: raystudy plan {path} --save {path}"
        )
