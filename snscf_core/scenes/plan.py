# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Plans where the objects of a scene move, from its seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .motions import Detour, Glide, SpriteMotion, Wave
from .photographs import fill, photograph, tinted
from .sprites import Sprite

Array = npt.NDArray[Any]

_TARGET_WIDTH = 0.19  # width of the target at scale 1, as a share of the frame's shorter side
_DRAWS = 60  # paths or places tried for a look-alike or the foliage


@dataclass(frozen=True)
class ScenePlan:
    """Holds what all parts of a scene share.

    frames: length of the scene.
    size: width and height of a frame in pixels.
    speed: factor on all motions.
    """

    frames: int
    size: tuple[int, int]
    seed: int
    speed: float

    @property
    def short(self) -> int:
        """The frame's shorter side in pixels."""
        return min(self.size)

    @property
    def target_pixels(self) -> float:
        """The target's width at scale 1, in frame pixels."""
        return _TARGET_WIDTH * self.short

    def random(self, part: int) -> np.random.Generator:
        # Each part has its own random stream, so that the number of look-alikes does not change the target's path.
        return np.random.default_rng([self.seed, part])


@dataclass(frozen=True)
class Moving:
    """Pairs an object's picture with its motion."""

    sprite: Sprite
    motion: SpriteMotion


def _wander(plan: ScenePlan, rng: np.random.Generator, margin: float, centred: bool = False) -> tuple[Wave, Wave]:
    waves = []
    for side, period in zip(plan.size, (250.0, 180.0), strict=True):
        reach = max(side / 2 - margin, 0.1 * side)
        phase = rng.uniform(-0.5, 0.5) + rng.choice((0, math.pi)) if centred else rng.uniform(0, 2 * math.pi)
        waves.append(Wave(side / 2, reach, period * rng.uniform(0.85, 1.15) / plan.speed, phase))
    return waves[0], waves[1]


def plan_target(plan: ScenePlan, width: float, exits: int) -> SpriteMotion:
    """Plans the target's motion. width: of the target, in pixels of its photograph. exits: see `Scene`."""
    rng = plan.random(0)
    unit = plan.target_pixels / width
    x, y = _wander(plan, rng, 0.85 * plan.target_pixels, centred=True)
    scale = Wave(0.01, 0.52, 190 / plan.speed, rng.uniform(-0.4, 0.4) + rng.choice((0, math.pi)))
    turn = Wave(0.0, math.radians(35), 140 / plan.speed, rng.uniform(0, 2 * math.pi))
    motion = SpriteMotion(x, y, unit, scale, turn)
    detours = []
    for number in range(exits):
        time = plan.frames * (number + 0.5) / exits * 0.9 + 0.08 * plan.frames
        x_at, y_at = motion.position(time)
        frame_width, frame_height = plan.size
        out = 2.0 * plan.target_pixels
        ways = (
            (-x_at - out, 0.0),
            (frame_width - x_at + out, 0.0),
            (0.0, -y_at - out),
            (0.0, frame_height - y_at + out),
        )
        detours.append(Detour(time, 5 / plan.speed, 20 / plan.speed, min(ways, key=lambda way: math.hypot(*way))))
    return SpriteMotion(x, y, unit, scale, turn, tuple(detours))


def plan_look_alike(
    plan: ScenePlan, width: float, number: int, count: int, others: Sequence[SpriteMotion]
) -> SpriteMotion:
    """Draws several paths that pass beside the target once; returns the path that crosses the others least."""
    rng = plan.random(10 + number)
    unit = plan.target_pixels / width
    times = np.linspace(0, plan.frames - 1, 81)
    meeting = plan.frames * (0.12 + 0.86 * (number + 0.5) / count)
    target = others[0]
    best, least = None, math.inf
    for _ in range(_DRAWS):
        x, y = _wander(plan, rng, 0.2 * plan.target_pixels)
        scale = Wave(-0.05, 0.3, 210 / plan.speed, rng.uniform(0, 2 * math.pi))
        turn = Wave(rng.uniform(-0.4, 0.4), 0.6, 200 / plan.speed, rng.uniform(0, 2 * math.pi))
        free = SpriteMotion(x, y, unit, scale, turn)
        angle = rng.uniform(0, 2 * math.pi)
        apart = 0.52 * width * (target.size(meeting) + free.size(meeting))
        here, there = free.position(meeting), target.position(meeting)
        offset = (there[0] + apart * math.cos(angle) - here[0], there[1] + apart * math.sin(angle) - here[1])
        motion = SpriteMotion(x, y, unit, scale, turn, (Detour(meeting, 2.0, 45 / plan.speed, offset),))
        overlap = 0.0
        for weight, other in zip([4.0] + [1.0] * (len(others) - 1), others, strict=True):
            gap = np.hypot(*(np.array(motion.position(times)) - np.array(other.position(times))))
            radii = 0.5 * width * (motion.size(times) + other.size(times))
            overlap += weight * float(np.maximum(1 - gap / radii, 0).sum())
        overlap += 0.002 * math.hypot(*offset) / plan.target_pixels
        if overlap < least:
            best, least = motion, overlap
    assert best is not None
    return best


def plan_foliage(plan: ScenePlan, target: Moving, pan: Sequence[Wave]) -> tuple[Sprite, SpriteMotion]:
    """Places a bush where it covers half of the target once and, if possible, never again."""
    rng = plan.random(5)
    motion, width = target.motion, target.sprite.width
    times = np.arange(0, plan.frames, 2.0)
    places = []
    for _ in range(_DRAWS):
        time = float(round(plan.frames * rng.uniform(0.3, 0.46)))
        size = 0.5 * width * float(motion.size(time))
        radius = size * rng.uniform(1.2, 1.7)
        vx, vy = motion.velocity(time)
        aside = math.atan2(vy, vx) + rng.choice((-1, 1)) * math.pi / 2 + rng.uniform(-0.3, 0.3)
        x, y = motion.position(time)
        centre = (x + radius * math.cos(aside), y + radius * math.sin(aside))
        bush = _on_ground(centre, time, pan)
        gap = np.hypot(*(np.array(motion.position(times)) - np.array(bush.position(times))))
        touching = gap < radius + 0.5 * width * motion.size(times)
        elsewhere = touching & (np.abs(times - time) > 30 / plan.speed)
        places.append((int(elsewhere.sum()) + (1000 if touching[0] else 0), radius, bush))
    _, radius, bush = min(places, key=lambda place: place[0])
    angles = np.linspace(0, 2 * math.pi, 240, endpoint=False)
    wobble = np.zeros_like(angles)
    for order in (3, 5, 8, 13, 21):
        wobble += rng.uniform(0.02, 0.06) * np.sin(order * angles + rng.uniform(0, 2 * math.pi))
    side = math.ceil(2.6 * radius)
    outline = side / 2 + radius * (1 + wobble)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    leaves = tinted(photograph("grass.png")[..., 0], ((14, 27, 7), (48, 88, 26), (104, 158, 84)), 0.9)
    return Sprite.cut(fill(leaves, (side, side)), outline), bush


def _on_ground(place: tuple[float, float], time: float, pan: Sequence[Wave]) -> SpriteMotion:
    """Returns the motion in the picture of an object on the ground that is at ``place`` at ``time``."""
    x, y = (
        Wave(here + float(pan.at(time)) - pan.mean, -pan.amplitude, pan.period, pan.phase)
        for here, pan in zip(place, pan, strict=True)
    )
    still = Wave(0.0, 0.0, 1.0, 0.0)
    return SpriteMotion(x, y, 1.0, still, still)


def plan_beam(plan: ScenePlan, target: Moving, hidden_frames: int) -> tuple[Sprite, Glide]:
    """Plans a beam that sweeps over the target, just wide enough to hide it for that many frames."""
    motion = target.motion
    rng = plan.random(6)
    first = round(0.68 * plan.frames - hidden_frames / 2)
    hidden = [float(t) for t in range(first, first + hidden_frames)]
    middle = (hidden[0] + hidden[-1]) / 2
    anchor = motion.position(middle)
    vx, vy = motion.velocity(middle)
    flow = 0.019 * plan.short * plan.speed
    plans = []
    for _ in range(24):
        course = rng.uniform(0, 2 * math.pi)
        normal = np.array([math.cos(course), math.sin(course)])
        glide = Glide(middle, anchor, (vx + flow * normal[0], vy + flow * normal[1]), course)
        reach = max(
            float(np.abs((target.sprite.outline_at(motion, t) - glide.position(t)) @ normal).max()) for t in hidden
        )
        times = np.arange(0, plan.frames, 2.0)
        gap = np.abs((np.array(motion.position(times)) - glide.position(times)).T @ normal)
        radii = 0.5 * target.sprite.width * motion.size(times)
        touched = int((gap < reach + radii).sum()) + (100 if gap[0] < reach + 1.2 * radii[0] else 0)
        plans.append((touched, reach, glide))
    _, reach, glide = min(plans, key=lambda drawn: drawn[0])
    thickness = 2 * (reach + 3)
    length = 2.6 * math.hypot(*plan.size)
    bricks = tinted(photograph("brick.png")[:, 190:350, 0], ((30, 38, 62), (58, 78, 140), (150, 165, 190)), 0.55)
    picture = fill(cv2.rotate(bricks, cv2.ROTATE_90_CLOCKWISE), (math.ceil(thickness) + 4, math.ceil(length)))
    edges = np.array([[2, 0], [2 + thickness, 0], [2 + thickness, length], [2, length]], np.float64)
    return Sprite.cut(picture, edges), glide
