# Two commands do everything: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint slurm clean

help:
	@echo "make demo   set up .venv and close the loop on this machine's CPU: calibrate, predict, run, compare"
	@echo "make test   set up what tests need and run all of them, with ruff, mypy and the import contracts;"
	@echo "            with ALL=1 at every size and with every random example, as CI does (default: a diagonal, a tenth)"
	@echo "make slurm  install SLURM with apt-get (root only), so that \`make test\` tries jobs on a virtual cluster"
	@echo "make clean  remove .venv and everything generated"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo-installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[exec]'
	@touch $@

$(VENV)/.test-installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[exec,notebooks,dev]'
	@touch $@ $(VENV)/.demo-installed

demo: $(VENV)/.demo-installed
	@# Status 1 is a verdict (a missed tolerance, or a machine too noisy to tell), not a broken demo.
	$(BIN)/chimera validate --output out/demo || [ $$? -eq 1 ]

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

slurm:
	scripts/slurm-cluster install

test: lint
	@# ALL=1 reaches the tests through the environment (tests/sizes.py).
	@# Side by side what can be (a file stays with its worker, long ones first); what is timed has the cores for itself.
	$(BIN)/python -m pytest -n 2 tests/pipeline tests/simulator
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not timing" tests/*.py tests/cli tests/executor tests/calibration
	$(BIN)/python -m pytest --nbmake -m timing tests/executor tests/cli tests/calibration tests/*.py
	$(BIN)/python -m pytest --nbmake notebooks

clean:
	rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
