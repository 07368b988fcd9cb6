"""The network in PyTorch: the engine that is always there, and what the others are compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from .graph import SearchOutput, output
from .subject import Subject


class TorchEngine:
    """Runs the folded graph on the tracker's device."""

    name = "torch"
    threads = False

    def __init__(self, subject: Subject) -> None:
        self.graph = subject.graph().to(subject.device)
        self.proposals = subject.proposals
        if subject.device.type == "cpu":
            self.graph = self.graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def search(self, crops: Tensor, kernels: Tensor | None) -> SearchOutput:
        """See `Engine`."""
        return output(*self.graph(crops, kernels)) if self.proposals else output(self.graph(crops), None)

    def prepare(self) -> None:
        """See `Engine`."""


class CudaGraphEngine(TorchEngine):
    """The same, recorded once for each number of targets and replayed, which spares the launch of each kernel.

    Recorded are 1, 2, 4, 8, ... targets; other numbers run in the next larger recording. What is returned lies in the
    recording's own memory and is valid until the next call.
    """

    name = "cuda_graphs"

    def __init__(self, subject: Subject) -> None:
        if subject.device.type != "cuda":
            raise ValueError(f"the engine cuda_graphs needs a CUDA device, the tracker is on {subject.device}")
        super().__init__(subject)
        self.graph = self.graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = subject.device
        self._recorded: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, Tensor | None, SearchOutput]] = {}

    def search(self, crops: Tensor, kernels: Tensor | None) -> SearchOutput:
        """See `Engine`."""
        count = len(crops)
        size = 1 << (count - 1).bit_length()
        if size not in self._recorded:
            self._recorded[size] = self._record(size, crops, kernels)
        recording, static_crops, static_kernels, result = self._recorded[size]
        static_crops[:count].copy_(crops)
        if static_kernels is not None:
            assert kernels is not None
            static_kernels[:count].copy_(kernels)
        recording.replay()
        return SearchOutput(*(None if part is None else part[:count] for part in result))  # type: ignore[arg-type]

    def _record(
        self, size: int, crops: Tensor, kernels: Tensor | None
    ) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor | None, SearchOutput]:
        static_crops = crops[:1].expand(size, -1, -1, -1).clone()
        static_kernels = None if kernels is None else kernels[:1].expand(size, *kernels.shape[1:]).clone()
        with torch.cuda.device(self.device):
            # Libraries choose their kernels and get their workspaces before the recording, on a stream of its own.
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    super().search(static_crops, static_kernels)
            torch.cuda.current_stream().wait_stream(side)
            recording = torch.cuda.CUDAGraph()
            with torch.cuda.graph(recording):
                result = super().search(static_crops, static_kernels)
        return recording, static_crops, static_kernels, result
