# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The demo as a user runs it: one command, real processes, and files to look at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import cv2
import pytest
from demo_harness import Processes

from snscf_core.scenes import Scene

DEMO = "snscf_ros.demo"


def children_of(process: subprocess.Popen) -> dict[str, int]:
    """Process ids of the tracker and the camera."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            command = (status.parent / "cmdline").read_text()
        except OSError:
            continue
        if parent == process.pid:
            modules = {"tracker_node": "tracker", "operator.command": "page"}
            name = next((name for module, name in modules.items() if module in command), "camera")
            found[name] = int(status.parent.name)
    return found


def wait_until_playing(demo: subprocess.Popen) -> str:
    """Reads the demo's messages until it has chosen its target."""
    said = ""
    while "following" not in said:
        line = demo.stderr.readline()
        assert line, said
        said += line
    return said


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.slow
def test_one_command_shows_the_tracker_following_the_generated_scene(
    weights: Path, processes: Processes, tmp_path: Path
) -> None:
    demo = processes.start(DEMO, "--frames", "40", "--output", "shown")
    output, said = demo.communicate(timeout=200)
    assert demo.returncode == 0, said
    folder = tmp_path / "shown"
    names = {path.name for path in folder.iterdir()}
    assert names == {"overlay.mp4", "contact_sheet.png", "scores.json", "scores.txt", "tracker.log", "camera.log"}

    scores = json.loads((folder / "scores.json").read_text())
    assert scores["frames_sent"] == 40
    assert scores["frames_tracked"] + scores["frames_dropped"] == 40
    assert scores["frames_tracked"] > 1
    assert scores["success_auc"] > 0.3
    assert scores["tracker"].startswith("snscf_nano, mode ")
    assert (scores["width"], scores["height"]) == (640, 480)
    assert 0 < scores["latency_p50"] <= scores["latency_p95"]
    scene = Scene()
    for index, frame in enumerate(scores["frames"]):
        assert frame["truth"] == pytest.approx(scene.truth(index)[0])
    stamps = [float(frame["stamp"]) for frame in scores["frames"]]
    assert stamps == sorted(stamps)

    table = (folder / "scores.txt").read_text()
    assert table.strip() == output.strip()
    for row in ("frames sent ", "frames dropped ", "success AUC ", "precision at 20 px ", "latency, median "):
        assert f"\n{row}" in table
    video = cv2.VideoCapture(str(folder / "overlay.mp4"))
    shots = 0
    while video.read()[0]:
        shots += 1
    assert shots == 40
    sheet = cv2.imread(str(folder / "contact_sheet.png"))
    assert sheet.shape[1] > 1900 and sheet.shape[0] > 1400
    for log in ("tracker.log", "camera.log"):
        assert "Traceback" not in (folder / log).read_text()


@pytest.mark.slow
def test_what_is_wrong_is_said_in_a_sentence(weights: Path, processes: Processes, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (640, 480))
    for index in range(3):
        writer.write(Scene()[index].image)
    writer.release()
    cases = [
        (
            ["--video", "film.mp4"],
            "Give its box in the first frame (640 x 480 pixels, see demo_output/first_frame.png)",
        ),
        (["--video", "nowhere.mp4", "--output", "b"], "nowhere.mp4 does not exist"),
        (["--model", "nowhere.safetensors", "--output", "c"], "nowhere.safetensors"),
    ]
    for arguments, sentence in cases:
        demo = processes.start(DEMO, *arguments)
        _, said = demo.communicate(timeout=120)
        assert demo.returncode == 1, said
        assert sentence in said.splitlines()[-1] and "Traceback" not in said
    assert cv2.imread(str(tmp_path / "demo_output" / "first_frame.png")).shape == (480, 640, 3)
    demo = processes.start(DEMO, "--box", "1,2,3")
    _, said = demo.communicate(timeout=60)
    assert demo.returncode == 2 and "'1,2,3' is not four numbers" in said


@pytest.mark.slow
def test_ctrl_c_ends_the_children_and_keeps_what_was_seen(weights: Path, processes: Processes, tmp_path: Path) -> None:
    demo = processes.start(DEMO)
    wait_until_playing(demo)
    children = children_of(demo)
    assert set(children) == {"tracker", "camera"}
    time.sleep(3)
    demo.send_signal(signal.SIGINT)
    output, said = demo.communicate(timeout=60)
    assert demo.returncode == 130 and said.splitlines()[-1] == "demo: interrupted"
    assert all(gone(pid) for pid in children.values())
    scores = json.loads((tmp_path / "demo_output" / "scores.json").read_text())
    assert 5 < scores["frames_sent"] < 240
    assert "success AUC" in output
    assert cv2.imread(str(tmp_path / "demo_output" / "contact_sheet.png")) is not None


@pytest.mark.slow
def test_a_child_that_dies_is_reported_with_its_log(weights: Path, processes: Processes, tmp_path: Path) -> None:
    demo = processes.start(DEMO)
    wait_until_playing(demo)
    children = children_of(demo)
    time.sleep(2)
    os.kill(children["tracker"], signal.SIGKILL)
    _, said = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "the tracker ended with exit code -9; the end of demo_output/tracker.log:" in said
    assert "following 'target_1'" in said.partition("the end of")[2]
    assert gone(children["camera"])
    assert (tmp_path / "demo_output" / "scores.txt").exists()


@pytest.mark.slow
def test_the_operators_page_is_served_until_ctrl_c(weights: Path, processes: Processes, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    demo = processes.start(DEMO, "--operator")
    said = demo.stdout.readline()
    assert said.startswith("open http://127.0.0.1:"), demo.communicate()
    page = urllib.request.urlopen(said.split()[1], timeout=60).read().decode()
    assert "<title>snscf: operator</title>" in page
    children = children_of(demo)
    assert set(children) == {"tracker", "camera", "page"}
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0 and output == ""  # one address, and nothing else
    assert all(gone(pid) for pid in children.values())
    for name in children:
        assert "Traceback" not in (tmp_path / "demo_output" / f"{name}.log").read_text()


@pytest.mark.slow
def test_children_do_not_outlive_a_demo_that_is_killed(weights: Path, processes: Processes) -> None:
    demo = processes.start(DEMO)
    wait_until_playing(demo)
    children = children_of(demo)
    assert len(children) == 2
    demo.kill()
    demo.communicate()
    deadline = time.monotonic() + 60
    while not all(gone(pid) for pid in children.values()):
        assert time.monotonic() < deadline, "still running"
        time.sleep(0.1)
