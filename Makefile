# Two commands do everything: `make run` (the main job) and `make test` (all tests). Both set up
# .venv first from requirements.lock, and only when the lock file is newer than the environment.

# Tests start hundreds of processes: where bytecode may not be kept each compiles all that it imports.
export PYTHONDONTWRITEBYTECODE :=

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test check setup format lock generated plans reference reference-published bench clean

run: setup
	$(BIN)/python -m harness run $(ARGS)
	$(BIN)/python -m calibration fit results/local --include-noisy
	$(BIN)/python -m estimator predict

test: check
	$(BIN)/python -m pytest -m "engine or slow"

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n auto -m "not engine and not slow"

setup: $(READY)

# uv from PATH where there is one; otherwise pip brings it into .venv.
$(READY): requirements.lock pyproject.toml
	@command -v uv >/dev/null 2>&1 || test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; }
	@UV=$$(command -v uv || echo $(BIN)/uv); \
	test -x $(BIN)/python || $$UV venv --quiet --python $(PYTHON) $(VENV); \
	$$UV pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock && \
	$$UV pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(READY)

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The lock names exact versions and hashes for every platform, and no package index.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --extra embedded --group dev pyproject.toml -o requirements.lock

# Data files that are made from other things; tests compare them with what makes them.
generated: setup
	$(BIN)/python -m tests.estimator.quant_table

# What `harness run` measures without options, for machines so many times as fast as the reference with so much memory
# (two minutes). Mistral 7B, the model that people ask first, is measured where it takes less than half of the time.
PLAN := $(BIN)/python -m calibration plan --budget 5m --models 5
PLANS := harness/data/plans
plans: setup
	for speed in 0.5 1 2 4 8 16; do for memory in 2 4; do \
		$(PLAN) --memory $${memory}GiB --disk 4GiB --speed $$speed --output $(PLANS)/$${speed}x-$${memory}GiB.toml || exit; done; done
	$(PLAN) --memory 10GiB --disk 8GiB --speed 0.5 --output $(PLANS)/0.5x-10GiB.toml
	for speed in 1 2 4 8 16; do $(PLAN) --memory 10GiB --disk 8GiB --include 'mistral:7b q4_k_m' --speed $$speed \
		--output $(PLANS)/$${speed}x-10GiB.toml || exit; done

# The shipped prior, from the stored campaign; the reference for other hardware, from published measurements.
reference: setup reference-published
	$(BIN)/python -m calibration fit results/reference --no-prior --output estimator/data/reference_cpu.json
	$(BIN)/python -m calibration api-reference

reference-published: setup
	$(BIN)/python -m calibration reference $(ARGS)

# Figures for people; run on a quiet machine.
bench: setup
	$(BIN)/python -m tests.benchmarks.overhead
	$(BIN)/python -m tests.benchmarks.sampler
	$(BIN)/python -m tests.benchmarks.sampled
	$(BIN)/python -m tests.benchmarks.memory
	$(BIN)/python -m tests.benchmarks.fits
	$(BIN)/python -m tests.benchmarks.published
	$(BIN)/python -m tests.benchmarks.truth
	$(BIN)/python -m tests.benchmarks.clients
	$(BIN)/python -m tests.benchmarks.queues
	$(BIN)/python -m tests.benchmarks.growth
	$(BIN)/python -m tests.benchmarks.sweeping
	$(BIN)/python -m tests.benchmarks.noise
	$(BIN)/python -m tests.benchmarks.comparing
	$(BIN)/python -m tests.benchmarks.planning
	$(BIN)/python -m tests.benchmarks.planning reference
	$(BIN)/python -m tests.benchmarks.first_run
	$(BIN)/python -m tests.benchmarks.gate
	$(BIN)/python -m tests.benchmarks.laws served
	$(BIN)/python -m tests.benchmarks.laws stored
	$(BIN)/python -m tests.benchmarks.machines
	$(BIN)/python -m tests.benchmarks.strength drawn
	$(BIN)/python -m tests.benchmarks.strength stored
	$(BIN)/python -m tests.benchmarks.strength machines
	$(BIN)/python -m tests.benchmarks.seeds qwen2.5:0.5b 10

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
