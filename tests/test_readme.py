"""The README's map of the tree."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_tree_in_the_readme_exists() -> None:
    tree = (ROOT / "README.md").read_text().split("## Where things are")[1].split("```")[1]
    folder = ROOT
    for line in tree.strip().splitlines():
        names = re.match(r"\s*((?:[\w.]+/?\s)+)", line + " ")
        assert names is not None, line
        for name in names[1].split():
            if not re.search(r"[./]", name):
                break  # the description begins
            assert ((ROOT / "raystudy" if line.startswith("  ") else folder) / name).exists(), name
