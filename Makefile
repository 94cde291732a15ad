# `make demo` runs img2img, `make test` checks everything; both create .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python
export HF_HUB_OFFLINE = 1

.PHONY: demo serve soak test test-machines test-pythons test-fuzz test-slow lint model evaluate sheets bench clean

demo: $(VENV)/.installed
	$(BIN)/latentloom run graphs/img2img.yaml --output output

serve: $(VENV)/.editor
	$(BIN)/latentloom serve --data output/server

test: lint
	$(RUN) -m pytest -m "not slow" -n auto --maxprocesses 4 --dist loadfile

test-machines: $(VENV)/.dev
	$(RUN) -m tests.machines

test-pythons: $(VENV)/.dev
	$(RUN) -m tests.pythons

test-fuzz: $(VENV)/.dev
	$(RUN) -m tests.fuzz 100000

test-slow: $(VENV)/.dev
	$(RUN) -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p .typing && ln -sfn .. .typing/latentloom
	$(BIN)/mypy

model: $(VENV)/.dev
	$(RUN) -m training --output models

evaluate: $(VENV)/.dev
	$(RUN) -m training --only evaluate --output models

sheets: $(VENV)/.dev
	$(RUN) -m training.sheets

soak: $(VENV)/.dev
	$(RUN) -m tests.web.crashing soak 1000

bench: $(VENV)/.dev
	$(RUN) -m bench

clean:
	rm -rf $(VENV) $(VENV)-3.* build dist *.egg-info .typing output .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(RUN) -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(RUN) -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@ $(VENV)/.installed

$(VENV)/.editor: $(VENV)/.installed
	$(RUN) -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[editor]"
	touch $@
