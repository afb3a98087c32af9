# Every target that runs Python first makes the environment in .venv, and reuses it after that.
# It is made anew where requirements.txt or setup.py changed, or the folder was moved or copied.

PYTHON := .venv/bin/python
READY := .venv/ready

ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
$(shell rm -f $(READY))
endif

# The environment's own kernel, not one of that name installed elsewhere by the user.
export JUPYTER_PREFER_ENV_PATH := 1

.DEFAULT_GOAL := help
.PHONY: help episode-1 refresh-episode-1 test lint format lab environment clean

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "make %-18s %s\n", $$1, $$2}'

episode-1: $(READY)  ## run the whole of Episode 1: about 10 minutes; leaves notebook, page and figures in build/
	$(PYTHON) tools/run_notebook.py notebooks/episode_1.ipynb build/episode_1

refresh-episode-1:  ## for maintainers: make the last run of episode-1 the committed one
	cp build/episode_1/episode_1.ipynb notebooks/episode_1.ipynb
	cp build/episode_1/episode_1.json results/episode_1.json

test: $(READY)  ## run the tests
	$(PYTHON) -m pytest

lint: $(READY)  ## check style and formatting
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format: $(READY)  ## format the code
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

lab: $(READY)  ## open the notebooks in JupyterLab
	$(PYTHON) -m jupyterlab notebooks

environment: $(READY)  ## make the environment in .venv, if it is not there

clean:  ## remove the environment and all that was built
	rm -rf .venv .python37 build .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.txt setup.py tools/find_python37
	python37=$$(tools/find_python37 .python37) && rm -rf .venv && "$$python37" -m venv .venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@echo "$(CURDIR)" > $(READY)
