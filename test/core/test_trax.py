# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The tracker behind the VOT toolkit's protocol: a real client and a real process that serves it."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from snscf_core import Tracker
from snscf_core.commands.trax import main

BOX = (40.3, 40.0, 30.0, 30.0)
# Both sides compute with one thread: small tensors on several threads crawl where other processes work too.
ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Files of a textured square that moves to the right over a blurred background, 4 pixels a frame."""
    rng = np.random.default_rng(0)
    background = cv2.GaussianBlur(rng.integers(0, 256, (120, 160, 3), np.uint8), (0, 0), 2)
    patch = rng.integers(0, 256, (6, 6, 3), np.uint8).repeat(5, 0).repeat(5, 1)
    files = []
    for index in range(5):
        frame = background.copy()
        frame[40:70, 40 + 4 * index : 70 + 4 * index] = patch
        files.append(tmp_path_factory.getbasetemp() / f"trax_{index:08d}.png")
        cv2.imwrite(str(files[-1]), frame)
    return files


@pytest.fixture
def serve(weights):
    """Starts a server; gives its client and its process. Skips where vot-trax is not installed."""
    client = pytest.importorskip("trax.client")
    processes = []

    def start(*options):
        command = [sys.executable, "-m", "snscf_core.commands.trax", "--device", "cpu", *options]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env=ALONE))
        process = processes[-1]
        # vot-trax 4.0 fails without a log.
        return client.Client((process.stdin.fileno(), process.stdout.fileno()), log=lambda _: None), process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def followed(client, images, region):
    """Boxes and confidences, the first frame's included."""
    answers = [client.initialize({"color": images[0]}, [(region, {})], {})[0]]
    answers += [client.frame({"color": image}, {}, [])[0] for image in images[1:]]
    assert all(len(answer) == 1 and answer[0][0].type == "rectangle" for answer in answers)
    return [answer[0][0].bounds() for answer in answers], [float(answer[0][1]["confidence"]) for answer in answers]


@pytest.mark.slow
def test_a_client_gets_what_the_tracker_finds_in_every_kind_of_image(serve, frames, one_thread):
    trax = pytest.importorskip("trax")
    client, process = serve("--mode", "correlation_filter")
    assert client.tracker_name == "snscf_nano correlation_filter"
    assert client.region_formats == ["rectangle"]
    assert set(client.image_formats) == {"path", "memory", "buffer"}

    tracker = Tracker(device="cpu", mode="correlation_filter", engine="torch")
    pictures = [cv2.imread(str(file)) for file in frames]
    target = tracker.init(pictures[0], np.float32(BOX))
    tracks = [tracker.update(picture, target) for picture in pictures[1:]]
    assert abs(tracks[-1].box[0] - 56.3) < 3

    x, y, w, h = BOX
    diamond = [(x + w / 2, y), (x + w, y + h / 2), (x + w / 2, y + h), (x, y + h / 2)]
    rgb = [np.ascontiguousarray(picture[..., ::-1]) for picture in pictures]
    # One connection can start several times, as the toolkit does after failures.
    for images, region in (
        ([trax.FileImage.create(str(file)) for file in frames], trax.Rectangle.create(*BOX)),
        ([trax.MemoryImage.create(picture) for picture in rgb], trax.Rectangle.create(*BOX)),
        ([trax.BufferImage.create(file.read_bytes()) for file in frames], trax.Polygon.create(diamond)),
    ):
        boxes, confidences = followed(client, images, region)
        assert np.allclose(boxes[0], BOX, atol=1e-3) and confidences[0] == 1
        assert np.allclose(boxes[1:], [track.box for track in tracks], atol=0.01)
        assert np.allclose(confidences[1:], [track.score for track in tracks], atol=0.001)
    client.quit()
    assert process.wait(60) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("box", "file", "text"),
    [((0, 0, 20, 20), "nowhere.png", "nowhere.png can't be read"), ((500, 500, 20, 20), None, "outside")],
)
def test_what_can_not_be_used_ends_the_connection_with_one_sentence(box, file, text, serve, frames):
    trax = pytest.importorskip("trax")
    client, process = serve("--mode", "correlation_filter")
    image = trax.FileImage.create(file or str(frames[0]))
    with pytest.raises(trax.TraxException, match=text):
        client.initialize({"color": image}, [(trax.Rectangle.create(*box), {})], {})
    assert process.wait(60) == 1
    printed = process.stderr.read().decode()
    assert text in printed and "Traceback" not in printed


@pytest.mark.slow
def test_a_client_that_vanishes_ends_the_server(weights):
    pytest.importorskip("trax")
    command = [sys.executable, "-m", "snscf_core.commands.trax", "--mode", "correlation_filter", "--device", "cpu"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=ALONE)
    assert ended.returncode == 1
    assert "the client is gone" in ended.stderr and "Traceback" not in ended.stderr


def test_without_vot_trax_one_sentence_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "trax", None)
    assert main(["--device", "cpu"]) == 1
    printed = capsys.readouterr()
    assert "pip install vot-trax" in printed.err and len(printed.err.splitlines()) == 1 and not printed.out


def test_wrong_options_are_refused_before_a_client_is_greeted(capfd):
    pytest.importorskip("trax")
    assert main(["--mode", "psychic"]) == 1
    printed = capfd.readouterr()
    assert "psychic" in printed.err and not printed.out
