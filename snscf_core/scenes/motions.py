# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Describes how the objects of a scene move: frame numbers in, places, sizes and angles out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Wave:
    mean: float
    amplitude: float
    period: float
    phase: float

    def at(self, time: Any) -> Any:
        return self.mean + self.amplitude * np.sin(2 * math.pi * time / self.period + self.phase)


@dataclass(frozen=True)
class Detour:
    """A way off the path and back: around ``time`` the object is displaced by ``offset``.

    It stays there for ``hold`` frames before and after.
    """

    time: float
    hold: float
    ramp: float
    offset: tuple[float, float]

    def share(self, time: Any) -> Any:
        x = np.clip(1 - (np.abs(time - self.time) - self.hold) / self.ramp, 0, 1)
        return x * x * x * (x * (6 * x - 15) + 10)


@dataclass(frozen=True)
class SpriteMotion:
    """An object's motion: its centre, its scale (frame pixels per pixel of the photograph), and its rotation."""

    x: Wave
    y: Wave
    unit: float
    log_scale: Wave
    turn: Wave
    detours: tuple[Detour, ...] = ()

    def position(self, time: Any) -> tuple[Any, Any]:
        x, y = self.x.at(time), self.y.at(time)
        for detour in self.detours:
            share = detour.share(time)
            x, y = x + share * detour.offset[0], y + share * detour.offset[1]
        return x, y

    def velocity(self, time: float) -> tuple[float, float]:
        (x0, y0), (x1, y1) = self.position(time - 0.5), self.position(time + 0.5)
        return float(x1 - x0), float(y1 - y0)

    def size(self, time: Any) -> Any:
        return self.unit * np.exp(self.log_scale.at(time))

    def angle(self, time: float) -> float:
        return float(self.turn.at(time))


@dataclass(frozen=True)
class Glide:
    """The straight, uniform motion of a foreground object."""

    time: float
    start: tuple[float, float]
    flow: tuple[float, float]
    heading: float

    def position(self, time: Any) -> Array:
        return np.array([start + flow * (time - self.time) for start, flow in zip(self.start, self.flow, strict=True)])

    def velocity(self, time: float) -> tuple[float, float]:
        return self.flow

    def size(self, time: float) -> float:
        return 1.0

    def angle(self, time: float) -> float:
        return self.heading


Course = SpriteMotion | Glide
