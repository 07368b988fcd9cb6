# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A node that is started by something else: it brings itself up, or says why not and ends, and leaves no orphan."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from ros_harness import DEADLINE, bringup, wait_for
from snscf_msgs.msg import TrackStatusArray

from snscf_ros import supervision


@pytest.mark.slow
def test_node_brings_itself_up_and_says_that_it_was_started_again(start):
    environment = supervision.environment_of_child(os.getpid())
    supervision.count_start(environment)
    supervision.count_start(environment)
    parameters = {"autostart_node": True, "modle": "x", "rate_of_nothing": 3, "diagnostics_rate": 10.0}
    tracker = start(namespace="again", parameters=parameters, environment=environment)
    wait_for(lambda: tracker.state == "active", "the node to be active")
    assert "did you mean 'device'?" in tracker.set_parameter("devise", "cpu").reason
    log = tracker.process.log()
    assert "started again (restart 2)" in log
    assert "this node has no parameter modle: did you mean 'mode' or 'model'?" in log
    assert "this node has no parameter rate_of_nothing" in log
    with (
        tracker.camera() as camera,
        tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses,
        tracker.peer.received(DiagnosticArray, "/diagnostics") as arrays,
    ):

        def health() -> DiagnosticStatus | None:
            return next((s for a in reversed(arrays) for s in a.status if s.name == f"{tracker.name}: tracker"), None)

        warned = wait_for(health, "diagnostics")
        assert warned.level == DiagnosticStatus.WARN and "what was followed before is lost" in warned.message
        camera.next()
        assert wait_for(lambda: statuses, "a status")[-1].restarts == 2
        assert tracker.init(camera.truth).success
        wait_for(lambda: (h := health()) and h.level == DiagnosticStatus.OK, "the warning to go")
        assert any(value.key == "restarts" and value.value == "2" for value in health().values)


@pytest.mark.parametrize(
    "parameters, told",
    [
        ({"autostart_node": True, "model": "nowhere"}, "could not configure: 'nowhere' is neither a model"),
        ({"camera_timeout": "soon"}, "camera_timeout"),
    ],
)
def test_node_that_cannot_start_ends_with_one_sentence(start, parameters, told):
    process = start(parameters=parameters).process
    assert process.process.wait(DEADLINE) == 1
    assert told in supervision.last_error(process.log())
    assert "Traceback" not in process.log()


@pytest.mark.slow
def test_transitions_that_a_user_drives_are_left_alone(start):
    tracker = start(namespace="manual")
    tracker.transition("configure")
    assert tracker.state == "inactive"
    tracker.transition("activate")
    assert tracker.state == "active"


def test_node_ends_with_what_started_it_however_that_ends(tmp_path):
    # the parent says who its child is, and is killed, so that it can end nothing itself
    parent = """if True:
        import os, subprocess, sys, time
        from snscf_ros import supervision
        environment = {**os.environ, **supervision.environment_of_child(os.getpid())}
        print(subprocess.Popen(sys.argv[1:], env=environment, stdout=open("log", "w"), stderr=2).pid, flush=True)
        time.sleep(1000)
    """
    command = [sys.executable, "-c", parent, *bringup.tracker_command(namespace="orphan")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())

        def handles_signals() -> bool:
            caught = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").split("SigCgt:")[1].split()[0]
            return bool(int(caught, 16) & 1 << 14)  # SIGTERM

        wait_for(handles_signals, "the node to run")
        process.kill()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the orphan to end")


def test_a_death_is_told_with_its_reason():
    assert supervision.death(0, "x") == supervision.death(-2, "x") == supervision.death(-15, "x") == ""
    assert supervision.death(3, "") == "the tracker ended with status 3"
    assert supervision.death(-9, "") == "the tracker ended by SIGKILL (out of memory?)"
    assert supervision.death(-11, "no") == "the tracker ended by SIGSEGV: no"


@pytest.mark.parametrize(
    "output, error",
    [
        ("\x1b[31m[ERROR] [1.5] [tracker]: no weights\x1b[0m\r\n[INFO] [2.0] [tracker]: bye\r\n", "no weights"),
        ("tracker_node: unexpected error\nTraceback\n  File\na.b.OddError: it broke\n\n", "a.b.OddError: it broke"),
        ("tracker_node: it is so\n", "it is so"),
        ("all is well\n", ""),
    ],
)
def test_last_error_is_found_in_what_a_node_prints(output, error):
    assert supervision.last_error(output) == error
