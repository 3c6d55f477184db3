"""Figure 7, middle: hyper-parameters searched again for 35k images, for each init by a search of its own.

He et al. 2019, Mask R-CNN with R50-FPN and GN on 35k COCO images, box AP: 36.3 from pre-training, for which they were
searched (rate 0.04, scales from 512 to 800, a drop to 0.02 of the rate), and 36.3 from random init with the same ones.
`less_data_35k.py` trains with what they found; here it is looked for.

    python experiments/less_data_35k_search.py --preset demo
"""

from raystudy.cli import search_experiment
from raystudy.spec.presets import Preset
from raystudy.spec.search import SearchSpec
from raystudy.spec.small_data import Budget, init_search


def search(preset: Preset) -> SearchSpec:
    """Rate, decay, drop, length and scales for each init, on 35k images (demo: 450 of the shapes)."""
    budgets = {
        "smoke": Budget(trials=2, generation=1, rungs=(6,)),
        "demo": Budget(trials=8, generation=4, rungs=(270,)),
        "paper": Budget(trials=24, generation=8, rungs=(30_000, 60_000, 120_000)),
    }
    question = "What do random init and pre-training reach on 35k images, each with a search of its own?"
    return init_search(preset, 35_000, "less_data_35k_search", question, budgets)


if __name__ == "__main__":
    search_experiment(search)
