# make demo, make test, make lint, make bench: the whole vocabulary. Each one first prepares
# .venv from requirements.lock, which a fresh machine with Python 3.11 or newer can do by
# itself; when nothing it depends on has changed, that costs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := contracts/src services tests bench examples deploy

.PHONY: demo test lint bench lock

demo: $(READY)
	@$(BIN)/interlock demo

# Bounded: each worker of the integration and chaos tests runs a broker of its own. A file stays on
# one worker, with the system its tests share; the long ones (chaos) come first.
test: $(READY)
	@$(BIN)/pytest -q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(SOURCES)
	@$(BIN)/lint-imports
	@$(BIN)/python -m interlock_contracts.schema --check contracts/schemas --docs docs

bench: $(READY)
	@$(BIN)/python -m bench

# One distribution in the lock, nkeys, is published as source only: the tools that build it are
# taken from the lock first, so that nothing unpinned is ever fetched to build with.
$(READY): requirements.lock pyproject.toml contracts/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Interlock needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "preparing $(VENV) (a minute the first time)"
	@$(PYTHON) -m venv $(VENV)
	@awk '/^[a-z]/ {keep = /^(setuptools|wheel|packaging)==/} keep' requirements.lock > $(VENV)/build.lock
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r $(VENV)/build.lock
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes --no-build-isolation --no-compile -r requirements.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e contracts -e .
	@touch $@

# Everything either distribution runs on, is built with or is developed with; the workspace's own
# distributions are installed from the tree and have no place in the lock. The last three are asked
# for by no file: hatchling wants editables for `-e`, nkeys is built by setuptools and wheel.
define LOCK_INPUTS
import tomllib
from pathlib import Path

workspace = [tomllib.loads(Path(p).read_text()) for p in ("pyproject.toml", "contracts/pyproject.toml")]
own = tuple(p["project"]["name"] for p in workspace)
for p in workspace:
    wanted = p["project"]["dependencies"] + p["build-system"]["requires"]
    wanted += p.get("dependency-groups", {}).get("dev", [])
    wanted += [w for extra in p["project"].get("optional-dependencies", {}).values() for w in extra]
    print("\n".join(w for w in wanted if not w.startswith(own)))
print("editables\nsetuptools\nwheel")
endef
export LOCK_INPUTS

# Pins what changed and keeps the rest, for every platform and Python at once; LOCK_FLAGS=--upgrade
# renews everything. uv reads no configuration of pip's, so the hashes are the public registry's.
lock: $(READY)
	@$(BIN)/python -c "$$LOCK_INPUTS" | $(BIN)/uv pip compile -q --no-config --universal \
	  --python-version 3.11 --generate-hashes --strip-extras --no-header --annotation-style line \
	  $(LOCK_FLAGS) -o requirements.lock -
