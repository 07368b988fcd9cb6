# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Small data sets on disk, of pictures whose content is known exactly, and pools of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from snscf_core.data.appearance import AppearanceConfig
from snscf_core.data.pool import ImagePool
from snscf_core.data.readers import Clip

# Switches everything off that changes how things look.
UNCHANGED = AppearanceConfig(light=0, contrast=0, gamma=0, temperature=0, saturation=0, blur=0, noise=0, compression=0)


def texture(seed: int, height: int = 150, width: int = 200, low: int = 40, high: int = 110) -> np.ndarray:
    """Grey blotches between ``low`` and ``high``: H x W x 3 uint8."""
    coarse = np.random.default_rng(seed).uniform(low, high, (8, 10)).astype(np.float32)
    grey = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(low, high)
    return np.repeat(grey[..., None], 3, 2).round().astype(np.uint8)


def saved(folder: Path, name: str, picture: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    cv2.imwrite(str(path), picture)
    return path


def background(folder: Path, name: str, picture: np.ndarray) -> Clip:
    """A picture in which nothing is marked."""
    return Clip(name, "backgrounds", (saved(folder, name, picture),), np.full((1, 4), np.nan), None)


def rectangles(
    folder: Path, name: str, source: str, colour: tuple[int, int, int], boxes: list[tuple[float, float, float, float]]
) -> Clip:
    """Frames with a rectangle of one colour at ``boxes`` (x, y, w, h, whole pixels), nothing where they are NaN."""
    files = []
    for index, box in enumerate(boxes):
        picture = texture(index)
        if np.isfinite(box).all():
            x, y, w, h = (int(v) for v in box)
            picture[y : y + h, x : x + w] = colour
        files.append(saved(folder, f"{name}-{index:03d}", picture))
    return Clip(name, source, tuple(files), np.array(boxes, float), None)


def cut_out(
    folder: Path, name: str, source: str, mask: np.ndarray, pictures: list[np.ndarray], masked: bool = True
) -> Clip:
    """Frames of an object whose ``mask`` (H x W bool) is the same in all."""
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    shape = saved(folder, f"{name}-mask", mask.astype(np.uint8) * 255)
    files = tuple(saved(folder, f"{name}-{index:03d}", picture) for index, picture in enumerate(pictures))
    boxes = np.tile(np.array([[x, y, w, h]], float), (len(pictures), 1))
    return Clip(name, source, files, boxes, tuple([shape] * len(pictures)) if masked else None)


def pool_of(*clips: Clip) -> ImagePool:
    pool, problems = ImagePool.build(clips, device="cpu", progress=False, threads=1)
    assert not problems
    return pool
