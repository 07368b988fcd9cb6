# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Adaptive correlation filters (paper sections 3.5 and 3.6, eqs 5-9).

A filter per level solves ridge regression over all circular shifts of a feature map in closed form. Its numerator and
denominator are kept as running averages, so the filter adapts. All functions of tensors here are differentiable, so
the same code trains the features (the gradient flows through the Fourier-domain solution).

Feature maps are N x C x H x W. They are padded with zeros to a size that is fast to transform (``fft_size``). Spectra
are N x C x P x (P // 2 + 1), complex, as from ``rfft2`` of NumPy and torch.

Training computes with tensors. Tracking computes with the functions of a `FilterBank`, which also take NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, groupby, pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from ..arrays import Array, irfft2, is_tensor, joined, rfft2

if TYPE_CHECKING:
    from torch import Tensor


SIDELOBE = 5  # cells from the peak of a map that do not count as its sidelobe


def fft_size(cells: int) -> int:
    """Returns the smallest length >= ``cells`` whose only prime factors are 2 and 3."""
    size = cells
    while True:
        rest = size
        for factor in (2, 3):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 1


def hann_profile(cells: int) -> npt.NDArray[np.float64]:
    """Returns the Hann window along one axis; it reaches zero just outside the map."""
    return np.hanning(cells + 2)[1:-1]


def hann_window(cells: int) -> npt.NDArray[np.float32]:
    """Returns the cells x cells Hann window, the product of two `hann_profile`."""
    profile = hann_profile(cells).astype(np.float32)
    return profile[:, None] * profile[None, :]


def gaussian_label(cells: int, size: int, sigma: Tensor) -> Tensor:
    """Returns eq 6: a Gaussian around the middle cell of a map of ``cells``, periodic with period ``size``.

    ``sigma`` is N x 2 (vertical, horizontal), in cells. The result is N x 1 x size x size.
    """
    import torch

    offset = torch.arange(size, dtype=sigma.dtype, device=sigma.device) - (cells - 1) / 2
    offset = (offset + size / 2) % size - size / 2
    profile = torch.exp(-(offset**2) / (2 * sigma[..., None] ** 2))
    return (profile[:, 0, :, None] * profile[:, 1, None, :])[:, None]


@dataclass(frozen=True)
class CorrelationFilter:
    """Eq 8 kept as a fraction: W = numerator / (denominator + regularisation).

    numerator: N x C x P x (P // 2 + 1), Y * conj(X).
    denominator: N x 1 x P x (P // 2 + 1), sum over channels of |X|^2.
    """

    numerator: Tensor
    denominator: Tensor
    regularisation: float

    def updated(self, new: CorrelationFilter, rate: float) -> CorrelationFilter:
        """Returns the running average of both parts: (1 - rate) * old + rate * new."""
        import torch

        return replace(
            self,
            numerator=torch.lerp(self.numerator, new.numerator, rate),
            denominator=torch.lerp(self.denominator, new.denominator, rate),
        )


def learn(features: Tensor, label: Tensor, regularisation: float) -> CorrelationFilter:
    """Solves eq 7 by eq 8 for one sample.

    features: N x C x H x W, windowed.
    label: N x 1 x P x P with P >= H, W.
    regularisation: lambda, added to the power spectrum summed over the channels. Its unit is therefore the square of
        the features' unit, times H * W.
    """
    import torch

    size = label.shape[-1]
    spectrum = torch.fft.rfft2(features, s=(size, size))
    return CorrelationFilter(
        torch.fft.rfft2(label) * spectrum.conj(),
        (spectrum.real**2 + spectrum.imag**2).sum(1, keepdim=True),
        regularisation,
    )


def respond(filter_: CorrelationFilter, features: Tensor) -> Tensor:
    """Returns eq 9: the filter's response on a windowed feature map N x C x H x W, as N x 1 x H x W.

    The value at a cell measures how well a target centred there fits. On the map that the filter was learned on, the
    response is the label.
    """
    import torch

    size = filter_.numerator.shape[-2]
    spectrum = torch.fft.rfft2(features, s=(size, size))
    product = (filter_.numerator * spectrum).sum(1, keepdim=True) / (filter_.denominator + filter_.regularisation)
    response = torch.fft.irfft2(product, s=(size, size))
    return response[..., : features.shape[-2], : features.shape[-1]]


@dataclass(frozen=True)
class FilterBank:
    """The filters of all levels of N targets: the same fractions as `CorrelationFilter`, computed together.

    numerator: N x C x P x (P // 2 + 1), the channels of all levels side by side.
    denominator: N x L x P x (P // 2 + 1).
    sections: number of channels of each level; they sum to C.
    """

    numerator: Array
    denominator: Array
    sections: tuple[int, ...]
    regularisation: float

    def of(self, targets: slice) -> FilterBank:
        """Returns the filters of some of the targets."""
        return replace(self, numerator=self.numerator[targets], denominator=self.denominator[targets])

    def updated(self, new: FilterBank, rate: float) -> FilterBank:
        """Returns the running average of both parts: (1 - rate) * old + rate * new."""
        return replace(
            self,
            numerator=self.numerator + rate * (new.numerator - self.numerator),
            denominator=self.denominator + rate * (new.denominator - self.denominator),
        )


def learn_bank(
    features: Array,
    gains: Array,
    label: Array,
    sections: tuple[int, ...],
    regularisation: float,
    views: Array | None = None,
    coarse: Sequence[bool] = (),
) -> FilterBank:
    """Learns a filter for each level (eq 8), as `learn` does, from features scaled by a factor per target and level.

    features: N x C x H x W, windowed, or windowed by ``views``.
    gains: N x L, the factors.
    label: N x 1 x P x P, shared by all levels.
    views: N x 2 x H x H, by which the features are resampled first, see `arrays.resampled`.
    coarse: for each level, whether it was resampled from twice the stride (`ssf.spatially_semantic_features`); arrays
        are then transformed from the cells that it had.
    """
    size = label.shape[-1]
    spectrum = _spectra(features, size, views, sections, coarse)
    target = rfft2(label, size) * gains[..., None, None]
    power = _sums(spectrum.real**2 + spectrum.imag**2, sections) * (gains**2)[..., None, None]
    return FilterBank(_times(target, spectrum.conj(), sections), power, sections, regularisation)


def respond_bank(
    bank: FilterBank,
    features: Array,
    gains: Array,
    weights: Array,
    views: Array | None = None,
    coarse: Sequence[bool] = (),
) -> Array:
    """Returns the responses of all levels (eq 9), summed with ``weights`` (L), as N x 1 x H x W.

    features, gains, views, coarse: as in `learn_bank`.
    """
    size = bank.numerator.shape[-2]
    spectrum = _spectra(features, size, views, bank.sections, coarse)
    factors = (weights * gains)[..., None, None] / (bank.denominator + bank.regularisation)
    # The transform is linear, so summing the levels first saves transforms.
    product = (_sums(bank.numerator * spectrum, bank.sections) * factors).sum(1)[:, None]
    return irfft2(product, size)[..., : features.shape[-2], : features.shape[-1]]


def _spectra(
    features: Array, size: int, views: Array | None, sections: tuple[int, ...], coarse: Sequence[bool]
) -> Array:
    """Returns what `arrays.rfft2` does. For coarse levels in arrays, resampling is part of the transform's matrices."""
    if views is None or is_tensor(features) or not any(coarse):
        return rfft2(features, size, views)
    spectrum = np.empty((*features.shape[:2], size, size // 2 + 1), np.complex64)
    between, start = _from_coarse(features.shape[-1]), 0
    for doubled, some in groupby(zip(coarse, sections, strict=True), lambda level: level[0]):
        part = slice(start, start := start + sum(width for _, width in some))
        maps: Any = features[:, part]
        if doubled:
            rfft2(np.ascontiguousarray(maps[..., 1::2, 1::2]), size, cast(Any, views) @ between, spectrum[:, part])
        else:
            rfft2(maps, size, views, spectrum[:, part])
    return spectrum


@cache
def _from_coarse(grid: int) -> npt.NDArray[np.float32]:
    """Returns the grid x (grid - 1) / 2 matrix by which SSF resamples a level of twice the stride along one axis."""
    count = (grid - 1) // 2
    at = ((np.arange(grid) - 1) / 2).clip(0, count - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count))).astype(np.float32)


def levels_of(values: Array, sections: Sequence[int]) -> list[Array]:
    """Splits N x C x ... into the channels of each level."""
    return [values[:, start:end] for start, end in pairwise(accumulate(sections, initial=0))]


def _sums(values: Array, sections: tuple[int, ...]) -> Array:
    """Sums N x C x ... over the channels of each level, to N x L x ..."""
    if len(set(sections)) == 1:
        return cast(Any, values.reshape(len(values), len(sections), sections[0], *values.shape[2:]).sum(2))
    return joined([cast(Any, level.sum(1))[:, None] for level in levels_of(values, sections)], 1)


def _times(factors: Array, values: Array, sections: tuple[int, ...]) -> Array:
    """Multiplies N x C x ... by the factor of each channel's level, N x L x ..."""
    if len(set(sections)) == 1:
        by_level: Any = values.reshape(len(values), len(sections), sections[0], *values.shape[2:])
        return cast(Any, (by_level * factors[:, :, None]).reshape(values.shape))
    parts = enumerate(levels_of(values, sections))
    return joined([level * factors[:, index : index + 1] for index, level in parts], 1)


def peak_to_sidelobe_ratio(responses: Tensor, exclude: int = SIDELOBE) -> Tensor:
    """Returns (peak - mean) / standard deviation for each of N maps, N x H x W (MOSSE, Bolme et al. 2010).

    Mean and deviation are those of the sidelobe: all cells but a square of ``2 exclude + 1`` cells a side around the
    peak. A flat response gives 0.
    """
    import torch

    rows, columns = responses.shape[1:]
    peak, at = responses.flatten(1).max(1)
    row, column = at.div(columns, rounding_mode="floor"), at % columns
    far_down = (torch.arange(rows, device=at.device) - row[:, None]).abs() > exclude
    far_across = (torch.arange(columns, device=at.device) - column[:, None]).abs() > exclude
    sidelobe = far_down[:, :, None] | far_across[:, None, :]
    count = sidelobe.sum((1, 2)).clamp(min=1)
    mean = responses.masked_fill(~sidelobe, 0.0).sum((1, 2)) / count
    variance = (responses - mean[:, None, None]).masked_fill(~sidelobe, 0.0).square().sum((1, 2)) / count
    return torch.where(variance > 1e-12, (peak - mean) * variance.clamp(min=1e-12).rsqrt(), 0.0)
