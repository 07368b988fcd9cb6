# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the network in PyTorch: the engine that is always available and the reference for the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor

from ..arrays import Array, is_tensor, to_numpy, to_tensor
from .network_spec import NetworkSpec
from .recording import CudaRecorded
from .search_output import SearchOutput, output
from .step import Result, Step


class TorchTemplates:
    """Computes templates and kernels with the network itself, for engines that have torch anyway."""

    spec: NetworkSpec

    def template(self, crops: Array) -> list[Array]:
        """See `Engine`."""

        def compute(images: Tensor) -> list[Tensor]:
            network = self.spec.network
            return network.template(network.reduce(network.extract(images.permute(0, 3, 1, 2).float())))

        return cast("list[Array]", _by_tensors(compute, crops))

    def kernels(self, template: Sequence[Array]) -> Array:
        """See `Engine`."""
        return _by_tensors(lambda *levels: [self.spec.network.kernels(levels)], *template)[0]


class TorchEngine(TorchTemplates):
    """Runs the folded graph on the tracker's device."""

    name = "torch"
    threads = False

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self.graph = spec.graph().to(spec.device.torch)
        self.proposals = spec.proposals
        if spec.device.type == "cpu":
            self.graph = self.graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def search(self, crops: Array, kernels: Array | None) -> SearchOutput:
        """See `Engine`."""
        if not self.proposals:
            return output(_by_tensors(lambda one: [self.graph(one)], crops)[0], None)
        assert kernels is not None
        return output(*_by_tensors(self.graph, crops, kernels))

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
        self.device = spec.device.torch

    def recorded(self, step: Step[Result]) -> Step[Result]:
        """See `Engine`."""
        return CudaRecorded(step, self.device)


def _by_tensors(compute: Callable[..., Sequence[Tensor]], *given: Array) -> Sequence[Any]:
    """Computes with tensors; returns arrays if arrays were given."""
    tensors = is_tensor(given[0])
    with nullcontext() if tensors else torch.inference_mode():
        found = compute(*(to_tensor(part) for part in given))
    return found if tensors else [to_numpy(part) for part in found]
