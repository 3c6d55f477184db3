"""Optuna as a function: the next suggestion of an arm from the results of its earlier trials, and what mattered.

Nothing is remembered between two calls. The sampler of each trial has a seed of its own and sees the arm's trials as
the search's record has them, so that a restarted search suggests what an undisturbed one would have.
"""

import hashlib
import itertools
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from raystudy.search_records import SearchState, SearchTrial
from raystudy.spec.parameter import Parameter
from raystudy.spec.search import SearchSpec

IMPORTANCE_METHOD = "PED-ANOVA"
"""Watanabe, Bansal, Hutter 2023: how far the best trials' values are from any values of the space, by parameter."""

TOP_TRIALS = 5
"""Trials that count as the best for it, which Optuna recommends at least; never more than half of them."""

REDRAWS = 50
"""Times that a suggestion equal to an earlier trial is drawn again; the second half of them at random."""

_STATES = {
    SearchState.RUNNING: optuna.trial.TrialState.RUNNING,
    SearchState.COMPLETE: optuna.trial.TrialState.COMPLETE,
    SearchState.PRUNED: optuna.trial.TrialState.PRUNED,
    SearchState.DIVERGED: optuna.trial.TrialState.PRUNED,  # for TPE the worst of all: pruned before its first rung
    SearchState.FAILED: optuna.trial.TrialState.FAIL,
}

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def suggest(search: SearchSpec, arm: str, trials: Sequence[SearchTrial]) -> dict[str, Any]:
    """Values for the arm's next trial: a function of the search and of the arm's trials by number.

    Trials that still run count as the worst so far (constant liar), so that a generation spreads out.
    """
    space = distributions(search.parameters)
    known = [dict(trial.values) for trial in trials]
    values: dict[str, Any] = {}
    for draw in range(REDRAWS):
        seed = _seed(search.seed, arm, len(trials), draw)
        at_random = len(trials) < search.startup or draw >= REDRAWS // 2
        sampler: optuna.samplers.BaseSampler = (
            optuna.samplers.RandomSampler(seed=seed)
            if at_random
            else optuna.samplers.TPESampler(seed=seed, n_startup_trials=search.startup, constant_liar=True)
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials([frozen_trial(trial, space) for trial in trials])
        drawn = study.ask(space).params
        values = {parameter.name: parameter.on_grid(drawn[parameter.name]) for parameter in search.parameters}
        if values not in known:
            return values
    return next((v for v in _all_values(search.parameters) if v not in known), values)


def importances(search: SearchSpec, arm: str, trials: Sequence[SearchTrial]) -> dict[str, float]:
    """Share of each parameter in what made complete trials good; empty where too few of them differ to say."""
    space = distributions(search.parameters)
    complete = [trial for trial in trials if trial.state == SearchState.COMPLETE]
    if len({trial.value for trial in complete}) < 4:
        return {}
    study = optuna.create_study(direction="maximize")
    study.add_trials([frozen_trial(trial, space) for trial in complete])
    top = min(0.5, max(0.1, TOP_TRIALS / len(complete)))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=top, evaluate_on_local=False)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=list(space))
    return {name: float(share) for name, share in found.items()}


def distributions(parameters: Iterable[Parameter]) -> dict[str, BaseDistribution]:
    """The space as Optuna knows it; values on a grid lie in the continuous range around it."""
    return {parameter.name: _distribution(parameter) for parameter in parameters}


def frozen_trial(trial: SearchTrial, space: dict[str, BaseDistribution]) -> FrozenTrial:
    """The trial as Optuna keeps it: a pruned one is PRUNED and has no value of its own."""
    return optuna.trial.create_trial(
        state=_STATES[trial.state],
        value=trial.value if trial.state == SearchState.COMPLETE else None,
        params={name: trial.values[name] for name in space},  # a record that was read back has another order
        distributions=space,
        user_attrs={"trial_id": trial.trial_id, "state": trial.state.value},
        intermediate_values={int(rung): value for rung, value in trial.at_rungs.items()},
    )


class SearchView:
    """The search in a database that ``optuna-dashboard`` opens: one Optuna study an arm. A view, never read back."""

    def __init__(self, search: SearchSpec, url: str) -> None:
        self._space = distributions(search.parameters)
        self._storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 30}})
        self._search = search

    def show(self, trials: Iterable[SearchTrial]) -> None:
        """Bring the database up to date with these trials."""
        by_arm: dict[str, list[SearchTrial]] = {}
        for trial in trials:
            by_arm.setdefault(trial.arm, []).append(trial)
        for arm, own in by_arm.items():
            self._show_arm(arm, sorted(own, key=lambda trial: trial.number))

    def close(self) -> None:
        """Let go of the database."""
        self._storage.remove_session()

    def _study(self, arm: str) -> optuna.Study:
        study = optuna.create_study(
            storage=self._storage,
            study_name=f"{self._search.name}-{arm}",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.NopPruner(),
        )
        with warnings.catch_warnings():  # optuna calls this experimental; what it writes is a name for the dashboard
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([self._search.metric])
        return study

    def _show_arm(self, arm: str, trials: Sequence[SearchTrial]) -> None:
        study = self._study(arm)
        shown = study.get_trials(deepcopy=False)
        ended = [known for known in shown if known.state.is_finished()]
        if any(known.state != _STATES[trials[known.number].state] for known in ended if known.number < len(trials)):
            optuna.delete_study(study_name=study.study_name, storage=self._storage)  # one that failed is tried again
            study, shown = self._study(arm), []
        for trial in trials:
            if trial.number >= len(shown):
                study.add_trial(frozen_trial(trial, self._space))  # one transaction: whole or not there
            elif not shown[trial.number].state.is_finished():
                self._update(shown[trial.number], trial)

    def _update(self, shown: FrozenTrial, trial: SearchTrial) -> None:
        for rung, value in trial.at_rungs.items():
            if int(rung) not in shown.intermediate_values:
                self._storage.set_trial_intermediate_value(shown._trial_id, int(rung), value)
        if not trial.is_open:
            self._storage.set_trial_user_attr(shown._trial_id, "state", trial.state.value)
            values = [trial.value] if trial.value is not None else None
            self._storage.set_trial_state_values(shown._trial_id, _STATES[trial.state], values)


def _distribution(parameter: Parameter) -> BaseDistribution:
    if parameter.choices:
        return CategoricalDistribution([level.name for level in parameter.choices])
    if parameter.whole:
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _seed(*parts: Any) -> int:
    """32 bits from what the draw is for."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def _all_values(parameters: Sequence[Parameter]) -> Iterable[dict[str, Any]]:
    """Every combination, where the space is finite."""
    grids = [parameter.finite_values() for parameter in parameters]
    if not all(grids):
        return
    for values in itertools.product(*grids):
        yield dict(zip((parameter.name for parameter in parameters), values, strict=True))
