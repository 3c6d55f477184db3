"""The validation of a state: metrics over the whole validation set and its losses, equal on every rank."""

from raystudy.data.coco import CocoDataset
from raystudy.data.loader import EvalLoader
from raystudy.evaluation.coco import Result
from raystudy.evaluation.evaluators import build_evaluator
from raystudy.evaluation.examples import Examples, collect_examples, example_indices
from raystudy.evaluation.losses import validation_losses
from raystudy.evaluation.matches import Matches
from raystudy.spec.trial import TrialSpec
from raystudy.training import collectives
from raystudy.training.loop import autocast
from raystudy.training.state import TrainState

LOSS_SEED = 0
"""One seed for every trial and iteration: RoIs are sampled alike, so that validation losses compare."""


class Validator:
    """Validates states of one trial; keeps what does not change between two validations."""

    def __init__(self, dataset: CocoDataset, spec: TrialSpec) -> None:
        self._spec, self._dataset = spec, dataset
        self._examples = example_indices(dataset.instance_counts)
        self._example_results: list[Result] = []
        self._num_images = len(dataset)
        self._loader = EvalLoader(dataset, spec, collectives.rank(), collectives.world_size())
        self._evaluator = build_evaluator(
            spec.data.format,
            dataset.ground_truth(),
            list(dataset.label_to_category_id.values()),  # in label order
            spec.evaluation,
            with_masks=spec.model.mask_head is not None,
            with_keypoints=spec.model.keypoint_head is not None,
        )

    def __call__(self, state: TrainState) -> dict[str, float]:
        """Metrics and losses under the names of ``EvalRow``'s columns."""
        self._evaluator.reset()
        with autocast(self._spec, state.device), state.model.sharing_features():
            losses = validation_losses(
                state.model,
                self._loader,
                state.device,
                LOSS_SEED,
                visit=lambda batch: self._evaluator.process(batch, state.model.detect(batch)),
            )
        gathered = collectives.gather_objects(self._evaluator.results())
        metrics = None
        if collectives.rank() == 0:
            results = [item for part in gathered for item in part]
            metrics = self._evaluator.evaluate(results)
            shown = {self._dataset.image_ids[index] for index in self._examples}
            self._example_results = [result for result in results if result["image_id"] in shown]
        found: dict[str, float] = collectives.broadcast_object(metrics)
        return {**losses, **found, "num_images": self._num_images}

    def matches(self) -> dict[str, Matches]:
        """The last validation's matches of detections and objects, by kind; on rank 0 only."""
        return self._evaluator.matches()

    def examples(self) -> Examples:
        """A few pictures with what the last validation found in them; on rank 0 only."""
        return collect_examples(self._dataset, self._examples, self._example_results)
