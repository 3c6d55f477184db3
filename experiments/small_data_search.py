"""Figure 8 and section 5.2: hyper-parameters searched again for 1k images, for each init by a search of its own.

He et al. 2019, Mask R-CNN with R50-FPN and GN on 1k COCO images, box AP: 9.9 from pre-training, for which the
hyper-parameters were searched, and 3.5 from random init with the same ones; 5.4 after a search for random init. They
print neither the ranges nor what was found: the ranges here hold their defaults, the values that they print for 35k
images, and the schedules that their Figure 8 shows for 1k (15k and 35k iterations, one drop 10k before the end).

    python experiments/small_data_search.py --preset demo
"""

from raystudy.cli import search_experiment
from raystudy.spec.presets import Preset
from raystudy.spec.search import Arm, SearchSpec
from raystudy.spec.small_data import search_parameters, small_data


def search(preset: Preset) -> SearchSpec:
    """Rate, decay, drop, length and scales for each init, on 1k images (demo: 45 of the shapes)."""
    trials, generation, rungs = {
        "smoke": (2, 1, (6,)),
        "demo": (12, 4, (180, 360)),
        "paper": (32, 8, (5_000, 10_000, 20_000)),
    }[preset.name]
    return SearchSpec(
        name="small_data_search",
        question="What do random init and pre-training reach on little data, each with a search of its own?",
        base=small_data(preset, 1_000),
        arms=tuple(Arm(name=init, overrides={"init.kind": init}) for init in ("random", "pretrained")),
        parameters=search_parameters(preset, 1_000),
        trials=trials,
        generation=generation,
        startup=generation,
        rungs=rungs,
        min_values=min(4, generation),
    )


if __name__ == "__main__":
    search_experiment(search)
