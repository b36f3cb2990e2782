# `make run` and `make test` need Python 3.11 or later (with its venv module) and make, nothing else.
.DEFAULT_GOAL := help
.PHONY: help run test check format bench lock clean

PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
BIN := .venv/bin

help:
	@echo 'make run      start everything: broker, services, demo data; prints a curl line'
	@echo 'make test     run all tests           (ARGS="-k name" for some)'
	@echo 'make check    lint, types, direction of imports'
	@echo 'make bench    measure speed and memory (QUICK=1: two minutes)'
	@echo 'make lock     pin the newest versions that pyproject.toml allows'
	@echo 'make clean    remove the environment and caches (not .lockstream/)'

run: .venv/runtime.stamp
	@exec $(BIN)/lockstream up --demo

test: .venv/dev.stamp
	$(BIN)/pytest $(ARGS)

check: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/dev.stamp
	$(BIN)/python -m bench $(if $(QUICK),--quick) $(ARGS)

# The stamp is written last: an environment that was interrupted half-way is made again.
.venv/%.stamp: requirements/%.lock scripts/make_environment.sh
	@PYTHON='$(PYTHON)' sh scripts/make_environment.sh $*

lock: .venv/dev.stamp
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --upgrade \
		--no-emit-index-url --no-header --no-annotate pyproject.toml \
		requirements/build.in -o requirements/runtime.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --upgrade \
		--no-emit-index-url --no-header --no-annotate pyproject.toml --group dev \
		requirements/build.in -c requirements/runtime.lock -o requirements/dev.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
