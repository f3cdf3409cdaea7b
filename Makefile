# Two commands matter to a newcomer: `make demo` and `make test`. Both set up everything they need, with progress, and ask nothing.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
LOCKS := requirements/dev.txt requirements/uv.txt pyproject.toml
export OMP_NUM_THREADS ?= 1
export PYTHONUNBUFFERED := 1

# make demo MODEL=tiny | CLUSTER=kind | KUBECONFIG=… IMAGE_REPOSITORY=…
MODEL ?= smollm2
# A KUBECONFIG that the shell exports, as the demo's farewell suggests, chooses nothing: `make demo-down` must find what `make demo` started.
CLUSTER ?= $(if $(filter command,$(firstword $(origin KUBECONFIG))),existing,testbed)
IMAGE_REPOSITORY ?=
# Processes that `make test` runs its tests in: tests on the node wait much, and others run meanwhile.
WORKERS ?= 2
# make test PYTEST_FLAGS="--allow-missing-tier T3"
PYTEST_FLAGS ?=

# Asked before the Python environment is made: root for a real node, Go for what is yet to be built.
T3_MAY_BE_MISSING := $(filter T3 --allow-missing-tier=T3,$(PYTEST_FLAGS))
BEFORE_T3 := $(if $(T3_MAY_BE_MISSING),,check-root) check-go

.PHONY: check-root check-go help tools demo demo-down test test-unit test-serving test-process test-cluster test-e2e test-gpu lint format manifests bench bench-full images venv lock

help: ## what can be typed here
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: $(if $(filter testbed,$(CLUSTER)),check-root check-go) venv ## a real Kubernetes, a real fine-tuning, a gate that refuses (MODEL=tiny, CLUSTER=kind, KUBECONFIG=…)
	@$(PY) -m demo --model "$(MODEL)" --cluster "$(CLUSTER)" --image-repository "$(IMAGE_REPOSITORY)"

demo-down: venv ## take the demo's cluster away; the host is as it was
	@$(PY) -m demo --down --cluster "$(CLUSTER)"

test: $(BEFORE_T3) venv tools lint ## lint and every tier, T0 to T3
	@$(PY) -m pytest tests/e2e tests/cluster tests/process tests/serving tests/unit -n $(WORKERS) --dist loadscope --no-loadscope-reorder $(PYTEST_FLAGS)

test-unit: venv ## T0: no cluster, under a minute
	@$(PY) -m pytest tests/unit -n $(WORKERS) --dist loadscope $(PYTEST_FLAGS)

test-serving: venv ## T0: router, inference server, intake, merging and statistics of canaries, each in one process
	@$(PY) -m pytest tests/serving $(PYTEST_FLAGS)

test-process: venv ## T0: programs started for real: trainers killed and resumed, servers, routers, scripts
	@$(PY) -m pytest tests/process $(PYTEST_FLAGS)

test-cluster: check-go venv ## T1 and T2: a real API server, fake nodes
	@$(PY) -m pytest tests/cluster $(PYTEST_FLAGS)

test-e2e: $(BEFORE_T3) venv ## T3: real pods on a real node
	@$(PY) -m pytest tests/e2e $(PYTEST_FLAGS)

tools: venv
	@$(PY) -m finetune_testbed.cli tools

check-root:
	@hack/preflight.sh root

check-go:
	@hack/preflight.sh go

test-gpu: ## on a machine with an accelerator, with the versions it has
	@PYTHONPATH="$(CURDIR):$(CURDIR)/trainer_image:$(CURDIR)/inference_image:$${PYTHONPATH:-}" python3 -m pytest -c tests/gpu/pytest.ini --rootdir=. tests/gpu -p no:cacheprovider $(PYTEST_FLAGS)

lint: venv ## ruff, mypy --strict, import law, manifest drift, helm lint, shellcheck
	@hack/lint.sh

format: venv ## let ruff format and fix
	@$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

manifests: venv ## write crds/, the chart's CRDs and docs/reference/ from the models
	@hack/manifests.sh

bench: venv ## small benchmarks: ratios and counts, printed as the tables of docs/performance.md
	@$(PY) -m tests.performance

bench-full: venv ## the same at full size (an hour)
	@$(PY) -m tests.performance --full

images: check-root check-go venv ## build the three images with BuildKit into the testbed's cache
	@$(PY) -m demo --images-only

venv: $(VENV)/.ready ## the Python environment (hash-locked; 6 GB, a minute from a warm cache)

$(VENV)/.ready: $(LOCKS)
	@hack/venv.sh $(VENV)

lock: ## renew the lock files from requirements/*.in
	@hack/lock.sh
