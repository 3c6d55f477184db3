"""The findings under the headline say what was found, also where it is not what one expects."""

from pathlib import Path

from analysis.answer import answer_html, chance_words, early_words, findings, overfitting_words, rising_words
from analysis.evidence import SettingEvidence, evidence
from analysis.load import StudyTable, load_study
from analysis.statistics import Interval
from analysis.verdict import verdict
from raystudy.spec.trial import TrialSpec
from tests.analysis.synthetic import UNIT, Truth, catch_up, trial, write_study


def loaded(folder: Path, truth: Truth, ks: tuple[int, ...] = (1, 2, 4)) -> tuple[StudyTable, SettingEvidence]:
    specs = [trial(init, k) for init in ("random", "pretrained") for k in ks]
    study = load_study(str(folder), write_study(folder, specs, truth))
    return study, evidence(study)[0]


def equal(spec: TrialSpec, iteration: int) -> dict[str, float]:
    return {"box_ap": 40.0 * iteration / (4 * UNIT), "loss": 1.0}


def level(spec: TrialSpec, iteration: int) -> dict[str, float]:
    return {"box_ap": 40.0 * min(1.0, iteration / (0.5 * UNIT)), "loss": 1.0}


def rising_loss(spec: TrialSpec, iteration: int) -> dict[str, float]:
    is_random = spec.init.kind == "random"
    return {"box_ap": 20.0, "loss": 1 + iteration / UNIT if is_random else 1.0, "train_loss": 2 - iteration / 1000}


def test_an_early_lead_is_told_with_its_factor(tmp_path: Path) -> None:
    _, one = loaded(tmp_path, catch_up)
    assert early_words(one).startswith("Pre-training gets off faster")
    assert "times as many" in early_words(one)


def test_no_early_lead_is_told_as_such(tmp_path: Path) -> None:
    _, one = loaded(tmp_path, equal)
    assert early_words(one).startswith("Pre-training gives no lead here")


def test_whether_training_was_long_enough(tmp_path: Path) -> None:
    assert rising_words(loaded(tmp_path / "rising", equal)[1]).startswith("No, both still rise")
    assert rising_words(loaded(tmp_path / "level", level)[1]).startswith("Yes.")


def test_over_fitting_is_counted_by_init(tmp_path: Path) -> None:
    assert (
        overfitting_words(loaded(tmp_path / "a", rising_loss)[0])
        == "3 of 6 trials over-fit (random 3 of 3, pre-trained 0 of 3)."
    )
    assert overfitting_words(loaded(tmp_path / "b", level)[0]).startswith("None of the 6 complete trials over-fits")


def test_chance_is_excluded_only_where_the_interval_is() -> None:
    assert chance_words(Interval(1.0, 0.1, 2.0), "no matches").startswith("Chance alone does not explain it")
    assert chance_words(Interval(1.0, -0.1, 2.0), "no matches").startswith("That may be chance")
    assert chance_words(Interval(1.0), "no matches").startswith("Nothing is known")


def test_many_settings_without_an_answer_say_so_once(tmp_path: Path) -> None:
    specs = [trial("random", 1, num_images=n) for n in (45, 450)]
    study = load_study(str(tmp_path), write_study(tmp_path, specs, catch_up))
    found = evidence(study)
    text = answer_html(study, found, [verdict(one) for one in found])
    assert text.count("No answer yet") == 1
    assert "2 of 2 trials are complete" in text
    assert findings(study, found) == []


def test_inits_without_a_common_schedule_are_compared_at_their_own_longest(tmp_path: Path) -> None:
    """As the paper does on VOC: 144k iterations from scratch against 18k pre-trained."""
    specs = [trial("random", 4), trial("pretrained", 1), trial("pretrained", 2)]
    study = load_study(str(tmp_path), write_study(tmp_path, specs, level))
    (one,) = evidence(study)
    assert one.ends == {"random": 4 * UNIT, "pretrained": 2 * UNIT}
    assert one.end_label == "4x and 2x"
    assert verdict(one).headline == "As measured, random init is within 1 AP of pre-trained's best at 4x"
    assert dict(findings(study, [one]))["At the end"].startswith("After 4x and 2x random init has 40.0 box AP")
