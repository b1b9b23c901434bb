# The two commands of a newcomer: `make export` and `make test`. Both need only Python 3.11+ and make.
PYTHON ?= python3
MODEL ?= digits_cnn
CHIPSET ?= snapdragon-8-elite
RUNTIME ?= qnn
PRECISION ?= w8a8
WEIGHTS ?= DEFAULT
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: export test check format install

export: $(READY)
	$(BIN)/python -m model_zoo export $(MODEL) $(addprefix --chipset ,$(CHIPSET)) --target-runtime $(RUNTIME) \
		--precision $(PRECISION) --weights $(WEIGHTS) $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_import_rule.py
	$(BIN)/python model_zoo/scripts/run_codegen.py --all --check

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(READY)

# Bytecode is made here: where Python may not write it (PYTHONDONTWRITEBYTECODE, as in many containers), each of the
# processes that a build starts would compile the sources of torch and LiteRT again, 20 s of CPU a time.
$(READY): global_requirements.txt setup.py
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "error: Python 3.11 or later is needed; name one with: make PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep '^uv==' global_requirements.txt)
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python -r global_requirements.txt -e .
	@touch $(READY)
