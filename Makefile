# Each target makes .venv itself when it is missing or older than pyproject.toml or constraints.txt.
#   make study            the demo study, start to answer        make study ARGS="--seeds 3"
#   make test             all tests                              make test ARGS="tests/spec -k schedule"
#   make test-cluster     clusters/on-prem.yaml and cluster.yaml for real, on fake machines; needs root, sshd, rsync
#   make lint             ruff and mypy, as CI runs them
#   make bench            the figures that we claim, measured again; make bench ROW=name for one (ROW=--list)
#   make docs             the documentation as a site, in site/

PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell \
	$(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)) python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
ARGS ?=
WORKERS ?= 2
ROW ?=

.PHONY: study test test-cluster lint bench docs venv clean
.DEFAULT_GOAL := study

study: $(INSTALLED)
	$(BIN)/python experiments/schedule_length.py --preset demo $(ARGS)

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

# Its machines die with it, also when the time is up.
test-cluster: $(INSTALLED)
	OMP_NUM_THREADS=1 timeout --kill-after=30 1500 $(BIN)/python -m pytest -s -rs -p no:cacheprovider tests/real_cluster $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks $(ROW) $(ARGS)

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

venv: $(INSTALLED)

# The stamp is written last, so that an installation that was cut off is done again.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("raystudy needs Python 3.11 or newer, but \
	$(PYTHON) is " + sys.version.split()[0] + "; name another with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf .venv build site *.egg-info .mypy_cache .ruff_cache .pytest_cache
