# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes a virtual environment in which neither torch nor onnx is installed, for tests that run real processes there."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

_LEFT_OUT = ("torch", "functorch", "onnx", "nncf")


def make(folder: Path) -> str:
    """Makes the environment of links to what is installed here; returns its interpreter. Skips where it can't be."""
    if sys.prefix == sys.base_prefix:
        pytest.skip("the tests do not run in a virtual environment")
    packages = Path(sysconfig.get_path("purelib"))
    kept = "include-system-site-packages = true" in Path(sys.prefix, "pyvenv.cfg").read_text(encoding="utf-8")
    venv.EnvBuilder(symlinks=True, system_site_packages=kept).create(folder)
    (made,) = folder.glob("lib/python3*/site-packages")
    for entry in packages.iterdir():
        if entry.name.replace("-", ".").split(".")[0].lower() not in _LEFT_OUT:
            (made / entry.name).symlink_to(entry)
    # The libraries of ROS 2 find each other by their places beside the packages.
    for entry in packages.parents[1].iterdir():
        if not (folder / "lib" / entry.name).exists():
            (folder / "lib" / entry.name).symlink_to(entry)
    python = str(folder / "bin" / "python")
    search = "from importlib.util import find_spec; print(find_spec('torch') or find_spec('onnx'))"
    if subprocess.run([python, "-c", search], capture_output=True, text=True, check=True).stdout.strip() != "None":
        pytest.skip("the system's Python has torch or onnx")
    return python
