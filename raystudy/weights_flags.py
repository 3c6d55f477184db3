"""The flags on what pretrained trials start from, and what follows from them."""

import argparse
import dataclasses
import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from raystudy.errors import SpecError
from raystudy.spec.pretraining import on_folder
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import PretrainSpec, replaced

TORCHVISION = "torchvision"


def add_weights_flags(what: "argparse._ArgumentGroup") -> None:
    """The flags on pre-trained weights."""
    what.add_argument(
        "--weights",
        metavar="FILE",
        help="a weights file for pretrained trials (raystudy's, torchvision's, Detectron's .pkl), or torchvision or "
        "torchvision/IMAGENET1K_V2: its own, downloaded",
    )
    what.add_argument("--weights-images", type=int, metavar="N", help="pictures that the file's weights have seen")
    what.add_argument(
        "--pretrain-data", metavar="FOLDER", help="make the weights of pretrained trials from train/<class>/ of it"
    )


def with_weights(study: StudySpec, options: argparse.Namespace) -> StudySpec:
    """``study`` with what the command line says of the weights that pretrained trials start from.

    Raises:
        RaystudyError: what was asked cannot be; all problems at once.
    """
    check_weights_flags(options)
    if options.pretrain_data is not None:
        study = dataclasses.replace(study, pretraining=recipe_on_folder(study.pretraining, options.pretrain_data))
    if options.weights is None:
        return study
    backbones = {trial.model.backbone for _, trial in study.cells() if trial.init.kind == "pretrained"}
    brought, axes = weights_overrides(options.weights, backbones, options.weights_images), []
    if study.base.init.kind == "pretrained":
        study = dataclasses.replace(study, base=replaced(study.base, **brought))
    for axis in study.axes:
        levels = [dataclasses.replace(level, overrides=with_brought(level.overrides, brought)) for level in axis.levels]
        axes.append(dataclasses.replace(axis, levels=tuple(levels)))
    return dataclasses.replace(study, axes=tuple(axes))


def with_brought(overrides: Mapping[str, Any], brought: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides of a level or arm, with those of a weights file where they make a trial pretrained."""
    return {**overrides, **(brought if overrides.get("init.kind") == "pretrained" else {})}


def weights_overrides(text: str, backbones: Collection[str], images: int | None = None) -> dict[str, Any]:
    """What the weights that ``text`` names change of a pretrained trial.

    Args:
        text: path of a file, or ``torchvision``, or ``torchvision/NAME``.
        backbones: of the trials that are to start from them.
        images: that the weights have seen, where the user says so.

    Raises:
        SpecError: the file is not there.
        WeightsError: torchvision publishes no such weights.
    """
    said = {} if images is None else {"init.weights_images": images}
    if text.split("/")[0] == TORCHVISION and not Path(text).exists():
        return {**_torchvision(text.partition("/")[2], backbones), **said}
    path = Path(text).expanduser()
    if not path.is_file():
        raise SpecError(f"the weights file {path} does not exist; check --weights")
    weights_id = f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
    return {"init.weights_id": weights_id, "init.weights_file": str(path.absolute()), **said}


def recipe_on_folder(recipe: PretrainSpec | None, folder: str) -> PretrainSpec:
    """The recipe on a folder of labelled pictures, which is listed for it.

    Raises:
        SpecError: there is no recipe.
        DataError: pictures that cannot be used, with everything that is wrong.
    """
    from raystudy.data.image_folder import ImageFolder

    if recipe is None:
        raise SpecError("--pretrain-data needs a recipe of pre-training, but this study has none; give --weights FILE")
    found = ImageFolder.open(Path(folder).expanduser().absolute())
    return on_folder(recipe, str(found.root), found.checksum(), len(found.train))


def check_weights_flags(options: argparse.Namespace) -> None:
    """Raise ``SpecError`` for flags that exclude each other, or that miss one."""
    problems = []
    if options.weights is not None and options.pretrain_data is not None:
        problems.append("--weights and --pretrain-data both say what pretrained trials start from; give one of them")
    if options.weights_images is not None and options.weights is None:
        problems.append("--weights-images tells what the weights of a file have seen; add --weights FILE")
    if options.weights_images is not None and options.weights_images < 0:
        problems.append(f"--weights-images is {options.weights_images}, but must be at least 0")
    if problems:
        raise SpecError(problems)


def _torchvision(name: str, backbones: Collection[str]) -> dict[str, Any]:
    from raystudy.models.torchvision_file import torchvision_address, torchvision_weights_id

    if len(backbones) != 1:
        known = ", ".join(sorted(backbones)) or "none"
        raise SpecError(f"--weights torchvision stands for the weights of one backbone; pretrained trials have {known}")
    (backbone,) = backbones
    address = torchvision_address(backbone, name)
    return {"init.weights_id": torchvision_weights_id(address), "init.weights_file": address}
