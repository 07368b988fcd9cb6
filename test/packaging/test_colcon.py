# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A colcon workspace like a user's: this tree, and packages of others that depend on snscf_msgs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from domains import Domain

ROOT = Path(__file__).resolve().parents[2]
DOWNSTREAM = Path(__file__).parent / "downstream"
Run = Callable[..., subprocess.CompletedProcess[str]]

# Starts the tracker and a camera that were installed by colcon, and ends them when the listener has heard enough.
LISTEN = """\
source install/setup.bash
executables=$(dirname "$(find -L install -path '*lib/snscf_ros/tracker_node')")
"$executables/tracker_node" --ros-args -r __node:=tracker -p engine:=torch >tracker.log 2>&1 &
"$executables/camera" >camera.log 2>&1 &
trap 'kill -INT $(jobs -p); wait' EXIT
python -c 'import rclpy
from snscf_ros import bringup
rclpy.init()
bringup.activate(rclpy.create_node("starter"), "/tracker", 120)' || { cat tracker.log; exit 1; }
"$(find -L install -path '*lib/python_listener/listen')"
"""


@pytest.fixture(scope="module")
def in_ros(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs a command where ROS 2 and colcon are installed and our packages are not.

    That is the private environment without what it has of ours: a tree of hard links, so it costs little. Nothing in it
    may be written to, only replaced; pip and colcon keep to that.
    """
    made = ROOT / ".venv" / ".made"
    if not (made / "snscf_msgs.files").exists() or Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("these tests do not run in a private environment of wheels")
    copy = tmp_path_factory.mktemp("ros") / "environment"
    try:
        shutil.copytree(ROOT / ".venv", copy, symlinks=True, copy_function=os.link)
    except OSError:  # another file system
        shutil.rmtree(copy)
        shutil.copytree(ROOT / ".venv", copy, symlinks=True)
    for name in (made / "snscf_msgs.files").read_text().splitlines():
        (copy / Path(name).relative_to(ROOT / ".venv")).unlink(missing_ok=True)  # listed twice, some
    for folder in copy.glob("lib/python*/site-packages"):
        for path in [*folder.glob("__editable__*snscf*"), *folder.glob("snscf*")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    ours = {"PYTHONPATH", "LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE", "COLCON_PREFIX_PATH"}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"AMENT_PREFIX_PATH": str(copy), "CMAKE_PREFIX_PATH": str(copy), "VIRTUAL_ENV": str(copy)}
    environment |= {"PATH": f"{copy}/bin:{environment['PATH']}", "LD_LIBRARY_PATH": f"{copy}/lib"}
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

    def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

    # as a user would: in the environment, so that the commands of Python packages start with its interpreter
    installed = run("python", "-m", "pip", "install", "-q", "colcon-common-extensions", folder=copy)
    if installed.returncode != 0:
        pytest.skip(f"colcon can't be installed: {installed.stderr}")
    with Domain() as domain:  # a tracker of other tests may be running in this worker's
        environment["ROS_DOMAIN_ID"] = str(domain.number)
        yield run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_packages_of_others_build_on_our_messages_and_hear_the_status(
    in_ros: Run, tmp_path: Path, weights: Path
) -> None:
    sources = tmp_path / "src"
    shutil.copytree(DOWNSTREAM, sources)
    (sources / "snscf_ros").symlink_to(ROOT)
    (sources / "snscf_msgs").symlink_to("snscf_ros/msg")  # as docs/install.md says

    order = in_ros("colcon", "list", "--topological-order", "--names-only", folder=tmp_path).stdout.split()
    assert order[0] == "snscf_msgs"
    assert sorted(order) == ["cpp_listener", "python_listener", "snscf_msgs", "snscf_ros"]

    python = in_ros("which", "python", folder=tmp_path).stdout.strip()
    options = (f"-DPython3_EXECUTABLE={python}", "-DBUILD_TESTING=OFF")
    flags = ("-DCMAKE_C_FLAGS=-O0", "-DCMAKE_CXX_FLAGS=-O0")  # half of the time
    built = in_ros("colcon", "build", "--cmake-args", *options, *flags, folder=tmp_path)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "4 packages finished" in built.stdout
    # once each: an interface package that lies in two places is found in either
    (messages,) = (tmp_path / "install").glob("*/share/snscf_msgs/package.xml")
    assert messages.parents[2].name == "snscf_msgs"

    describe = "source install/setup.bash; $(find -L install -name describe -type f)"
    described = in_ros("bash", "-c", describe, folder=tmp_path)
    assert described.returncode == 0, described.stderr
    assert 'target_id: "7"' in described.stdout and "snscf_msgs/srv/InitTarget" in described.stdout

    heard = in_ros("bash", "-c", LISTEN, folder=tmp_path)
    assert heard.returncode == 0, heard.stdout + heard.stderr
    status = json.loads(heard.stdout.splitlines()[-1])
    assert status["target_id"] and status["processed"] > 0
