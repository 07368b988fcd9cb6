# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Records steps of tensor operations once and replays them from then on."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor

from .step import RecordedStep, RecordingError, Result, Step

# Quoted, so that the documentation can be built without torch.
Inputs: TypeAlias = "tuple[Tensor | None, ...]"

_SAME = 1e-3  # largest change by replaying, relative to the largest value


class _Recording(NamedTuple):
    inputs: Inputs
    replay: Callable[[], object]
    result: Any


class Recorded(RecordedStep, ABC, Generic[Result]):
    """A step that is recorded for 1, 2, 4, 8, ... rows when first needed; other numbers use the next larger recording.

    The result of a call lies in the recording's memory and is valid until the next call. Calls raise RecordingError if
    recording fails or gives other results than the step.
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
        """Records the step on zeros, then compares its replay on the given tensors with the step itself."""
        inputs = tuple(None if part is None else part.new_zeros(size, *part.shape[1:]) for part in given)
        self.step(*inputs)  # so that the step's own errors are not reported as errors of recording
        try:
            replay, result = self.record(inputs)
        except RuntimeError as error:
            raise RecordingError(f"recording failed: {' '.join(str(error).split())[:300]}") from None
        _fill(inputs, given)
        replay()
        found, expected = _rows(result, count), _rows(self.step(*inputs), count)
        outputs: Any = zip(cast(Any, result)._fields, expected, found, strict=True)
        for name, a, b in outputs:
            if a is not None and b is not None:
                if a.is_complex():
                    a, b = (torch.view_as_real(part).flatten(-2) for part in (a, b))
                a, b = a.nan_to_num(), b.nan_to_num()
                # The limit is per column of the last dimension, because columns may have different units.
                most = _SAME * a.abs().flatten(0, -2).amax(0)
                if bool(((a - b).abs() > most).any()):
                    raise RecordingError(f"replaying changes {name} by up to {float((a - b).abs().max()):.2g}")
        return _Recording(inputs, replay, result)

    @abstractmethod
    def record(self, inputs: Inputs) -> tuple[Callable[[], object], Result]:
        """Records the step.

        Returns a function that repeats it on the current content of ``inputs``, and the result that it overwrites.
        """


class CudaRecorded(Recorded[Result]):
    """Records steps as CUDA graphs.

    After a failed recording, CUDA may refuse others in the same process. Graphs use the plans that torch caches for
    Fourier transforms, so that cache must not be cleared.
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
            with torch.cuda.stream(self._stream):  # restores the stream before, even if the capture fails
                self._stream.wait_stream(outer)
                # Warm up, so that libraries choose kernels and allocate workspaces before the recording.
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
    """Returns the first ``count`` rows of all parts."""
    parts = (None if part is None else part[:count] for part in result)
    return cast(Result, cast(Any, type(result))._make(parts))
