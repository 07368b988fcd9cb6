# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What moves evenly is where it is predicted; broken stamps and numbers harm nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from position_rig import box_of, directions, points

from snscf_ros.position.estimate import Position
from snscf_ros.position.kalman import ConstantVelocity
from snscf_ros.position.motion import Sighting, TargetMotion
from snscf_ros.position.rigid import Rigid

MS = 1_000_000
SECOND = 1000 * MS


def test_covariance_of_the_filter_is_honest():
    """Of many tracks whose velocity wanders as the filter assumes, the squared distance averages to the dimensions."""
    random = np.random.default_rng(3)
    squared = []
    for _ in range(60):
        filter_ = ConstantVelocity(acceleration=0.8, speed=1.5)
        place, velocity = np.zeros(3), random.normal(0, 1.5, 3)
        for i in range(40):
            for _ in range(10):
                place = place + velocity * 0.005
                velocity = velocity + random.normal(0, 0.8 * math.sqrt(0.005), 3)
            filter_.update(50 * i * MS, random.normal(place, 0.1), np.eye(3) * 0.01)
        moving = filter_.at(50 * 39 * MS)
        off = moving.state - np.concatenate([place, velocity])
        squared.append(off @ np.linalg.solve(moving.covariance, off))
    assert 5.0 < np.mean(squared) < 7.2


events = st.lists(
    st.tuples(
        st.integers(-5 * SECOND, 5 * SECOND),
        st.tuples(*[st.floats(allow_nan=True, allow_infinity=True, width=32)] * 3),
        st.sampled_from([1e-6, 0.1, 100.0, math.nan]),
    ),
    max_size=25,
)


@given(events)
def test_filter_survives_every_stamp_and_number(events):
    filter_, stamp = ConstantVelocity(1.0, 1.0), 100 * SECOND
    for step, place, variance in events:
        stamp += step
        filter_.update(stamp, np.array(place), np.eye(3) * variance)
    moving = filter_.at(stamp + SECOND)
    if moving is not None:
        assert np.isfinite(moving.state).all() and np.isfinite(moving.covariance).all()
        assert (np.diag(moving.covariance) >= 0).all()


def test_late_measurement_and_an_outlier_are_left_out_until_a_second_of_them_or_a_loss():
    def moved() -> ConstantVelocity:
        filter_ = ConstantVelocity(0.5, 1.0)
        for i in range(20):
            assert filter_.update(50 * i * MS, np.array([0.05 * i, 0, 5.0]), spread)
        return filter_

    spread, elsewhere = np.eye(3) * 1e-4, np.array([9.0, 0, 5.0])
    filter_ = moved()
    assert not filter_.update(900 * MS, np.zeros(3), spread)
    assert not any(filter_.update(stamp * MS, elsewhere, spread) for stamp in range(1000, 1960, 50))
    assert filter_.at(1950 * MS).place == pytest.approx([1.95, 0, 5.0], abs=0.05)
    assert filter_.update(2000 * MS, elsewhere, spread)
    assert filter_.at(2000 * MS).place == pytest.approx(elsewhere)

    assert moved().update(1000 * MS, elsewhere, spread, found_again=True)


def test_time_that_goes_back_begins_anew():
    filter_ = ConstantVelocity(0.5, 1.0)
    filter_.update(100 * SECOND, np.zeros(3), np.eye(3))
    assert filter_.update(5 * SECOND, np.ones(3), np.eye(3))
    assert filter_.stamp_ns == 5 * SECOND


def camera_at(stamp_ns: int) -> Rigid:
    """Pans to the right at 0.5 rad/s and drives forward at 0.4 m/s; the fixed frame is its optical frame at time 0."""
    seconds = stamp_ns / SECOND
    c, s = math.cos(0.5 * seconds), math.sin(0.5 * seconds)
    return Rigid(np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), np.array([0.0, 0.0, 0.4 * seconds]))


def target_at(stamp_ns: int):
    return np.array([0.3 * stamp_ns / SECOND + 1.0, 0.2, 6.0])


def seen_at(stamp_ns: int):
    return camera_at(stamp_ns).inverse(target_at(stamp_ns))


def watched(fixed: bool, with_position: bool, with_lens: bool = True) -> TargetMotion:
    """A target followed for 1.5 s by a camera that turns and drives."""
    motion, random = TargetMotion(fixed, 1.0), np.random.default_rng(1)
    for i in range(31):
        stamp = 50 * i * MS
        x, y, w, h = box_of(seen_at(stamp), 0.5, 0.8)
        x, y = random.normal((x, y), 1.0)
        camera = camera_at(stamp) if fixed else Rigid.identity()
        place = Position(random.normal(camera(seen_at(stamp)), 0.02), np.eye(3) * 4e-4, "depth")
        motion.update(
            Sighting(
                stamp,
                (x, y, w, h),
                np.array([1.0, 1.0, 2.0, 2.0]),
                directions if with_lens else None,
                0.001,
                camera,
                place if with_position else None,
            )
        )
    return motion


@pytest.mark.parametrize("with_position", [True, False], ids=["position", "direction"])
@pytest.mark.parametrize("ahead", [0, 100, 300])
def test_prediction_follows_the_target_as_a_moving_camera_will_see_it(with_position, ahead):
    stamp = (1500 + ahead) * MS
    found = watched(True, with_position).predict(stamp, camera_at, points, 1.0)
    true = seen_at(stamp)
    # what was seen last is up to 0.15 rad away; without a position, the camera's own drive is not known
    error = math.acos(min(1.0, found.direction @ true / np.linalg.norm(true)))
    assert error < (0.012 if with_position else 0.02)
    soon = seen_at(stamp + 20 * MS)
    rate = (math.atan2(soon[0], soon[2]) - math.atan2(true[0], true[2])) / 0.02
    assert found.angles[2] == pytest.approx(rate, abs=0.06)
    x, y, w, h = found.box
    assert (x + w / 2, y + h / 2) == pytest.approx(tuple(points(true[None])[0]), abs=12.0)
    assert w == pytest.approx(box_of(true, 0.5, 0.8)[2], rel=0.1)
    assert (found.moving is not None) == with_position
    if with_position:
        assert found.moving.place == pytest.approx(target_at(stamp), abs=0.08)
        assert found.moving.velocity == pytest.approx([0.3, 0, 0], abs=0.15)


def test_prediction_is_less_certain_the_later_and_ends_after_the_hold():
    motion = watched(True, True)
    spreads = [motion.predict((1500 + ms) * MS, camera_at, points, 1.0) for ms in (0, 300, 900)]
    assert sorted(found.angle_covariance[0, 0] for found in spreads) == [f.angle_covariance[0, 0] for f in spreads]
    assert sorted(np.trace(f.moving.covariance) for f in spreads) == [np.trace(f.moving.covariance) for f in spreads]
    assert motion.predict(2600 * MS, camera_at, points, 1.0) is None


def test_position_of_a_hidden_target_goes_on_as_before_it_was_covered():
    """While something slides over it, its box shrinks to one side, and it seems to move there."""
    motion = TargetMotion(True, 1.0)
    for i in range(41):
        seconds = 0.05 * i
        drift = -1.0 * max(0.0, seconds - 1.6)
        place = Position(np.array([0.3 * seconds + drift, 0.2, 6.0]), np.eye(3) * 1e-3, "depth")
        spread = np.array([1.0, 1.0, 2.0, 2.0])
        motion.update(
            Sighting(50 * i * MS, box_of(place.point, 0.5, 0.8), spread, directions, 0.001, Rigid.identity(), place)
        )
    motion.hidden()
    found = motion.position_at(2900 * MS, 1.0)
    assert found.place == pytest.approx([0.3 * 2.9, 0.2, 6.0], abs=0.1)
    assert motion.position_at(3100 * MS, 1.0) is None


def test_when_time_goes_back_nothing_of_before_is_left():
    motion = watched(True, True)
    place = Position(np.array([0.0, 0.0, 3.0]), np.eye(3) * 1e-3, "depth")
    spread = np.array([1.0, 1.0, 2.0, 2.0])
    box = box_of(place.point, 0.5, 0.8)
    motion.update(Sighting(100 * MS, box, spread, directions, 0.001, Rigid.identity(), place))
    motion.hidden()
    assert motion.position_at(150 * MS, 1.0).place == pytest.approx([0.0, 0.0, 3.0])
    assert motion.position_at(1500 * MS, 1.0) is None
    assert motion.predict(-2000 * MS, camera_at, points, 1.0) is None


def test_without_a_calibration_the_box_alone_is_predicted():
    found = watched(False, False, with_lens=False).predict(1600 * MS, camera_at, None, 1.0)
    assert found.direction is None and found.angles is None and found.moving is None
    true = points(seen_at(1600 * MS)[None])[0]
    assert (found.box[0] + found.box[2] / 2, found.box[1] + found.box[3] / 2) == pytest.approx(tuple(true), abs=6.0)
