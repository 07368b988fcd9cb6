# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Draws docs/pictures/*.svg from docs/results/*.json, and fills the tables of the documents: ``make figures``.

    python docs/figures.py            # after benchmarks/collect_results.py has written new results
    python docs/figures.py --check    # only say whether the tables in the documents are those of the results

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
PICTURES = ROOT / "docs" / "pictures"

# Okabe and Ito's colours, which the colour-blind can tell apart. Ours are solid, the others dashed.
COLOURS = {
    "snscf_nano": "#D55E00",
    "snscf_r50": "#009E73",
    "FEAR-XS": "#CC79A7",
    "NanoTrack v3": "#E69F00",
    "OpenCV CSRT": "#555555",
}
NOTHING = "–"
STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10,
    "svg.fonttype": "path",  # the same letters in every browser
    "svg.hashsalt": "snscf",  # names inside the files that do not change from run to run
}


def results(name: str) -> dict[str, Any]:
    """Reads one file of docs/results."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def is_ours(tracker: str) -> bool:
    return tracker.startswith("snscf")


# Tables


def trackers_table() -> str:
    """Returns the one table of the front page: accuracy and speed side by side."""
    accuracy, speed, elsewhere = results("accuracy")["trackers"], results("speed")["trackers"], results("elsewhere")
    titles = dict.fromkeys([*COLOURS, *accuracy])
    lines = [
        "| tracker | success AUC, 17 development sequences | 9 validation sequences | precision at 20 px, all 26 "
        "| frames / s, at best |",
        "|---|---|---|---|---|",
    ]
    for title in titles:
        if title not in accuracy and title not in elsewhere["development_auc"]:
            continue
        sets = accuracy[title]["sets"] if title in accuracy else {}
        cells = [
            f"{sets['development']['auc'][0]:.3f}{mark(accuracy[title])}"
            if sets
            else f"{elsewhere['development_auc'][title]:.3f} ²",
            f"{sets['validation']['auc'][0]:.3f}{mark(accuracy[title])}" if sets else NOTHING,
            f"{sets['all']['precision']:.3f}{mark(accuracy[title])}" if sets else NOTHING,
            f"{1000 / speed[title]['best_ms']:.0f}" if title in speed else NOTHING,
        ]
        name = f"**`{title}`** (ours)" if is_ours(title) else title
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    paper = elsewhere["paper"]
    lines.append(
        f"| SNS-CF, as the paper states it ¹ | {NOTHING} | {NOTHING} | {paper['precision']:.3f} ¹ | "
        f"{paper['frames_per_second']:.0f} ¹ |"
    )
    machine = results("speed")["machine"]
    lines += [
        "",
        "Speed is that of the fastest frames, from one run in which the trackers took turns: one target, images of "
        f"640 x 480, {machine['threads']} cores of an {machine['processor']}, ours with OpenVINO in float32. The "
        "medians of that run are "
        + " and ".join(
            f"{1000 / speed[title]['p50_ms']:.0f} frames / s for {f'`{title}`' if is_ours(title) else title}"
            for title in ("snscf_nano", "FEAR-XS")
            if title in speed
        )
        + ". [With one thread](docs/speed.md#beside-fear-each-alone-in-its-process) the two are nearly as fast.",
        f"¹ On {paper['data']}, with a {paper['device']}. "
        "² In bfloat16, from [another run](docs/accuracy.md#the-17-development-sequences); "
        "its frames / s are in float32. "
        f"³ From one start in each sequence, the others from {most_starts(accuracy)}.",
    ]
    return "\n".join(wrapped(line) for line in lines)


def mark(tracker: dict[str, Any]) -> str:
    """Returns the mark of a tracker's figures that are from one start in each sequence only."""
    return " ³" if tracker["starts"] == 1 else ""


def most_starts(trackers: dict[str, Any]) -> str:
    """Returns in words from how many starts in each sequence most figures are."""
    return {1: "one", 3: "three"}[max(one["starts"] for one in trackers.values())]


def accuracy_table() -> str:
    """Returns AUC with intervals for each set of sequences, and how the trackers differ from the first."""
    trackers = results("accuracy")["trackers"]
    first = next(iter(trackers))
    sets = trackers[first]["sets"]
    names = [f"{one['sequences']} {name}" if name != "all" else f"all {one['sequences']}" for name, one in sets.items()]
    lines = [
        "| success AUC / P@20 | " + " | ".join(names) + f" | AUC of all, against `{first}` |",
        "|---" * (len(names) + 2) + "|",
    ]
    for title, tracker in trackers.items():
        cells = [
            f"{auc:.3f} [{low:.3f}, {high:.3f}] / {one['precision']:.3f}"
            for one in tracker["sets"].values()
            for auc, low, high in [one["auc"]]
        ]
        cells.append(difference_cell(tracker["difference"]))
        one_start = ", one start" if mark(tracker) else ""
        lines.append(f"| {f'`{title}`' if is_ours(title) else title}{one_start} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def difference_cell(difference: list[float] | None) -> str:
    """Returns a difference with its interval, and what that says."""
    if difference is None:
        return ""
    mean, low, high = difference
    verdict = "undecided" if low <= 0 <= high else "better" if low > 0 else "worse"
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}], {verdict}"


def speed_table() -> str:
    """Returns milliseconds and frames a second of each tracker."""
    found = results("speed")
    lines = ["| tracker | best, ms | frames / s | median, ms | frames / s |", "|---|---|---|---|---|"]
    for title, one in found["trackers"].items():
        best, median = one["best_ms"], one["p50_ms"]
        name = f"`{title}`" if is_ours(title) else title
        lines.append(f"| {name} | {best:.1f} | {1000 / best:.0f} | {median:.1f} | {1000 / median:.0f} |")
    return "\n".join(lines)


def wrapped(line: str, width: int = 120) -> str:
    """Breaks a line of prose as the other lines of the documents are; leaves rows of tables alone."""
    import textwrap

    return line if line.startswith("|") else "\n".join(textwrap.wrap(line, width, break_on_hyphens=False))


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "trackers": ("README.md", trackers_table),
    "accuracy": ("docs/accuracy.md", accuracy_table),
    "speed": ("docs/speed.md", speed_table),
}


def filled(name: str) -> tuple[Path, str]:
    """Returns a document and its text with the table of the results. Raises ValueError if it has no place for it."""
    document, table = TABLES[name]
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    place = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end of table -->)", re.DOTALL)
    if not place.search(text):
        raise ValueError(f"{document} has no <!-- table: {name} --> ... <!-- end of table -->")
    return path, place.sub(lambda match: f"{match[1]}\n{table()}\n\n{match[2]}", text)


# Pictures


def success_plot() -> Figure:
    """Draws the share of frames above each overlap, over all sequences."""
    from matplotlib import pyplot

    found = results("accuracy")
    figure, axes = pyplot.subplots(figsize=(6.4, 4.2))
    order = sorted(found["trackers"].items(), key=lambda item: -item[1]["sets"]["all"]["auc"][0])
    for title, tracker in order:
        auc = tracker["sets"]["all"]["auc"][0]
        axes.plot(
            found["thresholds"],
            tracker["success"],
            color=COLOURS[title],
            linewidth=2.2 if is_ours(title) else 1.4,
            linestyle="solid" if is_ours(title) else (0, (5, 2)),
            label=f"{title}  {auc:.3f}",
        )
    sequences = order[0][1]["sets"]["all"]["sequences"]
    axes.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="overlap threshold (IoU)", ylabel="share of frames above it",
        title=f"Success on {sequences} sequences",
    )  # fmt: skip
    axes.grid(color="#e4e4e4")
    axes.legend(title="success AUC", frameon=False, loc="lower left")
    return figure


def speed_accuracy_plot() -> Figure:
    """Draws one point for each tracker: how fast it is, and how accurate."""
    from matplotlib import pyplot

    accuracy, speed = results("accuracy")["trackers"], results("speed")
    figure, axes = pyplot.subplots(figsize=(6.4, 4.2))
    for title in accuracy:
        if title not in speed["trackers"]:
            continue
        auc, low, high = accuracy[title]["sets"]["all"]["auc"]
        frames = 1000 / speed["trackers"][title]["best_ms"]
        axes.errorbar(
            frames, auc, [[auc - low], [high - auc]], fmt="o" if is_ours(title) else "s", color=COLOURS[title],
            markersize=9 if is_ours(title) else 7, elinewidth=0.8, alpha=0.9,
        )  # fmt: skip
        side = -1 if is_ours(title) else 1  # ours to the left of their points, so that names do not meet
        axes.annotate(
            title, (frames, auc), xytext=(8 * side, 6), textcoords="offset points", color=COLOURS[title],
            fontsize=9, ha="right" if side < 0 else "left",
        )  # fmt: skip
    axes.set_xscale("log")
    ticks = [10, 20, 50, 100, 200]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xlim(8, 400)
    axes.minorticks_off()
    axes.set(
        xlabel=f"frames / s, one target, {speed['machine']['threads']} cores (at best)",
        ylabel="success AUC, with 95 % interval",
        title="Speed against accuracy: upper right is better",
    )
    axes.grid(color="#e4e4e4")
    return figure


def reliability_plot() -> Figure:
    """Draws how often boxes of each score are right, and how many frames have it."""
    from matplotlib import pyplot

    found = results("reliability")
    figure, (upper, lower) = pyplot.subplots(2, 1, figsize=(5.0, 4.8), sharex=True, height_ratios=(3, 1))
    bins = len(found["counts"])
    edges = [number / bins for number in range(bins)]
    total = sum(found["counts"])
    upper.bar(edges, [hit or 0 for hit in found["hits"]], 1 / bins, align="edge", color="#56B4E9", edgecolor="white")
    filled_bins = [score for score in found["scores"] if score is not None]
    upper.plot(filled_bins, filled_bins, "o", color="#D55E00", markersize=5, label="mean score of the bin")
    upper.plot([0, 1], [0, 1], color="#7F7F7F", linewidth=0.8)
    upper.set(ylim=(0, 1), ylabel="share of right boxes (IoU > 0.5)")
    upper.set_title(
        f"{total:,} frames of {found['videos']} sequences; calibration error {found['error']:.3f}", fontsize=10
    )
    upper.legend(frameon=False, loc="upper left")
    lower.bar(
        edges, [count / total for count in found["counts"]], 1 / bins, align="edge", color="#7F7F7F", edgecolor="w"
    )
    lower.set(xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="share of frames")
    return figure


def states_diagram() -> Figure:
    """Draws the three states, what leads from one to another, and what the tracker does in each."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8.6, 4.6))
    axes.set(xlim=(0, 17.2), ylim=(0, 9.2))
    axes.axis("off")
    boxes = {  # centre x, y, colour, title, what the tracker does
        "tracked": (2.8, 4.8, "#46DC60", "TRACKED", "learns from the frame"),
        "uncertain": (8.6, 7.6, "#FFBE28", "UNCERTAIN", "follows, learns nothing"),
        "lost": (14.4, 4.8, "#F04646", "LOST", "searches the whole image"),
        "verified": (8.6, 1.7, "#FFBE28", "UNCERTAIN, found again", "looks closely at one place"),
    }
    for x, y, colour, title, text in boxes.values():
        _state(axes, x, y, colour, title, text)
    _arrow(axes, (2.6, 5.7), (5.9, 7.9), -0.25, (2.6, 7.7), "presence < 0.35")
    _arrow(axes, (5.9, 7.2), (4.6, 5.7), -0.15, (7.1, 6.15), "presence ≥ 0.5")
    _arrow(axes, (11.3, 7.9), (14.6, 5.7), -0.25, (14.6, 7.7), "doubt reaches 5")
    _arrow(axes, (14.6, 3.9), (11.3, 1.4), -0.25, (14.8, 1.6), "presence ≥ 0.3\nin a place")
    _arrow(axes, (11.3, 2.1), (12.8, 3.9), -0.15, (9.4, 3.3), "presence < 0.35, or not\nverified in eight frames")
    _arrow(
        axes, (5.9, 1.4), (2.6, 3.9), -0.25, (2.2, 1.5), "presence ≥ 0.7 and\nits usual colours,\nthree frames in a row"
    )
    return figure


def frame_diagram() -> Figure:
    """Draws the five steps of one frame, what goes in and what comes out."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9.6, 2.9))
    axes.set(xlim=(0, 24.0), ylim=(0, 7.2))
    axes.axis("off")
    steps = (
        ("plan", "where to search:\naround the target,\nor in other places"),
        ("infer", "crops, network and\nfilters: the best\nproposals in each"),
        ("associate", "which proposal is\nthe target, and which\nare look-alikes"),
        ("update", "box, score, state and\nmotion; if tracked,\ncolours and features"),
        ("adapt", "the filters of a\ntracked target learn,\nin every third frame"),
    )
    width, gap, top = 3.9, 0.7, 5.2
    for number, (title, text) in enumerate(steps):
        x = 0.8 + number * (width + gap)
        _step(axes, x, top, width, title, text)
        if number:
            _arrow(axes, (x - gap, top - 1.2), (x, top - 1.2), 0, (0, 0), "")
    middle = 0.8 + width / 2
    last = middle + 4 * (width + gap)
    out = middle + 3 * (width + gap)
    _arrow(axes, (middle, 6.8), (middle, 5.3), 0, (middle + 1.3, 6.3), "the frame")
    _arrow(axes, (out, 5.3), (out, 6.8), 0, (out + 1.3, 6.3), "the track")
    axes.plot([last, last, middle, middle], [2.7, 1.2, 1.2, 2.7], color="#444444", linewidth=1.2)
    _arrow(axes, (middle, 2.4), (middle, 2.75), 0, (0, 0), "")
    axes.text((middle + last) / 2, 0.6, "what is remembered of the target, for the next frame", ha="center", fontsize=9)
    return figure


def _step(axes: Axes, x: float, top: float, width: float, title: str, text: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    box = FancyBboxPatch((x, top - 2.4), width, 2.4, "round,pad=0,rounding_size=0.25", facecolor="#56B4E9", alpha=0.35)
    axes.add_patch(box)
    axes.text(x + width / 2, top - 0.45, title, ha="center", va="center", fontweight="bold")
    axes.text(x + width / 2, top - 1.5, text, ha="center", va="center", fontsize=7.5)


def _state(axes: Axes, x: float, y: float, colour: str, title: str, text: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    patch = FancyBboxPatch(
        (x - 2.5, y - 0.6), 5.0, 1.2, "round,pad=0.2", facecolor=colour, edgecolor="none", alpha=0.55
    )
    axes.add_patch(patch)
    axes.text(x, y + 0.28, title, ha="center", va="center", fontweight="bold", fontsize=9.5)
    axes.text(x, y - 0.32, text, ha="center", va="center", fontsize=8.5)


def _arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    bend: float,
    place: tuple[float, float],
    text: str,
) -> None:
    shape = {"arrowstyle": "-|>", "connectionstyle": f"arc3,rad={bend}", "color": "#444444", "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=shape)
    axes.text(*place, text, ha="center", va="center", fontsize=8.5, color="#222222")


FIGURES: dict[str, Callable[[], Figure]] = {
    "success": success_plot,
    "speed_accuracy": speed_accuracy_plot,
    "reliability": reliability_plot,
    "states": states_diagram,
    "frame": frame_diagram,
}


def draw() -> None:
    """Draws all pictures. Raises ImportError without matplotlib."""
    import matplotlib
    from matplotlib import pyplot, style

    matplotlib.use("agg")
    PICTURES.mkdir(exist_ok=True)
    for name, figure in FIGURES.items():
        with style.context(["default", STYLE]):
            drawn = figure()
            path = PICTURES / f"{name}.svg"
            drawn.savefig(path, bbox_inches="tight", metadata={"Date": None}, facecolor="white")
            pyplot.close(drawn)
        # matplotlib ends some lines with a space
        path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
        print(path.relative_to(ROOT))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if a table is out of date")
    options = parser.parse_args()
    stale = []
    for name in TABLES:
        path, text = filled(name)
        if text == path.read_text(encoding="utf-8"):
            continue
        stale.append(f"the table '{name}' in {path.relative_to(ROOT)}")
        if not options.check:
            path.write_text(text, encoding="utf-8")
    if options.check:
        if stale:
            print(f"out of date: {', '.join(stale)}; run: make figures", file=sys.stderr)
        return 1 if stale else 0
    draw()
    return 0


if __name__ == "__main__":
    sys.exit(main())
