# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Counts the cores that this process may use, and makes torch, OpenCV and the engines use no more threads."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import cv2

_VARIABLE = "OMP_NUM_THREADS"
_GROUP = Path("/proc/self/cgroup")
_GROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))


def available_cores() -> int:
    """Returns the number of whole cores that this process may use, at least 1.

    It may be less than the machine has: by affinity (``taskset``), and by the quota of a control group (``cpu.max``),
    as in a container that was started with ``--cpus``. (Systems of older kernels have ``cpu.cfs_quota_us``.)
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Rounded down: more threads than the quota pays for are stopped in the middle of a frame.
    return max(1, min([cores, *(int(quota) for quota in _quotas())]))


def use_available_cores(processes: int = 1) -> None:
    """Makes torch and OpenCV, and engines made afterwards, use the available cores or fewer.

    processes: number of processes that share the cores.

    Never raises the number of threads, so that ``OMP_NUM_THREADS`` still counts.
    """
    most = min(threads(), max(1, available_cores() // max(1, processes)))
    os.environ[_VARIABLE] = str(most)  # for torch, if it is imported later
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(most)
    cv2.setNumThreads(most)


def threads() -> int:
    """Returns how many threads engines use: as many as torch, or as it would use after its import."""
    if (torch := sys.modules.get("torch")) is not None:
        return int(torch.get_num_threads())
    wanted = os.environ.get(_VARIABLE, "").partition(",")[0].strip()
    cores = available_cores()
    return min(int(wanted), cores) if wanted.isdecimal() and int(wanted) else cores


def _quotas() -> list[float]:
    """Returns the quotas in cores of this process's control groups and of those around them (cgroup v1 and v2)."""
    own = {"": "", "cpu": ""}  # path by controller; version 2 has one hierarchy for all, without a name
    with suppress(OSError):
        for line in _GROUP.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            own |= {name: path.strip("/") for name in controllers.split(",") if name in own}
    found = []
    for root in _GROUPS:
        for folder in _around(root, own[""]):
            with suppress(OSError, ValueError, ZeroDivisionError):
                quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
                found.append(int(quota) / int(period))  # ValueError for "max": no quota
    for folder in _around(_GROUPS[0] / "cpu", own["cpu"]):
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = ((folder / f"cpu.cfs_{one}_us").read_text(encoding="utf-8") for one in ("quota", "period"))
            if int(quota) > 0:  # -1: no quota
                found.append(int(quota) / int(period))
    return found


def _around(root: Path, own: str) -> list[Path]:
    """Returns the folders of a control group and of all groups around it."""
    # Inside a container the group's path may be the host's: then only the root is there.
    return [root / own, *(root / parent for parent in Path(own).parents)]
