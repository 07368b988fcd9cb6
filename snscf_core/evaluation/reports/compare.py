# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Decides whether one tracker is better than another: bootstrap over sequences (Efron and Tibshirani, 1993).

A data set is a sample of sequences, so the bootstrap draws sequences anew, with replacement. Both trackers are judged
on the same draw, so that difficulties common to both cancel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...boxes import Array
from .. import metrics
from ..results import Evaluation, Table

RESAMPLES = 10_000
COVERAGE = 0.95
_MEASURES = ("success_auc", "overlap_success", "precision", "normalised_precision", "average_overlap")


@dataclass(frozen=True)
class Interval:
    """Holds a mean and its bootstrap interval of `COVERAGE`."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def signed(self) -> str:
        """Formats the interval as a difference, with signs."""
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"

    @property
    def verdict(self) -> str:
        """Says better or worse if the interval excludes 0, else undecided."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "undecided"


@dataclass(frozen=True)
class ComparedRun:
    """Holds the scores of one tracker, as in the ``results.json`` of a report.

    values: measure -> sequence -> value
    frames: frames of each sequence, its weight if ``pooled``
    truth: fingerprint of each sequence's true boxes; reports of earlier versions lack it
    """

    name: str
    dataset: str
    values: Mapping[str, Mapping[str, float]]
    frames: Mapping[str, int]
    pooled: bool = False
    truth: Mapping[str, str] = field(default_factory=dict)


def bootstrap(values: Array, weights: Array | None = None, seed: int = 0) -> Interval:
    """Returns the mean over the S sequences, and its percentile interval. Raises ValueError without sequences."""
    if not len(values):
        raise ValueError("there are no sequences to compare")
    means = _resampled(values, weights, seed)
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(np.average(values, weights=weights)), float(low), float(high))


def interval_table(evaluation: Evaluation) -> Table:
    """Returns each tracker's means with their intervals, and its difference from the first on the same sequences."""
    runs = [_run(evaluation, place) for place in range(len(evaluation.trackers))]
    return _table("Confidence intervals", runs)


def comparison_tables(runs: Sequence[ComparedRun]) -> list[Table]:
    """Returns a table for each measure: every run against the first, on the sequences that both have.

    Raises ValueError if there are fewer than two runs, two without a sequence in common, or two that were measured
    against different true boxes.
    """
    if len(runs) < 2:
        raise ValueError("two trackers are needed to compare, got one")
    first = runs[0]
    tables = []
    for measure in _MEASURES:
        rows = []
        for run in runs[1:]:
            names = _common(first, run, measure)
            if not names:
                raise ValueError(f"{first.name} and {run.name} have no sequence in common")
            if other := [name for name in names if _measured_otherwise(first, run, name)]:
                raise ValueError(f"{first.name} and {run.name} were measured against other true boxes of {other[0]}")
            a, b = (np.array([one.values[measure][name] for name in names]) for one in (first, run))
            weights = _weights(first, names)
            difference = bootstrap(b - a, weights)
            rows.append(
                (
                    run.name,
                    str(bootstrap(a, weights)),
                    str(bootstrap(b, weights)),
                    difference.signed,
                    difference.verdict,
                    f"{int((b > a).sum())}/{int((b == a).sum())}/{int((b < a).sum())}",
                )
            )
        title = f"{metrics.MEASURES[measure]} against {first.name}"
        header = ("tracker", first.name, "its own", "difference", "is", "wins/ties/losses")
        tables.append(Table(title, header, tuple(rows), _note(len(names))))
    return tables


def read_runs(source: str) -> list[ComparedRun]:
    """Reads all runs of a report folder, or one of them: ``FOLDER`` or ``FOLDER:TRACKER``.

    Raises FileNotFoundError if it is no report, ValueError if it lacks the tracker.
    """
    folder, tracker = Path(source), ""
    if not folder.is_dir() and ":" in source:
        head, _, tracker = source.rpartition(":")
        folder = Path(head)
    file = folder / "results.json"
    if not file.is_file():
        raise FileNotFoundError(f"{folder} is no report: expected {file}, as `snscf eval --output {folder}` writes it")
    try:
        report = json.loads(file.read_text())
        runs = [
            ComparedRun(
                name,
                report["dataset"],
                {
                    measure: {
                        sequence: float(found["scores"][measure])
                        for sequence, found in one["sequences"].items()
                        if found["scores"][measure] is not None
                    }
                    for measure in _MEASURES
                },
                {sequence: int(found["scores"]["frames"]) for sequence, found in one["sequences"].items()},
                any(rules["pooled"] for rules in report["rules"]),
                {sequence: found["truth"] for sequence, found in one["sequences"].items() if "truth" in found},
            )
            for name, one in ((name, report["trackers"][name]) for name in report["order"])
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is no report of this version: {error!r}") from error
    if tracker and tracker not in [run.name for run in runs]:
        raise ValueError(f"{folder} has no tracker {tracker!r}; it has {', '.join(run.name for run in runs)}")
    return [run for run in runs if not tracker or run.name == tracker]


def _run(evaluation: Evaluation, place: int) -> ComparedRun:
    tracker = evaluation.trackers[place]
    scores = {name: one.scores for name, one in tracker.sequences.items() if one.scores.frames}
    return ComparedRun(
        tracker.name,
        evaluation.dataset,
        {measure: {name: getattr(one, measure) for name, one in scores.items()} for measure in _MEASURES},
        {name: one.frames for name, one in scores.items()},
        any(one.rules.pooled for one in tracker.sequences.values()),
    )


def _measured_otherwise(a: ComparedRun, b: ComparedRun, name: str) -> bool:
    """Whether both count equally many frames of a sequence, but against different true boxes."""
    known = name in a.truth and name in b.truth
    return known and a.frames[name] == b.frames[name] and a.truth[name] != b.truth[name]


def _table(title: str, runs: Sequence[ComparedRun]) -> Table:
    measure = "average_overlap" if runs and runs[0].pooled else "success_auc"
    label = metrics.MEASURES[measure]
    rows = []
    for run in runs:
        names = list(run.values[measure])
        cells = [run.name, str(len(names)), "-", "-", "-"]
        if names:
            cells[2] = str(bootstrap(np.array([run.values[measure][n] for n in names]), _weights(run, names)))
        common = _common(runs[0], run, measure)
        if run is not runs[0] and common:
            difference = bootstrap(
                np.array([run.values[measure][n] - runs[0].values[measure][n] for n in common]), _weights(run, common)
            )
            cells[3] = difference.signed
            cells[4] = difference.verdict
        rows.append(tuple(cells))
    first = runs[0].name if runs else ""
    header = ("tracker", "sequences", label, f"difference from {first}", "is")
    return Table(title, header, tuple(rows), _note(max((len(run.frames) for run in runs), default=0)))


def _note(sequences: int) -> str:
    return (
        f"95 % intervals by bootstrap over {sequences} sequences ({RESAMPLES} resamples, both trackers on the same); "
        "better or worse if the interval of the difference excludes 0."
    )


def _common(a: ComparedRun, b: ComparedRun, measure: str) -> list[str]:
    return [name for name in a.values[measure] if name in b.values[measure]]


def _weights(run: ComparedRun, names: Sequence[str]) -> Array | None:
    return np.array([float(run.frames[name]) for name in names]) if run.pooled else None


def _resampled(values: Array, weights: Array | None, seed: int) -> Array:
    """Returns the means of `RESAMPLES` draws of the S values."""
    weights = np.ones(len(values)) if weights is None else weights
    counts = _drawn(len(values), seed) * weights
    return np.asarray((counts * values).sum(axis=1) / counts.sum(axis=1))


@lru_cache(maxsize=4)
def _drawn(count: int, seed: int) -> Array:
    """Returns how often each sequence is in each draw, RESAMPLES x count."""
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return drawn.astype(np.float64)
