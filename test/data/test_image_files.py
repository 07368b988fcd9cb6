# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Image and mask files: what is stored comes back exactly, and what is broken says so."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import cut_off, rectangle, write_image, write_mask, write_palette_png

from snscf_core.data.images import IndexedMask, Polygons, rasterise, read_image, read_indices, read_mask


def test_an_image_is_read_as_stored(tmp_path: Path) -> None:
    file = write_image(tmp_path / "a.png", 40, 30)
    np.testing.assert_array_equal(read_image(file), cv2.imread(str(file)))


def test_rotation_by_exif_is_not_applied_as_boxes_are_of_the_stored_pixels(tmp_path: Path) -> None:
    file = write_image(tmp_path / "a.jpg", 40, 30)
    content = file.read_bytes()
    tiff = b"MM\0*\0\0\0\x08" + b"\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + b"\0\0\0\0"
    app1 = b"Exif\0\0" + tiff
    file.write_bytes(content[:2] + b"\xff\xe1" + (len(app1) + 2).to_bytes(2, "big") + app1 + content[2:])
    assert cv2.imread(str(file)).shape == (40, 30, 3)  # so the file does ask for it
    assert read_image(file).shape == (30, 40, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_file_that_is_cut_off_is_not_half_an_image(tmp_path: Path, suffix: str) -> None:
    file = write_image(tmp_path / f"a.{suffix}")
    assert read_image(file).shape == (48, 64, 3)
    with pytest.raises(ValueError, match=rf"a\.{suffix} .*cut off after"):
        read_image(cut_off(file))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"", "it is empty"), (b"no image at all", "no picture")],
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "a.jpg"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=f"a.jpg can't be read as an image: .*{message}"):
        read_image(file)


def test_an_image_too_small_to_track_in_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.png: .* at least 16 pixels a side, got 15 x 20"):
        read_image(write_image(tmp_path / "a.png", 15, 20))


def test_indices_of_a_palette_come_back_whatever_the_colours(tmp_path: Path) -> None:
    indices = np.random.default_rng(0).choice(np.array([0, 1, 2, 5, 7, 30, 255], np.uint8), (20, 30))
    np.testing.assert_array_equal(read_indices(write_palette_png(tmp_path / "a.png", indices)), indices)


def test_of_equal_palette_entries_the_first_is_meant(tmp_path: Path) -> None:
    indices = np.full((20, 30), 128, np.uint8)  # as grey as number 7
    assert (read_indices(write_palette_png(tmp_path / "a.png", indices)) == 7).all()


def test_masks_without_palette(tmp_path: Path) -> None:
    mask = rectangle(3, 4, 10, 12, 255)
    np.testing.assert_array_equal(read_indices(write_mask(tmp_path / "grey.png", mask)), mask)
    np.testing.assert_array_equal(read_indices(write_mask(tmp_path / "colour.png", cv2.merge([mask] * 3))), mask)
    assert cv2.imwrite(str(tmp_path / "bits.png"), mask, [cv2.IMWRITE_PNG_BILEVEL, 1])
    np.testing.assert_array_equal(read_indices(tmp_path / "bits.png"), mask)


def test_a_mask_must_be_of_its_images_size(tmp_path: Path) -> None:
    file = write_mask(tmp_path / "a.png", rectangle(3, 4, 10, 12, 255))
    assert read_mask(file, 48, 64).sum() == 120
    with pytest.raises(ValueError, match=r"a.png has 64 x 48 pixels, its image 64 x 50"):
        read_mask(file, 50, 64)


def test_one_object_of_several(tmp_path: Path) -> None:
    file = write_palette_png(tmp_path / "a.png", rectangle(3, 4, 10, 12, 1) + rectangle(30, 4, 5, 5, 2))
    assert read_mask(IndexedMask(file, 2), 48, 64).sum() == 25
    assert read_mask(IndexedMask(file, 3), 48, 64).sum() == 0


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_outlines_through_pixel_centres_give_the_mask_that_they_are_of(seed: int) -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((40, 50), np.float32), (0, 0), 4)
    mask = (noise > noise.mean()).astype(np.uint8)
    filled = np.zeros_like(mask)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    outlines = tuple(contour[:, 0].astype(float) for contour in contours)
    np.testing.assert_array_equal(rasterise(Polygons(outlines, pixel_centres=True), 40, 50), filled)


@settings(deadline=None, max_examples=50)
@given(*(st.floats(-5, 25) for _ in range(2)), *(st.floats(1, 30) for _ in range(2)))
def test_continuous_outlines_cover_the_pixels_that_are_mostly_inside(x: float, y: float, w: float, h: float) -> None:
    box = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
    mask = rasterise(Polygons((box,)), 40, 50)
    columns = np.clip(np.minimum(np.arange(50) + 1, x + w) - np.maximum(np.arange(50), x), 0, 1)
    rows = np.clip(np.minimum(np.arange(40) + 1, y + h) - np.maximum(np.arange(40), y), 0, 1)
    covered = rows[:, None] * columns
    assert mask[covered > 0.85].all()
    assert not mask[covered < 0.15].any()


def test_outlines_that_overlap_are_one_object() -> None:
    square = np.array([[10.0, 10], [20, 10], [20, 20], [10, 20]])
    triangle = np.array([[15.0, 15], [35, 15], [35, 35]])  # has half of the square's last quarter
    one, other = rasterise(Polygons((square,)), 40, 50), rasterise(Polygons((triangle,)), 40, 50)
    both = rasterise(Polygons((square, triangle)), 40, 50)
    assert one.sum() == 100 and (one & other).any() and (both & ~one & other).any()
    np.testing.assert_array_equal(both, one | other)
