# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes the report of `accuracy.measure`: tables with 95 % intervals, every figure as JSON, and a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...files import write_file
from .. import metrics
from ..accuracy import Accuracy
from ..conditions import Condition
from ..results import Table
from .compare import RESAMPLES, Interval, bootstrap
from .plots import COLOURS, drawn, shortened, styled

MEASURES = ("success_auc", "precision")
_NOTHING = "–"


def write(accuracy: Accuracy, folder: Path) -> list[Table]:
    """Writes ``accuracy.md``, ``accuracy.json`` and, if matplotlib is installed, ``accuracy.png`` and ``.svg``.

    Returns the tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = tables(accuracy)
    lines = ["# Accuracy", "", *_preface(accuracy)]
    try:
        draw(accuracy, folder)
        lines += ["", "![AUC by condition](accuracy.png)"]
    except ImportError as error:
        lines += ["", f"There is no picture because matplotlib is missing ({error}): pip install 'snscf[eval]'."]
    for table in found:
        lines += ["", f"## {table.title}", "", table.markdown(), *(["", table.note] if table.note else [])]
    write_file(folder / "accuracy.md", "\n".join(lines) + "\n")
    write_file(folder / "accuracy.json", json.dumps(figures(accuracy), indent=1) + "\n")
    return found


def tables(accuracy: Accuracy) -> list[Table]:
    """Returns the tables of each set, and of all sets together.

    One table compares the trackers in the first condition. With several conditions there are also tables of AUC and
    precision in each, of the cost of each, and of the other trackers' differences from the first in each.
    """
    found = []
    for name, subsets in groups(accuracy).items():
        found.append(_trackers(accuracy, name, subsets))
        if len(accuracy.conditions) == 1:
            continue
        for measure in MEASURES:
            found.append(_by_condition(accuracy, name, subsets, measure))
        found.append(_costs(accuracy, name, subsets))
        if len(accuracy.trackers) > 1:
            found.append(_differences(accuracy, name, subsets))
    return found


def groups(accuracy: Accuracy) -> dict[str, tuple[str, ...]]:
    """Returns each set by itself, and all of them together if there are several."""
    found: dict[str, tuple[str, ...]] = {name: (name,) for name in accuracy.subsets}
    return {**found, "all sets": accuracy.subsets} if len(found) > 1 else found


def interval(
    accuracy: Accuracy, tracker: str, subsets: Sequence[str], condition: Condition, measure: str
) -> Interval | None:
    """Returns the mean over the sequences and its interval; None without sequences."""
    values = list(accuracy.values(tracker, subsets, condition.name, measure).values())
    return bootstrap(np.array(values)) if values else None


def difference(
    accuracy: Accuracy,
    subsets: Sequence[str],
    measure: str,
    first: tuple[str, Condition],
    second: tuple[str, Condition],
) -> Interval | None:
    """Returns how much higher the second tracker under its condition is than the first under its own.

    Only sequences that both have count; None without any.
    """
    a, b = (accuracy.values(tracker, subsets, condition.name, measure) for tracker, condition in (first, second))
    common = [name for name in a if name in b]
    return bootstrap(np.array([b[name] - a[name] for name in common])) if common else None


def figures(accuracy: Accuracy) -> dict[str, Any]:
    """Collects everything as plain values: means with their intervals, and every start of every sequence."""
    return {
        "starts": accuracy.starts,
        "conditions": {one.name: one.title for one in accuracy.conditions},
        "trackers": {name: dict(description) for name, description in accuracy.trackers.items()},
        "failed": dict(accuracy.failed),
        "means": {
            group: {
                tracker: {
                    condition.name: {
                        measure: None
                        if (found := interval(accuracy, tracker, subsets, condition, measure)) is None
                        else asdict(found)
                        for measure in MEASURES
                    }
                    for condition in accuracy.conditions
                }
                for tracker in accuracy.trackers
            }
            for group, subsets in groups(accuracy).items()
        },
        "sequences": {
            subset: {
                tracker: {
                    condition.name: {
                        name: {measure: [getattr(one, measure) for one in starts] for measure in MEASURES}
                        for name, starts in accuracy.scores[tracker, subset, condition.name].items()
                    }
                    for condition in accuracy.conditions
                }
                for tracker in accuracy.trackers
            }
            for subset in accuracy.subsets
        },
    }


def draw(accuracy: Accuracy, folder: Path) -> None:
    """Draws AUC with its interval for each condition and tracker, in a panel for each set.

    Writes ``accuracy.png`` and ``accuracy.svg``. Raises ImportError without matplotlib.
    """
    from matplotlib.figure import Figure

    trackers, conditions, panels = list(accuracy.trackers), accuracy.conditions, groups(accuracy)
    apart = 0.16  # inches from one tracker to the next
    row = apart * (len(trackers) + 1)
    height = row * len(conditions)
    below = 0.75 + 0.22 * math.ceil(len(trackers) / 3)
    with styled():
        figure = Figure(figsize=(1.9 + 3.1 * len(panels), height + below + 0.4))
        every = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (name, subsets) in zip(every, panels.items(), strict=True):
            for place, tracker in enumerate(trackers):
                found = [interval(accuracy, tracker, subsets, one, "success_auc") for one in conditions]
                rows = np.arange(len(conditions)) * row + (place - (len(trackers) - 1) / 2) * apart
                shown = [(at, one) for at, one in zip(rows, found, strict=True) if one is not None]
                style = {"color": COLOURS[place % len(COLOURS)], "marker": "osD^v"[place // len(COLOURS) % 5]}
                axes.hlines(
                    [at for at, _ in shown],
                    [one.low for _, one in shown],
                    [one.high for _, one in shown],
                    color=style["color"],
                    linewidth=1.4,
                    alpha=0.55,
                )
                label = shortened(tracker).replace("$", r"\$")
                axes.plot([one.mean for _, one in shown], [at for at, _ in shown], **style, ls="", ms=5, label=label)
            for edge in np.arange(len(conditions) - 1) * row + row / 2:
                axes.axhline(edge, color="#e4e4e4", linewidth=0.8)
            counts = {
                len(accuracy.values(tracker, subsets, one.name, "success_auc"))
                for tracker in trackers
                for one in conditions
            }
            axes.set(title=f"{shortened(name, 24)}, {max(counts)} sequences", xlabel="success AUC")
            axes.grid(True, axis="x")
            axes.set_axisbelow(True)
            axes.tick_params(axis="y", length=0)
        every[0].set_yticks(np.arange(len(conditions)) * row, labels=[one.title for one in conditions])
        every[0].set_ylim(height - row / 2, -row / 2)
        handles, labels = every[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower left", ncols=min(3, len(trackers)), frameon=False)
        total = figure.get_size_inches()[1]
        figure.tight_layout(rect=(0, (below - 0.45) / total, 1, 1))
        for suffix, content in zip(("png", "svg"), drawn(figure, 130), strict=True):
            write_file(folder / f"accuracy.{suffix}", content)


def _preface(accuracy: Accuracy) -> list[str]:
    lines = [f"Starts in each sequence: {accuracy.starts}. Trackers:", ""]
    for name, description in accuracy.trackers.items():
        lines.append(f"- **{name}**: {', '.join(f'{key} {value}' for key, value in description.items())}")
    if accuracy.failed:
        lines += ["", "Failed, and the sequences left out:", ""]
        lines += [f"- {what}: {error}" for what, error in accuracy.failed.items()]
    return lines


def _trackers(accuracy: Accuracy, name: str, subsets: Sequence[str]) -> Table:
    """Compares the trackers in the first condition."""
    condition, first = accuracy.conditions[0], next(iter(accuracy.trackers))
    rows = []
    for tracker in accuracy.trackers:
        count = len(accuracy.values(tracker, subsets, condition.name, MEASURES[0]))
        cells = [tracker, str(count)]
        cells += [_text(interval(accuracy, tracker, subsets, condition, measure)) for measure in MEASURES]
        found = difference(accuracy, subsets, MEASURES[0], (first, condition), (tracker, condition))
        known = tracker != first and found is not None
        cells += [found.signed, found.verdict] if known and found is not None else [_NOTHING, _NOTHING]
        rows.append(tuple(cells))
    label = metrics.MEASURES[MEASURES[0]]
    header = ("tracker", "sequences", label, metrics.MEASURES[MEASURES[1]], f"{label} against {first}", "is")
    return Table(f"{name}, {condition.title}", header, tuple(rows), _note(accuracy, subsets))


def _by_condition(accuracy: Accuracy, name: str, subsets: Sequence[str], measure: str) -> Table:
    return _rows(
        accuracy,
        f"{name}, {metrics.MEASURES[measure]}",
        list(accuracy.trackers),
        accuracy.conditions,
        lambda tracker, condition: _text(interval(accuracy, tracker, subsets, condition, measure)),
        _note(accuracy, subsets),
    )


def _costs(accuracy: Accuracy, name: str, subsets: Sequence[str]) -> Table:
    plain = accuracy.conditions[0]
    return _rows(
        accuracy,
        f"{name}, AUC against {plain.title}",
        list(accuracy.trackers),
        accuracy.conditions[1:],
        lambda tracker, condition: _signed(
            difference(accuracy, subsets, "success_auc", (tracker, plain), (tracker, condition))
        ),
        f"The cost of a condition: AUC under it minus AUC {plain.title}, for the same tracker and sequences.",
    )


def _differences(accuracy: Accuracy, name: str, subsets: Sequence[str]) -> Table:
    first, *others = accuracy.trackers
    return _rows(
        accuracy,
        f"{name}, AUC against {first}",
        others,
        accuracy.conditions,
        lambda tracker, condition: _signed(
            difference(accuracy, subsets, "success_auc", (first, condition), (tracker, condition))
        ),
        f"AUC of each tracker minus that of {first}, on the same sequences: below 0, {first} is ahead.",
    )


def _rows(
    accuracy: Accuracy,
    title: str,
    trackers: Sequence[str],
    conditions: Sequence[Condition],
    cell: Callable[[str, Condition], str],
    note: str,
) -> Table:
    rows = tuple((one.title, *(cell(tracker, one) for tracker in trackers)) for one in conditions)
    return Table(title, ("condition", *trackers), rows, note)


def _note(accuracy: Accuracy, subsets: Sequence[str]) -> str:
    first = accuracy.conditions[0].name
    count = max(len(accuracy.values(tracker, subsets, first, MEASURES[0])) for tracker in accuracy.trackers)
    return (
        f"Means over {count} sequences; starts in each: {accuracy.starts}; 95 % intervals by bootstrap over the "
        f"sequences ({RESAMPLES} resamples)."
    )


def _text(found: Interval | None) -> str:
    return _NOTHING if found is None else str(found)


def _signed(found: Interval | None) -> str:
    return _NOTHING if found is None else found.signed
