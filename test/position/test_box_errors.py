# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Boxes are less certain the lower their score, and where the image's edge cuts them."""

from __future__ import annotations

import numpy as np
import pytest

from snscf_ros.position.box_errors import box_deviations

BOX = (100.0, 80.0, 60.0, 40.0)


def test_deviations_are_those_that_were_measured():
    """The table of `box_errors`: 68 % of the errors at these scores, as shares of the box's sides."""
    for score, centre, size in ((0.97, 0.05, 0.09), (0.86, 0.06, 0.17), (0.62, 0.10, 0.22)):
        found = box_deviations(BOX, score, 640, 480) / (60, 40, 60, 40)
        assert found[:2] == pytest.approx([centre] * 2, rel=0.3)
        assert found[2:] == pytest.approx([size] * 2, rel=0.25)


@pytest.mark.parametrize("score", [-1.0, 0.0, 0.5, 1.0, 7.0])
def test_deviations_grow_as_the_score_falls_and_with_the_factor(score):
    found = box_deviations(BOX, score, 640, 480)
    assert (found > 0).all()
    assert (found <= box_deviations(BOX, score - 0.1, 640, 480)).all()
    assert (box_deviations(BOX, score, 640, 480, factor=0.5) < found).all()


def test_a_box_cut_by_an_edge_is_uncertain_along_it_alone():
    whole = box_deviations(BOX, 0.9, 640, 480)
    assert (box_deviations((-1.0, 80.0, 60.0, 40.0), 0.9, 640, 480) > whole).tolist() == [True, False, True, False]
    assert (box_deviations((100.0, 450.0, 60.0, 40.0), 0.9, 640, 480) > whole).tolist() == [False, True, False, True]
    assert np.isfinite(box_deviations((0.0, 0.0, 1e-9, 1e-9), 0.9, 640, 480)).all()
