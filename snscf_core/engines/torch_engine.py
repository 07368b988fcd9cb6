# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the network in PyTorch: the engine that is always available and the reference for the others."""

from __future__ import annotations

import torch
from torch import Tensor

from .graph import SearchOutput, output
from .network_spec import NetworkSpec
from .recording import CudaRecorded, Result, Step


class TorchEngine:
    """Runs the folded graph on the tracker's device."""

    name = "torch"
    threads = False

    def __init__(self, spec: NetworkSpec) -> None:
        self.graph = spec.graph().to(spec.device)
        self.proposals = spec.proposals
        if spec.device.type == "cpu":
            self.graph = self.graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def search(self, crops: Tensor, kernels: Tensor | None) -> SearchOutput:
        """See `Engine`."""
        return output(*self.graph(crops, kernels)) if self.proposals else output(self.graph(crops), None)

    def recorded(self, step: Step[Result]) -> Step[Result]:
        """See `Engine`."""
        return step

    def prepare(self) -> None:
        """See `Engine`."""


class CudaGraphEngine(TorchEngine):
    """Runs the folded graph as CUDA graphs: steps are recorded and replayed, which saves the launch of each kernel."""

    name = "cuda_graphs"

    def __init__(self, spec: NetworkSpec) -> None:
        if spec.device.type != "cuda":
            raise ValueError(f"the engine cuda_graphs needs a CUDA device, the tracker is on {spec.device}")
        super().__init__(spec)
        self.graph = self.graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = spec.device

    def recorded(self, step: Step[Result]) -> Step[Result]:
        """See `Engine`."""
        return CudaRecorded(step, self.device)
