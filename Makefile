# Each target sets itself up in .venv first. Another interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
TPU_VENV := .venv-tpu
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install quickstart test lint docs bench check-tpu constraints clean

help:
	@echo "make install      make .venv and install into it; the targets below do it by themselves"
	@echo "make quickstart   train a small ELECTRA on the documentation of installed packages"
	@echo "make test         run the tests (ARGS='-k reader' passes arguments to pytest)"
	@echo "make lint         ruff: rules and layout; mypy: the annotations of the public interface"
	@echo "make docs         write the documentation as a site to build/site; broken links fail"
	@echo "make bench        measure ours beside its peers (installs torch and transformers);"
	@echo "                  CORPUS_DIR=folder VOCAB_FILE=file measures building records too"
	@echo "                  DATA_DIR=folder (vocab.txt, finetuning_data/) fine-tuning and inference"
	@echo "make check-tpu    compile the programs for TPUs that are not there (jax and libtpu, apart)"
	@echo "make clean        remove .venv, caches and the quickstart's output"

install: $(VENV)/installed

quickstart: $(VENV)/installed
	$(BIN)/python examples/quickstart.py $(ARGS)

# A process of the tests that dies ends them: another in its place would leave pytest-xdist waiting.
test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0 $(ARGS)

lint: $(VENV)/installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "build/site/index.html"

# What the tests ran with here: `pip install -c constraints.txt .` installs the same versions.
constraints: $(VENV)/installed
	$(BIN)/python -m pip freeze --exclude-editable --disable-pip-version-check \
	  | sed 's/+cpu$$//' > constraints.txt

bench: $(VENV)/installed-bench
	$(if $(CORPUS_DIR),$(BIN)/python benchmarks/build_dataset.py --corpus_dir $(CORPUS_DIR) \
	  --vocab_file $(VOCAB_FILE))
	$(BIN)/python benchmarks/pretraining_step.py
	$(BIN)/python benchmarks/pretraining_step.py --precision float32
	$(BIN)/python benchmarks/pretraining_step.py --model_size base --batch_size 8 --steps 3
	$(if $(DATA_DIR),$(foreach task,cola sst,$(BIN)/python benchmarks/finetuning.py \
	  --data_dir $(DATA_DIR) --task_name $(task) &&) \
	  $(BIN)/python benchmarks/inference.py --data_dir $(DATA_DIR))
	$(BIN)/python benchmarks/input_pipeline.py
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/growth.py

check-tpu: $(VENV)/installed $(TPU_VENV)/installed
	$(BIN)/python benchmarks/dump_for_tpu.py build/tpu
	$(TPU_VENV)/bin/python benchmarks/compile_for_tpu.py build/tpu

# A stamp is newer than what names the requirements exactly when they are installed.
$(VENV)/installed: setup.py pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) (TensorFlow and what it needs: a minute or two) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	@echo "Installing mkdocs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,docs]'
	@touch $@

$(VENV)/installed-bench: $(VENV)/installed
	@echo "Installing the benchmarks' peers into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,bench]'
	@touch $@

# The compiler's Python interface is no public one: these versions are known to work together.
$(TPU_VENV)/installed: | $(BIN)/python
	@echo "Installing JAX and libtpu into $(TPU_VENV) ..."
	@$(BIN)/python -m venv $(TPU_VENV)
	@$(TPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  jax==0.10.2 jaxlib==0.10.2 libtpu==0.0.52
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "'$(PYTHON)' is not found. Python 3.11, 3.12 or 3.13 is needed: make PYTHON=/path/to/python3.12 ..."; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)))' || { \
	  echo "'$(PYTHON)' is $$($(PYTHON) --version 2>&1). Python 3.11, 3.12 or 3.13 is needed:" \
	    "make PYTHON=/path/to/python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu: apt install python3-venv"; exit 1; }

clean:
	rm -rf $(VENV) $(TPU_VENV) .mypy_cache .pytest_cache .ruff_cache build *.egg-info quickstart_data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
