# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures success and precision of trackers under `CONDITIONS`, from several starts in each sequence, on several sets.

Each run is stored at once under a fingerprint of everything that it depends on (tracker, weights, code, condition,
images, boxes). A later call finds it there: another tracker or condition adds its own runs and repeats none.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ..boxes import Array
from ..crops import Frame
from . import jobs, metrics
from .conditions import AS_IT_IS, Condition
from .metrics import Rules, Scores
from .runner import Factory, Job, Outcome
from .sequences import ImageSequence, read_frame
from .starts import MOVES, first_frames, moved
from .stored_runs import Inputs, Stale, forget, tracker_fingerprint, write_description
from .trackers import TrackerEntry, read_result, write_result

# The box given at the start counts as right, even where it was moved off the true one.
RULES = Rules(first="truth")

Key = tuple[str, str, str]  # names of a tracker, a set and a condition
Sets = Mapping[str, Sequence[ImageSequence]]


@dataclass(frozen=True, eq=False)
class Filmed(ImageSequence):
    """Shows a sequence from one of its starts, under a condition.

    boxes: N x 4 (x, y, w, h) in pixels of the changed frames; the first is the one given to the tracker.
    truth: N x 4 true boxes in pixels of the original images.
    subset: name of the set that the sequence belongs to.
    """

    condition: Condition = AS_IT_IS
    start: int = 0
    subset: str = ""
    truth: Array = field(default_factory=lambda: np.empty((0, 4)))

    def frames(self) -> Iterator[Frame]:
        return self.frames_at(range(len(self)))

    def frames_at(self, indices: Sequence[int]) -> Iterator[Frame]:
        for index in indices:
            # Seed by frame, so that all trackers see the same noise however they are run.
            rng = np.random.default_rng([zlib.crc32(self.name.encode()), self.start, index])
            yield self.condition.change(read_frame(self.files[index]), index, rng)

    @cached_property
    def fingerprint(self) -> str:
        """Returns a fingerprint of which frames are shown, how they are changed, and of the boxes."""
        names = [file.name for file in self.files]
        text = json.dumps([self.condition.fingerprint, self.name, self.start, self.boxes.tolist(), names])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def score(self, boxes: Array) -> Scores:
        """Scores N x 4 boxes in pixels of the changed frames; errors are in pixels of the original images."""
        return metrics.score(boxes / self.condition.scale, self.truth, RULES)


def film(
    sequence: ImageSequence, condition: Condition, start: int = 0, starts: int = 1, subset: str = "", frames: int = 0
) -> Filmed:
    """Returns one of ``starts`` starts in a sequence, or in its first ``frames`` frames; 0 frames stand for all.

    Raises ValueError if the target never appears.
    """
    shown = len(sequence) if frames == 0 else min(frames, len(sequence))
    first = first_frames(sequence.boxes[:shown], starts)[start]
    chosen = slice(first, shown, condition.step)
    truth = sequence.boxes[chosen]
    boxes = truth.copy()
    boxes[0] = moved(truth[0], MOVES[start % len(MOVES)])
    return Filmed(
        sequence.name,
        sequence.files[chosen],
        boxes * condition.scale,
        condition=condition,
        start=start,
        subset=subset,
        truth=truth,
    )


@dataclass(frozen=True)
class Accuracy:
    """Holds what was measured.

    trackers: descriptions by name.
    scores: by tracker, set and condition, then by sequence, one for each start; only sequences with all starts run.
    failed: error text of each run without a result.
    """

    trackers: Mapping[str, Mapping[str, str]]
    conditions: tuple[Condition, ...]
    subsets: tuple[str, ...]
    starts: int
    scores: Mapping[Key, Mapping[str, tuple[Scores, ...]]]
    failed: Mapping[str, str] = field(default_factory=dict)

    def values(
        self, tracker: str, subsets: Sequence[str], condition: str, measure: str
    ) -> dict[tuple[str, str], float]:
        """Returns a measure of ``metrics.Scores``, averaged over the starts, by set and sequence."""
        return {
            (subset, name): float(np.mean([getattr(one, measure) for one in starts]))
            for subset in subsets
            for name, starts in self.scores.get((tracker, subset, condition), {}).items()
        }


def measure(
    sets: Sets,
    trackers: Sequence[TrackerEntry],
    conditions: Sequence[Condition],
    folder: Path,
    *,
    starts: int = 1,
    frames: int = 0,
    workers: int = 1,
    advance: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = lambda _: None,
) -> Accuracy:
    """Measures all trackers under all conditions, from all starts.

    sets: sequences by the name of their set.
    folder: where runs are kept.
    frames: length at which each sequence is cut, 0 for all of it.
    advance: called with the frames done since its last call and all frames to do.
    tell: called with a text for each failure, and about stored runs that are made again.

    Raises ValueError for trackers that are stored results, and for a sequence whose target never appears.
    """
    if stored := [tracker.name for tracker in trackers if tracker.stored is not None]:
        raise ValueError(f"{stored[0]} holds stored results, which can't be made under other conditions")
    films = [
        film(sequence, condition, start, starts, subset, frames)
        for subset, sequences in sets.items()
        for condition in conditions
        for sequence in sequences
        for start in range(starts)
    ]
    # The longest first, so that no process is left with a long one at the end.
    films.sort(key=len, reverse=True)
    store = _RunStore({tracker.name: _opened(tracker, folder) for tracker in trackers})
    found: dict[tuple[Key, str, int], Scores] = {}
    todo = []
    for tracker in trackers:
        for one in films:
            if (boxes := store.load(tracker, one)) is not None:
                found[_place(tracker, one)] = one.score(boxes)
            else:
                todo.append(Job(tracker, one))
    store.stale.tell(tell)
    made, failed = _run(todo, store, workers, advance, tell)
    scores = _complete({**found, **made}, sets, trackers, conditions, starts)
    descriptions = {tracker.name: tracker.description() for tracker in trackers}
    return Accuracy(descriptions, tuple(conditions), tuple(sets), starts, scores, failed)


@dataclass(frozen=True)
class _RunStore:
    """Keeps one file of boxes and times for each run, with what it was made from. folders: by the tracker's name."""

    folders: Mapping[str, Path]
    stale: Stale = field(default_factory=Stale)

    def load(self, candidate: TrackerEntry, one: Filmed) -> Array | None:
        """Returns the stored N x 4 boxes. None if nothing is stored, or it is `stale`: made from other images."""
        file = self._file(candidate, one)
        if not file.is_file():
            return None
        if part := self._inputs(candidate, one).changed(file):
            self.stale.add(candidate.name, part, f"{one.name} ({one.condition.title}, start {one.start})")
            return None
        return read_result(file)[0]

    def save(self, candidate: TrackerEntry, one: Filmed, outcome: Outcome) -> None:
        file = self._file(candidate, one)
        forget(file)
        write_result(file, outcome.boxes, outcome.seconds)
        self._inputs(candidate, one).write(file)

    def _inputs(self, candidate: TrackerEntry, one: Filmed) -> Inputs:
        # The folder is named after the tracker's fingerprint.
        return Inputs(self.folders[candidate.name].name, one)

    def _file(self, candidate: TrackerEntry, one: Filmed) -> Path:
        folder = self.folders[candidate.name] / one.condition.name
        return folder / f"{one.name}-{one.start}-{one.fingerprint}.txt"


def _place(candidate: TrackerEntry, one: Filmed) -> tuple[Key, str, int]:
    return (candidate.name, one.subset, one.condition.name), one.name, one.start


def _run(
    todo: Sequence[Job],
    store: _RunStore,
    workers: int,
    advance: Callable[[int, int], None],
    tell: Callable[[str], None],
) -> tuple[dict[tuple[Key, str, int], Scores], dict[str, str]]:
    """Runs and stores the jobs. Returns the scores by place, and the error of each failed run by its description."""
    scores: dict[tuple[Key, str, int], Scores] = {}
    failed: dict[str, str] = {}
    total = sum(len(job.sequence) for job in todo)
    workers = max(1, min(workers, len(todo)))
    factory = Factory(workers)
    for done in jobs.run(todo, factory, workers, lambda frames: advance(frames, total)):
        candidate, one = done.job.candidate, done.job.sequence
        assert isinstance(one, Filmed)
        if isinstance(done.result, jobs.Failure):
            what = f"{candidate.name} on {one.name}, {one.condition.title}, start {one.start}"
            failed[what] = done.result.error
            tell(f"{what}: {done.result.error}\n{done.result.details}")
        else:
            assert isinstance(done.result, Outcome)
            store.save(candidate, one, done.result)
            scores[_place(candidate, one)] = one.score(done.result.boxes)
    return scores, failed


def _complete(
    found: Mapping[tuple[Key, str, int], Scores],
    sets: Sets,
    trackers: Sequence[TrackerEntry],
    conditions: Sequence[Condition],
    starts: int,
) -> dict[Key, dict[str, tuple[Scores, ...]]]:
    """Groups the scores by tracker, set and condition; leaves out sequences without a score for every start."""
    scores: dict[Key, dict[str, tuple[Scores, ...]]] = {}
    for tracker, condition, (subset, sequences) in itertools.product(trackers, conditions, sets.items()):
        key = tracker.name, subset, condition.name
        runs = {one.name: [found.get((key, one.name, start)) for start in range(starts)] for one in sequences}
        scores[key] = {name: tuple(run for run in of if run) for name, of in runs.items() if all(of)}
    return scores


def _opened(candidate: TrackerEntry, folder: Path) -> Path:
    """Makes the folder of a tracker's runs, named after its fingerprint, and writes there what that stands for."""
    own = folder / f"{candidate.name}-{tracker_fingerprint(candidate)}"
    write_description(candidate, own)
    return own
