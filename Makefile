# One command each on a fresh machine: `make demo`, `make test`. Both make .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test test-all check format docs clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@# An S3 server for the tests on loopback; where there is no npm those are skipped.
	npm install --silent --no-audit --no-fund --prefix $(VENV)/s3rver s3rver@3.7.1 || echo "no npm: tests with a real S3 server will be skipped"
	touch $@

demo: setup
	$(BIN)/dalikit demo

# A file's tests stay together: they share what is dear to make.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

test: setup
	$(PYTEST)

test-all: setup
	DALIKIT_TEST_ALL=1 $(PYTEST)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	$(BIN)/python docs/measure_transforms.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
