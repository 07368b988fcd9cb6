# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds torch devices by name."""

from __future__ import annotations

import torch


def device_named(name: str) -> torch.device:
    """Returns the device with that name; ``auto`` is the current GPU if there is one, else the CPU.

    Raises ValueError for a name that torch does not know, and for a GPU that does not exist.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"device {name!r} is not there: torch finds {torch.cuda.device_count()} GPUs")
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device
