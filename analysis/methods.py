"""What was done, so that someone else could do it again, and every trial by name."""

import html
import json
import math
from collections.abc import Mapping
from typing import Any

from analysis.crossover import TOLERANCES
from analysis.evidence import SettingEvidence
from analysis.load import StudyTable
from analysis.overfitting import CATCH_UP, RISE
from analysis.statistics import NUM_DRAWS
from analysis.tables import Table, number
from analysis.verdict import missing_pictures

MAX_TRIALS = 500
"""Trials that the page lists; the CSV file has them all."""


def methods_html(study: StudyTable, found: list[SettingEvidence]) -> str:
    """Data, recipe, seeds, statistics, versions."""
    counted = f"{_count(len(study.trials), 'trial')} in {_count(len(found), 'setting')}"
    entries = [
        ("Trials", f"{counted}; 1x = {study.unit:,} iterations."),
        ("Data", _data_words(study)),
        ("Recipe", _recipe_words(study)),
        ("Pre-training", _pretraining_words(study)),
        ("Intervals", _interval_words(found)),
        ("Caught up", _tolerance_words()),
        ("Comparisons", _comparison_words(found)),
        (
            "Over-fitting",
            f"A validation loss that ends {100 * RISE:.0f}% above its lowest while training loss falls on.",
        ),
        ("Break-down", f"Training loss within {100 * CATCH_UP:.0f}% of pre-trained's, yet AP behind."),
        ("Versions", _version_words(study)),
    ]
    lines = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in entries if text)
    return f'<dl class="methods">{lines}</dl>'


def trials_table(study: StudyTable) -> Table:
    """Every trial with its factors, state and last AP."""
    val = study.val
    last = val.drop_duplicates("trial_id", keep="last").set_index("trial_id") if len(val) else val
    ap = last[study.leading.column].to_dict() if study.leading.column in last else {}
    lines = []
    columns = ["init", "schedule", "data", "seed", "other", "state", "iteration", "error"]
    for trial_id, line in study.trials[columns].astype(str).iterrows():
        value = float(ap.get(trial_id, math.nan))
        state = line["state"] + (f": {line['error']}" if line["error"] else "")
        cells = [line["init"], line["schedule"], line["data"], line["seed"], line["other"] or "–"]
        lines.append((str(trial_id), *cells, state, f"{int(line['iteration']):,}", number(value)))
    header = ("trial", "init", "schedule", "data", "seed", "else", "state", "iterations", study.leading.name)
    return Table("trials", "Every trial", header, lines, "AP of the last evaluation, finished or not.")


def trials_html(study: StudyTable) -> str:
    """The table of trials, and the spec that they have in common."""
    table = trials_table(study)
    if not table.lines:
        return ""
    more = len(table.lines) - MAX_TRIALS
    note = f"{table.note} {more} more are in tables/trials.csv." if more > 0 else table.note
    shown = Table(table.name, table.title, table.header, table.lines[:MAX_TRIALS], note)
    common = _common(list(study.specs.values()))
    spec = html.escape(json.dumps(common, indent=1, ensure_ascii=False))
    links = "".join(
        f'<li><a href="{html.escape(address, quote=True)}" rel="noopener">{html.escape(name)}</a></li>'
        for name, address in study.links.items()
    )
    return (
        (f"<ul>{links}</ul>" if links else "")
        + shown.to_html()
        + _own_specs(study, common)
        + f"<details><summary>What all trials have in common (TrialSpec)</summary><pre>{spec}</pre></details>"
    )


def _count(number_of: int, thing: str) -> str:
    return f"{number_of} {thing}" + ("" if number_of == 1 else "s")


def _own_specs(study: StudyTable, common: dict[str, Any]) -> str:
    """What each trial has of its own, and where its rows lie."""
    lines = []
    for trial_id, spec in list(study.specs.items())[:MAX_TRIALS]:
        own = _without(spec, common)
        parts = [f"{ref.segment_id}: {ref.start:,} to {ref.end:,}" for ref in study.records[trial_id].segments]
        text = json.dumps({"spec": own, "segments": parts}, indent=1, ensure_ascii=False)
        lines.append(f"<h3>{html.escape(trial_id)}</h3><pre>{html.escape(text)}</pre>")
    return f"<details><summary>What each trial has of its own, and its segments</summary>{''.join(lines)}</details>"


def _without(spec: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a spec that is not in ``common``."""
    own: dict[str, Any] = {}
    for key, value in spec.items():
        if key in common and common[key] == value:
            continue
        inner = common.get(key)
        own[key] = _without(value, inner) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return own


def _data_words(study: StudyTable) -> str:
    specs = list(study.specs.values())
    names = sorted({str(spec["data"].get("name") or spec["data"]["format"]) for spec in specs})
    categories = sorted({int(spec["data"].get("num_categories", 0)) for spec in specs})
    num_val = sorted({int(n) for n in study.val["num_images"].unique()} - {0}) if len(study.val) else []
    sizes = ", ".join(study.trials["data"].unique())
    scored = f"; scored on {', '.join(f'{n:,}' for n in num_val)} validation pictures" if num_val else ""
    return f"{', '.join(names)}, {', '.join(map(str, categories))} categories; trained on {sizes}{scored}."


def _recipe_words(study: StudyTable) -> str:
    common = _common(list(study.specs.values()))
    optimizer, schedule = common.get("optimizer", {}), common.get("schedule", {})
    parts = [
        f"{', '.join(study.trials['backbone'].unique())} with norm {', '.join(study.trials['norm'].unique())}",
        f"global batch {', '.join(map(str, study.trials['global_batch'].unique()))}",
    ]
    if "base_lr" in optimizer:
        parts.append(f"LR {optimizer['base_lr']:g} per {optimizer.get('base_lr_images', '?')} images, linear scaling")
    if "weight_decay" in optimizer:
        parts.append(f"momentum {optimizer.get('momentum', '?')}, weight decay {optimizer['weight_decay']:g}")
    if "drops" in schedule:
        befores = " and ".join(f"{drop['before_end']:,}" for drop in schedule["drops"])
        parts.append(f"LR cut {befores} iterations before the end, whatever the length")
    seeds = ", ".join(str(seed) for seed in sorted(study.trials["seed"].unique()))
    return "; ".join([*parts, f"seeds {seeds}"]) + ". Init changes nothing but the backbone's first weights."


def _pretraining_words(study: StudyTable) -> str:
    words = []
    for weights_id, provenance in study.weights.items():
        told = {k: v for k, v in provenance.items() if isinstance(v, str | int | float) and 0 < len(str(v)) < 60}
        words.append(f"{weights_id} ({', '.join(f'{key} {_plain(value)}' for key, value in told.items())})")
    return "; ".join(words)


def _plain(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)


def _interval_words(found: list[SettingEvidence]) -> str:
    draws = [one.draws for one in found if one.draws is not None]
    has_images = any(one.has_images for one in draws)
    has_seeds = any(one.has_seeds for one in draws)
    if not found:
        return ""
    if not (has_images or has_seeds):
        return f"None: one seed an arm, and {missing_pictures(found[0])}. Differences are of measured numbers."
    parts = []
    if has_images:
        parts.append("a paired bootstrap over validation pictures (each trial scored on the same drawn pictures)")
    if has_seeds:
        parts.append("Student's t over seeds, a seed's luck shared by all its schedules since they share a trunk")
    text = f"95%, {NUM_DRAWS} draws of " + " and of ".join(parts) + "."
    if not has_seeds:
        text += " One seed: they say how these weights would fare on other pictures, not how another training would go."
    if not has_images:
        text += f" The validation pictures are taken as given: {missing_pictures(found[0])}."
    return text + " A best schedule is chosen anew in each draw."


def _tolerance_words() -> str:
    values = ", ".join(f"{value:g}" for value in TOLERANCES)
    return (
        f"The lower bound of random − pre-trained's best lies above −δ; δ = 1 AP in the answer, {values} in the table."
    )


def _comparison_words(found: list[SettingEvidence]) -> str:
    count = sum(len(one.deltas) + len(one.mask_deltas) for one in found)
    if count < 2:
        return ""
    return (
        f"{count} differences of schedules are given with 95% each and not adjusted for one another: of 20 such "
        "intervals about one misses the truth by chance. The answer rests on random − pre-trained's best alone."
    )


def _version_words(study: StudyTable) -> str:
    versions = study.provenance.get("versions") or {}
    commit = study.provenance.get("commit")
    parts = [f"{name} {version}" for name, version in dict(versions).items()]
    return ", ".join([*parts, f"commit {commit}"] if commit else parts)


def _common(specs: list[Mapping[str, Any]]) -> dict[str, Any]:
    """What all specs agree on, at any depth."""
    if not specs:
        return {}
    common: dict[str, Any] = {}
    for key, value in specs[0].items():
        values = [spec.get(key) for spec in specs]
        if all(other == value for other in values):
            common[key] = value
        elif all(isinstance(other, Mapping) for other in values):
            inner = _common([other for other in values if isinstance(other, Mapping)])
            if inner:
                common[key] = inner
    return common
