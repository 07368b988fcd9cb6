# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Explains how to install a missing Python module. Imports only the standard library, so it always works."""

from __future__ import annotations

import os
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

_DISTRIBUTIONS = {"cv2": "opencv-python-headless", "serial": "pyserial", "yaml": "pyyaml", "skimage": "scikit-image"}


def torch_missing() -> str:
    """Explains in one sentence how to install PyTorch; returns an empty string if it is installed."""
    return "" if find_spec("torch") is not None else missing("torch")


def missing(module: str) -> str:
    """Explains in one sentence how to make `module` available to this Python."""
    python = sys.executable
    name = module.partition(".")[0]
    if (other := _other_environment()) is not None and _has(other, name):
        return (
            f"{name} is installed in the virtual environment {other}, but this command runs {python}: with the"
            " environment activated, build the workspace anew (rm -r build install; python3 -m colcon build)"
        )
    if name == "rclpy" or name.endswith("_msgs"):
        return f"{name} is not installed for {python}: source the setup.bash of ROS 2, and of the workspace"
    if name == "torch":
        return (
            f"PyTorch is not installed for {python}: '{python} -m pip install torch' installs it for NVIDIA GPUs"
            f" (gigabytes), '{python} -m pip install uv && {python} -m uv pip install --python {python}"
            f" --torch-backend=cpu torch' for the CPU alone{_protected()}"
        )
    return (
        f"{name} is not installed for {python}: '{python} -m pip install {_DISTRIBUTIONS.get(name, name)}' installs it"
        f"{_protected()}"
    )


def _other_environment() -> Path | None:
    """Returns the activated virtual environment if this Python does not belong to it."""
    active = os.environ.get("VIRTUAL_ENV")
    if not active or Path(active).resolve() == Path(sys.prefix).resolve():
        return None
    return Path(active)


def _has(environment: Path, module: str) -> bool:
    packages = environment.glob("lib*/python3*/site-packages")
    return any((folder / module).is_dir() or (folder / f"{module}.py").is_file() for folder in packages)


def _protected() -> str:
    """Explains how to install into a Python that the operating system manages (PEP 668)."""
    kept = Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").is_file()
    if sys.prefix != sys.base_prefix or not kept:
        return ""
    return ", in a virtual environment with --system-site-packages or with --break-system-packages"
