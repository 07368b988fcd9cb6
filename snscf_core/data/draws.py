# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Draws all random numbers of a batch from one generator on one device, as a function of (seed, step, rank) alone."""

from __future__ import annotations

import torch
from torch import Tensor


class Draws:
    """Draws random tensors on ``device``; ``restart`` determines all that follow.

    No method waits for the device, and shapes never depend on drawn values.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._generator = torch.Generator(device)

    def restart(self, seed: int, stream: int) -> None:
        """Restarts the generator for one stream of one seed. Streams below 2^32 of one seed all differ."""
        # A CPU generator uses only the low 32 bits, so they alone must distinguish the streams of a seed. Adding an
        # offset and mixing are both one-to-one.
        low = _mixed((stream + _mixed(seed & 0xFFFFFFFF)) & 0xFFFFFFFF)
        high = _mixed((seed >> 32) & 0xFFFFFFFF) ^ _mixed(seed & 0xFFFFFFFF)
        self._generator.manual_seed(((high >> 1) << 32) | low)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Draws float32 values, uniform over [low, high)."""
        return torch.rand(shape, generator=self._generator, device=self.device) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """Draws float32 values with mean 0 and standard deviation 1."""
        return torch.randn(shape, generator=self._generator, device=self.device)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Draws bool values, true with the given probability."""
        return torch.rand(shape, generator=self._generator, device=self.device) < probability

    def fraction(self, *shape: int) -> Tensor:
        """Draws float64 values in [0, 1), fine enough to choose among millions."""
        return torch.rand(shape, generator=self._generator, device=self.device, dtype=torch.float64)

    def below(self, count: Tensor) -> Tensor:
        """Draws int64 values, uniform over 0 ... count - 1 (0 where count is 0), in the shape of ``count``."""
        # fraction() * count can round up to count.
        return torch.minimum((self.fraction(*count.shape) * count).long(), (count - 1).clamp(min=0))

    def some(self, size: int, share: float) -> Tensor:
        """Draws round(share * size) different int64 numbers below ``size``.

        Their count is fixed, and so are all shapes.
        """
        order = torch.rand(size, generator=self._generator, device=self.device).argsort()
        return order[: round(share * size)]


def _mixed(value: int) -> int:
    """Mixes 32 bits with MurmurHash3's finaliser: one-to-one, and neighbours end far apart."""
    value ^= value >> 16
    value = value * 0x85EBCA6B & 0xFFFFFFFF
    value ^= value >> 13
    value = value * 0xC2B2AE35 & 0xFFFFFFFF
    return value ^ value >> 16
