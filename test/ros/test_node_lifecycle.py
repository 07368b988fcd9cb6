# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node's life: transitions in any order, failures that leave it usable, and a clean end."""

from __future__ import annotations

import signal
import time

import pytest
from rcl_interfaces.msg import ParameterType
from rclpy.qos import ReliabilityPolicy
from ros_harness import box_of, iou, wait_for


@pytest.mark.slow
def test_transitions_can_be_repeated(start):
    tracker = start(namespace="cycle")
    assert tracker.state == "unconfigured"
    refused = tracker.init((1, 1, 40, 40))
    assert not refused.success
    assert "not active" in refused.message
    for _ in range(3):
        tracker.transition("configure")
        assert tracker.state == "inactive"
        for _ in range(2):
            tracker.transition("activate")
            with tracker.camera() as camera:
                camera.next()
                assert tracker.init(camera.truth, "it").success
                (detection,) = camera.next().detections
                assert iou(box_of(detection), camera.truth) > 0.6
                tracker.transition("deactivate")
                assert tracker.state == "inactive"
                assert not tracker.init(camera.truth).success
        tracker.transition("cleanup")
        assert tracker.state == "unconfigured"
    tracker.transition("configure")
    tracker.transition("activate")
    tracker.transition("shutdown")
    assert tracker.state == "finalized"
    assert tracker.process.interrupt() == 0
    assert "Traceback" not in tracker.process.log()


@pytest.mark.slow
def test_target_survives_deactivation_but_not_cleanup(spare):
    tracker = spare
    tracker.activate()
    with tracker.camera() as camera:
        camera.next()
        assert tracker.init(camera.truth, "it").success
        tracker.transition("deactivate")
        tracker.transition("activate")
        assert [detection.id for detection in camera.next().detections] == ["it"]
        tracker.transition("deactivate")
        tracker.transition("cleanup")
        tracker.transition("configure")
        tracker.transition("activate")
        assert camera.next().detections == []


@pytest.mark.slow
def test_transition_that_the_state_does_not_allow_is_refused(spare):
    tracker = spare
    for transition in ("activate", "deactivate", "cleanup"):
        with pytest.raises(RuntimeError, match="refused"):
            tracker.transition(transition)
    tracker.activate()
    with pytest.raises(RuntimeError, match="refused"):
        tracker.transition("configure")
    assert tracker.state == "active"


@pytest.mark.slow
def test_configure_without_weights_fails_with_one_sentence_and_can_be_repeated(spare, tmp_path):
    tracker = spare
    before = len(tracker.process.log())
    assert tracker.set_parameter("model", str(tmp_path / "none.safetensors")).successful
    with pytest.raises(RuntimeError):
        tracker.transition("configure")
    assert tracker.state == "unconfigured"
    log = wait_for(lambda: tracker.process.log()[before:], "a log")
    assert "none.safetensors" in log
    assert "Traceback" not in log
    # the node is as good as new
    assert tracker.set_parameter("model", "snscf_nano").successful
    tracker.transition("configure")
    assert tracker.state == "inactive"


@pytest.mark.slow
def test_configure_with_an_unknown_mode_fails_with_its_name(start):
    tracker = start(namespace="mode", parameters={"mode": "telepathy"})
    with pytest.raises(RuntimeError):
        tracker.transition("configure")
    assert "telepathy" in tracker.process.log()
    assert tracker.process.interrupt(signal.SIGTERM) == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signal_ends_a_tracking_node_with_exit_code_0(start, number):
    tracker = start(namespace=f"end{int(number)}")
    tracker.activate()
    with tracker.camera() as camera:
        camera.next()
        assert tracker.init(camera.truth).success
        camera.next()
        assert tracker.process.interrupt(number) == 0
    assert "Traceback" not in tracker.process.log()


@pytest.mark.slow
def test_signal_during_configure_ends_with_exit_code_0(start):
    tracker = start(namespace="early")
    client_name = f"{tracker.name}/change_state"
    from lifecycle_msgs.srv import ChangeState

    client = tracker.peer.node.create_client(ChangeState, client_name)
    assert client.wait_for_service(timeout_sec=60)
    request = ChangeState.Request()
    request.transition.id = 1
    client.call_async(request)
    # wherever in configure it hits
    time.sleep(0.05)
    assert tracker.process.interrupt() == 0
    tracker.peer.node.destroy_client(client)
    assert "Traceback" not in tracker.process.log()


@pytest.mark.parametrize("delay", [0.0, 0.6, 1.2])
def test_signals_during_start_up_end_with_exit_code_0(start, delay):
    """Twice, as Ctrl-C under ros2 launch does."""
    tracker = start(namespace="start")
    process = tracker.process.process
    # before this, Python itself has not got to our first line
    wait_for(lambda: _handles_signals(process.pid), "the process to handle signals")
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert "Traceback" not in tracker.process.log()


def _handles_signals(pid: int) -> bool:
    """Whether the process has a handler for SIGTERM, which Python by itself has not."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        caught = next(line for line in status if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), [("max_targets", -4), ("search_size", 200)])
def test_wrong_parameter_at_start_is_told_in_one_line(start, name, value):
    tracker = start(namespace="wrong", parameters={name: value})
    assert tracker.process.process.wait(60) == 1
    log = tracker.process.log()
    assert name in log
    assert str(value) in log
    assert "Traceback" not in log


def test_parameters_change_at_run_time_within_their_ranges(tracker):
    assert tracker.set_parameter("max_targets", 3).successful
    assert tracker.get_parameter("max_targets") == 3
    too_many = tracker.set_parameter("max_targets", 100_000)
    assert not too_many.successful
    assert "100000" in too_many.reason
    assert tracker.get_parameter("max_targets") == 3
    assert not tracker.set_parameter("max_targets", 2.5).successful
    assert tracker.set_parameter("class_id", "cup").successful
    with tracker.camera() as camera:
        camera.next()
        assert tracker.init(camera.truth).success
        (detection,) = camera.next().detections
        assert detection.results[0].hypothesis.class_id == "cup"


def test_what_is_fixed_cannot_be_changed(tracker):
    for name, value in (("cameras", ["front"]), ("image_transport", "compressed")):
        result = tracker.set_parameter(name, value)
        assert not result.successful
        assert name in result.reason
    for name, value in (("model", "snscf_r50"), ("mode", "siamese"), ("device", "cuda"), ("engine", "torch")):
        result = tracker.set_parameter(name, value)
        assert not result.successful
        assert "configure" in result.reason
        # setting what it is already does no harm, as ros2 param load does
        assert tracker.set_parameter(name, tracker.get_parameter(name)).successful


def test_every_parameter_is_described(tracker):
    from rcl_interfaces.srv import DescribeParameters

    from snscf_ros.node.parameters import DECLARATIONS

    request = DescribeParameters.Request(names=list(DECLARATIONS))
    descriptors = tracker.peer.call(DescribeParameters, f"{tracker.name}/describe_parameters", request).descriptors
    for descriptor in descriptors:
        assert descriptor.description, descriptor.name
        if descriptor.type == ParameterType.PARAMETER_INTEGER:
            assert descriptor.integer_range, descriptor.name
        if descriptor.type == ParameterType.PARAMETER_DOUBLE:
            assert descriptor.floating_point_range, descriptor.name


@pytest.mark.slow
def test_params_file_reaches_the_node_under_any_name(start, tmp_path):
    params = tmp_path / "mine.yaml"
    params.write_text("/**:\n  ros__parameters:\n    max_targets: 5\n    cameras: []\n", encoding="utf-8")
    tracker = start(namespace="filed", params_file=params)
    wait_for(lambda: tracker.state, "the node")
    assert tracker.get_parameter("max_targets") == 5
    tracker.activate()
    with tracker.camera() as camera:
        assert camera.next().detections == []


@pytest.mark.slow
def test_qos_of_the_images_can_be_overridden(start, tmp_path):
    params = tmp_path / "qos.yaml"
    params.write_text(
        "/**:\n  ros__parameters:\n    qos_overrides:\n      /strict/image_raw:\n        subscription:\n"
        "          reliability: reliable\n          depth: 7\n",
        encoding="utf-8",
    )
    tracker = start(namespace="strict", params_file=params)
    tracker.activate()
    (endpoint,) = wait_for(
        lambda: tracker.peer.node.get_subscriptions_info_by_topic("/strict/image_raw"), "the subscription"
    )
    assert endpoint.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    # and still after the subscription has been made anew
    tracker.transition("deactivate")
    tracker.transition("activate")
    with tracker.camera() as camera:
        assert camera.next().detections == []
