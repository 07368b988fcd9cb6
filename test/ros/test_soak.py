# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The real node under load, minutes long: nothing grows, and every image is accounted for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"


@pytest.mark.slow
@pytest.mark.alone  # a listener that the others keep from the processor for a second misses detections
@pytest.mark.timeout(1800)
def test_nothing_grows_and_no_image_goes_astray(weights, request, tmp_path):
    pytest.importorskip("matplotlib")
    minutes = "10" if request.config.getoption("--long") else "4"
    run = ["--minutes", minutes, "--rate", "10", "--device", "cpu", "--output", str(tmp_path)]
    done = subprocess.run([sys.executable, str(SOAK), *run], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "soak.json").read_text())
    memory, frames = result["memory_mb"], result["frames"]
    assert memory["growth"] < 0.01, memory
    assert frames["rejected"] == frames["repeated"] == result["log_errors"] == 0
    assert frames["received"] == frames["tracked"] + frames["dropped"] > 1000
    # a message of detections for every image that was tracked in since somebody listened
    assert frames["detections"] == frames["detections_expected"] > 100
    # and all the time in the right place
    assert result["overlap"] > 0.6
    assert (tmp_path / "soak.png").stat().st_size > 10_000
