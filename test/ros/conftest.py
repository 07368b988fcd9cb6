# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Real processes over real middleware, on a domain of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from domains import Domain

from snscf_ros import bringup

# before rclpy reads them, and for every process that the tests start
_DOMAIN = Domain()
os.environ["ROS_DOMAIN_ID"] = str(_DOMAIN.number)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.update(bringup.profile_environment())
# on a busy machine several threads mostly wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def peer() -> Iterator:
    """The tests' own node."""
    import rclpy
    from ros_harness import Peer

    rclpy.init()
    peer = Peer()
    yield peer
    peer.close()
    rclpy.try_shutdown()


@pytest.fixture(scope="session")
def running_tracker(peer, weights) -> Iterator:
    """One active tracker for all tests that leave it as they found it."""
    from ros_harness import Tracker, TrackerProcess

    process = TrackerProcess()
    tracker = Tracker(peer, process)
    try:
        tracker.activate()
        yield tracker
    finally:
        process.close()


@pytest.fixture
def tracker(running_tracker) -> Iterator:
    """The running tracker, enabled, without targets, and with default parameters before and after."""
    from snscf_ros.node.parameters import DECLARATIONS

    running_tracker.reset()
    yield running_tracker
    assert running_tracker.process.process.poll() is None, running_tracker.process.log()
    running_tracker.enable(True)
    fixed = {name for name, d in DECLARATIONS.items() if d.read_only or d.read_at_configure}
    changeable = {name: value for name, value in bringup.default_parameters().items() if name not in fixed}
    assert all(result.successful for result in running_tracker.set_parameters(changeable))
    running_tracker.reset()


@pytest.fixture(scope="session")
def running_spare(peer, weights) -> Iterator:
    """One more tracker, in a namespace of its own, for all tests of its configuration."""
    from ros_harness import Tracker, TrackerProcess

    process = TrackerProcess(namespace="spare")
    yield Tracker(peer, process)
    process.close()


@pytest.fixture
def spare(running_spare) -> Iterator:
    """A running tracker that is not configured and has default parameters, before and after."""
    from snscf_ros.node.parameters import DECLARATIONS

    assert running_spare.state == "unconfigured"
    yield running_spare
    assert running_spare.process.process.poll() is None, running_spare.process.log()
    for state, transition in (("active", "deactivate"), ("inactive", "cleanup")):
        if running_spare.state == state:
            running_spare.transition(transition)
    defaults = {name: v for name, v in bringup.default_parameters().items() if not DECLARATIONS[name].read_only}
    assert all(result.successful for result in running_spare.set_parameters(defaults))


@pytest.fixture
def start(peer, weights) -> Iterator:
    """Starts further trackers: start(namespace=..., parameters=...)."""
    from ros_harness import Tracker, TrackerProcess

    started = []

    def start(**arguments) -> Tracker:
        started.append(TrackerProcess(**arguments))
        return Tracker(peer, started[-1])

    yield start
    for process in started:
        process.close()
