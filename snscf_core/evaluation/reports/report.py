# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes the report of an evaluation: tables, a page, plots, contact sheets, and all figures as JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...files import write_file
from .. import metrics
from ..metrics import Rules, Scores
from ..results import Evaluation, SequenceResult, Table, TrackerResult
from .contact_sheets import KINDS, ContactSheet, FrameReader, contact_sheets, first_failure
from .plots import PLOTS, success_measure, write_plots
from .report_page import Page, page

_NOTHING = "–"
_UNEVEN = "The trackers were not all run on the same sequences: each mean is over a tracker's own sequences."


def write_report(
    evaluation: Evaluation,
    folder: Path,
    *,
    frames: Mapping[str, FrameReader] | None = None,
    tables: Sequence[Table] = (),
    title: str = "",
) -> Path:
    """Writes the report into ``folder``, which is created if needed, and returns its page, ``report.html``.

    It also writes ``plots/NAME.png`` and ``.svg`` (with matplotlib), ``contact_sheets/*.jpg`` (with ``frames``, readers
    by the names of the sequences), ``results.json`` (all figures; no times) and ``speed.json``. The page embeds its
    pictures and works alone. An earlier report in the folder is replaced; other files there stay.

    The same results give the same bytes, at any time and on any machine with the same drawing libraries. Frames per
    second, if known, appear only in ``speed.json`` and on the page. ``tables`` are shown on the page only.

    Raises ValueError if there are no trackers, two with one name, or the folder is a file.
    """
    names = [tracker.name for tracker in evaluation.trackers]
    if not names:
        raise ValueError("there is no tracker to report on")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two trackers of a report are both named {twice[0]!r}")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; a report needs a folder")
    folder.mkdir(parents=True, exist_ok=True)
    _remove_earlier(folder)
    _write_json(folder / "results.json", results(evaluation))
    _write_json(folder / "speed.json", speed(evaluation))
    notes = list(evaluation.notes)
    try:
        plots = write_plots(evaluation, folder / "plots")
    except ImportError as error:
        plots = {}
        notes.append(f"There are no plots because matplotlib is missing ({error}): pip install matplotlib.")
    sheets, unread = contact_sheets(evaluation, frames) if frames else ([], {})
    _write_sheets(sheets, names, folder / "contact_sheets")
    notes += [f"The frames of {name} could not be read: {error}" for name, error in unread.items()]
    common = _common(evaluation)
    measure = success_measure(evaluation)
    content = Page(
        title=title or f"{evaluation.dataset}: {', '.join(names) if len(names) <= 3 else f'{len(names)} trackers'}",
        evaluation=evaluation,
        rules=tuple(_words(rules) for rules in _rules(evaluation)),
        means=mean_table(evaluation),
        common=None if common is None else mean_table(common),
        tables=tuple(tables),
        plots=plots,
        attributes=attribute_table(evaluation, measure) if evaluation.attributes else None,
        sequences=sequence_table(evaluation, measure),
        sheets=tuple(sheets),
        notes=tuple(notes),
    )
    file = folder / "report.html"
    write_file(file, page(content))
    return file


def mean_table(evaluation: Evaluation) -> Table:
    """Returns trackers and their means over the data set, with the kit's names of the measures.

    Frames per second are added if any are known.
    """
    got10k = _rules(evaluation) == [metrics.RULES["got10k"]]
    measures = metrics.GOT10K_NAMES if got10k else metrics.MEASURES
    timed = any(not math.isnan(tracker.fps) for tracker in evaluation.trackers)
    rows = []
    for tracker in evaluation.trackers:
        mean = tracker.mean()
        cells = [_cell(mean, name) for name in measures]
        rows.append((tracker.name, str(len(tracker.sequences)), *cells, *([_number(tracker.fps, 1)] if timed else [])))
    header = ("tracker", "sequences", *measures.values(), *(["fps"] if timed else []))
    return Table(f"Means on {evaluation.dataset}", header, tuple(rows), "" if _even(evaluation) else _UNEVEN)


def sequence_table(evaluation: Evaluation, measure: str = "success_auc") -> Table:
    """Returns one measure of every tracker on every sequence, and the means.

    Raises ValueError for an unknown measure.
    """
    _check(measure)
    names = dict.fromkeys(name for tracker in evaluation.trackers for name in (*tracker.sequences, *tracker.failed))

    def cell(tracker: TrackerResult, name: str) -> str:
        if name in tracker.failed:
            return "failed"
        return _cell(tracker.sequences[name].scores, measure) if name in tracker.sequences else _NOTHING

    rows = [(name, *(cell(tracker, name) for tracker in evaluation.trackers)) for name in names]
    rows.append(("mean", *(_cell(tracker.mean(), measure) for tracker in evaluation.trackers)))
    return _by_tracker(f"{metrics.MEASURES[measure]} of each sequence", "sequence", evaluation, rows)


def attribute_table(evaluation: Evaluation, measure: str = "success_auc") -> Table:
    """Returns one measure of every tracker over the sequences with each attribute (their number is in brackets).

    Raises ValueError for an unknown measure.
    """
    _check(measure)
    rows = []
    for name in evaluation.attributes:
        every = {one.name for t in evaluation.trackers for one in t.sequences.values() if name in one.attributes}
        rows.append((f"{name} ({len(every)})", *(_cell(t.mean(name), measure) for t in evaluation.trackers)))
    return _by_tracker(f"{metrics.MEASURES[measure]} by attribute", "attribute", evaluation, rows)


def results(evaluation: Evaluation) -> dict[str, Any]:
    """Returns everything but times, as plain values with six decimals; None for missing numbers."""
    return {
        "dataset": evaluation.dataset,
        "missing": list(evaluation.missing),
        "notes": list(evaluation.notes),
        "rules": [asdict(rules) for rules in _rules(evaluation)],
        "thresholds": {
            "success": _plain(metrics.OVERLAP_THRESHOLDS),
            "precision": _plain(metrics.ERROR_THRESHOLDS),
            "normalised_precision": _plain(metrics.NORMALISED_THRESHOLDS),
        },
        "order": [tracker.name for tracker in evaluation.trackers],
        "trackers": {tracker.name: _tracker(evaluation, tracker) for tracker in evaluation.trackers},
    }


def speed(evaluation: Evaluation) -> dict[str, Any]:
    """Returns frames per second of every tracker, over all and on each sequence; None if unknown."""

    def fps(one: SequenceResult) -> float:
        total = float(one.seconds.sum())
        return len(one.seconds) / total if total > 0 else math.nan

    return {
        tracker.name: {
            "fps": _plain(tracker.fps),
            "sequences": {name: _plain(fps(one)) for name, one in tracker.sequences.items()},
        }
        for tracker in evaluation.trackers
    }


def _tracker(evaluation: Evaluation, tracker: TrackerResult) -> dict[str, Any]:
    curves = tracker.curves()
    return {
        "description": dict(tracker.description),
        "mean": _scores(tracker.mean()),
        "curves": None if curves is None else {name: _plain(values) for name, values in vars(curves).items()},
        "attributes": {name: _scores(tracker.mean(name)) for name in evaluation.attributes},
        "sequences": {
            name: {
                "scores": _scores(one.scores),
                "truth": one.truth_fingerprint,
                "attributes": list(one.attributes),
                "first_failure": first_failure(one),
            }
            for name, one in tracker.sequences.items()
        },
        "failed": dict(tracker.failed),
    }


def _scores(scores: Scores | None) -> dict[str, Any] | None:
    return None if scores is None else {name: _plain(value) for name, value in asdict(scores).items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        # six decimals: the last bits differ between machines
        return round(value, 6) if math.isfinite(value) else None
    return value


def _write_json(file: Path, values: dict[str, Any]) -> None:
    text = json.dumps(values, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_file(file, text + "\n")


def _write_sheets(sheets: Sequence[ContactSheet], names: Sequence[str], folder: Path) -> None:
    if sheets:
        folder.mkdir(parents=True, exist_ok=True)
    for sheet in sheets:
        # the number keeps files apart whose names are equal after the replacement
        name = re.sub(r"[^\w.-]+", "_", names[sheet.tracker])[:60]
        write_file(folder / f"{sheet.tracker + 1:02}-{name}-{sheet.kind}.jpg", sheet.jpeg(names))


def _remove_earlier(folder: Path) -> None:
    """Removes pictures of an earlier report, which could be mistaken for this one's."""
    plots = [folder / "plots" / f"{name}.{suffix}" for name in PLOTS for suffix in ("png", "svg")]
    sheets = [
        file
        for file in (folder / "contact_sheets").glob("*.jpg")
        if re.fullmatch(rf"\d\d+-.*-({'|'.join(KINDS)})\.jpg", file.name)
    ]
    for file in (*plots, *sheets):
        file.unlink(missing_ok=True)


def _rules(evaluation: Evaluation) -> list[Rules]:
    return list(dict.fromkeys(one.rules for tracker in evaluation.trackers for one in tracker.sequences.values()))


def _words(rules: Rules) -> str:
    named = [name for name, known in metrics.RULES.items() if known == rules]
    first = {
        "truth": "The first frame counts with its true box, whatever the result says.",
        "scored": "The first frame counts as it stands in the result.",
        "left_out": "The first frame, which the tracker was given, does not count.",
    }[rules.first]
    absent = {
        "left_out": "Frames without the target do not count.",
        "missed": "Frames without a true box count, and are never a success.",
        "precise": "Frames without a true box count: never a success, but a hit of precision.",
    }[rules.absent]
    repeated = (
        "An invalid box in the result is replaced by the one before."
        if rules.repeated
        else "A frame without a box is a miss."
    )
    pooled = "frame counts the same." if rules.pooled else "sequence counts the same, however long."
    bounded = " Boxes are cut off at the border of the image." if rules.bounded else ""
    return f"{f'Rules “{named[0]}”: ' if named else ''}{first} {absent} {repeated} Every {pooled}{bounded}"


def _even(evaluation: Evaluation) -> bool:
    return len({frozenset(tracker.sequences) for tracker in evaluation.trackers}) == 1


def _common(evaluation: Evaluation) -> Evaluation | None:
    """Keeps the sequences that all trackers have, if some have more; None if that leaves nothing to compare."""
    shared = set.intersection(*(set(tracker.sequences) for tracker in evaluation.trackers))
    if _even(evaluation) or not shared:
        return None
    trackers = tuple(
        replace(tracker, sequences={name: one for name, one in tracker.sequences.items() if name in shared})
        for tracker in evaluation.trackers
    )
    return Evaluation(f"the {len(shared)} sequences that every tracker was run on", trackers)


def _by_tracker(title: str, first: str, evaluation: Evaluation, rows: Sequence[tuple[str, ...]]) -> Table:
    header = (first, *(tracker.name for tracker in evaluation.trackers))
    return Table(title, header, tuple(rows), "" if _even(evaluation) else _UNEVEN)


def _check(measure: str) -> None:
    if measure not in metrics.MEASURES:
        raise ValueError(f"unknown measure {measure!r}; there are {', '.join(metrics.MEASURES)}")


def _cell(scores: Scores | None, measure: str) -> str:
    return _NOTHING if scores is None else _number(getattr(scores, measure), 1 if measure == "centre_error" else 3)


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else _NOTHING
