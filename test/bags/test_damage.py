# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What can be read of a damaged bag is read, exactly, and what is lost is named."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from bag_harness import FRAMES, STAMPS, TOPIC, picture, rewrite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import CompressionMode

from snscf_ros.bags.bag import Bag
from snscf_ros.bags.recording import Recording, image_topic
from snscf_ros.bags.records import UnreadableMessage


def read(path: Path) -> tuple[set[int], list[str]]:
    """Numbers of the images that are read, all of them checked, and what is said to be lost."""
    with Bag(path) as bag:
        recording = Recording(bag, image_topic(bag, TOPIC))
        numbers = set()
        for stamp, stored in zip(recording.stamps, recording.messages(), strict=True):
            try:
                message = stored.message()
            except UnreadableMessage:
                continue
            number = STAMPS.index(stamp)
            np.testing.assert_array_equal(message.data, picture(number).reshape(-1))
            numbers.add(number)
        return numbers, recording.problems


def file_of(folder: Path) -> Path:
    (file,) = (f for f in folder.iterdir() if f.suffix != ".yaml")
    return file


def copy(bag: Path, folder: Path) -> Path:
    """A bare file of the bag, to be damaged."""
    source = file_of(bag) if bag.is_dir() else bag
    return Path(shutil.copy(source, folder / f"damaged{source.suffix}"))


def chunks(data: bytes) -> list[tuple[int, int]]:
    """Where each chunk record of an MCAP file begins and ends."""
    found, position = [], 8
    while data[position] != 0x0F:
        (length,) = struct.unpack_from("<Q", data, position + 1)
        if data[position] == 0x06:
            found.append((position, position + 9 + length))
        position += 9 + length
    return found


@pytest.mark.parametrize("compression", [CompressionMode.NONE, CompressionMode.STORAGE])
def test_an_mcap_that_was_cut_off_gives_all_that_came_before(bags, tmp_path, compression):
    whole = file_of(rewrite(bags(), tmp_path / "whole", compression=compression))
    data = whole.read_bytes()
    cut = tmp_path / "cut.mcap"
    last = chunks(data)[-1]
    seen = []
    for end in (len(data) - 1, len(data) - 30, last[1] - 2000, (last[0] + last[1]) // 2, last[0] + 4, len(data) // 3):
        cut.write_bytes(data[:end])
        numbers, problems = read(cut)
        assert numbers == set(range(len(numbers)))
        assert any("cut off after" in problem for problem in problems)
        seen.append(len(numbers))
    assert seen[0] == seen[1] == FRAMES
    # the last, partial chunk is read as far as it goes
    assert FRAMES > seen[2] >= seen[3] >= seen[4] > seen[5] > 0


def test_a_chunk_that_is_not_what_its_checksum_says_is_left_out(bags, tmp_path):
    file = copy(bags(), tmp_path)
    data = bytearray(file.read_bytes())
    (first, end), *_ = chunks(data)
    records = first + 9 + 40
    struct.pack_into("<I", data, first + 9 + 24, zlib.crc32(data[records:end]))
    file.write_bytes(data)
    assert read(file) == (set(range(FRAMES)), [])
    data[records + 100_000] ^= 1
    file.write_bytes(data)
    numbers, (problem,) = read(file)
    assert numbers and numbers == set(range(FRAMES - len(numbers), FRAMES))
    assert "not what its checksum says" in problem and "logged from 1000000000.000000000 to" in problem


def test_reading_goes_on_after_a_hole_in_an_mcap(bags, tmp_path):
    whole = file_of(bags()).read_bytes()
    (first, end), (second, _) = chunks(whole)
    file = tmp_path / "hole.mcap"
    for begin, stop, least in ((first, first + 5000, 1), (end, second - 9, FRAMES)):
        # without its end, so that there is no index to go by
        file.write_bytes(whole[:begin] + bytes(stop - begin) + whole[stop:-1])
        numbers, problems = read(file)
        assert len(numbers) >= least
        assert numbers == set(range(FRAMES - len(numbers), FRAMES))
        assert any(f"is damaged from byte {begin} to {second}" in problem for problem in problems)


def test_an_mcap_without_a_chunk_that_its_index_lists_is_read_without_it(bags, tmp_path):
    file = copy(bags(), tmp_path)
    data = file.read_bytes()
    first, end = chunks(data)[0]
    file.write_bytes(data[:first] + data[end:])
    numbers, _ = read(file)
    assert numbers and numbers == set(range(FRAMES - len(numbers), FRAMES))


def test_garbled_bytes_of_a_message_lose_that_message_alone(bags, tmp_path):
    def garble(messages):
        return [
            (t, k, log, data[:40] + bytes(range(200)) + data[80:] if t == TOPIC and log == STAMPS[5] else data)
            for t, k, log, data in messages
        ]

    numbers, (problem,) = read(rewrite(bags(), tmp_path / "garbled", change=garble))
    assert numbers == set(range(FRAMES)) - {5}
    assert problem == "messages that can't be understood, because their bytes are damaged: 1"


def test_a_database_that_has_lost_its_end_gives_its_beginning(bags, tmp_path):
    file = copy(bags("sqlite3"), tmp_path)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 6 // 10])
    numbers, problems = read(file)
    assert 5 < len(numbers) < FRAMES
    assert any("is damaged" in problem and "is lost" in problem for problem in problems)


def test_a_hole_in_a_database_loses_the_messages_there(bags, tmp_path):
    file = copy(bags("sqlite3"), tmp_path)
    data = bytearray(file.read_bytes())
    page = data.index(picture(12).tobytes()[20_000:20_200]) // 4096 * 4096
    # a page of an image's bytes begins with the number of the next one
    data[page : page + 4096] = b"\xff" * 4096
    file.write_bytes(data)
    numbers, (problem,) = read(file)
    assert numbers == set(range(FRAMES)) - {12}
    assert "1 messages are lost" in problem


def test_a_ros1_bag_that_was_cut_off_gives_its_beginning(bags, tmp_path):
    file = copy(bags("rosbag1"), tmp_path)
    data = file.read_bytes()
    for share, least in ((0.99, 15), (0.7, 10), (0.4, 1)):
        file.write_bytes(data[: int(len(data) * share)])
        numbers, problems = read(file)
        assert FRAMES >= len(numbers) >= least
        assert numbers == set(range(len(numbers)))
        assert problems


def test_a_ros1_bag_that_was_never_closed_is_read(bags, tmp_path):
    file = copy(bags("rosbag1"), tmp_path)
    data = bytearray(file.read_bytes())
    at = data.index(b"index_pos=") + len(b"index_pos=")
    (index,) = struct.unpack_from("<Q", data, at)
    struct.pack_into("<Q", data, at, 0)
    file.write_bytes(data[:index])
    numbers, problems = read(file)
    assert numbers == set(range(FRAMES))
    assert any("no index" in problem for problem in problems)


def test_a_missing_file_of_a_split_bag_and_broken_metadata_are_named(bags, tmp_path):
    folder = Path(shutil.copytree(bags(), tmp_path / "bag"))
    metadata = folder / "metadata.yaml"
    text = metadata.read_text()
    file = file_of(folder).name
    metadata.write_text(text.replace(f"  - {file}", f"  - {file}\n  - gone.mcap"))
    assert read(folder) == (set(range(FRAMES)), ["gone.mcap is missing, which metadata.yaml lists"])
    metadata.write_text("]not yaml")
    numbers, (problem,) = read(folder)
    assert len(numbers) == FRAMES and "metadata.yaml can't be read" in problem


def test_of_a_split_bag_whose_last_file_is_empty_the_others_are_read(bags, tmp_path):
    folder = Path(shutil.copytree(bags(), tmp_path / "bag"))
    (folder / "metadata.yaml").unlink()
    (folder / "mcap_bgr8_1.mcap").write_bytes(b"")
    numbers, (problem,) = read(folder)
    assert len(numbers) == FRAMES
    assert problem.startswith("mcap_bgr8_1.mcap: can't be read") and "empty" in problem


def test_a_compressed_file_that_was_cut_off_gives_its_beginning(bags, tmp_path):
    file = file_of(rewrite(bags(), tmp_path / "packed", compression=CompressionMode.FILE))
    data = file.read_bytes()
    cut = tmp_path / "cut.mcap.zstd"
    cut.write_bytes(data[: len(data) * 2 // 3])
    numbers, problems = read(cut)
    assert numbers and numbers == set(range(len(numbers)))
    assert any("uncompressed only in part" in problem for problem in problems)


def test_a_bag_without_images_is_told_in_a_sentence(bags, tmp_path):
    empty = rewrite(bags(), tmp_path / "empty", change=lambda messages: [])
    with Bag(empty) as bag, pytest.raises(ValueError, match=r"--image-topic; .* has none"):
        image_topic(bag, "")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3", "rosbag1"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_damaged_the_answer_is_images_or_a_sentence(bags, tmp_path, storage, data):
    file = copy(bags(storage), tmp_path)
    content = bytearray(file.read_bytes())
    if data.draw(st.booleans(), label="cut"):
        del content[data.draw(st.integers(0, len(content) - 1), label="end") :]
    for _ in range(data.draw(st.integers(0, 3), label="holes")):
        at = data.draw(st.integers(0, max(0, len(content) - 1)), label="at")
        junk = data.draw(st.binary(min_size=1, max_size=400), label="junk")
        content[at : at + len(junk)] = junk
    file.write_bytes(content)
    try:
        with Bag(file) as bag:
            recording = Recording(bag, image_topic(bag, TOPIC))
            assert len(list(recording.messages())) == len(recording)
    except ValueError as error:
        assert str(error)
