"""Feature pyramid network (Lin et al. 2017): all levels with the same number of channels."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from raystudy.models.layers import conv_norm
from raystudy.models.normalization import NormFactory


class FeaturePyramid(nn.Module):
    """Lateral 1x1 convolutions, a top-down path of nearest-neighbour enlargements, and 3x3 output convolutions.

    With ``has_extra_level`` a last, coarser level is taken from the top one by max-pool (Detectron's P6, for RPN only).
    """

    def __init__(self, inputs: Sequence[int], channels: int, norm: NormFactory, has_extra_level: bool) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(conv_norm(width, channels, 1, norm, relu=False) for width in inputs)
        self.output = nn.ModuleList(conv_norm(channels, channels, 3, norm, relu=False) for _ in inputs)
        self.has_extra_level = has_extra_level

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the backbone, finest first, to pyramid levels, finest first."""
        merged = [lateral(feature) for lateral, feature in zip(self.lateral, maps, strict=True)]
        for level in range(len(merged) - 2, -1, -1):
            merged[level] = merged[level] + F.interpolate(merged[level + 1], size=merged[level].shape[-2:])
        levels = [output(feature) for output, feature in zip(self.output, merged, strict=True)]
        if self.has_extra_level:
            levels.append(F.max_pool2d(levels[-1], kernel_size=1, stride=2))
        return levels
