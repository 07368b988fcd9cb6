# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whatever is sent to it, the node lives, answers every request, keeps its memory, and tracks the next good image.

The messages are hypothesis's, the node is the real one in a process of its own.
"""

from __future__ import annotations

import array
import dataclasses
import math
from typing import Any

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from ros_harness import Scene, box_of, compressed_message, image_message, iou, stamp_of, wait_for
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from snscf_msgs.srv import InitTarget, RemoveTarget, SetPrimary
from std_srvs.srv import SetBool, Trigger

from snscf_ros import bringup
from snscf_ros.images import ENCODINGS
from snscf_ros.node.parameters import DECLARATIONS

SLICE, LONG = 1_500, 10_000  # messages
BATCH = 10  # messages of one example
MOST_BYTES = 250_000
SCENE = Scene()
# so that all memory that may be needed is needed soon: the allocator keeps it
SMALL = {"buffer_bytes": 4_000_000, "max_image_pixels": 1_000_000, "max_targets": 4}
CHANGEABLE = [
    Parameter(name, value=value).to_parameter_msg()
    for name, value in {**bringup.default_parameters(), **SMALL}.items()
    if not (DECLARATIONS[name].read_only or DECLARATIONS[name].read_at_configure)
]

text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=300)
stamps = st.one_of(
    st.builds(stamp_of, st.integers(0, 40)),
    st.builds(Time, sec=st.integers(-(2**31), 2**31 - 1), nanosec=st.integers(0, 2**32 - 1)),
)
numbers = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, 1e308, -1e308, 5e-324, 1e9]),
    st.floats(-50, 400),
    st.floats(),
)
lengths = st.one_of(st.sampled_from([0, 1, 15, 16, 320, 2**16, 2**31, 2**32 - 1]), st.integers(0, 400))


def filled(message: Any, data: bytes, stamp: Time, frame_id: str) -> Any:
    message.data = array.array("B", data[:MOST_BYTES])
    message.header.stamp, message.header.frame_id = stamp, frame_id
    return message


@st.composite
def images(draw) -> Image:
    """From good ones to headers, sizes, encodings and data that have nothing to do with each other."""
    encoding = draw(st.one_of(st.sampled_from(list(ENCODINGS)), text))
    width, height = draw(lengths), draw(lengths)
    pixel = ENCODINGS[encoding].bytes_per_pixel if encoding in ENCODINGS else 3
    step = draw(st.one_of(st.just(width * pixel % 2**32), st.just((width * pixel + 5) % 2**32), lengths))
    size = draw(st.one_of(st.just(min(step * height, MOST_BYTES)), st.integers(0, 1000)))
    message = Image(width=width, height=height, step=step, encoding=encoding, is_bigendian=draw(st.integers(0, 255)))
    seed = draw(st.integers(0, 2**16))
    return filled(message, np.random.default_rng(seed).bytes(size), draw(stamps), draw(text))


def flipped(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    worse = bytearray(data)
    for at, value in changes:
        worse[at % len(worse)] = value
    return bytes(worse)


flips = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=20)


@st.composite
def broken_images(draw) -> bytes:
    """A good image's bytes on the wire, cut and changed, most of all in the header."""
    data = serialize_message(image_message(SCENE.frame(draw(st.integers(0, 5))), "bgr8", stamp_of(3)))
    head = flipped(data[:64], draw(flips))
    return (head + data[64:])[: draw(st.one_of(st.integers(0, 200), st.just(len(data))))]


@st.composite
def compressed(draw) -> CompressedImage:
    """Good JPEG and PNG files, the same cut or changed, and noise."""
    extension = draw(st.sampled_from([".jpg", ".png"]))
    shape = draw(st.sampled_from([(1, 1, 3), (64, 80, 3), (240, 320, 3), (240, 320, 1)]))
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, shape, np.uint8)
    whole = cv2.imencode(extension, pixels)[1].tobytes()
    data = draw(
        st.one_of(
            st.just(whole),
            st.builds(lambda cut: whole[: cut % len(whole)], st.integers(0, 2**20)),
            st.builds(lambda changes: flipped(whole, changes), flips),
            st.binary(max_size=300),
        )
    )
    words = st.sampled_from(["jpeg", "png", "bgr8; jpeg compressed bgr8", "bayer_rggb8; jpeg compressed", ""])
    return filled(CompressedImage(format=draw(st.one_of(words, text))), data, draw(stamps), draw(text))


@st.composite
def calibrations(draw) -> CameraInfo:
    message = CameraInfo(width=draw(lengths), height=draw(lengths), binning_x=draw(lengths), binning_y=draw(lengths))
    message.distortion_model = draw(st.one_of(st.sampled_from(["plumb_bob", "equidistant"]), text))
    message.d = draw(st.lists(numbers, max_size=15))
    message.k = draw(st.lists(numbers, min_size=9, max_size=9))
    message.roi.width, message.roi.height, message.roi.x_offset = draw(lengths), draw(lengths), draw(lengths)
    return message


@st.composite
def inits(draw) -> InitTarget.Request:
    """Half of them well-formed."""
    request = InitTarget.Request(target_id=draw(st.sampled_from(["", "a", "b", "c"])))
    box = request.bbox
    box.center.position.x, box.center.position.y, box.size_x, box.size_y = 36.0, 32.0, 28.0, 24.0
    if draw(st.booleans()):
        return request
    request.target_id, request.camera, request.stamp = draw(text), draw(st.one_of(st.just(""), text)), draw(stamps)
    box.center.position.x, box.center.position.y, box.size_x, box.size_y = (draw(numbers) for _ in range(4))
    box.center.theta = draw(st.one_of(st.just(0.0), numbers))
    request.around_point = draw(st.booleans())
    return request


values = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), numbers, text, st.lists(text, max_size=3))


@st.composite
def settings_of_parameters(draw) -> SetParameters.Request:
    name = draw(st.one_of(st.sampled_from(sorted(DECLARATIONS)), text.filter(bool)))
    return SetParameters.Request(parameters=[Parameter(name, value=draw(values)).to_parameter_msg()])


def transitions() -> st.SearchStrategy:
    """Those that an active node must refuse."""

    def request(number: int) -> ChangeState.Request:
        made = ChangeState.Request()
        made.transition.id = number
        return made

    return st.builds(request, st.sampled_from([0, 1, 2, 3, 8, 9, 10, 61, 99, 255]))


names = st.one_of(st.sampled_from(["", "a", "b", "c"]), text)
REQUESTS: dict[str, tuple[Any, st.SearchStrategy]] = {
    "init_target": (InitTarget, inits()),
    "remove_target": (RemoveTarget, st.builds(RemoveTarget.Request, target_id=names)),
    "set_primary": (SetPrimary, st.builds(SetPrimary.Request, target_id=names)),
    "reset": (Trigger, st.just(Trigger.Request())),
    "enable": (SetBool, st.builds(SetBool.Request, data=st.booleans())),
    "set_parameters": (SetParameters, settings_of_parameters()),
    "change_state": (ChangeState, transitions()),
}


@dataclasses.dataclass
class Fuzzed:
    """A node under fire: how to send it what, and what it has to be afterwards."""

    tracker: Any
    publishers: dict[str, Any]
    clients: dict[str, Any]
    sent: int = 0
    started: int = 0  # targets that were accepted
    resident: list[float] = dataclasses.field(default_factory=list)  # MB, as it goes

    def fire(self, kind: str, message: Any) -> None:
        self.sent += 1
        if kind in self.publishers:
            try:
                self.publishers[kind].publish(message)
            except UnicodeError:
                pass
            return
        future = self.clients[kind].call_async(message)
        wait_for(future.done, f"an answer of {kind} to {message}")
        answer = future.result()
        if kind == "init_target" and answer.success:
            self.started += 1
        elif kind == "init_target":
            assert answer.message and not answer.target_id
            assert "internal error" not in answer.message, answer.message
        if kind == "change_state":
            assert not answer.success

    def settle(self) -> None:
        """Back to where something can be tracked, with a good image."""
        self.fire("set_parameters", SetParameters.Request(parameters=CHANGEABLE))
        self.fire("enable", SetBool.Request(data=True))
        stream = "image" if "image" in self.publishers else "compressed"
        self.publishers[stream].publish(self.good(self.sent % 40))

    def good(self, number: int) -> Any:
        """An image of the scene."""
        if "image" in self.publishers:
            return image_message(SCENE.frame(number), "bgr8", stamp_of(number))
        data = cv2.imencode(".png", SCENE.frame(number))[1].tobytes()
        return compressed_message(data, "png", stamp_of(number))

    def look(self) -> None:
        assert self.tracker.process.process.poll() is None, self.tracker.process.log()
        with open(f"/proc/{self.tracker.process.process.pid}/statm", encoding="ascii") as statm:
            self.resident.append(int(statm.read().split()[1]) * 4096 / 1e6)


@pytest.fixture(params=["raw", "compressed"])
def fuzzed(request, start):
    kind = request.param
    parameters = {"image_transport": kind, **SMALL}
    tracker = start(namespace=f"fuzz_{kind}", parameters=parameters)
    tracker.activate()
    node, base = tracker.peer.node, tracker.process.namespace
    topics = {"image": (Image, "image_raw"), "broken": (Image, "image_raw"), "info": (CameraInfo, "camera_info")}
    if kind == "compressed":
        topics = {"compressed": (CompressedImage, "image_raw/compressed"), "info": (CameraInfo, "camera_info")}
    publishers = {name: node.create_publisher(type_, f"{base}/{topic}", 1) for name, (type_, topic) in topics.items()}
    clients = {name: node.create_client(type_, f"{tracker.name}/{name}") for name, (type_, _) in REQUESTS.items()}
    for one in publishers.values():
        wait_for(one.get_subscription_count, "a subscription")
    for one in clients.values():
        assert one.wait_for_service(60)
    # a request by a client of its own, made last, is answered only when the others are known too
    tracker.reset()
    yield Fuzzed(tracker, publishers, clients)
    for one in publishers.values():
        node.destroy_publisher(one)
    for one in clients.values():
        node.destroy_client(one)


def messages(fuzzed: Fuzzed) -> st.SearchStrategy:
    """What to send, mostly images."""
    streams = {"image": images(), "broken": broken_images(), "compressed": compressed(), "info": calibrations()}
    chosen = [st.tuples(st.just(kind), streams[kind]) for kind in fuzzed.publishers]
    requests = [st.tuples(st.just(kind), strategy) for kind, (_, strategy) in REQUESTS.items()]
    return st.one_of(*chosen, *chosen, *requests)


def bombard(fuzzed: Fuzzed, count: int) -> None:
    @settings(
        max_examples=count // BATCH,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        # a node that has died cannot be asked for a simpler example
        phases=[Phase.generate],
    )
    @given(st.lists(messages(fuzzed), min_size=BATCH, max_size=BATCH))
    def fire(batch: list[tuple[str, Any]]) -> None:
        fuzzed.settle()
        for kind, message in batch:
            fuzzed.fire(kind, message)
        fuzzed.look()

    fire()


def warm_up(fuzzed: Fuzzed) -> None:
    """As many targets as one batch can leave behind, in images as large as are allowed."""
    tracker = fuzzed.tracker
    assert tracker.set_parameter("max_targets", 16).successful
    with feed(fuzzed) as camera:
        camera.send_until_tracked(fuzzed.good(0))
        for _ in range(16):
            assert tracker.init(SCENE.box(0)).success
        for number in range(1, 6):
            camera.send_until_tracked(fuzzed.good(number))
        assert tracker.reset().success


def feed(fuzzed: Fuzzed):
    """A camera for the node."""
    if "image" in fuzzed.publishers:
        return fuzzed.tracker.camera(SCENE)
    return fuzzed.tracker.camera(SCENE, topic="image_raw/compressed", message_type=CompressedImage)


def is_as_good_as_new(fuzzed: Fuzzed) -> None:
    """With its defaults again, the node finds a target."""
    tracker = fuzzed.tracker
    fuzzed.settle()
    assert tracker.reset().success
    first = 100  # none of the stamps before
    with feed(fuzzed) as camera:
        camera.send_until_tracked(fuzzed.good(first))
        assert tracker.init(SCENE.box(first)).success
        for number in range(first + 1, first + 4):
            (detection,) = camera.send_until_tracked(fuzzed.good(number)).detections
            assert iou(box_of(detection), SCENE.box(number)) > 0.6
    assert tracker.process.interrupt() == 0
    assert "Traceback" not in tracker.process.log()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_node_survives_what_is_sent_to_it_in_the_same_memory(fuzzed, request):
    count = LONG if request.config.getoption("--long") else SLICE
    warm_up(fuzzed)
    bombard(fuzzed, count)
    assert fuzzed.sent >= count
    assert fuzzed.started > count / 100, "what is sent is too wild to get anywhere"
    early, late = fuzzed.resident[len(fuzzed.resident) // 5 :][:20], fuzzed.resident[-20:]
    allowed = 20 * count / LONG  # MB, however much memory the node has
    assert np.median(late) < np.median(early) + allowed, [round(megabytes) for megabytes in fuzzed.resident[::25]]
    is_as_good_as_new(fuzzed)
