# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Steps of tensors that are recorded once and replayed from then on."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

import torch
from torch import Tensor

# in quotes, so that the documentation is made without torch
Inputs: TypeAlias = "tuple[Tensor | None, ...]"
Result = TypeVar("Result", bound="tuple[Tensor | None, ...]")
# A function of tensors that all have N in front, or are None; it returns a NamedTuple of such.
Step = Callable[..., Result]

_SAME = 1e-3  # of the largest value: what replaying may change


class RecordingError(RuntimeError):
    """A step can't be recorded, or its replay gives something else than the step."""


class _Recording(NamedTuple):
    inputs: Inputs
    replay: Callable[[], object]
    result: Any


class Recorded(ABC, Generic[Result]):
    """A step, recorded for 1, 2, 4, 8, ... rows when they are first needed; other numbers run in the next larger one.

    What a call returns lies in the recordings' memory and is valid until the next call. Raises RecordingError where
    a recording does not give what the step gives.
    """

    def __init__(self, step: Step[Result]) -> None:
        self.step = step
        self.recordings: dict[tuple[int, tuple[bool, ...]], _Recording] = {}

    def __call__(self, *given: Tensor | None) -> Result:
        count = next(len(part) for part in given if part is not None)
        size = 1 << (count - 1).bit_length()
        key = size, tuple(part is None for part in given)
        recording = self.recordings.get(key)
        if recording is None:
            recording = self.recordings[key] = self._checked(size, count, given)
        _fill(recording.inputs, given)
        recording.replay()
        return _rows(recording.result, count)

    def _checked(self, size: int, count: int, given: Inputs) -> _Recording:
        """A new recording, made of nothing and then tried with what is given."""
        inputs = tuple(None if part is None else part.new_zeros(size, *part.shape[1:]) for part in given)
        self.step(*inputs)  # what is wrong with the step itself is no matter of recording
        try:
            replay, result = self.record(inputs)
        except RuntimeError as error:
            raise RecordingError(f"recording failed: {' '.join(str(error).split())[:300]}") from None
        _fill(inputs, given)
        replay()
        found, expected = _rows(result, count), _rows(self.step(*inputs), count)
        for name, a, b in zip(cast(Any, result)._fields, expected, found, strict=True):
            if a is not None and b is not None:
                if a.is_complex():
                    a, b = (torch.view_as_real(part).flatten(-2) for part in (a, b))
                a, b = a.nan_to_num(), b.nan_to_num()
                # Of each place in the last dimension, as these may mean different things.
                most = _SAME * a.abs().flatten(0, -2).amax(0)
                if bool(((a - b).abs() > most).any()):
                    raise RecordingError(f"replayed, {name} are up to {float((a - b).abs().max()):.2g} off")
        return _Recording(inputs, replay, result)

    @abstractmethod
    def record(self, inputs: Inputs) -> tuple[Callable[[], object], Result]:
        """What does the step anew with what is in ``inputs`` then, and where it puts the result."""


class CudaRecorded(Recorded[Result]):
    """As CUDA graphs. After one that failed CUDA may refuse others in the same process.

    Graphs use the plans that torch caches for Fourier transforms, so that cache must not be cleared.
    """

    _one_at_a_time = threading.Lock()

    def __init__(self, step: Step[Result], device: torch.device) -> None:
        super().__init__(step)
        self.device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, inputs: Inputs) -> tuple[Callable[[], object], Result]:
        """See `Recorded`."""
        graph = torch.cuda.CUDAGraph()
        with self._one_at_a_time, torch.cuda.device(self.device):
            outer = torch.cuda.current_stream()
            with torch.cuda.stream(self._stream):  # which ends with the stream before, even if the capture fails
                self._stream.wait_stream(outer)
                # Libraries choose their kernels and get their workspaces before the recording.
                for _ in range(3):
                    self.step(*inputs)
                with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                    result = self.step(*inputs)
            outer.wait_stream(self._stream)
        return graph.replay, result


def _fill(inputs: Inputs, given: Inputs) -> None:
    for own, new in zip(inputs, given, strict=True):
        if own is not None and new is not None:
            own[: len(new)].copy_(new)


def _rows(result: Result, count: int) -> Result:
    """The first rows of all parts."""
    parts = (None if part is None else part[:count] for part in result)
    return cast(Result, cast(Any, type(result))._make(parts))
