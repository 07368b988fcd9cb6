# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The follower moves only where it may, never faster than its limits whatever comes in, and towards the target."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snscf_core import TrackState
from snscf_ros.follow.follower import Follower, Mode, Order
from snscf_ros.follow.limiter import STEP, Limiter, Limits
from snscf_ros.follow.settings import FollowSettings, check, default_parameters, default_settings
from snscf_ros.follow.sighting import Sighting, angles

TICK = 0.05
START = 1000.0  # of the ROS clock


def seen(left: float = 0.0, time: float = 0.0, size: float = 0.2, **changed: Any) -> Sighting:
    """A sighting of a target at an angle to the left."""
    sighting = Sighting(
        "cup", START + time, TrackState.TRACKED, 0.9, (-math.sin(left), 0.0, math.cos(left)), size, size
    )
    return dataclasses.replace(sighting, **changed)


class Run:
    """Feeds a follower at its rate, with a sighting in every second tick."""

    def __init__(self, **changed: Any) -> None:
        self.follower = Follower(default_settings(enabled=True, **changed))
        self.tick = 0

    @property
    def time(self) -> float:
        return self.tick * TICK

    def step(self, sighting: Sighting | None, clock: float = 0.0) -> Order:
        if sighting is not None:
            self.follower.see(sighting, START + self.time + clock, self.time)
        order = self.follower.command(START + self.time + clock, self.time)
        self.tick += 1
        return order

    def go(self, seconds: float, left: float = 0.0, **changed: Any) -> list[Order]:
        orders = []
        for _ in range(round(seconds / TICK)):
            sighting = seen(left, self.time, **changed) if self.tick % 2 == 0 else None
            orders.append(self.step(sighting))
        return orders


def codes(order: Order) -> set[str]:
    return {reason.code for reason in order.reasons}


def still(order: Order) -> bool:
    return all(speed == 0 for speed in order.velocity)


# --- limits ---

speeds = st.one_of(st.floats(-3, 3), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e300]))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(speeds, st.integers(0, 60)), max_size=30),
    st.floats(0, 2),
    st.floats(0, 2),
    st.floats(0.05, 10),
    st.floats(0.5, 200),
)
def test_limits_hold_in_every_step_whatever_is_wanted(wanted, back, ahead, acceleration, jerk):
    limiter = Limiter(Limits(-back, ahead, acceleration, jerk))
    before, before_that = 0.0, 0.0
    for speed, steps in wanted:
        for _ in range(steps):
            covered = limiter.advance(speed, 1)
            now = limiter.speed
            assert covered == now * STEP
            assert -back <= now <= ahead
            assert abs(now - before) <= acceleration * STEP + 1e-9
            assert abs(now - 2 * before + before_that) <= jerk * STEP**2 + 1e-9
            before, before_that = now, before


@given(st.floats(-1, 1), st.floats(0.2, 5), st.floats(1, 100))
@settings(max_examples=50, deadline=None)
def test_speed_reaches_what_is_wanted_without_going_beyond(wanted, acceleration, jerk):
    limiter = Limiter(Limits(-1, 1, acceleration, jerk))
    most = 0.0
    for _ in range(round((2 / acceleration + 3 + acceleration / jerk * 2) / STEP)):
        limiter.advance(wanted, 1)
        most = max(most, limiter.speed * math.copysign(1, wanted))
    assert limiter.speed == pytest.approx(wanted, abs=1e-6)
    assert most <= abs(wanted) + 1e-6


any_number = st.one_of(st.floats(), st.floats(-4, 4))
any_sighting = st.builds(
    Sighting,
    st.sampled_from(["cup", "other", ""]),
    st.one_of(st.floats(), st.floats(START - 2, START + 12)),
    st.sampled_from([*TrackState, 7]),
    st.one_of(st.floats(), st.floats(0, 1)),
    st.one_of(
        st.tuples(any_number, any_number, any_number),
        st.floats(-3, 3).map(lambda a: (math.sin(a), 0.0, math.cos(a))),
    ),
    any_number,
    any_number,
    st.booleans(),
)
gentle = st.builds(seen, st.floats(-0.6, 0.6), st.floats(0, 6), st.floats(0.05, 1.0))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), gentle, gentle, any_sighting),
            st.one_of(st.just(TICK), st.just(TICK), st.floats(0, 5)),
            st.one_of(st.just(0.0), st.just(0.0), st.floats(-100, 100), st.just(math.nan)),
            st.one_of(st.none(), st.none(), st.floats()),
        ),
        max_size=60,
    ),
    st.sampled_from(["ground", "gimbal"]),
    st.sampled_from(["angle", "height", "position"]),
    st.booleans(),
    st.sampled_from([0.0, 0.3]),
)
def test_nothing_that_comes_in_moves_it_where_or_faster_than_it_may(happened, output, distance_from, scan, stop_time):
    limits = default_settings(
        enabled=True,
        output=output,
        distance_from=distance_from,
        target_height=1.0,
        scan=scan,
        stop_time=stop_time,
        max_reverse_speed=0.4,
    )
    follower = Follower(limits)
    steady, clock, newest, before = 0.0, START, None, None
    for sighting, pause, jump, position in happened:
        steady, clock = steady + pause, clock + pause + jump
        if math.isnan(clock):
            clock = START
        if position is not None:
            follower.see_position("cup", clock, position)
        if sighting is not None:
            follower.see(sighting, clock, steady)
            newest = (sighting, steady)
        order = follower.command(clock, steady)
        forward, turn, tilt = order.velocity
        assert -limits.max_reverse_speed <= forward <= limits.max_speed
        assert abs(turn) <= limits.max_turn_rate and abs(tilt) <= limits.max_turn_rate
        good = newest is not None and newest[0].state == TrackState.TRACKED and newest[0].score >= limits.min_score
        good = good and steady - newest[1] <= limits.max_age and -0.1 <= clock - newest[0].stamp <= limits.max_age
        if not good:
            assert order.reasons
            if not scan and stop_time == 0:
                assert still(order)
            if stop_time > 0 and before is not None:
                assert abs(forward) <= abs(before[0]) + 1e-12, "it only brakes"
        if before is not None and order.mode == Mode.FOLLOWING:
            # what it did not do in a pause is not made up for
            steps = (min(pause, 0.1) + STEP) * (1 + 1e-6)
            assert abs(forward - before[0]) <= limits.max_acceleration * steps + 1e-9
            assert abs(turn - before[1]) <= limits.max_turn_acceleration * steps + 1e-9
        before = order.velocity


def test_a_pause_is_not_made_up_for():
    run = Run()
    before = run.go(0.3, left=1.0)[-1].velocity.turn
    run.tick += 60
    after = run.step(seen(1.0, run.time)).velocity.turn
    assert 0 < after - before <= 3.0 * 0.1 + 1e-9


# --- when it moves ---


@pytest.mark.parametrize(
    "changed, code",
    [
        ({"state": TrackState.UNCERTAIN}, "uncertain"),
        ({"state": TrackState.LOST}, "lost"),
        ({"score": 0.1}, "low_score"),
        ({"score": math.nan}, "low_score"),
        ({"direction": (math.nan, 0.0, 1.0)}, "no_bearing"),
        ({"direction": (0.0, 0.0, 0.0)}, "no_bearing"),
        ({"silent": True}, "camera_silent"),
        ({"target_id": ""}, "no_target"),
        ({"target_id": "other"}, "other_target"),
        ({"stamp": 0.0}, "no_stamp"),
        ({"stamp": START - 60}, "old_image"),
        ({"stamp": START + 60}, "clock"),
        ({"stamp": math.nan}, "clock"),
    ],
)
def test_what_keeps_it_from_moving_stops_it_at_once_and_is_said(changed, code):
    run = Run()
    assert run.go(1.0, left=0.4)[-1].velocity.turn > 0.3
    order = run.step(seen(0.4, run.time, **changed))
    assert still(order) and order.mode == Mode.WAITING
    assert codes(order) == {code} and all(reason.text for reason in order.reasons)
    # and on again when it is well; but not to another target
    assert run.go(1.0, left=0.4)[-1].mode == Mode.FOLLOWING


def test_silence_and_a_frozen_clock_stop_it():
    run = Run()
    run.go(1.0, left=0.4)
    moving = [not still(run.step(None)) for _ in range(20)]
    assert moving[0] and not moving[-1] and moving == sorted(moving, reverse=True)
    run = Run()
    run.go(1.0, left=0.4)
    frozen = START + run.time
    for _ in range(15):
        run.tick += 1
        order = run.follower.command(frozen, run.time)
    assert still(order) and codes(order) == {"no_status"}


def test_it_moves_only_when_enabled_and_keeps_its_target():
    run = Run()
    run.follower.enable(False)
    assert all(still(order) and codes(order) == {"not_enabled"} for order in run.go(0.5, left=0.4))
    run.follower.enable(True)
    assert run.go(0.5, left=0.4)[-1].mode == Mode.FOLLOWING
    assert codes(run.go(0.5, left=0.4, target_id="other")[-1]) == {"other_target"}
    run.follower.enable(True)
    assert run.go(0.5, left=0.4, target_id="other")[-1].mode == Mode.FOLLOWING


def test_a_stop_may_take_its_time():
    run = Run(stop_time=0.4)
    speed = run.go(2.0, left=0.5)[-1].velocity.turn
    orders = run.go(0.6, left=0.5, state=TrackState.LOST)
    turns = [order.velocity.turn for order in orders]
    assert speed >= turns[0] > turns[3] > 0 and turns == sorted(turns, reverse=True)
    assert orders[2].mode == Mode.STOPPING and still(orders[8]) and orders[8].mode == Mode.WAITING


def test_uncertain_slows_it_where_that_is_wanted():
    run = Run(uncertain_speed=0.25)
    assert run.go(2.0, left=1.5)[-1].velocity.turn == pytest.approx(1.0)
    order = run.go(2.0, left=1.5, state=TrackState.UNCERTAIN)[-1]
    assert order.velocity.turn == pytest.approx(0.25) and order.mode == Mode.SLOWED


# --- where it moves ---


def test_it_turns_to_the_target_and_drives_to_its_distance():
    run = Run(distance_from="height", target_height=1.0, distance=3.0)
    near, far = (2 * math.atan(0.5 / distance) for distance in (1.0, 6.0))
    order = run.go(2.0, left=0.3, height=far)[-1]
    assert order.velocity.forward > 0.5 and order.velocity.turn > 0.2 and order.velocity.tilt == 0
    assert order.distance == pytest.approx(6.0 - 0.3, abs=0.5)
    assert Run().go(2.0, left=-0.3)[-1].velocity.turn < -0.2
    # the default is to stand when it is too near, and to back off where that is allowed
    assert Run(distance_from="height", target_height=1.0).go(2.0, height=near)[-1].velocity.forward == 0
    back = Run(distance_from="height", target_height=1.0, max_reverse_speed=0.3).go(2.0, height=near)[-1]
    assert back.velocity.forward == pytest.approx(-0.3)
    # a target beside it is turned to first
    order = run.go(2.0, left=1.2, height=far)[-1]
    assert order.velocity.forward == 0 and {note.code for note in order.notes} == {"beside"}


def test_it_keeps_the_size_that_the_target_had_when_it_began():
    run = Run(distance_from="angle", max_reverse_speed=0.3)
    assert abs(run.go(1.0, size=0.2)[-1].velocity.forward) == 0
    assert run.go(1.0, size=0.12)[-1].velocity.forward > 0.2
    assert run.go(3.0, size=0.3)[-1].velocity.forward < -0.1


def test_without_a_position_it_only_turns():
    run = Run(distance_from="position")
    order = run.go(1.0, left=0.3)[-1]
    assert order.velocity.forward == 0 and order.velocity.turn > 0
    assert {note.code for note in order.notes} == {"no_distance"}
    for _ in range(20):
        run.follower.see_position("cup", START + run.time, 9.0)
        order = run.step(seen(0.3, run.time))
    assert order.velocity.forward > 0.5 and not order.notes


def test_gimbal_pans_and_tilts():
    run = Run(output="gimbal")
    up = (0.0, -math.sin(0.3), math.cos(0.3))
    order = run.go(1.0, direction=up)[-1]
    assert order.velocity.tilt < -0.2 and order.velocity.forward == 0 and abs(order.velocity.turn) < 1e-9


def test_lost_target_is_looked_for_where_it_went_and_given_up():
    run = Run(scan=True, scan_after=0.5, scan_time=8.0, scan_angle=0.8)
    run.go(1.0, left=-0.4)
    orders = run.go(12.0, left=-0.4, state=TrackState.LOST)
    assert all(still(order) for order in orders[:9])
    turning = [order for order in orders if order.mode == Mode.SCANNING]
    assert turning[5].velocity.turn < 0, "to where it went"
    assert any(order.velocity.turn > 0 for order in turning), "then to the other side"
    assert all(order.velocity.forward == 0 and codes(order) == {"lost"} for order in turning)
    heading = 0.0
    for order in turning:
        heading += order.velocity.turn * TICK
        assert abs(heading) < 0.8 + 0.3
    assert orders[-1].mode == Mode.GAVE_UP and still(orders[-1])
    assert run.go(0.5, left=-0.4)[-1].mode == Mode.FOLLOWING
    # a camera that is gone is nothing to look around for
    assert still(run.go(2.0, state=TrackState.LOST, silent=True)[-1])


def test_directions_are_those_of_the_robot():
    assert angles((0.0, 0.0, 1.0), 0.0, 0.5) == pytest.approx((0.0, 0.5))
    assert angles((0.0, 0.0, 1.0), 0.7, 0.0) == pytest.approx((0.7, 0.0))
    assert angles((-math.sin(0.2), 0.0, math.cos(0.2)), 0.0, 0.0) == pytest.approx((0.2, 0.0))
    # straight up in the image of a camera that looks 0.5 down
    assert angles((0.0, -math.sin(0.5), math.cos(0.5)), 0.0, 0.5) == pytest.approx((0.0, 0.0))


# --- parameters ---


def test_parameter_file_declarations_and_settings_have_the_same_names():
    from snscf_ros.follow.settings import DECLARATIONS

    names = {field.name for field in dataclasses.fields(FollowSettings)}
    assert set(default_parameters()) == names == set(DECLARATIONS)
    for field in dataclasses.fields(FollowSettings):
        assert type(default_parameters()[field.name]).__name__ == field.type, field.name


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"output": "boat"}, "output is 'boat'"),
        ({"distance_from": "radar"}, "distance_from"),
        ({"distance_from": "height"}, "target_height"),
        ({"max_speed": -1.0}, "max_speed is -1"),
        ({"turn_gain": math.nan}, "turn_gain is nan"),
        ({"tracker": ""}, "tracker must not be empty"),
    ],
)
def test_wrong_parameters_are_named(changed, told):
    with pytest.raises(ValueError, match=told):
        check(FollowSettings(**{**default_parameters(), **changed}))
