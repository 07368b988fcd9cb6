# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Holds what an evaluation found: boxes and scores of every tracker on every sequence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..boxes import Array
from . import metrics
from .metrics import Curves, Frames, Rules, Scores


@dataclass(frozen=True)
class SequenceResult:
    """Holds the result of one tracker on one sequence.

    boxes, truth: N x 4 (x, y, w, h), NaN for no box and absent targets; the first box is the given one
    seconds: N, spent in the tracker for each frame, without reading images; empty if unknown
    frame_size: (width, height)
    attributes: the challenges that the data set ascribes to the sequence
    """

    name: str
    boxes: Array
    truth: Array
    rules: Rules = metrics.RULES["plain"]
    seconds: Array = field(default_factory=lambda: np.empty(0))
    frame_size: tuple[int, int] | None = None
    attributes: tuple[str, ...] = ()

    @cached_property
    def frames(self) -> Frames:
        return metrics.compare(self.boxes, self.truth, self.rules, self.frame_size)

    @cached_property
    def scores(self) -> Scores:
        return metrics.scores_of(self.frames)

    @cached_property
    def curves(self) -> Curves:
        return metrics.curves_of(self.frames)

    @cached_property
    def truth_fingerprint(self) -> str:
        """Returns 12 hexadecimal digits for the true boxes, to four decimals."""
        return hashlib.sha256(json.dumps(np.round(self.truth, 4).tolist()).encode()).hexdigest()[:12]

    @property
    def overlaps(self) -> Array:
        """Returns the IoU of each of the N frames, NaN where the target is absent; 0 where the tracker gave no box."""
        overlaps = metrics.iou(self.boxes, self.truth)
        missing = np.isnan(self.boxes).any(axis=1) & ~np.isnan(self.truth).any(axis=1)
        return np.where(missing, 0.0, overlaps)


@dataclass(frozen=True)
class TrackerResult:
    """Holds the results of one tracker on a data set.

    description: facts that make the run repeatable (model, checksum, mode, version, ...)
    sequences: results by name
    failed: sequences that it crashed on, and the error
    """

    name: str
    description: Mapping[str, str]
    sequences: Mapping[str, SequenceResult]
    failed: Mapping[str, str] = field(default_factory=dict)

    def mean(self, attribute: str | None = None) -> Scores | None:
        """Averages over all sequences, or those with an attribute; None if there are no such sequences."""
        chosen = self._chosen(attribute)
        return metrics.mean([one.scores for one in chosen], chosen[0].rules.pooled) if chosen else None

    def curves(self, attribute: str | None = None) -> Curves | None:
        """Averages plots over all sequences, or those with an attribute; None if there are no such sequences."""
        chosen = self._chosen(attribute)
        if not chosen:
            return None
        weights = [one.scores.frames for one in chosen] if chosen[0].rules.pooled else None
        return metrics.mean_curves([one.curves for one in chosen], weights)

    @property
    def fps(self) -> float:
        """Returns frames per second in the tracker, over all sequences; NaN if unknown."""
        seconds = np.concatenate([one.seconds for one in self.sequences.values()] or [np.empty(0)])
        return float(len(seconds) / seconds.sum()) if seconds.sum() > 0 else float("nan")

    def _chosen(self, attribute: str | None) -> list[SequenceResult]:
        every = self.sequences.values()
        return [one for one in every if (attribute is None or attribute in one.attributes) and one.scores.frames]


@dataclass(frozen=True)
class Evaluation:
    """Holds the results of several trackers on one data set.

    missing: sequences of the data set that were not found.
    notes: sentences that a reader of the figures should know.
    """

    dataset: str
    trackers: tuple[TrackerResult, ...]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def attributes(self) -> list[str]:
        """Returns every attribute of a sequence, in alphabetical order."""
        every = (one for tracker in self.trackers for one in tracker.sequences.values())
        return sorted({name for one in every for name in one.attributes})


@dataclass(frozen=True)
class Table:
    """Holds a table to be printed.

    rows: cells as text; the first column holds titles
    note: text below it, may be empty
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """Returns an aligned table that is readable as plain text."""
        rows = (self.header, *self.rows)
        widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(self.header))]

        def line(cells: tuple[str, ...]) -> str:
            first, *others = (
                cell.ljust(width) if not index else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
            )
            return "| " + " | ".join((first, *others)) + " |"

        rule = "|" + "|".join("-" * (w + 2) if not i else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
        return "\n".join((line(self.header), rule, *map(line, self.rows)))
