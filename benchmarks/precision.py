"""What bf16 costs in AP: the demo's trial in both precisions, from the same seeds.

    python -m benchmarks.precision [--multiple 1] [--seeds 0 1]

Prints box and mask AP of each trial and their mean differences. Two seeds say little: they move AP by themselves, so
that the spread over seeds is printed beside the difference.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from raystudy.cluster.settings import RunSettings
from raystudy.cluster.worker import run_segment
from raystudy.records import EvalRow
from raystudy.spec.plan import make_plan
from raystudy.spec.presets import load_preset
from raystudy.spec.trial import TrialSpec, replaced
from raystudy.store import Store

PRECISIONS = ("fp32", "bf16")


class _Silent:
    def report(self, progress: dict[str, Any]) -> None:
        """Nobody schedules."""


def trial(multiple: float, precision: str, seed: int) -> TrialSpec:
    """The demo's trial of so many units with random init."""
    preset = load_preset("demo")
    (level,) = preset.schedule_axis((multiple,)).levels
    return replaced(preset.base, **level.overrides, precision=precision, seed=seed)


def final_ap(spec: TrialSpec, folder: Path) -> tuple[float, float]:
    """Train it; box and mask AP at its end."""
    store = Store.open(folder, create=True)
    (segment,) = make_plan([spec]).segments
    run_segment(segment, RunSettings(storage=str(folder), study="precision"), _Silent())
    last = [row for row in store.segment(segment.segment_id).rows() if isinstance(row, EvalRow)][-1]
    return last.box_ap, last.mask_ap


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--multiple", type=float, default=1, help="units of the schedule (default %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[tuple[float, float]]] = {precision: [] for precision in PRECISIONS}
    print(f"{'seed':>5}{'precision':>11}{'box AP':>9}{'mask AP':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            for precision, values in found.items():
                values.append(final_ap(trial(options.multiple, precision, seed), Path(folder)))
                print(f"{seed:>5}{precision:>11}{values[-1][0]:>9.2f}{values[-1][1]:>9.2f}", flush=True)
    for number, name in enumerate(("box", "mask")):
        plain, reduced = ([value[number] for value in found[precision]] for precision in PRECISIONS)
        differences = [b - a for a, b in zip(plain, reduced, strict=True)]
        spread = max(plain) - min(plain)
        mean = sum(differences) / len(differences)
        print(f"{name} AP: bf16 is {mean:+.2f} of fp32; seeds of fp32 alone lie {spread:.2f} apart")


if __name__ == "__main__":
    main()
