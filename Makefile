# bloodkeras: `make all` reproduces the study, `make test` checks the code. `make help` lists all.

ifeq ($(OS),Windows_NT) # GNU make, called from Git Bash
PYTHON ?= python
BIN := .venv/Scripts
else
PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13) python3)
BIN := .venv/bin
endif
DATA ?= auto
SIZE ?=
EPOCHS ?=
VENV := .venv
RUN := $(BIN)/python -m bloodkeras
# Where your own ONNX files lie; exports/ holds the published ones, which nothing here replaces.
BELOW := $(patsubst %,%/,$(filter-out 28,$(SIZE)))
OF_SIZE := $(patsubst %,-%,$(filter-out 28,$(SIZE)))
MADE = $(firstword $(if $(filter-out synthetic,$(DATA)),$(wildcard runs/$(BELOW)exports)) $(wildcard runs/synthetic/$(BELOW)exports) runs/$(BELOW)exports)
FROM := $(strip --data $(DATA) $(if $(SIZE),--size $(SIZE)))
LARGE := runs/64/residual-seed
SHORTER := $(if $(EPOCHS),--epochs $(EPOCHS))

.DEFAULT_GOAL := help
.PHONY: help env lock data eda train evaluate export evaluate-onnx report all best taught robust benchmark seeds tune held-out test lint docs clean

help: ## list the targets, in the order of the flow
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'DATA=auto (BloodMNIST, else drawn cells), DATA=FILE.npz or DATA=synthetic; now: $(DATA)'
	@echo 'SIZE=64, 128 or 224 takes the images at that side: make all SIZE=64'
	@echo 'EPOCHS=1 trains less than the recipes say: make all EPOCHS=1'

env: $(VENV)/ready ## make .venv and install everything (two to four minutes, 3 GB)
$(VENV)/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	# For tests that compare with it alone. It asks for torch (several GB), which they do not need.
	$(BIN)/python -m pip install --quiet --no-deps 'medmnist>=3.0.2,<4'
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

lock: ## resolve requirements.txt anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 --no-annotate --upgrade --quiet --output-file requirements.txt

data: env ## find or download BloodMNIST and check it
	$(RUN) data $(FROM)

eda: env ## figures and audit of the data
	$(RUN) eda $(FROM)

train: env ## train simple and deeper
	$(RUN) train simple $(FROM) $(SHORTER)
	$(RUN) train deeper $(FROM) $(SHORTER)

evaluate: env ## judge the trained Keras models on the test split
	$(RUN) evaluate simple $(FROM)
	$(RUN) evaluate deeper $(FROM)

export: env ## make checked ONNX files of both models: runs/exports/
	$(RUN) export $(FROM)

evaluate-onnx: env ## judge your ONNX files on the test split, without TensorFlow
	$(RUN) evaluate $(MADE)/simple$(OF_SIZE) $(FROM)
	$(RUN) evaluate $(MADE)/deeper$(OF_SIZE) $(FROM)

report: env ## put everything side by side: runs/report/report.html
	$(RUN) report $(FROM)

all: env ## all of the above in one go, each step timed
	$(RUN) study $(FROM) $(SHORTER)

best: env ## tiny and residual: train, evaluate, export (about 20 minutes)
	$(RUN) study tiny residual $(FROM) $(SHORTER)

taught: env ## residual of 64 pixels, twice, and tiny taught by both: train, export (one to four hours; not drawn cells)
	$(RUN) train residual --size 64 --seeds 42,43 $(SHORTER)
	$(RUN) train tiny --runs runs/taught --teacher $(LARGE)42,$(LARGE)43 $(SHORTER)
	$(RUN) export $(LARGE)42
	$(RUN) export tiny --runs runs/taught

robust: env ## for photographs from elsewhere, taught by residual of 64 pixels: train, evaluate, export (one to three hours; not drawn cells)
	$(RUN) train residual --size 64 --seeds 43 $(SHORTER)
	$(RUN) train robust --size 64 --seeds 43 --teacher $(LARGE)43 $(SHORTER)
	$(RUN) evaluate runs/64/robust-seed43
	$(RUN) export runs/64/robust-seed43

benchmark: env ## Keras, fp32 and int8 side by side, after `make export` (5 minutes, nothing else running)
	$(RUN) benchmark $(MADE)/deeper$(OF_SIZE) $(FROM)

seeds: env ## both models with seeds 42, 43, 44: mean and standard deviation
	$(RUN) seeds simple $(FROM) $(SHORTER)
	$(RUN) seeds deeper $(FROM) $(SHORTER)

tune: env ## search for a better recipe for deeper: 20 short trials, at most 20 minutes
	$(RUN) tune deeper $(FROM) --trials 20 --strategy hyperband --epochs 9 --budget-minutes 20 --width 1 --depth 0

held-out: env ## deeper without each class in turn: does it doubt what it was never shown?
	$(RUN) held-out deeper $(FROM) $(SHORTER)

test: env ## every test (offline); says at its end what was skipped and why
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

lint: env ## style, simple mistakes, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: env ## build the documentation into site/ (offline); a broken link fails
	NO_MKDOCS_2_WARNING=true $(BIN)/python -m mkdocs build --strict --quiet

clean: ## remove the environment; runs/ and exports/ stay
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache
