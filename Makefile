# Every command that people and CI use. ARGS="…" is passed on.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.locked

.PHONY: setup parts demo dev test check lint format scheduler scheduler-test bench fault vectors histories image contract verifier verifier-page fuzz-verifier
.DEFAULT_GOAL := test

$(STAMP): requirements.lock
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $(STAMP)

setup: $(STAMP)

demo: setup
	@$(PY) starter.py demo $(ARGS)

dev: setup
	@$(PY) starter.py dev $(ARGS)

scheduler: setup
	@$(PY) worker.py $(ARGS)

# Programs that the tests run are fetched first, so that no test's time is spent on building them.
parts: setup
	@$(PY) -m devnet.parts fetch > /dev/null

# Most of the time tests wait for blocks, time-outs and servers: two processes take files side by side, each with servers of its own.
test: parts
	@$(PY) -m pytest --numprocesses 2 --dist loadfile $(ARGS)

scheduler-test: test

lint: setup
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

format: setup
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

check:
	@bash .ci/run

fault: parts
	@$(PY) -m pytest -m fault $(ARGS)

bench: setup
	@$(PY) -m bench $(ARGS)

histories: setup
	@$(PY) -m tests.histories.save $(ARGS)

contract: setup
	@$(PY) -m contracts.build

# The verifier for auditors: one static program; the same source gives the same bytes.
verifier:
	@cd verifier && CGO_ENABLED=0 GOTOOLCHAIN=local go build -trimpath -buildvcs=false -ldflags="-s -w -buildid=" -o dist/vaultmesh-verify ./cmd/vaultmesh-verify

# The same as a page: one HTML file with the verifier inside.
verifier-page:
	@cd verifier && GOTOOLCHAIN=local go run -buildvcs=false ./cmd/build-page

# Asks both verifiers about 100,000 fuzzed proofs; ARGS="--count 1000000 --first 100000" about others.
fuzz-verifier: setup
	@$(PY) -m tests.second_verifier.proof_campaign $(ARGS)

image:
	docker build -t vaultmesh-scheduler:local .
