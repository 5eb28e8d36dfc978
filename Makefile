# make demo   label a few small videos of the project's own and print what the labels are worth
#             DATA=folder  a MOTChallenge folder instead     OPEN=1  open the FiftyOne App on it
# make test   everything that CI checks
#
# Both make the virtual environment they need, on Debian 12 with what it lacks of the system; .ci/setup says how, and
# which variables steer it (PYTHON, VENV, TORCH, TORCH_INDEX).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
DATA ?=
OPEN ?=
ROOMS := models engine integrations plugin
CODE := __init__.py $(ROOMS) tests benchmarks

export VENV
# The MongoDB that runs on Debian 12 is older than the one FiftyOne would rather see; it works.
export FIFTYONE_DATABASE_VALIDATION ?= false
export FIFTYONE_DO_NOT_TRACK ?= true

.PHONY: help demo test test-cvat lint types unit format bench wheel clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -6

$(VENV)/.ready-run: setup.cfg .ci/setup
	.ci/setup run
	@touch $@

$(VENV)/.ready-test: setup.cfg .ci/setup
	.ci/setup test
	@touch $@ $(VENV)/.ready-run

demo: $(VENV)/.ready-run
	$(BIN)/spam-plugin demo $(if $(DATA),--data "$(DATA)") $(if $(OPEN),--open)

test: lint types unit

lint: $(VENV)/.ready-test
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports

# mypy names a module after its folders, and this folder is called spam_plugin only when it is installed; so it looks at
# the rooms through a link of that name.
types: $(VENV)/.ready-test
	@mkdir -p .mypy_cache/tree && ln -sfn "$(CURDIR)" .mypy_cache/tree/spam_plugin
	cd .mypy_cache/tree && "$(abspath $(BIN))/mypy" --config-file ../../pyproject.toml --cache-dir .. \
		spam_plugin/__init__.py $(addprefix spam_plugin/,$(ROOMS))

unit: $(VENV)/.ready-test
	$(BIN)/pytest --cov --cov-report=term

# The end-to-end tests of the review desk against the real server that CVAT_URL, CVAT_USERNAME and CVAT_PASSWORD name;
# they delete the projects that they make.
test-cvat: $(VENV)/.ready-test
	@test -n "$(CVAT_URL)" || { echo "set CVAT_URL, CVAT_USERNAME and CVAT_PASSWORD" >&2; exit 2; }
	SPAM_TEST_REAL_CVAT=1 $(BIN)/pytest tests/integrations/cvat --ignore tests/integrations/cvat/test_contract.py \
		--ignore tests/integrations/cvat/test_server.py --ignore tests/integrations/cvat/test_crashes.py

format: $(VENV)/.ready-test
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: $(VENV)/.ready-test
	@ls benchmarks/*.py 2>/dev/null | sed "s|^|$(BIN)/python |"

# A regular build must hold the package, its default weights and nothing else.
wheel: $(VENV)/.ready-test
	rm -rf build
	$(BIN)/pip wheel -q --no-deps --wheel-dir build/wheel .
	$(BIN)/python .ci/check_wheel.py build/wheel/*.whl

clean:
	rm -rf build dist out *.egg-info .coverage htmlcov .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
