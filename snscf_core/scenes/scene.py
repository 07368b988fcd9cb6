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

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from .ground import lay_ground
from .motions import Course
from .photographs import cup_outline, glazed, photograph
from .plan import Moving, ScenePlan, plan_beam, plan_foliage, plan_look_alike, plan_target
from .polygons import Box, area, tight_box
from .sensor import Sensor
from .sprites import Layer, Sprite, lay

Array = npt.NDArray[Any]

PRESENT_FROM = 0.05  # smallest visible share of the target for which a person would still draw a box

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
        _check(frames, size, look_alikes, full_occlusion, exits, speed, noise)
        self.size = size
        self.seed = seed
        self._plan = plan = ScenePlan(frames, size, seed, speed)
        self._ground = lay_ground(plan)
        self._sensor = Sensor.drawn(plan, noise)
        cup, outline = photograph("coffee.png"), cup_outline()
        sprite = Sprite.cut(cup, outline)
        self._target = Moving(sprite, plan_target(plan, sprite.width, exits))
        self._with_target = target
        self._others = _look_alikes(plan, self._target, look_alikes, cup, outline)
        self._foreground: list[tuple[Sprite, Course]] = []
        if partial_occlusion:
            self._foreground.append(plan_foliage(plan, self._target, self._ground.pan))
        if full_occlusion:
            self._foreground.append(plan_beam(plan, self._target, full_occlusion))

    def __len__(self) -> int:
        return self._plan.frames

    def __iter__(self) -> Iterator[SceneFrame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> SceneFrame:  # type: ignore[override]
        """Renders frame ``index``, from 0. Raises IndexError."""
        time = self._time(index)
        image = self._ground.at(time, self.size)
        near = 0.10 * self._plan.target_pixels
        for other in self._others:
            lay(image, other.sprite.shade(other.motion, time, self.size, near))
            lay(image, other.sprite.show(other.motion, time, self.size))
        target, foreground = self._layers(time)
        if target is not None:
            lay(image, self._target.sprite.shade(self._target.motion, time, self.size, near))
            lay(image, target)
        for (cover, course), layer in zip(self._foreground, foreground, strict=True):
            lay(image, cover.shade(course, time, self.size, 2 * near))
            lay(image, layer)
        return SceneFrame(self._sensor.expose(image, int(time)), *self._truth(time, target, foreground))

    def truth(self, index: int) -> tuple[Box, float]:
        """Returns ``box`` and ``visible`` of frame ``index`` without rendering it."""
        time = self._time(index)
        return self._truth(time, *self._layers(time))

    def outline(self, index: int) -> npt.NDArray[np.float64]:
        """Returns the target's outline in frame ``index``: N x 2 points (x, y) in pixels, hidden ones included."""
        return self._target.sprite.outline_at(self._target.motion, self._time(index))

    def _time(self, index: int) -> float:
        if not -self._plan.frames <= index < self._plan.frames:
            raise IndexError(f"frame {index} of {self._plan.frames}")
        return float(index % self._plan.frames)

    def _layers(self, time: float) -> tuple[Layer | None, list[Layer | None]]:
        target = self._target.sprite.show(self._target.motion, time, self.size) if self._with_target else None
        return target, [sprite.show(motion, time, self.size) for sprite, motion in self._foreground]

    def _truth(self, time: float, target: Layer | None, foreground: list[Layer | None]) -> tuple[Box, float]:
        if target is None:
            return (math.nan, math.nan, math.nan, math.nan), 0.0
        uncovered = target.pixels[..., 3].astype(np.float32)
        for layer in foreground:
            if layer is not None:
                uncovered *= 1 - layer.opacity_on(target)
        outline = self._target.sprite.outline_at(self._target.motion, time)
        return tight_box(outline, self.size), min(float(uncovered.sum()) / 255 / area(outline), 1.0)


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


def _check(
    frames: int,
    size: tuple[int, int],
    look_alikes: int,
    full_occlusion: int,
    exits: int,
    speed: float,
    noise: float,
) -> None:
    """Raises ValueError for arguments of `Scene` out of range."""
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


def _look_alikes(plan: ScenePlan, target: Moving, count: int, cup: Array, outline: Array) -> list[Moving]:
    """Makes cups in other colours, each planned around those before it."""
    made: list[Moving] = []
    for number in range(count):
        hue, saturation, value, mirrored = _GLAZES[number]
        photo, edge = glazed(cup, hue, saturation, value), outline
        if mirrored:
            photo, edge = photo[:, ::-1], np.stack([cup.shape[1] - outline[:, 0], outline[:, 1]], axis=1)
        motions = [target.motion, *(other.motion for other in made)]
        motion = plan_look_alike(plan, target.sprite.width, number, count, motions)
        made.append(Moving(Sprite.cut(photo, edge), motion))
    return made
