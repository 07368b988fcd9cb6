# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The parts of the operator's page that need neither a browser nor a tracker."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ros_harness import Scene, compressed_message, image_message
from snscf_msgs.msg import TrackStatusArray

from snscf_ros.operator import requests
from snscf_ros.operator.access import Access, chosen_token
from snscf_ros.operator.feed import StampMatcher
from snscf_ros.operator.pictures import Picture, picture
from snscf_ros.operator.requests import BadRequest, parse
from snscf_ros.operator.settings import PageSettings, check, default_parameters
from snscf_ros.operator.target_memory import TargetMemory
from snscf_ros.operator.viewer import Viewer

SETTINGS = PageSettings(**{**default_parameters(), "allowed_hosts": ()})
START = {
    "type": "start",
    "number": 1,
    "box": [1, 2, 30.5, 40],
    "stamp": "1700000000123456789",
    "camera": "",
    "target_id": "",
}


# --- what a browser sends ---


def test_stamp_and_box_arrive_as_they_were_sent():
    assert parse(json.dumps(START)) == requests.Start(1, (1.0, 2.0, 30.5, 40.0), 1700000000123456789, "", "")


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"box": [1, 2, 0, 40]}, "greater than 0"),
        ({"box": [1, 2, 3]}, "four numbers"),
        ({"box": [1, 2, 3, True]}, "numbers of pixels"),
        ({"box": [1, 2, 3, 1e300]}, "numbers of pixels"),
        ({"box": [1, 2, 3, 10**400]}, "numbers of pixels"),
        ({"stamp": 5}, "stamp must be a text of digits"),
        ({"stamp": "-5"}, "stamp must be a text of digits"),
        ({"stamp": "٣"}, "stamp must be a text of digits"),
        ({"stamp": "9" * 19}, "later than a stamp can be"),
        ({"target_id": "a" * 129}, "at most 128"),
        ({"target_id": "a\nb"}, "printable"),
        ({"target_id": "\ud800"}, "printable"),
        ({"number": -1}, "number must be a whole number"),
        ({"more": 1}, "exactly the fields"),
        ({"type": "shutdown"}, "type must be one of"),
        ({"type": ["start"]}, "type must be one of"),
    ],
)
def test_what_is_not_exactly_right_is_refused_with_the_reason(change, reason):
    with pytest.raises(BadRequest, match=reason):
        parse(json.dumps({**START, **change}))


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", "NaN", '{"type": "start", "box": NaN}', "[" * 4000, "1" * 4096]
)
def test_no_text_but_json_objects_are_understood(text):
    with pytest.raises(BadRequest):
        parse(text)


@pytest.mark.parametrize("kind", ["remove", "primary"])
def test_an_empty_name_is_not_taken_for_the_primary_target(kind):
    with pytest.raises(BadRequest, match="must not be empty"):
        parse(json.dumps({"type": kind, "number": 1, "target_id": ""}))


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4)
FIELDS = ("number", "box", "stamp", "camera", "target_id", "on", "frame")


@given(st.sampled_from([*requests._READERS, "other"]), st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_whatever_comes_is_understood_or_refused(kind, fields):
    try:
        parse(json.dumps({**fields, "type": kind}))
    except BadRequest as reason:
        assert str(reason)


# --- who may come in ---


def test_only_the_token_opens_and_addresses_and_own_names_are_hosts():
    access = Access("a-secret-of-sixteen", 8080, False, ["robot.example"])
    assert access.admits("a-secret-of-sixteen")
    assert not any(access.admits(wrong) for wrong in ("", "a-secret-of-sixteeN", "a-secret-of-sixteen ", "ü"))
    for host in ("localhost:8080", "127.0.0.1:8080", "[::1]:8080", "192.168.1.7", "robot.example:8080"):
        assert access.refuses_host(host) == ""
    for host in ("", "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost@evil.example", "[::1"):
        assert access.refuses_host(host)


def test_only_the_page_itself_may_open_the_socket():
    access = Access("", 8080, True)
    assert access.refuses_origin("https://localhost:8080", "localhost:8080") == ""
    for origin in ("", "null", "http://localhost:8080", "https://localhost", "https://evil.example"):
        assert access.refuses_origin(origin, "localhost:8080")


def test_a_token_is_needed_anywhere_but_on_this_machine_and_must_be_hard_to_guess():
    assert chosen_token(True, {}) == ""
    made = chosen_token(False, {})
    assert len(made) >= 32 and made != chosen_token(False, {})
    mine = "my-own-token-1234"
    assert chosen_token(True, {"SNSCF_OPERATOR_TOKEN": mine}) == mine
    for weak in ("short", "sixteen letters ", "&" * 20):
        with pytest.raises(ValueError, match="at least 16"):
            chosen_token(False, {"SNSCF_OPERATOR_TOKEN": weak})
    local = {"127.0.0.1": True, "::1": True, "localhost": True, "0.0.0.0": False, "192.168.1.7": False, "robot": False}
    assert {host: replace(SETTINGS, host=host).local for host in local} == local


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"port": 70000}, "port is 70000"),
        ({"quality": 0}, "quality is 0, must be from 1 to 100"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"image_transport": "theora"}, "image_transport is 'theora'"),
        ({"certificate": "/nowhere.pem"}, "certificate and key belong together"),
        ({"certificate": "/nowhere.pem", "key": "/nowhere.pem"}, "there is no file '/nowhere.pem'"),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(change, reason):
    with pytest.raises(ValueError, match=reason):
        check(replace(SETTINGS, **change))


# --- pictures ---


def decoded(made: Picture) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(made.jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_a_jpeg_is_passed_through_untouched_and_everything_else_is_encoded():
    frame = Scene().frame(0)
    jpeg = cv2.imencode(".jpg", frame)[1].tobytes()
    passed = picture(compressed_message(jpeg, "bgr8; jpeg compressed bgr8"), "front", 5, SETTINGS)
    assert passed == Picture("front", 5, None, jpeg)
    smaller = replace(SETTINGS, pass_through=False, max_width=160)
    png = cv2.imencode(".png", frame)[1].tobytes()
    for message, settings, width in (
        (compressed_message(jpeg, "bgr8; jpeg compressed bgr8"), smaller, 160),
        (compressed_message(png, "bgr8; png compressed bgr8"), SETTINGS, 320),
        (image_message(frame, "bgr8"), SETTINGS, 320),
        (image_message(frame, "bgr8"), smaller, 160),
    ):
        made = picture(message, "", 5, settings)
        assert made.size == (320, 240)  # in which boxes count
        assert decoded(made).shape == (width * 3 // 4, width, 3)
        assert np.abs(decoded(made).mean((0, 1)) - frame.mean((0, 1))).max() < 3


def test_a_bayer_mosaic_in_a_jpeg_is_shown_in_colour():
    mosaic = np.tile(np.array([[200, 80], [80, 20]], np.uint8), (40, 40))
    jpeg = cv2.imencode(".jpg", mosaic, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    made = picture(compressed_message(jpeg, "bayer_rggb8; jpeg compressed"), "", 5, SETTINGS)
    blue, _, red = decoded(made).mean((0, 1))
    assert red > blue + 60


# --- pictures wait for their boxes ---


def test_while_targets_are_followed_a_picture_is_shown_when_the_tracker_has_reported_on_it():
    matcher = StampMatcher()
    images = {stamp: image_message(np.zeros((16, 16), np.uint8), "mono8") for stamp in range(1, 8)}
    assert matcher.image(1, images[1], 0.0) is images[1]  # nothing is followed
    assert matcher.report(1, True, 0.1) is None  # it has been shown
    assert matcher.image(2, images[2], 0.2) is None
    assert matcher.image(3, images[3], 0.3) is None
    assert matcher.report(3, True, 0.4) is images[3]
    assert matcher.report(2, True, 0.5) is None  # overtaken
    assert matcher.report(4, True, 0.6) is None  # the report comes before its image
    assert matcher.image(4, images[4], 0.7) is images[4]
    assert matcher.image(5, images[5], 0.8) is None
    assert matcher.image(6, images[6], 3.0) is images[6]  # the tracker is silent: nobody waits for it
    assert matcher.report(6, True, 3.1) is None
    assert matcher.image(7, images[7], 3.2) is None
    assert matcher.report(6, False, 3.3) is images[7]  # nothing is followed any more


# --- back-pressure ---


class SlowSocket:
    """A browser that acknowledges only what the test acknowledges."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.frames: list[bytes] = []

    async def send_str(self, data: str) -> None:
        self.texts.append(data)

    async def send_bytes(self, data: bytes) -> None:
        self.frames.append(data)


def test_a_slow_viewer_gets_the_newest_picture_and_no_queue():
    async def run() -> None:
        socket = SlowSocket()
        viewer = Viewer(1, socket, rate=30.0)
        viewer.watch("")
        sending = asyncio.ensure_future(viewer.run())
        for number in range(10):
            viewer.show(Picture("", number, None, bytes([number])))
            viewer.show(Picture("other", number, None, b"not watched"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert [frame[-1] for frame in socket.frames] == [0, 1]
        assert not viewer.ready
        viewer.tell({"type": "event"})
        viewer.acknowledge(1)
        for _ in range(4):
            await asyncio.sleep(0)
        assert [frame[-1] for frame in socket.frames] == [0, 1, 9]
        assert len(socket.texts) == 1
        sending.cancel()

    asyncio.run(run())


# --- where aiohttp is missing ---


@pytest.mark.slow
def test_without_aiohttp_the_page_ends_with_one_sentence():
    script = (
        "import sys; sys.modules['aiohttp'] = None\nfrom snscf_ros.operator.command import main; sys.exit(main([]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("operator_page: aiohttp is not installed for ")
    assert "pip install aiohttp" in done.stderr and len(done.stderr.splitlines()) == 1


def test_browsers_hear_why_a_camera_is_silent():
    why = "nobody publishes /front/image_raw"
    told = TargetMemory().status(TrackStatusArray(camera="front", camera_silent=True, problem=why))
    assert told["silent"] and told["problem"] == why
