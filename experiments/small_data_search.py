"""Figure 8 and section 5.2: hyper-parameters searched again for 1k images, for each init by a search of its own.

He et al. 2019, Mask R-CNN with R50-FPN and GN on 1k COCO images, box AP: 9.9 from pre-training, for which the
hyper-parameters were searched, and 3.5 from random init with the same ones; 5.4 after a search for random init. They
print neither the ranges nor what was found: the ranges here hold their defaults, the values that they print for 35k
images, and the schedules that their Figure 8 shows for 1k (15k and 35k iterations, one drop 10k before the end).

    python experiments/small_data_search.py --preset demo
"""

from raystudy.cli import search_experiment
from raystudy.spec.presets import Preset
from raystudy.spec.search import SearchSpec
from raystudy.spec.small_data import Budget, init_search


def search(preset: Preset) -> SearchSpec:
    """Rate, decay, drop, length and scales for each init, on 1k images (demo: 45 of the shapes)."""
    budgets = {
        "smoke": Budget(trials=2, generation=1, rungs=(6,)),
        "demo": Budget(trials=12, generation=4, rungs=(180, 360)),
        "paper": Budget(trials=32, generation=8, rungs=(5_000, 10_000, 20_000)),
    }
    question = "What do random init and pre-training reach on little data, each with a search of its own?"
    return init_search(preset, 1_000, "small_data_search", question, budgets)


if __name__ == "__main__":
    search_experiment(search)
