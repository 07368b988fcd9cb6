# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Computes alike with NumPy arrays on a CPU and with torch tensors on a GPU.

On a CPU, an engine other than torch needs no tensors, and importing torch is the slowest part of a start. So the steps
of tracking are written once, with the operators that arrays and tensors share and the functions here. This module
imports torch only where it is given tensors or a device of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

    from .devices import Device

# Quoted, so that torch is not needed at run time.
Array: TypeAlias = "npt.NDArray[Any] | Tensor"


def is_tensor(array: Array | None) -> bool:
    """Says whether this is a torch tensor, and not a NumPy array."""
    return array is not None and not isinstance(array, np.ndarray)


def as_array(values: Any, device: Device) -> Array:
    """Returns numbers as float32: an array on the CPU, or a tensor on a device of torch."""
    array = np.asarray(values, np.float32)
    return array if device.uses_arrays else moved(array, device)


def moved(array: npt.NDArray[Any], device: Device) -> Array:
    """Returns the array itself on the CPU, or a tensor with its content on a device of torch."""
    if device.uses_arrays:
        return array
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(device.torch)


def to_numpy(array: Array) -> npt.NDArray[Any]:
    """Returns the content as a NumPy array, without a copy where possible."""
    return array if isinstance(array, np.ndarray) else array.detach().cpu().numpy()


def to_tensor(array: Array) -> Tensor:
    """Returns the content as a torch tensor, without a copy where possible."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)) if isinstance(array, np.ndarray) else array


def joined(parts: Sequence[Array], axis: int = 0) -> Array:
    """Concatenates arrays, or tensors."""
    if len(parts) == 1:
        return parts[0]
    if is_tensor(parts[0]):
        import torch

        return torch.cat(cast(Any, list(parts)), axis)
    return np.concatenate(cast(Any, parts), axis)


def resampled(maps: Array, views: Array) -> Array:
    """Returns maps N x C x G x G multiplied by matrices N x 2 x G x G: by the first across, by the second down."""
    across, down = cast(Any, views)[:, :1], cast(Any, views)[:, 1:]
    return down @ (maps @ across.swapaxes(2, 3))


def rfft2(array: Array, size: int, views: Array | None = None) -> Array:
    """Returns the spectrum of real maps (... x H x W), padded with zeros: ... x size x (size // 2 + 1), complex64.

    views: N x 2 x G x G, with maps of N x C x G x G; the maps are `resampled` by them first. On arrays this costs
        next to nothing, because the transform is a product of matrices too.
    """
    if is_tensor(array):
        import torch

        maps = array if views is None else resampled(array, views)
        return torch.fft.rfft2(cast(Any, maps), s=(size, size))
    maps = cast(Any, array)
    across, down = _transforms(*maps.shape[-2:], size)
    half = size // 2 + 1
    # Products of small matrices take a fifth of the time of NumPy's transform. For large ones, its library would start
    # threads that disturb those of the engine.
    spectrum = np.empty((*maps.shape[:-2], size, half), np.complex64)
    if not maps.size:
        return spectrum
    parts = spectrum.reshape(-1, *spectrum.shape[-3:])
    for index, (some, part) in enumerate(zip(maps.reshape(-1, *maps.shape[-3:]), parts, strict=True)):
        rows, columns = across, down
        if views is not None:
            first, second = cast(Any, views)[index]
            rows, columns = first.T @ across, down @ second
        both = columns @ (some @ rows)  # small enough for the cache
        real, imaginary = both[..., :half, :], both[..., half:, :]
        np.subtract(real[..., :half], imaginary[..., half:], out=part.real[..., :half, :])
        np.add(real[..., half:], imaginary[..., :half], out=part.imag[..., :half, :])
        # The wave of row size - k is the conjugate of that of row k.
        mirrored = slice(size - half, 0, -1)
        real, imaginary = real[..., mirrored, :], imaginary[..., mirrored, :]
        np.add(real[..., :half], imaginary[..., half:], out=part.real[..., half:, :])
        np.subtract(real[..., half:], imaginary[..., :half], out=part.imag[..., half:, :])
    return spectrum


@cache
def _transforms(rows: int, columns: int, size: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Returns the matrices of the discrete Fourier transform, their real and imaginary parts side by side.

    The first transforms rows of ``columns`` values: columns x 2 (size // 2 + 1). The second transforms columns of
    ``rows`` values to the first half of the spectrum: 2 (size // 2 + 1) x rows.
    """
    places, half = np.arange(size), size // 2 + 1
    waves = np.exp(-2j * np.pi / size * (places[:, None] * places % size))
    across, down = waves[:columns, :half], waves[:half, :rows]
    return (
        np.concatenate([across.real, across.imag], 1).astype(np.float32),
        np.concatenate([down.real, down.imag], 0).astype(np.float32),
    )


def irfft2(spectrum: Array, size: int) -> Array:
    """Returns the real maps, ... x size x size float32, of a spectrum as from `rfft2`."""
    if is_tensor(spectrum):
        import torch

        return torch.fft.irfft2(cast(Any, spectrum), s=(size, size))
    return np.fft.irfft2(cast(Any, spectrum), s=(size, size), axes=(-2, -1)).astype(np.float32, copy=False)


def without_gradients(device: Device) -> AbstractContextManager[object]:
    """Returns a context in which tensors on this device keep no record for gradients; arrays never do."""
    if device.uses_arrays:
        return nullcontext()
    import torch

    return torch.inference_mode()
