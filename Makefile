# `make run` and `make test` need Python 3.11 or later (with its venv module) and make, nothing else.
.DEFAULT_GOAL := help
.PHONY: help run test check format goldens mutants mutate chaos bench lock clean runtime-environment dev-environment bench-environment

# PYTHON=/path/to/python3 names the interpreter; otherwise the newest that is found.
PYTHON ?=
BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate

help:
	@echo 'make run      start everything: broker, services, demo data; prints a curl line'
	@echo 'make test     run all tests           (ARGS="-k name" for some)'
	@echo 'make check    lint, types, direction of imports'
	@echo 'make format   let ruff format and fix the code'
	@echo 'make goldens  add golden records and schemas, after a compatible change to a record'
	@echo 'make mutants  put known bugs into the code, one at a time: tests must notice (SAMPLE=10)'
	@echo 'make mutate   change the pure modules in small ways: a unit test must notice each (ARGS="module …")'
	@echo 'make chaos    break whole systems on a schedule, then audit them (SEED=1 MINUTES=20)'
	@echo 'make bench    measure speed and memory (QUICK=1: a rehearsal, BIG=1: ten million events,'
	@echo '              BEFORE=commit: beside the code of that commit, in turns)'
	@echo 'make lock     pin the newest versions that pyproject.toml allows'
	@echo 'make clean    remove the environment and caches (not .lockstream/)'

run: runtime-environment
	@exec $(BIN)/lockstream up --demo

# All tests on all cores, file by file. Some are quicker without the workers' start.
test: dev-environment
	$(BIN)/pytest $(or $(ARGS),--numprocesses logical --dist loadfile --no-loadscope-reorder)

check: dev-environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: dev-environment
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

goldens: dev-environment
	$(BIN)/python -m tests.golden

mutants: dev-environment
	$(BIN)/python -m tests.mutants $(if $(SAMPLE),--sample $(SAMPLE)) $(ARGS)

mutate: dev-environment
	$(BIN)/python -m tests.mutation $(ARGS)

bench: bench-environment
	$(BIN)/python -m bench $(if $(QUICK),--quick) $(if $(BIG),--big) $(if $(BEFORE),--before $(BEFORE)) $(ARGS)

chaos: dev-environment
	$(BIN)/python -m chaos $(if $(SEED),--seed $(SEED)) --minutes $(or $(MINUTES),20) $(ARGS)

# Not files: the script itself knows, in milliseconds, whether the environment fits the lock.
runtime-environment dev-environment bench-environment:
	@PYTHON='$(PYTHON)' sh scripts/make_environment.sh $(@:-environment=)

# Three lists, one resolution: each is held to the versions of the one before.
lock: dev-environment
	$(LOCK) pyproject.toml requirements/build.in -o requirements/runtime.lock
	$(LOCK) pyproject.toml --group dev requirements/build.in -c requirements/runtime.lock \
		-o requirements/dev.lock
	$(LOCK) pyproject.toml --group dev --group bench requirements/build.in -c requirements/dev.lock \
		-o requirements/bench.lock

clean:
	rm -rf .venv mutants .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
