# make demo [ARGS="--sequence DIR"]   the tracker node and a camera as real ROS 2 processes, result in demo_output/
# make follow [ARGS="--runs 50"]      robots in a simulated world follow a target: videos, errors, counts: follow_output/
# make accuracy ARGS="--root NAME=DIR ..."   success and precision under conditions, result in accuracy_output/
# make speed ARGS="--validation DIR --peers ..."   times of our engines and of peers, accuracy, latency: speed_output/
# make test                           lint and the quick tests
# make test-all                       lint and all tests
#                                     WORKERS=N: processes that share the tests (default 2)
#                                     ARGS=--long: soak and fuzz for long, not in slices
# make docs                           these documents as a site: build/docs/index.html
# make figures                        draws docs/pictures/*.svg and fills the tables of results from docs/results/*.json
# make animation                      films the demo and a robot: docs/pictures/demo.webp, docs/pictures/follow.webp
# make wheels                         takes the newest wheels of ROS 2: environment/wheels-*.txt from the ranges in *.in
#
# Each makes the private environment .venv first where it is missing (environment/create.sh says what it obeys).

RUN := bash environment/run.sh
ARGS ?=
WORKERS ?= 2
PYTEST := python -m pytest --numprocesses $(WORKERS) --dist worksteal

.PHONY: demo follow accuracy speed test test-all lint docs figures animation environment wheels clean

demo:
	@$(RUN) python -m snscf_ros.demo $(ARGS)

follow:
	@$(RUN) python -m snscf_ros.simulation $(ARGS)

accuracy:
	@$(RUN) python -m snscf_core eval accuracy $(ARGS)

speed:
	@$(RUN) python benchmarks/speed.py $(ARGS)

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

docs:
	@$(RUN) python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet -b html docs build/docs
	@echo build/docs/index.html

figures:
	@$(RUN) python docs/figures.py

# At two frames a second even a busy machine drops none.
animation:
	@$(RUN) python -m snscf_ros.demo --rate 2 --output build/animation
	@$(RUN) python docs/animation.py build/animation/overlay.mp4 docs/pictures/demo.webp
	@$(RUN) python -m snscf_ros.simulation --robot ground --output build/animation
	@$(RUN) python docs/animation.py build/animation/ground.mp4 docs/pictures/follow.webp --every 4 --milliseconds 200

environment:
	@bash environment/create.sh

wheels:
	@$(RUN) python environment/renew.py jazzy kilted

clean:
	rm -rf .venv demo_output follow_output speed_output build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find snscf_core snscf_ros test launch -name __pycache__ -type d -prune -exec rm -rf {} +
