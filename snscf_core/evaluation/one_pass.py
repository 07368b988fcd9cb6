"""One-pass evaluation (OPE): initialised on the first frame, never helped again."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from ..boxes import Array
from ..memory import keep_memory
from ..tracker import Tracker
from .metrics import Scores, score
from .sequences import ImageSequence


@dataclass(frozen=True)
class SequenceResult:
    """Boxes N x 4 (x, y, w, h; the first is the given one), scores and peak qualities N of one tracker on one sequence.

    seconds: spent in the tracker, initialisation included, reading of images not.
    """

    name: str
    boxes: Array
    scores: Array
    qualities: Array
    measures: Scores
    seconds: float

    @property
    def fps(self) -> float:
        return len(self.boxes) / self.seconds


def run(tracker: Tracker, sequence: ImageSequence) -> SequenceResult:
    """Tracks through a sequence from the first frame's true box."""
    boxes, scores, qualities = [sequence.boxes[0]], [1.0], [0.0]
    seconds = 0.0
    frames = sequence.frames()
    frame = next(frames)
    start = time.perf_counter()
    target = tracker.init(frame, sequence.boxes[0])
    seconds += time.perf_counter() - start
    for frame in frames:
        start = time.perf_counter()
        track = tracker.update(frame, target)
        seconds += time.perf_counter() - start
        boxes.append(np.asarray(track.box))
        scores.append(track.score)
        qualities.append(track.peak_quality)
    predicted = np.stack(boxes)
    return SequenceResult(
        sequence.name,
        predicted,
        np.asarray(scores),
        np.asarray(qualities),
        score(predicted, sequence.boxes),
        seconds,
    )


def evaluate(
    model: str | Path,
    mode: str,
    sequences: list[ImageSequence],
    *,
    device: str = "auto",
    jobs: int = 1,
    finished: Callable[[SequenceResult], None] = lambda _: None,
) -> list[SequenceResult]:
    """All sequences, in ``jobs`` processes; ``finished`` is called after each. Results in their order."""
    if jobs <= 1:
        tracker = Tracker(model, mode=mode, device=device)
        results = []
        for sequence in sequences:
            results.append(run(tracker, sequence))
            finished(results[-1])
        return results
    by_name: dict[str, SequenceResult] = {}
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _one_thread) as pool:
        # The longest first, so that no process is left with one at the end.
        order = sorted(sequences, key=len, reverse=True)
        futures = [pool.submit(_run_alone, model, mode, device, sequence) for sequence in order]
        for future in as_completed(futures):
            result = future.result()
            by_name[result.name] = result
            finished(result)
    return [by_name[sequence.name] for sequence in sequences]


def _one_thread() -> None:
    keep_memory()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _run_alone(model: str | Path, mode: str, device: str, sequence: ImageSequence) -> SequenceResult:
    return run(Tracker(model, mode=mode, device=device), sequence)
