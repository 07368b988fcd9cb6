# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Boxes and tracks survive the way to messages and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snscf_msgs.msg import TrackStatus, TrackStatusArray
from std_msgs.msg import Header
from vision_msgs.msg import BoundingBox2D, Detection2DArray

from snscf_core import Track, TrackState
from snscf_ros import messages, overlay
from snscf_ros.messages import Counts
from snscf_ros.target_registry import TrackedTarget

coordinate = st.floats(-1e5, 1e5)
side = st.floats(1e-3, 1e5)
boxes = st.tuples(coordinate, coordinate, side, side)
tracks = st.builds(
    Track, box=boxes, score=st.floats(0, 1), state=st.sampled_from(TrackState), peak_quality=st.floats(0, 1e4)
)
targets = st.lists(
    st.builds(TrackedTarget, target_id=st.text(min_size=1), primary=st.booleans(), track=tracks), max_size=5
)


def over_the_wire(message):
    """Serialised and read back by the middleware's own code."""
    from rclpy.serialization import deserialize_message, serialize_message

    return deserialize_message(serialize_message(message), type(message))


@given(boxes)
def test_boxes_come_back(box):
    message = over_the_wire(messages.box_to_message(box))
    assert message.center.theta == 0.0
    assert messages.box_from_message(message) == pytest.approx(box, rel=1e-9, abs=1e-9)


def test_message_boxes_are_centre_based():
    message = messages.box_to_message((10.0, 20.0, 30.0, 50.0))
    assert (message.center.position.x, message.center.position.y) == (25.0, 45.0)
    assert (message.size_x, message.size_y) == (30.0, 50.0)


@pytest.mark.parametrize("field", ["center.position.x", "center.position.y", "center.theta", "size_x", "size_y"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_named(field, value):
    message = BoundingBox2D(size_x=10.0, size_y=10.0)
    *path, name = field.split(".")
    part = message
    for step in path:
        part = getattr(part, step)
    setattr(part, name, value)
    with pytest.raises(ValueError, match=f"{name}.*{'nan' if math.isnan(value) else 'inf'}"):
        messages.box_from_message(message)


@given(targets, st.text(), st.booleans())
def test_detections_hold_what_was_tracked(tracked, class_id, publish_lost):
    header = Header(frame_id="lens")
    header.stamp.sec, header.stamp.nanosec = 12, 34
    message: Detection2DArray = over_the_wire(
        messages.detections_message(header, tracked, class_id.replace("\0", ""), publish_lost)
    )
    assert message.header == header
    shown = [t for t in tracked if publish_lost or t.track.state != TrackState.LOST]
    assert len(message.detections) == len(shown)
    for detection, target in zip(message.detections, shown, strict=True):
        assert detection.header == header
        assert messages.box_from_message(detection.bbox) == pytest.approx(target.track.box, rel=1e-9, abs=1e-9)
        (result,) = detection.results
        assert result.hypothesis.score == target.track.score


@given(targets, st.floats(0, 10), st.integers(0, 2**63), st.integers(0, 2**63))
def test_status_holds_what_was_tracked(tracked, latency, received, dropped):
    counts = Counts(received=received, processed=3, dropped=dropped, rejected=2)
    made = messages.statuses_message(Header(), "front", (640, 480), tracked, latency, counts, {})
    message: TrackStatusArray = over_the_wire(made)
    assert message.camera == "front"
    assert (message.image_width, message.image_height) == (640, 480)
    assert message.latency == np.float32(latency)
    assert (message.frames_received, message.frames_processed) == (received, 3)
    assert (message.frames_dropped, message.frames_rejected) == (dropped, 2)
    for status, target in zip(message.targets, tracked, strict=True):
        assert status.primary == target.primary
        assert status.camera == "front"
        assert status.state == target.track.state
        assert status.score == np.float32(target.track.score)
        assert status.peak_quality == np.float32(target.track.peak_quality)


def test_states_have_the_numbers_of_the_interface():
    for state in TrackState:
        assert getattr(TrackStatus, state.name) == state


def test_annotations_of_a_lost_target_are_corners_inside_its_box():
    kinds = pytest.importorskip("foxglove_msgs.msg")
    track = Track(box=(10.0, 20.0, 40.0, 80.0), score=0.1, state=TrackState.LOST, peak_quality=1.0)
    (outline,) = over_the_wire(overlay.annotations_message(Header(), [TrackedTarget("it", False, track)])).points
    assert outline.type == kinds.PointsAnnotation.LINE_LIST
    places = {(point.x, point.y) for point in outline.points}
    assert {(10, 20), (50, 20), (10, 100), (50, 100)} <= places
    assert {(20, 20), (10, 40), (40, 100), (50, 80)} <= places
    assert len(outline.points) == 16 and len(places) == 12
