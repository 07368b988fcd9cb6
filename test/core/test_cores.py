# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""How many threads are used where a process may not use all of the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import pytest
import torch

from snscf_core import cores
from snscf_core.cores import available_cores, use_available_cores
from snscf_core.evaluation.runner import Factory

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def threads():
    """Restores the numbers of threads, and the cores that this process may use."""
    before = torch.get_num_threads(), cv2.getNumThreads(), os.sched_getaffinity(0)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])
    os.sched_setaffinity(0, before[2])


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Control groups of version 2 in a folder, on a machine of 64 cores; call it with quotas by path."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(cores, "_GROUP", tmp_path / "own")
    monkeypatch.setattr(cores, "_GROUPS", (tmp_path / "fs", tmp_path / "fs" / "unified"))

    def make(own: str, quotas: dict[str, str]) -> int:
        shutil.rmtree(tmp_path / "fs", ignore_errors=True)
        (tmp_path / "own").write_text(f"1:cpu:/other\n0::{own}\n")
        for path, quota in quotas.items():
            (tmp_path / "fs" / path).mkdir(parents=True, exist_ok=True)
            (tmp_path / "fs" / path / "cpu.max").write_text(quota + "\n")
        return available_cores()

    return make


def test_the_quota_of_every_control_group_around_the_process_counts(groups):
    assert groups("/", {"": "max 100000"}) == 64
    assert groups("/", {"": "200000 100000"}) == 2
    assert groups("/", {"": "50000 100000"}) == 1  # half a core
    assert groups("/", {"": "350000 100000"}) == 3
    assert groups("/pod/box", {"pod/box": "max 100000", "pod": "400000 100000", "": "max 100000"}) == 4
    assert groups("/pod/box", {"pod/box": "300000 100000", "pod": "400000 100000"}) == 3
    assert groups("/on/the/host", {"": "100000 100000"}) == 1  # the root that a container sees
    assert groups("/box", {"unified/box": "200000 100000"}) == 2
    assert groups("/box", {"box": "damaged"}) == 64
    assert groups("/box", {}) == 64


def test_quotas_of_the_first_version_of_control_groups_count_too(groups, tmp_path):
    def quota(folder: str, quota: int) -> None:
        (tmp_path / "fs" / "cpu" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / "cpu" / folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (tmp_path / "fs" / "cpu" / folder / "cpu.cfs_period_us").write_text("100000\n")

    groups("/", {})
    (tmp_path / "own").write_text("4:memory:/elsewhere\n3:cpu,cpuacct:/pod/box\n0::/\n")
    quota("pod/box", -1)
    assert available_cores() == 64
    quota("pod", 350000)
    assert available_cores() == 3
    quota("pod/box", 200000)
    assert available_cores() == 2
    quota("", 100000)
    assert available_cores() == 1


def test_torch_opencv_and_workers_share_the_cores_that_may_be_used(monkeypatch):
    monkeypatch.setattr(cores, "available_cores", lambda: 6)
    torch.set_num_threads(8)
    use_available_cores()
    assert (torch.get_num_threads(), cv2.getNumThreads()) == (6, 6)
    Factory(processes=3)()
    assert (torch.get_num_threads(), cv2.getNumThreads()) == (2, 2)
    use_available_cores()  # never more than before: OMP_NUM_THREADS may have said so
    assert torch.get_num_threads() == 2


def test_affinity_counts():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    assert available_cores() == 1


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino"])
def test_engines_follow(engine, tmp_path):
    """A command confined to one core: its engine has one thread, and so has everything else."""
    if engine != "torch":
        pytest.importorskip(engine)
    program = f"""
        import os
        import cv2, torch
        os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
        from snscf_core import Tracker
        from snscf_core.cores import use_available_cores
        torch.set_num_threads(4)  # as on a machine with four cores
        use_available_cores()
        runtime = Tracker("snscf_nano", engine={engine!r}, device="cpu").runtime
        asked = getattr(runtime, "_threads", 1)
        for session in getattr(runtime, "_sessions", {{}}).values():
            asked = session.get_session_options().intra_op_num_threads
        print(runtime.name, torch.get_num_threads(), cv2.getNumThreads(), asked)
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("OMP_NUM_THREADS", None)
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [engine, "1", "1", "1"], done.stderr
