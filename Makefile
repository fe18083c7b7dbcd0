# Every target makes the environment that it needs first; the README has `demo`, `test` and `test-references`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
REFERENCES ?= .venv-references
HUB ?= .venv-hub
# As many processes as there are cores, eight at most: each loads PyTorch and all tests first.
PARALLEL ?= -n auto --maxprocesses 8 --dist worksteal

.PHONY: demo test test-slow kills test-references test-hub lint types package clean

demo: $(INSTALLED)
	$(BIN)/canonlab demo

test: $(INSTALLED)
	$(BIN)/pytest $(PARALLEL) -m "not slow and not browser"

test-slow: $(INSTALLED)
	$(BIN)/pytest $(PARALLEL) -m "slow or browser"

# 200 kills at random moments, and where they hit; `make test-slow` has 40 of them.
kills: $(INSTALLED)
	CANONLAB_KILLS=200 $(BIN)/pytest -s -m slow tests/test_kills.py

# Against other people's implementations, in an environment of their own: `make test` needs none of them.
test-references: $(REFERENCES)/installed
	$(REFERENCES)/bin/pip list --disable-pip-version-check | grep -iE '^(torch|triton|transformers|fla-core|einops) '
	$(REFERENCES)/bin/pytest -rs tests/models/references tests/models/mixers/test_fla.py

# Beside Hugging Face's libraries, in an environment of their own; elsewhere these tests are skipped.
test-hub: $(HUB)/installed
	$(HUB)/bin/pip list --disable-pip-version-check | grep -iE '^(torch|transformers|peft|bitsandbytes|lm_eval) '
	$(HUB)/bin/pytest $(PARALLEL) tests/hub tests/training/test_lora.py tests/quantization/test_grid.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

package: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf $(VENV) $(REFERENCES) $(HUB) dist build

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "canonlab needs Python 3.11 or newer; set PYTHON=..."'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(INSTALLED)

$(REFERENCES)/installed: GROUP = references
$(HUB)/installed: GROUP = hub
# The lock first, so that nothing here brings another torch; pip knows dependency groups from 25.1 on.
$(REFERENCES)/installed $(HUB)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(@D)/bin/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(@D)/bin/pip install --quiet --disable-pip-version-check -c requirements.lock --group $(GROUP)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@
