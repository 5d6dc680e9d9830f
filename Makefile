# Everything starts from a fresh clone with Python 3.11 or newer, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?=
DEMO := demo
# The demonstration's data: what you name, or synthetic people made for it.
SOURCE = $(if $(DATA),$(DATA),$(DEMO)/people)
NAME = $(if $(DATA),-$(notdir $(patsubst %/,%,$(DATA))))
RUN = $(DEMO)/run$(NAME)

.PHONY: install demo serve test coverage check bench docs figures licences wheel format clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "reidkit needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable ".[dev]"
	$(BIN)/reidkit doctor
	@touch $@

# Make images, train, evaluate with and without re-ranking, and write a page; a second call goes on where the first one stopped.
demo: install
	$(if $(DATA),,$(BIN)/reidkit synth $(SOURCE) --ids 120 --cameras 6 --seed 1)
	$(BIN)/reidkit train small-strong-baseline --data "$(SOURCE)" --out "$(RUN)" --resume \
	  --set optim.epochs=30 --set optim.drops=[20,27] --evaluate-every 5
	$(BIN)/reidkit evaluate "$(RUN)" --data "$(SOURCE)" --rerank --report "$(RUN)/evaluation.html"
	@echo "Open $(RUN)/report.html (training) and $(RUN)/evaluation.html (with re-ranking) in a browser."

# A gallery of the demonstration's people with probabilities, and the page that searches it; a second call goes on.
# Each data set has a gallery of its own, as it has a model of its own.
serve: install
	@test -e "$(RUN)/model.safetensors" || $(MAKE) demo
	@test -e "$(RUN)/calibration.json" || $(BIN)/reidkit calibrate "$(RUN)" --data "$(SOURCE)" --far 0.01
	$(BIN)/reidkit gallery add "$(DEMO)/people$(NAME).db" "$(SOURCE)" --model "$(RUN)" --thumbnails --replace
	$(BIN)/reidkit serve "$(DEMO)/people$(NAME).db" --model "$(RUN)"

test: install
	$(BIN)/python -m pytest -n 2

# Which lines the tests leave out. It takes half as long again as the tests.
coverage: install
	@mkdir -p build/coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Speeds beside peers and limits, on one page: build/bench.md.
bench: install
	$(BIN)/python -m benchmarks.page

# The site, in build/site: open index.html there (its search needs a server). A link that leads nowhere is an error.
docs: install
	$(BIN)/python -m docs.api
	$(BIN)/python -m docs.site

# The page of the dependencies' licences, of what is installed here.
licences: install
	$(BIN)/python -m docs.licences

# The pictures of the pages; those of the demonstration only after `make demo`.
figures: install
	$(BIN)/python -m docs.figures

# The wheel in an environment of its own, with nothing of this folder on its path.
wheel: install
	rm -rf dist $(VENV)-wheel
	$(BIN)/python -m build --wheel --outdir dist
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/pip install --quiet dist/*.whl
	cd / && "$(CURDIR)/$(VENV)-wheel/bin/reidkit" recipes strong-baseline >/dev/null
	cd / && "$(CURDIR)/$(VENV)-wheel/bin/reidkit" doctor
	rm -rf $(VENV)-wheel

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(VENV)-wheel $(DEMO) build dist
