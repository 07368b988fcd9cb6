# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A run in a process of its own, ended from outside at any moment, goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from squares import losses, main

from snscf_core.tensor_files import read_tensors

SCRIPT = Path(__file__).with_name("squares.py")
ROOT = SCRIPT.parents[2]
SETTINGS = {"steps": 24, "batch": 2, "log_every": 1, "intervals": 1, "checkpoint_seconds": 0.2}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def started(out: Path, settings: dict = SETTINGS, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
    command = [sys.executable, *launcher, str(SCRIPT), str(out), json.dumps(settings)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def go_on(out: Path, settings: dict = SETTINGS) -> None:
    threads = torch.get_num_threads()
    assert main(out, settings).finished
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    go_on(out)
    return out


def end_at_step(out: Path, step: int, number: int) -> tuple[int, int]:
    """Starts a run, sends the signal once its log has so many lines; the exit status, and the lines there were."""
    process = started(out)
    log = out / "log.jsonl"
    try:
        limit = time.monotonic() + 200
        while (lines := len(log.read_text().splitlines()) if log.is_file() else 0) < step:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < limit, "the run does not get on"
            time.sleep(0.01)
        process.send_signal(number)
        process.communicate(timeout=100)
    finally:
        process.kill()
        process.wait()
    return process.returncode, lines


@pytest.mark.slow
def test_a_run_that_was_killed_ends_with_the_losses_of_an_uninterrupted_one(uninterrupted, tmp_path):
    status, told = end_at_step(tmp_path, 11, signal.SIGKILL)
    assert status == -signal.SIGKILL and told < SETTINGS["steps"]
    go_on(tmp_path)
    assert losses(tmp_path) == pytest.approx(losses(uninterrupted), rel=1e-5)
    assert len(losses(tmp_path)) == SETTINGS["steps"]


@pytest.mark.slow
def test_a_run_that_is_asked_to_end_leaves_with_status_0_and_goes_on_at_that_step(uninterrupted, tmp_path):
    status, told = end_at_step(tmp_path, 7, signal.SIGTERM)
    assert status == 0
    kept = losses(tmp_path)
    assert 7 <= told <= len(kept) < SETTINGS["steps"]
    _, metadata = read_tensors(next((tmp_path / "weights").glob("*.safetensors")))
    assert metadata["steps"] == str(len(kept)), "a run that nobody goes on with leaves its weights"
    go_on(tmp_path)
    assert losses(tmp_path)[: len(kept)] == kept, "nothing was made twice"
    assert losses(tmp_path) == pytest.approx(losses(uninterrupted), rel=1e-5)
