# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Serialised images are read as rclpy reads them, without a copy of their pixels; bytes that are none are refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from ros_harness import compressed_message, image_message, stamp_of
from sensor_msgs.msg import CompressedImage, Image

from snscf_ros import images
from snscf_ros.images import ImageRejected
from snscf_ros.node.intake.serialized_images import reader

PIXELS = np.arange(24 * 33 * 3, dtype=np.uint8).reshape(24, 33, 3)


def fields(message) -> dict:
    names = [name for name in message.get_fields_and_field_types() if name != "data"]
    return {name: getattr(message, name) for name in names}


@given(frame_id=st.text(max_size=9), encoding=st.text(max_size=9), size=st.integers(0, 9), big=st.integers(0, 1))
def test_an_image_is_read_as_rclpy_reads_it(frame_id, encoding, size, big):
    """Whatever the lengths of its texts, which decide where the numbers behind them lie."""
    message = image_message(PIXELS, encoding.replace("\0", ""), stamp_of(40), frame_id.replace("\0", ""))
    message.is_bigendian, message.data = big, bytes(range(size))
    view = reader(Image)(serialize_message(message))
    assert {name: getattr(view, name) for name in fields(message)} == fields(message)
    assert bytes(view.data) == bytes(message.data)


@given(format_text=st.text(max_size=9), data=st.binary(max_size=9))
def test_a_compressed_image_is_read_as_rclpy_reads_it(format_text, data):
    message = compressed_message(data, format_text.replace("\0", ""), stamp_of(41))
    view = reader(CompressedImage)(serialize_message(message))
    assert (view.header, view.format, bytes(view.data)) == (message.header, message.format, data)


def test_pixels_are_not_copied_on_their_way_to_the_frame():
    serialized = serialize_message(image_message(PIXELS, "bgr8"))
    view = reader(Image)(serialized)
    frame = images.check(view, 10**6)()
    assert np.array_equal(frame, PIXELS)
    assert np.shares_memory(frame, np.frombuffer(serialized, np.uint8))


def test_numbers_in_the_other_byte_order_are_read():
    """As a middleware on a big-endian machine would send them."""
    texts = b"\0\0\0\4cam\0" + struct.pack(">II", 2, 1) + b"\0\0\0\6mono8\0" + b"\1\0" + struct.pack(">I", 1)
    serialized = b"\0\0\0\0" + struct.pack(">iI", -3, 7) + texts + struct.pack(">I", 2) + b"ab"
    view = reader(Image)(serialized)
    assert (view.header.stamp.sec, view.header.stamp.nanosec, view.header.frame_id) == (-3, 7, "cam")
    assert (view.height, view.width, view.encoding, view.is_bigendian, view.step) == (2, 1, "mono8", 1, 1)
    assert bytes(view.data) == b"ab"


@pytest.mark.parametrize("kind", [Image, CompressedImage])
def test_a_message_that_ends_too_early_is_refused(kind):
    message = image_message(PIXELS[:2, :2], "bgr8") if kind is Image else compressed_message(b"jpeg", "jpeg")
    serialized = serialize_message(message)
    # rclpy pads the end to a multiple of four
    used = serialized[: serialized.rindex(bytes(message.data)) + len(message.data)]
    for length in range(len(used)):
        with pytest.raises(ImageRejected, match=f"^{length} bytes are no serialised {kind.__name__}: "):
            reader(kind)(serialized[:length])


@given(st.binary(max_size=80))
def test_other_bytes_are_refused_or_read_but_never_fail(serialized):
    for kind in (Image, CompressedImage):
        try:
            view = reader(kind)(b"\0\1\0\0" + serialized)
        except ImageRejected:
            continue
        assert len(view.data) <= len(serialized)
