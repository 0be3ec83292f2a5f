# Each of these works alone on a fresh clone; it needs Python 3.11 or later, git and make.
#
#   make demo      see it work: real files, versions, pandas, and a race of eight processes
#   make test      the suite on what pip alone brings: memory, local disk, moto, ministack, rclone
#   make check     all that CI does; servers that are not installed are skipped (bash .ci/install-servers)
#   make nightly   the deep runs, for hours
#   make bench     measure all, beside floors and peers, and write docs/performance.md (make bench-quick: some minutes)

SHELL := /bin/bash
.DELETE_ON_ERROR:
# pip leaves compiling to the first import. Where nothing that is compiled is kept, each of the many processes that tests
# start compiles all of pandas, botocore and the rest anew.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: demo test check nightly bench bench-quick lint types layers suite other-pythons venvs peers

PYTHON ?= $(shell bash .ci/find-python)
VENV ?= .venv
BIN := $(VENV)/bin
OTHER_PYTHONS := 3.12 3.13
PYTEST = $(BIN)/python -m pytest -n 2

demo: $(VENV)/.demo
	$(BIN)/python examples/tour.py

test: $(VENV)/.test
	$(PYTEST) --pip-only $(LESS) -m "not deep and not nightly"

check: lint types layers suite other-pythons

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports --no-logo

# The documents are in it: each code block of README.md and docs/ is a test.
suite: $(VENV)/.dev
	$(PYTEST) -m "not nightly"

other-pythons: $(OTHER_PYTHONS:%=test-%)

# What may differ between Pythons: one server by threads and event loops; and with the newest, what stands on annotations,
# event loops, processes, pickles and the interpreter's end. A Python that is not there is an error in CI, and said elsewhere.
NEWEST := $(lastword $(OTHER_PYTHONS))
REMOTELY := --servers moto tests/test_backend_s3.py tests/test_filesystem_async.py
VARYING := store async_store filesystem drivers hard_cases streams races state_machine public config records refs names keys sealing \
	bulk watch migrate history search
LOCALLY := --servers none $(VARYING:%=tests/test_%.py) tests/cli

test-%:
	@if python="$$(bash .ci/find-python $*)"; then \
		run="$(MAKE) --no-print-directory test VENV=.venv-$* PYTHON=$$python"; \
		$$run LESS="$(REMOTELY)" && { [ $* != $(NEWEST) ] || $$run LESS="$(LOCALLY)"; }; \
	elif [ "$${CI:-}" = true ]; then \
		echo "Python $* was not found: install it, or let pyenv do so"; exit 1; \
	else \
		echo "Python $* was not found: its tests are left to CI"; \
	fi

nightly: $(VENV)/.dev
	HYPOTHESIS_PROFILE=nightly ARTIFACTFS_SIM_SECONDS=$${ARTIFACTFS_SIM_SECONDS:-7200} $(PYTEST) --timeout 28800

# The machine should have nothing else to do meanwhile.
bench: SIZE := full
bench-quick: SIZE := quick
bench bench-quick: peers
	@bash .ci/install-servers minio fake-gcs-server
	@$(MAKE) --no-print-directory .venv-bench/.bench VENV=.venv-bench
	.venv-bench/bin/python -m benchmarks --size $(SIZE)

# --- environments: made again where pyproject.toml is newer ------------------------------------------------------------

venvs: $(VENV)/.dev $(OTHER_PYTHONS:%=venv-%)

venv-%:
	@if python="$$(bash .ci/find-python $*)"; then \
		$(MAKE) --no-print-directory .venv-$*/.test VENV=.venv-$* PYTHON="$$python"; \
	fi

# The systems whose stores are imported, which pin what nothing else here could live with; tests run scripts in it.
peers: .venv-peers/.peers

.venv-peers/.peers: tests/peers/requirements.txt
	@echo "installing the packages whose stores are imported into .venv-peers"
	@[ -x .venv-peers/bin/python ] || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install -qq --no-compile --disable-pip-version-check --no-deps -r $<
	@touch $@

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "No Python 3.11 or later was found on PATH"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo $(VENV)/.test $(VENV)/.bench $(VENV)/.dev: $(VENV)/.%: pyproject.toml | $(BIN)/python
	@echo "installing artifactfs[$*] into $(VENV)"
	@$(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check --editable '.[$*]'
	@touch $@
