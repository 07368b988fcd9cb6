# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A point on an object gives its box. A point outside the image is refused, and the message names the wrong number."""

from __future__ import annotations

import math

import pytest

from snscf_core import Tracker
from snscf_core.boxes import iou
from snscf_core.scenes import Scene


@pytest.fixture(scope="module")
def tracker(weights):
    return Tracker("snscf_nano", device="cpu", engine="torch")


@pytest.fixture(scope="module")
def first():
    """The first frame of a scene, and the box of the cup in it."""
    return Scene(frames=60)[0]


@pytest.mark.slow
@pytest.mark.parametrize("share", [(0.5, 0.5), (0.35, 0.6)])
def test_point_on_an_object_gives_its_box(tracker, first, share):
    frame, (x, y, w, h) = first.image, first.box
    found = tracker.box_around(frame, (x + share[0] * w, y + share[1] * h))
    assert iou(found, (x, y, w, h)) > 0.5
    assert tracker.init(frame, found)


def test_box_lies_in_the_frame_at_its_very_corner(tracker, first):
    frame = first.image
    height, width = frame.shape[:2]
    for point in ((0, 0), (width, height)):
        x, y, w, h = tracker.box_around(frame, point)
        assert 0 <= x < x + w <= width
        assert 0 <= y < y + h <= height


@pytest.mark.parametrize(
    "point, told",
    [((-1, 5), "x=-1"), ((5, 1e6), "y=1e\\+06"), ((math.nan, 5), "x must be finite"), ((1, 2, 3), "got 3")],
)
def test_point_outside_is_refused_by_its_number(tracker, first, point, told):
    with pytest.raises(ValueError, match=told):
        tracker.box_around(first.image, point)


def test_square_is_proposed_where_no_heads_can_find_the_object(weights, first):
    tracker = Tracker("snscf_nano", device="cpu", engine="torch", mode="correlation_filter")
    x, y, w, h = tracker.box_around(first.image, (100, 90))
    assert (w, x + w / 2, y + h / 2) == pytest.approx((h, 100, 90))
