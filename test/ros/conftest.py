"""Real processes over real middleware, on a domain of their own."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from snscf_ros import bringup

_DOMAINS = list(range(1, 101))
_COORDINATION_PORT = 22119  # of ROS 2's own domain_coordinator: one port for each domain, held while it is in use


def _claim_domain() -> socket.socket:
    """Sets ROS_DOMAIN_ID to a domain that no other test is using; the socket holds the claim."""
    random.SystemRandom().shuffle(_DOMAINS)
    for domain in _DOMAINS:
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", _COORDINATION_PORT + domain))
        except OSError:
            claim.close()
            continue
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        return claim
    raise RuntimeError("every ROS domain is in use")


# before rclpy reads them, and for every process that the tests start
_claim = _claim_domain()
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
_DATA = Path(os.environ.get("SNSCF_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
if "SNSCF_WEIGHTS" not in os.environ and (_DATA / "weights").is_dir():
    os.environ["SNSCF_WEIGHTS"] = str(_DATA / "weights")
os.environ.update(bringup.profile_environment())
# on a busy machine several threads mostly wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def weights() -> None:
    """Skips where there are no weights to run the tracker with."""
    from snscf_core import WeightsError
    from snscf_core.checkpoints import find

    try:
        find("snscf_mobilenetv2")
    except WeightsError as reason:
        pytest.skip(str(reason))


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
    from snscf_ros.parameters import DECLARATIONS

    running_tracker.reset()
    yield running_tracker
    assert running_tracker.process.process.poll() is None, running_tracker.process.log()
    running_tracker.enable(True)
    fixed = {name for name, d in DECLARATIONS.items() if d.read_only or d.read_at_configure}
    changeable = {name: value for name, value in bringup.default_parameters().items() if name not in fixed}
    assert all(result.successful for result in running_tracker.set_parameters(changeable))
    running_tracker.reset()


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
