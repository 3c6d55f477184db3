import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from raystudy.data.coco import CocoDataset
from raystudy.data.preflight import preflight
from raystudy.data.shapes import render_shapes
from raystudy.data.sources import file_checksum
from raystudy.data.splits import SPLITS, category_names, drawn_shapes, open_split
from raystudy.data.subset import covering_images, statistics_of, subset_indices
from raystudy.errors import DataError
from raystudy.spec.data import DataSpec
from tests.data.synthetic import TINY, annotation, coco_content, shapes_spec, shared, trial, write_coco


def changed(**changes: object) -> DataSpec:
    return dataclasses.replace(shapes_spec(), **changes)  # type: ignore[arg-type]


def annotated(**changes: object) -> DataSpec:
    """Rendered shapes as anybody's COCO jsons: their annotations are cut, and no others are drawn."""
    folder = render_shapes(TINY)
    pair = {
        f"{split}_{what}": str(folder / place)
        for split in ("train", "val")
        for what, place in (("images", split), ("annotations", f"instances_{split}.json"))
    }
    checksums = {f"{split}_checksum": file_checksum(Path(pair[f"{split}_annotations"])) for split in ("train", "val")}
    return dataclasses.replace(DataSpec(num_categories=6, **pair, **checksums), **changes)  # type: ignore[arg-type]


def boxes(dataset: CocoDataset) -> set[tuple[int, ...]]:
    return {
        (image_id, *map(int, box))
        for index, image_id in enumerate(dataset.image_ids)
        for box in dataset.instances(index).boxes.tolist()
    }


def test_subsets_are_nested_seeded_and_never_empty() -> None:
    whole, tenth, few = (subset_indices(1000, f, None, 3) for f in (1.0, 0.1, 0.01))
    assert (len(whole), len(tenth), len(few)) == (1000, 100, 10)
    assert set(few) < set(tenth) < set(whole)
    assert set(subset_indices(1000, 1.0, 35, 3)) > set(few)
    assert set(subset_indices(1000, 0.1, None, 4)) != set(tenth)
    for fraction, count in ((0.0001, None), (1.0, 1001)):
        with pytest.raises(DataError, match="must have 1 to 1000"):
            subset_indices(1000, fraction, count, 3)


def test_new_fields_leave_old_identities_alone() -> None:
    plain = trial(shapes_spec())
    for changes in ({"stratified": True}, {"instances_per_image": 1}, {"num_categories": 3}):
        assert trial(changed(**changes)).trial_id != plain.trial_id
    assert trial(changed(stratified=False, instances_per_image=None)).trial_id == plain.trial_id
    assert changed(instances_per_image=2, fraction=0.1).subset_label == "f10i2"
    problems = changed(instances_per_image=0, num_categories=0).problems()
    assert [text.split(" is ")[0] for text in problems] == ["num_categories", "instances_per_image"]


def rare_category(folder: Path) -> CocoDataset:
    """Sixty pictures of category 5, of which one has category 2 too."""
    images = [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 30} for n in range(60)]
    annotations = [annotation(n + 1, n) for n in range(60)] + [annotation(99, 41, 2)]
    path = write_coco(folder, coco_content(images=images, annotations=annotations))
    return CocoDataset.load(folder / "images", path)


def test_stratified_subsets_hold_every_category_are_nested_and_may_be_refused(tmp_path: Path) -> None:
    dataset = rare_category(tmp_path)
    for seed in range(5):
        cover = covering_images(dataset, seed)
        assert cover.tolist() == [41]
        parts = [set(subset_indices(60, 1.0, count, seed, cover)) for count in (1, 5, 30, 60)]
        assert parts[0] == {41}
        assert parts[0] < parts[1] < parts[2] < parts[3]
        # Beyond what must be there it is the ordinary subset.
        assert len(parts[2] & set(subset_indices(60, 1.0, 30, seed))) >= 29
    with pytest.raises(DataError, match="a stratified subset of 1 images cannot hold every category"):
        subset_indices(60, 1.0, 1, 0, np.array([3, 4]))


def test_categories_that_vanish_are_told_in_the_statistics() -> None:
    data = changed(num_images=1)
    told = {split: statistics_of(open_split(data, split)) for split in SPLITS}
    held = {category for category, count in told["train"]["instances_per_category"].items() if count}
    assert told["train"]["images"] == 1
    assert len(held) < 6
    assert set(told["train"]["absent_categories"]) == set(open_split(data, "train").categories) - held
    assert told["val"]["images"] == 7
    assert json.loads(json.dumps(told)) == told
    kept = statistics_of(open_split(changed(num_images=8, stratified=True), "train"))
    assert kept["absent_categories"] == []
    assert sum(kept["instances_per_category"].values()) == kept["instances"]
    assert "cannot hold every category" in preflight(changed(num_images=1, stratified=True))[0]


def test_a_cap_on_instances_is_nested_seeded_and_of_training_only() -> None:
    caps = [open_split(annotated(instances_per_image=cap), "train") for cap in (1, 2, 4, 100)]
    assert [int(part.instance_counts.max()) for part in caps[:3]] == [1, 2, 4]
    found = [boxes(part) for part in caps]
    assert found[0] < found[1] < found[2] <= found[3] == boxes(open_split(annotated(), "train"))
    assert boxes(open_split(annotated(instances_per_image=1, subset_seed=5), "train")) != found[0]
    # The same instances stay in a subset of the pictures, and masks go with their boxes.
    part = open_split(annotated(instances_per_image=1, fraction=0.5), "train")
    assert boxes(part) < found[0]
    masks = part.instances(0).masks
    assert masks is not None
    x1, y1, x2, y2 = part.instances(0).boxes[0].astype(int)
    mask = masks.window(128, 128)[0]
    assert mask.sum() == mask[y1:y2, x1:x2].sum() > 0
    truth = part.ground_truth()["annotations"]
    assert len(truth) == len(part)
    assert len(boxes(open_split(annotated(instances_per_image=1), "val"))) > 7


def test_fewer_categories_are_nested_and_left_out_of_validation_too() -> None:
    names = [open_split(annotated(num_categories=n), "train").categories for n in (1, 3, 6)]
    assert set(names[0]) < set(names[1]) < set(names[2])
    train, val = (open_split(annotated(num_categories=3), split) for split in ("train", "val"))
    assert train.categories == val.categories
    assert set(train.all_labels().tolist()) <= {1, 2, 3}
    assert len(val) == 7
    whole = open_split(annotated(), "val")
    kept_ids = set(val.label_to_category_id.values())
    expected = [a for a in whole.ground_truth()["annotations"] if a["category_id"] in kept_ids]
    assert val.ground_truth()["annotations"] == expected
    assert [c["name"] for c in val.ground_truth()["categories"]] == val.categories
    assert boxes(train) < boxes(open_split(annotated(), "train"))


def test_shapes_are_drawn_with_fewer_instances_and_categories() -> None:
    few = changed(instances_per_image=1, num_categories=2, subset_seed=3)
    for split, pictures in (("train", 24), ("val", 7)):
        part, cut = open_split(few, split), open_split(annotated(num_categories=2, subset_seed=3), split)
        assert len(part) == pictures
        assert part.instance_counts.tolist() == [1] * pictures
        assert part.categories == cut.categories == category_names(few)
        assert part.label_to_category_id == cut.label_to_category_id
    # What is not annotated is not there either: beside the objects there is ground alone.
    drawn, whole = open_split(few, "train"), open_split(shapes_spec(), "train")
    assert boxes(drawn) != boxes(whole)
    assert sum(np.abs(np.diff(drawn.image(i).astype(int))).sum() for i in range(24)) < sum(
        np.abs(np.diff(whole.image(i).astype(int))).sum() for i in range(24)
    )
    assert drawn_shapes(shapes_spec()) == TINY
    assert drawn_shapes(changed(instances_per_image=9)) == TINY
    assert preflight(few) == []


def test_categories_are_counted_against_the_data() -> None:
    with pytest.raises(DataError, match="has 6 categories, but the spec says 7"):
        open_split(changed(num_categories=7), "train")
    with pytest.raises(DataError, match="was the file changed"):
        open_split(annotated(num_categories=3, train_checksum=""), "train")


def test_all_three_together_on_true_pictures() -> None:
    from raystudy.data.resolve import resolve_data

    data = resolve_data(str(shared("coco_permissive")))
    data = dataclasses.replace(data, num_categories=10, instances_per_image=2, num_images=20, stratified=True)
    train = open_split(data, "train")
    assert (len(train), len(train.categories)) == (20, 10)
    assert train.instance_counts.max() == 2
    assert preflight(data, needs_masks=True) == []
