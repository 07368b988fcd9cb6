"""Steps of tensors that are recorded once and replayed from then on."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor

Arguments = tuple[Tensor | None, ...]
Result = TypeVar("Result", bound=tuple[Tensor | None, ...])
# A function of tensors that all have N in front, or are None; it returns a NamedTuple of such.
Step = Callable[..., Result]
_SAME = 1e-3  # of the size of an output: what replaying it may change
_LOG = logging.getLogger(__name__)


class Recorded(ABC, Generic[Result]):
    """A step, recorded for 1, 2, 4, 8, ... rows; other numbers run in the next larger recording.

    What is returned lies in the recording's own memory and is valid until the next call. A step that can't be recorded,
    or whose replay gives something else, runs as it is from then on, with a warning.
    """

    def __init__(self, step: Step[Result]) -> None:
        self.step = step
        self._recordings: dict[int, tuple[Arguments, Callable[[], object], Result]] = {}
        self._works = True

    def __call__(self, *arguments: Tensor | None) -> Result:
        count = next(len(part) for part in arguments if part is not None)
        size = 1 << (count - 1).bit_length()
        if self._works and size not in self._recordings:
            try:
                self._recordings[size] = self._recorded(size, arguments)
            except RuntimeError as error:
                self._works = False
                self._recordings.clear()
                _LOG.warning("recording failed, steps are launched one by one instead: %s", error)
        if not self._works:
            return self.step(*arguments)
        inputs, replay, result = self._recordings[size]
        for own, given in zip(inputs, arguments, strict=True):
            if own is not None and given is not None:
                own[:count].copy_(given)
        replay()
        return _each(result, lambda part: part[:count])

    def _recorded(self, size: int, arguments: Arguments) -> tuple[Arguments, Callable[[], object], Result]:
        inputs = tuple(
            None if part is None else part[:1].expand(size, *part.shape[1:]).clone() for part in arguments
        )
        expected = _each(self.step(*inputs), Tensor.clone)
        replay, result = self.record(inputs)
        replay()
        for a, b in zip(expected, result, strict=True):
            if a is not None and b is not None:
                difference = float((a - b).nan_to_num().norm() / a.nan_to_num().norm().clamp(min=1e-6))
                if not difference <= _SAME or not a.isnan().equal(b.isnan()):
                    raise RuntimeError(f"what is replayed differs by {difference:.2g} of its size")
        return inputs, replay, result

    @abstractmethod
    def record(self, inputs: Arguments) -> tuple[Callable[[], object], Result]:
        """What does the step anew with what is in ``inputs`` then, and where it puts the result."""


class CudaRecorded(Recorded[Result]):
    """As a CUDA graph."""

    def __init__(self, step: Step[Result], device: torch.device) -> None:
        super().__init__(step)
        self.device = device

    def record(self, inputs: Arguments) -> tuple[Callable[[], object], Result]:
        """See `Recorded`."""
        with torch.cuda.device(self.device):
            # Libraries choose their kernels and get their workspaces before the recording, on a stream of its own.
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self.step(*inputs)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                result = self.step(*inputs)
        return graph.replay, result


def _each(result: Result, function: Callable[[Tensor], Tensor]) -> Result:
    parts = [None if part is None else function(part) for part in result]
    return cast(Result, cast(Any, type(result))._make(parts))
