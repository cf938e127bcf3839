# Lamella. `make help` lists what there is; only Python 3.11+, make and a package index are needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
ON_STACK := LAMELLA_TEST_STACK=postgresql+s3
# Three processes on two cores: a third of the time a test waits for a server to start or a disk.
RUNNERS ?= 3
IN_PARALLEL := -n $(RUNNERS) --dist worksteal

.DEFAULT_GOAL := help
# What CI runs a second time on PostgreSQL and S3: doors, history, crashes, the conformance suite.
STACK := tests/integration/test_api.py tests/integration/test_store_semantics.py \
	tests/integration/test_revisions_http.py tests/integration/test_conflicts.py \
	tests/integration/test_deleting.py tests/integration/test_fsck.py \
	tests/integration/test_wado_uri.py tests/crash/test_kill.py tests/conformance

.PHONY: help serve demo test test-stack check soak bench format clean services

help: ## list the targets
	@grep -hE '^[a-z.-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

serve: $(VENV)/core ## install and run the archive (honours LAMELLA_*)
	@exec $(BIN)/python -m lamella serve

demo: $(VENV)/core ## run it on a throw-away folder with a few studies, and tell what happens
	@exec $(BIN)/python -m lamella demo

.venv: $(VENV)/core ## install without starting anything

test: $(VENV)/test ## run the test suite (CI=true: with every service, nothing skipped)
ifeq ($(CI),true)
	@.ci/services
	$(MAKE) --no-print-directory check
endif
	$(PYTEST) -m "not soak" $(IN_PARALLEL)
ifeq ($(CI),true)
	$(ON_STACK) $(PYTEST) -m "not soak" $(IN_PARALLEL) $(STACK)
endif

test-stack: $(VENV)/test ## run all tests that come through the doors on PostgreSQL and S3
	$(ON_STACK) $(PYTEST) -m "not soak" $(IN_PARALLEL) \
		tests/integration tests/peer tests/crash tests/conformance tests/property tests/browser

soak: $(VENV)/test ## run the long forms of tests (an hour or more)
	$(PYTEST) -m soak -s --timeout 14400

check: $(VENV)/test ## format, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/test ## rewrite the code in its one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/test ## measure (see bench/README.md)
	$(BIN)/python -m bench

services: ## install what the tests use besides Python (Debian, as root)
	@.ci/services

clean: ## remove the environment and caches; data stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/core: requirements/core.txt requirements/build.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install -q -r requirements/build.txt -r requirements/core.txt
	$(PIP) install -q --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q lamella  # also where PYTHONDONTWRITEBYTECODE is set
	@touch $@

$(VENV)/test: requirements/test.txt $(VENV)/core
	$(PIP) install -q -r requirements/test.txt
	@touch $@
