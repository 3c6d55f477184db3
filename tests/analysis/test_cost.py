import pytest

from analysis.arms import SETTING
from analysis.cost import reach, study_cost, trial_hours, with_hours
from analysis.evidence import evidence
from analysis.exposure import exposure_lines
from analysis.findings import cost_table
from analysis.load import StudyTable, load_study
from tests.analysis.synthetic import catch_up, trial, write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyTable:
    folder = tmp_path_factory.mktemp("cost")
    specs = [trial(init, k) for init in ("random", "pretrained") for k in (1, 2, 4)]
    return load_study(str(folder), write_study(folder, specs, catch_up))


def test_a_shared_trunk_costs_once(study: StudyTable) -> None:
    """Each arm: a trunk of 300 iterations and three branches of 60; alone: 90 + 180 + 360. 0.1 s an iteration."""
    cost = study_cost(study)
    assert cost.iterations == 2 * (300 + 3 * 60)
    assert cost.naive_iterations == 2 * (90 + 180 + 360)
    assert cost.saved_share == pytest.approx(1 - 480 / 630)
    assert cost.device_hours == pytest.approx(0.1 * cost.iterations / 3600)
    assert cost.naive_device_hours == pytest.approx(0.1 * cost.naive_iterations / 3600)
    assert cost.by_init["random"] == pytest.approx(cost.device_hours / 2)
    assert sum(cost.pretraining_hours.values()) == pytest.approx(70 / 3600)
    assert cost.money(3600.0) == pytest.approx(0.1 * cost.iterations + 70)


def test_a_trial_alone_costs_its_own_iterations(study: StudyTable) -> None:
    assert trial_hours(study)[trial("random", 4).trial_id] == pytest.approx(36 / 3600)


def test_exposure_counts_pre_training_for_its_arm_only(study: StudyTable) -> None:
    lines = {(line.init, line.schedule): line for line in exposure_lines(study, SETTING)}
    assert lines["random", "4x"].sum("images") == 360 * 4
    assert lines["pretrained", "1x"].sum("images") == 90 * 4 + 51_200
    assert lines["pretrained", "1x"].sum("pixels_measured") == 90 * 4 * 128**2 + 51_200 * 48**2
    assert all(line.is_told for line in lines.values())


def test_reaching_an_ap_counts_the_first_evaluation_there(study: StudyTable) -> None:
    low, high, never = reach(with_hours(study), [20.0, 38.0, 90.0], "box_ap")
    first = next(i for i in range(10, 361, 10) if catch_up(trial("pretrained", 4), i)["box_ap"] >= 20)
    assert low.iterations["pretrained"] <= first
    assert low.ratio > 1
    assert high.iterations["random"] % 10 == 0
    assert high.images["random"] == 4 * high.iterations["random"]
    assert high.hours["random"] == pytest.approx(0.1 * high.iterations["random"] / 3600)
    assert never.iterations["random"] != never.iterations["random"]


def test_prices_are_given_on_request(study: StudyTable) -> None:
    cost = study_cost(study)
    assert "price" not in cost_table(study, evidence(study), cost).header
    table = cost_table(study, evidence(study), cost, price_per_hour=3600.0)
    lines = {line[0]: line for line in table.lines}
    assert lines["random, 4x"][4:] == ("36.00", "36.00")
    assert lines["pre-trained, 1x"][4:] == ("9.00", "79.00")
    assert "All together, pre-training included: 166.00" in table.note
