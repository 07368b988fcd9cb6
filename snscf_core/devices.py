# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds devices by name. Imports torch only if there may be a GPU."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .requirements import torch_missing

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Device:
    """A device on which a tracker computes.

    type: ``cpu`` or ``cuda``.
    index: number of the GPU; None for the CPU.
    uses_arrays: whether the tracker's steps compute with NumPy arrays, and not with tensors of torch. True on the CPU,
        except in tests of what runs on a GPU.
    """

    type: str = "cpu"
    index: int | None = None
    uses_arrays: bool = True

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    @property
    def torch(self) -> torch.device:
        """The same device as torch names it."""
        import torch

        return torch.device(str(self))


CPU = Device()


def device_named(name: str, gpu: int | None = None) -> Device:
    """Returns the device with that name; ``auto`` is a GPU if there is one, else the CPU.

    gpu: number of the GPU that a name without a number stands for; the current one by default.

    Raises ValueError for a name that is neither the CPU nor a GPU of CUDA, for a GPU that does not exist, and for any
    GPU where torch is not installed.
    """
    if name in ("cpu", "cpu:0"):
        return CPU
    missing = torch_missing()
    if name == "auto" and (missing or not _may_have_gpu()):
        return CPU
    if missing:
        raise ValueError(f"the device {name!r} needs torch: {missing}")
    import torch

    if name == "auto":
        if not torch.cuda.is_available():
            return CPU
        name = "cuda"
    device: torch.device | None
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type != "cuda":
        # Torch knows more devices, but nothing here was ever run on them.
        raise ValueError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N")
    index = gpu if device.index is None else device.index
    if not torch.cuda.is_available() or (index or 0) >= torch.cuda.device_count():
        shown = name if index is None else f"cuda:{index}"
        raise ValueError(f"device '{shown}' does not exist: torch finds {torch.cuda.device_count()} GPUs")
    return Device("cuda", torch.cuda.current_device() if index is None else index, uses_arrays=False)


def _may_have_gpu() -> bool:
    """Says whether it is worth asking torch for a GPU: whether it is imported anyway, or there is NVIDIA's driver."""
    if "torch" in sys.modules:
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
