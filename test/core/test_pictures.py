# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Pictures: what damage has changed is refused, what is intact comes back as stored, and frames come in their order."""

from __future__ import annotations

import logging
from io import BytesIO
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from snscf_core.crops import Frame
from snscf_core.data.images import read_image
from snscf_core.evaluation.datasets import read_dataset
from snscf_core.evaluation.sequences import read_boxes, read_frame, read_sequence
from snscf_core.evaluation.vot import read_vot_sequences
from snscf_core.pictures import jpeg
from snscf_core.pictures.decoding import decode_picture
from snscf_core.pictures.files import gap_in, image_files
from snscf_core.scenes.scene import Scene
from snscf_core.texts import read_text

ORIENTATION = b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"  # turned by a quarter


@pytest.fixture(scope="module")
def scene() -> Frame:
    return Scene(1, size=(320, 240))[0].image


def encoded(frame: Frame, suffix: str = ".jpg", *options: int) -> bytes:
    return cv2.imencode(suffix, frame, options)[1].tobytes()


def by_opencv(data: bytes) -> Frame:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


# Damage ---------------------------------------------------------------------------------------------------------------


def test_a_jpeg_with_zeros_in_its_middle_is_refused(scene: Frame) -> None:
    data = bytearray(encoded(scene))
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    assert by_opencv(bytes(data)).shape == scene.shape  # which says nothing
    with pytest.raises(ValueError, match="JPEG is damaged"):
        decode_picture(bytes(data))


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_a_jpeg_cut_to_a_third_is_refused(scene: Frame, end: bytes) -> None:
    data = encoded(scene)
    with pytest.raises(ValueError, match=r"JPEG is damaged"):
        decode_picture(data[: len(data) // 3] + end)


def test_a_flipped_bit_that_libjpeg_does_not_notice_is_found_by_its_seam(scene: Frame) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    whole, rng = encoded(scene, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 80), np.random.default_rng(3)
    for _ in count():
        data = bytearray(whole)
        data[rng.integers(len(data) // 3, len(data) // 2)] ^= 1 << int(rng.integers(8))
        try:
            changed = simplejpeg.decode_jpeg(bytes(data), "BGR", strict=True)
        except ValueError:
            continue
        if (abs(changed.astype(int) - by_opencv(whole)).max(2) > 40).mean() > 0.3:
            break
    with pytest.raises(ValueError, match="along a seam"):
        decode_picture(bytes(data))


def test_a_table_of_zeros_is_refused(scene: Frame) -> None:
    data = bytearray(encoded(scene))
    table = data.index(b"\xff\xdb") + 5
    data[table + 10 : table + 14] = bytes(4)
    with pytest.raises(ValueError, match="quantisation table"):
        decode_picture(bytes(data))


@pytest.mark.parametrize("marker", [b"\xff\xe0", b"\xff\xdb", b"\xff\xc4", b"\xff\xda", b"\xff\xd3", b"\xff\xd9"])
@pytest.mark.parametrize("stray", [b"\x00\x01\x02", bytes(40)])
def test_stray_bytes_before_a_marker_damage_nothing(scene: Frame, marker: bytes, stray: bytes) -> None:
    data = encoded(scene, ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 20)
    place = data.rindex(marker) if marker == b"\xff\xd9" else data.index(marker)
    np.testing.assert_array_equal(decode_picture(data[:place] + stray + data[place:]), by_opencv(data))


@pytest.mark.parametrize(
    "options",
    [
        (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        (cv2.IMWRITE_JPEG_RST_INTERVAL, 7),
        (cv2.IMWRITE_JPEG_QUALITY, 5),
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411),
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422),
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440),
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ],
)
def test_intact_jpegs_of_every_kind_have_the_pixels_that_opencv_decodes(scene: Frame, options: tuple[int, int]) -> None:
    data = encoded(scene, ".jpg", *options)
    np.testing.assert_array_equal(decode_picture(data), by_opencv(data))


def test_bars_and_stripes_along_the_blocks_are_not_taken_for_damage() -> None:
    letterbox = np.zeros((240, 320, 3), np.uint8)
    letterbox[48:192] = 150
    stripes = np.repeat(np.uint8([40, 200] * 8)[:15], 16)[:, None, None] * np.ones((1, 320, 3), np.uint8)
    title = letterbox.copy()
    title[96:112, :160] = 20  # a bar of one row of blocks, from the left edge
    for picture in (letterbox, stripes, title):
        assert decode_picture(encoded(picture)).shape == picture.shape


def test_thin_lines_along_the_blocks_are_not_taken_for_damage() -> None:
    picture = np.random.default_rng(0).normal(60, 3, (240, 320, 3))
    picture[80:83, 160:] += 120  # as two lines of a tiled floor: along a row of blocks, and along the next one
    picture[96:99, :160] += 120
    data = encoded(picture.clip(0, 255).astype(np.uint8))
    assert decode_picture(data).shape == picture.shape
    picture[83:96, 160:] += 120  # what damage leaves: all that comes behind is brighter too
    picture[99:] += 120
    picture[96:99, 160:] += 120
    with pytest.raises(ValueError, match="along a seam"):
        decode_picture(encoded(picture.clip(0, 255).astype(np.uint8)))


def test_grey_and_four_component_jpegs_are_read(scene: Frame) -> None:
    from PIL import Image

    data = encoded(cv2.cvtColor(scene, cv2.COLOR_BGR2GRAY))
    np.testing.assert_array_equal(decode_picture(data), by_opencv(data))
    with BytesIO() as file:
        Image.fromarray(scene).convert("CMYK").save(file, "JPEG", quality=95)
        data = file.getvalue()
    assert abs(decode_picture(data).astype(int) - by_opencv(data)).mean() < 2


def test_a_png_is_refused_for_a_wrong_checksum_of_pixels_but_not_of_a_remark(scene: Frame) -> None:
    data = encoded(scene, ".png")
    remark = b"\0\0\0\x04tEXta\0bc" + b"wrong"[:4]
    np.testing.assert_array_equal(decode_picture(data[:33] + remark + data[33:]), scene)
    at = data.index(b"IDAT") + 100
    with pytest.raises(ValueError, match="PNG is damaged: the checksum of IDAT at byte"):
        decode_picture(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
def test_a_file_that_is_cut_off_is_refused_by_name(tmp_path: Path, scene: Frame, suffix: str) -> None:
    file = tmp_path / f"a{suffix}"
    data = encoded(scene, suffix)
    file.write_bytes(data[: len(data) * 2 // 3])
    for read in (read_frame, read_image):
        with pytest.raises(ValueError, match=rf"a\{suffix} can't be read as an image: "):
            read(file)


def test_without_simplejpeg_opencv_decodes_and_a_warning_says_so_once(
    scene: Frame, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    monkeypatch.setattr(jpeg, "_warned", [])
    data = encoded(scene)
    for _ in range(2):
        np.testing.assert_array_equal(decode_picture(data), by_opencv(data))
    assert len(caplog.records) == 1 and "pip install simplejpeg" in caplog.text
    with pytest.raises(ValueError, match="damaged or cut off"):
        decode_picture(data[: len(data) // 3])


# Pixels as stored -----------------------------------------------------------------------------------------------------


def asking_for_a_turn(data: bytes) -> bytes:
    app1 = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + ORIENTATION + bytes(4)
    return data[:2] + b"\xff\xe1" + (len(app1) + 2).to_bytes(2, "big") + app1 + data[2:]


def test_pixels_stay_as_stored_whatever_exif_asks_for(tmp_path: Path, scene: Frame) -> None:
    data = encoded(scene)
    (tmp_path / "a.jpg").write_bytes(asking_for_a_turn(data))
    assert cv2.imread(str(tmp_path / "a.jpg")).shape == (320, 240, 3)  # so the file does ask for it
    for read in (read_frame, read_image):
        np.testing.assert_array_equal(read(tmp_path / "a.jpg"), by_opencv(data))


@pytest.mark.parametrize("order", ["<", ">"])
def test_pixels_of_a_tiff_stay_as_stored(scene: Frame, order: str) -> None:
    import struct

    grey = np.ascontiguousarray(scene[:, :, 0])
    values = {256: 320, 257: 240, 258: 8, 259: 1, 262: 1, 273: 134, 274: 6, 277: 1, 278: 240, 279: grey.size}
    entries = b"".join(
        struct.pack(order + "HHI", tag, 4 if tag in (273, 279) else 3, 1)
        + (struct.pack(order + "I", value) if tag in (273, 279) else struct.pack(order + "HH", value, 0))
        for tag, value in values.items()
    )
    head = struct.pack(order + "2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(values))
    data = head + entries + bytes(4) + grey.tobytes()
    assert len(data) == 134 + grey.size
    assert by_opencv(data).shape == (320, 240, 3)  # turned, though it was asked not to
    np.testing.assert_array_equal(decode_picture(data)[:, :, 0], grey)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_files_have_the_pixels_of_a_16_bit_message(tmp_path: Path, scene: Frame, suffix: str) -> None:
    from snscf_ros.images import check_image

    # a thermal camera of 14 bits uses a small part of 16
    raw = (scene[:, :, 1].astype(np.uint16) * 8 + 7000).astype(np.uint16)
    file = tmp_path / f"a{suffix}"
    cv2.imwrite(str(file), raw)
    message = SimpleNamespace(encoding="mono16", height=240, width=320, step=640, is_bigendian=0, data=raw.tobytes())
    expected = check_image(message, 10**6)()
    assert expected.std() > 20
    for read in (read_frame, read_image):
        np.testing.assert_array_equal(read(file), expected)


# Order ----------------------------------------------------------------------------------------------------------------


def write_frames(folder: Path, names: list[str], scene: Frame) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(encoded(scene[:64, :64]))


def test_frames_come_in_the_order_of_their_numbers_in_every_reader(tmp_path: Path, scene: Frame) -> None:
    names = [f"{number}.jpg" for number in range(1, 13)]
    write_frames(tmp_path / "Plain" / "img", names, scene)
    (tmp_path / "Plain" / "groundtruth_rect.txt").write_text("1,1,9,9\n" * 12)
    (tmp_path / "list.txt").write_text("Plain\n")
    (tmp_path / "Plain" / "groundtruth.txt").write_text("1,1,9,9\n" * 12)
    (tmp_path / "Plain" / "color").symlink_to("img")
    assert [file.name for file in read_sequence(tmp_path / "Plain").files] == names
    assert [file.name for file in read_vot_sequences(tmp_path)[0].files] == names
    assert [file.name for file in read_dataset("sequences", tmp_path).sequences[0].files] == names


def test_hidden_files_are_no_frames_and_two_of_one_number_are_named(tmp_path: Path, scene: Frame) -> None:
    folder = tmp_path / "img"
    write_frames(folder, ["7.jpg", "._7.jpg", "8.JPG", ".thumb.png"], scene)
    assert [file.name for file in image_files(folder)] == ["7.jpg", "8.JPG"]
    (folder / "007.png").write_bytes(encoded(scene, ".png"))
    with pytest.raises(ValueError, match=r"two images for one frame: 007\.png and 7\.jpg"):
        image_files(folder)


def test_a_gap_in_the_numbers_is_named(tmp_path: Path, scene: Frame, caplog: pytest.LogCaptureFixture) -> None:
    write_frames(tmp_path / "img", [f"{number:04d}.jpg" for number in (1, 2, 3, 6, 7, 9)], scene)
    with caplog.at_level(logging.WARNING):
        assert len(image_files(tmp_path / "img")) == 6
    assert "3 images are missing, first between 0003.jpg and 0006.jpg" in caplog.text
    assert gap_in([Path(f"{number}.jpg") for number in range(0, 60, 3)]) == ""


# Text -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_boxes_are_read_in_the_encodings_that_editors_write(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "groundtruth_rect.txt"
    file.write_text("1,2,3,4\n5,6,7,8\n", encoding=encoding)
    assert read_boxes(file).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_another_encoding_is_named_with_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes("Tür\nCafé\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"list\.txt line 1 is not UTF-8 text \(byte 0xfc\)"):
        read_text(file)
