# Thin targets: each calls a command that can be run by hand. `make demo` is where to start.

VENV := .venv
BIN := $(VENV)/bin
# The first interpreter that runs and is new enough: a name on PATH may be a shim with nothing behind it.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && break; done)

.DEFAULT_GOAL := help
.PHONY: help setup demo rollout attacks durable private poison training faults engines cluster manifests images test test-fast fuzz check format conformance bench lock clean soak

help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup:  ## Make .venv, install the lock file and a broker; nothing when all is there
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found."; \
	echo "Remedy: sudo apt-get install python3 python3-venv (Debian 12, Ubuntu 24.04), or make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -m simulations.bootstrap

demo: setup  ## Run the whole loop on this machine; leaves report/index.html
	@$(BIN)/hinterland simulate --scenario loop

rollout: setup  ## Good and bad releases on forty devices; leaves report/rollout.html
	@$(BIN)/hinterland simulate --scenario rollout

attacks: setup  ## Carry out every attack on a running world; leaves report/attacks.html
	@$(BIN)/hinterland simulate --scenario attacks

private: setup  ## Sums without updates, noise, and a budget that ends a run; leaves report/private.json
	@$(BIN)/hinterland simulate --scenario private

poison: setup  ## Seven poisoned updates against every rule; leaves report/poison.json
	@$(BIN)/hinterland simulate --scenario poison

training: setup  ## A hundred simulated clients trained together; leaves report/training.html
	@$(BIN)/hinterland simulate --scenario training

durable: setup  ## A federated run under forty kills, and the same one left alone; leaves report/durable.json
	@$(BIN)/hinterland simulate --scenario durable

faults: setup  ## Kills, power cuts, broken disks and wires, row by row; leaves report/faults.json
	HINTERLAND_FAULT_REPORT=report/faults.json $(BIN)/python -m pytest -v tests/fault

engines: setup  ## Install NVIDIA's engine builder, under NVIDIA's licence: 96 MB to fetch, and no GPU is needed
	@$(PYTHON) -m simulations.bootstrap --engines

cluster: setup  ## Fetch helm, kubectl, promtool and the schemas of Kubernetes: about 120 MB, installed nowhere
	@$(PYTHON) -m simulations.bootstrap --cluster

manifests: cluster  ## Write the Kustomize bases out of the charts
	$(BIN)/python -m simulations.bootstrap.manifests

images: setup  ## Build the images without a Docker engine; needs root, buildah and debootstrap
	k3s/images/build-check.sh

test: check engines cluster  ## All tests: the gate with its fast ones, then those with real servers, faults and attacks
	$(BIN)/python -m pytest -m "(system or slow) and not soak"

soak: setup  ## The same thing hundreds of times, and cameras that fail for half an hour, to see what leaks
	$(BIN)/python -m pytest -m soak

test-fast: setup  ## Tests that start no servers and take no minutes, one file to a core at a time
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not system and not slow and not soak"

fuzz: setup  ## N hostile inputs over every parser of foreign bytes, from seed SEED
	$(BIN)/python -m tests.fuzz $(or $(N),1000000) $(or $(SEED),2)

check: setup  ## The one gate: format, lint, types, imports between packages, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory test-fast

format: setup  ## Put the sources into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

conformance: setup  ## The public TUF suite against our client; TUF_CONFORMANCE=/path for a copy of it
	$(BIN)/python -m tests.conformance.run

bench: setup  ## Measure ours against its peers in one run; leaves bench.json
	@$(PYTHON) -m simulations.bootstrap --bench
	$(BIN)/python -m tests.benchmarks.run

lock: setup  ## Resolve requirements.lock afresh from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--no-header --quiet --output-file requirements.fresh
	{ grep '^#' requirements.lock; \
	awk '/^[^ ]/ { cuda = /^(nvidia-|cuda-|triton==)/ } !cuda' requirements.fresh | sed -E 's/^(torch==[0-9.]+)\+cpu/\1/'; \
	} > requirements.next
	mv requirements.next requirements.lock && rm requirements.fresh

clean:  ## Remove what was built, downloaded and reported
	rm -rf $(VENV) .hinterland report bench.json build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf -- *.egg-info
