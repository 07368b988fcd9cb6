# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Positions are right, and their covariances are those of the errors that they are made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from position_rig import box_of, directions, errors

from snscf_ros.position.depth import TargetDepth
from snscf_ros.position.estimate import PositionUnknown, by_depth, by_plane, by_size, turned
from snscf_ros.position.rigid import Rigid

PLACES = st.tuples(st.floats(-1.5, 1.5), st.floats(-0.4, 0.4), st.floats(2.0, 12.0)).map(np.array)


def ground(height: float, pitch: float = 0.0) -> Rigid:
    """From a ground frame (z up) below a camera at that height, which looks down by `pitch`, to the optical frame."""
    level = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    c, s = np.cos(pitch), np.sin(pitch)
    rotation = np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]]) @ level
    return Rigid(rotation, rotation @ np.array([0.0, 0.0, -height]))


@given(PLACES)
def test_position_by_depth_is_the_truth_where_nothing_errs(place):
    box = box_of(place, 0.6, 0.8)
    found = by_depth(directions, box, TargetDepth(place[2], 0.0, 1.0), errors(box))
    assert found.point == pytest.approx(place, rel=1e-6)


@given(PLACES)
def test_position_by_size_is_the_truth_to_what_a_slanted_view_changes(place):
    found = by_size(directions, box_of(place, 0.6, 0.8), 0.6, 0.8, errors((0, 0, 60, 80)))
    slant = 1 - place[2] / np.linalg.norm(place)
    assert np.linalg.norm(found.point - place) <= (0.005 + 1.5 * slant) * np.linalg.norm(place)


@given(x=st.floats(-2.0, 2.0), z=st.floats(2.0, 12.0), height=st.floats(0.3, 1.2))
def test_position_of_what_stands_on_the_ground_is_its_middle(x, z, height):
    place = np.array([x, 1.5 - height / 2, z])  # the ground is 1.5 m below the camera
    box = box_of(place, 0.4, height)
    found = by_plane(directions, box, ground(1.5), True, errors(box, 0.002, 0.002))
    assert found.point == pytest.approx(place, rel=1e-6, abs=1e-6)


def test_middle_in_a_plane_is_where_the_direction_meets_it():
    downwards = Rigid(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 30.0]))
    box = (400.0, 100.0, 40.0, 40.0)
    found = by_plane(directions, box, downwards, False, errors(box))
    assert found.point == pytest.approx([100 / 500 * 30, -120 / 500 * 30, 30.0])


@pytest.mark.parametrize(
    ("pitch", "match"), [(-0.6, "no position"), (0.3, "too small an angle")], ids=["above", "horizon"]
)
def test_direction_that_does_not_meet_the_plane_is_said(pitch, match):
    y = 240 - 500 * np.tan(pitch) + (2.0 if pitch > 0 else 0.0)
    box = (300.0, y - 20, 40.0, 20.0)
    with pytest.raises(PositionUnknown, match=match):
        by_plane(directions, box, ground(1.5, pitch), True, errors(box))


@pytest.mark.parametrize("way", ["depth", "size", "plane"])
def test_covariance_is_that_of_the_errors(way):
    """Positions of boxes, directions and depths that err as stated: their squared distances are those of chi-square."""
    random = np.random.default_rng(5)
    place = np.array([0.8, 0.9, 5.0])
    true = box_of(place, 0.6, 1.2)
    given_errors = errors(true, 0.02, 0.03)
    squared = []
    for _ in range(400):
        cx, cy, w, h = random.normal([true[0] + true[2] / 2, true[1] + true[3] / 2, *true[2:]], given_errors.box)
        turn = random.normal(0, given_errors.direction, 2)
        box = (cx - w / 2, cy - h / 2, w, h)

        def seen(points, turn=turn):
            return np.array([turned(ray, turn) for ray in directions(points)])

        if way == "depth":
            metres = random.normal(place[2], given_errors.depth * place[2] ** 2)
            found = by_depth(seen, box, TargetDepth(metres, 0.0, 1.0), given_errors)
        elif way == "size":
            width, height = np.array([0.6, 1.2]) * random.normal(1, given_errors.size)
            found = by_size(seen, box, width, height, given_errors)
        else:
            plane = ground(1.5)
            uneven = Rigid(plane.rotation, plane.shift + plane.rotation @ [0, 0, random.normal(0, 0.03)])
            found = by_plane(seen, box, uneven, True, given_errors)
        off = found.point - place
        squared.append(off @ np.linalg.solve(found.covariance, off))
    # a size's distance is not that of its slanted view, and slopes change over the errors' range
    assert 2.5 < np.mean(squared) < 3.8
    assert np.mean(np.array(squared) < 7.81) > 0.9  # 95 % of chi-square of 3 dimensions
