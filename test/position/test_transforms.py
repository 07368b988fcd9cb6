# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Transforms between frames at a time, from what /tf says of some moments."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snscf_ros.position.rigid import Rigid, facing
from snscf_ros.position.transform_buffer import TransformBuffer, TransformMissing

MS = 1_000_000
numbers = st.floats(-1, 1)
quaternions = st.tuples(numbers, numbers, numbers, numbers).filter(lambda q: np.linalg.norm(q) > 0.1)
rigids = st.builds(Rigid.from_quaternion, quaternions, st.tuples(numbers, numbers, numbers))


def turn(angle: float, x: float = 0.0) -> Rigid:
    """About z, then a shift along x."""
    return Rigid.from_quaternion((0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2)), (x, 0.0, 0.0))


def same(a: Rigid, b: Rigid) -> bool:
    return np.allclose(a.rotation, b.rotation, atol=1e-5) and np.allclose(a.shift, b.shift, atol=1e-5)


@given(rigids)
def test_quaternion_says_the_rotation(rigid):
    assert np.allclose(rigid.rotation @ rigid.rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rigid.rotation) == pytest.approx(1.0)
    assert same(Rigid.from_quaternion(rigid.quaternion, tuple(rigid.shift)), rigid)
    assert same(rigid.inverse @ rigid, Rigid.identity())


def test_quaternion_turns_as_ros_says():
    assert turn(math.pi / 2)(np.array([1.0, 0, 0])) == pytest.approx([0, 1, 0])


@pytest.mark.parametrize("bad", [(0.0, 0.0, 0.0, 0.0), (math.nan, 0.0, 0.0, 1.0)])
def test_no_transform_of_a_broken_quaternion(bad):
    with pytest.raises(ValueError, match="make no transform"):
        Rigid.from_quaternion(bad, (0.0, 0.0, 0.0))


@given(rigids, rigids, rigids)
def test_frames_on_two_branches_meet_above(a, b, c):
    buffer = TransformBuffer()
    buffer.add("map", "odom", 0, a, static=True)
    buffer.add("/odom", "camera", 5 * MS, b)
    buffer.add("map", "ground", 0, c, static=True)
    found = buffer.find("ground", "camera", 5 * MS)
    point = np.array([0.3, -2.0, 5.0])
    assert found(point) == pytest.approx(c.inverse(a(b(point))))


def test_movement_is_followed_between_transforms_and_for_a_while_after_the_last():
    buffer = TransformBuffer()
    for i in range(11):
        buffer.add("odom", "camera", (1000 + 20 * i) * MS, turn(0.02 * i, 0.1 * i))
    assert same(buffer.find("odom", "camera", 1030 * MS), turn(0.03, 0.15))
    with pytest.raises(TransformMissing, match=r"not known at 1\.300000000; kept are 1\.000000000 to 1\.200000000"):
        buffer.find("odom", "camera", 1300 * MS)
    assert same(buffer.find("odom", "camera", 1300 * MS, beyond_ns=100 * MS), turn(0.30, 1.5))
    with pytest.raises(TransformMissing):
        buffer.find("odom", "camera", 999 * MS, beyond_ns=100 * MS)


def test_time_that_goes_back_begins_anew_and_a_late_transform_takes_its_place():
    buffer = TransformBuffer()
    for stamp, angle in ((5000, 0.0), (5200, 0.2), (5100, 0.3)):
        buffer.add("odom", "camera", stamp * MS, turn(angle))
    assert same(buffer.find("odom", "camera", 5100 * MS), turn(0.3))
    buffer.add("odom", "camera", 1000 * MS, turn(1.0))
    assert same(buffer.find("odom", "camera", 1000 * MS), turn(1.0))
    with pytest.raises(TransformMissing):
        buffer.find("odom", "camera", 5100 * MS)


def test_frames_without_a_connection_are_named_even_in_a_circle():
    buffer = TransformBuffer()
    buffer.add("a", "b", 0, Rigid.identity(), static=True)
    buffer.add("b", "a", 0, Rigid.identity(), static=True)
    with pytest.raises(TransformMissing, match="no transforms connect 'camera' with 'odom'; frames known are a, b"):
        buffer.find("odom", "camera", 0)
    with pytest.raises(TransformMissing):
        buffer.find("odom", "a", 0)


@given(st.tuples(numbers, numbers, numbers).filter(lambda v: np.linalg.norm(v) > 0.01).map(np.array))
def test_facing_looks_along_the_direction_and_stays_level(direction):
    up = np.array([0.0, 0.0, 1.0])
    rotation = facing(direction, up)
    assert np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-9)
    assert rotation[:, 2] == pytest.approx(up)
    if (length := np.hypot(*direction[:2])) > 1e-3:
        # as vectors: the angles pi and -pi are the same
        assert np.allclose(rotation[:, 0], [direction[0] / length, direction[1] / length, 0.0], atol=1e-6)
