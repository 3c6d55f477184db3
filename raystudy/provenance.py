"""Where pre-trained weights come from and what they have seen: ``weights/<id>/provenance.json`` of a storage.

Numbers are known or None, never guessed. A file that a user brings tells them when it is raystudy's own, or one that
torchvision publishes (by its checksum); for others the user can say how many pictures it has seen.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from raystudy.spec.pretraining import NOMINAL_PIXELS


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsProvenance:
    """What is known of pre-trained weights."""

    source: str
    """Who made them: ``raystudy pretrain``, ``torchvision ResNet50_Weights.IMAGENET1K_V1``, ``Detectron``, ``file``."""

    file: str = ""
    """Name of the file that was brought; empty for weights that the storage's own studies made."""

    reference: str = ""
    """Where the numbers of published weights are documented."""

    data: str = ""
    data_checksum: str = ""
    distinct_images: int | None = None
    num_classes: int | None = None
    images_seen: int | None = None
    """Pictures that pre-training was fed, repeats included."""

    instances_seen: int | None = None
    """Annotated objects; None for classification, whose pictures have none."""

    pixels_nominal_seen: int | None = None
    """224x224 a picture, whatever its size, as the paper's Figure 2 counts."""

    pixels_measured_seen: int | None = None
    """That the network was fed."""

    passes: float | None = None
    """Over the distinct pictures."""

    iterations: int | None = None
    batch_size: int | None = None
    top1: float | None = None
    """Share of held-out pictures whose class was the first choice, 0 to 1."""

    wall_time_s: float | None = None
    workers: int | None = None
    sha256: str = ""
    """Of the weights file."""

    weights_id: str = ""
    recipe: dict[str, Any] | None = None
    """The ``PretrainSpec`` that made them."""

    def exposure(self) -> dict[str, float]:
        """Images, instances, nominal and measured pixels, as rows count them; without those that are not known.

        A picture of classification counts as one instance, as the paper's Figure 2 does (its caption).
        """
        instances = self.images_seen if self.instances_seen is None else self.instances_seen
        told = {
            "images": self.images_seen,
            "instances": instances,
            "pixels_nominal": self.pixels_nominal_seen,
            "pixels_measured": self.pixels_measured_seen,
        }
        return {kind: float(number) for kind, number in told.items() if number is not None}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "WeightsProvenance":
        """The inverse of ``to_dict``; fields of other versions are left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{"source": "unknown", **{name: value for name, value in data.items() if name in known}})


def with_images(known: WeightsProvenance, images: int) -> WeightsProvenance:
    """What is known, and that the weights have seen so many pictures."""
    return dataclasses.replace(known, images_seen=images, pixels_nominal_seen=images * NOMINAL_PIXELS)
