# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The parts of the MAVLink camera that need neither a link nor a tracker."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pymavlink")

from pymavlink.dialects.v20 import common as dialect
from snscf_msgs.msg import TrackStatus, TrackStatusArray

from snscf_core import TrackState
from snscf_ros.mavlink import answers, connection
from snscf_ros.mavlink.conversions import box_in_pixels, corners_in_fractions, point_in_pixels, tracking_status
from snscf_ros.mavlink.packets import Packets
from snscf_ros.mavlink.settings import DECLARATIONS, CameraSettings, check, default_parameters
from snscf_ros.mavlink.stations import Action, Peers, Stations
from snscf_ros.mavlink.view import TrackedView
from snscf_ros.messages import box_to_message
from snscf_ros.stamps import set_stamp

SIZES = st.tuples(st.integers(16, 4000), st.integers(16, 4000))
FRACTIONS = st.floats(0, 1, width=32)
ROOT = Path(__file__).resolve().parents[2]


# --- conversions ---


@given(st.tuples(FRACTIONS, FRACTIONS, FRACTIONS, FRACTIONS), SIZES)
def test_a_rectangle_comes_back_as_it_was_drawn(corners, size):
    left, right = sorted((corners[0], corners[2]))
    top, bottom = sorted((corners[1], corners[3]))
    if right - left < 1e-3 or bottom - top < 1e-3:
        return
    box = box_in_pixels((*corners, 0, 0, 0), size)
    assert corners_in_fractions(box, size) == pytest.approx((left, top, right, bottom), abs=1e-6)


@given(st.lists(st.one_of(FRACTIONS, st.floats(width=32)), min_size=7, max_size=7), SIZES)
def test_whatever_is_asked_for_is_inside_the_image_or_refused(params, size):
    for read in (point_in_pixels, box_in_pixels):
        try:
            x, y, *extent = read(params, size)
        except ValueError:
            continue
        assert 0 <= x <= size[0] and 0 <= y <= size[1]
        if not extent:
            assert x < size[0] and y < size[1]
        else:
            assert extent[0] > 0 and extent[1] > 0 and x + extent[0] <= size[0] * 1.001


@given(st.tuples(*[st.floats()] * 4), SIZES)
def test_no_box_leaves_the_image_of_the_ground_station(box, size):
    corners = corners_in_fractions(box, size)
    if corners is not None:
        left, top, right, bottom = corners
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1


def test_a_box_is_cut_at_the_edges_and_left_out_beyond_them():
    assert corners_in_fractions((-10, 10, 20, 20), (100, 100)) == (0.0, 0.1, 0.1, 0.3)
    assert corners_in_fractions((120, 10, 20, 20), (100, 100)) is None
    assert corners_in_fractions((10, 10, 20, 20), (0, 0)) is None


def test_states_are_those_of_the_protocol():
    assert tracking_status(TrackState.TRACKED, True) == dialect.CAMERA_TRACKING_STATUS_FLAGS_ACTIVE
    assert tracking_status(TrackState.UNCERTAIN, True) == 1 | dialect.CAMERA_TRACKING_STATUS_FLAGS_COASTING
    assert tracking_status(TrackState.UNCERTAIN, False) == dialect.CAMERA_TRACKING_STATUS_FLAGS_ACTIVE
    assert tracking_status(TrackState.LOST, True) == dialect.CAMERA_TRACKING_STATUS_FLAGS_ERROR


# --- what is seen ---


def status(number: int, *targets: str, state: int = 0, silent: bool = False, latency: float = 0.0) -> TrackStatusArray:
    """A status of the image with this number; the first target is the primary one."""
    message = TrackStatusArray(image_width=200, image_height=100, camera_silent=silent, latency=latency)
    set_stamp(message.header.stamp, number)
    message.targets = [
        TrackStatus(target_id=name, primary=name == targets[0], state=state, bbox=box_to_message((20, 10, 40, 20)))
        for name in targets
    ]
    return message


def test_the_primary_target_is_seen_and_its_box_only_while_it_is_known():
    view = TrackedView(coasting=True, remember=2.0)
    assert view.seen(0.0).status == dialect.CAMERA_TRACKING_STATUS_FLAGS_ERROR  # no tracker
    view.update(status(1), 1.0)
    assert view.seen(1.0).status == dialect.CAMERA_TRACKING_STATUS_FLAGS_IDLE
    view.update(status(2, "a", "b"), 2.0)
    assert view.seen(2.0) == (1, pytest.approx((0.1, 0.1, 0.3, 0.3)), "a")
    view.update(status(3, "a", state=TrackStatus.LOST), 3.0)
    assert view.seen(3.0) == (2, None, "a")
    view.update(status(3, "a", silent=True), 4.0)
    assert view.seen(4.0) == (2, None, "a")
    view.update(status(4, "a"), 5.0)
    assert view.seen(7.0).status == 1
    assert view.seen(8.0) == (2, None, "a")  # the tracker is silent


def test_what_the_tracker_has_answered_counts_before_it_reports():
    view = TrackedView(coasting=True, remember=2.0)
    view.update(status(1, "other"), 1.0)
    view.started("mine", 1.0)
    assert view.primary_id == "mine" and not view.confirmed
    view.update(status(2, "mine", "other"), 1.1)
    assert view.confirmed
    view.removed("mine", 1.1)
    view.update(status(3, "mine", "other"), 1.2)  # was under way
    assert view.seen(1.2).status == dialect.CAMERA_TRACKING_STATUS_FLAGS_IDLE
    view.update(status(4, "other"), 1.3)
    view.update(status(5, "mine"), 1.4)  # somebody else's, of the same name
    assert view.seen(1.4).target_id == "mine"
    view.started("gone", 2.0)  # somebody removed it before it was reported
    view.update(status(6, "other"), 3.5)
    assert view.primary_id == "other" and view.confirmed


def test_the_image_that_was_on_the_screen_is_the_newest_that_had_come_by_then():
    view = TrackedView(coasting=True, remember=2.0)
    assert view.stamp_before(0.5, 0.0) == 0
    for number in range(1, 40):
        view.update(status(number, latency=0.05), number * 0.1)  # image `number` came at 0.1 * number - 0.05 s
    assert view.stamp_before(0.0, 3.9) == 0
    assert view.stamp_before(1.0, 3.9) == 29
    assert view.stamp_before(1.0, 3.99) == 30
    assert 19 <= view.stamp_before(60.0, 3.9) <= 20  # the oldest that is remembered


# --- who is on the link ---


def test_nobody_may_send_without_end_and_made_up_addresses_share_what_strangers_may():
    peers = Peers(rate=10.0, timeout=5.0)
    assert peers.admit(("known", 1), 0.0) and peers.heard(("known", 1), 0.0)
    assert sum(peers.admit((f"made up {n}", n), 0.0) for n in range(1000)) == 9
    assert sum(peers.admit(("known", 1), 0.0) for _ in range(1000)) == 10
    assert sum(peers.admit(("known", 1), 1.0) for _ in range(1000)) == 10


def test_those_who_are_awake_keep_their_place():
    peers, stations = Peers(rate=10.0, timeout=5.0), Stations(timeout=5.0)
    assert all(peers.heard((str(n), n), 0.0) for n in range(32))
    assert not peers.heard(("late", 1), 1.0)
    assert peers.heard(("late", 1), 6.0)
    assert len(peers.awake(6.0)) == 1
    assert all(stations.enter((), 1, n, 0.0) for n in range(32))
    assert stations.enter((), 2, 1, 1.0) is None
    assert stations.enter((), 2, 1, 6.0) is not None


def test_an_address_gets_the_shortest_interval_of_the_stations_that_are_awake():
    stations = Stations(timeout=5.0)
    for system, interval, at in ((1, 0.5, 3.0), (2, 0.1, 0.0), (3, None, 3.0)):
        station = stations.enter(("a", 1), system, 1, at)
        station.interval = interval
    assert stations.intervals(4.0) == {("a", 1): 0.1}
    assert stations.intervals(6.0) == {("a", 1): 0.5}
    assert [station.system for station in stations.fallen_silent(6.0)] == [2]
    assert stations.fallen_silent(6.0) == []


def test_a_command_that_comes_again_is_known_for_a_while():
    station = Stations(5.0).enter((), 255, 190, 0.0)
    draw, stop = Action(1, 2005, "a"), Action(2, 2010, "b")
    first, new = station.begin(draw, 0.0)
    assert new
    assert station.begin(draw._replace(sequence=9), 1.0) == (first, False)  # sent again
    assert station.begin(stop, 1.5)[1]
    assert station.begin(draw, 2.0) == (first, False)  # the very packet, delayed on the way
    assert station.begin(draw._replace(sequence=10), 2.5)[1]  # drawn again
    assert station.begin(stop._replace(sequence=200), 20.0)[1]


def test_a_command_that_was_overtaken_is_not_carried_out():
    station = Stations(5.0).enter((), 255, 190, 0.0)
    first, new = station.begin(Action(254, 2005, "a"), 0.0)
    assert new
    assert station.begin(Action(2, 2010, ""), 1.0)[1]
    assert station.begin(Action(0, 2005, "a"), 1.3) == (first, False)  # sent again before the stop, and delayed
    other, new = station.begin(Action(1, 2005, "b"), 1.4)
    assert not new and other.result == dialect.MAV_RESULT_TEMPORARILY_REJECTED
    assert station.begin(Action(3, 2005, "b"), 1.5)[1]
    assert station.begin(Action(2, 2005, "c"), 4.0)[1]  # the station has begun to count anew


# --- packets and messages ---


@given(st.binary(max_size=600))
def test_any_bytes_can_be_read(data):
    packets = Packets(1, 100)
    whole = packets.write(answers.heartbeat(True))
    assert [message.get_type() for message in packets.read_datagram(whole)] == ["HEARTBEAT"]
    packets.read_datagram(data + whole)
    packets.read_stream(data)
    for _ in range(60):  # a stream finds its way back
        read = packets.read_stream(packets.write(answers.heartbeat(True)))
    assert [message.get_type() for message in read] == ["HEARTBEAT"]


def test_every_message_can_be_written_with_texts_of_any_length():
    settings = CameraSettings(
        **{**default_parameters(), "model_name": "ä" * 15, "video_uri": "rtsp://robot/" + "x" * 140}
    )
    check(settings)
    packets = Packets(1, 100)
    information = packets.read_datagram(packets.write(answers.information(settings, (70000, 480), 5)))[0]
    assert information.flags & dialect.CAMERA_CAP_FLAGS_HAS_VIDEO_STREAM
    assert (information.resolution_h, information.resolution_v) == (65535, 480)
    stream = packets.read_datagram(packets.write(answers.video_stream(settings, (640, 480))))[0]
    assert (stream.type, stream.uri) == (dialect.VIDEO_STREAM_TYPE_RTSP, settings.video_uri)
    texts = [packets.read_datagram(packets.write(text))[0] for text in answers.texts("é" + "x" * 120, 7)]
    assert [len(text.text) for text in texts] == [50, 50, 21]
    assert [(text.id, text.chunk_seq) for text in texts] == [(7, 0), (7, 1), (7, 2)]


# --- parameters ---


@pytest.mark.parametrize(
    "text",
    ["", "udpin", "udpin:", "udpout:host", "udpin:host:", "udpin::14550", "udpin:h:70000", "udpin:h:-1", "x:h:1"],
)
def test_a_connection_that_is_none_is_refused_with_what_it_must_be(text):
    with pytest.raises(ValueError, match=f"{re.escape(repr(text))}.*must be udpout:HOST:PORT"):
        connection.parse(text)


def test_connections_are_read():
    assert connection.parse("udpout:robot.local:14550") == ("udpout", "robot.local", 14550)
    assert connection.parse("udpin:[::1]:14550") == ("udpin", "::1", 14550)
    assert connection.parse("serial:/dev/serial/by-id/usb-a:b:57600") == ("serial", "/dev/serial/by-id/usb-a:b", 57600)


def test_parameter_file_declarations_settings_and_document_have_the_same_names():
    names = set(default_parameters())
    assert names == set(DECLARATIONS) == {field.name for field in dataclasses.fields(CameraSettings)}
    document = (ROOT / "docs" / "mavlink.md").read_text(encoding="utf-8")
    rows = [
        line.split("|")[1] for line in document.partition("## Parameters")[2].splitlines() if line.startswith("| `")
    ]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == names
    check(CameraSettings(**default_parameters()))


@pytest.mark.parametrize("name", [name for name, declared in DECLARATIONS.items() if declared.maximum is not None])
def test_a_value_out_of_its_range_is_refused_by_name(name):
    for value in (DECLARATIONS[name].minimum - 1, DECLARATIONS[name].maximum + 1, math.nan):
        with pytest.raises(ValueError, match=f"{name} is "):
            check(dataclasses.replace(CameraSettings(**default_parameters()), **{name: value}))
