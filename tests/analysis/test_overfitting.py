from pathlib import Path

import pytest

from analysis.charts import curves
from analysis.evidence import evidence
from analysis.findings import overfitting_lines
from analysis.less_data import break_even_words, data_gaps, data_table
from analysis.load import load_study
from analysis.overfitting import break_down, overfitting_table
from analysis.paper import DATA_SIZES
from analysis.report import write_report
from analysis.statistics import Interval
from raystudy.spec.trial import TrialSpec
from tests.analysis.synthetic import UNIT, catch_up, trial, write_study


def overfits(spec: TrialSpec, iteration: int) -> dict[str, float]:
    """Training loss falls all along; validation loss turns at 1x for 45 images only."""
    units = iteration / UNIT
    turned = max(0.0, units - 1) if spec.data.num_images == 45 else 0.0
    ap = 30 - 8 * turned if spec.init.kind == "random" else 30.0
    return {"box_ap": ap, "loss": 2.0 - 0.3 * min(units, 1) + 0.4 * turned, "train_loss": 2 - 0.8 * units}


def test_a_validation_loss_that_turns_is_over_fitting_and_one_that_does_not_is_none(tmp_path: Path) -> None:
    specs = [trial("random", 2, num_images=n) for n in (45, 450)]
    table = overfitting_table(load_study(str(tmp_path), write_study(tmp_path, specs, overfits)))
    small, large = table.loc[specs[0].trial_id], table.loc[specs[1].trial_id]
    assert bool(small["is_overfitting"])
    assert small["val_loss_min_at"] == UNIT
    assert small["rise"] == pytest.approx(0.4 / 1.7)
    assert not bool(large["is_overfitting"])
    assert large["gap"] > 0


def test_ap_on_training_pictures_is_drawn_and_told_where_it_was_measured(tmp_path: Path) -> None:
    def by_heart(spec: TrialSpec, iteration: int) -> dict[str, float]:
        return overfits(spec, iteration) | {"train_box_ap": 90.0 * iteration / spec.schedule.total}

    study = load_study(str(tmp_path), write_study(tmp_path, [trial("random", 2)], by_heart))
    table = overfitting_lines(study, evidence(study))
    assert table.header[-2:] == ("box AP, training pictures", "over-fits")
    assert table.lines[0][-2] == "90.0"
    (segment, *_) = curves(study, evidence(study))["segments"]
    assert segment["val"]["train_box_ap"][0] == 5.0
    page = write_report(str(tmp_path), study.name).path.read_text()
    assert 'data-kind="fit"' in page

    plain = load_study(str(tmp_path), write_study(tmp_path, [trial("random", 2)], overfits, name="plain"))
    assert overfitting_lines(plain, evidence(plain)).header[-2:] == ("peak AP", "over-fits")
    assert 'data-kind="fit"' not in write_report(str(tmp_path), "plain").path.read_text()


def test_rising_validation_loss_without_falling_training_loss_is_none(tmp_path: Path) -> None:
    def diverges(spec: TrialSpec, iteration: int) -> dict[str, float]:
        return {"box_ap": 10.0, "loss": 1 + iteration / UNIT, "train_loss": 1 + iteration / UNIT}

    study = load_study(str(tmp_path), write_study(tmp_path, [trial("random", 2)], diverges))
    assert not overfitting_table(study)["is_overfitting"].any()


def test_the_papers_break_down_signature() -> None:
    """Figure 8: with 1k images random init ends at a lower training loss (0.175, pre-trained 0.278) and 6.4 AP less."""
    assert break_down(0.175, 0.278, Interval(3.5 - 9.9)).is_shown
    random, pretrained, _ = DATA_SIZES[10_000]
    assert not break_down(0.5, 0.5, Interval(random - pretrained)).is_shown
    undertrained = break_down(1.5, 0.5, Interval(-10.0))
    assert undertrained.val_behind
    assert not undertrained.is_shown
    assert not break_down(0.2, 0.2, Interval(-5, -11, 1)).is_shown


def test_less_data_says_where_random_init_breaks_down(tmp_path: Path) -> None:
    def truth(spec: TrialSpec, iteration: int) -> dict[str, float]:
        values = catch_up(spec, iteration, gap=0.0)
        if spec.init.kind == "random" and (spec.data.num_images or 1500) < 100:
            values["box_ap"] *= 0.5
        return values

    inits = ("random", "pretrained")
    specs = [trial(init, k, num_images=n) for init in inits for k in (1, 2) for n in (20, 45, 450, None)]
    study = load_study(str(tmp_path), write_study(tmp_path, specs, truth))
    gaps = data_gaps(study, evidence(study))
    assert list(gaps) == [20, 45, 450, 1500]
    assert break_even_words(gaps).startswith("Random init breaks down between 45 images and 450 images")
    signatures = {line[0]: line[-1] for line in data_table(study, gaps).lines}
    assert signatures == {"20 images": "yes", "45 images": "yes", "450 images": "no", "all images": "no"}
