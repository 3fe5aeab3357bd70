# make demo   install, then extract, probe and plot the offline demonstration corpus
# make test   install, then lint and run the tests
# make figures  redraw the gallery of the README from the numbers committed beside it

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := demo_out

.PHONY: demo test lint figures clean

# Installed once, and again only when the requirements change.
$(VENV)/installed-demo: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[frames,demo]'
	touch $@

$(VENV)/installed-test: setup.cfg pyproject.toml $(VENV)/installed-demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[frames,demo,test]'
	touch $@

test: $(VENV)/installed-test lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadscope

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(DEMO)
