"""The paper's own numbers: as package data, and fed in as a study."""

import csv
from pathlib import Path

import numpy as np
import pytest

from analysis.evidence import evidence
from analysis.load import load_study
from analysis.paper import DATA_SIZES, beside, overlay, paper_curves, paper_numbers, paper_schedules, paper_source
from analysis.report import write_report
from analysis.verdict import Claim, verdict
from raystudy.spec.model import ModelSpec
from raystudy.spec.schedule import ScheduleSpec
from raystudy.spec.trial import InitSpec, TrialSpec
from tests.analysis.synthetic import write_study

KS = (2, 3, 4, 5, 6)


def paper_trial(init: str, k: int) -> TrialSpec:
    weights = "" if init == "random" else "r50-gn-imagenet"
    start = InitSpec(kind="random") if init == "random" else InitSpec(kind="pretrained", weights_id=weights)
    return TrialSpec(schedule=ScheduleSpec.from_units(k), model=ModelSpec(), init=start, log_interval=5000)


def papers_ap(spec: TrialSpec, iteration: int) -> dict[str, float]:
    """The digitised curve, and at the end the printed number of Table 1."""
    arm = paper_schedules("r50", "gn")[spec.schedule.name]
    if iteration == spec.schedule.total:
        return {"box_ap": arm.random if spec.init.kind == "random" else arm.pretrained, "num_images": 5000}
    curves = [
        c for c in paper_curves("schedules_gn_r50") if c.init == spec.init.kind and c.total <= spec.schedule.total
    ]
    points = {x: y for c in curves for x, y in zip(c.iterations, c.values, strict=True) if _is_on(c.total, x, spec)}
    return {"box_ap": float(np.interp(iteration, list(points), list(points.values())))}


def _is_on(total: int, iteration: int, spec: TrialSpec) -> bool:
    """A shorter schedule's curve is this trial's until its own learning rate drops."""
    return total == spec.schedule.total or iteration <= total - 60_000


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    specs = [paper_trial(init, k) for init in ("random", "pretrained") for k in KS]
    write_study(folder, specs, papers_ap, name="table_1", unit=90_000)
    return folder


def test_the_papers_numbers_as_a_study_give_the_papers_finding(storage: Path) -> None:
    (found,) = evidence(load_study(str(storage), "table_1"))
    assert {c.tolerance: c.total for c in found.crossovers} == {0.3: 540_000, 0.4: 450_000} | dict.fromkeys(
        (0.5, 1.0), 360_000
    ) | {2.0: 270_000}
    answer = verdict(found)
    assert answer.claim is Claim.LEVEL
    assert answer.headline == "As measured, random init is within 1 AP of pre-trained's best from 4x on"
    assert [round(line.difference, 6) for line in beside(found.lines)] == [0.0] * 5


def test_random_init_leaps_at_the_first_drop_and_starts_slower(storage: Path) -> None:
    (found,) = evidence(load_study(str(storage), "table_1"))
    early = found.reach[0]
    assert early.ratio == 3.0
    report = write_report(str(storage), "table_1", storage / "report")
    leaps = {line[0]: line for line in _read(storage / "report" / "tables" / "leaps.csv")}
    assert leaps["random, 2x"][1] == "28.2 → 34.1"
    assert report.path.stat().st_size < 6_000_000


def test_what_the_paper_does_not_print_is_marked() -> None:
    numbers = paper_numbers()
    curves = numbers[numbers["metric"].str.contains("curve")]
    assert set(curves["kind"]) == {"digitised"}
    assert {arm.kind for arm in paper_schedules("r50", "gn").values()} == {"printed"}
    syncbn = paper_schedules("r50", "sync_bn")
    assert syncbn["6x"].kind == "printed"
    assert syncbn["2x"].kind == "digitised"
    assert "ICCV 2019" in paper_source()


def test_digitised_curves_end_near_the_printed_table() -> None:
    """Within 0.2 AP: what section 0 of the numbers' source found."""
    for curve in overlay("r50", "gn") + overlay("r101", "gn"):
        norm = ("r50", "gn") if curve.figure == "fig1" else ("r101", "gn")
        arm = paper_schedules(*norm)[curve.schedule]
        printed = arm.random if curve.init == "random" else arm.pretrained
        assert abs(curve.values[-1] - printed) <= 0.2 + 1e-9


def test_the_sizes_are_the_printed_ones() -> None:
    numbers = paper_numbers()
    printed = numbers[(numbers["kind"] == "printed") & (numbers["metric"] == "bbox_AP")]
    for experiment, size in (("coco_10k", 10_000), ("coco_3.5k", 3_500)):
        part = printed[printed["experiment"] == experiment].set_index("init")["value"]
        assert (part["random"], part["pretrained"]) == DATA_SIZES[size][:2]


def _read(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))
