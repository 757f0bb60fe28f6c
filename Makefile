# Everything runs in an environment of its own; nothing is needed beforehand but Python 3.11 or newer and make.

VENV ?= .venv
BIN := $(VENV)/bin
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check
SYSTEM_PARTS := skopeo:skopeo openssl:openssl swtpm:swtpm tpm2_quote:tpm2-tools
PYTEST_ARGS ?=
FUZZ ?= --all
FUZZ_SECONDS ?= 60

.PHONY: help demo test test-all fuzz lint format bench fixtures clean

help: ## these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/.installed ## the whole story: seal, attest, unlock, six impostors, audit
	$(BIN)/python examples/demo.py

test: $(VENV)/.tested ## fast tests
	@scripts/system-parts.sh $(SYSTEM_PARTS)
	$(BIN)/pytest -n auto --dist loadfile -m "not slow and not network" $(PYTEST_ARGS)

test-all: $(VENV)/.tested ## slow tests too
	@scripts/system-parts.sh $(SYSTEM_PARTS)
	$(BIN)/pytest -n auto --dist loadfile -m "not network" $(PYTEST_ARGS)

fuzz: $(VENV)/.tested ## every fuzz target for FUZZ_SECONDS (60) each; FUZZ=room or target for one
	$(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS) $(FUZZ)

lint: $(VENV)/.linted ## style, types, import contracts, generated fixtures
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python fixtures/generators/recordings.py --check

format: $(VENV)/.linted ## sort imports and fix what ruff can
	$(BIN)/ruff check --fix

bench: $(VENV)/.tested ## the benchmarks, as tables
	$(BIN)/python benchmarks/verify.py
	$(BIN)/python benchmarks/platforms.py
	$(BIN)/python benchmarks/broker.py
	$(BIN)/python benchmarks/weights.py

fixtures: $(VENV)/.installed ## make the recordings anew from their seed
	$(BIN)/python fixtures/generators/recordings.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.installed: pyproject.toml scripts/venv.sh
	@scripts/venv.sh $(VENV)
	$(PIP) -e '.[all]'
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(PIP) --group test --group fuzz
	@touch $@

$(VENV)/.linted: $(VENV)/.installed
	$(PIP) --group lint
	@touch $@
