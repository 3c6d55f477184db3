"""How large a detector is, without making it."""

import torch

from raystudy.models.detector import build_detector
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import ModelSpec


def state_bytes(spec: ModelSpec, num_categories: int) -> int:
    """Bytes of a checkpoint: weights, norm statistics and one momentum buffer a trained weight, all float32."""
    with torch.device("meta"):
        detector = build_detector(spec, num_categories, EvalSpec())
    trained = sum(parameter.numel() for parameter in detector.parameters() if parameter.requires_grad)
    kept = sum(tensor.numel() for tensor in detector.state_dict().values())
    total: int = 4 * (kept + trained)
    return total
