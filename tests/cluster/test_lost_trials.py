"""A trial that Tune ends without telling the search algorithm."""

from types import SimpleNamespace
from typing import cast

from ray.tune.experiment import Trial

from raystudy.cluster.lost_trials import LostTrials


class _Searcher:
    def __init__(self) -> None:
        self.flying = {"lost", "at-work"}
        self.told: list[str] = []

    def on_trial_lost(self, trial_id: str) -> None:
        self.flying.remove(trial_id)
        self.told.append(trial_id)


def test_it_is_told_of_once_and_no_other_trial_is() -> None:
    searcher = _Searcher()
    states = {"lost": Trial.ERROR, "at-work": Trial.RUNNING, "told-of-before": Trial.ERROR, "done": Trial.TERMINATED}
    trials = cast(list[Trial], [SimpleNamespace(trial_id=name, status=status) for name, status in states.items()])
    watch = LostTrials(searcher)
    watch.on_step_begin(1, trials)
    watch.on_step_begin(2, trials)
    assert searcher.told == ["lost"]
