# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures a run: whether the target stays in view, is found again, and whether the robot ever moves as it must not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from snscf_core import Track, TrackState
from snscf_core.boxes import iou
from snscf_ros.follow.follower import Mode, Order
from snscf_ros.follow.limiter import STEP
from snscf_ros.follow.settings import FollowSettings
from snscf_ros.simulation.closed_loop import Moment
from snscf_ros.simulation.courses import Occlusion
from snscf_ros.simulation.world import View

_SEEN = 0.5  # share of the target that can be seen, from which on it counts as visible
_ON_TARGET = 0.3  # overlap from which on a box is on the target
_AGAIN = 5.0  # s in which a target must be found again
_ROUND = 1e-9


@dataclass(frozen=True)
class Measures:
    """Holds what is counted in one run.

    counted: images in which the target could be seen, or was left outside the picture.
    in_view: those in which the target's centre is in the middle half of the picture, in width and in height.
    occlusions, found_again: how often the target was hidden, and was tracked again within five seconds.
    seconds_to_find: how long that took, for those found again.
    moved_untracked: commands other than zero while the newest track was not `tracked`, without those to look around.
    looked_around: commands to look around for a lost target.
    over_limits: commands beyond a limit of speed, acceleration or jerk.
    commands: all of them.
    wrong: images in which a box that is off the target was called tracked.
    """

    counted: int
    in_view: int
    occlusions: int
    found_again: int
    seconds_to_find: tuple[float, ...]
    moved_untracked: int
    looked_around: int
    over_limits: int
    commands: int
    wrong: int


def measure(
    run: Sequence[Moment], settings: FollowSettings, occlusions: Sequence[Occlusion], size: tuple[int, int]
) -> Measures:
    """Measure a run. size: width and height of the images."""
    counted = [moment for moment in run if counts(moment.view, occlusions, size)]
    orders = [order for moment in run for order in moment.orders]
    times = [found for found in (_found_again(run, one) for one in occlusions) if found is not None]
    tracked = [(m.track, m.view) for m in run if m.track is not None and m.track.state == TrackState.TRACKED]
    return Measures(
        len(counted),
        sum(in_middle(moment.view, size) for moment in counted),
        len(occlusions),
        len(times),
        tuple(times),
        sum(
            any(order.velocity) and order.mode != Mode.SCANNING and (track is None or track.state != TrackState.TRACKED)
            for _, order, track in orders
        ),
        sum(order.mode == Mode.SCANNING for _, order, _ in orders),
        _over_limits([(time, order) for time, order, _ in orders], settings),
        len(orders),
        sum(not _on_target(track, view) for track, view in tracked),
    )


def counts(view: View, occlusions: Sequence[Occlusion], size: tuple[int, int]) -> bool:
    """Return whether the robot should have the target in view: nothing hides it, wherever the camera looks."""
    if view.visible >= _SEEN:
        return True
    x, y, w, h = view.box
    inside = 0 <= x + w / 2 <= size[0] and 0 <= y + h / 2 <= size[1]  # false for NaN
    hidden = any(one.start - 1 <= view.time <= one.start + one.seconds + 1 for one in occlusions)
    return not inside and not hidden


def in_middle(view: View, size: tuple[int, int]) -> bool:
    """Return whether the target's centre is in the middle half of the picture."""
    x, y, w, h = view.box
    return abs(x + w / 2 - size[0] / 2) <= size[0] / 4 and abs(y + h / 2 - size[1] / 2) <= size[1] / 4


def _on_target(track: Track, view: View) -> bool:
    overlap = float(iou(track.box, view.box))
    return math.isfinite(overlap) and overlap >= _ON_TARGET


def _found_again(run: Sequence[Moment], occlusion: Occlusion) -> float | None:
    """Return the seconds from the end of an occlusion until the target is tracked again; None if it is not."""
    end = occlusion.start + occlusion.seconds
    for moment in run:
        late = moment.view.time - end
        if 0 <= late <= _AGAIN and moment.track is not None:
            if moment.track.state == TrackState.TRACKED and _on_target(moment.track, moment.view):
                return late
    return None


def _over_limits(orders: Sequence[tuple[float, Order]], settings: FollowSettings) -> int:
    """Count commands beyond a limit. A stop is allowed to be sudden, and so is not held to acceleration and jerk."""
    turn = (-settings.max_turn_rate, settings.max_turn_rate, settings.max_turn_acceleration, settings.max_turn_jerk)
    drive = (-settings.max_reverse_speed, settings.max_speed, settings.max_acceleration, settings.max_jerk)
    over = 0
    for number, (time, order) in enumerate(orders):
        moving = [earlier.mode == Mode.FOLLOWING for _, earlier in orders[max(number - 2, 0) : number + 1]]
        for axis, (low, high, acceleration, jerk) in enumerate((drive, turn, turn)):
            now = order.velocity[axis]
            bad = not low <= now <= high
            if number >= 1 and moving[-1]:
                gap = time - orders[number - 1][0] + STEP
                change = now - orders[number - 1][1].velocity[axis]
                bad = bad or abs(change) > acceleration * gap + _ROUND
                if number >= 2 and all(moving):
                    before = orders[number - 1][1].velocity[axis] - orders[number - 2][1].velocity[axis]
                    bad = bad or abs(change - before) > jerk * gap * gap + _ROUND
            over += bad
    return over
