# Every command that people and CI use; `make` alone lists them. ARGS="…" is passed on.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.locked

# Variables of .env, where there is one; what the shell sets already counts more.
WITH_ENV = if [ -f .env ]; then before=$$(export -p); set -a; . ./.env; set +a; eval "$$before"; fi;

# Python keeps the bytecode of what it imports, also where an image told it not to: `setup` compiles nothing.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup parts demo dev quick test check lint format scheduler scheduler-test bench fault vectors histories recording pictures image push contract verifier verifier-page fuzz-verifier
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf 'make %-15s %s\n' "$$name" "$$text"; done

# uv takes a third of pip's time; where it can't be had, or can't reach what pip is configured for, pip installs the same.
$(STAMP): requirements.lock requirements-setup.lock
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements-setup.lock \
	  && $(PY) -m uv pip install --quiet --python $(PY) --require-hashes -r requirements.lock \
	  || $(PY) -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@touch $(STAMP)

setup: $(STAMP) ## install the locked packages into .venv

demo: setup ## run a whole local system and show how samples are anchored; ARGS=--once ends by itself
	@$(WITH_ENV) $(PY) starter.py demo $(ARGS)

dev: setup ## run a whole local system until Ctrl-C
	@$(WITH_ENV) $(PY) starter.py dev $(ARGS)

scheduler: setup ## run one worker, with TEMPORAL_ADDRESS and VMSH_ROOT set
	@$(WITH_ENV) $(PY) worker.py $(ARGS)

# Programs that the tests run are fetched first, so that no test's time is spent on building them.
parts: setup ## fetch the programs of all local parts beforehand
	@$(PY) -m devnet.parts fetch > /dev/null

# More than half of the time tests wait for blocks, time-outs and servers: four processes take files side by side, each with servers
# of its own, those that wait longest first. More processes are faster, and make tests that measure time fail now and then on two cores.
# So two more get nothing but files that only wait (tests/support/order.py), and end with the last of them.
JOBS ?= 6
# A machine that other programs keep busy makes one of thousands of timed tests fail: it is asked once more, ten at most in a run.
# The closing line counts reruns and the summary names them with their traces; findings about money or replays are never asked again.
ASK_AGAIN := --reruns 1 --max-suite-reruns 10 --rerun-show-tracebacks
test: parts ## run every test, against real programs; JOBS=6 processes, a third of them for tests that only wait
	@$(PY) -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ASK_AGAIN) $(ARGS)

# The tests of the domain, of files and of documents, without Temporal's server and without nodes.
quick: lint ## lint, types, and the tests that need no server and no node
	@$(PY) -m pytest --numprocesses 4 --dist loadfile -m quick $(ARGS)

scheduler-test: test ## test, by its earlier name

lint: setup ## check style, types and import directions
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

format: setup ## put the code into shape
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

check: ## what CI runs: lint and test
	@bash .ci/run

fault: parts ## run the tests that kill, terminate or lose parts
	@$(PY) -m pytest -m fault $(ARGS)

bench: setup ## measure what one machine sustains; ARGS=jobs measures that alone
	@$(PY) -m bench $(ARGS)

histories: setup ## save histories of a release for replays
	@$(PY) -m tests.histories.save $(ARGS)

pictures: setup ## take the pictures of docs/admin.md
	@$(PY) -m docs.pictures

recording: setup ## record the demo as docs/demo.svg
	@$(PY) -m docs.recording $(ARGS)

contract: setup ## compile the anchor contract again
	@$(PY) -m contracts.build

# One static program; the same source gives the same bytes.
verifier: ## build the verifier for auditors: verifier/dist/vaultmesh-verify
	@cd verifier && CGO_ENABLED=0 GOTOOLCHAIN=local go build -trimpath -buildvcs=false -ldflags="-s -w -buildid=" -o dist/vaultmesh-verify ./cmd/vaultmesh-verify

verifier-page: ## build the same as one HTML file: verifier/dist/vaultmesh-verify.html
	@cd verifier && GOTOOLCHAIN=local go run -buildvcs=false ./cmd/build-page

fuzz-verifier: setup ## ask both verifiers about 100,000 fuzzed proofs; ARGS="--count 1000000 --first 100000" about others
	@$(PY) -m tests.second_verifier.proof_campaign $(ARGS)

# Both images have the names and the tag of the manifests, unless told otherwise: IMAGE=registry.example.com/team/scheduler TAG=v1.2.3.
# The other one's name is the same with `maintenance` for `scheduler`. BUILDER=podman, or buildah, does as well.
BUILDER ?= docker
IMAGE ?= vaultmesh/scheduler
MAINTENANCE_IMAGE ?= $(patsubst %scheduler,%maintenance,$(IMAGE))
TAG ?= v$(VERSION)
VERSION := $(shell sed -n 's/^VERSION = "\(.*\)"$$/\1/p' vaultmesh/process/version.py)
REVISION ?= $(shell git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown)
# Of the commit: the same source says the same.
CREATED ?= $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)
LABELS := --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --build-arg CREATED=$(CREATED)
DIGESTS ?= image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}'

image: ## build both container images; IMAGE=… TAG=… name them, BUILD_OPTIONS=… is passed on
	@test "$(IMAGE)" != "$(MAINTENANCE_IMAGE)" || { echo "IMAGE does not end in scheduler: set MAINTENANCE_IMAGE too" >&2; exit 2; }
	$(BUILDER) build $(LABELS) $(BUILD_OPTIONS) --target worker --tag $(IMAGE):$(TAG) .
	$(BUILDER) build $(LABELS) $(BUILD_OPTIONS) --target maintenance --tag $(MAINTENANCE_IMAGE):$(TAG) .

push: ## push both images, and print each by its digest, for kustomization.yaml
	$(BUILDER) push $(PUSH_OPTIONS) $(IMAGE):$(TAG)
	$(BUILDER) push $(PUSH_OPTIONS) $(MAINTENANCE_IMAGE):$(TAG)
	@for name in $(IMAGE) $(MAINTENANCE_IMAGE); do $(BUILDER) $(DIGESTS) $$name:$(TAG) | grep "$$name@"; done
