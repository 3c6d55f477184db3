"""A plan as JSON, for programs: what `raystudy plan --json` prints."""

from typing import Any

from raystudy.commands.calibration import known_calibration
from raystudy.spec.cost import node_seconds, plan_cost
from raystudy.spec.makespan import makespan
from raystudy.spec.plan import Plan
from raystudy.spec.study import StudySpec


def plan_content(study: StudySpec, plan: Plan, storage: str, slots: int, checkpoint_bytes: int) -> dict[str, Any]:
    """The plan of ``study``; arguments as ``raystudy.console.plan_table`` and ``cost_lines`` take them."""
    levels = {trial.trial_id: names for names, trial in study.cells()}
    return {
        "study": study.name,
        "question": study.question,
        "preset": study.preset,
        "unit": study.unit,
        "storage": storage,
        "trials": [
            {
                "trial_id": trial_id,
                "levels": levels[trial_id],
                "iterations": trial.schedule.total,
                "segments": [ref.segment_id for ref in plan.paths[trial_id]],
            }
            for trial_id, trial in plan.trials.items()
        ],
        "segments": [
            {
                "segment_id": segment.segment_id,
                "kind": segment.kind,
                "start": segment.start,
                "end": segment.end,
                "parent": segment.parent,
                "weights_id": segment.spec.init.weights_id or None,
            }
            for segment in plan.segments
        ],
        "pretrainings": {weights_id: recipe.iterations for weights_id, recipe in plan.pretrainings.items()},
        "iterations": {"naive": plan.naive_iterations, "shared": plan.shared_iterations},
        "slots": slots,
        "makespan_iterations": makespan(plan, slots),
        "disk_bytes": plan.most_checkpoints(slots) * checkpoint_bytes,
        "cost": _cost(plan, storage, slots),
    }


def _cost(plan: Plan, storage: str, slots: int) -> dict[str, Any] | None:
    """None while the hardware has not been measured."""
    calibration = known_calibration(plan, storage)
    if calibration is None:
        return None
    found = plan_cost(plan, calibration)
    return {
        "device": calibration.device,
        "device_hours": found.device_hours,
        "training_hours": found.training_hours,
        "evaluation_hours": found.evaluation_hours,
        "pretraining_hours": found.pretraining_hours,
        "makespan_s": makespan(plan, slots, node_seconds(plan, calibration)),
    }
