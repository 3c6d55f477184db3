"""The validation of a state: metrics over the whole validation set and its losses, equal on every rank."""

import dataclasses
from functools import partial

import numpy as np
import torch

from raystudy.data.batch import Batch
from raystudy.data.coco import CocoDataset
from raystudy.data.loader import EvalLoader
from raystudy.data.picture_store import PictureStore
from raystudy.data.subset import subset_indices
from raystudy.evaluation.coco import Result
from raystudy.evaluation.evaluators import build_evaluator
from raystudy.evaluation.examples import Examples, collect_examples, example_indices
from raystudy.evaluation.losses import undisturbed, validation_losses
from raystudy.evaluation.matches import Matches
from raystudy.models.detector import Detector
from raystudy.spec.trial import TrialSpec
from raystudy.training import collectives
from raystudy.training.loop import autocast
from raystudy.training.memory import release_unused_memory
from raystudy.training.state import TrainState

PART_SEED = 0
"""The pictures of the training set that are scored are the same in every trial on the same part of it."""

LOSS_SEED = 0
"""One seed for every trial and iteration: RoIs are sampled alike, so that validation losses compare."""


class Validator:
    """Validates states of one trial; keeps what does not change between two validations.

    Losses are always those of the pictures at the test size; with several scales of evaluation, detections are made in
    a pass of their own over the pictures as they lie on disk, from which every scale is made. Where the spec asks for
    it, a fixed part of the training set is scored too, always without augmentation.
    """

    def __init__(
        self,
        dataset: CocoDataset,
        spec: TrialSpec,
        trained_on: CocoDataset | None = None,
        *,
        loader_processes: int = 0,
        store: PictureStore | None = None,
    ) -> None:
        """A validator of states on ``dataset``.

        Args:
            dataset: the validation set.
            spec: of the trial.
            trained_on: the training set, its subset taken; without it none of its pictures are scored.
            loader_processes: processes that decode ahead what is not kept from an earlier validation.
            store: the machine's resized pictures; None makes them in each process.
        """
        self._spec, self._dataset = spec, dataset
        self._training_part: Validator | None = None
        if trained_on is not None and spec.evaluation.train_images:
            plain = dataclasses.replace(spec, evaluation=spec.evaluation.plain)
            part = training_part(trained_on, spec.evaluation.train_images)
            self._training_part = Validator(part, plain, loader_processes=loader_processes, store=store)
        self._examples = example_indices(dataset.instance_counts)
        self._example_results: list[Result] = []
        rank, world = collectives.rank(), collectives.world_size()
        load = partial(EvalLoader, dataset, spec, rank, world, loader_processes=loader_processes, store=store)
        self._loader = load()
        has_scales = bool(spec.evaluation.scales)
        self._detection_loader = self._loader
        if has_scales:
            self._detection_loader = load(whole=True)
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
        found = self._measured(state)
        release_unused_memory()  # a validation's detections are the most that the process ever held
        return found

    def _measured(self, state: TrainState) -> dict[str, float]:
        model, device = state.model, state.device
        trained = self._training_metrics(model, device)
        if self._detection_loader is not self._loader:
            with autocast(self._spec, device):
                losses = validation_losses(model, self._loader, device, LOSS_SEED)
            return {**losses, **self.metrics(model, device), **trained}
        self._evaluator.reset()
        with autocast(self._spec, device), model.sharing_features():
            losses = validation_losses(model, self._loader, device, LOSS_SEED, lambda batch: self._look(model, batch))
        return {**losses, **self._gathered_metrics(), **trained}

    def metrics(self, model: Detector, device: torch.device) -> dict[str, float]:
        """Metrics without losses, under the names of ``EvalRow``'s columns; equal on every rank."""
        self._evaluator.reset()
        model.keypoint_mirror = self._dataset.keypoint_mirror
        with autocast(self._spec, device), torch.no_grad(), undisturbed(model, device):
            for batch in self._detection_loader:
                self._look(model, batch.to(device))
        return self._gathered_metrics()

    def matches(self) -> dict[str, Matches]:
        """The last validation's matches of detections and objects, by kind; on rank 0 only."""
        return self._evaluator.matches()

    def examples(self) -> Examples:
        """A few pictures with what the last validation found in them; on rank 0 only."""
        return collect_examples(self._dataset, self._examples, self._example_results)

    def _training_metrics(self, model: Detector, device: torch.device) -> dict[str, float]:
        if self._training_part is None:
            return {}
        own, model.evaluation = model.evaluation, self._training_part._spec.evaluation
        try:
            found = self._training_part.metrics(model, device)
        finally:
            model.evaluation = own
        return {f"train_{name}": found[name] for name in ("box_ap", "mask_ap") if name in found}

    def _look(self, model: Detector, batch: Batch) -> None:
        self._evaluator.process(batch, model.detect(batch))

    def _gathered_metrics(self) -> dict[str, float]:
        gathered = collectives.gather_objects(self._evaluator.results())
        metrics = None
        if collectives.rank() == 0:
            results = [item for part in gathered for item in part]
            metrics = self._evaluator.evaluate(results)
            shown = {self._dataset.image_ids[index] for index in self._examples}
            self._example_results = [result for result in results if result["image_id"] in shown]
        found: dict[str, float] = collectives.broadcast_object(metrics)
        return {**found, "num_images": len(self._dataset)}


def training_part(trained_on: CocoDataset, num_images: int) -> CocoDataset:
    """So many of the pictures that are trained on, or all where there are fewer; more hold fewer."""
    pictures = np.flatnonzero(trained_on.instance_counts)
    chosen = subset_indices(len(pictures), count=min(num_images, len(pictures)), seed=PART_SEED)
    return trained_on.subset(pictures[chosen])
