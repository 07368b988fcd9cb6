# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds torch devices by name."""

from __future__ import annotations

import torch


def device_named(name: str, gpu: int | None = None) -> torch.device:
    """Returns the device with that name; ``auto`` is a GPU if there is one, else the CPU.

    gpu: number of the GPU that a name without a number stands for; the current one by default.

    Raises ValueError for a name that is neither the CPU nor a GPU of CUDA, and for a GPU that does not exist.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device: torch.device | None
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        # Torch knows more devices, but nothing here was ever run on them.
        raise ValueError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N")
    if device.type == "cpu":
        return torch.device("cpu")  # cpu:0 is the same device, but compares as another
    if device.index is None and gpu is not None:
        device = torch.device("cuda", gpu)
    if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device '{device}' does not exist: torch finds {torch.cuda.device_count()} GPUs")
    return torch.device("cuda", torch.cuda.current_device()) if device.index is None else device
