# Every target that runs Python first makes the environment in .venv, and reuses it after that.
# It is made anew where requirements.txt or setup.py changed, or the folder was moved or copied.

PYTHON := .venv/bin/python
READY := .venv/ready
PIP := pip install -qq --disable-pip-version-check

# The folder's name is the shell's affair alone, in which it may hold any character.
$(shell [ "$$(cat $(READY) 2>/dev/null)" = "$$(pwd -P)" ] || rm -f $(READY))

# The environment's own kernel, not one of that name installed elsewhere by the user.
export JUPYTER_PREFER_ENV_PATH := 1

.DEFAULT_GOAL := help
.PHONY: help quickstart use-it episode-1 episode-2 episode-3 paper general train-digits train-options train-pretrained \
	train-general ordinary-tasks first-example refresh-episode-1 refresh-readme refresh-interface refresh-figures check-episode-1 bench test rehearse rehearse-all \
	mutants chaos docs lint format lab dist environment clean

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "make %-18s %s\n", $$1, $$2}'

quickstart: $(READY)  ## run the quickstart, a few minutes; leaves notebook and page in build/
	$(PYTHON) tools/run_notebook.py notebooks/quickstart.ipynb build/quickstart

use-it: $(READY)  ## train networks of your own with a learned optimizer; leaves notebook, page and figures in build/
	$(PYTHON) tools/run_notebook.py notebooks/use_it.ipynb build/use_it

episode-1: $(READY)  ## run the whole of Episode 1, a minute or two; leaves notebook, page and figures in build/
	$(PYTHON) tools/run_notebook.py notebooks/episode_1.ipynb build/episode_1

episode-2: $(READY)  ## run the whole of Episode 2, the sequel; leaves notebook, page and figures in build/
	$(PYTHON) tools/run_notebook.py notebooks/episode_2.ipynb build/episode_2

episode-3: $(READY)  ## run the whole of Episode 3, a fair fight; leaves notebook and page in build/
	$(PYTHON) tools/run_notebook.py notebooks/episode_3.ipynb build/episode_3

paper: $(READY)  ## run the experiments of the paper; leaves notebook and page in build/
	$(PYTHON) tools/run_notebook.py notebooks/paper.ipynb build/paper

general: $(READY)  ## train two networks with the optimizer that needs no tuning, and look inside it; leaves notebook and page in build/
	$(PYTHON) tools/run_notebook.py notebooks/general.ipynb build/general

train-digits: $(READY)  ## for maintainers: train the optimizer for small networks from three seeds; leaves it in build/
	$(PYTHON) notebooks/digits.py 1 2 3

train-options: $(READY)  ## for maintainers: what each way to train for more than one problem buys; leaves it in build/
	$(PYTHON) notebooks/options.py

train-pretrained: $(READY)  ## for maintainers: train and measure all optimizers that come with the package, hours; in build/
	$(PYTHON) notebooks/pretrained.py

ordinary-tasks: $(READY)  ## for maintainers: the general optimizer beside tuned Adam and Prodigy on twelve tasks, hours; in results/
	$(PYTHON) notebooks/ordinary_suite.py $(if $(OPTIMIZER),--optimizer $(OPTIMIZER))

train-general: $(READY)  ## for maintainers: train the optimizer that needs no tuning from three seeds, hours; in build/
	$(PYTHON) notebooks/general.py 1 2 3

first-example: $(READY)  ## for maintainers: run the README's first example as printed; figures and numbers in results/
	$(PYTHON) tools/first_example.py

refresh-episode-1: $(READY)  ## for maintainers: make the last run of episode-1 the committed one
	$(PYTHON) tools/refresh_episode_1.py

refresh-readme: $(READY)  ## for maintainers: write the tables of docs from results/ and cards
	$(PYTHON) tools/readme.py

refresh-interface: $(READY)  ## for maintainers: write the public names and signatures that a test compares
	$(PYTHON) tests/public_interface.py

refresh-figures: $(READY)  ## for maintainers: write what each plot draws, which a test compares
	$(PYTHON) tests/drawn.py

bench: $(READY)  ## measure every speed that the project states; see benchmarks/run.py for its peers
	DEEPMIND_CODE=$(DEEPMIND_CODE) $(PYTHON) benchmarks/run.py $(if $(JAX_PYTHON),--jax-python $(JAX_PYTHON)) \
		$(if $(DEEPMIND_PYTHON),--deepmind-python $(DEEPMIND_PYTHON))
	$(PYTHON) benchmarks/small_network.py
	$(PYTHON) benchmarks/zero.py
	$(PYTHON) benchmarks/learned_optimizer.py

check-episode-1: $(READY)  ## run Episode 1 in full from one seed; fail where a figure is far from the document's
	$(PYTHON) tools/run_notebook.py notebooks/episode_1.ipynb build/check
	$(PYTHON) tools/check_episode_1.py build/check/episode_1.json

test: $(READY)  ## run the tests, on two cores; some minutes
	$(PYTHON) -m pytest -n 2 --dist worksteal

rehearse: $(READY)  ## run notebooks, shortened, the code of the pages, and whatever starts or compiles whole programs
	$(PYTHON) -m pytest -n 2 --dist worksteal -m "rehearsal and not slow"

rehearse-all: $(READY)  ## as rehearse, with the notebooks and tasks that take longest
	$(PYTHON) -m pytest -n 2 --dist worksteal -m rehearsal

mutants: $(READY)  ## break the package in 250 places, one at a time; fail where the tests notice fewer than 95%
	$(PYTHON) tools/mutate.py --number 250 --workers 2

chaos: $(READY)  ## kill trainings 50 times, and check that nothing is lost; about five minutes
	$(PYTHON) tests/chaos.py

docs: $(READY)  ## build the documentation, a site, in build/docs; open build/docs/index.html
	$(PYTHON) -m sphinx -W --keep-going -q -b html -c docs . build/docs

lint: $(READY)  ## check style and formatting
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format: $(READY)  ## format the code
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

lab: $(READY)  ## open the quickstart in JupyterLab, which serves the whole project
	$(PYTHON) -m jupyterlab --allow-root --LabApp.default_url=/lab/tree/notebooks/quickstart.ipynb

dist: $(READY)  ## build wheel and source archive, in build/dist
	rm -rf build/dist build/lib build/bdist.*
	$(PYTHON) setup.py -q sdist --dist-dir build/dist bdist_wheel --dist-dir build/dist

environment: $(READY)  ## make the environment in .venv, if it is not there
	@echo "The environment is in .venv: run programs with $(PYTHON), or 'make lab'"

clean:  ## remove the environment and all that was built
	rm -rf .venv .python37 build .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Python 3.7's distutils replaces $NAME in a path, so that packages would land in another folder.
$(READY): requirements.txt setup.py tools/find_python37
	@case "$$(pwd -P)" in *\$$[A-Za-z_]*) echo "Python 3.7 cannot install packages below a folder with a dollar sign" \
		"and a letter in its name: rename it, then call make again." >&2; exit 1;; esac
	@python37=$$(tools/find_python37 .python37) && echo "Making .venv with $$python37: a minute or two" \
		&& rm -rf .venv && "$$python37" -m venv .venv
	@$(PYTHON) -m $(PIP) pip==24.0 setuptools==65.5.1 wheel==0.42.0
	@$(PYTHON) -m $(PIP) --requirement requirements.txt
	@$(PYTHON) -m $(PIP) --no-deps --no-build-isolation --editable .
	@pwd -P > $(READY)
