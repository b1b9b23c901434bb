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
SBOM = mkdir -p build && $(BIN)/cyclonedx-py environment --output-reproducible -o build/sbom.json $(BIN)/python

.PHONY: export test check format install lock licences

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
	$(SBOM)
	$(if $(UV_TORCH_BACKEND),,$(BIN)/python .ci/licences.py build/sbom.json --check)

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(READY)

# After a change of global_requirements.txt.
lock: $(READY)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" -o requirements.lock global_requirements.txt

licences: $(READY)
	$(SBOM)
	$(BIN)/python .ci/licences.py build/sbom.json

# Bytecode is made here: where Python may not write it (PYTHONDONTWRITEBYTECODE, as in many containers), each of the
# processes that a build starts would compile the sources of torch and LiteRT again, 20 s of CPU a time.
# Every package is checked against the hash in requirements.lock; with UV_TORCH_BACKEND, torch comes from an index of its
# own, whose files have other hashes, so the versions alone are held to.
$(READY): requirements.lock global_requirements.txt setup.py
	@$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))" || \
		{ echo "error: Python 3.11 to 3.14 is needed; name one with: make PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	sed -n '/^uv==/,/[^\]$$/p' requirements.lock > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python \
		$(if $(UV_TORCH_BACKEND),-r global_requirements.txt,--require-hashes -r requirements.lock)
	$(BIN)/uv pip install --no-deps --no-build-isolation --python $(BIN)/python -e .
	@touch $(READY)
