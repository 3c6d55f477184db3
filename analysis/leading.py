"""The metric by which a study is answered: what its detectors are for."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LeadingMetric:
    """The metric of the answer, the convergence, the crossover and the charts."""

    column: str
    """Of an evaluation row."""

    name: str
    """In words: box AP, keypoint AP or VOC AP."""

    matches: str
    """Kind of the stored matches that give it, box or keypoint; empty where none do (VOC's rule is another)."""

    @property
    def has_matches(self) -> bool:
        """Whether stored matches give its interval over pictures."""
        return bool(self.matches)


BOX = LeadingMetric("box_ap", "box AP", "box")
KEYPOINT = LeadingMetric("keypoint_ap", "keypoint AP", "keypoint")
VOC = LeadingMetric("voc_ap", "VOC AP", "")


def leading_metric(specs: Iterable[Mapping[str, Any]], columns: Collection[str]) -> LeadingMetric:
    """Keypoint AP where every trial has a keypoint head, VOC AP where all data are in VOC format, else box AP.

    A study whose rows have box AP and not the other (written before it was measured) is read by box AP.

    Args:
        specs: ``TrialSpec.to_dict()`` of each trial.
        columns: those of its rows that hold numbers.
    """
    chosen = list(specs)
    found = BOX
    if chosen and all((spec.get("model") or {}).get("keypoint_head") for spec in chosen):
        found = KEYPOINT
    elif chosen and all(spec["data"].get("format") == "voc" for spec in chosen):
        found = VOC
    return BOX if BOX.column in columns and found.column not in columns else found
