"""The top of the page: the answer, what it rests on in short sentences, and the words that a reader needs."""

import html
import math

from analysis.arms import NAMES
from analysis.convergence import RISING_PER_UNIT
from analysis.cost import study_cost
from analysis.evidence import SettingEvidence
from analysis.leading import BOX, KEYPOINT, VOC
from analysis.less_data import break_even_words, data_gaps
from analysis.load import StudyTable
from analysis.overfitting import overfitting_table
from analysis.statistics import Interval
from analysis.tables import bounds, number, signed
from analysis.verdict import Claim, Verdict, duration, missing_pictures

EVEN = 0.1
"""Share by which iterations to an AP may differ and still count as equally many."""

_FIT = {
    BOX: "how exactly the boxes (or masks) fit",
    KEYPOINT: "how near their keypoints lie to the true ones",
    VOC: "where a box counts that overlaps the true one by half",
}

Finding = tuple[str, str]
"""What it is about, and the sentence."""


def answer_html(study: StudyTable, found: list[SettingEvidence], verdicts: list[Verdict]) -> str:
    """Headline, its support, what is unfinished, the key numbers, the findings and the words."""
    head, gaps = "", data_gaps(study, found)
    if len(verdicts) == 1:
        only = verdicts[0]
        head = f"<h1>{html.escape(only.headline)}.</h1><p class='support'>{html.escape(support_words(only))}</p>"
    elif verdicts and all(verdict.claim is Claim.NONE for verdict in verdicts):
        done = int((study.trials["state"] == "complete").sum())
        text = (
            f"{done} of {len(study.trials)} trials are complete, and no pair of them yet that the answer can rest on."
        )
        head = f"<h1>No answer yet.</h1><p class='support'>{text}</p>"
    elif verdicts:
        items = _items(found, verdicts)
        title = break_even_words(gaps) if gaps else f"{len(found)} comparisons of random and pre-trained init"
        head = f"<h1>{html.escape(title)}</h1><ul class='answers'>{items}</ul>"
    facts = _facts(study, found[0]) if len(found) == 1 else ""
    return head + _banner(study) + facts + _list(findings(study, found)) + _words(study)


def _items(found: list[SettingEvidence], verdicts: list[Verdict]) -> str:
    """One answer a setting; those with the same words, such as that there is none yet, share one."""
    labels: dict[tuple[str, str], list[str]] = {}
    for one, verdict in zip(found, verdicts, strict=True):
        labels.setdefault((verdict.headline, support_words(verdict)), []).append(one.label)
    return "".join(
        f"<li><b>{html.escape('; '.join(names))}</b> {html.escape(headline)}. "
        f"<span class='soft'>{html.escape(support)}</span></li>"
        for (headline, support), names in labels.items()
    )


def support_words(only: Verdict) -> str:
    """The support of a verdict as a sentence of its own, without the brackets around its numbers."""
    text = only.support.strip().lstrip(":").strip()
    if text.startswith("("):
        inner, _, rest = text[1:].partition(")")
        text = f"{inner}{rest}".replace("Δ to pre-trained's best at ", "random − pre-trained's best, at ")
    return f"{text[:1].upper()}{text[1:]}."


def findings(study: StudyTable, found: list[SettingEvidence]) -> list[Finding]:
    """What the study shows, one short sentence a question; of the first setting where each has its own."""
    if not found or not found[0].ends:
        return []
    first = found[0]
    where = f" ({first.label})" if len(found) > 1 else ""
    lines = [("At the end" + where, end_words(first)), ("Early on" + where, early_words(first))]
    lines += [("Long enough?" + where, rising_words(first)), ("Over-fitting", overfitting_words(study))]
    return [line for line in [*lines, ("Cost", _cost_words(study))] if line[1]]


def end_words(one: SettingEvidence) -> str:
    """Both arms at the longest schedule that both have finished."""
    random, pretrained = end_means(one)
    ours = f"{number(random)} {one.metric.name}"
    pair = f"After {one.end_label} random init has {ours} and pre-trained {number(pretrained)}"
    return f"{pair}: a difference of {signed(one.end_gap.value)}. {chance_words(one.end_gap, missing_pictures(one))}"


def end_means(one: SettingEvidence) -> tuple[float, float]:
    """AP of random and of pre-trained init at the ends that are compared."""
    assert one.draws is not None
    return one.draws.observed["random", one.ends["random"]], one.draws.observed["pretrained", one.ends["pretrained"]]


def chance_words(gap: Interval, missing: str) -> str:
    """Whether an interval leaves zero, in words; ``missing`` is why pictures' chance is unknown where it is."""
    if not gap.is_known:
        return f"Nothing is known of how much of it is chance: one seed, and {missing}."
    if gap.low > 0 or gap.high < 0:
        return f"Chance alone does not explain it (95% CI {bounds(gap)})."
    return f"That may be chance: the 95% interval, {bounds(gap)}, holds zero."


def early_words(one: SettingEvidence) -> str:
    """Whether pre-training leads early: iterations to half of pre-trained's best AP."""
    half = next((reach for reach in one.reach if 0.4 < reach.ap / max(one.reach[-1].ap, 1e-9) < 0.6), None)
    if half is None or math.isnan(half.ratio):
        return ""
    random, pretrained = half.iterations["random"], half.iterations["pretrained"]
    target = f"{number(half.ap)} {one.metric.name} (half of pre-trained's best)"
    if half.ratio > 1 + EVEN:
        return (
            f"Pre-training gets off faster: it reaches {target} after {pretrained:,.0f} iterations, random init needs "
            f"{random:,.0f}, {half.ratio:.1f} times as many."
        )
    if half.ratio < 1 - EVEN:
        return f"Random init is faster: {target} after {random:,.0f} iterations, pre-trained {pretrained:,.0f}."
    times = f"random init {random:,.0f} iterations and pre-trained {pretrained:,.0f}"
    return f"Pre-training gives no lead here: {target} takes {times}."


def rising_words(one: SettingEvidence) -> str:
    """Whether AP has converged: the slope over the last unit of schedule."""
    if not one.slopes:
        return ""
    parts = [f"{NAMES[init]} {signed(slope.value)}" for init, slope in one.slopes.items()]
    gained = f"AP per additional 1x at the longest schedules: {', '.join(parts)}."
    if not one.rising:
        return f"Yes. {gained} Above {RISING_PER_UNIT:g} would count as still rising."
    who = "both still rise" if len(one.rising) == 2 else f"{NAMES[one.rising[0]]} still rises"
    return f"No, {who}: longer training may change the answer. {gained}"


def overfitting_words(study: StudyTable) -> str:
    """How many complete trials over-fit, and on which data."""
    table = overfitting_table(study)
    table = table[table["state"] == "complete"]
    if not len(table):
        return ""
    bad = table[table["is_overfitting"].astype(bool)]
    if not len(bad):
        return (
            f"None of the {len(table)} complete trials over-fits: validation loss falls with training loss to the end."
        )
    counts = [
        f"{NAMES[str(init)]} {int((bad['init'] == init).sum())} of {int((table['init'] == init).sum())}"
        for init in NAMES
        if (table["init"] == init).any()
    ]
    sizes = list(dict.fromkeys(bad["data"].astype(str)))
    on = f", on {', '.join(sizes)}" if table["data"].nunique() > 1 else ""
    return f"{len(bad)} of {len(table)} trials over-fit ({', '.join(counts)}){on}."


def _cost_words(study: StudyTable) -> str:
    cost = study_cost(study)
    if not cost.device_hours:
        return ""
    before = sum(cost.pretraining_hours.values())
    told = f" and {duration(before)} of pre-training" if before else "; pre-training is not counted"
    words = f"{duration(cost.device_hours)} of one device{told}"
    saved = f" Shared beginnings of trials saved {100 * cost.saved_share:.0f}% of the iterations."
    return f"{words}." + (saved if cost.saved_share >= 0.005 else "")


def _banner(study: StudyTable) -> str:
    states = study.trials["state"].value_counts()
    if len(study.trials) == int(states.get("complete", 0)):
        return ""
    words = ", ".join(f"{count} {state}" for state, count in states.items())
    return f'<p class="banner">Not all trials are complete ({words}). All numbers are of now and may still change.</p>'


def _facts(study: StudyTable, one: SettingEvidence) -> str:
    facts = []
    if one.ends:
        names, (random, pretrained) = {line.total: line.schedule for line in one.lines}, end_means(one)
        shown = bounds(one.end_gap)
        facts = [
            (f"random init, {names[one.ends['random']]}", number(random), one.metric.name),
            (f"pre-trained, {names[one.ends['pretrained']]}", number(pretrained), one.metric.name),
            ("difference", signed(one.end_gap.value), f"95% CI {shown}" if shown != "–" else "no interval"),
        ]
    cost = study_cost(study)
    if cost.device_hours:
        facts.append(("device time", duration(cost.device_hours), f"{len(study.trials)} trials"))
    cells = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}<small>{html.escape(small)}</small></dd></div>"
        for name, value, small in facts
    )
    return f'<dl class="facts">{cells}</dl>' if cells else ""


def _list(lines: list[Finding]) -> str:
    cells = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in lines)
    return f'<dl class="findings">{cells}</dl>' if cells else ""


def _words(study: StudyTable) -> str:
    unit = f"{study.unit:,}"
    return (
        '<details class="words"><summary>New to this? The words of this page</summary><dl class="findings">'
        "<dt>Random init</dt><dd>The detector begins from random weights: “from scratch”.</dd>"
        "<dt>Pre-trained</dt><dd>Its backbone has first learned to tell pictures apart (image classification). "
        "Nothing else differs.</dd>"
        f"<dt>AP</dt><dd>Average precision, 0 to 100: how many objects are found, how few are invented, "
        f"{_FIT[study.leading]}. Higher is better.</dd>"
        f"<dt>1x, 2x, …</dt><dd>The length of training: 1x is {unit} iterations here, 2x twice as many.</dd>"
        "<dt>Δ</dt><dd>AP of random init minus AP of pre-trained. Above zero random init is ahead.</dd>"
        "<dt>95% CI</dt><dd>The range in which the true difference lies, as far as these pictures and seeds can tell. "
        "If it holds zero, the two may be equal.</dd>"
        "<dt>Seed</dt><dd>A repetition with other random numbers.</dd></dl></details>"
    )
