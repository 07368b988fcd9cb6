# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures how well `Tracker.box_around` finds the box of an object from a point on it.

    python benchmarks/point_box.py --root DIR [--root DIR ...]

Each ``--root`` holds sequences in OTB's or GOT-10k's layout. In each, a frame is drawn at random with a fixed seed. A
click is made at the middle of the annotated box, and others at points drawn from the middle 60 % of its sides. Prints
the median IoU with the annotated box, and how often it is above 0.5, beside those of a square of a fixed share of the
frame.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import trust

from snscf_core import Tracker
from snscf_core.boxes import Array, iou
from snscf_core.online.point_box import square_around

_REACH = 0.3  # of the box's sides, from its middle


def clipped(box: Array | tuple[float, ...], width: int, height: int) -> Array:
    """Return the part of an (x, y, w, h) box that is inside the frame."""
    x, y, w, h = box
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    return np.array((left, top, right - left, bottom - top))


def measure(tracker: Tracker, root: Path, jitters: int, seed: int) -> None:
    """Print the figures of the sequences in a folder."""
    random = np.random.default_rng(seed)
    rows: dict[tuple[str, str], list[float]] = {}
    spent: list[float] = []
    for sequence in map(trust.read, sorted(path for path in root.iterdir() if path.is_dir())):
        index = int(random.choice(np.flatnonzero(np.isfinite(sequence.boxes).all(1))))
        (frame,) = sequence.frames_at([index])
        height, width = frame.shape[:2]
        truth = clipped(sequence.boxes[index], width, height)
        shifts = [np.zeros(2), *random.uniform(-_REACH, _REACH, (jitters, 2))]
        for number, shift in enumerate(shifts):
            point = truth[:2] + truth[2:] * (0.5 + shift)
            began = time.monotonic()
            found = tracker.box_around(frame, point)
            spent.append(time.monotonic() - began)
            where = "off the middle" if number else "middle"
            square = clipped(square_around((point[0], point[1]), width, height), width, height)
            for name, box in (("box_around", found), ("square", square)):
                rows.setdefault((where, name), []).append(float(iou(box, truth)))
    print(f"{root.name}: {len(rows['middle', 'square'])} sequences, {np.median(spent):.2f} s for each point (median)")
    for (where, name), overlaps in rows.items():
        found_half = np.mean(np.array(overlaps) > 0.5)
        print(f"  {where:14} {name:10} median IoU {np.median(overlaps):.2f}, above 0.5: {found_half:.0%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, action="append", required=True, help="a folder of sequences")
    parser.add_argument("--model", default="snscf_nano", help="name or path of weights (default: snscf_nano)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jitters", type=int, default=2, help="points off the middle, for each sequence (default: 2)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    tracker = Tracker(given.model, device=given.device)
    for root in given.root:
        measure(tracker, root, given.jitters, given.seed)


if __name__ == "__main__":
    main()
