# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Turns the video of a demonstration into the animation of the front page: ``make animation``.

    python docs/animation.py demo_output/overlay.mp4 docs/pictures/demo.webp

Takes every n-th frame and lowers the quality until the file is small enough.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
from PIL import Image

LIMIT = 1_900_000  # bytes
WIDTH = 480  # pixels
QUALITIES = (45, 35, 25, 15)


def frames(video: Path, every: int) -> list[Image.Image]:
    """Reads every n-th frame, scaled to ``WIDTH``. Raises ValueError if the file is no video."""
    capture = cv2.VideoCapture(str(video))
    found = []
    number = 0
    while True:
        more, frame = capture.read()
        if not more:
            break
        if number % every == 0:
            height = round(frame.shape[0] * WIDTH / frame.shape[1])
            small = cv2.resize(frame, (WIDTH, height), interpolation=cv2.INTER_AREA)
            found.append(Image.fromarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB)))
        number += 1
    if not found:
        raise ValueError(f"{video} holds no frames that OpenCV can read")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("animation", type=Path, help="file that ends in .webp")
    parser.add_argument("--every", type=int, default=3, help="take every n-th frame (default 3)")
    parser.add_argument("--milliseconds", type=int, default=150, help="of each frame (default 150)")
    options = parser.parse_args()
    first, *rest = frames(options.video, options.every)
    for quality in QUALITIES:
        first.save(
            options.animation, save_all=True, append_images=rest, duration=options.milliseconds, loop=0,
            quality=quality, method=4,
        )  # fmt: skip
        size = options.animation.stat().st_size
        if size <= LIMIT:
            print(f"{options.animation}: {1 + len(rest)} frames, quality {quality}, {size / 1e6:.2f} MB")
            return 0
    print(
        f"{options.animation} has {size} bytes even at quality {quality}; take fewer frames (--every)", file=sys.stderr
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
