# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keeps a tracker's arithmetic apart from what its caller has set for torch and NumPy, and out of forked processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np

# Threads of torch and the engines do not survive a fork: what waits for them in the child waits for ever.
_used = False
_forked = False


@contextmanager
def own_arithmetic() -> Iterator[None]:
    """Computes without autocast and without errors of NumPy, whatever the caller has switched on.

    Both are settings of the thread, so that other threads keep theirs.

    Raises RuntimeError in a process that was forked from one where a tracker had run.
    """
    global _used
    if _forked:
        raise RuntimeError(
            "a tracker can't run in a process that was forked after a tracker had run: start that process with 'spawn'"
        )
    _used = True
    with ExitStack() as stack:
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        if (torch := sys.modules.get("torch")) is not None:
            stack.enter_context(torch.autocast("cpu", enabled=False))
            if torch.cuda.is_initialized():
                stack.enter_context(torch.autocast("cuda", enabled=False))
        yield


@contextmanager
def own_defaults() -> Iterator[None]:
    """Makes new tensors float32 and on the CPU, whatever the caller's defaults are.

    Torch has one default type for all threads, so this is only for making a network. What runs in every frame names the
    type of each tensor instead.
    """
    import torch

    dtype = torch.get_default_dtype()
    moved = torch.empty(0).device.type != "cpu"
    torch.set_default_dtype(torch.float32)
    try:
        if moved:
            with torch.device("cpu"):
                yield
        else:
            yield
    finally:
        torch.set_default_dtype(dtype)


def _note_fork() -> None:
    global _forked
    _forked = _forked or _used


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
