"""What all tests share."""

import os

# One thread each: results depend on the thread count, and tests must not fight over cores. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test may reach a tracking server or Ray's usage collection.
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
