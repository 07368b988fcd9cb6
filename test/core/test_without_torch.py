# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a robot's computer is spared: on a CPU, a tracker whose engine has been made before never imports torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import numpy as np
from snscf_core import Tracker

tracker = Tracker(device={device!r}, engine={engine!r}, mode={mode!r})
tracker.warm_up()
frame = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
box = tracker.box_around(frame, (160.0, 120.0))
targets = [tracker.init(frame, box), tracker.init(frame, (20.0, 30.0, 50.0, 40.0))]
targets[0].save({file!r})
for _ in range(25):  # long enough to learn, to renew the template and to search for what is lost
    tracker.update(frame, targets)
print(tracker.engine, sorted(name for name in sys.modules if name == "torch" or name.startswith("torch.")))
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "auto"])
@pytest.mark.parametrize("mode", ["snscf", "correlation_filter"])
def test_a_tracker_whose_engine_is_made_imports_no_torch(engine, mode, tmp_path):
    if engine != "auto":
        pytest.importorskip(engine)
    program = PROGRAM.format(device="cpu", engine=engine, mode=mode, file=str(tmp_path / "target"))
    # The first start exports, compares and remembers. A comparison that other work disturbs is repeated twice.
    # The cache is this test's own: exports in the shared one are discarded where other tests make many.
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    for _ in range(4):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
        )
    chosen, modules = done.stdout.split(maxsplit=1)
    if chosen == "torch":
        pytest.skip("torch is the fastest here")
    assert modules == "[]\n" and (engine == "auto" or chosen == engine), done.stderr


def test_importing_the_package_imports_no_torch():
    program = "import sys, snscf_core, snscf_core.online.tracker; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
