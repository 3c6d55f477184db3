"""Memory and time of a data set of COCO's size: 118,287 pictures, 860,001 instances.

Its json is generated, indexed once, and then opened by two processes at a time, as the workers of a node do. Each goes
through every instance and its outline. What is claimed: opening takes 30 s at most, what the processes share is 1 GB
at most, and what each has to itself for it (USS, beyond what it had before) is 100 MB at most. Exits with 1 when that
does not hold.

    python benchmarks/data_index.py
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from raystudy.data.index_cache import index_path, open_index
from raystudy.data.sources import Source, file_checksum

IMAGES, INSTANCES, CATEGORIES = 118_287, 860_001, 80
POINTS = 25
"""Mean of an outline, so that the json has the size of COCO's."""

MOST_SECONDS, MOST_SHARED, MOST_PRIVATE = 30.0, 1000.0, 100.0
PROCESSES = 2
MB = 1e6


def write_annotations(path: Path, images: int = IMAGES, instances: int = INSTANCES) -> None:
    """A json like COCO's instances_train2017.json, with outlines drawn from a pool."""
    rng = np.random.default_rng(0)
    pool = [_shape(rng) for _ in range(2000)]
    image_of = rng.integers(0, images, instances).tolist()
    shape_of = rng.integers(0, len(pool), instances).tolist()
    category_of = rng.integers(1, CATEGORIES + 1, instances).tolist()
    with path.open("w") as file:
        file.write('{"info": {}, "licenses": [], "images": [')
        file.write(
            ", ".join(
                f'{{"license": 3, "file_name": "{n:012d}.jpg", "height": 480, "width": 640, "id": {n}}}'
                for n in range(images)
            )
        )
        file.write('], "annotations": [')
        for number, (image, shape, category) in enumerate(zip(image_of, shape_of, category_of, strict=True)):
            file.write(
                f"{', ' if number else ''}{{{pool[shape]}, "
                f'"image_id": {image}, "category_id": {category}, "id": {number + 1}}}'
            )
        names = [{"supercategory": "thing", "id": n, "name": f"thing {n}"} for n in range(1, CATEGORIES + 1)]
        file.write(f'], "categories": {json.dumps(names)}}}')


def _shape(rng: np.random.Generator) -> str:
    """Outline, area and box, as they stand in the json."""
    num_points = max(4, int(rng.exponential(POINTS)))
    turn = np.sort(rng.uniform(0, 2 * np.pi, num_points))
    radius, x, y = rng.uniform(8, 100) * rng.uniform(0.7, 1, num_points), rng.uniform(110, 530), rng.uniform(110, 370)
    points = np.round(np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1), 2)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    box = [round(float(value), 2) for value in (left, top, right - left, bottom - top)]
    area = round(box[2] * box[3] / 2, 4)
    return f'"segmentation": [{points.ravel().tolist()}], "area": {area}, "iscrowd": 0, "bbox": {box}'


def private_mb() -> float:
    """USS of this process, MB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024 / MB


def work(source: Source) -> None:
    """One worker: open, look at everything, wait for the others, tell."""
    from raystudy.data.coco import CocoDataset

    before, start = private_mb(), time.perf_counter()
    dataset = CocoDataset(source, open_index(source))
    opened = time.perf_counter() - start
    points = 0
    for index in range(len(dataset)):
        found = dataset.instances(index)
        assert found.masks is not None
        points += sum(len(ring) for outline in found.masks.outlines for ring in outline)  # type: ignore[union-attr]
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()
    told = {
        "before_mb": before,
        "private_mb": private_mb() - before,
        "open_s": opened,
        "instances": int(dataset.instance_counts.sum()),
        "points": points,
    }
    print(json.dumps(told), flush=True)
    sys.stdin.readline()


def measure(source: Source) -> list[dict[str, float]]:
    """What the workers tell, all of them holding the data at once."""
    command = [sys.executable, __file__, "--worker", source.annotations, source.checksum]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    told = []
    for said in ("ready", "told"):
        for worker in workers:
            assert worker.stdout is not None
            line = worker.stdout.readline()
            told += [json.loads(line)] if said == "told" else []
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go on\n")
            worker.stdin.flush()
    for worker in workers:
        worker.wait()
    return told


def main() -> int:
    """Print the figures; 1 when a claim does not hold."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RAYSTUDY_CACHE"] = folder
        path = Path(folder) / "instances_train2017.json"
        write_annotations(path)
        source = Source("coco", Path(folder), str(path), checksum=file_checksum(path))
        start = time.perf_counter()
        open_index(source)
        cold = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / MB
        shared = index_path(source).stat().st_size / MB
        told = measure(source)
        size = path.stat().st_size / MB
    slowest, largest = max(one["open_s"] for one in told), max(one["private_mb"] for one in told)
    print(f"json: {size:.0f} MB, {IMAGES} images, {told[0]['instances']} instances, {told[0]['points']} points")
    print(f"indexed once a machine: {cold:.1f} s, in a process of {peak:.0f} MB that ends")
    print(f"opened, warm:           {slowest:.3f} s           (claimed: {MOST_SECONDS:.0f} s at most)")
    print(f"shared by all:          {shared:.0f} MB           (claimed: {MOST_SHARED:.0f} MB at most)")
    print(
        f"private to each:        {largest:.1f} MB beyond {told[0]['before_mb']:.0f} MB before "
        f"(claimed: {MOST_PRIVATE:.0f} MB at most)"
    )
    holds = slowest <= MOST_SECONDS and shared <= MOST_SHARED and largest <= MOST_PRIVATE
    print("holds" if holds else "DOES NOT HOLD")
    return 0 if holds else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", nargs=2, metavar=("JSON", "CHECKSUM"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(Source("coco", Path(given.worker[0]).parent, given.worker[0], checksum=given.worker[1]))
    else:
        sys.exit(main())
