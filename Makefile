# Everything that people run; `make help` lists it.

# The folder that holds the training photographs, a sub-folder a set (README.md, "Data").
export CRACK_DATA_DIR ?= $(abspath ../shared/data)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed-$(shell cksum requirements.txt | cut -d' ' -f1)

.DEFAULT_GOAL := help
.PHONY: help setup up test lint pretrain train resume evaluate export samples clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(READY) ## install everything into .venv

$(READY): requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement requirements.txt
	touch $@

up: $(READY) ## start the system and print its addresses; Ctrl-C stops it
	@$(BIN)/python -m handler.serve

test: $(READY) lint ## run all tests
	$(BIN)/python -m pytest

lint: $(READY) ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

pretrain: $(READY) ## train a network on drawn surfaces alone, into models/pretrained; the photographs are for validation
	$(BIN)/python -m model.train --out models/pretrained \
	  --set data.sets="{deepcrack: 0}" --set data.synthetic_share=1 --set data.n_synthetic=600 \
	  --set training.steps=1500 --set training.learning_rate=2.0e-3 --set training.warmup_steps=200 \
	  --set training.crop_px=256 --set training.batch=8 --set augmentation.negative_ratio=0.15

train: $(READY) ## train a model on $CRACK_DATA_DIR by params.yaml, beginning with what `make pretrain` left
	@ls models/pretrained/*.pth > /dev/null 2>&1 || $(MAKE) pretrain
	$(BIN)/python -m model.train --from models/pretrained

resume: $(READY) ## go on with the training that was stopped last
	$(BIN)/python -m model.train --resume

evaluate: $(READY) ## measure the newest checkpoint on DeepCrack's test photographs; leaves a report in reports/
	$(BIN)/python -m model.evaluate

export: $(READY) ## turn the newest checkpoint into model_store/crack.mar
	$(BIN)/python -m export

samples: $(READY) ## draw the surfaces in docs/samples again
	rm -rf docs/samples
	$(BIN)/python -m model.synthetic --out docs/samples --n 6 --seed 20

clean: ## remove what was installed and logged, but no model and no data
	rm -rf $(VENV) logs .pytest_cache .mypy_cache .ruff_cache
