"""An inspection as lines of text."""

from collections.abc import Iterator

from raystudy.data.defaults import PAPER_BATCH, suggested_unit
from raystudy.data.inspection import DEMO_BATCH, MOST_LISTED, Inspection, SplitReport


def inspection_text(found: Inspection) -> str:
    """What is there, what is wrong, what was repaired, and what would suit it."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Inspection) -> Iterator[str]:
    if found.data is None:
        yield f"{found.source}: cannot be used"
    else:
        masks = "with masks" if found.has_masks else "boxes only"
        keypoints = f", {found.num_keypoints} keypoints" if found.num_keypoints else ""
        yield f"{found.data.name}: {found.data.format} format, {masks}{keypoints}"
        yield from _category_lines(found)
        for split, report in found.splits.items():
            yield ""
            yield from _split_lines(split, report, found.is_thorough)
    yield ""
    yield f"Problems: {len(found.problems) or 'none'}"
    yield from (f"  {number}. {problem}" for number, problem in enumerate(found.problems, 1))
    yield from (f"Worth knowing: {warning}" for warning in found.warnings)
    if found.defaults is not None:
        yield ""
        yield from _default_lines(found)


def _category_lines(found: Inspection) -> Iterator[str]:
    ids = [number for number, _ in found.categories]
    gaps = "" if ids == list(range(ids[0], ids[0] + len(ids))) else ", with gaps"
    noun = "category" if len(ids) == 1 else "categories"
    yield f"{len(ids)} {noun}, ids {min(ids)} to {max(ids)}{gaps}"


def _split_lines(split: str, report: SplitReport, is_thorough: bool) -> Iterator[str]:
    told = report.statistics
    extra = [f"{report.crowds} crowd regions"] if report.crowds else []
    extra += [f"{report.difficult} difficult"] if report.difficult else []
    also = f" and {', '.join(extra)}: {report.annotations} annotations" if extra else ""
    yield f"{split}: {told['images']} images, {told['instances']} instances{also}"
    per = told["instances_per_image"]
    yield (
        f"  instances per image: mean {per['mean']:.2f}, median {per['median']:g}, most {per['max']}; "
        f"{told['images_without_instances']} images without any"
    )
    low_x, mid_x, high_x, low_y, mid_y, high_y = report.sizes
    yield f"  sizes: {low_x} x {low_y} to {high_x} x {high_y} pixels, median {mid_x} x {mid_y}"
    looked = "all" if is_thorough else "a sample"
    yield f"  kinds of pictures ({looked}): " + ", ".join(f"{count} {mode}" for mode, count in report.modes.items())
    yield "  objects: {} small, {} medium, {} large (boxes up to 32^2, up to 96^2, beyond)".format(*report.objects)
    counts = sorted(told["instances_per_category"].items(), key=lambda item: (-item[1], item[0]))
    most = ", ".join(f"{name} {count}" for name, count in counts[:MOST_LISTED])
    yield f"  instances by category: {most}" + (f", … ({len(counts)} in all)" if len(counts) > MOST_LISTED else "")
    yield "  repairs: " + (", ".join(f"{count} x {text}" for text, count in told["repairs"].items()) or "none")


def _default_lines(found: Inspection) -> Iterator[str]:
    assert found.defaults is not None
    chosen, shown = found.defaults, found.defaults.input
    num_images = found.splits["train"].statistics["images"]
    if shown.resize:
        scale = f"shorter side to {shown.test_short_side}, longer at most {shown.max_side} pixels"
    else:
        scale = f"own size, at most {shown.max_side} pixels"
    window = f", trained on windows of {shown.crop} x {shown.crop}" if shown.crop else ", trained whole"
    yield "Defaults of the presets demo and smoke:"
    yield f"  scale: {scale}{window}"
    yield f"  anchor sizes: {', '.join(map(str, chosen.anchor_sizes))} pixels"
    yield (
        f"  proposals per picture: {chosen.train_proposals} in training, {chosen.test_proposals} in validation; "
        f"detections: {chosen.detections_per_image}"
    )
    yield f"  mask head: {'yes' if found.has_masks else 'no, there are no segmentations'}"
    if found.data is not None and found.data.format == "shapes":
        return  # The presets were made for it.
    yield f"  batch: {DEMO_BATCH}; 1x: --unit {found.unit}"
    yield (
        f"With the paper's batch of {PAPER_BATCH}: --unit {suggested_unit(num_images, PAPER_BATCH)} "
        f"(as many passes over the pictures as its 90,000 iterations over COCO's)"
    )
