# Everything that people run; `make help` lists it.

# The folder of the training photographs, with a sub-folder for each set (docs/training.md, "Data").
export CRACK_DATA_DIR ?= $(abspath ../shared/data)

# Settings of the shell for another Python or another project's packages (ROS, conda) don't apply to this one.
unexport $(filter PYTHON%,$(.VARIABLES)) PIP_TARGET PIP_PREFIX PIP_ROOT
export PIP_USER := 0

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Programs in a virtual environment name its folder, so another place needs another one, as another list of packages does.
READY := $(VENV)/.installed-$(shell (pwd -P; cat requirements.txt) | cksum | cut -d' ' -f1)

.DEFAULT_GOAL := help
.PHONY: help setup up test lint train evaluate export retrain monitor bench docs lock audit sbom samples clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(READY) ## install everything into .venv

$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; sys.version_info[:2] == (3, 11) or sys.exit("error: Python %d.%d was found: expected 3.11, \
for which the versions in requirements.txt were chosen. Install it, or name it: make PYTHON=/path/to/python3.11" % sys.version_info[:2])'
	@$(PYTHON) -m crack.instance
	@echo 'Installing all packages into $(VENV), 4 GB: the first time this takes 3 to 10 minutes, without further words.'
	@! grep -s '^command = ' $(VENV)/pyvenv.cfg | grep -qvF " $$(pwd -P)/$(VENV)" || rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

up: $(READY) ## start the system and print its addresses; Ctrl-C stops it
	@$(BIN)/crack up

test: $(READY) lint ## run all tests
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(READY) ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

train: $(READY) ## train a model on $CRACK_DATA_DIR by the recipes in recipes/release; continues after a stop
	$(TRAIN) --recipe recipes/release
	for folder in models models/*/; do $(BIN)/crack retrain track --checkpoint $$folder || exit; done

TRAIN = OMP_NUM_THREADS=$$(( $$(nproc) / $(PROCESSES) )) $(BIN)/torchrun --standalone --nproc-per-node $(PROCESSES) --no-python $(BIN)/crack train
# One process per GPU or, without any, up to four that share the cores: two on 2 cores train 1.3 times as fast as one on both.
PROCESSES ?= $(shell n=$$(nvidia-smi --list-gpus 2> /dev/null | wc -l); \
  if [ $$n -eq 0 ]; then n=$$(nproc); [ $$n -lt 4 ] || n=4; [ $$n -ne 3 ] || n=2; fi; echo $$n)

evaluate: $(READY) ## measure the newest checkpoint on DeepCrack's test photographs; writes a report into reports/
	$(BIN)/crack evaluate --record

export: $(READY) ## turn the newest checkpoint into model_store/crack.mar
	$(BIN)/crack export

retrain: $(READY) ## retrain from the accepted corrections, and serve the new model if it is better
	$(BIN)/crack retrain

monitor: $(READY) ## install Prometheus and its node-exporter, and start them beside a running make up
	@$(BIN)/python -m crack.instance
	@sh deploy/install-prometheus.sh
	@$(BIN)/crack up prometheus prometheus-node-exporter

bench: $(READY) ## measure serving: against its limit and other servers, and where the milliseconds go
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.stages
	$(BIN)/python -m benchmarks.behaviour

docs: $(READY) ## write the tables of settings in docs/configuration.md
	$(BIN)/python -m deploy.settings_tables

lock: ## rewrite requirements.txt with the newest versions that pyproject.toml allows
	$(PYTHON) -m venv --clear $(VENV)/lock
	$(VENV)/lock/bin/pip install --quiet .[dev]
	$(VENV)/lock/bin/python deploy/lock.py
	rm -r $(VENV)/lock

audit: $(READY) ## look up all locked packages among the known vulnerabilities; asks PyPI
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement requirements.txt

sbom: $(READY) ## list all installed packages in sbom.json (CycloneDX), for an audit at any later time
	$(BIN)/cyclonedx-py environment $(VENV) --output-reproducible --output-format JSON --output-file sbom.json

samples: $(READY) ## draw the surfaces in docs/samples again
	rm -rf docs/samples
	$(BIN)/crack draw --out docs/samples --n 6 --seed 20

clean: ## remove what was installed and logged, but no model and no data
	rm -rf $(VENV) logs .pytest_cache .mypy_cache .ruff_cache
