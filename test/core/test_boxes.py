# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Box conventions and overlap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snscf_core.boxes import check_box, cxcywh_to_xywh, iou, xywh_to_cxcywh

numbers = st.floats(-1e4, 1e4)
sizes = st.floats(0.5, 1e4)
boxes = st.tuples(numbers, numbers, sizes, sizes)
small = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 12)] * 2)


@given(boxes)
def test_conversion_round_trip(box):
    assert np.allclose(cxcywh_to_xywh(xywh_to_cxcywh(box)), box, atol=1e-6)


@given(small, small)
def test_overlap_is_that_of_counted_pixels(a, b):
    canvas = np.zeros((2, 30, 30), bool)
    for mask, (x, y, w, h) in zip(canvas, (a, b), strict=True):
        mask[y : y + h, x : x + w] = True
    assert iou(a, b) == pytest.approx((canvas[0] & canvas[1]).sum() / (canvas[0] | canvas[1]).sum())


def test_overlap_with_an_absent_box_is_nan_and_without_area_zero():
    assert np.isnan(iou([[np.nan] * 4], [[0, 0, 5, 5]])).all()
    assert iou([0, 0, 0, 0], [0, 0, 0, 0]) == 0


@pytest.mark.parametrize(
    ("box", "number"),
    [
        ((10, 10, -5, 20), "-5"),
        ((10, 10, 5, 0), "0"),
        ((float("nan"), 10, 5, 5), "nan"),
        ((10, 10, float("inf"), 5), "inf"),
        ((700, 10, 20, 20), "700"),
        ((10, -50, 20, 20), "-50"),
        ((10, 10, 0.1, 0.2), "0.1"),
        ((0, 0, 9000, 20), "9000"),
        ((1, 2, 3), "3"),
    ],
)
def test_a_wrong_box_is_refused_naming_the_number(box, number):
    with pytest.raises(ValueError, match=number.replace(".", r"\.")):
        check_box(box, 640, 480)


def test_a_box_may_reach_over_the_border():
    assert check_box((-5, 470, 20.5, 20), 640, 480) == (-5, 470, 20.5, 20)
