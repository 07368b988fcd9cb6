# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Random numbers for a batch: all from one generator on one device, a function of (seed, step, rank) alone."""

from __future__ import annotations

import torch
from torch import Tensor


class Draws:
    """Random tensors on ``device``; ``restart`` decides all that follow.

    Nothing here waits for the device, and shapes never depend on what was drawn.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._generator = torch.Generator(device)

    def restart(self, seed: int, stream: int) -> None:
        """Continues with the numbers of one stream of one seed. Streams below 2^32 of one seed all differ."""
        # A CPU generator takes only the low 32 bits, so these alone must already tell the streams of a seed apart:
        # adding an offset and mixing are both one-to-one.
        low = _mixed((stream + _mixed(seed & 0xFFFFFFFF)) & 0xFFFFFFFF)
        high = _mixed((seed >> 32) & 0xFFFFFFFF) ^ _mixed(seed & 0xFFFFFFFF)
        self._generator.manual_seed(((high >> 1) << 32) | low)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Float32, evenly spread over [low, high)."""
        return torch.rand(shape, generator=self._generator, device=self.device) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """Float32 with mean 0 and standard deviation 1."""
        return torch.randn(shape, generator=self._generator, device=self.device)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Bool, true with the given probability."""
        return torch.rand(shape, generator=self._generator, device=self.device) < probability

    def fraction(self, *shape: int) -> Tensor:
        """Float64 in [0, 1), fine enough to choose among millions."""
        return torch.rand(shape, generator=self._generator, device=self.device, dtype=torch.float64)

    def below(self, count: Tensor) -> Tensor:
        """Int64 of the shape of ``count``: evenly one of 0 ... count - 1 (0 where count is 0)."""
        # fraction() * count can round up to count.
        return torch.minimum((self.fraction(*count.shape) * count).long(), (count - 1).clamp(min=0))

    def some(self, size: int, share: float) -> Tensor:
        """Int64: round(share * size) different numbers below ``size``. How many is fixed, so shapes are."""
        order = torch.rand(size, generator=self._generator, device=self.device).argsort()
        return order[: round(share * size)]


def _mixed(value: int) -> int:
    """MurmurHash3's finaliser: one-to-one on 32 bits, and neighbours end far apart."""
    value ^= value >> 16
    value = value * 0x85EBCA6B & 0xFFFFFFFF
    value ^= value >> 13
    value = value * 0xC2B2AE35 & 0xFFFFFFFF
    return value ^ value >> 16
