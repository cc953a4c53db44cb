# Every command that people and CI use. ARGS="…" is passed on.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.locked

.PHONY: setup parts demo dev test check lint format scheduler scheduler-test bench fault vectors histories image contract verifier-page
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

image:
	docker build -t vaultmesh-scheduler:local .

# One HTML file for auditors; the same sources and the same Go give the same bytes.
verifier-page:
	@cd verifier && go run -buildvcs=false ./cmd/build-page
