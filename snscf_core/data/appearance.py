# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Degrades crops in batches, as cameras, light and codecs do, so that an object never looks the same twice.

The template and the search crop of a pair are degraded independently. ``Appearance.draw`` first draws the parameters,
one value per crop. Plain tensor functions then apply them, so that they can be compiled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..crops import GREY
from ..model.rpn import correlate_channels
from .draws import Draws

KERNEL = 15  # cells a side of a blur's kernel

# The quantisation tables of the JPEG standard (ITU-T T.81, annex K), quality 50.
_LUMA = """
16 11 10 16  24  40  51  61   12 12 14 19  26  58  60  55   14 13 16 24  40  57  69  56   14 17 22 29  51  87  80  62
18 22 37 56  68 109 103  77   24 35 55 64  81 104 113  92   49 64 78 87 103 121 120 101   72 92 95 98 112 100 103  99
"""
_CHROMA = (
    "17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99 99 99 99 99" + " 99" * 32
)


@dataclass(frozen=True)
class AppearanceConfig:
    """Sets how far the appearance is changed. Values are drawn uniformly from ranges; shares are of a batch's crops.

    A value of 0 switches that change off.
    """

    light: float = field(default=0.35, metadata={"help": "brightness: a factor 2^±light"})
    contrast: float = field(default=0.35, metadata={"help": "a factor 2^±contrast around the crop's mean"})
    gamma: float = field(default=0.3, metadata={"help": "exponent 2^±gamma"})
    temperature: float = field(
        default=0.12, metadata={"help": "red times 2^±temperature, blue divided by it, green a little"}
    )
    saturation: float = field(default=0.6, metadata={"help": "factor 2^±saturation on the distance from grey"})
    blur: float = field(default=0.25, metadata={"help": "share of the crops that are blurred"})
    defocus: float = field(default=2.0, metadata={"help": "largest radius, crop pixels"})
    motion: float = field(default=11.0, metadata={"help": "longest path of motion during the exposure, crop pixels"})
    noise: float = field(default=0.25, metadata={"help": "share of the crops with sensor noise"})
    noise_sigma: float = field(
        default=12.0, metadata={"help": "largest standard deviation of the noise, of 255 levels"}
    )
    compression: float = field(default=0.3, metadata={"help": "share of the crops that were compressed"})
    quality: tuple[float, float] = field(
        default=(12.0, 60.0), metadata={"help": "range of the compression's quality, as in JPEG encoders"}
    )

    def __post_init__(self) -> None:
        for name in ("blur", "noise", "compression"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share from 0 to 1, got {getattr(self, name)}")
        for name in ("light", "contrast", "gamma", "temperature", "saturation", "defocus", "motion", "noise_sigma"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 1 <= self.quality[0] <= self.quality[1] <= 100:
            raise ValueError(f"quality must be a range within 1 to 100, got {self.quality}")
        if self.motion > KERNEL - 3:
            raise ValueError(f"motion must be at most {KERNEL - 3} pixels, got {self.motion}")


class Degradation(NamedTuple):
    """Holds what happens to the N crops of a batch.

    colour: N x 3 gains of blue, green and red
    contrast, gamma, saturation: N each
    blurred: indices of the B crops that are blurred
    kernels: B x 15 x 15, each of sum 1
    noisy: indices of the M crops that get noise
    sigma: M standard deviations of the noise
    compressed: indices of the J crops that are compressed
    coarseness: J factors on the quantisation tables
    """

    colour: Tensor
    contrast: Tensor
    gamma: Tensor
    saturation: Tensor
    blurred: Tensor
    kernels: Tensor
    noisy: Tensor
    sigma: Tensor
    compressed: Tensor
    coarseness: Tensor


class Appearance:
    """Draws and applies degradations on one device."""

    def __init__(self, config: AppearanceConfig, device: torch.device) -> None:
        self.config = config
        frequency = torch.arange(8, dtype=torch.float64)
        dct = torch.cos((2 * frequency[None] + 1) * frequency[:, None] * math.pi / 16) / 2
        dct[0] /= math.sqrt(2)
        self._dct = dct.float().to(device)
        tables = [[float(number) for number in text.split()] for text in (_LUMA, _CHROMA, _CHROMA)]
        self._tables = torch.tensor(tables, device=device).view(3, 1, 8, 1, 8)
        self._tilt = torch.tensor([-1.0, 0.0, 1.0], device=device)
        self._tint = torch.tensor([-0.5, 1.0, -0.5], device=device)

    def draw(self, draws: Draws, size: int) -> Degradation:
        """Draws independent values for ``size`` crops."""
        c = self.config
        light = draws.uniform(-c.light, c.light, size, 1)
        warmth = draws.uniform(-c.temperature, c.temperature, size, 1)
        tint = draws.uniform(-c.temperature / 3, c.temperature / 3, size, 1)
        blurred = draws.some(size, c.blur)
        # Half of the blurred crops moved during the exposure and half are out of focus. Each has a little of the other
        # too.
        moved = draws.chance(0.5, len(blurred))
        length = draws.uniform(0, 1, len(blurred)) * torch.where(moved, c.motion, c.motion / 8)
        radius = draws.uniform(0.3, 1, len(blurred)) * torch.where(moved, c.defocus / 4, c.defocus)
        noisy = draws.some(size, c.noise)
        compressed = draws.some(size, c.compression)
        quality = draws.uniform(*c.quality, len(compressed))
        return Degradation(
            (light + warmth * self._tilt + tint * self._tint).exp2(),
            draws.uniform(-c.contrast, c.contrast, size).exp2(),
            draws.uniform(-c.gamma, c.gamma, size).exp2(),
            draws.uniform(-c.saturation, c.saturation, size).exp2(),
            blurred,
            blur_kernels(length, draws.uniform(0, math.pi, len(blurred)), radius),
            noisy,
            draws.uniform(0.1, 1, len(noisy)) * c.noise_sigma,
            compressed,
            torch.where(quality < 50, 50 / quality, 2 - quality / 50).clamp(min=0.01),
        )

    def apply(self, crops: Tensor, what: Degradation, noise: Tensor) -> Tensor:
        """Returns the crops after light, lens, sensor and codec, in the same range and shape.

        crops: N x 3 x S x S BGR in [0, 255]
        noise: M x 3 x S x S, standard normal, for the M crops of ``what.noisy``

        The same ``Degradation`` can be applied to crops of several sizes.
        """
        out = _lit(crops, what)
        if len(what.blurred):
            out = out.index_copy(0, what.blurred, blurred(out[what.blurred], what.kernels))
        if len(what.noisy):
            out = out.index_copy(0, what.noisy, out[what.noisy] + noise * what.sigma[:, None, None, None])
        out = out.clamp(0, 255)
        if len(what.compressed):
            out = out.index_copy(0, what.compressed, self._coded(out[what.compressed], what.coarseness))
        return out

    def _coded(self, crops: Tensor, coarseness: Tensor) -> Tensor:
        """Imitates a JPEG encoder: rounds the cosine spectra of blocks of 8 x 8 to coarse steps."""
        n, _, height, width = crops.shape
        rows, columns = -(-height // 8), -(-width // 8)
        padded = F.pad(crops, (0, columns * 8 - width, 0, rows * 8 - height), mode="replicate")
        blue, green, red = padded.unbind(1)
        y = GREY[0] * blue + GREY[1] * green + GREY[2] * red
        planes = torch.stack([y - 128, (blue - y) / 1.772, (red - y) / 1.402], 1)
        blocks = planes.reshape(n, 3, rows, 8, columns, 8)
        spectra = torch.einsum("ui,ncrisj,vj->ncrusv", self._dct, blocks, self._dct)
        steps = (self._tables * coarseness.view(-1, 1, 1, 1, 1, 1)).round().clamp(1, 255)
        spectra = (spectra / steps).round() * steps
        blocks = torch.einsum("ui,ncrusv,vj->ncrisj", self._dct, spectra, self._dct)
        planes = blocks.reshape(padded.shape)[..., :height, :width]
        y = planes[:, 0] + 128
        blue, red = y + 1.772 * planes[:, 1], y + 1.402 * planes[:, 2]
        green = (y - GREY[0] * blue - GREY[2] * red) / GREY[1]
        return torch.stack([blue, green, red], 1).clamp(0, 255)


def luma(crops: Tensor) -> Tensor:
    """Converts N x 3 x H x W BGR to N x 1 x H x W luma."""
    blue, green, red = crops.unbind(1)
    return (GREY[0] * blue + GREY[1] * green + GREY[2] * red)[:, None]


def greyed(crops: Tensor, chosen: Tensor) -> Tensor:
    """Removes the colour of the ``chosen`` (N bool) crops."""
    return torch.where(chosen[:, None, None, None], luma(crops), crops)


def blur_kernels(length: Tensor, angle: Tensor, radius: Tensor) -> Tensor:
    """Returns B x 15 x 15 kernels of sum 1, each a disc of ``radius`` drawn along a path of ``length`` at ``angle``.

    The disc stands for defocus, the path for motion during the exposure. Each argument holds B values, in pixels and
    radians.
    """
    cells = torch.arange(KERNEL, device=length.device, dtype=length.dtype) - KERNEL // 2
    x, y = cells[None, None, :], cells[None, :, None]
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    along = (x * cosine + y * sine).abs() - length[:, None, None] / 2
    distance = torch.hypot(along.clamp(min=0), y * cosine - x * sine)
    kernels = (radius[:, None, None] + 0.5 - distance).clamp(0, 1)
    return kernels / kernels.sum((1, 2), keepdim=True)


def blurred(crops: Tensor, kernels: Tensor) -> Tensor:
    """Filters each of B x 3 x S x S crops by its own of B x 15 x 15 kernels.

    Pixels at the border are repeated outwards.
    """
    margin = KERNEL // 2
    padded = F.pad(crops, (margin, margin, margin, margin), mode="replicate")
    return correlate_channels(padded, kernels[:, None].expand(-1, crops.shape[1], -1, -1))


def _lit(crops: Tensor, what: Degradation) -> Tensor:
    out = (crops * (1 / 255)).clamp(0, 1) ** what.gamma[:, None, None, None]
    out = out * what.colour[:, :, None, None]
    grey = luma(out)
    out = grey + (out - grey) * what.saturation[:, None, None, None]
    mean = out.mean((1, 2, 3), keepdim=True)
    return ((mean + (out - mean) * what.contrast[:, None, None, None]) * 255).clamp(0, 255)
