"""Tables of the report: one content, written as HTML, CSV, LaTeX and plain text."""

import csv
import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.statistics import Interval

LONG_NAME = 16
"""Letters of a line's name above which it is broken on a phone."""

_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "Δ": r"$\Delta$", "±": r"$\pm$", "−": "$-$", "…": r"\ldots "}


@dataclass(frozen=True)
class Table:
    """A table of text cells; the first column names the line."""

    name: str
    """Of its files."""

    title: str
    header: tuple[str, ...]
    lines: Sequence[tuple[str, ...]]
    note: str = ""
    """How to read it."""

    def to_html(self) -> str:
        """With its title as caption; wide tables scroll inside their frame."""
        head = "".join(f"<th scope='col'>{html.escape(cell)}</th>" for cell in self.header)
        body = "\n".join(f"<tr>{''.join(self._cell(i, c) for i, c in enumerate(line))}</tr>" for line in self.lines)
        note = f"<p class='note'>{html.escape(self.note)}</p>" if self.note else ""
        kind = "table long" if max((len(line[0]) for line in self.lines), default=0) > LONG_NAME else "table"
        return (
            f"<figure class='{kind}' data-name='{self.name}'><div class='scroll' tabindex='0'><table>"
            f"<caption><span>{html.escape(self.title)}</span></caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}</figure>"
        )

    def to_csv(self) -> str:
        """RFC 4180, header first."""
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([self.header, *self.lines])
        return stream.getvalue()

    def to_latex(self) -> str:
        """A booktabs ``tabular`` without float."""
        columns = "l" + "r" * (len(self.header) - 1)
        body = "\n".join(" & ".join(map(_latex, line)) + r" \\" for line in self.lines)
        head = " & ".join(map(_latex, self.header)) + r" \\"
        return (
            f"% {self.title}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head}\n\\midrule\n{body}\n"
            "\\bottomrule\n\\end{tabular}\n"
        )

    @staticmethod
    def _cell(position: int, cell: str) -> str:
        tag = "th scope='row'" if position == 0 else "td"
        return f"<{tag}>{html.escape(cell)}</{tag.split()[0]}>"


def number(value: float, digits: int = 1) -> str:
    """The number, or a dash when it is not measured."""
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def signed(value: float, digits: int = 1) -> str:
    """With its sign, and none at zero."""
    if math.isnan(value):
        return "–"
    text = f"{value:+,.{digits}f}"
    return text.lstrip("+-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def mean_spread(mean: float, spread: float) -> str:
    """Mean and standard deviation over seeds, where there is one."""
    return number(mean) if math.isnan(spread) else f"{number(mean)} ± {number(spread)}"


def bounds(interval: Interval | None) -> str:
    """The interval's bounds, or a dash."""
    if interval is None or not interval.is_known:
        return "–"
    return f"{signed(interval.low)} … {signed(interval.high)}"


def big(value: float) -> str:
    """A count in words that fit a cell: 131M, 9.5T, 12,300."""
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= limit:
            return f"{value / limit:.1f}{letter}"
    return f"{value:,.0f}"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
