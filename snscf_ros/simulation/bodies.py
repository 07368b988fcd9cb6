# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Moves robots by the velocities that they are asked for: with lag, and no faster than they can."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from snscf_ros.simulation.pinhole import Pose

_GRAVITY = 9.81  # m/s²


class Velocity(NamedTuple):
    """Asks a robot to move, in its own frame.

    forward, left: m/s.
    turn: rad/s to the left; of a pan-tilt head, that of the pan.
    tilt: rad/s downwards; of a pan-tilt head alone.
    """

    forward: float = 0.0
    left: float = 0.0
    turn: float = 0.0
    tilt: float = 0.0


class Body(ABC):
    """Carries a camera. Its velocity follows what it is asked for like a first-order lag."""

    @abstractmethod
    def step(self, seconds: float, asked: Velocity) -> None:
        """Move for a short time, of at most some hundredths of a second."""

    @abstractmethod
    def camera(self) -> Pose:
        """Return where its camera is."""


class Unicycle(Body):
    """Drives forward and turns, as a ground robot does; its camera looks ahead."""

    def __init__(
        self, x: float, y: float, yaw: float, *, lag: float = 0.2, camera_height: float = 0.6, pitch: float = 0.0
    ) -> None:
        """Put the robot on the ground.

        lag: seconds in which it takes over 63 % of a new velocity.
        camera_height: metres. pitch: of the camera, downwards.
        """
        self.x, self.y, self.yaw = x, y, yaw
        self.forward = self.turn = 0.0
        self._lag, self._height, self._pitch = lag, camera_height, pitch

    def step(self, seconds: float, asked: Velocity) -> None:
        share = 1 - math.exp(-seconds / self._lag)
        self.forward += share * (asked.forward - self.forward)
        self.turn += share * (asked.turn - self.turn)
        self.yaw += self.turn * seconds
        self.x += self.forward * math.cos(self.yaw) * seconds
        self.y += self.forward * math.sin(self.yaw) * seconds

    def camera(self) -> Pose:
        return Pose.looking((self.x, self.y, self._height), self.yaw, self._pitch)


class Multirotor(Body):
    """Flies at one altitude, as a drone does. It leans to accelerate, and its camera leans with it."""

    def __init__(
        self, x: float, y: float, yaw: float, *, altitude: float = 4.0, lag: float = 0.4, pitch: float = 0.6
    ) -> None:
        """Put the drone in the air.

        lag: seconds in which it takes over 63 % of a new velocity.
        pitch: of the camera on the drone, downwards.
        """
        self.x, self.y, self.yaw, self.altitude = x, y, yaw, altitude
        self.velocity = np.zeros(2)  # in the world
        self.turn = 0.0
        self._lean = np.zeros(2)  # forward and left, radians
        self._lag, self._pitch = lag, pitch

    def step(self, seconds: float, asked: Velocity) -> None:
        share = 1 - math.exp(-seconds / self._lag)
        self.turn += share * (asked.turn - self.turn)
        self.yaw += self.turn * seconds
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        wanted = np.array([c * asked.forward - s * asked.left, s * asked.forward + c * asked.left])
        change = share * (wanted - self.velocity)
        self.velocity = self.velocity + change
        acceleration = np.array([[c, s], [-s, c]]) @ change / seconds
        # the attitude has a lag of its own, or it would jump with what is asked for
        self._lean = self._lean + min(seconds / 0.15, 1.0) * (np.arctan(acceleration / _GRAVITY) - self._lean)
        self.x, self.y = (float(v) for v in np.array([self.x, self.y]) + self.velocity * seconds)

    def camera(self) -> Pose:
        forward, left = (float(angle) for angle in self._lean)
        return Pose.looking((self.x, self.y, self.altitude), self.yaw, self._pitch + forward, -left)


class PanTilt(Body):
    """Pans without end and tilts between stops, as a camera's head on a post does."""

    def __init__(
        self,
        x: float,
        y: float,
        pan: float,
        tilt: float = 0.2,
        *,
        height: float = 2.5,
        lag: float = 0.1,
        stops: tuple[float, float] = (-0.6, 1.2),
    ) -> None:
        """Put up the post.

        lag: seconds in which it takes over 63 % of a new rate.
        stops: least and greatest tilt, downwards.
        """
        self.x, self.y, self.height = x, y, height
        self.pan, self.tilt = pan, tilt
        self.rates = np.zeros(2)
        self._lag, self._stops = lag, stops

    def step(self, seconds: float, asked: Velocity) -> None:
        self.rates = self.rates + (1 - math.exp(-seconds / self._lag)) * (
            np.array([asked.turn, asked.tilt]) - self.rates
        )
        self.pan += float(self.rates[0]) * seconds
        self.tilt = float(np.clip(self.tilt + self.rates[1] * seconds, *self._stops))

    def camera(self) -> Pose:
        return Pose.looking((self.x, self.y, self.height), self.pan, self.tilt)
