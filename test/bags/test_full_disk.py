# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where there is no room for what a command about bags writes: one sentence, and earlier results as they were."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bag_harness import TRUTH, run

COMMAND = [sys.executable, "-m", "snscf_ros.bags.commands"]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below, whatever it is called."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def evaluation(bag: Path, output: Path) -> list[str]:
    asked = ["--ground-truth", TRUTH, "--mode", "correlation_filter", "--engine", "torch", "--device", "cpu"]
    return [*COMMAND, "eval", str(bag), *asked, "--output", str(output)]


def ran(command: list[str], most_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """A command that may make no file larger than that."""
    limit = [] if most_bytes is None else ["prlimit", f"--fsize={most_bytes}", "--"]
    return subprocess.run([*limit, *command], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_an_evaluation_that_cannot_be_written_leaves_the_one_before(bags, weights, tmp_path):
    command = evaluation(bags(), tmp_path / "out")
    assert run(*command[len(COMMAND) :]) == 0
    before = contents(tmp_path)
    assert len(before) == 6 and all(before.values())
    failed = ran(command, 2000)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == f"snscf: [Errno 27] File too large: '{tmp_path / 'out'}'"
    assert "Traceback" not in failed.stderr
    assert contents(tmp_path) == before
    (tmp_path / "out" / "realtime.json").write_text("of an earlier run")
    assert run(*command[len(COMMAND) :]) == 0
    after = contents(tmp_path)
    assert after.pop("out/speed.json") and before.pop("out/speed.json")
    assert after == before


@pytest.mark.slow
def test_an_evaluation_on_a_full_disk_leaves_the_one_before(bags, weights, tmp_path):
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("nothing may be mounted here")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = shlex.join(evaluation(bags(), disk / "out"))
    script = f"""
        mount -t tmpfs -o size=256k none {disk} || exit 99
        {command} && cp -r {disk}/out {tmp_path}/before
        cat /dev/zero > {disk}/rest
        {command}
        echo status $?
        cp -r {disk}/out {tmp_path}/after
    """
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode == 99:
        pytest.skip("nothing may be mounted here")
    assert "status 1" in done.stdout
    assert f"snscf: [Errno 28] No space left on device: '{disk / 'out'}'" in done.stderr
    assert "Traceback" not in done.stderr
    before = contents(tmp_path / "before")
    assert len(before) == 6 and all(before.values())
    assert contents(tmp_path / "after") == before


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["mcap", "sqlite3", "rosbag1"])
def test_a_bag_that_cannot_be_written_leaves_nothing(sequence, tmp_path, storage):
    output = tmp_path / "bag"
    failed = ran([*COMMAND, "bag", "from-sequence", str(sequence), str(output), "--format", storage], 100_000)
    assert failed.returncode == 1
    assert failed.stderr.startswith("snscf: [Errno ") and str(output) in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
