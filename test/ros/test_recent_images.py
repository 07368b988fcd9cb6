# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which images are remembered, and which of them stands for a stamp."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ros_harness import image_message, stamp_of

from snscf_ros.node.intake.recent_images import GAP, ReceivedImage, RecentImages
from snscf_ros.stamps import nanoseconds

PERIOD = 1 / 30
LARGE, SMALL = (480, 640, 3), (48, 64, 3)
PLENTY = 1 << 40


def remembered(count: int, shape=LARGE, frame_ids=("camera",), period=PERIOD, seconds=3.0, most=PLENTY):
    pixels = np.zeros(shape, np.uint8)
    messages = {name: image_message(pixels, "bgr8", frame_id=name) for name in frame_ids}
    kept = RecentImages()
    for number in range(count):
        message = messages[frame_ids[number % len(frame_ids)]]
        message.header.stamp = stamp_of(number)
        kept.add(ReceivedImage(message, lambda: pixels, "", number * period, number), seconds, most)
    return kept


def stamp_ns(number: int) -> int:
    return nanoseconds(stamp_of(number))


def test_every_stamp_of_the_time_is_found_in_half_of_the_memory():
    kept = remembered(200)
    assert len(kept) * 2 < 3.0 / PERIOD + 20
    images = kept.after(-1)
    assert [image.number for image in images if image.number > 169] == list(range(170, 200))
    gaps = [later.received - earlier.received for earlier, later in itertools.pairwise(images)]
    assert max(gaps) <= GAP
    for number in range(images[0].number, 200):
        found = kept.find(stamp_ns(number))
        assert found is not None and abs(found.number - number) <= 1
        assert (found.number == number) == (number in [image.number for image in images])
    assert kept.oldest is images[0] and images[0].received >= 199 * PERIOD - 3.0


@pytest.mark.parametrize("more", [{"shape": SMALL}, {"frame_ids": ("left", "right")}, {"period": 0.11}])
def test_images_that_are_small_or_rare_or_of_other_cameras_in_turn_are_all_kept(more):
    kept = remembered(100, **more)
    numbers = [image.number for image in kept.after(-1)]
    assert numbers == list(range(numbers[0], 100))
    assert len(numbers) == int(3.0 / more.get("period", PERIOD)) + 1


def test_no_stamp_that_was_not_there_is_found():
    kept = remembered(200)
    oldest = kept.oldest
    assert oldest is not None
    for absent in (oldest.stamp_ns - 1, stamp_ns(200), stamp_ns(198) + 1):
        assert kept.find(absent) is None


@pytest.mark.parametrize("most", [0, 10 * 480 * 640 * 3, 40 * 480 * 640 * 3])
def test_memory_is_limited_and_the_newest_stays(most):
    kept = remembered(200, most=most)
    assert len(kept) == max(1, most // (480 * 640 * 3))
    assert kept.newest is not None and kept.newest.number == 199
    kept.clear()
    assert len(kept) == 0 and kept.newest is kept.oldest is None
