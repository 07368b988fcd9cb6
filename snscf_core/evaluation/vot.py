# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Implements the VOT challenges' short-term protocol of 2015 to 2019, with resets, and its measures.

The tracker starts on the first frame with the true region. If its region does not overlap the true one at all, it has
failed, and is restarted five frames later. A run holds the tracker's region in each frame, or a code of ``regions``:
for a frame with a start, for the frame of a failure, or for a frame between those.

Measures follow ``estimate_accuracy``, ``estimate_failures`` and ``estimate_expected_overlap`` of the VOT toolkit for
Matlab, and pysot's toolkit, which returns the same figures from one run per sequence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..boxes import Array
from ..files import replacing, write_file
from ..pictures.files import image_files, visible_files
from ..texts import read_text
from .regions import (
    FAILED,
    INITIALISED,
    UNKNOWN,
    Region,
    corners,
    enclosing_boxes,
    overlaps,
    read_regions,
    write_regions,
)
from .sequences import ImageSequence, present, read_frame
from .trackers import Box, OnlineTracker

Flags = npt.NDArray[np.bool_]
Runs = Mapping[str, Sequence[Sequence[Region]]]
"""Repetitions of each sequence, by its name; a deterministic tracker needs only one."""

Overlap = Callable[[Array, Array, npt.ArrayLike], Array]
"""Overlaps of N x 8 polygons in pairs, given the largest x and y in the picture; ``overlaps`` or a similar function."""

BASELINE = "baseline"
"""Names of the experiments in the toolkits: with resets, and without."""

RESTART = 5  # frames from a failure to the next start
BURN_IN = 10  # frames from a start on, including it, that do not count for accuracy
VOT2018_INTERVAL = (100, 356)  # lengths in frames that EAO averages over, in 2017 and 2018


@dataclass(frozen=True)
class VotSequence(ImageSequence):
    """Holds a sequence with true polygons (N x 8, NaN where unknown); ``boxes`` are the upright rectangles around them.

    size: width and height of the frames
    tags: attributes of the frames by name, N flags each
    """

    polygons: Array = field(kw_only=True)
    size: tuple[int, int] = field(kw_only=True)
    tags: Mapping[str, Flags] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class SupervisedRun:
    """Holds one run.

    regions: one per frame, or codes
    seconds: time in the tracker for each frame, NaN where it did not run
    """

    regions: list[Region]
    seconds: Array


# Data -----------------------------------------------------------------------------------------------------------------


def read_vot_sequences(root: Path, names: Sequence[str] | None = None) -> list[VotSequence]:
    """Reads the sequences of ``list.txt``, or the named ones among them, in its order.

    Raises FileNotFoundError with the expected files, for a missing data set, sequence or name.
    """
    listed = listed_names(root)
    for name in names or ():
        if name not in listed:
            raise FileNotFoundError(f"{root / 'list.txt'} lists no sequence {name!r}")
    return [read_vot_sequence(root / name) for name in listed if names is None or name in names]


def listed_names(root: Path) -> list[str]:
    """Reads the names in ``list.txt``. Raises FileNotFoundError with the expected files."""
    index = root / "list.txt"
    if not index.is_file():
        raise FileNotFoundError(
            f"{root} holds no VOT data set: expected {index}, and for each NAME in it NAME/groundtruth.txt and "
            "NAME/color/00000001.jpg, ... (or NAME/00000001.jpg, ...)"
        )
    return [line.strip() for line in read_text(index).splitlines() if line.strip()]


def read_vot_sequence(folder: Path) -> VotSequence:
    """Reads ``groundtruth.txt``, images in ``color/`` or beside it, and ``*.tag`` or ``*.label`` (0 or 1 a line).

    As in the toolkits, images after the last true region do not belong to the sequence. Frames after the end of a tag's
    file do not have the tag. Raises FileNotFoundError or ValueError with the reason.
    """
    truth = folder / "groundtruth.txt"
    images = folder / "color" if (folder / "color").is_dir() else folder
    files = image_files(images) if images.is_dir() else ()
    if not truth.is_file() or not files:
        raise FileNotFoundError(
            f"{folder} is no VOT sequence: expected {truth} and {folder / 'color'}/00000001.jpg, ... "
            f"(or {folder}/00000001.jpg, ...)"
        )
    polygons = corners(read_regions(truth))
    polygons[np.isnan(present(enclosing_boxes(polygons))).any(axis=1)] = np.nan  # 0,0,0,0 is no region
    count = len(polygons)
    if not 0 < count <= len(files):
        raise ValueError(f"{folder} has {len(files)} images but {count} true regions")
    if np.isnan(polygons[0]).any():
        raise ValueError(f"{truth} has no region in line 1, where tracking starts")
    tags = {file.stem: _read_tag(file, count) for file in visible_files(folder, (".tag", ".label"))}
    height, width = read_frame(files[0]).shape[:2]
    return VotSequence(
        folder.name,
        tuple(files[:count]),
        enclosing_boxes(polygons),
        polygons=polygons,
        size=(width, height),
        attributes=tuple(name for name, flags in tags.items() if flags.any()),
        tags=tags,
    )


def _read_tag(file: Path, count: int) -> Flags:
    lines = read_text(file).split()
    if len(lines) > count or not {"0", "1"}.issuperset(lines):
        raise ValueError(f"{file} must have at most {count} lines of 0 or 1, one per frame")
    return np.array([line == "1" for line in lines] + [False] * (count - len(lines)), bool)


# Runs -----------------------------------------------------------------------------------------------------------------


def run_supervised(tracker: OnlineTracker, sequence: VotSequence) -> SupervisedRun:
    """Runs a tracker once, with resets.

    A tracker of rectangles starts with the one that encloses the true polygon, in single precision, as the toolkits
    pass it over TraX. A tracker that gives no box (None) has failed. A frame with an unknown true region is neither a
    failure nor a start.
    """
    limit = np.subtract(sequence.size, 1)
    regions: list[Region] = [UNKNOWN] * len(sequence)
    seconds = np.full(len(sequence), np.nan)
    start, running = 0, False
    for index, image in enumerate(sequence.frames()):
        known = bool(np.isfinite(sequence.polygons[index]).all())
        if index < start or not (running or known):
            continue
        begin = time.perf_counter()
        if not running:
            tracker.init(image, _box(np.float32(sequence.boxes[index])))
            regions[index], running = INITIALISED, True
            seconds[index] = time.perf_counter() - begin
            continue
        box = tracker.update(image)
        seconds[index] = time.perf_counter() - begin
        regions[index] = FAILED if box is None else _box(box)
        if box is not None and known:
            common = overlaps(corners([_box(box)]), sequence.polygons[index : index + 1], limit)[0]
            regions[index] = _box(box) if common > 0 else FAILED
        if regions[index] == FAILED:
            start, running = index + RESTART, False
    return SupervisedRun(regions, seconds)


def _box(box: npt.ArrayLike) -> Box:
    x, y, w, h = np.asarray(box, np.float64).tolist()
    return x, y, w, h


def write_runs(folder: Path, name: str, runs: Sequence[SupervisedRun], experiment: str = BASELINE) -> None:
    """Writes the repetitions of a sequence where the toolkits look for them; ``folder`` is ``results/TRACKER``.

    ``EXPERIMENT/NAME/NAME_001.txt`` holds the regions for all toolkits. Times are in seconds, in ``NAME_time.txt`` for
    the Matlab toolkit (a column per repetition) and in ``NAME_001_time.value`` for the Python toolkit.
    """
    place = folder / experiment / name
    place.mkdir(parents=True, exist_ok=True)
    columns = np.stack([run.seconds for run in runs], axis=1)
    with replacing(place / f"{name}_time.txt") as part:
        np.savetxt(part, columns, fmt="%.6f", delimiter=",")
    for number, run in enumerate(runs, 1):
        lines = ("" if np.isnan(value) else f"{value:.6f}" for value in run.seconds)
        write_file(place / f"{name}_{number:03d}_time.value", "".join(f"{line}\n" for line in lines))
        write_regions(place / f"{name}_{number:03d}.txt", run.regions)


def read_runs(folder: Path, names: Iterable[str], experiment: str = BASELINE) -> dict[str, list[list[Region]]]:
    """Reads all repetitions of the named sequences in ``folder`` (``results/TRACKER``), from any of the toolkits.

    Raises FileNotFoundError for a sequence without results, and ValueError naming an invalid line.
    """
    runs = {}
    for name in names:
        place = folder / experiment / name
        files = sorted(place.glob(f"{name}_[0-9][0-9][0-9].txt")) or sorted(place.glob(f"{name}_[0-9][0-9][0-9].bin"))
        if not files:
            raise FileNotFoundError(f"there are no results of {name}: expected {place / f'{name}_001.txt'}")
        runs[name] = [read_regions(file) for file in files]
    return runs


# Measures -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TagScores:
    """Holds the scores over the frames with a tag, or over all.

    frames: number of frames
    lost: failures, the mean over repetitions
    accuracy: mean overlap in [0, 1], NaN if no frame counts
    robustness: failures per frame (kits also print it times 100); lower is better
    """

    frames: int
    lost: float
    accuracy: float
    robustness: float


@dataclass(frozen=True)
class VotScores(TagScores):
    """Adds eao: expected average overlap, in [0, 1], NaN if no sequence is long enough."""

    eao: float


def score(
    runs: Runs,
    sequences: Sequence[VotSequence],
    *,
    interval: tuple[int, int] = VOT2018_INTERVAL,
    overlap: Overlap = overlaps,
) -> VotScores:
    """Computes accuracy, robustness and EAO over all sequences.

    overlap: ``overlaps`` for the figures of pysot's toolkit; ``functools.partial(overlaps, legacy=True)`` for those of
        the Matlab toolkit

    Raises ValueError for a sequence without runs, or a run that is longer than its sequence.
    """
    whole = _tag_scores(runs, sequences, None, overlap)
    eao = expected_average_overlap(runs, sequences, interval=interval, overlap=overlap)
    return VotScores(**vars(whole), eao=eao)


def score_tags(runs: Runs, sequences: Sequence[VotSequence], *, overlap: Overlap = overlaps) -> dict[str, TagScores]:
    """Computes scores over the frames with each tag, and with no tag (``empty``).

    As in the Matlab toolkit, the frames with the tag are taken out of the runs first. A burn-in is therefore counted in
    frames with the tag, and a start on a frame without the tag has no burn-in.
    """
    names = sorted({name for sequence in sequences for name in sequence.tags})
    return {name: _tag_scores(runs, sequences, name, overlap) for name in [*names, "empty"]}


def _tag_scores(runs: Runs, sequences: Sequence[VotSequence], tag: str | None, overlap: Overlap) -> TagScores:
    found, lost, frames = [], 0.0, 0
    for sequence in sequences:
        chosen = _frames_with(sequence, tag)
        if not chosen.any():
            continue
        frames += int(chosen.sum())
        repetitions = []
        for run in _complete(runs, sequence):
            regions = [region for region, with_tag in zip(run, chosen, strict=True) if with_tag]
            lost += regions.count(FAILED) / len(runs[sequence.name])
            polygons = corners(regions)
            for index in np.flatnonzero([region == INITIALISED for region in regions]):
                polygons[index : index + BURN_IN] = np.nan
            # The toolkits count pixels up to the width and height for accuracy, and up to one less for EAO.
            repetitions.append(overlap(polygons, sequence.polygons[chosen], sequence.size))
        found.append(_mean(np.stack(repetitions)))
    pooled = np.concatenate(found) if found else np.empty(0)
    return TagScores(frames, lost, float(_mean(pooled)), lost / frames if frames else float("nan"))


def _frames_with(sequence: VotSequence, tag: str | None) -> Flags:
    count = len(sequence.polygons)
    if tag is None:
        return np.ones(count, bool)
    if tag == "empty":
        return ~np.logical_or.reduce([np.zeros(count, bool), *sequence.tags.values()])
    return sequence.tags.get(tag, np.zeros(count, bool))


def _complete(runs: Runs, sequence: VotSequence) -> list[list[Region]]:
    """Returns the repetitions of a sequence; missing regions at the end are unknown."""
    count = len(sequence.polygons)
    if not runs.get(sequence.name):
        raise ValueError(f"there is no run of sequence {sequence.name}")
    for run in runs[sequence.name]:
        if len(run) > count:
            raise ValueError(f"a run of {sequence.name} has {len(run)} regions, but the sequence {count} frames")
    return [[*run, *[UNKNOWN] * (count - len(run))] for run in runs[sequence.name]]


def _mean(values: Array) -> Array:
    """Averages over the first axis, ignoring NaN; NaN if all are NaN."""
    known = np.isfinite(values)
    count = known.sum(0)
    return np.where(count > 0, np.where(known, values, 0).sum(0) / np.maximum(count, 1), np.nan)


def expected_average_overlap(
    runs: Runs,
    sequences: Sequence[VotSequence],
    *,
    interval: tuple[int, int] = VOT2018_INTERVAL,
    restart: int = RESTART,
    overlap: Overlap = overlaps,
) -> float:
    """Returns EAO: the mean of ``expected_overlap_curve`` over all lengths of the interval, both ends included.

    NaN if no sequence is so long. Raises as ``score`` does.
    """
    curve = expected_overlap_curve(runs, sequences, restart=restart, overlap=overlap)
    low, high = interval
    inside = curve[max(low, 1) - 1 : high]
    return float(_mean(inside))


def expected_overlap_curve(
    runs: Runs, sequences: Sequence[VotSequence], *, restart: int = RESTART, overlap: Overlap = overlaps
) -> Array:
    """Returns the overlap to expect in a sequence of 1, 2, ... frames (Kristan et al., VOT2015, section 3.3).

    Runs are cut into fragments, from each start to the next, which is ``restart`` frames after a failure. A fragment
    that is followed by another has failed: its overlap after its end is 0, for any assumed length. The last fragment
    ends with its sequence, as in the toolkits, even if a failure came too late for another start. The value for L
    frames is the mean, over the fragments that have as many, of their mean overlap in frames 2 to L. The repetitions of
    a sequence together weigh as much as one. NaN for one frame, and where no fragment is that long.
    """
    longest = max((len(sequence.polygons) for sequence in sequences), default=0)
    rows, weights = [], []
    for sequence in sequences:
        repetitions = _complete(runs, sequence)
        for run in repetitions:
            found = np.nan_to_num(overlap(corners(run), sequence.polygons, np.subtract(sequence.size, 1)))
            restarts = [index + restart for index, region in enumerate(run) if region == FAILED]
            starts = [0, *(index for index in restarts if index <= len(run))]
            for start, after in zip(starts, [*starts[1:], None], strict=True):
                fragment = found[start:] if after is None else found[start : after + 1]
                row = np.full(longest, np.nan if after is None else 0.0)
                row[: len(fragment)] = fragment
                rows.append(row)
                # As in pysot's toolkit: a next start just past the end counts as a missing frame.
                share = 1.0 if after is None else len(fragment) / (after + 1 - start)
                weights.append(share / len(repetitions))
    if longest < 2:
        return np.full(longest, np.nan)
    fragments = np.stack(rows)[:, 1:]
    means = np.cumsum(fragments, axis=1) / np.arange(1, longest)
    weight = np.where(np.isfinite(fragments), np.array(weights)[:, None], 0)
    total = weight.sum(0)
    curve = np.where(total > 0, (weight * np.nan_to_num(means)).sum(0) / np.where(total > 0, total, 1), np.nan)
    return np.concatenate([[np.nan], curve])


def average_overlap(
    boxes: Mapping[str, npt.ArrayLike],
    sequences: Sequence[VotSequence],
    *,
    burn_in: int = 0,
    overlap: Overlap = overlaps,
) -> float:
    """Returns AO, the average overlap without resets, of one-pass boxes (N x 4 per sequence, the first the given one).

    burn_in 0 gives the AO of the VOT reports (``analyze_overlap`` of the Matlab toolkit): the mean over all frames of
    all sequences together, in which the first frame of each counts as no overlap. burn_in 10 gives the
    ``average_accuracy`` of the Python toolkit: that many frames of each sequence are left out, and the sequences' means
    are weighted by their lengths. Frames without a box (NaN) have overlap 0. Frames with an unknown true region don't
    count.
    """
    total, frames = 0.0, 0
    for sequence in sequences:
        if sequence.name not in boxes:
            raise ValueError(f"there are no boxes of sequence {sequence.name}")
        found = np.asarray(boxes[sequence.name], np.float64)
        if found.shape != sequence.boxes.shape:
            raise ValueError(
                f"the boxes of {sequence.name} are {found.shape}, expected {sequence.boxes.shape} (x, y, w, h a frame)"
            )
        polygons = corners([tuple(box) for box in found])
        values = np.nan_to_num(overlap(polygons, sequence.polygons, sequence.size))
        values[0] = 0
        counting = np.isfinite(sequence.polygons).all(axis=1) & (np.arange(len(values)) >= burn_in)
        if counting.any():
            total += float(values[counting].mean()) * len(values)
            frames += len(values)
    return total / frames if frames else float("nan")
