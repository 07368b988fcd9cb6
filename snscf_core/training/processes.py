# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs in one process, or in several started by ``torchrun``, one per device, and shares values among them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from ..devices import device_named

_TIMEOUT = timedelta(hours=1)  # the others wait while the first one validates


@dataclass(frozen=True)
class Processes:
    """Describes this process as ``rank`` of ``count``; the first one writes files and reports."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Returns the mean over all processes; without a gradient."""
        if self.count == 1:
            return values
        total = values.detach().clone()
        distributed.all_reduce(total)
        return total / self.count

    def agree(self, values: list[float], device: torch.device) -> list[float]:
        """Returns the largest of each value over all processes. Waits for them."""
        if self.count == 1:
            return values
        shared = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX)
        return [float(value) for value in shared]


@contextmanager
def processes(device: str = "auto") -> Iterator[tuple[Processes, torch.device]]:
    """Joins the group that ``torchrun`` set up, if any; yields this process's place and device.

    device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``; with several processes each takes the GPU of its local rank

    Raises ValueError for a device that does not exist.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    own = device_named(device, int(os.environ.get("LOCAL_RANK", 0))).torch
    if own.type == "cuda":
        torch.cuda.set_device(own)
    if count == 1:
        yield Processes(), own
        return
    distributed.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield Processes(rank, count), own
    finally:
        distributed.destroy_process_group()


class _Sum(torch.autograd.Function):
    """Sums over all processes. The gradient of every process includes the uses of the sum in all of them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Normalises over the batches of all processes, on any device (torch's own class needs GPUs)."""

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or self.running_mean is None or self.running_var is None:
            return super().forward(features)
        x = features.float()
        count = distributed.get_world_size() * x.numel() // x.shape[1]
        mean = _Sum.apply(x.sum((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum or 0.0)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(features.dtype)


def share_batch_norms(network: nn.Module) -> None:
    """Makes every batch norm of the network span all processes, in place; parameters keep their names."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm2d
