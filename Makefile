# One environment for everything; it is made once, and again only when pyproject.toml changes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO ?= demo_out
SECONDS ?= 5

.PHONY: demo test test-all lint bench odd-input readme-table clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/edge-demo -o $(DEMO)

test: $(INSTALLED)
	$(BIN)/pytest

# Adds the full-size networks and the installation itself: minutes each.
test-all: $(INSTALLED)
	$(BIN)/pytest -m ""

# mypy does not know of the folders that setuptools maps into `edge`: it gets a tree of links in that shape.
lint: $(INSTALLED)
	$(BIN)/ruff check .
	rm -rf build/types && mkdir -p build/types/edge
	ln -s $(CURDIR)/edge/* $(foreach part,benchmarks compression export training,$(CURDIR)/$(part)) build/types/edge
	MYPYPATH=build/types $(BIN)/mypy --cache-dir build/mypy -p edge

bench: $(INSTALLED)
	@test -d $(DEMO)/bundles || $(MAKE) demo
	$(BIN)/edge-bench $(DEMO)/bundles/* --seconds $(SECONDS)

odd-input: $(INSTALLED)
	$(BIN)/pytest tests/test_bad_input.py -v

# The README's results, measured here and now: run it on an idle machine.
readme-table: $(INSTALLED)
	$(BIN)/edge-demo --full -o $(DEMO)
	cp $(DEMO)/demo.json docs/demo.json
	$(BIN)/python -m edge.benchmarks.readme docs/demo.json README.md

clean:
	rm -rf $(DEMO) build dist bundles .pytest_cache .ruff_cache .mypy_cache .hypothesis .benchmarks

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11 to 3.13 is needed: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[export,demucs,serve,training,dev]'
	@touch $@
