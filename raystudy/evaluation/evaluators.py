"""Which metrics a data set is scored by."""

from collections.abc import Sequence
from typing import Any

from raystudy.evaluation.coco import CocoEvaluator
from raystudy.evaluation.voc import VocEvaluator
from raystudy.spec.evaluation import EvalSpec


def build_evaluator(
    data_format: str,
    ground_truth: dict[str, Any],
    label_to_category_id: Sequence[int],
    spec: EvalSpec,
    with_masks: bool,
    with_keypoints: bool = False,
) -> CocoEvaluator:
    """The evaluator for data of a format (``DataSpec.format``): VOC's has both VOC APs beside COCO's.

    The arguments are those of ``CocoEvaluator``.

    Raises:
        DataError: ground truth that cannot be scored, all problems at once.
    """
    chosen = VocEvaluator if data_format == "voc" else CocoEvaluator
    return chosen(ground_truth, label_to_category_id, spec, with_masks, with_keypoints)
