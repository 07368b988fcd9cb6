# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Generates a video with exact ground truth from photographs that come inside the scikit-image wheel.

A cup and its saucer, cut out of a photograph, glide over a lawn with a gravel path, seen from above by a camera that
pans slowly. The cup moves, turns and changes size; cups of other colours pass close by; foliage covers a part of it and
a brick beam hides it for a moment; the light drifts; the sensor is noisy and fast motion blurs. Everything follows from
a seed. Any frame can be rendered on its own. The truth is computed from the outline, not from pixels.

The photographs, all read by path from the installed package (nothing is downloaded):

========== =============================== ==================================
file       used for                        terms, as scikit-image states them
========== =============================== ==================================
coffee.png the target and the look-alikes  CC0, Rachel Michetti
grass.png  the lawn and the foliage        CC0, CC0Textures
gravel.png the path                        CC0, CC0Textures
brick.png  the beam                        CC0, CC0Textures
========== =============================== ==================================
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Box = tuple[float, float, float, float]

PRESENT_FROM = 0.05  # smallest visible share of the target for which a person would still draw a box
_EXPOSURE = 0.35  # share of the frame interval during which the shutter is open
_TARGET_WIDTH = 0.19  # width of the target at scale 1, as a share of the frame's shorter side

# The cup's outline in coffee.png: two ellipses (centre, axes, angle) and the spoon's handle.
_SAUCER = ((278.4, 218.8), (332.6, 401.2), 101.4)
_CUP_RIM = ((290.1, 107.1), (179.2, 234.0), 92.9)
_SPOON = [
    (398, 72),
    (402, 68),
    (408, 67),
    (415, 68),
    (421, 71),
    (424, 77),
    (423, 84),
    (420, 95),
    (416, 107),
    (400, 110),
]

# Colours of the look-alikes: shift of the hue (of 180), factors for saturation and brightness, mirrored.
_GLAZES = (
    (108, 0.75, 1.0, True),
    (8, 0.8, 1.1, False),
    (75, 0.55, 0.9, True),
    (17, 0.95, 1.25, True),
    (140, 0.6, 0.95, False),
    (55, 0.6, 0.8, False),
)


class SceneFrame(NamedTuple):
    """One frame and its truth."""

    image: npt.NDArray[np.uint8]
    """H x W x 3, BGR."""
    box: Box
    """Tight (x, y, w, h) of the target's outline inside the frame, covered or not; pixel ``i`` covers ``[i, i + 1)``.
    NaN if the target is wholly outside the frame or left out."""
    visible: float
    """Visible share of the target's area, in [0, 1]."""

    @property
    def present(self) -> bool:
        """Whether the target's visible share is at least `PRESENT_FROM`."""
        return self.visible >= PRESENT_FROM


class Scene(Sequence[SceneFrame]):
    """A sequence of ``frames`` frames of size ``(width, height)``; equal arguments give equal frames on every call.

    look_alikes: number of cups in other colours that pass close to the target, 0 to 6.
    partial_occlusion: whether foliage covers about half of the target once.
    full_occlusion: number of frames in which a beam that sweeps over the picture hides the target; 0: no beam.
    exits: how often the target leaves the frame for about ten frames and comes back.
    speed: factor on all motions; at 1 the target moves by up to about 2 % of the frame's shorter side per frame.
    noise: standard deviation of the sensor's noise in grey levels.
    target: False leaves the target out of the picture and the truth, to count false alarms.

    Raises ValueError for arguments out of range and FileNotFoundError if scikit-image's photographs are not installed.
    """

    def __init__(
        self,
        frames: int = 240,
        size: tuple[int, int] = (640, 480),
        seed: int = 0,
        *,
        look_alikes: int = 4,
        partial_occlusion: bool = True,
        full_occlusion: int = 6,
        exits: int = 0,
        speed: float = 1.0,
        noise: float = 2.5,
        target: bool = True,
    ) -> None:
        if frames < 1:
            raise ValueError(f"a scene needs at least 1 frame, got {frames}")
        if min(size) < 64 or max(size) > 4096:
            raise ValueError(f"frame sides must be from 64 to 4096 pixels, got {size[0]} x {size[1]}")
        if not 0 <= look_alikes <= len(_GLAZES):
            raise ValueError(f"look_alikes must be from 0 to {len(_GLAZES)}, got {look_alikes}")
        if full_occlusion < 0 or exits < 0:
            raise ValueError(f"full_occlusion and exits must not be negative, got {full_occlusion} and {exits}")
        if not speed > 0:
            raise ValueError(f"speed must be positive, got {speed}")
        if not 0 <= noise <= 30:
            raise ValueError(f"noise must be from 0 to 30, got {noise}")
        self.size = size
        self.seed = seed
        self._frames = frames
        self._short = min(size)
        self._speed = speed

        self._ground, self._pan = self._lay_ground()
        cup = _photograph("coffee.png")
        outline = _cup_outline()
        self._target = _Sprite.cut(cup, outline)
        self._with_target = target
        self._target_motion = self._plan_target(exits)
        self._others: list[tuple[_Sprite, _Motion]] = []
        motions = [self._target_motion]
        for number in range(look_alikes):
            hue, saturation, value, mirrored = _GLAZES[number]
            photo, edge = _glazed(cup, hue, saturation, value), outline
            if mirrored:
                photo, edge = photo[:, ::-1], np.stack([cup.shape[1] - outline[:, 0], outline[:, 1]], axis=1)
            motion = self._plan_look_alike(number, look_alikes, motions)
            motions.append(motion)
            self._others.append((_Sprite.cut(photo, edge), motion))

        self._foreground: list[tuple[_Sprite, _Course]] = []
        if partial_occlusion:
            self._foreground.append(self._plan_foliage())
        if full_occlusion:
            self._foreground.append(self._plan_beam(full_occlusion))

        rng = self._random(7)
        self._light = _Wave(1.0, 0.16, 310, rng.uniform(0, 2 * math.pi))
        self._tint = _Wave(0.0, 0.04, 230, rng.uniform(0, 2 * math.pi))
        bank = rng.normal(0, noise, (size[1] + 61, size[0] + 67, 3)) if noise else np.zeros((1, 1, 3))
        self._noise = np.round(bank).astype(np.int16) if noise else None

    def __len__(self) -> int:
        return self._frames

    def __iter__(self) -> Iterator[SceneFrame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> SceneFrame:  # type: ignore[override]
        """Renders frame ``index``, from 0. Raises IndexError."""
        time = self._time(index)
        image = self._ground_at(time)
        near = 0.10 * self._target_pixels
        for sprite, motion in self._others:
            _lay(image, sprite.shade(motion, time, self.size, near))
            _lay(image, sprite.show(motion, time, self.size))
        target, foreground = self._layers(time)
        if target is not None:
            _lay(image, self._target.shade(self._target_motion, time, self.size, near))
            _lay(image, target)
        for (cover, course), layer in zip(self._foreground, foreground, strict=True):
            _lay(image, cover.shade(course, time, self.size, 2 * near))
            _lay(image, layer)
        return SceneFrame(self._expose(image, int(time)), *self._truth(time, target, foreground))

    def truth(self, index: int) -> tuple[Box, float]:
        """Returns ``box`` and ``visible`` of frame ``index`` without rendering it."""
        time = self._time(index)
        return self._truth(time, *self._layers(time))

    def outline(self, index: int) -> npt.NDArray[np.float64]:
        """Returns the target's outline in frame ``index``: N x 2 points (x, y) in pixels, hidden ones included."""
        return self._target.outline_at(self._target_motion, self._time(index))

    def _time(self, index: int) -> float:
        if not -self._frames <= index < self._frames:
            raise IndexError(f"frame {index} of {self._frames}")
        return float(index % self._frames)

    def _layers(self, time: float) -> tuple[_Layer | None, list[_Layer | None]]:
        target = self._target.show(self._target_motion, time, self.size) if self._with_target else None
        return target, [sprite.show(motion, time, self.size) for sprite, motion in self._foreground]

    def _truth(self, time: float, target: _Layer | None, foreground: list[_Layer | None]) -> tuple[Box, float]:
        if target is None:
            return (math.nan, math.nan, math.nan, math.nan), 0.0
        uncovered = target.pixels[..., 3].astype(np.float32)
        for layer in foreground:
            if layer is not None:
                uncovered *= 1 - layer.opacity_on(target)
        outline = self._target.outline_at(self._target_motion, time)
        return _tight_box(outline, self.size), min(float(uncovered.sum()) / 255 / _area(outline), 1.0)

    # -- motion ----------------------------------------------------------------------------------------------------

    @property
    def _target_pixels(self) -> float:
        return _TARGET_WIDTH * self._short

    def _random(self, part: int) -> np.random.Generator:
        # Each part has its own random stream, so that the number of look-alikes does not change the target's path.
        return np.random.default_rng([self.seed, part])

    def _wander(self, rng: np.random.Generator, margin: float, centred: bool = False) -> tuple[_Wave, _Wave]:
        waves = []
        for side, period in zip(self.size, (250.0, 180.0), strict=True):
            reach = max(side / 2 - margin, 0.1 * side)
            phase = rng.uniform(-0.5, 0.5) + rng.choice((0, math.pi)) if centred else rng.uniform(0, 2 * math.pi)
            waves.append(_Wave(side / 2, reach, period * rng.uniform(0.85, 1.15) / self._speed, phase))
        return waves[0], waves[1]

    def _plan_target(self, exits: int) -> _Motion:
        rng = self._random(0)
        unit = self._target_pixels / self._target.width
        x, y = self._wander(rng, 0.85 * self._target_pixels, centred=True)
        scale = _Wave(0.01, 0.52, 190 / self._speed, rng.uniform(-0.4, 0.4) + rng.choice((0, math.pi)))
        turn = _Wave(0.0, math.radians(35), 140 / self._speed, rng.uniform(0, 2 * math.pi))
        motion = _Motion(x, y, unit, scale, turn)
        detours = []
        for number in range(exits):
            time = self._frames * (number + 0.5) / exits * 0.9 + 0.08 * self._frames
            x_at, y_at = motion.position(time)
            width, height = self.size
            out = 2.0 * self._target_pixels
            ways = ((-x_at - out, 0.0), (width - x_at + out, 0.0), (0.0, -y_at - out), (0.0, height - y_at + out))
            detours.append(
                _Detour(time, 5 / self._speed, 20 / self._speed, min(ways, key=lambda way: math.hypot(*way)))
            )
        return _Motion(x, y, unit, scale, turn, tuple(detours))

    def _plan_look_alike(self, number: int, count: int, others: list[_Motion]) -> _Motion:
        """Draws several paths that pass beside the target once; returns the path that crosses the others least."""
        rng = self._random(10 + number)
        unit = self._target_pixels / self._target.width
        times = np.linspace(0, self._frames - 1, 81)
        meeting = self._frames * (0.12 + 0.86 * (number + 0.5) / count)
        target = others[0]
        best, least = None, math.inf
        for _ in range(60):
            x, y = self._wander(rng, 0.2 * self._target_pixels)
            scale = _Wave(-0.05, 0.3, 210 / self._speed, rng.uniform(0, 2 * math.pi))
            turn = _Wave(rng.uniform(-0.4, 0.4), 0.6, 200 / self._speed, rng.uniform(0, 2 * math.pi))
            free = _Motion(x, y, unit, scale, turn)
            angle = rng.uniform(0, 2 * math.pi)
            apart = 0.52 * self._target.width * (target.size(meeting) + free.size(meeting))
            here, there = free.position(meeting), target.position(meeting)
            offset = (there[0] + apart * math.cos(angle) - here[0], there[1] + apart * math.sin(angle) - here[1])
            motion = _Motion(x, y, unit, scale, turn, (_Detour(meeting, 2.0, 45 / self._speed, offset),))
            overlap = 0.0
            for weight, other in zip([4.0] + [1.0] * (len(others) - 1), others, strict=True):
                gap = np.hypot(*(np.array(motion.position(times)) - np.array(other.position(times))))
                radii = 0.5 * self._target.width * (motion.size(times) + other.size(times))
                overlap += weight * float(np.maximum(1 - gap / radii, 0).sum())
            overlap += 0.002 * math.hypot(*offset) / self._target_pixels
            if overlap < least:
                best, least = motion, overlap
        assert best is not None
        return best

    def _plan_foliage(self) -> tuple[_Sprite, _Motion]:
        """Places a bush where it covers half of the target once and, if possible, never again."""
        rng = self._random(5)
        target = self._target_motion
        times = np.arange(0, self._frames, 2.0)
        places = []
        for _ in range(60):
            time = float(round(self._frames * rng.uniform(0.3, 0.46)))
            size = 0.5 * self._target.width * float(target.size(time))
            radius = size * rng.uniform(1.2, 1.7)
            vx, vy = target.velocity(time)
            aside = math.atan2(vy, vx) + rng.choice((-1, 1)) * math.pi / 2 + rng.uniform(-0.3, 0.3)
            x, y = target.position(time)
            centre = (x + radius * math.cos(aside), y + radius * math.sin(aside))
            bush = self._on_ground(centre, time)
            gap = np.hypot(*(np.array(target.position(times)) - np.array(bush.position(times))))
            touching = gap < radius + 0.5 * self._target.width * target.size(times)
            elsewhere = touching & (np.abs(times - time) > 30 / self._speed)
            places.append((int(elsewhere.sum()) + (1000 if touching[0] else 0), radius, bush))
        _, radius, bush = min(places, key=lambda place: place[0])
        angles = np.linspace(0, 2 * math.pi, 240, endpoint=False)
        wobble = np.zeros_like(angles)
        for order in (3, 5, 8, 13, 21):
            wobble += rng.uniform(0.02, 0.06) * np.sin(order * angles + rng.uniform(0, 2 * math.pi))
        side = math.ceil(2.6 * radius)
        outline = side / 2 + radius * (1 + wobble)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        leaves = _tinted(_photograph("grass.png")[..., 0], ((14, 27, 7), (48, 88, 26), (104, 158, 84)), 0.9)
        return _Sprite.cut(_fill(leaves, (side, side)), outline), bush

    def _on_ground(self, place: tuple[float, float], time: float) -> _Motion:
        """Returns the motion in the picture of an object on the ground that is at ``place`` at ``time``."""
        x, y = (
            _Wave(here + float(pan.at(time)) - pan.mean, -pan.amplitude, pan.period, pan.phase)
            for here, pan in zip(place, self._pan, strict=True)
        )
        still = _Wave(0.0, 0.0, 1.0, 0.0)
        return _Motion(x, y, 1.0, still, still)

    def _plan_beam(self, hidden_frames: int) -> tuple[_Sprite, _Glide]:
        """Plans a beam that sweeps over the target, just wide enough to hide it for that many frames."""
        rng = self._random(6)
        first = round(0.68 * self._frames - hidden_frames / 2)
        hidden = [float(t) for t in range(first, first + hidden_frames)]
        middle = (hidden[0] + hidden[-1]) / 2
        anchor = self._target_motion.position(middle)
        vx, vy = self._target_motion.velocity(middle)
        flow = 0.019 * self._short * self._speed
        plans = []
        for _ in range(24):
            course = rng.uniform(0, 2 * math.pi)
            normal = np.array([math.cos(course), math.sin(course)])
            glide = _Glide(middle, anchor, (vx + flow * normal[0], vy + flow * normal[1]), course)
            reach = max(
                float(np.abs((self._target.outline_at(self._target_motion, t) - glide.position(t)) @ normal).max())
                for t in hidden
            )
            times = np.arange(0, self._frames, 2.0)
            gap = np.abs((np.array(self._target_motion.position(times)) - glide.position(times)).T @ normal)
            radii = 0.5 * self._target.width * self._target_motion.size(times)
            touched = int((gap < reach + radii).sum()) + (100 if gap[0] < reach + 1.2 * radii[0] else 0)
            plans.append((touched, reach, glide))
        _, reach, glide = min(plans, key=lambda plan: plan[0])
        thickness = 2 * (reach + 3)
        length = 2.6 * math.hypot(*self.size)
        bricks = _tinted(_photograph("brick.png")[:, 190:350, 0], ((30, 38, 62), (58, 78, 140), (150, 165, 190)), 0.55)
        picture = _fill(cv2.rotate(bricks, cv2.ROTATE_90_CLOCKWISE), (math.ceil(thickness) + 4, math.ceil(length)))
        edges = np.array([[2, 0], [2 + thickness, 0], [2 + thickness, length], [2, length]], np.float64)
        return _Sprite.cut(picture, edges), glide

    # -- the picture -----------------------------------------------------------------------------------------------

    def _lay_ground(self) -> tuple[Array, tuple[_Wave, _Wave]]:
        rng = self._random(4)
        reach = 0.11 * self._short
        width, height = (math.ceil(side + 2 * reach) + 4 for side in self.size)
        lawn = _fill(
            _tinted(_photograph("grass.png")[..., 0], ((18, 42, 22), (52, 112, 72), (120, 190, 160))), (width, height)
        )
        gravel = _photograph("gravel.png")[..., 0]
        path = _fill(_tinted(gravel, ((48, 56, 66), (120, 138, 152), (205, 218, 226)), 0.8), (width, height))
        xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        lean, bend = rng.uniform(-0.5, 0.5), rng.uniform(0, 2 * math.pi)
        along, across = xs / width - 0.5, ys / height - 0.5
        centre = lean * along + 0.16 * np.sin(5.2 * along + bend) + rng.uniform(-0.12, 0.12)
        edge = (np.abs(across - centre) - 0.23) * height
        ragged = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 3) * 40
        share = np.clip(0.5 - (edge + ragged) / 4, 0, 1)[..., None]
        ground = path * share + lawn * (1 - share)
        patches = cv2.resize(
            rng.uniform(0.8, 1.15, (5, 6)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
        )
        waves = [
            _Wave((big - side) / 2, reach, period / self._speed, rng.uniform(0, 2 * math.pi))
            for big, side, period in ((width, self.size[0], 420.0), (height, self.size[1], 330.0))
        ]
        return np.clip(ground * patches[..., None], 0, 255).astype(np.uint8), (waves[0], waves[1])

    def _ground_at(self, time: float) -> Array:
        x, y = (float(wave.at(time)) for wave in self._pan)
        return cv2.warpAffine(self._ground, np.array([[1.0, 0, -x], [0, 1.0, -y]]), self.size, flags=cv2.INTER_LINEAR)

    def _expose(self, image: Array, index: int) -> Array:
        light, tint = float(self._light.at(index)), float(self._tint.at(index))
        gains = np.array([light * (1 - tint), light, light * (1 + tint)])
        table = np.clip(np.round(np.arange(256)[:, None] * gains), 0, 255).astype(np.uint8)
        image = cv2.LUT(image, table[:, None, :])
        if self._noise is None:
            return image
        dy, dx = np.random.default_rng([self.seed, 8, index]).integers(0, (61, 67))
        grain = np.ascontiguousarray(self._noise[dy : dy + self.size[1], dx : dx + self.size[0]])
        return cv2.add(image, grain, dtype=cv2.CV_8U)


def save_sequence(scene: Scene, folder: str | Path, quality: int = 95) -> None:
    """Writes the scene in OTB's layout: ``img/0001.jpg`` on, and ``groundtruth_rect.txt`` with ``x,y,w,h`` per frame.

    The numbers are ``NaN`` where the target is absent. ``quality`` is JPEG's, 0 to 100.
    """
    images = Path(folder) / "img"
    images.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, frame in enumerate(scene, start=1):
        path = images / f"{number:04d}.jpg"
        if not cv2.imwrite(str(path), frame.image, [cv2.IMWRITE_JPEG_QUALITY, quality]):
            raise OSError(f"cannot write {path}")
        rows.append(",".join(f"{value:.3f}" for value in frame.box) if frame.present else "NaN,NaN,NaN,NaN")
    (Path(folder) / "groundtruth_rect.txt").write_text("\n".join(rows) + "\n")


@dataclass(frozen=True)
class _Wave:
    mean: float
    amplitude: float
    period: float
    phase: float

    def at(self, time: Any) -> Any:
        return self.mean + self.amplitude * np.sin(2 * math.pi * time / self.period + self.phase)


@dataclass(frozen=True)
class _Detour:
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
class _Motion:
    """An object's motion: its centre, its scale (frame pixels per pixel of the photograph), and its rotation."""

    x: _Wave
    y: _Wave
    unit: float
    log_scale: _Wave
    turn: _Wave
    detours: tuple[_Detour, ...] = ()

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
class _Glide:
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


_Course = _Motion | _Glide


class _Layer(NamedTuple):
    pixels: Array  # h x w x 4 uint8 BGRA, colours multiplied by opacity
    x: int
    y: int

    def opacity_on(self, other: _Layer) -> Array:
        """Returns this layer's opacity, in [0, 1], at the pixels of the other layer."""
        result = np.zeros(other.pixels.shape[:2], np.float32)
        height, width = other.pixels.shape[:2]
        x0, y0 = max(self.x, other.x), max(self.y, other.y)
        x1 = min(self.x + self.pixels.shape[1], other.x + width)
        y1 = min(self.y + self.pixels.shape[0], other.y + height)
        if x1 > x0 and y1 > y0:
            part = self.pixels[y0 - self.y : y1 - self.y, x0 - self.x : x1 - self.x, 3]
            result[y0 - other.y : y1 - other.y, x0 - other.x : x1 - other.x] = part / np.float32(255)
        return result


@dataclass(frozen=True)
class _Sprite:
    """An object cut out of a photograph along an outline, as an image pyramid."""

    outline: Array  # N x 2, in pixels of the photograph, about the middle of its bounds
    middle: Array
    width: float
    pyramid: tuple[Array, ...]  # BGRA, colours multiplied by opacity
    shadow: Array  # BGRA at the coarsest level, padded by a quarter on each side

    @classmethod
    def cut(cls, photo: Array, outline: Array) -> _Sprite:
        low, high = outline.min(axis=0), outline.max(axis=0)
        margin = 8
        corner = np.floor(low).astype(int) - margin
        extent = (np.ceil((high - corner + margin) / 8) * 8).astype(int)
        shift = np.array([[1.0, 0, -corner[0]], [0, 1.0, -corner[1]]])
        picture = cv2.warpAffine(photo, shift, tuple(int(v) for v in extent), borderMode=cv2.BORDER_REPLICATE)
        fine = np.zeros((extent[1] * 4, extent[0] * 4), np.uint8)
        points = np.round(((outline - corner) * 4 - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(fine, [points], 255, cv2.LINE_8, 4)
        opacity = cv2.resize(fine, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        colours = (picture.astype(np.float32) * (opacity[..., None] / np.float32(255))).round().astype(np.uint8)
        levels = [np.dstack([colours, opacity])]
        while len(levels) < 4:
            levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        coarse = levels[2][..., 3]
        pad = max(coarse.shape) // 4
        soft = cv2.copyMakeBorder(coarse, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
        soft = cv2.GaussianBlur(soft, (0, 0), max(min(coarse.shape) * 0.05, 1.0))
        shadow = np.dstack([np.zeros((*soft.shape, 3), np.uint8), (soft * 0.5).astype(np.uint8)])
        middle = (low + high) / 2
        return cls(outline - middle, middle - corner, float(high[0] - low[0]), tuple(levels), shadow)

    def outline_at(self, motion: _Course, time: float) -> npt.NDArray[np.float64]:
        linear, centre = _pose(motion, time)
        return cast("npt.NDArray[np.float64]", self.outline @ linear.T + centre)

    def show(self, motion: _Course, time: float, frame_size: tuple[int, int]) -> _Layer | None:
        """Renders the object with motion blur; returns None if it is outside the frame."""
        level = int(np.clip(math.floor(math.log2(1 / float(motion.size(time))) + 0.5), 0, len(self.pyramid) - 1))
        blur = math.hypot(*motion.velocity(time)) * _EXPOSURE
        count = int(np.clip(math.ceil(blur), 1, 6))
        times = time + _EXPOSURE * ((np.arange(count) + 0.5) / count - 0.5)
        points = np.concatenate([self.outline_at(motion, float(t)) for t in times])
        region = _region(points, 2, frame_size)
        if region is None:
            return None
        x, y, width, height = region
        total = np.zeros((height, width, 4), np.float32)
        for moment in times:
            matrix = self._matrix(motion, float(moment), 2.0**level, self.middle, (x, y))
            cv2.accumulate(cv2.warpAffine(self.pyramid[level], matrix, (width, height), flags=cv2.INTER_LINEAR), total)
        return _Layer(cv2.convertScaleAbs(total, alpha=1 / count), x, y)

    def shade(self, motion: _Course, time: float, frame_size: tuple[int, int], fall: float) -> _Layer | None:
        """Renders the object's soft shadow, displaced to the lower right by ``fall`` frame pixels."""
        points = self.outline_at(motion, time) + fall
        region = _region(points, math.ceil(0.15 * float(np.ptp(points, axis=0).min())) + 2, frame_size)
        if region is None:
            return None
        x, y, width, height = region
        pad = (self.shadow.shape[1] - self.pyramid[2].shape[1]) / 2
        matrix = self._matrix(motion, time, 4.0, self.middle + 4 * pad, (x - fall, y - fall))
        return _Layer(cv2.warpAffine(self.shadow, matrix, (width, height), flags=cv2.INTER_LINEAR), x, y)

    @staticmethod
    def _matrix(motion: _Course, time: float, step: float, middle: Array, corner: tuple[float, float]) -> Array:
        """Returns the matrix from pixels of a picture, each ``step`` photograph pixels wide, to pixels of a region.

        Coordinates are continuous here but refer to pixel centres in OpenCV, hence the halves.
        """
        linear, centre = _pose(motion, time)
        offset = centre - linear @ middle - np.asarray(corner) + linear @ np.full(2, 0.5 * step) - 0.5
        return np.column_stack([linear * step, offset])


def _pose(motion: _Course, time: float) -> tuple[Array, Array]:
    size, angle = float(motion.size(time)), motion.angle(time)
    linear = size * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return linear, np.array([float(v) for v in motion.position(time)])


def _region(points: Array, margin: int, frame_size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    low = np.maximum(np.floor(points.min(axis=0)).astype(int) - margin, 0)
    high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + margin, frame_size)
    if (high <= low).any():
        return None
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def _lay(image: Array, layer: _Layer | None) -> None:
    if layer is None:
        return
    height, width = layer.pixels.shape[:2]
    part = image[layer.y : layer.y + height, layer.x : layer.x + width]
    through = cv2.cvtColor(255 - layer.pixels[..., 3], cv2.COLOR_GRAY2BGR)
    colours = cv2.cvtColor(layer.pixels, cv2.COLOR_BGRA2BGR)
    part[:] = cv2.add(cv2.multiply(part, through, scale=1 / 255), colours)


def _tight_box(outline: Array, frame_size: tuple[int, int]) -> Box:
    """Returns the bounds (x, y, w, h) of the part of a polygon inside the frame; NaN if no part is inside."""
    points = outline
    for axis, limit, keep in ((0, 0, 1), (0, frame_size[0], -1), (1, 0, 1), (1, frame_size[1], -1)):
        following = np.roll(points, -1, axis=0)
        here, there = keep * (points[:, axis] - limit), keep * (following[:, axis] - limit)
        crossing = (here < 0) != (there < 0)
        share = here[crossing] / (here[crossing] - there[crossing])
        cuts = points[crossing] + share[:, None] * (following[crossing] - points[crossing])
        # The order does not matter for the bounds, but for the crossings of the next side.
        order = np.concatenate([np.flatnonzero(here >= 0), np.flatnonzero(crossing) + 0.5])
        points = np.concatenate([points[here >= 0], cuts])[np.argsort(order, kind="stable")]
        if len(points) == 0:
            return math.nan, math.nan, math.nan, math.nan
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def _area(outline: Array) -> float:
    following = np.roll(outline, -1, axis=0)
    return abs(float((outline[:, 0] * following[:, 1] - outline[:, 1] * following[:, 0]).sum())) / 2


def _photograph(name: str) -> Array:
    """Reads a file of the installed scikit-image as H x W x 3 BGR, without importing scikit-image."""
    package = importlib.util.find_spec("skimage")
    for place in (package.submodule_search_locations or ()) if package else ():
        image = cv2.imread(str(Path(place) / "data" / name), cv2.IMREAD_COLOR)
        if image is not None:
            return image
    raise FileNotFoundError(f"the generated scene needs {name} of scikit-image (pip install scikit-image)")


def _cup_outline() -> Array:
    scale = 8
    mask = np.zeros((400 * scale, 600 * scale), np.uint8)
    for ellipse in (_SAUCER, _CUP_RIM):
        (x, y), axes, angle = ellipse
        turn = np.linspace(0, 2 * math.pi, 720, endpoint=False)
        points = np.stack([axes[0] / 2 * np.cos(turn), axes[1] / 2 * np.sin(turn)], axis=1)
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        points = points @ np.array([[c, s], [-s, c]]) + (x, y)
        cv2.fillPoly(mask, [np.round(points * scale).astype(np.int32)], 1)
    cv2.fillPoly(mask, [np.array(_SPOON, np.int32) * scale], 1)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    longest = max(contours, key=cv2.contourArea)[:, 0]
    return (longest[::4].astype(np.float64) + 0.5) / scale


def _glazed(cup: Array, hue: int, saturation: float, value: float) -> Array:
    """Recolours the red glaze of the cup; porcelain, coffee and steel keep their colours."""
    hsv = cv2.cvtColor(cup, cv2.COLOR_BGR2HSV).astype(np.float32)
    red = ((hsv[..., 0] < 10) | (hsv[..., 0] > 165)) & (hsv[..., 1] > 110)
    share = cv2.GaussianBlur(red.astype(np.float32), (0, 0), 1.5)[..., None]
    hsv[..., 0] = (hsv[..., 0] + hue) % 180
    hsv[..., 1:] *= (saturation, value)
    other = cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2BGR)
    return (other * share + cup * (1 - share)).round().astype(np.uint8)


def _tinted(grey: Array, colours: tuple[tuple[int, int, int], ...], contrast: float = 1.0) -> Array:
    """Colours a grey texture, H x W x 3. ``colours``: BGR of dark, middle and light pixels."""
    levels = np.clip((np.arange(256) / 255 - 0.5) * contrast + 0.5, 0, 1)
    table = np.stack([np.interp(levels, (0.1, 0.5, 0.9), [c[k] for c in colours]) for k in range(3)], axis=1)
    return table.round().astype(np.uint8)[grey]


def _fill(texture: Array, size: tuple[int, int]) -> Array:
    """Enlarges a texture up to 1.6 times, then repeats it mirrored, until it covers (width, height)."""
    factor = min(max(want / have for want, have in zip(size[::-1], texture.shape[:2], strict=True)), 1.6)
    if factor > 1:
        texture = cv2.resize(texture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    down, right = (math.ceil(want / have) for want, have in zip(size[::-1], texture.shape[:2], strict=True))
    row = np.concatenate([texture[:, :: (-1) ** k] for k in range(right)], axis=1)
    return np.concatenate([row[:: (-1) ** k] for k in range(down)], axis=0)[: size[1], : size[0]]
