# Needs Python 3.11 or later, make and a package index; everything else is installed into a virtual environment:
# the active one, or .venv here. The stamp makes the second run quick; a changed pyproject.toml installs again.
PYTHON ?= python3
VENV ?= $(if $(VIRTUAL_ENV),$(VIRTUAL_ENV),.venv)
EXTRAS := $(if $(shell command -v nvidia-smi),gpu,cpu),video,train,dev
SERVING := $(VENV)-serving
STAMP := $(VENV)/.i2i-rt-$(shell cat pyproject.toml | cksum | cut -d' ' -f1)
BIN := $(VENV)/bin
# where `i2i-rt serve` finds Triton Inference Server, whose wheel needs NumPy 1
export I2I_RT_SERVING_ENV := $(abspath $(SERVING))
FOLDERS = export kernels serving benchmarks

.PHONY: setup demo test soak lint types bench gpu-check

setup: $(STAMP)

$(STAMP):
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed; pass PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[$(EXTRAS)]'
	test -x $(SERVING)/bin/python || $(PYTHON) -m venv $(SERVING)
	$(SERVING)/bin/python -m pip install --quiet -e '.[serving,cpu]'
	touch $(STAMP)

demo: $(STAMP)  # makes a clip with sound, exports the shipped model, verifies it, translates the clip, measures
	$(BIN)/python -m demo.run

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0

soak: $(STAMP)  # the long form of the tests of serving, on a server for each system and more: about half an hour
	$(BIN)/python -m pytest -m soak

lint: $(STAMP) types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  # links the five folders into one tree: mypy does not follow setuptools' package-dir
	rm -rf build/tree && mkdir -p build/tree/i2i_rt
	ln -s $(CURDIR)/i2i_rt/* $(addprefix $(CURDIR)/,$(FOLDERS)) build/tree/i2i_rt/
	$(BIN)/mypy

bench: $(STAMP)  # backends, a video, training, baked styles: about 25 minutes on a quiet machine; docs/ name the others
	$(BIN)/python -m i2i_rt.benchmarks

gpu-check: $(STAMP)  # needs a CUDA device: its tests, and the figures that only it can give, in about 8 minutes
	$(BIN)/python -m i2i_rt.benchmarks.gpu_check
