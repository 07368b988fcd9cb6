# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures what decoding a JPEG costs, in which parts, and what decoding at reduced scale would save.

    python benchmarks/jpeg_decoding.py PICTURE ...

Each picture is scaled to 640x480 and 1920x1080, gets a little noise as a camera's has, and is coded with quality 90.
All ways take turns. The figures are milliseconds of one thread's processor time: the best of all rounds, the median of
all pictures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from snscf_core.pictures import jpeg
from snscf_core.pictures.decoding import read_picture
from snscf_core.pictures.seams import has_seam

SIZES = ((640, 480), (1920, 1080))


def coded(file: Path, size: tuple[int, int]) -> bytes:
    """Returns a picture as a JPEG of that width and height. Raises ValueError if it can't be read."""
    image = cv2.resize(read_picture(file), size, interpolation=cv2.INTER_CUBIC)
    noisy = image + np.random.default_rng(0).normal(0, 3, image.shape)
    return cv2.imencode(".jpg", np.clip(noisy, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def ways(data: bytes, size: tuple[int, int]) -> dict[str, Callable[[], object]]:
    """Returns what is measured, by name."""

    def decoded(divisor: int, colours: str = "BGR", **options: bool) -> Callable[[], object]:
        least = {"min_height": size[1] // divisor, "min_width": size[0] // divisor} if divisor > 1 else {}
        return lambda: simplejpeg.decode_jpeg(data, colours, strict=True, **least, **options)

    whole, block = jpeg.decode_jpeg(data), jpeg.read_header(data).block
    return {
        "with all checks": lambda: jpeg.decode_jpeg(data),
        "simplejpeg": decoded(1),
        "search for seams": lambda: has_seam(whole, *block),
        "simplejpeg, fast DCT and upsampling": decoded(1, fastdct=True, fastupsample=True),
        "simplejpeg, half": decoded(2),
        "simplejpeg, quarter": decoded(4),
        "simplejpeg, eighth, grey": decoded(8, "GRAY"),
        "OpenCV, half": lambda: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_2),
    }


def measured(data: bytes, size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Returns the milliseconds of each way."""
    works = ways(data, size)
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            began = time.thread_time()
            work()
            best[name] = min(best[name], 1000 * (time.thread_time() - began))
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    columns = []
    for size in SIZES:
        files = [coded(file, size) for file in options.pictures]
        rows = [measured(data, size, options.rounds) for data in files]
        kilobytes = np.median([len(data) for data in files]) / 1000
        print(f"{size[0]}x{size[1]}: {len(files)} pictures, median {kilobytes:.0f} kB")
        columns.append({name: float(np.median([row[name] for row in rows])) for name in rows[0]})
    print(f"\n| ms | {' | '.join(f'{width}x{height}' for width, height in SIZES)} |\n|---|---|---|")
    for name in columns[0]:
        print(f"| {name} | {' | '.join(f'{column[name]:.2f}' for column in columns)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
