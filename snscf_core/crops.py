"""Context crops: the square patch around a target that the network sees (SiamFC's protocol, paper section 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

Frame = npt.NDArray[np.uint8]

TEMPLATE_SIZE = 127  # pixels of the exemplar crop
SEARCH_SIZE = 255  # pixels of the search crop that the networks are trained with
MIN_FRAME_SIDE = 16  # pixels; nothing can be tracked in less


def check_frame(frame: Any) -> Frame:
    """The frame, if it is an H x W x 3 uint8 BGR array with at least 16 pixels a side; else ValueError or TypeError."""
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
    """Side in frame pixels of the template crop of a target: sqrt((w + p)(h + p)) with context p = (w + h) / 2."""
    context = (width + height) / 2
    return math.sqrt((width + context) * (height + context))


def crop(frame: Frame, centre: tuple[float, float], side: float, size: int) -> Frame:
    """The square of ``side`` frame pixels around ``centre``, resampled to ``size`` x ``size`` x 3.

    ``centre`` is ``(cx, cy)`` in continuous frame coordinates and may lie outside the frame; what is outside is filled
    with the frame's mean colour. Crop coordinate ``u`` (continuous) shows frame coordinate
    ``cx + (u - size / 2) * side / size``, exactly, at any sub-pixel position. Patches that shrink by two or more are
    averaged over blocks first, so that fine texture does not alias.
    """
    window = _window(frame, centre, side, size)
    fill = _mean_colour(frame) if window.outside else (0.0, 0.0, 0.0)
    if window.empty:
        return np.full((size, size, 3), np.round(fill), np.uint8)
    region: Any = np.ascontiguousarray(frame[window.top : window.bottom, window.left : window.right])
    block = window.block
    if block > 1:
        rows, columns = region.shape[0] // block, region.shape[1] // block
        region = cv2.resize(region[: rows * block, : columns * block], (columns, rows), interpolation=cv2.INTER_AREA)
    scale = side / size / block
    x, y = _first(centre[0] - window.left, scale, block, size), _first(centre[1] - window.top, scale, block, size)
    out: Any = cv2.warpAffine(
        region,
        np.array([[scale, 0, x], [0, scale, y]]),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT if window.outside else cv2.BORDER_REPLICATE,
        borderValue=fill,
    )
    return out


def cut_crops(
    frame: Frame, places: Sequence[tuple[tuple[float, float], float]], size: int, device: torch.device
) -> Tensor:
    """`crop` for N places (centre, side) of a frame: N x size x size x 3 uint8 on the device.

    On a CPU one after the other; on other devices all at once, from one copy of as much of the frame as they show. That
    rounds otherwise, by one level; by more beside older versions of OpenCV, whose weights are in steps of 1 / 32.
    """
    if device.type == "cpu":
        cut = [crop(frame, centre, side, size) for centre, side in places]
        return torch.from_numpy(cut[0][None] if len(cut) == 1 else np.stack(cut))
    return sample_crops(frame, places, size, device)


def sample_crops(
    frame: Frame, places: Sequence[tuple[tuple[float, float], float]], size: int, device: torch.device
) -> Tensor:
    """What `cut_crops` does on devices other than the CPU, on any device."""
    windows = [_window(frame, centre, side, size) for centre, side in places]
    seen = [window for window in windows if not window.empty] or [_Window(0, 0, 1, 1, 1, outside=True)]
    left, top = min(window.left for window in seen), min(window.top for window in seen)
    right, bottom = max(window.right for window in seen), max(window.bottom for window in seen)
    part = torch.from_numpy(np.ascontiguousarray(frame[top:bottom, left:right])).to(device)
    picture, fill = part.permute(2, 0, 1)[None].float(), None
    if any(window.outside for window in windows):
        # What is outside the picture counts as zero.
        fill = torch.tensor(np.round(_mean_colour(frame)), dtype=torch.float32).to(device)
        picture = picture - fill[:, None, None]

    # Crops of the same blocks are sampled together.
    groups: dict[tuple[int, int, int], list[int]] = {}
    for index, one in enumerate(windows):
        key = one.block, (one.left - left) % one.block, (one.top - top) % one.block
        groups.setdefault(key, []).append(index)
    found = []
    for (block, skipped_x, skipped_y), members in groups.items():
        blocks = picture if block == 1 else F.avg_pool2d(picture[..., skipped_y:, skipped_x:], block)
        at = np.empty((2, len(members), size))  # of 2 axes: where the samples are, from -1 to 1 over all blocks
        axes = (left + skipped_x, blocks.shape[3]), (top + skipped_y, blocks.shape[2])
        for axis, (origin, length) in enumerate(axes):
            for row, index in enumerate(members):
                centre, side = places[index]
                scale = side / size / block
                indices = _first(centre[axis] - origin, scale, block, size) + scale * np.arange(size)
                inside = indices if windows[index].outside else indices.clip(0, length - 1)
                at[axis, row] = (2 * inside + 1) / length - 1
        across, down = torch.from_numpy(at).float().to(device)
        grid = torch.stack(torch.broadcast_tensors(across[:, None], down[:, :, None]), 3)
        sampled = F.grid_sample(blocks.expand(len(members), -1, -1, -1), grid, align_corners=False).permute(0, 2, 3, 1)
        found.append((sampled if fill is None else sampled + fill).round().to(torch.uint8).contiguous())
    if len(found) == 1:
        return found[0]
    order = np.argsort([index for members in groups.values() for index in members])
    return torch.cat(found)[torch.from_numpy(order).to(device)]


class _Window(NamedTuple):
    """The part of a frame that a crop shows, with what interpolation needs around it; whole blocks of pixels of it are
    averaged first. outside: the crop shows more than the frame."""

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


def _first(centre: float, scale: float, block: int, size: int) -> float:
    """The index, in blocks, of where the first of ``size`` pixels, ``scale`` blocks apart, is. centre: in pixels."""
    return centre / block + ((0.5 - size / 2) * scale - 0.5)


def _mean_colour(frame: Frame) -> tuple[float, ...]:
    return tuple(cv2.mean(np.ascontiguousarray(frame))[:3])
