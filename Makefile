# make demo: set everything up and run.  make test: set everything up and run the tests.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := engine,performer,setup,stream,viewer,datasets,test

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint unit web clean

help: ## list what one can do
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

# The virtual environment is rebuilt only when the list of packages changed.
$(VENV)/.installed: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is needed: install it, or name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -e '.[$(EXTRAS)]'
	@touch $@

# OpenGL without a window. Packages are asked for only where a context does not open; macOS and
# Windows bring their own.
OPEN_CONTEXT := from engine.rendering.context import create_headless_context as c; c().release()
.PHONY: libraries
libraries: $(VENV)/.installed
	@if [ "$$(uname)" = Linux ] && ! $(BIN)/python -c '$(OPEN_CONTEXT)' 2>/dev/null; then \
		sh .ci/packages opengl; \
	fi

.PHONY: browser
browser:
	@if ! command -v chromium >/dev/null || ! command -v Xvfb >/dev/null; then \
		sh .ci/packages browser \
			|| echo "the browser and window tests will be skipped: no chromium or no Xvfb"; \
	fi

setup: libraries ## everything a run needs: environment, libraries, models
	$(BIN)/sars setup

demo: setup ## the webcam if there is one, else a portrait and the performer; results in demo/
	$(BIN)/sars run auto --out demo

lint: $(VENV)/.installed ## format, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.installed ## the fast tests
	$(BIN)/python -m pytest -q -m "not slow"

test: setup browser lint ## set-up, lint, types, and every test
	$(BIN)/python -m pytest -q

web: ## rebuild the browser viewer (needs node)
	cd viewer/web && npm ci && npm run build

clean: ## remove what make made (models stay in the user's cache)
	rm -rf $(VENV) demo *.egg-info
