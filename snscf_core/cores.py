# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Counts the cores that this process may use, and makes torch, OpenCV and the engines use no more threads."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import cv2
import torch

_GROUP = Path("/proc/self/cgroup")
_GROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))


def available_cores() -> int:
    """Returns the number of whole cores that this process may use, at least 1.

    It may be less than the machine has: by affinity (``taskset``), and by the quota of a control group (``cpu.max``),
    as in a container that was started with ``--cpus``.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Rounded down: more threads than the quota pays for are stopped in the middle of a frame.
    return max(1, min([cores, *(int(quota) for quota in _quotas())]))


def use_available_cores(processes: int = 1) -> None:
    """Makes torch and OpenCV, and engines made afterwards, use the available cores or fewer.

    processes: number of processes that share the cores.

    Never raises the number of threads, so that ``OMP_NUM_THREADS`` still counts.
    """
    threads = min(torch.get_num_threads(), max(1, available_cores() // max(1, processes)))
    torch.set_num_threads(threads)  # ONNX Runtime and OpenVINO take the number of torch's threads
    cv2.setNumThreads(threads)


def _quotas() -> list[float]:
    """Returns the quotas in cores of this process's control group and of those around it (cgroup v2)."""
    own = ""
    with suppress(OSError):
        for line in _GROUP.read_text(encoding="utf-8").splitlines():
            number, _, path = line.split(":", 2)
            own = path.strip("/") if number == "0" else own
    found = []
    for root in _GROUPS:
        # Inside a container the group's path may be the host's: then only the root is there.
        for folder in (root / own, *(root / parent for parent in Path(own).parents)):
            with suppress(OSError, ValueError, ZeroDivisionError):
                quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
                found.append(int(quota) / int(period))  # ValueError for "max": no quota
    return found
