# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads annotated image sequences in OTB's layout: ``NAME/img/0001.jpg ...`` and ``NAME/groundtruth_rect.txt``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..boxes import Array
from ..crops import Frame
from ..pictures.decoding import read_picture
from ..pictures.files import image_files
from ..texts import read_text


@dataclass(frozen=True)
class ImageSequence:
    """Holds frames in order and the true boxes (x, y, w, h), N x 4, NaN where the target is absent.

    Boxes are in the data set's own coordinates, where the first pixel may be 0 or 1. Trackers get them unchanged, and
    results are compared with them unchanged.

    polygons: N x 8 corners, if the data set has rotated regions; boxes are then the rectangles around them
    attributes: the challenges that the data set ascribes to the sequence
    """

    name: str
    files: tuple[Path, ...]
    boxes: Array
    attributes: tuple[str, ...] = ()
    polygons: Array | None = None

    def __len__(self) -> int:
        return len(self.files)

    def frames(self) -> Iterator[Frame]:
        """Yields the frames as ``read_frame`` returns them."""
        return map(read_frame, self.files)

    def frames_at(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Yields the frames of these indices."""
        return (read_frame(self.files[index]) for index in indices)


def image_folder(folder: Path) -> Path:
    """Returns the folder's ``img`` if it has one, else the folder itself."""
    return folder / "img" if (folder / "img").is_dir() else folder


def read_frame(file: Path) -> Frame:
    """Reads an image file as H x W x 3 uint8 BGR, as stored: without the rotation that EXIF may ask for.

    Raises ValueError, naming the file, if it is missing, damaged, cut off or no image.
    """
    return read_picture(file)


def read_boxes(file: Path) -> Array:
    """Reads N x 4 boxes from a text file, one per line, separated by commas, tabs or spaces; NaN is allowed."""
    rows = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = [float(value) for value in re.split(r"[,\s]+", line.strip().strip(","))]
        except ValueError as error:
            raise ValueError(f"{file} line {number}: {error}") from error
        if len(row) != 4:
            raise ValueError(f"{file} line {number} has {len(row)} numbers instead of 4 (x, y, w, h)")
        rows.append(row)
    return np.array(rows, np.float64).reshape(-1, 4)


def read_truth(file: Path) -> Array:
    """Reads N x 4 true boxes as `read_boxes` does. A box without width or height is an absent target: NaN."""
    return present(read_boxes(file))


def present(boxes: Array) -> Array:
    """Returns N x 4 true boxes with NaN in each row that is not a box: some data sets write 0,0,0,0 for no target."""
    there = np.isfinite(boxes).all(axis=1, keepdims=True) & (boxes[:, 2:] > 0).all(axis=1, keepdims=True)
    return np.where(there, boxes, np.nan)


def read_sequence(folder: Path) -> ImageSequence:
    """Reads one sequence in OTB's layout.

    Raises FileNotFoundError with the expected files, and ValueError if frames and boxes differ in number.
    """
    images, truth = folder / "img", folder / "groundtruth_rect.txt"
    if not images.is_dir() or not truth.is_file():
        raise FileNotFoundError(f"{folder} is no sequence: expected {images}/0001.jpg, ... and {truth}")
    files = image_files(images)
    boxes = read_truth(truth)
    if len(files) != len(boxes):
        raise ValueError(f"{folder} has {len(files)} images but {len(boxes)} boxes")
    if not files:
        raise ValueError(f"{folder} has no images")
    return ImageSequence(folder.name, files, boxes)


def open_folder(folder: Path) -> tuple[ImageSequence, bool]:
    """Opens a folder in OTB's layout, a folder of images, or a folder that holds them in ``img``.

    Returns the sequence, and whether it has true boxes; its boxes are NaN if not. The sequence is empty if there are no
    images. Raises what `read_sequence` raises for a damaged folder in OTB's layout.
    """
    if (folder / "img").is_dir() and (folder / "groundtruth_rect.txt").is_file():
        return read_sequence(folder), True
    files = image_files(image_folder(folder))
    return ImageSequence(folder.resolve().name, files, np.full((len(files), 4), np.nan)), False


def read_sequences(root: Path, names: list[str] | None = None) -> list[ImageSequence]:
    """Reads all sequences in a folder, or the named ones, in alphabetical order. Raises as ``read_sequence`` does."""
    folders = [root / name for name in names] if names else sequence_folders(root)
    return [read_sequence(folder) for folder in folders]


def sequence_folders(root: Path) -> list[Path]:
    """Lists the folders with a sequence, in alphabetical order. Raises FileNotFoundError if there are none."""
    expected = f"expected {root}/NAME/img/0001.jpg, ... and {root}/NAME/groundtruth_rect.txt for each"
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder; {expected}")
    folders = sorted(folder for folder in root.iterdir() if (folder / "img").is_dir())
    if not folders:
        raise FileNotFoundError(f"{root} has no sequences; {expected}")
    return folders
