# `make` lists the targets. Everything is installed into .venv/ in this folder on first use.
PYTHON ?= python3
RESULTS ?= results
DEFAULTS = $(RESULTS)/defaults/runs.csv
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
CHECKED := $(VENV)/.ready-for-tests

# Compiled modules are kept, also where the environment says otherwise: torch alone imports two thousand, and every
# process would compile them again.
unexport PYTHONDONTWRITEBYTECODE

# Install with uv, which takes a third of pip's time and shows how far it is; with pip where uv cannot be had.
install = { $(RUN) -m pip install --quiet --disable-pip-version-check 'uv>=0.5' && \
	$(RUN) -m uv pip install --python $(RUN) -e '$(1)'; } || \
	$(RUN) -m pip install --disable-pip-version-check -e '$(1)'

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow soak lint sweep paper sweeps-list status tables latex figures report methods networks bench check-gpu profile clean

help:  ## list the targets
	@grep -E '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z%-]+):.*## (.*)/  make \1\t\2/; s/data-%/data-NAME/' | expand -t 20

setup: $(READY)  ## create .venv and install what a run needs into it

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "error: Python 3.11, 3.12 or 3.13 is needed, $(PYTHON) is another; use make PYTHON=python3.12"; exit 2; }
	@test -x $(RUN) || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing what a run needs into $(VENV) (torch and its libraries are most of it)"
	@$(call install,.)
	@touch $@

$(CHECKED): $(READY)
	@echo "installing what the tests need into $(VENV)"
	@$(call install,.[dev])
	@touch $@

demo: setup  ## the main job on the embedded data set: LRDS, its teacher included
	$(RUN) -m kd_experiments method=lrds selection.ratio=0.8 threads=1 paths.results=$(RESULTS)

test: $(CHECKED)  ## style, then the tests that need nothing but Python (types: make lint)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses=4 -m "not slow" $(ARGS)

test-slow: $(CHECKED)  ## the other tests: schedulers, browser, processes that are killed, ten thousand records, the wheel
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses=2 -m slow $(ARGS)

soak: $(CHECKED)  ## a kill at every write, fifty random ones, thousands of strange values and files: ten minutes
	SOAK=1 OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses=4 -rA \
		tests/test_reliability.py tests/test_fuzz.py tests/test_guard.py tests/test_files.py tests/teachers/test_pickle_scan.py \
		tests/data/test_cache.py tests/data/test_hostile.py

lint: $(CHECKED)  ## style and types, and known vulnerabilities of the packages where the registry answers
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	@if $(RUN) -m pip_audit --version >/dev/null 2>&1; then \
		timeout 60 $(RUN) -m pip_audit --progress-spinner off --timeout 10 > $(VENV)/audit.log 2>&1; code=$$?; \
		if grep -qE 'Found [0-9]+ known vulnerabilit' $(VENV)/audit.log; then cat $(VENV)/audit.log; \
		elif [ $$code -ne 0 ]; then echo "pip-audit: the registry does not answer, nothing was compared"; fi; fi

sweep: setup  ## run what is missing of a sweep: make sweep NAME=lrds_ratio ARGS="experiment=small/digits hydra/launcher=parallel threads=1"
	@test -n "$(NAME)" || { echo "error: which sweep? make sweep NAME=lrds_ratio; make sweeps-list names all"; exit 2; }
	$(RUN) -m kd_experiments --multirun +sweeps=$(NAME) paths.results=$(RESULTS) $(ARGS)

paper: setup  ## a paper's table at full scale: what it takes, then its runs: make paper TABLE=lrds_main [DRY=1]
	@test -n "$(TABLE)" || { echo "error: which table? make paper TABLE=lrds_main; make sweeps-list names all"; exit 2; }
	$(RUN) -m kd_experiments.sweeping plan name=$(TABLE) over="$(ARGS)" paths.results=$(RESULTS) $(if $(DRY),,start=true)

sweeps-list: setup  ## every sweep: how many runs, how many are done, how long the rest takes
	@$(RUN) -m kd_experiments.sweeping list paths.results=$(RESULTS) $(ARGS)

status: setup  ## every run below $(RESULTS): done, running or failed, and why
	@$(RUN) -m kd_experiments.sweeping status paths.results=$(RESULTS) $(ARGS)

tables: setup  ## every committed table anew from $(RESULTS)/runs.csv, byte for byte
	$(RUN) -m kd_experiments.reporting csv=$(RESULTS)/runs.csv write=tables $(ARGS)
	@test ! -e $(DEFAULTS) || $(RUN) -m kd_experiments.reporting csv=$(DEFAULTS) write=tables $(ARGS)

latex: setup  ## LaTeX of a committed table, for a paper and its supplement: make latex TABLE=sweep-lrds_ratio
	@test -n "$(TABLE)" || { echo "error: which table? make latex TABLE=NAME; $(RESULTS)/*/NAME.csv and $(RESULTS)/defaults/*/NAME.csv name them"; exit 2; }
	$(RUN) -m kd_experiments.reporting csv=$(if $(wildcard $(RESULTS)/defaults/tables/$(TABLE).csv),$(DEFAULTS),$(RESULTS)/runs.csv) \
		write=nothing latex=$(TABLE) $(ARGS)

figures: setup  ## figures of your own runs in $(RESULTS)/runs
	$(RUN) -m kd_experiments.reporting paths.results=$(RESULTS) write=figures $(ARGS)

report: setup  ## tables, figures and report/index.html of your own runs; from ./results they go to results/own
	$(RUN) -m kd_experiments.reporting paths.results=$(RESULTS) $(ARGS)

methods: setup  ## the catalogue of methods, groups and choices
	@$(RUN) -m kd_experiments --help

data-%: setup  ## find, verify and decode a data set, such as data-cifar100; ARGS="root=DIR download=true"
	$(RUN) -m kd_experiments.data prepare $* $(ARGS)

networks: setup  ## the catalogue of networks: parameters, multiply-adds, feature shapes
	@$(RUN) -m kd_experiments.networks

bench: setup  ## how fast it is, one JSON line a figure: make bench ARGS="--quick epoch"
	$(RUN) -m bench $(ARGS)

check-gpu: setup  ## does everything that a GPU does otherwise work on this one, and how fast: ten minutes at most
	$(RUN) -m bench.check_gpu $(ARGS)

profile: setup  ## where the time of a training step goes, and a trace below $(RESULTS)/profile
	$(RUN) -m bench.profile $(ARGS)

clean:  ## remove the virtual environment and caches; results stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
