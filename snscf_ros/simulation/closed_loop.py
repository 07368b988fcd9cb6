# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Closes the loop: the real tracker looks through the camera of a simulated robot, which goes where the follower says.

Nothing here depends on how fast this computer is: the time is the simulation's.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from snscf_core import Track, Tracker
from snscf_ros.follow.follower import Follower, Order
from snscf_ros.follow.sighting import Sighting, Vector
from snscf_ros.simulation.bodies import Velocity
from snscf_ros.simulation.pinhole import Pinhole, Pose
from snscf_ros.simulation.robots import Setup
from snscf_ros.simulation.world import View

_STEP = 0.01  # s of the robot's motion
_START = 1000.0  # s; a stamp of 0 would be none
_TARGET = "cup"


@dataclass(frozen=True)
class Delays:
    """Says what is late, and what is lost.

    image_rate: Hz.
    latency, jitter: seconds from an image to what the tracker says of it: latency, and up to jitter more.
    command: seconds from a command to the robot.
    dropped: share of the images that never reach the tracker.
    """

    image_rate: float = 10.0
    latency: float = 0.1
    jitter: float = 0.05
    command: float = 0.05
    dropped: float = 0.05


@dataclass(frozen=True)
class Moment:
    """Holds what happened with one image.

    view: of the camera. track: what the tracker said of it later; None if the image was dropped.
    orders: all commands until the next image, each with its time and the newest track that was known then.
    """

    view: View
    track: Track | None
    orders: tuple[tuple[float, Order, Track | None], ...]


def follow(
    setup: Setup, tracker: Tracker, seconds: float, seed: int, delays: Delays | None = None, compensate: bool = False
) -> Iterator[Moment]:
    """Run one loop, and yield each image in order when all about it is known.

    The tracker is given the true box in the first image.
    compensate: whether the tracker learns how the camera has turned since the image before.
    """
    return _Loop(setup, tracker, seed, delays or Delays(), compensate).run(seconds)


class _Loop:
    def __init__(self, setup: Setup, tracker: Tracker, seed: int, delays: Delays, compensate: bool) -> None:
        self._setup, self._tracker, self._delays, self._compensate = setup, tracker, delays, compensate
        self._follower = Follower(setup.settings)
        self._rng = np.random.default_rng([seed, 10])
        self._events: list[tuple[float, int, Any]] = []  # when, number, what arrives
        self._numbers = itertools.count()
        self._asked = Velocity()
        self._newest: Track | None = None
        self._target: Any = None
        self._pose: Pose | None = None  # of the camera in the last image that the tracker had

    def run(self, seconds: float) -> Iterator[Moment]:
        steps_an_image = round(1 / self._delays.image_rate / _STEP)
        steps_a_command = round(1 / self._setup.settings.rate / _STEP)
        orders: list[tuple[float, Order, Track | None]] = []
        view, track = self._look(0.0)
        for step in range(round(seconds / _STEP)):
            time = step * _STEP
            if step and step % steps_an_image == 0:
                yield Moment(view, track, tuple(orders))
                orders = []
                view, track = self._look(time)
            while self._events and self._events[0][0] <= time + 1e-9:
                self._arrive(heapq.heappop(self._events)[2], time)
            if step % steps_a_command == 0:
                order = self._follower.command(_START + time, time)
                orders.append((time, order, self._newest))
                asked = Velocity(order.velocity.forward, 0.0, order.velocity.turn, order.velocity.tilt)
                self._later(time + self._delays.command, asked)
            self._setup.body.step(_STEP, self._asked)
        yield Moment(view, track, tuple(orders))

    def _look(self, time: float) -> tuple[View, Track | None]:
        """Take an image, and have the tracker's answer arrive later."""
        delays = self._delays
        view = self._setup.world.view(self._setup.body.camera(), time)
        late, dropped = delays.latency + delays.jitter * self._rng.uniform(), self._rng.uniform() < delays.dropped
        if self._target is None:
            self._target = self._tracker.init(view.image, view.box)
        elif dropped:
            return view, None
        if self._compensate and self._pose is not None:
            self._target.carry(turned(self._setup.world.lens, self._pose, view.pose))
        self._pose = view.pose
        track = self._tracker.update(view.image, self._target)
        self._later(time + late, (sighting(track, self._setup.world.lens, time), track))
        return view, track

    def _later(self, time: float, what: Any) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), what))

    def _arrive(self, what: Any, time: float) -> None:
        if isinstance(what, Velocity):
            self._asked = what
            return
        seen, self._newest = what
        self._follower.see(replace(seen, stamp=_START + seen.stamp), _START + time, time)


def turned(lens: Pinhole, before: Pose, after: Pose) -> Callable[[tuple[float, float]], tuple[float, float]]:
    """Return the function from a far point's place in one image to that in another; both in pixels.

    It counts how the camera has turned, and not how it has moved. What gets behind the camera stays in its place.
    """
    matrix = lens.corner_matrix @ after.rotation.T @ before.rotation @ np.linalg.inv(lens.corner_matrix)

    def move(place: tuple[float, float]) -> tuple[float, float]:
        x, y, z = matrix @ (*place, 1.0)
        return (float(x / z), float(y / z)) if z > 0 else place

    return move


def sighting(track: Track, lens: Pinhole, stamp: float) -> Sighting:
    """Return what the node would say of a track, by the lens."""
    x, y, w, h = track.box
    centre, left, right, top, bottom = (
        _direction(lens, place)
        for place in ((x + w / 2, y + h / 2), (x, y + h / 2), (x + w, y + h / 2), (x + w / 2, y), (x + w / 2, y + h))
    )
    return Sighting(_TARGET, stamp, track.state, track.score, centre, _angle(left, right), _angle(top, bottom))


def _direction(lens: Pinhole, place: tuple[float, float]) -> Vector:
    x, y = ((value - side / 2) / lens.focal for value, side in zip(place, lens.size, strict=True))
    length = math.sqrt(x * x + y * y + 1)
    return x / length, y / length, 1 / length


def _angle(a: Vector, b: Vector) -> float:
    return math.acos(min(max(sum(p * q for p, q in zip(a, b, strict=True)), -1.0), 1.0))
