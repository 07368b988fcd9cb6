# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The throughput benchmark runs as its text says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "training_throughput.py"


@pytest.mark.slow
def test_the_benchmark_times_each_part_and_says_the_share_of_the_network(tmp_path):
    if not BENCHMARK.is_file():
        pytest.skip("benchmarks are in the source tree only")
    small = ["--device", "cpu", "--batch", "2", "--steps", "1", "--warm-up", "0", "--pictures", "16", "--heads-only"]
    command = [sys.executable, str(BENCHMARK), *small, "--json", str(tmp_path / "times.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=True)
    times = json.loads((tmp_path / "times.json").read_text())
    assert set(times["pairs_per_second"]) == {"source", "network", "step", "together"}
    assert all(0 < speed < 1e6 for speed in times["pairs_per_second"].values())
    assert times["network_share"] == pytest.approx(
        times["seconds_per_batch"]["network"] / times["seconds_per_batch"]["together"]
    )
    assert f"the network has {times['network_share']:.0%} of the time" in done.stdout
