# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Bags made of sequences: the same bytes every time, and nothing is overwritten."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from bag_harness import FRAMES, HEIGHT, TOPIC, TRUTH, WIDTH, picture, run

from snscf_ros.bags.bag import Bag
from snscf_ros.bags.recording import Recording
from snscf_ros.images import ImageRejected, check


def content(path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in ([path] if path.is_file() else sorted(path.iterdir()))}


@pytest.mark.parametrize("storage", ["mcap", "sqlite3", "rosbag1"])
def test_the_same_input_gives_the_same_bytes(sequence, tmp_path, storage):
    ending = ".bag" if storage == "rosbag1" else ""
    made = []
    for folder in ("one", "two"):
        assert run("bag", "from-sequence", sequence, tmp_path / folder / "bag", "--format", storage) == 0
        made.append(content(tmp_path / folder / f"bag{ending}"))
    assert made[0] == made[1]


def test_an_existing_bag_is_left_as_it_is(sequence, tmp_path, capsys):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag.bag").write_text("mine")
    assert run("bag", "from-sequence", sequence, tmp_path / "bag") == 1
    assert "bag exists already; it is left as it is" in capsys.readouterr().err
    assert run("bag", "from-sequence", sequence, tmp_path / "bag", "--format", "rosbag1") == 1
    assert (tmp_path / "bag.bag").read_text() == "mine" and not list((tmp_path / "bag").iterdir())


@pytest.mark.parametrize("storage", ["mcap", "rosbag1"])
@pytest.mark.parametrize("encoding", ["bgr8", "rgb8", "mono8", "jpeg"])
def test_every_encoding_shows_the_picture(bags, storage, encoding):
    with Bag(bags(storage, encoding)) as bag:
        topic = f"{TOPIC}/compressed" if encoding == "jpeg" else TOPIC
        assert set(bag.topics) == {topic, TRUTH}
        frame = Recording(bag, topic).frame(2)
    expected = picture(2)
    if encoding == "mono8":
        expected = cv2.cvtColor(cv2.cvtColor(expected, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    difference = np.abs(frame.astype(int) - expected)
    assert difference.mean() < 4 if encoding == "jpeg" else difference.max() == 0


def test_jpeg_files_are_taken_as_they_are_and_a_folder_of_images_will_do(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.jpg"), picture(number))
    bag = tmp_path / "bag"
    asked = ("--topic", "/front/image_raw", "--encoding", "jpeg", "--start-stamp", "12.5", "--fps", "4")
    assert run("bag", "from-sequence", folder, bag, *asked) == 0
    with Bag(bag) as opened:
        assert list(opened.topics) == ["/front/image_raw/compressed"]
        recording = Recording(opened, "/front/image_raw/compressed")
        assert recording.stamps == [12_500_000_000, 12_750_000_000, 13_000_000_000]
        for number, stored in enumerate(recording.messages()):
            assert bytes(stored.message().data) == (folder / f"{number}.jpg").read_bytes()


def test_a_video_keeps_its_pace(tmp_path):
    video = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 8.0, (WIDTH, HEIGHT))
    for number in range(4):
        writer.write(picture(number))
    writer.release()
    assert run("bag", "from-sequence", video, tmp_path / "bag") == 0
    with Bag(tmp_path / "bag") as bag:
        recording = Recording(bag, TOPIC)
        assert np.diff(recording.stamps).tolist() == [125_000_000] * 3
        assert np.abs(recording.frame(3).astype(int) - picture(3)).mean() < 10


def test_what_cannot_be_made_is_told_and_leaves_nothing(sequence, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(sequence, broken)
    (broken / "img" / f"{FRAMES:04d}.png").write_bytes(b"no picture")
    (tmp_path / "none").mkdir()
    (tmp_path / "junk").write_bytes(bytes(range(256)) * 9)
    for source, options, sentence in (
        (broken, (), "can't be read as an image"),
        (tmp_path / "missing", (), "missing does not exist"),
        (tmp_path / "none", (), "has no images"),
        (tmp_path / "junk", (), "can't be opened as a video"),
        (sequence, ("--fps", "-3"), "--fps must be greater than 0"),
        (sequence, ("--start-stamp", "noon"), "--start-stamp must be seconds"),
        (sequence, ("--start-stamp", "5e9"), "--start-stamp must be greater than 0 and less than"),
        (sequence, ("--topic", "image"), "--topic must be absolute"),
    ):
        assert run("bag", "from-sequence", source, tmp_path / "out" / "bag", *options) == 1
        error = capsys.readouterr().err
        assert error.startswith("snscf: ") and sentence in error and error.count("\n") == 1
    assert not list((tmp_path / "out").iterdir())


def test_a_frame_that_cannot_be_read_is_left_out_only_where_that_is_allowed(sequence, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(sequence, broken)
    (broken / "img" / "0002.png").write_bytes(b"no picture")
    assert run("bag", "from-sequence", broken, tmp_path / "bag") == 1
    assert f"1 of {FRAMES} frames can't be read" in (said := capsys.readouterr().err) and "0002.png" in said
    assert not (tmp_path / "bag").exists()
    assert run("bag", "from-sequence", broken, tmp_path / "bag", "--allow-damaged", "--fps", "10") == 0
    assert "1 frames can't be read and are left out" in capsys.readouterr().out
    with Bag(tmp_path / "bag") as bag:
        stamps = Recording(bag, TOPIC).stamps
        assert len(stamps) == FRAMES - 1 and stamps[1] - stamps[0] == 200_000_000


def test_a_damaged_jpeg_in_a_bag_is_rejected(sequence, tmp_path):
    assert run("bag", "from-sequence", sequence, tmp_path / "bag", "--encoding", "jpeg") == 0
    with Bag(tmp_path / "bag") as bag:
        recording = Recording(bag, f"{TOPIC}/compressed")
        message = next(recording.messages()).message()
        data = bytearray(message.data)
        data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
        whole, damaged = (SimpleNamespace(format=message.format, data=content) for content in (message.data, data))
        assert check(whole, 10**6)().shape == (HEIGHT, WIDTH, 3)
        with pytest.raises(ImageRejected, match="JPEG is damaged"):
            check(damaged, 10**6)()
