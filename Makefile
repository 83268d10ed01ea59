# Conure: continual user representations, a reproducible study. `make` alone lists the targets.

PYTHON ?= python3
VENV ?= .venv
DATASET ?= complete-journey
PROFILE ?= quick
# Seeds to run (1,2,3 or "1 2 3"); empty: those of the profile.
SEEDS ?=
# The committed seed that `make reproduce` computes again.
SEED ?= 1
# Stages that run side by side.
WORKERS ?= 2
# A Dask cluster in their place: the scheduler's address or scheduler file (docs/clusters.md).
CLUSTER ?=
# cpu or cuda: where the study is trained.
DEVICE ?= $(or $(CONURE_DEVICE),cpu)

# Installed first and by itself, so that its build suits the machine; the rest follows the lock.
TORCH := torch==2.13.0
BIN = $(VENV)/bin
comma := ,

# The same results in every run, and no chatter.
export PYTHONHASHSEED := 0
export CONURE_DEVICE := $(DEVICE)
export CUBLAS_WORKSPACE_CONFIG := :4096:8
export JUPYTER_PLATFORM_DIRS := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The lowest instruction set that the libraries can be limited to: numbers must hold there too.
LOWERED := ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=AVX2
# The profile of figures, verdicts, publish and reproduce unless the command line gives one.
REPORTED = $(if $(filter command line,$(origin PROFILE)),$(PROFILE),standard)

.DEFAULT_GOAL := help
.PHONY: help setup demo study estimate test lint format bench gpu-check figures verdicts publish reproduce readme docs robustness notebooks lock clean
.NOTPARALLEL:

help: ## list the targets (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Variables (make study PROFILE=... SEEDS=...), now:"
	@echo "  DATASET=$(DATASET) PROFILE=$(PROFILE) SEEDS=$(SEEDS) WORKERS=$(WORKERS) VENV=$(VENV) PYTHON=$(PYTHON)"

# $(VENV)/.ready is written last and holds what was installed: the checkout's folder, the lock, pyproject.toml
# up to the settings of tools.
# $(VENV)/.building stands in an environment that was begun here and never finished: it is built again.
setup: ## build the environment in VENV from requirements.lock; nothing to do if it is up to date
	@set -eu; venv="$(VENV)"; python="$(BIN)/python"; \
	wanted() { pwd; cat requirements.lock; sed '/^\[tool\.\(pytest\|ruff\)/,$$d' pyproject.toml; }; \
	if wanted | cmp -s - "$$venv/.ready" 2>/dev/null && "$$python" -c ""; then exit 0; fi; \
	if [ -e "$$venv/.building" ]; then \
		if kill -0 "$$(cat "$$venv/.building")" 2>/dev/null; then \
			echo "setup: another setup is running in $$venv; wait for it, or remove that folder" >&2; exit 1; \
		fi; \
		echo "setup: the last one did not finish; starting again"; rm -rf "$$venv"; \
	fi; \
	if [ ! -e "$$venv/pyvenv.cfg" ]; then \
		if [ -n "$$(ls -A "$$venv" 2>/dev/null)" ]; then \
			echo "setup: $$venv is not empty and not a virtual environment; choose another VENV" >&2; exit 1; \
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

demo: setup ## learn three tasks with and without protection and show what is forgotten; a minute, no download
	"$(BIN)/conure" demo

study: setup ## run the study: data, training, tables, figures, notebooks (DATASET, PROFILE, SEEDS, WORKERS, CLUSTER, DEVICE)
	"$(BIN)/conure" study --dataset "$(DATASET)" --profile "$(PROFILE)" --workers "$(WORKERS)" \
		$(foreach seed,$(subst $(comma), ,$(SEEDS)),--seed $(seed)) $(if $(strip $(CLUSTER)),--cluster "$(CLUSTER)")

estimate: setup ## estimate hours, memory and disk of what is missing of a study (DATASET, PROFILE, SEEDS, DEVICE)
	"$(BIN)/conure" study --dry-run --dataset "$(DATASET)" --profile "$(PROFILE)" \
		$(foreach seed,$(subst $(comma), ,$(SEEDS)),--seed $(seed))

# Notebooks whose defaults can run: 90 and 91 need no results, the others those that are committed.
RUNNABLE = $(wildcard notebooks/9*.ipynb) \
	$(if $(wildcard results/standard/synthetic/dials.csv),$(wildcard notebooks/09_*.ipynb)) \
	$(if $(wildcard results/standard/synthetic/growth.csv),$(wildcard notebooks/12_*.ipynb)) \
	$(if $(wildcard results/standard/synthetic/backbones.csv),$(wildcard notebooks/11_*.ipynb)) \
	$(if $(wildcard results/standard/complete-journey),$(filter-out notebooks/09_% notebooks/11_% notebooks/12_% notebooks/9%,$(wildcard notebooks/*.ipynb)))

# Files in order: by their numbers of tests, the few that kill and restart studies would come last.
SIDE_BY_SIDE = -n 2 --dist loadfile --no-loadscope-reorder

test: lint ## check style, run the tests (numbers also on a lowered instruction set), then every notebook
	"$(BIN)/python" -m pytest tests $(SIDE_BY_SIDE)
	$(LOWERED) "$(BIN)/python" -m pytest tests -m numerics $(SIDE_BY_SIDE)
	"$(BIN)/conure" study --dataset synthetic --profile smoke --workers "$(WORKERS)"
	"$(BIN)/python" -m pytest --nbval-lax $(RUNNABLE) $(SIDE_BY_SIDE)

lint: setup ## check style and layers only (ruff, its format, import-linter; notebooks too)
	"$(BIN)/python" -m ruff check .
	"$(BIN)/python" -m ruff format --check .
	"$(BIN)/python" "$(BIN)/lint-imports" --no-cache

format: setup ## put the code into the project's format
	"$(BIN)/python" -m ruff check --fix .
	"$(BIN)/python" -m ruff format .

bench: setup ## measure speed, growth and inference; writes results/local/benchmarks (docs/speed.md)
	"$(BIN)/python" -m benchmarks.speed
	"$(BIN)/python" -m benchmarks.inference
	"$(BIN)/python" -m benchmarks.scaling

gpu-check: setup ## check and measure a GPU, eight minutes at most; writes results/local/benchmarks/gpu.json
	"$(BIN)/python" -m benchmarks.gpu_check --device cuda

figures: setup ## redraw figures and notebooks from the committed results, below figures/local/committed (DATASET)
	"$(BIN)/conure" study --dataset "$(DATASET)" --profile "$(REPORTED)" --results committed

verdicts: setup ## decide every claim from the committed results; trains nothing
	"$(BIN)/conure" verdicts --profile "$(REPORTED)"

publish: setup ## make finished seeds of one's own committed results (DATASET, SEEDS; PROFILE=standard unless given)
	"$(BIN)/conure" publish --dataset "$(DATASET)" --profile "$(REPORTED)" \
		$(foreach seed,$(subst $(comma), ,$(SEEDS)),--seed $(seed))

reproduce: setup ## compute a committed seed again and compare (DATASET, SEED, WORKERS)
	"$(BIN)/conure" reproduce --dataset "$(DATASET)" --profile "$(REPORTED)" --seed "$(SEED)" --workers "$(WORKERS)"

readme: setup ## bring the tables of README.md and docs/ up to date
	"$(BIN)/python" docs/readme_tables.py

docs: setup ## build the site: artifacts/site/index.html, readable without network
	"$(BIN)/python" -m sphinx -W --keep-going -q -c docs . artifacts/site
	@echo "built: $(CURDIR)/artifacts/site/index.html"

robustness: setup ## try bad inputs at length; kill studies, fill their disk, damage their files
	CONURE_ROBUSTNESS=full "$(BIN)/python" -m pytest tests/robustness

notebooks: setup ## execute the notebooks with their defaults and keep the outputs that the tests compare
	"$(BIN)/conure" notebooks

lock: ## resolve pyproject.toml afresh into requirements.lock (then bring environment.yml into line)
	@set -eu; fresh="$$(mktemp -d)"; trap 'rm -rf "$$fresh"' EXIT; \
	$(PYTHON) -m venv "$$fresh/venv"; \
	"$$fresh/venv/bin/python" -m pip install --quiet "$(TORCH)"; \
	"$$fresh/venv/bin/python" -m pip install --quiet -e ".[test,docs]"; \
	"$$fresh/venv/bin/python" -m pip freeze --exclude-editable > "$$fresh/frozen"; \
	{ sed -n '/^#/p' requirements.lock; \
	  sed -E -e '/^(nvidia-|cuda-|triton)/d' -e 's/^(torch==[^+]*)\+.*/\1/' "$$fresh/frozen"; } > "$$fresh/lock"; \
	cat "$$fresh/lock" > requirements.lock; \
	echo "requirements.lock is new; tests/test_project.py names each pin of environment.yml that must follow"

clean: ## remove caches and what was computed under artifacts/; keep downloads, models, VENV, results/, figures/
	@if [ -d artifacts ]; then \
		find artifacts/ -mindepth 1 -maxdepth 1 ! -name downloads ! -name models -exec rm -rf {} +; \
	fi
	rm -rf .pytest_cache .ruff_cache .hypothesis build dist docs/api conure_study.egg-info
	@find . \( -name .git -o -name .venv -o -path ./artifacts \) -prune -o -type d \
		\( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
	@echo "kept: artifacts/downloads, artifacts/models, the environment, results/ and figures/ (local ones too)"
