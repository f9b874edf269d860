# Every target prepares .venv first (scripts/bootstrap.py): system packages, pinned Python
# packages, the ROS messages. The second time that takes a fraction of a second.
PYTHON ?= python3
TORCH_INDEX ?=
PYTEST_ARGS ?=
DEMO_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin

export TORCH_INDEX
export OMP_NUM_THREADS ?= 1
export MUJOCO_GL ?= egl
export PYOPENGL_PLATFORM ?= $(MUJOCO_GL)
export ROS_LOG_DIR ?= $(CURDIR)/log/ros

# A sourced ROS installation and the ROS wheels of .venv must not meet in one process.
unexport PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH ROS_DISTRO
ifneq ($(ROS_DISTRO),)
unexport LD_LIBRARY_PATH
endif

.PHONY: help demo test lint format interfaces setup lock clean distclean
.DEFAULT_GOAL := help

help: ## show this list
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo
	@echo "variables: PYTHON=python3.11  the interpreter (3.10 to 3.13)"
	@echo "           TORCH_INDEX=INDEX  package index of the torch build (CPU or CUDA)"
	@echo "           PYTEST_ARGS=...    more words for pytest, as in PYTEST_ARGS='-k safety'"
	@echo "           DEMO_ARGS=...      more words for pld demo"

setup:
	@$(PYTHON) scripts/bootstrap.py

demo: setup ## run the whole stack on the simulated arm and show the result
	$(BIN)/pld demo $(DEMO_ARGS)

# The graph and the simulated arm have the machine for themselves; the rest shares it by file.
test: setup ## run all tests
ifeq ($(PYTEST_ARGS),)
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/pld tests/structure
	$(BIN)/python -m pytest tests/twin tests/nodes
else
	$(BIN)/python -m pytest $(PYTEST_ARGS)
endif

lint: setup ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

interfaces: setup ## rebuild the ROS messages if their sources changed

lock: setup ## pin the newest versions that requirements/*.in allow
	$(BIN)/python scripts/lock.py

clean: ## remove build outputs and caches; runs/ and .venv stay
	rm -rf build install log *.egg-info ros2_ws/build ros2_ws/install ros2_ws/log
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pld pld_nodes tests scripts launch -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	rm -rf $(VENV)
