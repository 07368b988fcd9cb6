# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Videos: reading goes on behind a hole, what is missing is counted and said, and frames come as stored."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from snscf_core.commands.cli import main
from snscf_core.pictures.video import Unreadable, is_cut_off, read_video
from snscf_core.scenes.scene import Scene, save_sequence

FRAMES = 24


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(FRAMES, size=(160, 120))


def film(file: Path, scene: Scene, codec: str) -> Path:
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*codec), 10.0, (160, 120))
    for shot in scene:
        writer.write(shot.image)
    writer.release()
    return file


def with_hole(file: Path) -> Path:
    data = bytearray(file.read_bytes())
    data[len(data) * 4 // 10 : len(data) * 6 // 10] = bytes(len(data) * 6 // 10 - len(data) * 4 // 10)
    file.write_bytes(data)
    return file


def test_frames_behind_a_hole_are_read_in_their_places(tmp_path: Path, scene: Scene) -> None:
    whole = [*read_video(film(tmp_path / "whole.mp4", scene, "mp4v")).frames]
    read = [*read_video(with_hole(film(tmp_path / "a.mp4", scene, "mp4v"))).frames]
    lost = [place for place, frame in enumerate(read) if isinstance(frame, Unreadable)]
    assert len(whole) == len(read) == FRAMES and not any(isinstance(frame, Unreadable) for frame in whole)
    assert lost and 5 < min(lost) and max(lost) < FRAMES - 5
    assert f"a.mp4 frame {min(lost) + 1} can't be decoded" in read[lost[0]].reason
    assert np.array_equal(read[0], whole[0])


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "MJPG"), ("mkv", "mp4v")])
def test_a_video_that_is_cut_off_says_what_is_missing(tmp_path: Path, scene: Scene, suffix: str, codec: str) -> None:
    file = film(tmp_path / f"a.{suffix}", scene, codec)
    assert not is_cut_off(file) and len([*read_video(file).frames]) == FRAMES
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
    read = [*read_video(file).frames]
    lost = [frame for frame in read if isinstance(frame, Unreadable)]
    assert len(read) == FRAMES and 5 < len(lost) < 15
    assert f"a.{suffix} is cut off after frame {FRAMES - len(lost)}" in lost[0].reason


def test_an_mp4_without_its_end_says_so(tmp_path: Path, scene: Scene) -> None:
    file = film(tmp_path / "a.mp4", scene, "mp4v")
    assert not is_cut_off(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"a\.mp4 can't be opened as a video: it is cut off"):
        read_video(file)


def test_a_video_that_asks_to_be_turned_comes_as_stored(tmp_path: Path, scene: Scene) -> None:
    file = film(tmp_path / "a.mp4", scene, "mp4v")
    data = file.read_bytes()
    # the matrix in the track's header: unity becomes a turn by 90 degrees
    unity = b"\0\1\0\0" + bytes(12) + b"\0\1\0\0" + bytes(12) + b"@\0\0\0"
    header = data.index(b"tkhd")
    at = data.index(unity, header)
    turned = b"".join(int(n).to_bytes(4, "big") for n in (0, 1 << 16, 0, 0xFFFF0000, 0, 0, 120 << 16, 0, 1 << 30))
    file.write_bytes(data[:at] + turned + data[at + 36 :])
    assert cv2.VideoCapture(str(file)).read()[1].shape == (160, 120, 3)  # so the file does ask for it
    assert next(read_video(file).frames).shape == (120, 160, 3)


@pytest.mark.slow
def test_tracking_goes_on_behind_a_hole_and_ends_with_an_error_unless_that_is_allowed(
    tmp_path: Path, scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    file, text = with_hole(film(tmp_path / "a.mp4", scene, "mp4v")), tmp_path / "boxes.txt"
    box = ",".join(f"{value:.1f}" for value in scene[0].box)
    asked = ["track", str(file), "--box", box, "--engine", "torch", "--device", "cpu", "--output", str(text)]
    for extra, status in (([], 1), (["--allow-damaged"], 0)):
        assert main([*asked, *extra]) == status
        lines = text.read_text().splitlines()
        lost = [line for line in lines if line == "nan,nan,nan,nan,nan,UNREADABLE"]
        assert len(lines) == FRAMES and 0 < len(lost) < 15
        assert f"snscf: {len(lost)} of {FRAMES} frames can't be read" in capsys.readouterr().err


@pytest.mark.slow
def test_a_damaged_picture_in_a_folder_is_named_and_its_line_kept(
    tmp_path: Path, scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    save_sequence(scene, tmp_path / "s")
    file = sorted((tmp_path / "s" / "img").iterdir())[9]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    text = tmp_path / "boxes.txt"
    assert main(["track", str(tmp_path / "s"), "--engine", "torch", "--device", "cpu", "--output", str(text)]) == 1
    assert text.read_text().splitlines()[9] == "nan,nan,nan,nan,nan,UNREADABLE"
    assert f"1 of {FRAMES} frames can't be read" in (said := capsys.readouterr().err) and file.name in said
