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
    """Returns maps N x C x H x H multiplied by matrices N x 2 x G x H: by the first across, by the second down."""
    across, down = cast(Any, views)[:, :1], cast(Any, views)[:, 1:]
    return down @ (maps @ across.swapaxes(2, 3))


def rfft2(array: Array, size: int, views: Array | None = None, out: Array | None = None) -> Array:
    """Returns the spectrum of real maps (N x C x H x W), padded with zeros: N x C x size x (size // 2 + 1), complex64.

    views: N x 2 x G x H, by which the maps are `resampled` first. On arrays this costs next to nothing, because the
        transform is a product of matrices too.
    out: an array for the result; only with arrays.
    """
    if is_tensor(array):
        import torch

        maps = array if views is None else resampled(array, views)
        return torch.fft.rfft2(cast(Any, maps), s=(size, size))
    maps, half = cast(Any, array), size // 2 + 1
    count, channels = maps.shape[:2]
    spectrum: Any = np.empty((count, channels, size, half), np.complex64) if out is None else out
    first, second, waves = _transforms(*(maps.shape[-2:] if views is None else views.shape[-2:-1] * 2), size)
    # Products of small matrices take a tenth of the time of NumPy's transform. For large ones, its library would start
    # threads that disturb those of the engine.
    for index, some in enumerate(maps):
        down, across = first, second
        if views is not None:
            down, across = first @ cast(Any, views)[index, 1], cast(Any, views)[index, 0].T @ second
        both = (down @ some).reshape(channels, half, 2 * maps.shape[-1]) @ across.reshape(-1, 4 * half)
        both.view(np.complex64).reshape(channels, 2 * half, half).take(waves, 1, spectrum[index], "clip")
    return cast("npt.NDArray[Any]", spectrum)


@cache
def _transforms(rows: int, columns: int, size: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Returns the matrices of the discrete Fourier transform of maps of rows x columns, and the order of the result.

    The first transforms columns: 2 H x rows, for each of the H = size // 2 + 1 waves its cosine and its sine. The
    second transforms rows: 2 x columns x 4 H, from cosines and sines of the columns to H complex numbers for the wave
    itself, and H for its conjugate, which is wave ``size`` - k. The order sorts the waves and their conjugates from 0
    to ``size`` - 1.
    """
    places, half = np.arange(size), size // 2 + 1
    angles = 2 * np.pi / size * (places[:, None] * places[:half] % size)
    cosine, sine = np.cos(angles), np.sin(angles)
    first = np.stack([cosine[:rows].T, sine[:rows].T], 1).reshape(2 * half, rows)
    cosine, sine = cosine[:columns], sine[:columns]
    # Real and imaginary parts of (cos - i sin) and (cos + i sin) of the columns times (cos - i sin) of the rows.
    itself, conjugate = ((cosine, -sine), (-sine, -cosine)), ((cosine, -sine), (sine, cosine))
    second = np.array([itself, conjugate]).transpose(1, 3, 0, 4, 2).reshape(2, columns, 4 * half)
    order = np.array([*range(0, 2 * half, 2), *range(2 * (size - half) + 1, 2, -2)])
    return first.astype(np.float32), second.astype(np.float32), order


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
