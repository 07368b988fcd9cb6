# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Joins the filters and kernels of several targets into one tensor each, without copies where possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..arrays import Array, joined
from ..engines import Engine
from ..model import acf
from .target import Target


def joined_filters(targets: Sequence[Target]) -> acf.FilterBank:
    """Returns the filters of N targets in one bank; the targets then hold parts of it."""
    filters = [target.filters for target in targets]
    bank = replace(
        filters[0],
        numerator=stacked([one.numerator for one in filters]),
        denominator=stacked([one.denominator for one in filters]),
    )
    # A target that is searched for in several regions is in the list several times, and needs a copy for each.
    if len({id(target) for target in targets}) == len(targets):
        share_filters(bank, targets)
    return bank


def share_filters(bank: acf.FilterBank, targets: Sequence[Target]) -> None:
    """Gives each target its part of the bank, so that the next use of the same targets needs no copy."""
    for index, target in enumerate(targets):
        one = slice(index, index + 1)
        target.filters = replace(bank, numerator=bank.numerator[one], denominator=bank.denominator[one])


def joined_kernels(targets: Sequence[Target], runtime: Engine) -> Array:
    """Returns the kernels of N targets, N x ... (`Geometry.kernel_shape`); the targets then hold parts of them.

    Computes the kernels of targets that were loaded from files, which do not contain them.
    """
    kernels = []
    for target in targets:
        if target.kernels is None:
            assert target.template is not None
            target.kernels = runtime.kernels(target.template)
        kernels.append(target.kernels)
    whole = stacked(kernels)
    for index, target in enumerate(targets):
        target.kernels = whole[index : index + 1]
    return whole


def stacked(parts: Sequence[Array]) -> Array:
    """Joins 1 x ... arrays to N x ..., without a copy if they are consecutive parts of one array."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, np.ndarray):
        start, whole = first.ctypes.data, first.base
        arrays = [part for part in parts if isinstance(part, np.ndarray)]
        if whole is None or any(one.base is not whole for one in arrays):
            return joined(parts)
        if any(one.ctypes.data != start + index * first.nbytes for index, one in enumerate(arrays)):
            return joined(parts)
        strides = first.nbytes, *first.strides[1:]
        return np.lib.stride_tricks.as_strided(first, (len(parts), *first.shape[1:]), strides)
    tensors = [part for part in parts if not isinstance(part, np.ndarray)]
    size = first.numel()
    start, storage = first.data_ptr(), first.untyped_storage().data_ptr()
    step = size * first.element_size()
    places = ((part.data_ptr(), part.untyped_storage().data_ptr()) for part in tensors)
    if all(place == (start + index * step, storage) for index, place in enumerate(places)):
        return first.as_strided((len(parts), *first.shape[1:]), (size, *first.stride()[1:]))
    return joined(parts)
