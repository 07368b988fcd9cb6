# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures a network's proposals on pairs of frames, where no frame depends on the one before.

    python benchmarks/pairs.py --root SEQUENCES --model A.safetensors B.safetensors

A few frames in which a target is lost or not decide the result of tracking a sequence. After a short training, networks
differ in these frames by chance. Here each network gets the true box in one frame and searches other frames of the
sequence. The searched places are up to half the target's size away from the true one, and the sizes are up to a fifth
off: the same for every network. The measures judge the proposal with the highest score in a cosine window (SiamRPN's):

- overlap: mean IoU with the true box; right: the share of those above 0.5;
- echo: how much of an error in the assumed size remains in the proposed one (the slope of the proposed over the assumed
  size, as logarithms relative to the true one). At 1 the size never recovers. A bias of the proposals becomes 1 / (1 -
  echo) times as large once the size follows them;
- apart: the share of pairs whose score is higher than that of a search in the same place for the object of the next
  sequence, which is absent there.

The error is the standard error over the sequences.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trust
from tqdm import tqdm

from snscf_core import Target, Tracker
from snscf_core.arrays import Array, to_numpy, without_gradients
from snscf_core.boxes import iou
from snscf_core.crops import TEMPLATE_SIZE, context_side
from snscf_core.evaluation.sequences import ImageSequence, read_frame
from snscf_core.model.acf import hann_window
from snscf_core.model.geometry import flat_boxes

TEMPLATE_SHARES = (0.0, 0.3, 0.6)  # of a sequence's length: frames whose true box is given
MOST_SHIFT, MOST_ZOOM = 0.5, 1.2


class Answers(NamedTuple):
    """Holds one value per pair of a sequence.

    overlaps: IoU of the proposal with the true box
    assumed, proposed: sizes relative to the true one, as logarithms
    scores: scores of the proposals
    strange: scores when searching for another object
    """

    overlaps: np.ndarray
    assumed: np.ndarray
    proposed: np.ndarray
    scores: np.ndarray
    strange: np.ndarray


def ask(tracker: Tracker, sequence: ImageSequence, stranger: ImageSequence, count: int, seed: int) -> Answers:
    """Searches ``count`` times for each given box, and as often for the object in the first box of ``stranger``."""
    absent = _given(tracker, stranger, 0)
    rng = np.random.default_rng(seed)
    present = _present(sequence)
    found = []
    for share in TEMPLATE_SHARES:
        target = _given(tracker, sequence, share)
        for index in rng.choice(present, count):
            x, y, w, h = (float(value) for value in sequence.boxes[index])
            shift, zoom = rng.uniform(-MOST_SHIFT, MOST_SHIFT, 2), MOST_ZOOM ** float(rng.uniform(-1, 1))
            target.centre = (x + w * (0.5 + float(shift[0])), y + h * (0.5 + float(shift[1])))
            target.size = (w * zoom, h * zoom)
            frame = read_frame(sequence.files[index])
            target.frame_size = (frame.shape[1], frame.shape[0])
            scale = context_side(*target.size) / TEMPLATE_SIZE
            proposal, score = best(tracker, *tracker.searched(frame, [target]))
            absent.centre, absent.size, absent.frame_size = target.centre, target.size, target.frame_size
            _, strange = best(tracker, *tracker.searched(frame, [absent]))
            cx, cy, bw, bh = proposal * scale
            box = np.array([target.centre[0] + cx - bw / 2, target.centre[1] + cy - bh / 2, bw, bh])
            grown = math.log(bw * bh / (w * h)) / 2
            found.append((iou(box, sequence.boxes[index]), math.log(zoom), grown, score, strange))
    return Answers(*np.array(found, float).T)


def _given(tracker: Tracker, sequence: ImageSequence, share: float) -> Target:
    """Starts on the true box after this share of the sequence's length."""
    present = _present(sequence)
    index = int(present[int(share * (len(present) - 1))])
    return tracker.init(read_frame(sequence.files[index]), sequence.boxes[index])


def _present(sequence: ImageSequence) -> np.ndarray:
    """Returns the frames with a true box that is large enough to search for."""
    return np.flatnonzero(np.isfinite(sequence.boxes).all(1) & (sequence.boxes[:, 2:] > 3).all(1))


def best(tracker: Tracker, crops: Array, kernels: Array | None) -> tuple[np.ndarray, float]:
    """Returns the best proposal (cx, cy, w, h) in pixels relative to the middle of the crop, and its score."""
    with without_gradients(tracker.device):
        found = tracker.runtime.search(crops, kernels)
    assert found.scores is not None and found.deltas is not None
    scores = 1 / (1 + np.exp(-to_numpy(found.scores)[0]))
    influence = tracker.config.window_influence
    chosen = int((scores + influence * (hann_window(scores.shape[-1]) - scores)).argmax())
    return flat_boxes(to_numpy(found.deltas), tracker.spec.anchors)[0, :, chosen], float(scores.flat[chosen])


def row(name: str, answers: list[Answers]) -> str:
    overlaps = np.array([one.overlaps.mean() for one in answers])
    right = np.mean([(one.overlaps > 0.5).mean() for one in answers])
    # The size of a wrong object says nothing.
    near = [(one, one.overlaps > 0.3) for one in answers]
    echo = [np.polyfit(one.assumed[at], one.proposed[at], 1)[0] for one, at in near if at.sum() > 5]
    error = overlaps.std(ddof=1) / math.sqrt(len(overlaps)) if len(overlaps) > 1 else math.nan
    apart = np.mean([(one.scores > one.strange).mean() for one in answers])
    return f"| {name} | {overlaps.mean():.3f} ± {error:.3f} | {right:.3f} | {np.mean(echo):.2f} | {apart:.3f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of clips in OTB's or GOT-10k's layout")
    parser.add_argument("--names", nargs="*", help="sequences to use; default: all")
    parser.add_argument("--model", nargs="+", default=["snscf_nano"])
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--count", type=int, default=12, help="searches for each of three given boxes of a sequence")
    options = parser.parse_args()
    names = options.names or trust.names_in(options.root)
    if len(names) < 2:
        parser.error("absent objects are taken from other sequences: give at least two")
    sequences = [trust.read(options.root / name) for name in names]
    pairs = len(TEMPLATE_SHARES) * options.count
    print(f"| {len(names)} sequences, {pairs} pairs each | overlap | right | echo | apart |")
    print("|---|---|---|---|---|", flush=True)
    for model in options.model:
        tracker = Tracker(model, mode="siamese", engine=options.engine)
        answers = [
            ask(tracker, sequence, sequences[(seed + 1) % len(sequences)], options.count, seed)
            for seed, sequence in enumerate(tqdm(sequences, desc=str(model)[-40:], file=sys.stderr, leave=False))
        ]
        print(row(str(model), answers), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
