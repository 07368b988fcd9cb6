# make demo [ARGS="--sequence DIR"]   the tracker node and a camera as real ROS 2 processes, result in demo_output/
# make accuracy ARGS="--root NAME=DIR ..."   success and precision under conditions, result in accuracy_output/
# make test                           lint and the quick tests
# make test-all                       lint and all tests
#                                     WORKERS=N: processes that share the tests (default 2)
#                                     ARGS=--long: soak and fuzz for long, not in slices
# make wheels                         takes the newest wheels of ROS 2: environment/wheels-*.txt from the ranges in *.in
#
# Each makes the private environment .venv first where it is missing (environment/create.sh says what it obeys).

RUN := bash environment/run.sh
ARGS ?=
WORKERS ?= 2
PYTEST := python -m pytest --numprocesses $(WORKERS) --dist worksteal

.PHONY: demo accuracy test test-all lint environment wheels clean

demo:
	@$(RUN) python -m snscf_ros.demo $(ARGS)

accuracy:
	@$(RUN) python -m snscf_core.cli eval accuracy $(ARGS)

test: lint
	@$(RUN) $(PYTEST) -m "not slow" $(ARGS)

# Tests that need the machine for themselves run first, in one process. 5: ARGS leaves none of them.
test-all: lint
	@status=0; \
	$(RUN) $(PYTEST) --numprocesses 0 -m alone $(ARGS) || [ $$? = 5 ] || status=1; \
	$(RUN) $(PYTEST) -m "not alone" $(ARGS) || status=1; \
	exit $$status

lint: environment
	@$(RUN) python -m ruff check .
	@$(RUN) python -m mypy

environment:
	@bash environment/create.sh

wheels:
	@$(RUN) python environment/renew.py jazzy kilted

clean:
	rm -rf .venv demo_output build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find snscf_core snscf_ros test launch -name __pycache__ -type d -prune -exec rm -rf {} +
