# make rally   the main job: figures, report and video in out/rally/
# make test    the tests
# make check   formatting, lint, types
# make bench   speed, into bench.json
# make library the shipped libraries of strokes again, from the archives in MOCAP
# make setup   only the environment in .venv; the others do it themselves when needed
# make clean   removes what make made, .venv included

PYTHON ?= $(firstword $(shell command -v python3.11 || command -v python3))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Further options of pip, e.g. PIP_FLAGS="--find-links DIR" for wheels on disk.
PIP_FLAGS ?=

.PHONY: rally test check bench library setup clean

rally: $(READY)
	$(BIN)/python -m policies.rally $(RALLY)

test: $(READY)
	$(BIN)/python -m pytest $(TEST)

check: $(READY)
	$(BIN)/ruff format --check humanoid mocap sim policies tests
	$(BIN)/ruff check humanoid mocap sim policies tests
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(READY)
	$(BIN)/python -m policies.bench

MOCAP ?= ../shared/mocap

library: $(READY)
	$(BIN)/python -m mocap.stroke_library $(MOCAP) assets/motions

setup: $(READY)

# Remade when a dependency changes; otherwise nothing happens.
$(READY): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: no Python 3.11 or newer found; install it, or give its path: make setup PYTHON=..." >&2; exit 1; }
# Debian parts venv from Python and pip from venv: take what is there.
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 \
	  || $(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 \
	  || { $(PYTHON) -m venv --clear --without-pip $(VENV) \
	       && $(PYTHON) -m pip -q --python $(BIN)/python install $(PIP_FLAGS) pip; } >/dev/null 2>&1 \
	  || $(PYTHON) -m virtualenv --clear $(VENV) >/dev/null 2>&1 \
	  || { rm -rf $(VENV); \
	       echo "make: $(PYTHON) cannot make environments; on Debian: apt install python3-venv" >&2; exit 1; }
# PyTorch by itself first: it is the largest part, and its CPU build is all that is needed.
	$(BIN)/python -m pip install -q $(PIP_FLAGS) "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install -q $(PIP_FLAGS) -c constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) out bench.json .pytest_cache .ruff_cache *.egg-info
