# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""How the command line takes its arguments, what ``snscf track`` writes, and how commands end."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from snscf_core.commands.cli import main
from snscf_core.commands.running import prepared
from snscf_core.commands.video_output import VideoOutput
from snscf_core.devices import CPU, device_named
from snscf_core.files import write_file
from snscf_core.model import checkpoints
from snscf_core.model.network import create
from snscf_core.signals import Interruption

ROOT = Path(__file__).parents[2]
BOX = (40.0, 40.0, 30.0, 30.0)


def picture(number: int, width: int = 160, height: int = 120) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A video of 60 frames, 10 a second."""
    file = tmp_path_factory.mktemp("film") / "film.mp4"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (160, 120))
    for number in range(60):
        writer.write(picture(number))
    writer.release()
    return file


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Untrained weights, which track nowhere but run."""
    folder = tmp_path_factory.mktemp("model") / "weights"
    torch.manual_seed(0)
    checkpoints.save(create("snscf_nano", 8).eval(), folder)
    return ["--model", str(folder), "--engine", "torch", "--device", "cpu"]


def played(file: Path) -> tuple[int, float]:
    """Counts the frames that can be read, and returns them with the rate."""
    video = cv2.VideoCapture(str(file))
    count = 0
    while video.read()[0]:
        count += 1
    return count, video.get(cv2.CAP_PROP_FPS)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Lets this process write no file of more bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Arguments ------------------------------------------------------------------------------------------------------------


def test_a_value_may_begin_with_a_minus_sign():
    given = ["track", "in", "--box", "-5,100,30,50", "--init", "-.5,1,2,3@4", "--verbose", "-x"]
    assert prepared(given) == ["track", "in", "--box=-5,100,30,50", "--init=-.5,1,2,3@4", "--verbose", "-x"]


@pytest.mark.parametrize("given", [["track", "x", "--box", ""], ["eval", "--sequences="], ["eval", "--output", ""]])
def test_an_empty_value_is_refused_by_name(given, capsys):
    assert main(given) == 1
    assert f"{given[-1].rstrip('=') or given[-2]} is empty" in capsys.readouterr().err


def test_a_device_that_nothing_runs_on_is_refused_and_cpu_0_is_the_cpu():
    for name in ("mps", "meta", "xpu", "CPU", "cuda:-1", "cuda:99"):
        with pytest.raises(ValueError, match=name):
            device_named(name)
    assert device_named("cpu:0") == device_named("cpu") == CPU


def test_a_refused_box_leaves_the_earlier_output(film, model, tmp_path, capsys):
    text, video = tmp_path / "boxes.txt", tmp_path / "out.mp4"
    text.write_text("of an earlier run\n")
    video.write_bytes(b"of an earlier run")
    outputs = ["--output", str(text), "--video", str(video)]
    assert main(["track", str(film), "--box", "900,900,30,30", *model, *outputs]) == 1
    assert "outside the frame" in capsys.readouterr().err
    assert text.read_text() == "of an earlier run\n" and video.read_bytes() == b"of an earlier run"
    assert main(["track", str(film), "--box", "4,4,30,30", *model, "--video", str(film)]) == 1
    assert "is the input" in capsys.readouterr().err and played(film)[0] == 60


# The video ------------------------------------------------------------------------------------------------------------


def test_a_video_keeps_its_rate_and_all_frames_whatever_their_size(tmp_path):
    file = tmp_path / "out.mp4"
    with VideoOutput(file, 10.0) as video:
        for size in ((160, 120), (160, 120), (320, 240), (90, 120)):
            video.write(picture(1, *size), BOX, "tracked")
    assert played(file) == (4, 10.0) and video.scaled == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("counted", [0, 1], ids=["before it was counted", "between frames"])
def test_a_video_is_playable_after_an_interruption(counted, tmp_path):
    file = tmp_path / "out.mp4"
    with pytest.raises(Interruption), VideoOutput(file, None) as video:
        video.write(picture(1), BOX, "given")
        video.written = counted
        raise Interruption(signal.SIGTERM)
    assert played(file) == (1, 30.0)


def test_a_video_on_a_full_disk_is_an_error_and_the_earlier_one_stays(tmp_path):
    file = tmp_path / "out.mp4"
    file.write_bytes(b"of an earlier run")
    with pytest.raises(OSError, match="full") as error, largest_file(20_000), VideoOutput(file, None) as video:
        for number in range(20):
            video.write(picture(number), BOX, "tracked")
    assert error.value.filename == str(file)
    assert file.read_bytes() == b"of an earlier run" and list(tmp_path.iterdir()) == [file]


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_written_whole_is_left_as_it_was(tmp_path):
    file = tmp_path / "results.json"
    write_file(file, "whole\n")
    with pytest.raises(OSError, match="large") as error, largest_file(1000):
        write_file(file, "x" * 5000)
    assert error.value.filename == str(file)
    assert file.read_text() == "whole\n" and list(tmp_path.iterdir()) == [file]


# Signals --------------------------------------------------------------------------------------------------------------


def ended(command: list[str], number: int, ready, folder: Path) -> subprocess.CompletedProcess[str]:
    """Sends the signal to the command alone as soon as it is ready, and waits for its end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "snscf_core", *command],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not ready():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_tracking_that_is_ended_keeps_what_is_done(number, film, model, tmp_path):
    text, video = tmp_path / "boxes.txt", tmp_path / "out.mp4"
    for name in range(600):  # far more than it tracks before the signal comes
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{name:04d}.jpg"), picture(name))
    outputs = ["--output", str(text), "--video", str(video)]
    command = ["track", str(tmp_path / "images"), "--box", "40,40,30,30", *model, *outputs]
    done = ended(command, number, lambda: text.is_file() and text.read_text().count("\n") > 2, tmp_path)
    lines = text.read_text().splitlines()
    assert done.returncode == 128 + number and 2 < len(lines) < 600
    told = done.stderr.strip().splitlines()[-1]
    assert told.startswith(f"snscf: ended by {number.name}; the first ") and "Traceback" not in done.stderr
    assert all(line.count(",") == 5 for line in lines)
    assert abs(played(video)[0] - len(lines)) <= 1


SLEEPER = '''
import time

class Sleeper:
    """Takes long over every frame."""
    def init(self, image, box):
        self.box = box
    def update(self, image):
        time.sleep(0.2)
        return self.box
'''


@pytest.mark.slow
def test_an_evaluation_that_is_ended_says_where_its_runs_are(tmp_path):
    (tmp_path / "mine.py").write_text(SLEEPER)
    for name in ("a", "b", "c"):
        (tmp_path / "data" / name / "img").mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(str(tmp_path / "data" / name / "img" / f"{number}.png"), picture(number))
        (tmp_path / "data" / name / "groundtruth_rect.txt").write_text("40,40,30,30\n" * 4)
    command = ["eval", "--root", "data", "--tracker", "mine:Sleeper", "--output", "out", "--jobs", "2"]
    runs = tmp_path / "out" / "raw" / "Sleeper"
    done = ended(command, signal.SIGTERM, lambda: (runs / "a.txt").is_file(), tmp_path)
    assert done.returncode == 128 + signal.SIGTERM and "Traceback" not in done.stderr
    assert "ended by SIGTERM; finished runs are in out" in done.stderr
    again = subprocess.run(
        [sys.executable, "-m", "snscf_core", *command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())["trackers"]["Sleeper"]["sequences"]) == 3


@pytest.mark.slow
def test_a_signal_that_nohup_ignores_stays_ignored(film, model, tmp_path):
    if shutil.which("nohup") is None:
        pytest.skip("there is no nohup here")
    program = """
        import os, signal
        from snscf_core.signals import interruptions
        with interruptions():
            os.kill(os.getpid(), signal.SIGHUP)
            print("still here")
    """
    done = subprocess.run(
        ["nohup", sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "still here\n"
