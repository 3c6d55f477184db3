"""Backbones: uint8-normalised pictures in, feature maps at strides 4, 8, 16 and 32 out (VGG-16: at 16 only).

    resnet50, resnet101             He et al. 2016, stride in the 3x3 (Detectron's STRIDE_1X1: False)
    resnext152_8x32d, _32x8d        Xie et al. 2017: 8 groups of width 32 (the paper's), 32 of width 8 (Detectron's)
    tiny, tiny_deep, tiny_grouped   residual networks for 128 px pictures on a CPU, a ladder as R50, R101 and X152
    tiny_vgg                        the same size without residuals
    vgg16                           Simonyan and Zisserman 2015, up to conv5_3

Parameter names are torchvision's (conv1, bn1, layer1 ... layer4, downsample; VGG-16: features.N), whatever the norm,
so that files load.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from raystudy.errors import SpecError
from raystudy.models.layers import conv
from raystudy.models.normalization import NormFactory, norm_factory
from raystudy.spec.model import BACKBONES, ModelSpec

STRIDES = (4, 8, 16, 32)
"""Of the feature maps, in pixels of the input."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """Numbers that make a residual network."""

    depths: tuple[int, int, int, int]
    """Blocks a stage."""

    stem: int = 64
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    """Channels of the 3x3 convolutions, a stage."""

    expansion: int = 4
    """Channels of a bottleneck's output, per channel of its 3x3; 0 makes basic blocks."""

    groups: int = 1


SHAPES: dict[str, _Shape] = {
    "resnet50": _Shape((3, 4, 6, 3)),
    "resnet101": _Shape((3, 4, 23, 3)),
    "resnext152_8x32d": _Shape((3, 8, 36, 3), widths=(256, 512, 1024, 2048), expansion=1, groups=8),
    "resnext152_32x8d": _Shape((3, 8, 36, 3), widths=(256, 512, 1024, 2048), expansion=1, groups=32),
    "tiny": _Shape((1, 1, 1, 1), stem=24, widths=(24, 48, 96, 192), expansion=0),
    "tiny_deep": _Shape((2, 2, 2, 2), stem=24, widths=(24, 48, 96, 192), expansion=0),
    "tiny_grouped": _Shape((2, 2, 2, 2), stem=24, widths=(48, 96, 192, 384), expansion=1, groups=8),
}


class Backbone(nn.Module):
    """What detectors and classifiers need of a backbone."""

    out_channels: tuple[int, ...]
    """Channels of each feature map, finest first."""

    strides: tuple[int, ...] = STRIDES
    """Of the feature maps, pixels."""

    num_frozen: int = 0

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """The modules of each stage, the stem first: what ``freeze_stages`` counts."""
        raise NotImplementedError

    def freeze(self, num_stages: int) -> None:
        """Stop training of the first stages: parameters, and the statistics of their norms."""
        self.num_frozen = num_stages
        for parameter in self._frozen_parameters():
            parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """As ``nn.Module.train``, but frozen stages stay in evaluation mode."""
        super().train(mode)
        for stage in self.stages()[: self.num_frozen]:
            for module in stage:
                module.eval()
        return self

    def _frozen_parameters(self) -> list[nn.Parameter]:
        return [p for stage in self.stages()[: self.num_frozen] for module in stage for p in module.parameters()]


def build_backbone(spec: ModelSpec) -> Backbone:
    """The backbone that ``spec`` names, with its norm, its first stages frozen when it says so.

    Raises:
        SpecError: an unknown backbone, or a norm that does not fit its widths.
    """
    norm = norm_factory(spec)
    if spec.backbone in SHAPES:
        backbone: Backbone = ResNet(SHAPES[spec.backbone], norm)
    elif spec.backbone == "tiny_vgg":
        backbone = TinyVgg(norm, has_pyramid=spec.neck != "none")
    elif spec.backbone == "vgg16":
        backbone = Vgg16(norm)
    else:
        raise SpecError(f"backbone is {spec.backbone!r}, but must be one of {', '.join(BACKBONES)}")
    if not 0 <= spec.freeze_stages <= len(backbone.stages()):
        raise SpecError(f"freeze_stages is {spec.freeze_stages}, but {spec.backbone} has {len(backbone.stages())}")
    backbone.freeze(spec.freeze_stages)
    return backbone


class _Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: NormFactory) -> None:
        super().__init__()
        self.bn1, self.bn2 = norm(outputs), norm(outputs)
        self.conv1 = conv(inputs, outputs, 3, self.bn1, stride=stride)
        self.conv2 = conv(outputs, outputs, 3, self.bn2)
        self.downsample = _shortcut(inputs, outputs, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)


class _Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride and the groups) and 1x1 convolutions, and a shortcut."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int, groups: int, norm: NormFactory) -> None:
        super().__init__()
        self.bn1, self.bn2, self.bn3 = norm(width), norm(width), norm(outputs)
        self.conv1 = conv(inputs, width, 1, self.bn1)
        self.conv2 = conv(width, width, 3, self.bn2, stride=stride, groups=groups)
        self.conv3 = conv(width, outputs, 1, self.bn3)
        self.downsample = _shortcut(inputs, outputs, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)


def _shortcut(inputs: int, outputs: int, stride: int, norm: NormFactory) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    layer = norm(outputs)
    projection = conv(inputs, outputs, 1, layer, stride=stride)
    return nn.Sequential(projection, layer)


class ResNet(Backbone):
    """Stem of 7x7 convolution and max-pool, then four stages of residual blocks."""

    def __init__(self, shape: _Shape, norm: NormFactory) -> None:
        super().__init__()
        self.bn1 = norm(shape.stem)
        self.conv1 = conv(3, shape.stem, 7, self.bn1, stride=2)
        channels, made = shape.stem, []
        for number, (depth, width) in enumerate(zip(shape.depths, shape.widths, strict=True), 1):
            stride = 1 if number == 1 else 2
            outputs = width * max(shape.expansion, 1)
            blocks: list[nn.Module] = []
            for index in range(depth):
                step = stride if index == 0 else 1
                if shape.expansion:
                    blocks.append(_Bottleneck(channels, width, outputs, step, shape.groups, norm))
                else:
                    blocks.append(_Basic(channels, outputs, step, norm))
                channels = outputs
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            made.append(outputs)
        self.out_channels = tuple(made)

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        return [(self.conv1, self.bn1), *((getattr(self, f"layer{n}"),) for n in range(1, 5))]

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W] to maps of [B, C, H / s, W / s] for s = 4, 8, 16, 32."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        maps = []
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
            maps.append(x)
        return maps


class TinyVgg(Backbone):
    """Pairs of 3x3 convolutions, each pair ended by a 2x2 max-pool: VGG's pattern (Simonyan and Zisserman 2015).

    Without a pyramid it ends at stride 16, as VGG-16 does, and gives that map alone.
    """

    def __init__(
        self, norm: NormFactory, widths: tuple[int, ...] = (24, 48, 96, 192), has_pyramid: bool = True
    ) -> None:
        super().__init__()
        self.has_pyramid = has_pyramid
        widths = widths if has_pyramid else widths[:3]
        self.stem = _plain(3, widths[0], 2, 1, norm)
        channels = widths[0]
        for number, width in enumerate(widths, 1):
            self.add_module(f"layer{number}", _plain(channels, width, 1, 2, norm))
            channels = width
        self.out_channels = widths if has_pyramid else widths[-1:]
        self.strides = STRIDES if has_pyramid else STRIDES[2:3]
        self._depth = len(widths)

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        return [(self.stem,), *((getattr(self, f"layer{n}"),) for n in range(1, self._depth + 1))]

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W] to maps of [B, C, H / s, W / s] for s = 4, 8, 16, 32, or for 16 alone."""
        x = self.stem(x)
        maps = []
        for number in range(1, self._depth + 1):
            x = getattr(self, f"layer{number}")(F.max_pool2d(x, 2))
            maps.append(x)
        return maps if self.has_pyramid else maps[-1:]


VGG16_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions, a stage; a 2x2 max-pool lies between two stages."""


class Vgg16(Backbone):
    """The convolutions of VGG-16, without the last max-pool: one map at stride 16.

    Layers are numbered as in torchvision's ``vgg16`` when there is no norm, else as in its ``vgg16_bn``.
    """

    out_channels = (512,)
    strides = (16,)

    def __init__(self, norm: NormFactory) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self._ends = []
        channels = 3
        for widths in VGG16_WIDTHS:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for width in widths:
                layer = norm(width)
                layers.append(conv(channels, width, 3, layer))
                if not isinstance(layer, nn.Identity):
                    layers.append(layer)
                layers.append(nn.ReLU(inplace=True))
                channels = width
            self._ends.append(len(layers))
        self.features = nn.Sequential(*layers)

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        starts = [0, *self._ends[:-1]]
        return [list(self.features)[start:end] for start, end in zip(starts, self._ends, strict=True)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W] to one map of [B, 512, H / 16, W / 16]."""
        return [self.features(x)]


def _plain(inputs: int, outputs: int, stride: int, depth: int, norm: NormFactory) -> nn.Sequential:
    """``depth`` convolutions with norm and ReLU; the first has the stride."""
    parts: list[nn.Module] = []
    for index in range(depth):
        layer = norm(outputs)
        parts += [conv(inputs if index == 0 else outputs, outputs, 3, layer, stride=stride if index == 0 else 1), layer]
        parts.append(nn.ReLU(inplace=True))
    return nn.Sequential(*parts)
