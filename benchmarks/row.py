"""A row: one claim about speed, how it is measured, and what was found."""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

AT_FLOOR = 1.1
"""Times what the machine takes at the least."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a row found: the same work by us and by the peer, once a round."""

    ours: Sequence[float] = ()
    peer: Sequence[float] = ()
    unit: str = "CPU s"
    is_right: bool = True
    """Whether results agree with the peer's as the row demands; without that a figure counts nothing."""

    note: str = ""
    """What was worked on, and what agreed."""

    floor: Sequence[float] = ()
    """What this machine takes at the least, in the same rounds, where only its memory bounds the work."""

    missing: str = ""
    """Why the row cannot be measured on this machine; there are no figures then, and nothing fails."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A claim. Exactly one of ``at_least`` and ``at_most`` is given."""

    name: str
    """As ``make bench ROW=name`` takes it."""

    what: str
    against: str
    """The peer, in its own best documented form."""

    measure: Callable[[bool], Outcome]
    """Measures; given True it takes little data, and only whether results are right is judged."""

    at_least: float | None = None
    """Smallest peer / ours that we claim."""

    at_most: float | None = None
    """Largest ours / peer that we claim."""

    stretch: float | None = None
    """The limit that was seen or is thought possible, in the same sense."""

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"row {self.name}: give exactly one of at_least and at_most")

    def figures(self, found: Outcome) -> tuple[float, float, float]:
        """The median ratio, and the smallest and largest of single rounds.

        A round's two sides ran one after the other, so that their ratio knows least of a machine that drifts.
        """
        above, below = (found.peer, found.ours) if self.at_most is None else (found.ours, found.peer)
        if len(above) == len(below):
            single = [one / other for one, other in zip(above, below, strict=True)]
            return statistics.median(single), min(single), max(single)
        return statistics.median(above) / statistics.median(below), min(above) / max(below), max(above) / min(below)

    def holds(self, found: Outcome, quick: bool = False) -> bool:
        """Whether the claim does; what cannot be measured here does not fail, nor what no program could do here."""
        if found.missing:
            return True
        return found.is_right and (quick or self._is_within(self.figures(found)[0]) or is_at_floor(found))

    def reaches_stretch(self, found: Outcome) -> bool:
        """Whether the stretch was reached too."""
        if self.stretch is None or found.missing or not found.is_right:
            return False
        figure = self.figures(found)[0]
        return figure >= self.stretch if self.at_most is None else figure <= self.stretch

    def _is_within(self, figure: float) -> bool:
        if self.at_least is not None:
            return figure >= self.at_least
        assert self.at_most is not None
        return figure <= self.at_most

    def verdict(self, found: Outcome) -> str:
        """In words."""
        if found.missing:
            return f"not measurable here: {found.missing}"
        if not found.is_right:
            return "results DIFFER"
        if not self._is_within(self.figures(found)[0]):
            return "the machine's limit" if is_at_floor(found) else "FAILS"
        return "holds, stretch too" if self.reaches_stretch(found) else "holds"

    def figure_text(self, found: Outcome) -> str:
        """``5.3x (5.1x-5.6x)``: times as fast as the peer, or its share of the peer's; the spread of several rounds."""
        middle, least, largest = (self.ratio_text(value) for value in self.figures(found))
        return middle if least == largest else f"{middle} ({least}-{largest})"

    def ratio_text(self, value: float | None) -> str:
        """A ratio as this row's kind writes it; small shares in percent."""
        if value is None:
            return ""
        if self.at_most is not None and self.at_most < 0.1:
            return f"{100 * value:.2g}%"
        return f"{value:.3g}x"


def is_at_floor(found: Outcome) -> bool:
    """Whether ours takes at most a tenth more than the machine does at the least: no program could claim much more."""
    shares = [one / least for one, least in zip(found.ours, found.floor, strict=False)]
    return bool(shares) and statistics.median(shares) <= AT_FLOOR


def spread_text(values: Sequence[float]) -> str:
    """``0.31 (0.3-0.35)``: median, and least to largest where there are several."""
    middle = f"{statistics.median(values):.3g}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.3g}-{max(values):.3g})"
