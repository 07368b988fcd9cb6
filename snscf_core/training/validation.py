# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures how well the weights track clips held out of training."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..data.readers import Clip
from ..evaluation.metrics import score
from ..evaluation.runner import one_pass
from ..evaluation.sequences import ImageSequence
from ..evaluation.trackers import SnscfTracker
from ..online.tracker import Tracker

MIN_FRAMES = 10  # fewest frames with a box for a clip to be worth tracking


def hold_out(clips: Sequence[Clip], share: float = 0.1, seed: int = 0, most: int = 32) -> tuple[list[Clip], list[Clip]]:
    """Splits clips into those to train on and those to validate on.

    A share of the videos is held out, at most ``most`` of them. Their names and the seed decide which, so other entries
    in the list do not change the choice. All objects of a held-out video are held out, and the first of them validates.
    Stills and very short clips all train.
    """
    videos: dict[tuple[str, Path], list[Clip]] = {}
    for clip in clips:
        if len(clip.files) >= MIN_FRAMES:
            videos.setdefault((clip.source, clip.files[0].parent), []).append(clip)
    usable = [key for key, objects in videos.items() if int(_present(objects[0]).sum()) >= MIN_FRAMES]
    order = sorted(usable, key=lambda key: _hash(f"{seed}/{key[0]}/{videos[key][0].name}"))
    held = set(order[: min(most, math.ceil(share * len(order)))])
    training = [clip for clip in clips if not clip.files or (clip.source, clip.files[0].parent) not in held]
    return training, [videos[key][0] for key in sorted(held, key=order.index)]


def as_sequence(clip: Clip, frames: int) -> ImageSequence:
    """Returns a clip from the first frame that shows the target, at most ``frames`` long."""
    start = int(np.argmax(_present(clip)))
    part = slice(start, start + frames)
    return ImageSequence(clip.name, clip.files[part], np.asarray(clip.boxes[part], np.float64))


def validate(
    weights: Path, clips: Sequence[Clip], modes: Sequence[str], device: str, frames: int = 120
) -> dict[str, dict[str, float]]:
    """Returns the success AUC per mode and clip, and their ``mean``, for the weights in a folder.

    Clips are tracked from the first box. A clip with an unreadable image is left out.
    """
    scores: dict[str, dict[str, float]] = {}
    for mode in modes:
        tracker = SnscfTracker(Tracker(weights, mode=mode, device=device, engine="torch"))
        aucs = {}
        for clip in clips:
            try:
                sequence = as_sequence(clip, frames)
                aucs[clip.name] = score(one_pass(tracker, sequence).boxes, sequence.boxes).success_auc
            except (ValueError, OSError) as broken:
                tqdm.write(f"validation leaves out {clip.name}: {broken}", file=sys.stderr)
        scores[mode] = {"mean": float(np.mean(list(aucs.values()))) if aucs else float("nan"), **aucs}
    return scores


def _present(clip: Clip) -> np.ndarray:
    return np.asarray(np.isfinite(clip.boxes).all(axis=1))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
