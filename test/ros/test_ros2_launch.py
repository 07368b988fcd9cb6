# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The real `ros2 launch`, where it is installed: what ends, with which status, and what is left behind."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ros_harness import DEADLINE, bringup, wait_for

LAUNCH_FILE = Path(__file__).resolve().parents[2] / "launch" / "tracker.launch.py"

if shutil.which("ros2") is None or importlib.util.find_spec("ros2launch") is None:
    pytest.skip("ros2 launch is not installed", allow_module_level=True)
pytestmark = pytest.mark.slow

INCLUDING = {
    "xml": """<launch><include file="{file}"><arg name="namespace" value="xml"/></include></launch>""",
    "yaml": """launch: [{{include: {{file: "{file}", arg: [{{name: namespace, value: yaml}}]}}}}]""",
    "py": """
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription

def generate_launch_description():
    return LaunchDescription([IncludeLaunchDescription("{file}", launch_arguments={{"namespace": "py"}}.items())])
""",
}


class Launch:
    """`ros2 launch` in a process group of its own, as a shell starts it."""

    def __init__(self, prefix: Path, file: Path, *arguments: str) -> None:
        self._log = prefix / "launch.log"
        # the index of this test first, so that the executable is the one of this source tree
        index = os.pathsep.join([str(prefix), *filter(None, [os.environ.get("AMENT_PREFIX_PATH")])])
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                ["ros2", "launch", str(file), *arguments],
                env={**os.environ, "AMENT_PREFIX_PATH": index, "ROS_LOG_DIR": str(prefix / "log")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def nodes(self) -> list[int]:
        """Process ids of its nodes, running or not waited for."""
        lines = [line for line in self.log().splitlines() if "process started with pid" in line]
        pids = [int(line.rpartition("[")[2].rstrip("]")) for line in lines]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    def interrupt(self, number: int = signal.SIGINT) -> int:
        """As Ctrl-C does, to the whole group; returns the exit status."""
        os.killpg(self.process.pid, number)
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def launch(tmp_path, weights) -> Iterator[Callable[..., Launch]]:
    """Starts launches: launch(*arguments, file=...), of a package whose node is the one of this source tree."""
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    executable = tmp_path / "lib" / bringup.PACKAGE / bringup.EXECUTABLE
    for folder in (index, executable.parent, tmp_path / "share" / bringup.PACKAGE):
        folder.mkdir(parents=True)
    (index / bringup.PACKAGE).touch()
    executable.write_text(f"#!{sys.executable}\nfrom {bringup.MODULE} import main\nmain()\n", encoding="utf-8")
    executable.chmod(0o755)
    started = []

    def start(*arguments: str, file: Path = LAUNCH_FILE) -> Launch:
        started.append(Launch(tmp_path, file, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["model:=nowhere"], "the tracker ended with status 1: could not configure: 'nowhere' is neither a model"),
        (["params_file:=/nowhere.yaml"], "params_file: there is no file '/nowhere.yaml'"),
        (["log_level:=loud"], '"loud" is not valid'),
    ],
)
def test_launch_ends_with_status_1_and_the_reason(launch, arguments, told):
    one = launch(*arguments)
    assert one.process.wait(DEADLINE) == 1
    assert told in one.log()
    assert "Traceback" not in one.log()


def test_death_of_an_active_node_ends_the_launch_with_status_1(launch):
    one = launch("namespace:=dying")
    wait_for(lambda: "active: reading" in one.log(), "the node to be active")
    (pid,) = one.nodes()
    os.kill(pid, signal.SIGKILL)
    assert one.process.wait(DEADLINE) == 1
    assert "the tracker ended by SIGKILL" in one.log()
    assert "Traceback" not in one.log()


def test_interrupt_at_any_moment_of_the_start_ends_with_status_0(launch):
    for hundredths in (0, 2, 5, 10, 15, 20, 25, 30, 40, 60, 100, 200):
        one = launch("namespace:=early")
        wait_for(lambda one=one: "All log files" in one.log(), "launch to begin")
        time.sleep(hundredths / 100)
        assert one.interrupt() == 0, (hundredths, one.log())
        assert one.nodes() == []


def test_nothing_outlives_a_launch_that_is_killed(launch):
    one = launch("namespace:=killed")
    wait_for(lambda: "active: reading" in one.log(), "the node to be active")
    (pid,) = one.nodes()
    one.process.kill()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the node to end")


def test_respawned_node_is_active_again_and_counts(launch, peer):
    one = launch("respawn:=true", "respawn_delay:=0.1", "namespace:=again")
    for restarts in range(2):
        wait_for(lambda n=restarts: one.log().count("active: reading") == n + 1, "the node to be active")
        assert one.log().count("started again (restart") == restarts
        (pid,) = one.nodes()
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: "started again (restart 2)" in one.log(), "the second restart")
    assert one.interrupt() == 0


def test_user_drives_the_transitions_without_autostart(launch, peer):
    one = launch("autostart:=false", "namespace:=manual")
    for transition, reached in (("configure", "inactive"), ("activate", "active"), ("deactivate", "inactive")):
        bringup.request_transition(peer.node, transition, "/manual/tracker")
        assert bringup.state(peer.node, "/manual/tracker") == reached
    assert one.interrupt() == 0


@pytest.mark.parametrize("language", INCLUDING)
def test_launch_file_is_included_from_every_language(launch, peer, tmp_path, language):
    outer = tmp_path / f"outer.launch.{language}"
    outer.write_text(INCLUDING[language].format(file=LAUNCH_FILE), encoding="utf-8")
    one = launch(file=outer)
    wait_for(lambda: f"active: reading /{language}/image_raw" in one.log(), "the node to be active")
    assert one.interrupt() == 0
