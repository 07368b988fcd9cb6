# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""`snscf pick`: a person draws a box in a real browser, and the other commands take what is printed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from ros_harness import DEADLINE, Scene, iou, wait_for

pytest.importorskip("aiohttp")

SCENE = Scene()
# where no ROS is installed
NO_ROS = "import sys; sys.modules.update(dict.fromkeys(('rclpy', 'sensor_msgs', 'vision_msgs', 'snscf_msgs')))\n"


class Picking:
    """The command in a process of its own, without ROS and without a display."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
        program = f"{NO_ROS}from snscf_core.commands.cli import main; sys.exit(main())"
        self._errors = (folder / "stderr.txt").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "pick", *map(str, arguments)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    @property
    def errors(self) -> str:
        return Path(self._errors.name).read_text()

    def address(self) -> str:
        found = wait_for(lambda: re.search(r"http://127\.0\.0\.1:\d+/", self.errors), "the page's address")
        return found[0]

    def end(self) -> tuple[int, str]:
        """The exit status and the standard output."""
        output, _ = self.process.communicate(timeout=DEADLINE)
        self._errors.close()
        return self.process.returncode, output


@pytest.fixture
def picking(tmp_path) -> Iterator:
    """Starts the command: picking(arguments)."""
    started: list[Picking] = []

    def start(*arguments: object) -> Picking:
        started.append(Picking(tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """A folder of six frames of the scene."""
    folder = tmp_path_factory.mktemp("frames")
    for number in range(6):
        cv2.imwrite(str(folder / f"{number:04d}.png"), SCENE.frame(number))
    return folder


@pytest.fixture(scope="module")
def bag(frames, tmp_path_factory) -> Path:
    """The same as a recording."""
    pytest.importorskip("rosbags")
    from snscf_ros.bags import commands

    path = tmp_path_factory.mktemp("bags") / "scene"
    assert commands.main(["bag", "from-sequence", str(frames), str(path)]) == 0
    return path


@pytest.mark.slow
def test_box_that_is_drawn_starts_the_other_commands(picking, frames, bag):
    pytest.importorskip("playwright")
    from operator_harness import CHROMIUM, NO_CHROMIUM, Screen, chromium

    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    printed = {}
    with chromium() as browser:
        for name, arguments, number in (("frames", (frames,), 0), ("bag", (bag, "--frame", 4), 4)):
            command = picking(*arguments, "--serve")
            screen = Screen(browser, command.address())
            screen.wait_for_picture()
            x, y, w, h = SCENE.box(number)
            mouse, size = screen.page.mouse, (SCENE.width, SCENE.height)
            mouse.move(*screen.place(x, y, *size))
            mouse.down()
            mouse.move(*screen.place(x + w, y + h, *size), steps=4)
            mouse.up()
            screen.page.get_by_text("this page can be closed").first.wait_for()
            status, printed[name] = command.end()
            assert status == 0, command.errors
            screen.close()
    from snscf_core.commands.options import box_of
    from snscf_ros.bags.bag import Bag
    from snscf_ros.bags.recording import Recording, image_topic

    assert iou(tuple(box_of(printed["frames"].strip(), "--box")), SCENE.box(0)) > 0.9
    with Bag(bag) as opened:
        start = Recording(opened, image_topic(opened, "")).start_from_text(printed["bag"].strip(), 10**6)
    assert start.index == 4
    assert iou(start.box, SCENE.box(4)) > 0.9


def test_without_a_display_the_frame_is_saved(frames, tmp_path, capsys, monkeypatch):
    from snscf_core.commands.cli import main

    monkeypatch.chdir(tmp_path)
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    assert main(["pick", str(frames), "--frame", "2"]) == 1
    name, told = f"{frames.name}_frame_2.png", capsys.readouterr()
    assert told.out == ""
    assert "there is no display" in told.err and name in told.err
    assert np.array_equal(cv2.imread(str(tmp_path / name)), SCENE.frame(2))


@pytest.mark.slow
def test_signal_ends_the_page_and_nothing_is_printed(picking, bag):
    command = picking(bag, "--serve")
    command.address()
    command.process.send_signal(signal.SIGINT)
    assert command.end() == (128 + signal.SIGINT, "")
    assert "Traceback" not in command.errors


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("--frame", 6), "--frame is 6, but"),
        (("--frame=-1",), "must be 0 or more"),
        (("--save", "frame.txt"), "must end in .png or .jpg"),
    ],
)
def test_what_cannot_be_had_is_refused(frames, tmp_path, capsys, monkeypatch, arguments, told):
    from snscf_core.commands.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["pick", str(frames), *map(str, arguments)]) == 1
    assert told in capsys.readouterr().err
