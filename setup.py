# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Installs snscf_core, snscf_ros and the `snscf` command with pip; a ROS 2 workspace uses CMakeLists.txt instead.

With SNSCF_TORCH=none it asks for no PyTorch, for computers that only run exported networks.
"""

from __future__ import annotations

import os
import re
from glob import glob
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.editable_wheel import editable_wheel

# package.xml holds the version, for catkin_prepare_release to raise.
VERSION = re.search(r"<version>([^<]+)</version>", Path("package.xml").read_text(encoding="utf-8")).group(1)
REQUIREMENTS = [
    "numpy>=1.23",
    "opencv-python-headless>=4.6",
    "pyyaml>=5.4",
    # Decodes JPEGs as OpenCV does, but says which are damaged.
    "simplejpeg>=1.7.2",
    "torch>=2.1",
    "tqdm>=4.60",
]
if os.environ.get("SNSCF_TORCH") == "none":
    REQUIREMENTS = [one for one in REQUIREMENTS if not one.startswith("torch")]
EXTRAS = {
    # The photographs that the generated demonstration scene is made of ship inside scikit-image.
    "demo": ["scikit-image>=0.21"],
    # The operator's page in the browser.
    "operator": ["aiohttp>=3.8"],
    # The MAVLink camera; pyserial for serial links.
    "mavlink": ["pymavlink>=2.4.42", "pyserial>=3.5"],
    # Plots of the reports, and recordings without ROS.
    "eval": ["matplotlib>=3.5", "rosbags>=0.11"],
    # Other runtimes for the network, on CPUs; int8 is what makes 8-bit networks for them.
    "engines": ["onnx>=1.15", "onnxruntime>=1.17", "openvino>=2024.0"],
    "int8": ["nncf>=2.9"],
    # The documents as a site, with the theme that rosdoc2 uses.
    "docs": ["myst-parser>=3.0", "sphinx>=7.3", "sphinx-rtd-theme>=2.0"],
    # Lets the official VOT toolkit drive the tracker.
    "vot": ["vot-trax>=4.0"],
    "test": [
        "hypothesis>=6.60",
        "mypy~=2.4",
        # drives the system's Chromium
        "playwright>=1.40",
        "pytest>=7.4",
        "pytest-timeout>=2.1",
        "pytest-xdist>=3.2",
        "ruff~=0.17.6",
        # what our own reader and writer of that format are held to
        "safetensors>=0.4",
        'vot-trax>=4.0; platform_machine == "x86_64"',
    ],
}


class EditableWheel(editable_wheel):
    """Leaves the share files out of an editable install: copies would hide later edits of launch/ and config/."""

    def run(self) -> None:
        self.distribution.data_files = []
        super().run()


setup(
    name="snscf",
    version=VERSION,
    description="Visual object tracking with a Siamese network and correlation filters, with a ROS 2 node",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="snscf maintainers",
    author_email="snscf@example.org",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["snscf_core", "snscf_core.*", "snscf_ros", "snscf_ros.*"]),
    package_data={"snscf_core": ["py.typed", "weights/*"], "snscf_ros": ["py.typed", "operator/page/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/snscf_ros"]),
        ("share/snscf_ros", ["package.xml"]),
        ("share/snscf_ros/launch", glob("launch/*.launch.py")),
        ("share/snscf_ros/config", glob("config/*.*")),
        ("share/snscf_ros/config/security", glob("config/security/*")),
    ],
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    cmdclass={"editable_wheel": EditableWheel},
    zip_safe=False,
)
