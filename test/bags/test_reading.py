# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every kind of bag gives the same images, in order of their stamps."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from bag_harness import ABSENT, FRAMES, STAMPS, TOPIC, TRUTH, picture, restamped, rewrite, true_box
from rosbags.rosbag2 import CompressionMode

from snscf_ros.bags.bag import Bag
from snscf_ros.bags.recording import Recording, image_topic, truth_topic


def check(path: Path) -> None:
    """The bag gives the images and true boxes of the sequence, in order and one by one, and nothing is lost."""
    with Bag(path) as bag:
        recording = Recording(bag, image_topic(bag, ""), truth_topic(bag, TRUTH))
        assert recording.stamps == STAMPS
        assert recording.problems == []
        truth = recording.truth_from_topic()
        for number in (0, 7, FRAMES - 1):
            np.testing.assert_array_equal(recording.frame(number), picture(number))
            np.testing.assert_allclose(truth[number], true_box(number))
        assert np.isnan(truth[ABSENT]).all()
        played = [stored.message() for stored in recording.messages()]
        assert len(played) == FRAMES
        for number, message in enumerate(played):
            np.testing.assert_array_equal(message.data, picture(number).reshape(-1))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3", "rosbag1"])
def test_all_storages_give_the_same(bags, storage):
    check(bags(storage))


@pytest.mark.parametrize(
    ("storage", "compression"),
    [
        ("mcap", CompressionMode.STORAGE),
        ("mcap", CompressionMode.MESSAGE),
        ("mcap", CompressionMode.FILE),
        ("sqlite3", CompressionMode.MESSAGE),
        ("sqlite3", CompressionMode.FILE),
    ],
)
def test_compressed_bags_are_read_with_and_without_their_metadata(bags, tmp_path, storage, compression):
    path = rewrite(bags(), tmp_path / "packed", storage=storage, compression=compression)
    check(path)
    (path / "metadata.yaml").unlink()
    check(path)
    (file,) = path.iterdir()
    check(file)


def test_a_split_bag_is_one_recording_in_order_of_its_files(bags, tmp_path):
    path = tmp_path / "split"
    path.mkdir()
    for part in range(12):

        def two(messages, part=part):
            images = [m for m in messages if m[0] == TOPIC][2 * part : 2 * part + 2]
            return [*images, *([m for m in messages if m[0] == TRUTH] if part == 3 else [])]

        whole = rewrite(bags(), tmp_path / f"split_{part}", change=two)
        shutil.move(whole / f"split_{part}.mcap", path / f"split_{part}.mcap")
    check(path)


def test_images_are_ordered_by_their_stamps_not_by_when_they_were_recorded(bags, tmp_path):
    def late(messages):
        images = [m for m in messages if m[0] == TOPIC]
        first = images[0][2]
        shuffled = [images[i] for i in np.random.default_rng(0).permutation(FRAMES)]
        recorded = [(t, k, first + n * 1000, data) for n, (t, k, _, data) in enumerate(shuffled)]
        return recorded + [m for m in messages if m[0] == TRUTH]

    check(rewrite(bags(), tmp_path / "late", change=late))


def test_equal_stamps_are_ordered_by_log_time_and_missing_ones_replaced_by_it(bags, tmp_path):
    def equal(messages):
        images = [m for m in messages if m[0] == TOPIC]
        same = [(t, k, log, restamped(data, k, STAMPS[3])) for t, k, log, data in images[3:6]]
        none = [(t, k, log, restamped(data, k, 0)) for t, k, log, data in images[6:8]]
        return images[:3] + same[::-1] + none + images[8:]

    with Bag(rewrite(bags(), tmp_path / "equal", change=equal)) as bag:
        recording = Recording(bag, TOPIC)
        assert recording.stamps == STAMPS[:3] + [STAMPS[3]] * 3 + STAMPS[6:]
        assert recording.unstamped == 2
        for number in range(FRAMES):
            np.testing.assert_array_equal(recording.frame(number), picture(number))


@pytest.mark.parametrize(("latency", "epoch"), [(100_000_000, 0), (0, 600 * 10**9)])
def test_an_image_that_says_nothing_of_its_time_stays_between_its_neighbours(bags, tmp_path, latency, epoch):
    """Recorders are late, and their clock may be another than that of the stamps."""

    def changed(messages):
        images = [m for m in messages if m[0] == TOPIC]
        datas = [data for *_, data in images]
        datas[0], datas[5], datas[-1] = restamped(datas[0], images[0][1], 0), datas[5][:60], datas[-1][:60]
        return [(t, k, log + latency + epoch, data) for (t, k, log, _), data in zip(images, datas, strict=True)]

    with Bag(rewrite(bags(), tmp_path / "nothing", change=changed)) as bag:
        recording = Recording(bag, TOPIC)
        assert recording.stamps == pytest.approx(STAMPS, abs=1_000_000)
        for number in sorted({*range(FRAMES)} - {5, FRAMES - 1}):
            np.testing.assert_array_equal(recording.frame(number), picture(number))
        assert "damaged: 2" in " ".join(recording.problems)


def test_stamps_that_are_negative_and_rise_are_no_clock_that_was_set_back(bags, tmp_path):
    stamps = [stamp - STAMPS[-1] - 10**9 for stamp in STAMPS]

    def before_zero(messages):
        images = [m for m in messages if m[0] == TOPIC]
        return [(t, k, log, restamped(data, k, at)) for (t, k, log, data), at in zip(images, stamps, strict=True)]

    with Bag(rewrite(bags(), tmp_path / "negative", change=before_zero)) as bag:
        recording = Recording(bag, TOPIC)
        assert (recording.clock_set, recording.stamps) == (0, stamps)


def test_what_comes_after_the_clock_was_set_back_stays_later(bags, tmp_path):
    def back(messages):
        images = [m for m in messages if m[0] == TOPIC]
        stamps = [stamp if n < 10 else stamp - 500 * 10**9 for n, stamp in enumerate(STAMPS)]
        return [(t, k, log, restamped(data, k, at)) for (t, k, log, data), at in zip(images, stamps, strict=True)]

    with Bag(rewrite(bags(), tmp_path / "back", change=back)) as bag:
        recording = Recording(bag, TOPIC)
        assert recording.clock_set == 1
        for number in range(FRAMES):
            np.testing.assert_array_equal(recording.frame(number), picture(number))
        in_order = bag.in_order(recording._entries)
        next(in_order)
        assert not in_order.gi_frame.f_locals["waiting"], "nothing waits in memory"
        start = recording.start_from_text(f"1,2,3,4@{recording.stamps[12] / 1e9:.9f}", 10**6)
        assert start.index == 12


def test_the_write_ahead_log_of_a_recording_that_was_cut_off_is_read(bags, tmp_path):
    path = rewrite(bags(), tmp_path / "wal", storage="sqlite3")
    file = path / "wal.db3"
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode=WAL")
    rows = database.execute("SELECT topic_id, timestamp, data FROM messages WHERE id > 10").fetchall()
    database.execute("DELETE FROM messages WHERE id > 10")
    database.commit()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", rows)
    database.commit()
    # as a machine leaves it that loses its power: nobody closes the database
    copy = tmp_path / "cut"
    copy.mkdir()
    for name in ("wal.db3", "wal.db3-wal"):
        shutil.copyfile(path / name, copy / name)
    before = {f.name: f.read_bytes() for f in copy.iterdir()}
    database.close()
    check(copy)
    assert {f.name: f.read_bytes() for f in copy.iterdir()} == before


def test_the_only_image_topic_is_taken_and_several_are_listed(bags, tmp_path):
    def another(messages):
        return [*messages, *(("/down/image_raw", k, time, d) for t, k, time, d in messages if t == TOPIC)]

    with Bag(bags()) as bag:
        assert image_topic(bag, "") == TOPIC == image_topic(bag, "camera/image_raw")
        with pytest.raises(ValueError, match=f"/none is no topic .* images on: {TOPIC}$"):
            image_topic(bag, "/none")
        with pytest.raises(ValueError, match="Detection2DArray, not of images"):
            image_topic(bag, TRUTH)
        with pytest.raises(ValueError, match="neither a file nor a topic"):
            truth_topic(bag, "/none")
        with pytest.raises(ValueError, match="ground truth is vision_msgs"):
            truth_topic(bag, TOPIC)
    with (
        Bag(rewrite(bags(), tmp_path / "two", change=another)) as bag,
        pytest.raises(ValueError, match=f"--image-topic; .* has {TOPIC}, /down/image_raw$"),
    ):
        image_topic(bag, "")


def test_what_is_no_bag_is_told_in_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        Bag(tmp_path / "none")
    with pytest.raises(ValueError, match="is no bag: it has none of its files"):
        Bag(tmp_path)
    (tmp_path / "picture.png").write_bytes(b"PNG")
    with pytest.raises(ValueError, match=r"is no bag: expected a folder, or a file that ends in \.mcap"):
        Bag(tmp_path / "picture.png")
    for name in ("empty.mcap", "empty.db3", "empty.bag"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(ValueError, match=f"{name} is no bag"):
            Bag(tmp_path / name)
