# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes small files of the kinds that data sets consist of."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

# As DAVIS and YouTube-VOS have it, with greys from 22 on, so that some colours occur twice.
PALETTE = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]
PALETTE += [(128, 128, 128)] + [(64, 0, 0)] * 14 + [(grey, grey, grey) for grey in range(22, 256)]


def write_image(file: Path, width: int = 64, height: int = 48, seed: int = 0) -> Path:
    """A noisy picture; of noise so that a file cut in half lacks something."""
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert cv2.imwrite(str(file.with_suffix(file.suffix.lower())), picture)
    file.with_suffix(file.suffix.lower()).rename(file)
    return file


def write_palette_png(file: Path, indices: npt.NDArray[np.uint8]) -> Path:
    """A PNG file that holds indices into ``PALETTE``."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = indices.shape
    rows = b"".join(b"\0" + row.tobytes() for row in indices)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", bytes(value for colour in PALETTE for value in colour))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return file


def write_mask(file: Path, mask: npt.NDArray[np.uint8]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), mask)
    return file


def write_text(file: Path, *lines: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def cut_off(file: Path) -> Path:
    """Leaves the first half of a file, as a broken download does."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    return file


def rectangle(
    x: int, y: int, w: int, h: int, value: int = 1, size: tuple[int, int] = (64, 48)
) -> npt.NDArray[np.uint8]:
    """A mask of (width, height) with one rectangle."""
    mask = np.zeros(size[::-1], np.uint8)
    mask[y : y + h, x : x + w] = value
    return mask
