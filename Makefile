# Conure: continual user representations, a reproducible study. `make` alone lists the targets.

PYTHON ?= python3
VENV ?= .venv
DATASET ?= complete-journey
PROFILE ?= quick
# Seeds to run; empty: those of the profile.
SEEDS ?=
# Stages that run side by side.
WORKERS ?= 2
# A Dask cluster in their place: the scheduler's address or scheduler file (docs/clusters.md).
CLUSTER ?=
# The commit that bench-compare measures against.
BASE ?=

# Installed first and by itself, so that its build suits the machine; the rest follows the lock.
TORCH := torch==2.13.0
BIN = $(VENV)/bin

# The same results in every run, and no chatter.
export PYTHONHASHSEED := 0
export CUBLAS_WORKSPACE_CONFIG := :4096:8
export JUPYTER_PLATFORM_DIRS := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup study test lint format bench bench-study bench-data bench-scale bench-compare figures verdicts readme site site-test fuzz faults lock clean
.NOTPARALLEL:

help: ## list the targets (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Variables (make study PROFILE=... SEEDS=...), now:"
	@echo "  DATASET=$(DATASET) PROFILE=$(PROFILE) SEEDS=$(SEEDS) WORKERS=$(WORKERS) VENV=$(VENV) PYTHON=$(PYTHON)"

# $(VENV)/.ready is written last and holds what was installed: the checkout's folder, the lock, pyproject.toml.
# $(VENV)/.building stands in an environment that was begun here and never finished: that one is begun anew.
setup: ## build the environment in VENV from requirements.lock; nothing to do if it is up to date
	@set -eu; venv="$(VENV)"; python="$(BIN)/python"; \
	wanted() { pwd; cat requirements.lock pyproject.toml; }; \
	if wanted | cmp -s - "$$venv/.ready" 2>/dev/null && "$$python" -c ""; then exit 0; fi; \
	if [ -e "$$venv/.building" ]; then \
		if kill -0 "$$(cat "$$venv/.building")" 2>/dev/null; then \
			echo "setup: another setup is at work in $$venv; wait for it, or remove that folder" >&2; exit 1; \
		fi; \
		echo "setup: the last one broke off; beginning anew"; rm -rf "$$venv"; \
	fi; \
	if [ ! -e "$$venv/pyvenv.cfg" ]; then \
		if [ -n "$$(ls -A "$$venv" 2>/dev/null)" ]; then \
			echo "setup: $$venv is not empty and no virtual environment; choose another VENV" >&2; exit 1; \
		fi; \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
			echo "setup: Python 3.11 or newer is needed (make setup PYTHON=...)" >&2; exit 1; }; \
		mkdir -p "$$venv"; echo "$$$$" > "$$venv/.building"; \
		$(PYTHON) -m venv "$$venv"; \
	fi; \
	rm -f "$$venv/.ready"; \
	"$$python" -m pip install --quiet "$(TORCH)"; \
	"$$python" -m pip install --quiet -r requirements.lock; \
	"$$python" -m pip install --quiet --no-deps -e .; \
	"$$python" -m pip check; \
	rm -f "$$venv/.building"; \
	wanted > "$$venv/.ready.part"; mv "$$venv/.ready.part" "$$venv/.ready"

study: setup ## run the study: data, training, tables, figures (DATASET, PROFILE, SEEDS, WORKERS, CLUSTER)
	"$(BIN)/conure" study --dataset "$(DATASET)" --profile "$(PROFILE)" --workers "$(WORKERS)" \
		$(if $(strip $(SEEDS)),--seeds "$(SEEDS)") \
		$(if $(strip $(CLUSTER)),--cluster "$(CLUSTER)")

test: setup ## check style, run the tests, then run every notebook
	"$(BIN)/python" -m ruff check .
	"$(BIN)/python" -m ruff format --check .
	"$(BIN)/python" -m pytest tests -n 2 --dist loadfile
	"$(BIN)/python" -m pytest --nbval-lax notebooks -n 2 --dist loadfile

lint: setup ## check style only (ruff: rules and format; notebooks too)
	"$(BIN)/python" -m ruff check .
	"$(BIN)/python" -m ruff format --check .

format: setup ## put the code into the project's format
	"$(BIN)/python" -m ruff check --fix .
	"$(BIN)/python" -m ruff format .

bench: setup ## measure speed against plain references; sizes of checkpoints
	"$(BIN)/conure" bench

bench-study: setup ## measure what the reported profile would have cost plain references
	"$(BIN)/conure" bench study

bench-data: setup ## measure preparing, loading and batching streams of the paper's size (6 GB under artifacts/ meanwhile)
	"$(BIN)/conure" bench data

bench-scale: setup ## measure how time and memory grow with users, items, width, depth, length, tasks
	"$(BIN)/conure" bench scale

bench-compare: setup ## show what the checkout does to speed since a commit (BASE=commit)
	@test -n "$(strip $(BASE))" || { \
		echo "bench-compare: name the commit to compare with: make bench-compare BASE=..." >&2; exit 2; }
	"$(BIN)/conure" bench compare "$(BASE)"

verdicts: setup ## decide every claim from the committed results (PROFILE=standard unless given); trains nothing
	"$(BIN)/conure" verdicts --profile "$(if $(filter quick,$(PROFILE)),standard,$(PROFILE))"

figures: setup ## redraw the figures from what is computed already (DATASET, PROFILE)
	"$(BIN)/conure" study --dataset "$(DATASET)" --profile "$(PROFILE)" --results committed

readme: setup ## bring the tables that README.md quotes up to date
	"$(BIN)/conure" readme

site: setup ## write the report as static pages to artifacts/site; they need no network
	"$(BIN)/conure" site

# The tests' own small site and the real one; the browser's part is skipped, with a reason, where there is none.
site-test: site ## check the pages: links, nothing fetched from outside, in headless Chromium if it is installed
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
		command -v google-chrome >/dev/null || \
		echo "site-test: no Chromium on PATH, its tests are skipped (Debian: apt-get install -y chromium)" >&2
	CONURE_SITE="$(CURDIR)/artifacts/site" "$(BIN)/python" -m pytest tests/site

fuzz: setup ## feed bad input to everything that reads some; the figures go to results/campaigns/fuzz.json
	PYTHONPATH="$(CURDIR)/tests$${PYTHONPATH:+:$$PYTHONPATH}" "$(BIN)/python" -m campaigns.fuzz

faults: setup ## kill studies at random moments, fill their disk, damage their files (results/campaigns/faults.json)
	"$(BIN)/python" tests/campaigns/faults.py

lock: ## resolve pyproject.toml afresh into requirements.lock (then bring environment.yml into line)
	@set -eu; fresh="$$(mktemp -d)"; trap 'rm -rf "$$fresh"' EXIT; \
	$(PYTHON) -m venv "$$fresh/venv"; \
	"$$fresh/venv/bin/python" -m pip install --quiet "$(TORCH)"; \
	"$$fresh/venv/bin/python" -m pip install --quiet -e ".[test]"; \
	"$$fresh/venv/bin/python" -m pip freeze --exclude-editable > "$$fresh/frozen"; \
	{ sed -n '/^#/p' requirements.lock; \
	  sed -E -e '/^(nvidia-|cuda-|triton)/d' -e 's/^(torch==[^+]*)\+.*/\1/' "$$fresh/frozen"; } > "$$fresh/lock"; \
	cat "$$fresh/lock" > requirements.lock; \
	echo "requirements.lock is new; tests/test_house.py names each pin of environment.yml that must follow"

clean: ## remove caches and all that was computed under artifacts/; keep downloads, VENV, results/, figures/
	@if [ -d artifacts ]; then \
		find artifacts/ -mindepth 1 -maxdepth 1 ! -name downloads -exec rm -rf {} +; \
	fi
	rm -rf .pytest_cache .ruff_cache .hypothesis build dist conure_study.egg-info
	@find . \( -name .git -o -name .venv -o -path ./artifacts \) -prune -o -type d \
		\( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
	@echo "kept: artifacts/downloads, the environment, results/ and figures/"
