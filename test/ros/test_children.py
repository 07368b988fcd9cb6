# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Child processes: what they inherit, and that none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snscf_ros.processes import Child

ROOT = Path(__file__).resolve().parents[2]


def ended(child: Child) -> int:
    deadline = time.monotonic() + 30
    while child.exit_code is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return child.exit_code


def test_a_child_ignores_no_signals_that_its_parent_does(tmp_path):
    with Child("status", ["cat", "/proc/self/status"], tmp_path / "log") as child:
        assert ended(child) == 0
    ignored = next(line for line in child.log.read_text().splitlines() if line.startswith("SigIgn"))
    mask = int(ignored.split()[1], 16)
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
    assert not any(mask >> (number - 1) & 1 for number in (signal.SIGPIPE, signal.SIGXFSZ))


def test_a_command_that_is_not_there_is_named(tmp_path):
    with Child("none", ["snscf-nowhere"], tmp_path / "log") as child:
        assert ended(child) == 1
    assert child.last_lines() == "    snscf-nowhere: No such file or directory"


def test_a_child_ends_with_a_parent_that_is_killed(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from snscf_ros.processes import Child\n"
        "with Child('sleeper', ['sleep', '600'], Path(sys.argv[1])) as child:\n"
        "    time.sleep(1); print(child.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert parent.stdout is not None
    with parent:
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.kill()
    deadline = time.monotonic() + 30
    with pytest.raises((ProcessLookupError, FileNotFoundError)):
        while time.monotonic() < deadline:
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                raise ProcessLookupError  # nobody has asked how it ended
            os.kill(pid, 0)
            time.sleep(0.05)
