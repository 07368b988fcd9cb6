# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Describes the networks as far as tracking needs it without torch: names, grids, boxes and shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ..arrays import Array, is_tensor, joined

NANO = "snscf_nano"
MODELS = (NANO, "snscf_r50")  # the default first
LEVELS = (0, 1, 2)  # conv3, conv4, conv5
# of the backbone at each level
TAP_CHANNELS: dict[str, tuple[int, int, int]] = {NANO: (32, 64, 112), "snscf_r50": (512, 1024, 2048)}

STRIDE = 8  # crop pixels per cell
TAP_STRIDES: dict[str, tuple[int, int, int]] = {NANO: (STRIDE, 2 * STRIDE, 2 * STRIDE), "snscf_r50": (STRIDE,) * 3}
FIRST_CELL = 7  # index of the crop pixel at the centre of cell 0
RATIOS = (1 / 3, 1 / 2, 1.0, 2.0, 3.0)  # height / width of the anchors of a cell
ANCHOR_AREA = 64.0**2  # crop pixels: the size of a square target in a template crop
TEMPLATE_CELLS = 7  # a template's features are cropped to this many cells around the middle
MARGIN = 6  # cells a side by which search features exceed the proposals made from them
NANO_FILTER_CHANNELS = 32
_LARGEST_STEP = 4.0  # of a proposal's logarithmic size


def cells(side: int) -> int:
    """Returns the cells a side of a crop's features, from the crop's pixels a side."""
    return (side - FIRST_CELL) // STRIDE


def anchors(places: int) -> npt.NDArray[np.float32]:
    """Returns 5 x 4 x places x places anchors (cx, cy, w, h) in crop pixels relative to the middle of the crop."""
    centres = (np.arange(places, dtype=np.float32) - (places - 1) / 2) * STRIDE
    out = np.empty((len(RATIOS), 4, places, places), np.float32)
    out[:, 0] = centres
    out[:, 1] = centres[:, None]
    for index, ratio in enumerate(RATIOS):
        width = math.sqrt(ANCHOR_AREA / ratio)
        out[index, 2] = width
        out[index, 3] = width * ratio
    return out


def cell_boxes(places: int) -> npt.NDArray[np.float32]:
    """Returns 1 x 4 x places x places boxes (cx, cy, w, h) of 64 x 64 crop pixels, one on each cell of stride 16.

    The deltas of light heads are relative to these boxes, as those of other heads are relative to anchors. Unit: crop
    pixels relative to the middle of the crop.
    """
    at = (np.arange(places, dtype=np.float32) - (places - 1) / 2) * (2 * STRIDE)
    out = np.full((1, 4, places, places), ANCHOR_AREA**0.5, np.float32)
    out[:, 0], out[:, 1] = at[None, :], at[:, None]
    return out


def decode(deltas: Array, anchor_boxes: Array) -> Array:
    """Converts N x A x 4 x H x W deltas to boxes (cx, cy, w, h) in crop pixels relative to the middle of the crop."""
    sides: Any = deltas[:, :, 2:]
    grown = sides.clamp(max=_LARGEST_STEP).exp() if is_tensor(deltas) else np.exp(np.minimum(sides, _LARGEST_STEP))
    return joined([deltas[:, :, :2] * anchor_boxes[:, 2:] + anchor_boxes[:, :2], grown * anchor_boxes[:, 2:]], 2)


@dataclass(frozen=True)
class Geometry:
    """The shapes of a network of a name and a width.

    model: one of ``MODELS``.
    channels: width of the reductions and heads.
    """

    model: str
    channels: int

    @property
    def light(self) -> bool:
        """Whether the heads are light: one box on each cell of stride 16."""
        return self.model == NANO

    @property
    def filter_channels(self) -> int:
        """Channels per level of the features that the correlation filters work on, with trained heads."""
        return NANO_FILTER_CHANNELS if self.light else self.channels

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Shape of the heads' correlation kernels of one target."""
        if self.light:
            return len(LEVELS), TEMPLATE_CELLS**2, self.channels
        return len(LEVELS), 2 * self.channels, TEMPLATE_CELLS - 2, TEMPLATE_CELLS - 2

    def places(self, search_size: int) -> int:
        """Returns how many cells a side have proposals in a search crop of ``search_size`` pixels."""
        return (cells(search_size) - 1) // 2 if self.light else cells(search_size) - MARGIN

    def anchors_on(self, places: int) -> npt.NDArray[np.float32]:
        """Returns the boxes that proposals on places x places cells are relative to, A x 4 x places x places."""
        return cell_boxes(places) if self.light else anchors(places)

    @property
    def proposals_per_cell(self) -> int:
        """How many boxes each cell proposes."""
        return 1 if self.light else len(RATIOS)


def flat_boxes(deltas: Array, anchor_boxes: Array) -> npt.NDArray[np.float32]:
    """Decodes N x A x 4 x H x W deltas to N x 4 x M boxes, in the order of the flattened scores."""
    boxes: Any = decode(deltas, anchor_boxes)
    count, kinds, _, rows, columns = boxes.shape
    flat = boxes.swapaxes(1, 2).reshape(count, 4, kinds * rows * columns)
    return cast(npt.NDArray[np.float32], flat if isinstance(flat, np.ndarray) else flat.cpu().numpy())
