# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The benchmark of positions, with the real tracker in the simulated world, in its shortest form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "position.py"


@pytest.mark.slow
def test_positions_and_predictions_of_one_run_are_near_the_truth(tmp_path, weights):
    pytest.importorskip("skimage")
    if not BENCHMARK.is_file():
        pytest.skip("benchmarks are in the source tree only")
    output = tmp_path / "figures.json"
    few = ["--runs", "1", "--hidden-runs", "0", "--turned-runs", "1", "--seconds", "2.5", "--output", str(output)]
    subprocess.run([sys.executable, str(BENCHMARK), *few], check=True, capture_output=True)
    figures = json.loads(output.read_text())
    for way, most in (("depth", 0.06), ("size", 0.15), ("plane", 0.15)):
        assert figures["positions"][way]["runs_with_positions"] == 1
        assert figures["positions"][way]["median_error"] < most
        assert figures["positions"][way]["nees_below_upper"] == 1
    late = {name: degrees["300 ms"] for name, degrees in figures["bearing_error_degrees"].items()}
    assert late["position and transforms"] < late["without transforms"] < late["the box as it was"]
    assert figures["turns_carried"]["runs"] == figures["turns_left"]["runs"] == 1
