# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Compares how fast engines run one crop, and tells whether the result can be relied on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..arrays import Array, moved, to_numpy, without_gradients
from ..cores import threads
from ..processor import waited
from .network_spec import NetworkSpec
from .threads import ONE_THREAD

_IN_A_ROW = 4  # runs of one engine before the next has its turn; the first does not count
_ROUNDS = (6, 40)  # fewest and most turns of each engine
_LIMIT = 3.0  # seconds; more only for the fewest turns
_OUT = 3.0  # an engine this many times slower than the fastest has no more turns after its second
_NEAR = 1.1  # an engine this much slower than the fastest counts as fast
_CROWDED = 0.1  # share of the time for which each thread may wait for a free core


class Comparison(NamedTuple):
    """What a comparison of engines found.

    seconds: for one crop, the best of all runs, by name.
    clear: whether nothing disturbed the comparison: other work left the cores free, and each half of the turns alone
        would have named the same engine or one about as fast.
    """

    seconds: dict[str, float]
    clear: bool


def compare(engines: Mapping[str, Any], spec: NetworkSpec, rounds: tuple[int, int] = _ROUNDS) -> Comparison:
    """Times the engines by turns, so that other load on the machine affects all alike, until the result is clear.

    engines: see `Engine`, by name.
    rounds: fewest and most turns of each engine.
    """
    crops, kernels = (None if part is None else moved(part, spec.device) for part in _random_inputs(spec))
    assert crops is not None
    searches: dict[str, Callable[..., Any]] = {name: one.recorded(one.search) for name, one in engines.items()}
    halves: tuple[dict[str, float], dict[str, float]] = ({}, {})
    began, waited_before = time.perf_counter(), waited()
    fewest, most = rounds
    for turn in range(most):
        for name, search in searches.items():
            # In a tracker, too, torch has one thread while an engine uses a pool of its own.
            with without_gradients(spec.device), ONE_THREAD if engines[name].threads else nullcontext():
                # The first run shares the cores with threads of the engine before that still spin, so it is left out.
                took = min([_timed(search, crops, kernels) for _ in range(_IN_A_ROW)][1:])
            half = halves[turn % 2]
            half[name] = min(took, half.get(name, took))
        if turn:
            limit = _OUT * min(min(half.values()) for half in halves)
            searches = {name: search for name, search in searches.items() if min(h[name] for h in halves) < limit}
        elapsed = time.perf_counter() - began
        crowded = (waited() - waited_before) / elapsed / threads() > _CROWDED
        clear = _agree(*halves) and not crowded
        if turn + 1 >= fewest and (clear or elapsed > _LIMIT):
            break
    best = {name: min(half[name] for half in halves if name in half) for name in engines}
    return Comparison(best, clear)


def _random_inputs(spec: NetworkSpec) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
    """Returns a crop and, if the heads are needed, kernels. What they hold makes no difference in time."""
    random, side = np.random.default_rng(0), spec.search_size
    crops = random.integers(0, 256, (1, side, side, 3), np.uint8)
    kernels = random.standard_normal((1, *spec.weights.geometry.kernel_shape), np.float32) if spec.proposals else None
    return crops, kernels


def _timed(search: Callable[..., Any], crops: Array, kernels: Array | None) -> float:
    began = time.perf_counter()
    to_numpy(search(crops, kernels).features[0, 0, 0])  # so that a GPU finishes
    return time.perf_counter() - began


def _agree(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Returns whether the engine that is fastest in both halves together is about the fastest in each."""
    if not one or not other:
        return False
    fastest = min(one, key=lambda name: min(one[name], other[name]))
    return all(half[fastest] <= _NEAR * min(half.values()) for half in (one, other))
