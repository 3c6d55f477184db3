"""What a search is: its trials, its budget, and what is wrong with it."""

import dataclasses
import json
from typing import Any

import pytest

from raystudy.errors import SpecError
from raystudy.spec.parameter import Parameter
from raystudy.spec.presets import load_preset
from raystudy.spec.schedule import Drop, ScheduleSpec
from raystudy.spec.search import Arm, SearchSpec, Value, first_drop, split
from raystudy.spec.study import Level, StudySpec
from raystudy.spec.trial import replaced
from tests.tiny_trials import tiny_trial

RATE = Parameter(name="base_lr", path="optimizer.base_lr", low=0.01, high=0.16, log=True, steps=5)
FACTOR = Parameter(name="factor", path="schedule.drops.*.factor", low=0.02, high=0.5, log=True)
LENGTH = Parameter(name="iterations", path="schedule.total", low=6, high=10, whole=True, steps=3)
SCALES = Parameter(
    name="scales",
    choices=(
        Level(name="64", overrides={"input.train_short_sides": (64,)}),
        Level(name="48 to 64", overrides={"input.train_short_sides": (48, 56, 64)}),
    ),
)
VALUES: dict[str, Value] = {"base_lr": 0.02, "factor": 0.05, "iterations": 10, "scales": "48 to 64"}


def search(**changes: Any) -> SearchSpec:
    given: dict[str, Any] = {
        "name": "s",
        "base": tiny_trial(total=6, before_end=2),
        "arms": tuple(Arm(name=kind, overrides={"init.kind": kind}) for kind in ("random", "pretrained")),
        "parameters": (RATE, FACTOR, LENGTH, SCALES),
        "trials": 8,
        "rungs": (2, 4),
        "pretraining": load_preset("smoke").pretraining,
    }
    return SearchSpec(**(given | changes))


def test_a_trial_is_the_base_with_the_arm_and_the_values() -> None:
    trial = search().trial("pretrained", VALUES)
    assert trial.init.kind == "pretrained"
    assert trial.init.weights_id
    assert trial.optimizer.base_lr == 0.02
    assert [drop.factor for drop in trial.schedule.drops] == [0.05]
    assert (trial.schedule.total, trial.schedule.name) == (10, "10it")
    assert trial.input.train_short_sides == (48, 56, 64)
    assert trial.problems() == []


def test_a_grid_holds_its_ends_and_numbers_that_read_well() -> None:
    assert RATE.finite_values() == (0.01, 0.02, 0.04, 0.08, 0.16)
    assert LENGTH.finite_values() == (6, 8, 10)
    assert RATE.on_grid(0.03) == 0.04  # nearest in the logarithm: the middle is 0.0283
    assert RATE.on_grid(0.028) == 0.02
    assert FACTOR.on_grid(0.0333) == 0.0333
    assert FACTOR.finite_values() == ()


def test_a_trial_splits_at_its_last_evaluation_before_the_drop() -> None:
    trial = search().trial("random", VALUES)
    trunk, branch = split(trial, forks=(2, 4)).segments
    assert (trunk.start, trunk.end, trunk.forks) == (0, 8, (2, 4, 8))
    assert (branch.start, branch.end) == (8, 10)
    assert first_drop(trial) == 8
    other = split(search().trial("random", {**VALUES, "iterations": 6, "factor": 0.5})).segments
    assert other[0].segment_id == trunk.segment_id


def test_a_trial_without_drops_or_with_a_drop_before_its_first_evaluation_is_one_segment() -> None:
    without = replaced(tiny_trial(), schedule=ScheduleSpec(total=8, drops=(), warmup_iterations=2))
    early = replaced(tiny_trial(), schedule=ScheduleSpec(total=8, drops=(Drop(before_end=6),), warmup_iterations=2))
    early = replaced(early, eval_interval=8)
    for trial in (without, early):
        plan = split(trial)
        assert [(s.start, s.end) for s in plan.segments] == [(0, 8)]
        assert [ref.segment_id for ref in plan.paths[trial.trial_id]] == [s.segment_id for s in plan.segments]


def test_fork_points_are_those_of_all_lengths() -> None:
    assert search().fork_points("random") == (4, 6, 8)


def test_arms_have_equal_budgets_unless_one_has_its_own() -> None:
    arms = search().arms
    assert [search().budget(arm.name) for arm in arms] == [8, 8]
    own = search(arms=(dataclasses.replace(arms[0], trials=3), arms[1]))
    assert [own.budget(arm.name) for arm in arms] == [3, 8]


def test_it_comes_back_from_json() -> None:
    plain = json.loads(json.dumps(search().to_dict()))
    again = SearchSpec.from_dict(plain)
    assert json.loads(json.dumps(again.to_dict())) == plain
    assert again.trial("random", VALUES).trial_id == search().trial("random", VALUES).trial_id


def test_the_best_study_trains_each_arm_with_its_own_values_and_fresh_seeds() -> None:
    spec = search()
    other = {**VALUES, "base_lr": 0.08, "iterations": 6}
    study = spec.best_study({"random": VALUES, "pretrained": other})
    cells = {(levels["init"], levels["seed"]): trial for levels, trial in study.cells()}
    assert set(cells) == {(init, str(seed)) for init in ("random", "pretrained") for seed in (1, 2, 3)}
    for arm, values in (("random", VALUES), ("pretrained", other)):
        for seed in (1, 2, 3):
            expected = dataclasses.replace(spec.trial(arm, values), seed=seed)
            assert cells[arm, str(seed)].trial_id == expected.trial_id
    read = StudySpec.from_dict(json.loads(json.dumps(study.to_dict())))
    assert [t.trial_id for t in read.trials()] == [t.trial_id for t in study.trials()]


def test_all_that_is_wrong_is_said_at_once() -> None:
    broken = search(
        arms=(*search().arms, search().arms[0]),
        parameters=(
            Parameter(name="a", path="optimizer.rate", low=1, high=2),
            Parameter(name="b", path="optimizer.base_lr", low=0.0, high=0.1, log=True),
            Parameter(name="c", low=2, high=1),
        ),
        trials=0,
        keep=1.5,
        rungs=(3, 2),
        final_seeds=(),
    )
    text = "\n".join(broken.problems())
    for words in (
        "arm random is given twice",
        "no field 'rate'",
        "logarithmic from 0",
        "neither a path nor choices",
        "low must be below high",
        "trials is 0",
        "keep is 1.5",
        "rungs are [3, 2]",
        "final_seeds is empty",
    ):
        assert words in text
    with pytest.raises(SpecError):
        broken.checked()


def test_trials_that_cannot_be_at_the_edge_of_the_space_are_refused() -> None:
    short = dataclasses.replace(LENGTH, low=2)
    (problem,) = set(search(parameters=(short,), trials=2, arms=search().arms[:1]).problems())
    assert "no phase at the full rate" in problem
    assert "arm random" in problem


def test_more_trials_than_combinations_are_refused() -> None:
    assert search(parameters=(LENGTH,), trials=3).problems() == []
    (first, second) = search(parameters=(LENGTH,), trials=4).problems()
    assert "only 3 combinations" in first
    assert "pretrained" in second


def test_the_least_iterations_are_those_of_pruning_all_that_may_be() -> None:
    spec = search(trials=8, generation=4, min_values=4, arms=search().arms[:1])
    assert spec.least_iterations() == 4 * 6 + 4 * 2
    assert dataclasses.replace(spec, rungs=()).least_iterations() == 8 * 6
