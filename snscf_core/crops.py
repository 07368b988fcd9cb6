# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Cuts context crops, the square patches around a target that the network sees (SiamFC's protocol, paper section 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from .arrays import Array
from .devices import Device

if TYPE_CHECKING:
    from torch import Tensor

Frame = npt.NDArray[np.uint8]

TEMPLATE_SIZE = 127  # pixels of the exemplar crop
SEARCH_SIZE = 255  # pixels of the search crop that the networks are trained with
MIN_FRAME_SIDE = 16  # pixels; smaller frames cannot be tracked in
_MOST_BRIGHTENED = 4.0  # most by which a dark crop's levels are multiplied; more would show little but noise
GREY = (0.114, 0.587, 0.299)  # luma of blue, green and red


def check_frame(frame: Any) -> Frame:
    """Checks that a frame is an H x W x 3 uint8 BGR array with at least 16 pixels a side, and returns it.

    Raises TypeError if it is no array, and ValueError for another shape or dtype.
    """
    if not isinstance(frame, np.ndarray):
        raise TypeError(f"a frame is a numpy array of shape (height, width, 3), got {type(frame).__name__}")
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"a frame has shape (height, width, 3), got {frame.shape}")
    if frame.dtype != np.uint8:
        raise ValueError(f"a frame has dtype uint8, got {frame.dtype}")
    height, width = frame.shape[:2]
    if min(height, width) < MIN_FRAME_SIDE:
        raise ValueError(f"a frame has at least {MIN_FRAME_SIDE} pixels a side, got {width} x {height}")
    return frame


def context_side(width: float, height: float) -> float:
    """Returns the side of a target's template crop in frame pixels.

    It is sqrt((w + p)(h + p)) with context p = (w + h) / 2.
    """
    context = (width + height) / 2
    return math.sqrt((width + context) * (height + context))


def crop(frame: Frame, centre: tuple[float, float], side: float, size: int) -> Frame:
    """Cuts the square of ``side`` frame pixels around ``centre`` and resamples it to ``size`` x ``size`` x 3.

    ``centre`` is ``(cx, cy)`` in continuous frame coordinates and may lie outside the frame. Pixels outside the frame
    are filled with its mean colour. Crop coordinate ``u`` (continuous) shows frame coordinate
    ``cx + (u - size / 2) * side / size``, exactly, at any sub-pixel position. Patches that shrink by two or more are
    averaged over blocks first, so that fine texture does not alias.
    """
    window = _window(frame, centre, side, size)
    fill = _mean_colour(frame) if window.outside else (0.0, 0.0, 0.0)
    if window.empty:
        return np.full((size, size, 3), np.round(fill), np.uint8)
    scale, (x, y) = _first(window, centre, side, size)
    out: Any = cv2.warpAffine(
        _blocks(frame, window),
        np.array([[scale, 0, x], [0, scale, y]]),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT if window.outside else cv2.BORDER_REPLICATE,
        borderValue=fill,
    )
    return out


def cut_crops(
    frame: Frame,
    places: Sequence[tuple[tuple[float, float], float]],
    size: int,
    device: Device,
    brightness: float = 0.0,
) -> Array:
    """Cuts crops as `crop` does at N places (centre, side) of a frame: N x size x size x 3 uint8 on the device.

    brightness: mean luma, of 255 levels, to which darker crops are brightened; 0: none.

    A CPU cuts them one after the other. Other devices cut all at once, from one copy of the parts of the frame that
    they show. The two differ by one grey level through rounding, which brightening multiplies. They differ by more with
    older versions of OpenCV, whose interpolation weights come in steps of 1 / 32.
    """
    if device.uses_arrays:
        cut = [_brightened(crop(frame, centre, side, size), brightness) for centre, side in places]
        return cut[0][None] if len(cut) == 1 else np.stack(cut)
    return sample_crops(frame, places, size, device, brightness)


def _brightened(cut: Frame, least: float) -> Frame:
    """Returns a crop whose mean luma is at least ``least`` levels, unless that takes more than 4 times the light."""
    factor = min(least / max(float(np.dot(cv2.mean(cut)[:3], GREY)), 1.0), _MOST_BRIGHTENED)
    return cut if factor <= 1 else np.asarray(cv2.convertScaleAbs(cut, alpha=factor), np.uint8)


def sample_crops(
    frame: Frame,
    places: Sequence[tuple[tuple[float, float], float]],
    size: int,
    device: Device,
    brightness: float = 0.0,
) -> Tensor:
    """Does what `cut_crops` does on devices other than the CPU, but on any device, with tensors of torch."""
    import torch
    from torch.nn import functional as F

    windows = [_window(frame, centre, side, size) for centre, side in places]
    parts = [np.empty((0, 0, 3), np.uint8) if one.empty else _blocks(frame, one) for one in windows]
    fill = np.round(_mean_colour(frame)) if any(one.outside for one in windows) else 0
    # Each part gets a one-pixel border of the fill colour, which grid_sample repeats beyond the picture.
    height, width = (2 + max(part.shape[axis] for part in parts) for axis in (0, 1))
    pinned = device.type == "cuda"
    pictures = torch.empty(len(parts), height, width, 3, dtype=torch.uint8, device="cpu", pin_memory=pinned)
    scales, firsts, limits = np.empty((3, 2, len(parts), 1))
    for index, ((centre, side), window, part) in enumerate(zip(places, windows, parts, strict=True)):
        picture, (rows, columns) = pictures.numpy()[index], part.shape[:2]
        if window.outside:
            picture[:] = fill
        picture[1 : rows + 1, 1 : columns + 1] = part
        scales[:, index], firsts[:, index, 0] = _first(window, centre, side, size)
        limits[:, index, 0] = columns, rows
    edge = np.array([[window.outside] for window in windows])
    indices = (firsts + scales * np.arange(size)).clip(-1.0 * edge, limits - 1 + edge)
    # Across and down, from -1 to 1 over the picture.
    at = torch.empty(2, len(parts), size, dtype=torch.float32, device="cpu", pin_memory=pinned)
    at.numpy()[:] = (2 * indices + 3) / np.array([width, height]).reshape(2, 1, 1) - 1
    across, down = at.to(device.torch, non_blocking=True)
    grid = torch.stack(torch.broadcast_tensors(across[:, None], down[:, :, None]), 3)
    images = pictures.to(device.torch, non_blocking=True).permute(0, 3, 1, 2).float()
    sampled = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    if brightness:
        luma = sum(weight * channel for weight, channel in zip(GREY, sampled.mean((2, 3)).T, strict=True))
        factor = (brightness / luma.clamp(min=1)).clamp(1, _MOST_BRIGHTENED)
        sampled = (sampled * factor[:, None, None, None]).clamp(max=255)
    return sampled.permute(0, 2, 3, 1).round().to(torch.uint8).contiguous()


class _Window(NamedTuple):
    """The part of a frame that a crop shows, with the margin that interpolation needs.

    left, top, right, bottom: in frame pixels.
    block: side in pixels of the blocks that are averaged before interpolation.
    outside: whether the crop reaches beyond the frame.
    """

    left: int
    top: int
    right: int
    bottom: int
    block: int
    outside: bool

    @property
    def empty(self) -> bool:
        return self.right <= self.left or self.bottom <= self.top


def _window(frame: Frame, centre: tuple[float, float], side: float, size: int) -> _Window:
    (x, y), half, scale = centre, side / 2, side / size
    height, width = frame.shape[:2]
    margin = math.ceil(scale) + 1
    left, top = max(0, math.floor(x - half) - margin), max(0, math.floor(y - half) - margin)
    right, bottom = min(width, math.ceil(x + half) + margin), min(height, math.ceil(y + half) + margin)
    outside = x - half < 0 or y - half < 0 or x + half > width or y + half > height
    block = int(scale) if int(scale) <= min(right - left, bottom - top) else 1
    return _Window(left, top, right, bottom, max(1, block), outside)


def _blocks(frame: Frame, window: _Window) -> Frame:
    """Returns the window's pixels, averaged over blocks."""
    region = np.ascontiguousarray(frame[window.top : window.bottom, window.left : window.right])
    if window.block == 1:
        return region
    rows, columns = region.shape[0] // window.block, region.shape[1] // window.block
    whole: Any = region[: rows * window.block, : columns * window.block]
    shrunk: Any = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    return shrunk


def _first(window: _Window, centre: tuple[float, float], side: float, size: int) -> tuple[float, tuple[float, float]]:
    """Returns the distance between neighbouring crop pixels and the position (x, y) of the first, in window blocks."""
    scale = side / size / window.block
    offset = (0.5 - size / 2) * scale - 0.5
    x, y = ((middle - start) / window.block for middle, start in zip(centre, (window.left, window.top), strict=True))
    return scale, (x + offset, y + offset)


def _mean_colour(frame: Frame) -> tuple[float, ...]:
    return tuple(cv2.mean(np.ascontiguousarray(frame))[:3])
