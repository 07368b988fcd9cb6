# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the filters learn from a frame: eq 8 on the target as found, and its running average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..crops import TEMPLATE_SIZE, context_side
from ..model import acf
from ..model.backbones import STRIDE
from .config import TrackerConfig
from .motion import Point


class Learned(NamedTuple):
    """numerator and denominator as in ``FilterBank``."""

    numerator: Tensor
    denominator: Tensor


class Learning:
    """Learns from search features that are resampled to be centred on the target, instead of a second pass through the
    network. The step itself is tensors only, so that a GPU can record and replay it.

    Besides the Hann window, learning sees the features through a Gaussian window of the target's shape: a filter that
    learns all of the search region follows a still background as soon as the target moves before it.

    sections: channels of each level of the features.
    """

    def __init__(self, config: TrackerConfig, sections: tuple[int, ...], device: torch.device) -> None:
        self.config, self.sections, self.device = config, sections, device
        self._rate = 1 - (1 - config.learning_rate) ** config.learning_interval
        self._profile = np.hanning(config.grid + 2)[1:-1]  # Hann's window along one axis

    def views(self, sizes: Sequence[Point], zooms: Sequence[float], shifts: Sequence[Point]) -> tuple[Tensor, Tensor]:
        """How the maps of N targets are to be seen, N x 2 x G x G, and the labels (eq 6), N x 1 x P x P.

        sizes: of the targets, frame pixels. zooms, shifts: to where the maps of features are resampled, see
        `resampling`.
        """
        config, grid = self.config, self.config.grid
        period = acf.fft_size(grid)
        places = np.arange(period) - (grid - 1) / 2
        periodic = (places + period / 2) % period - period / 2
        views = np.empty((len(sizes), 2, grid, grid), np.float32)
        labels = np.empty((len(sizes), 1, period, period), np.float32)
        for index, (size, zoom, shift) in enumerate(zip(sizes, zooms, shifts, strict=True)):
            # Both windows are products of one along each axis, so they go into what resamples along that axis.
            scale = TEMPLATE_SIZE / (STRIDE * context_side(*size))  # cells in a pixel of the frame
            for axis in range(2):
                gaussian = np.exp(-0.5 * (places[:grid] / (config.learning_window * size[axis] * scale)) ** 2)
                views[index, axis] = resampling(grid, zoom, shift[axis]) * (gaussian * self._profile)[:, None]
            profile = np.exp(-0.5 * (periodic / (config.label_sigma * math.sqrt(size[0] * size[1]) * scale)) ** 2)
            labels[index, 0] = profile[:, None] * profile
        return torch.from_numpy(views).to(self.device), torch.from_numpy(labels).to(self.device)

    def __call__(
        self,
        features: Tensor,
        gains: Tensor,
        views: Tensor,
        labels: Tensor,
        numerator: Tensor | None = None,
        denominator: Tensor | None = None,
    ) -> Learned:
        """The filters of N targets; where numerator and denominator are given, these moved towards the new ones.

        features: N x D x G x G, those that were searched. gains: N x L. views, labels: see `views`.
        """
        across, down = views.unbind(1)
        along = (features.flatten(1, 2) @ across.mT).view_as(features)
        new = acf.learn_bank(down[:, None] @ along, gains, labels, self.sections, self.config.ridge)
        if numerator is not None and denominator is not None:
            old = acf.FilterBank(numerator, denominator, self.sections, self.config.ridge)
            new = old.updated(new, self._rate)
        return Learned(new.numerator, new.denominator)


def resampling(grid: int, zoom: float, shift: float) -> npt.NDArray[np.float64]:
    """The matrix that takes ``grid`` values along one axis to what they would be if the crop's side had been ``zoom``
    times as long and its centre moved by ``shift`` cells, by linear interpolation, at the ends the last ones."""
    middle = (grid - 1) / 2
    at = ((np.arange(grid) - middle) * zoom + shift + middle).clip(0, grid - 1)
    return np.maximum(0.0, 1 - np.abs(at[:, None] - np.arange(grid)))
