"""A search that is run as a process of its own, so that it can be killed: ``python killed_search.py STORAGE``."""

import sys

from raystudy.cluster.search import run_search
from raystudy.cluster.settings import RunSettings
from tests.cluster.tiny_searches import tiny_search

if __name__ == "__main__":
    run_search(tiny_search(), RunSettings(storage=sys.argv[1], study="tiny"))
