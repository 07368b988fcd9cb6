# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs trackers over data sets: in parallel processes, and under ``torchrun`` across GPUs and machines.

Each finished sequence is stored at once, in the toolkits' own text formats. A restart does not run it again, unless the
tracker, the boxes or the images have changed. A tracker that crashes on a sequence loses only that sequence, and the
result says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ..boxes import Array
from ..cores import use_available_cores
from ..malloc import keep_memory
from . import jobs
from .datasets import Dataset
from .results import Evaluation, SequenceResult, TrackerResult
from .sequences import ImageSequence, read_frame
from .stored_runs import Inputs, Stale, forget, tracker_fingerprint, write_description
from .trackers import OnlineTracker, TrackerEntry, read_result, stored_boxes, write_result
from .vot import BASELINE, SupervisedRun, VotSequence, read_runs, run_supervised, write_runs

ONE_PASS = "one_pass"
_TELL_EVERY = 20  # frames

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Job:
    """Names one tracker on one sequence. experiment: `ONE_PASS`, or `vot.BASELINE` with resets."""

    candidate: TrackerEntry
    sequence: ImageSequence
    experiment: str = ONE_PASS

    @property
    def key(self) -> Key:
        """Returns the names of the tracker, the sequence and the experiment."""
        return self.candidate.name, self.sequence.name, self.experiment


@dataclass(frozen=True)
class Outcome:
    """Holds the result of a one-pass job.

    boxes: N x 4 (x, y, w, h) in pixels; NaN where the tracker gave no box; the first is the given one.
    seconds: N times of the tracker's calls.
    """

    boxes: Array
    seconds: Array


def one_pass(
    tracker: OnlineTracker, sequence: ImageSequence, advance: Callable[[int], None] = lambda _: None
) -> Outcome:
    """Tracks through a sequence from the first frame's true box. The time to read images does not count."""
    if not np.isfinite(sequence.boxes[0]).all():
        raise ValueError("the target is absent in the first frame, so there is no box to start from")
    boxes, seconds = np.full((len(sequence), 4), np.nan), np.zeros(len(sequence))
    for index, frame in enumerate(sequence.frames()):
        start = time.perf_counter()
        if index == 0:
            x, y, w, h = sequence.boxes[0].tolist()
            tracker.init(frame, (x, y, w, h))
            boxes[0] = sequence.boxes[0]
        elif (box := tracker.update(frame)) is not None:
            boxes[index] = box
        seconds[index] = time.perf_counter() - start
        if (index + 1) % _TELL_EVERY == 0:
            advance(_TELL_EVERY)
    advance(len(sequence) % _TELL_EVERY)
    # Round as the stored files do, so that results read from disk score the same.
    return Outcome(np.round(boxes, 4), seconds)


@dataclass(frozen=True)
class Found:
    """Holds the results of jobs by their `Job.key`, and an error text for each job without one."""

    outcomes: dict[Key, Outcome | SupervisedRun]
    failed: dict[Key, str]


class Store:
    """Keeps the results of a run in a folder, as ``raw/TRACKER/NAME.txt``, with what they were made from.

    GOT-10k's are ``raw/TRACKER/NAME/NAME_001.txt``, and runs with resets ``raw/TRACKER/baseline/NAME/NAME_001.txt``.
    """

    def __init__(self, folder: Path, nested: bool) -> None:
        self.folder, self._nested = folder / "raw", nested
        self._trackers: dict[str, str] = {}
        self.stale = Stale()

    def save(self, job: Job, result: Outcome | SupervisedRun) -> None:
        """Stores a job's result, and then what it was made from."""
        file = self._file(job)
        forget(file)
        if isinstance(result, SupervisedRun):
            write_runs(self.folder / job.candidate.name, job.sequence.name, [result])
        else:
            write_result(file, result.boxes, result.seconds)
        self._inputs(job).write(file)

    def load(self, job: Job) -> Outcome | SupervisedRun | None:
        """Returns a job's stored result. Returns None if nothing is stored, or only what is `stale`."""
        length, file = len(job.sequence), self._file(job)
        if not file.is_file():
            return None
        if part := self._inputs(job).changed(file):
            self.stale.add(job.candidate.name, part, job.sequence.name)
            return None
        if job.experiment == BASELINE:
            regions = read_runs(self.folder / job.candidate.name, [job.sequence.name])[job.sequence.name][0]
            return SupervisedRun(regions, np.full(length, np.nan)) if len(regions) == length else None
        boxes, seconds = read_result(file)
        return Outcome(boxes, seconds) if len(boxes) == length else None

    def _inputs(self, job: Job) -> Inputs:
        name = job.candidate.name
        if name not in self._trackers:
            self._trackers[name] = tracker_fingerprint(job.candidate)
        return Inputs(self._trackers[name], job.sequence)

    def _file(self, job: Job) -> Path:
        name = job.sequence.name
        folder = self.folder / job.candidate.name
        if job.experiment == BASELINE:
            return folder / BASELINE / name / f"{name}_001.txt"
        return folder / name / f"{name}_001.txt" if self._nested else folder / f"{name}.txt"


def run(
    dataset: Dataset,
    trackers: Sequence[TrackerEntry],
    *,
    folder: Path | None = None,
    workers: int = 1,
    experiments: Sequence[str] = (ONE_PASS,),
    advance: Callable[[int, int], None] = lambda frames, total: None,
    tell: Callable[[str], None] = lambda _: None,
) -> Found | None:
    """Runs all trackers on all sequences in all experiments.

    folder: where results are stored, and found again by a later run.
    advance: called with the frames done since its last call and all frames to do.
    tell: called with a text for each failure, and about stored results that are made again.

    Under torchrun every process takes its share; the first returns all results, the others None.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    store = Store(folder, nested=dataset.name.startswith("got10k")) if folder else None
    if store is not None and rank == 0:
        for tracker in trackers:
            if tracker.stored is None:
                write_description(tracker, store.folder / tracker.name)
    mine = _ordered(dataset, trackers, experiments)[rank::world]
    results, todo = _known(mine, store, tell)
    if store is not None:
        store.stale.tell(tell)
    total = sum(len(job.sequence) for job in todo)
    workers = max(1, min(workers, len(todo)))
    gpu = int(os.environ["LOCAL_RANK"]) if world > 1 and "LOCAL_RANK" in os.environ else None
    factory = Factory(workers * int(os.environ.get("LOCAL_WORLD_SIZE", "1")), gpu)
    for done in jobs.run(todo, factory, workers, lambda frames: advance(frames, total)):
        if isinstance(done.result, jobs.Failure):
            results.failed[done.job.key] = done.result.error
            tell(f"{done.job.candidate.name} on {done.job.sequence.name}: {done.result.error}\n{done.result.details}")
        else:
            results.outcomes[done.job.key] = done.result
            if store is not None:
                store.save(done.job, done.result)
    if world > 1:
        return _gathered(rank, world, mine, results, store)
    return results


def _ordered(dataset: Dataset, trackers: Sequence[TrackerEntry], experiments: Sequence[str]) -> list[Job]:
    """Lists all jobs, grouped by tracker because making one takes time.

    Each tracker's longest sequences come first, so that no process is left with a long one at the end.
    """
    places = {tracker.name: place for place, tracker in enumerate(trackers)}
    everything = [Job(t, s, e) for t in trackers for e in experiments for s in dataset.sequences]
    return sorted(everything, key=lambda job: (places[job.candidate.name], -len(job.sequence)))


def _known(mine: Iterable[Job], store: Store | None, tell: Callable[[str], None]) -> tuple[Found, list[Job]]:
    """Returns the results that are on disk already, and the jobs still to do."""
    results, todo = Found({}, {}), []
    for job in mine:
        if job.candidate.stored is not None:
            try:
                results.outcomes[job.key] = _stored(job)
            except (FileNotFoundError, ValueError) as error:
                results.failed[job.key] = str(error)
                tell(f"{job.candidate.name} on {job.sequence.name}: {error}")
        elif store is not None and (earlier := store.load(job)) is not None:
            results.outcomes[job.key] = earlier
        else:
            todo.append(job)
    return results, todo


def evaluation(
    dataset: Dataset,
    trackers: Sequence[TrackerEntry],
    found: Found,
) -> Evaluation:
    """Gathers the one-pass results of a run by tracker.

    A result that is shorter or longer than its sequence is scored as far as both go, as in the toolkits, and noted.
    """
    sizes: dict[str, tuple[int, int]] = {}
    results = []
    notes = [f"{name} is left out: {reason}" for name, reason in dataset.unreadable.items()]
    for tracker in trackers:
        sequences = {}
        for sequence in dataset.sequences:
            outcome = found.outcomes.get(Job(tracker, sequence).key)
            if not isinstance(outcome, Outcome):
                continue
            if dataset.rules.bounded and sequence.name not in sizes:
                height, width = read_frame(sequence.files[0]).shape[:2]
                sizes[sequence.name] = width, height
            given, count = len(outcome.boxes), min(len(outcome.boxes), len(sequence))
            if given != len(sequence):
                notes.append(
                    f"the results of {tracker.name} on {sequence.name} have {given} boxes for {len(sequence)} frames: "
                    f"only the first {count} count"
                )
            sequences[sequence.name] = SequenceResult(
                sequence.name,
                outcome.boxes[:count],
                sequence.boxes[:count],
                dataset.rules,
                outcome.seconds[:count],
                sizes.get(sequence.name),
                sequence.attributes,
            )
        lost = {
            name: error
            for (of, name, experiment), error in found.failed.items()
            if of == tracker.name and experiment == ONE_PASS
        }
        results.append(TrackerResult(tracker.name, tracker.description(), sequences, lost))
    return Evaluation(dataset.name, tuple(results), dataset.missing, tuple(notes))


@dataclass(frozen=True)
class Factory:
    """Makes, in each process, the function that turns a job into its `Outcome`.

    processes: number of processes that share this machine's cores.
    gpu: number of this process's GPU under torchrun.
    """

    processes: int
    gpu: int | None = None

    def __call__(self) -> _Work:
        import torch

        keep_memory()
        use_available_cores(self.processes)
        device = f"cuda:{self.gpu}" if self.gpu is not None and self.gpu < torch.cuda.device_count() else None
        return _Work(device)


class _Work:
    def __init__(self, device: str | None) -> None:
        self._device = device
        self._made: tuple[TrackerEntry, OnlineTracker] | None = None

    def __call__(self, job: Job, advance: Callable[[int], None]) -> Outcome | SupervisedRun:
        candidate = job.candidate
        if self._device and candidate.device == "auto":
            candidate = replace(candidate, device=self._device)
        if self._made is None or self._made[0] != candidate:
            self._made = None  # free the previous tracker before making the next
            self._made = candidate, candidate.make()
        tracker = self._made[1]
        try:
            if job.experiment == BASELINE:
                assert isinstance(job.sequence, VotSequence)
                result: Outcome | SupervisedRun = run_supervised(tracker, job.sequence)
                advance(len(job.sequence))
            else:
                result = one_pass(tracker, job.sequence, advance)
        except Exception:
            self._made = None  # its state is unknown now, so the next sequence gets a new tracker
            raise
        return result


def _stored(job: Job) -> Outcome | SupervisedRun:
    folder = job.candidate.stored
    assert folder is not None
    if job.experiment == BASELINE:
        regions = read_runs(folder, [job.sequence.name])[job.sequence.name][0]
        return SupervisedRun(regions, np.full(len(regions), np.nan))
    boxes = stored_boxes(folder, job.sequence.name)
    return Outcome(boxes, np.empty(0))


def _gathered(rank: int, world: int, mine: Iterable[Job], found: Found, store: Store | None) -> Found | None:
    """Gathers all processes' results at the first, which stores those that are missing on its own disk."""
    import torch.distributed as distributed

    distributed.init_process_group("gloo", timeout=timedelta(days=7))
    try:
        share = [(job, found.outcomes.get(job.key), found.failed.get(job.key)) for job in mine]
        shares: list[Any] | None = [None] * world if rank == 0 else None
        distributed.gather_object(share, shares)
    finally:
        distributed.destroy_process_group()
    if shares is None:
        return None
    for job, result, error in (one for share in shares for one in share):
        if result is not None:
            found.outcomes[job.key] = result
            if store is not None and job.candidate.stored is None and store.load(job) is None:
                store.save(job, result)
        elif error is not None:
            found.failed[job.key] = error
    return found
