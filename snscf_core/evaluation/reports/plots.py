# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Draws the plots of a report with matplotlib, which is loaded only when needed."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...boxes import Array
from ...files import write_file
from .. import metrics
from ..results import Evaluation, TrackerResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers can distinguish, without yellow and black, which vanish on white
# and on dark.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
_DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
_HATCHES = ("", "////", "....", "xxxx")

PLOTS = ("success", "precision", "normalised_precision", "attributes")

_STYLE = {
    "axes.edgecolor": "#808080",
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so letters look the same everywhere
    "font.size": 9,
    "grid.color": "#e4e4e4",
    "hatch.linewidth": 0.5,
    "legend.fontsize": 9,
    "svg.hashsalt": "snscf",  # otherwise the names inside an SVG file are random
}


def colour(tracker: int) -> str:
    """Returns ``#RRGGBB`` of the tracker at this place in an evaluation, the same in every plot and picture."""
    return COLOURS[tracker % len(COLOURS)]


def shortened(name: str, length: int = 44) -> str:
    """Shortens a name to ``length`` characters in the middle, because names mostly differ at the ends."""
    if len(name) <= length:
        return name
    head = (length - 1) // 2
    return f"{name[:head]}…{name[head + 1 - length :]}"


@contextmanager
def styled() -> Iterator[None]:
    """Sets the style of all report pictures, identical on every machine. Raises ImportError without matplotlib."""
    from matplotlib import style

    # start from the defaults, so that the user's own settings don't change the files
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # a character missing in the font becomes a box here; the page shows the full names
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def write_plots(evaluation: Evaluation, folder: Path) -> dict[str, bytes]:
    """Draws ``PLOTS`` into ``folder`` as NAME.png and NAME.svg, and returns the SVG files by name.

    ``attributes`` is drawn only if the data set has any. The same evaluation gives the same bytes. Raises ImportError
    without matplotlib.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {}
    with styled():
        for name in PLOTS:
            if name == "attributes" and not evaluation.attributes:
                continue
            figure = _attributes(evaluation) if name == "attributes" else _curves(evaluation, name)
            pixels, pictures[name] = drawn(figure, 150)
            write_file(folder / f"{name}.png", pixels)
            write_file(folder / f"{name}.svg", pictures[name])
    return pictures


def drawn(figure: Figure, dpi: int) -> tuple[bytes, bytes]:
    """Returns a figure as PNG and SVG, without times and versions, so that equal figures give equal bytes."""
    pixels, drawing = io.BytesIO(), io.BytesIO()
    figure.savefig(pixels, format="png", dpi=dpi, metadata={"Software": None})
    figure.savefig(drawing, format="svg", metadata={"Date": None, "Creator": None})
    return pixels.getvalue(), drawing.getvalue()


def _curves(evaluation: Evaluation, name: str) -> Figure:
    """Draws the mean curves of all trackers; the legend below is ranked by their figures."""
    title, label, thresholds, measure = {
        "success": ("Success", "overlap threshold", metrics.OVERLAP_THRESHOLDS, success_measure(evaluation)),
        "precision": ("Precision", "centre error threshold (pixels)", metrics.ERROR_THRESHOLDS, "precision"),
        "normalised_precision": (
            "Normalised precision",
            "centre error threshold (share of the target's size)",
            metrics.NORMALISED_THRESHOLDS,
            "normalised_precision",
        ),
    }[name]
    figures = [_figure(tracker, measure) for tracker in evaluation.trackers]
    # the best first, trackers without a figure last
    order = sorted(range(len(figures)), key=lambda i: (math.isnan(figures[i]), -figures[i], i))
    figure, axes = _paper(5.2, 3.7, rows=len(order))
    lines = {}
    for place in reversed(order):  # the best is drawn last, on top
        curves = evaluation.trackers[place].curves()
        values: Array = np.full(len(thresholds), np.nan) if curves is None else getattr(curves, name)
        dashes = _DASHES[place // len(COLOURS) % len(_DASHES)]
        (lines[place],) = axes.plot(thresholds, values, color=colour(place), linestyle=dashes, linewidth=2)
    dataset = _plain(shortened(evaluation.dataset, 42 - len(title)))
    axes.set(title=f"{title} on {dataset}", xlabel=label, ylabel="share of frames")
    axes.set(xlim=(thresholds[0], thresholds[-1]), ylim=(0, 1.005))
    axes.set_yticks(np.arange(0, 1.01, 0.2))
    axes.grid(True)
    _legend(
        figure,
        [lines[place] for place in order],
        [_entry(evaluation.trackers[place].name, figures[place]) for place in order],
        f"ranked by {metrics.MEASURES[measure]}",
    )
    return figure


def _attributes(evaluation: Evaluation) -> Figure:
    """Draws bars for each attribute, in the measure that ranks the success plot."""
    measure, names, trackers = success_measure(evaluation), evaluation.attributes, evaluation.trackers
    thickness = 0.17 if len(trackers) <= 4 else 0.12  # inches
    group = thickness * len(trackers) + 0.16
    figure, axes = _paper(7, group * len(names) + 0.1, rows=len(trackers), left=2)
    bars = []
    for place, tracker in enumerate(trackers):
        values = [_figure(tracker, measure, name) for name in names]
        centres = np.arange(len(names)) * group + (place - (len(trackers) - 1) / 2) * thickness
        hatch = _HATCHES[place // len(COLOURS) % len(_HATCHES)]
        look: dict[str, Any] = {"color": colour(place), "hatch": hatch, "edgecolor": "white", "linewidth": 0}
        bars.append(axes.barh(centres, values, thickness * 0.88, **look))
        for centre, value in zip(centres, values, strict=True):
            if len(trackers) <= 4 and not math.isnan(value):
                axes.text(value + 0.006, centre, f"{value:.3f}", va="center", fontsize=7, color="#404040")
    axes.set_yticks(np.arange(len(names)) * group, labels=[_plain(shortened(name, 26)) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_xticks(np.arange(0, 1.01, 0.2))
    axes.set(xlim=(0, 1.05), ylim=(group * (len(names) - 0.5) + 0.05, -group / 2 - 0.05))
    axes.set(title=f"Attributes of {_plain(shortened(evaluation.dataset, 40))}", xlabel=metrics.MEASURES[measure])
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    overall = [_figure(tracker, measure) for tracker in trackers]
    _legend(figure, bars, [_entry(t.name, v) for t, v in zip(trackers, overall, strict=True)], "over all sequences")
    return figure


def success_measure(evaluation: Evaluation) -> str:
    """Returns the overlap measure that the data set's kit ranks by: the average overlap for GOT-10k, else AUC."""
    rules = {one.rules for tracker in evaluation.trackers for one in tracker.sequences.values()}
    return "average_overlap" if rules == {metrics.RULES["got10k"]} else "success_auc"


def _figure(tracker: TrackerResult, measure: str, attribute: str | None = None) -> float:
    mean = tracker.mean(attribute)
    return float("nan") if mean is None else float(getattr(mean, measure))


def _paper(width: float, height: float, rows: int, left: float = 0.6) -> tuple[Figure, Axes]:
    """Makes axes of this height in a figure of this width (inches), with room below for a legend of ``rows`` rows."""
    from matplotlib.figure import Figure

    top, labels, legend = 0.35, 0.55, 0.3 + 0.2 * rows
    total = top + height + labels + legend
    figure = Figure(figsize=(width, total))
    area = (left / width, (labels + legend) / total, (width - left - 0.25) / width, height / total)
    return figure, figure.add_axes(area)


def _legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str], title: str) -> None:
    height = figure.get_size_inches()[1]
    figure.text(0.02, (0.3 + 0.2 * len(labels)) / height, title, va="top", color="#606060")
    figure.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0.02, (0.1 + 0.2 * len(labels)) / height),
        frameon=False,
        borderaxespad=0,
        borderpad=0,
        labelspacing=0.35,
        handlelength=2.6,
    )


def _entry(name: str, value: float) -> str:
    entry = _plain(shortened(name)) + (" [–]" if math.isnan(value) else f" [{value:.3f}]")
    return f" {entry}" if entry.startswith("_") else entry  # matplotlib hides labels that start so


def _plain(text: str) -> str:
    """Escapes dollar signs, which would start a formula."""
    return text.replace("$", r"\$")
