# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Success and precision of trackers under `CONDITIONS`, from several starts in each sequence, on several sets.

Every run is stored at once under the fingerprint of all that it depends on (tracker, weights, code, condition, images,
boxes), and found again there: another tracker or condition adds its own runs and repeats none.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ..boxes import Array
from ..crops import Frame
from ..model.network import MODELS
from . import fingerprints, jobs, metrics, peers
from .conditions import AS_IT_IS, Condition
from .metrics import Rules, Scores
from .runner import Factory, Job, Outcome
from .sequences import ImageSequence, read_frame
from .starts import MOVES, first_frames, moved
from .trackers import Candidate, read_result, write_result

# The given box counts as right, also where it is a moved one.
RULES = Rules(first="truth")

Key = tuple[str, str, str]  # names of a tracker, a set and a condition
Sets = Mapping[str, Sequence[ImageSequence]]


@dataclass(frozen=True, eq=False)
class Filmed(ImageSequence):
    """A sequence from one of its starts, under a condition. ``boxes`` are those of its own frames, the first the given
    one; ``truth`` N x 4 are the true ones in the pixels of the original images. subset: the set that it belongs to."""

    condition: Condition = AS_IT_IS
    start: int = 0
    subset: str = ""
    truth: Array = field(default_factory=lambda: np.empty((0, 4)))

    def frames(self) -> Iterator[Frame]:
        return self.frames_at(range(len(self)))

    def frames_at(self, indices: Sequence[int]) -> Iterator[Frame]:
        for index in indices:
            # the same noise for all trackers, whatever they run beside
            rng = np.random.default_rng([zlib.crc32(self.name.encode()), self.start, index])
            yield self.condition.change(read_frame(self.files[index]), index, rng)

    @cached_property
    def fingerprint(self) -> str:
        """Of all that the frames and the given box depend on."""
        images = [(file.name, file.stat().st_size) for file in self.files]
        text = json.dumps([self.condition.fingerprint, self.name, self.start, self.boxes.tolist(), images])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def score(self, boxes: Array) -> Scores:
        """The measures of N x 4 boxes in this one's frames; pixels are those of the original images."""
        return metrics.score(boxes / self.condition.scale, self.truth, RULES)


def film(
    sequence: ImageSequence, condition: Condition, start: int = 0, starts: int = 1, subset: str = "", frames: int = 0
) -> Filmed:
    """Returns one of ``starts`` starts in a sequence, or in its first ``frames`` frames.

    Raises ValueError if the target is never there.
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
    """What was measured. trackers: descriptions by name. scores: of each start of each sequence, of those sequences
    whose starts have all been run. failed: runs and why they gave nothing."""

    trackers: Mapping[str, Mapping[str, str]]
    conditions: tuple[Condition, ...]
    subsets: tuple[str, ...]
    starts: int
    scores: Mapping[Key, Mapping[str, tuple[Scores, ...]]]
    failed: Mapping[str, str] = field(default_factory=dict)

    def values(
        self, tracker: str, subsets: Sequence[str], condition: str, measure: str
    ) -> dict[tuple[str, str], float]:
        """A measure of ``metrics.Scores``, mean over the starts, by set and sequence."""
        return {
            (subset, name): float(np.mean([getattr(one, measure) for one in starts]))
            for subset in subsets
            for name, starts in self.scores.get((tracker, subset, condition), {}).items()
        }


def measure(
    sets: Sets,
    trackers: Sequence[Candidate],
    conditions: Sequence[Condition],
    folder: Path,
    *,
    starts: int = 1,
    frames: int = 0,
    workers: int = 1,
    advance: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = lambda _: None,
) -> Accuracy:
    """All trackers under all conditions, from all starts.

    sets: sequences by the name of their set. folder: where runs are kept. frames: of each sequence at most, 0 for all.
    advance: called with frames done and frames to do. tell: gets a text for each failure. Raises ValueError for
    trackers that are stored results, and for a sequence whose target is never there.
    """
    if stored := [tracker.name for tracker in trackers if tracker.stored is not None]:
        raise ValueError(f"{stored[0]} is stored results, which can't be had under other conditions")
    films = [
        film(sequence, condition, start, starts, subset, frames)
        for subset, sequences in sets.items()
        for condition in conditions
        for sequence in sequences
        for start in range(starts)
    ]
    # The longest first, so that no process is left with one at the end.
    films.sort(key=len, reverse=True)
    folders = {tracker.name: folder / f"{tracker.name}-{_opened(tracker, folder)}" for tracker in trackers}

    def file(job: Job) -> Path:
        one = job.sequence
        assert isinstance(one, Filmed)
        return folders[job.candidate.name] / one.condition.name / f"{one.name}-{one.start}-{one.fingerprint}.txt"

    found: dict[tuple[Key, str, int], Scores] = {}
    failed: dict[str, str] = {}

    def keep(job: Job, boxes: Array) -> None:
        one = job.sequence
        assert isinstance(one, Filmed)
        found[(job.candidate.name, one.subset, one.condition.name), one.name, one.start] = one.score(boxes)

    todo = []
    for job in (Job(tracker, one) for tracker in trackers for one in films):
        if file(job).is_file():
            keep(job, read_result(file(job))[0])
        else:
            todo.append(job)
    total = sum(len(job.sequence) for job in todo)
    factory = Factory(max(1, (os.cpu_count() or 1) // max(1, workers)))
    for done in jobs.run(todo, factory, min(workers, len(todo)), lambda frames: advance(frames, total)):
        if isinstance(done.result, jobs.Failure):
            one = done.job.sequence
            assert isinstance(one, Filmed)
            what = f"{done.job.candidate.name} on {one.name}, {one.condition.title}, start {one.start}"
            failed[what] = done.result.error
            tell(f"{what}: {done.result.error}\n{done.result.details}")
        else:
            assert isinstance(done.result, Outcome)
            write_result(file(done.job), done.result.boxes, done.result.seconds)
            keep(done.job, done.result.boxes)
    scores: dict[Key, dict[str, tuple[Scores, ...]]] = {}
    for tracker in trackers:
        for condition in conditions:
            for subset, sequences in sets.items():
                key = tracker.name, subset, condition.name
                runs = {one.name: [found.get((key, one.name, start)) for start in range(starts)] for one in sequences}
                scores[key] = {name: tuple(r for r in of if r) for name, of in runs.items() if all(of)}
    descriptions = {tracker.name: tracker.description() for tracker in trackers}
    return Accuracy(descriptions, tuple(conditions), tuple(sets), starts, scores, failed)


def fingerprint(candidate: Candidate) -> str:
    """Returns 12 hexadecimal digits of what a tracker's boxes depend on, its code included."""
    kind = candidate.source.partition(":")[0]
    code = ""
    if kind in peers.PEERS:
        code = fingerprints.of_code([Path(peers.__file__).read_text(encoding="utf-8")])
    elif candidate.description().get("tracker") in MODELS:
        code = fingerprints.of_tracking()
    text = json.dumps({**candidate.description(), "code": code}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _opened(candidate: Candidate, folder: Path) -> str:
    """The fingerprint; what it stands for is written down beside the runs."""
    found = fingerprint(candidate)
    file = folder / f"{candidate.name}-{found}" / "tracker.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(candidate.description(), indent=1, sort_keys=True) + "\n")
    return found
