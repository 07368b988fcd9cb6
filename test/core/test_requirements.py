# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is not installed is said in one sentence that names the command, for the commands without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# as in a Python that does not have the module: neither found nor imported
WITHOUT = """if True:
    import importlib.machinery, sys

    class Finder(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            return None if name == "{module}" else super().find_spec(name, path, target)

    sys.meta_path[:] = [Finder if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
    {run}
"""


def run_without(module: str, run: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs Python code where `module` is not installed."""
    code = WITHOUT.format(module=module, run=run)
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


SNSCF = "from snscf_core.__main__ import main; sys.argv[1:] = {arguments}; sys.exit(main())"
TRAINING = SNSCF.format(arguments=["train", "--data", "otb=clips", "--out", "run"])
NODE = "from snscf_ros.node.tracker_node import main; main([])"


def test_training_without_torch_names_the_commands_that_install_it():
    done = run_without("torch", TRAINING)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"snscf: PyTorch is not installed for {sys.executable}: ")
    assert f"'{sys.executable} -m pip install torch'" in line
    assert "--torch-backend=cpu torch'" in line


def test_no_torch_is_needed_to_import_the_library_and_to_print_help():
    names = "Tracker, Target, TrackerConfig, ENGINES, MODELS, MODES"
    done = run_without("torch", f"from snscf_core import {names}; {SNSCF.format(arguments=['--help'])}")
    assert done.returncode == 0, done.stderr
    assert "train a network" in done.stdout


def test_torch_in_another_environment_is_named(tmp_path):
    (tmp_path / "lib" / "python3.99" / "site-packages" / "torch").mkdir(parents=True)
    done = run_without("torch", TRAINING, VIRTUAL_ENV=str(tmp_path))
    assert done.returncode == 1
    assert f"torch is installed in the virtual environment {tmp_path}, but this command runs" in done.stderr
    assert "colcon build" in done.stderr


@pytest.mark.parametrize("module, told", [("cv2", "install opencv-python-headless"), ("yaml", "install pyyaml")])
def test_other_modules_are_named(module, told):
    done = run_without(module, NODE)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
