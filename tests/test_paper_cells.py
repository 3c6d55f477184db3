"""Preset paper of the scripts has the cells that the paper prints numbers for; what figures share is one trial."""

import dataclasses
import runpy
from pathlib import Path

import pytest

from analysis.paper import paper_numbers
from raystudy.spec.presets import load_preset
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import TrialSpec

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"

BACKBONES = {"R50-FPN": "resnet50", "R101-FPN": "resnet101", "VGG-16 (no FPN)": "vgg16"}
NORMS = {"GN": "gn", "SyncBN": "sync_bn", "none": "none"}

Cell = tuple[str, str, str, int]
"""Backbone, norm, init and iterations."""


def paper_study(script: str) -> StudySpec:
    study: StudySpec = runpy.run_path(str(EXPERIMENTS / f"{script}.py"))["study"](load_preset("paper"))
    # As the command line does; without it pretrained cells name no weights.
    return dataclasses.replace(study, pretraining=load_preset("paper").pretraining)


def cell(trial: TrialSpec) -> Cell:
    return trial.model.backbone, trial.model.norm, trial.init.kind, trial.schedule.total


def ids(script: str) -> set[str]:
    return {trial.trial_id for trial in paper_study(script).trials()}


def printed(experiment: str, place: str, model: str) -> set[Cell]:
    """Cells of the paper's rows; digitised ones where it prints a curve only."""
    rows = paper_numbers()
    rows = rows[(rows["experiment"] == experiment) & rows["place"].str.startswith(place)]
    rows = rows[rows["model"].str.contains(model, regex=False)]
    return {(BACKBONES[model], NORMS[row.norm], row.init, int(row.iterations)) for row in rows.itertuples(index=False)}


@pytest.mark.parametrize(
    ("script", "experiment", "place", "model"),
    [
        ("schedule_length", "schedules_gn", "Table 1", "R50-FPN"),
        ("resnet101", "schedules_gn", "Table 1 / Fig. 3", "R101-FPN"),
        ("sync_bn", "schedules_syncbn", "Fig. 4 (curve, last", "R50-FPN"),
        ("keypoints", "keypoint", "Fig. 6 (curve, last", "R50-FPN"),
    ],
)
def test_a_script_trains_every_cell_of_its_figure_and_no_other(
    script: str, experiment: str, place: str, model: str
) -> None:
    expected = printed(experiment, place, model)
    assert len(expected) >= 4
    assert {cell(trial) for trial in paper_study(script).trials()} == expected


def test_vgg_trains_both_printed_cells() -> None:
    trials = paper_study("vgg").trials()
    assert printed("vgg16", "Sec. 5.1", "VGG-16 (no FPN)") < {cell(trial) for trial in trials}
    model, given = trials[0].model, trials[0].input
    assert (model.neck, model.norm, model.mask_head, model.freeze_stages) == ("none", "none", None, 0)
    assert (model.box_head.pooling, model.box_head.num_convs, model.box_head.num_fcs) == ("pool", 0, 2)
    assert model.box_head.fc_channels == 4096
    assert model.rpn.anchor_sizes == (64, 128, 256, 512)
    assert (model.rpn.pre_nms_train, model.rpn.pre_nms_test) == (12_000, 6000)
    assert (model.rpn.post_nms_train, model.rpn.post_nms_train_per, model.rpn.post_nms_test) == (2000, "image", 1000)
    assert given.train_short_sides == (640, 672, 704, 736, 768, 800)
    # The paper: LR 0.02, a tenth at each drop, weight decay 1e-4.
    assert (trials[0].optimizer.base_lr, trials[0].optimizer.weight_decay) == (0.02, 1e-4)
    assert {drop.factor for trial in trials for drop in trial.schedule.drops} == {0.1}


def test_scale_augmentation_trains_longer_from_random_and_takes_its_baseline_from_the_other_figures() -> None:
    trials = paper_study("scale_augmentation").trials()
    augmented = [trial for trial in trials if trial.input.train_short_sides == (640, 672, 704, 736, 768, 800)]
    plain = {trial.trial_id for trial in trials if trial.input.train_short_sides == (800,)}
    expected = {found for model in ("R50-FPN", "R101-FPN") for found in printed("enhanced: train aug", "Fig. 5", model)}
    assert {cell(trial) for trial in augmented} == expected
    assert len(plain) == len(trials) - len(augmented) == 4
    assert plain <= ids("schedule_length") | ids("resnet101")


def test_trials_of_several_figures_are_one() -> None:
    # Seed 0 of 2x and 6x; two images a worker are the preset's own.
    assert len(ids("seeds") & ids("schedule_length")) == 4
    assert len(ids("normalization") & ids("schedule_length")) == 2
    assert len(ids("normalization") & ids("sync_bn")) == 2


def test_images_per_worker_change_the_rate_in_proportion_and_never_the_number_of_images() -> None:
    trials = paper_study("normalization").trials()
    assert {trial.images_per_worker for trial in trials} == {1, 2, 4}
    assert {trial.global_batch * trial.schedule.total for trial in trials} == {16 * 180_000}
    assert {trial.global_batch * trial.eval_interval for trial in trials} == {16 * 5000}
    assert {trial.global_batch * trial.schedule.drops[0].before_end for trial in trials} == {16 * 60_000}
    assert {(t.images_per_worker, round(t.lr_at(t.schedule.warmup_iterations), 6)) for t in trials} == {
        (1, 0.01),
        (2, 0.02),
        (4, 0.04),
    }


def test_keypoints_are_detectrons_recipe() -> None:
    trial = paper_study("keypoints").trials()[0]
    head = trial.model.keypoint_head
    assert head is not None
    assert (head.num_keypoints, head.num_convs, head.conv_channels, head.map_size) == (17, 8, 512, 56)
    assert trial.model.mask_head is None
    assert trial.data.num_categories == 1
    assert trial.input.train_short_sides == (640, 672, 704, 736, 768, 800)
    assert trial.evaluation.keypoint_sigmas == ()
