# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes docs/results/*.json, from which `make figures` draws the pictures and fills the tables of the documents.

    python benchmarks/collect_results.py --root development=DEVELOPMENT --root validation=VALIDATION \\
        --accuracy accuracy_output --accuracy accuracy_opencv     # of `snscf eval accuracy`
    python benchmarks/collect_results.py --speed speed_output/speed.json        # of `make speed`
    python benchmarks/collect_results.py --trust FOLDER           # of `benchmarks/trust.py --kinds sequences --output`

Each option writes one file and leaves the others unchanged. ``--accuracy`` replaces only the trackers in the folders.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from snscf_core.boxes import iou
from snscf_core.evaluation import long_term
from snscf_core.evaluation.reports.compare import bootstrap
from snscf_core.evaluation.sequences import read_boxes, read_sequence
from snscf_core.files import write_file

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
CONDITION = "as_it_is"
THRESHOLDS = np.linspace(0, 1, 21)
ENGINE = "openvino"  # ours on the front page; the accuracy there is measured with it
# Titles in tables and pictures, in the order of the tables, by the names of the measuring commands.
TITLES = {
    "snscf_nano": "snscf_nano",
    "snscf_r50": "snscf_r50",
    "fear": "FEAR-XS",
    "nanotrack3": "NanoTrack v3",
    "csrt": "OpenCV CSRT",
}


def accuracy(folders: list[Path], roots: dict[str, Path], before: dict[str, Any]) -> dict[str, Any]:
    """Returns means with 95 % intervals, differences from the first tracker, and success curves over all sequences.

    Trackers that are not in the folders are taken from ``before``, an earlier return value of this function. Raises
    ValueError if the stored boxes do not yield the AUC that a report states.
    """
    measured: dict[str, dict[str, Any]] = {
        title: {name: one[name] for name in ("starts", "auc", "precision", "success")}
        for title, one in before.get("trackers", {}).items()
        if title in TITLES.values()
    }
    for folder in folders:
        report = json.loads((folder / "accuracy.json").read_text(encoding="utf-8"))
        for tracker in dict.fromkeys(name for trackers in report["sequences"].values() for name in trackers):
            name = tracker.removesuffix("-openvino")  # of another mode there is more in the name
            if (title := TITLES.get(name)) is not None:
                measured[title] = of_tracker(folder / "runs", report["sequences"], tracker, roots)
    order = [title for title in TITLES.values() if title in measured]
    first = flat(measured[order[0]]["auc"])
    return {
        "thresholds": THRESHOLDS.round(2).tolist(),
        "trackers": {
            title: {
                "sets": {subset: means(measured[title], subset) for subset in (*measured[title]["auc"], "all")},
                "difference": difference(first, flat(measured[title]["auc"])) if title != order[0] else None,
                **measured[title],
            }
            for title in order
        },
    }


def of_tracker(runs: Path, sequences: dict[str, Any], tracker: str, roots: dict[str, Path]) -> dict[str, Any]:
    """Returns AUC and precision of each sequence by set, and the success curve over all; each a mean over starts."""
    found: dict[str, Any] = {"starts": 0, "auc": {}, "precision": {}}
    curves = []
    for subset, trackers in sequences.items():
        scores = trackers[tracker][CONDITION]
        for measure, name in (("auc", "success_auc"), ("precision", "precision")):
            found[measure][subset] = {sequence: round(float(np.mean(one[name])), 5) for sequence, one in scores.items()}
        for sequence, one in scores.items():
            truth = read_sequence(roots[subset] / sequence).boxes
            files = list(runs.glob(f"{tracker}-*/{CONDITION}/{sequence}-*.txt"))
            found["starts"] = len(one["success_auc"])
            starts = enumerate(one["success_auc"])
            try:
                curves.append(np.mean([success_curve(files, start, truth, auc) for start, auc in starts], axis=0))
            except ValueError as error:
                raise ValueError(f"{tracker} on {sequence}: {error}") from error
    return {**found, "success": np.mean(curves, axis=0).round(4).tolist()}


def success_curve(files: list[Path], start: int, truth: np.ndarray, stated: float) -> np.ndarray:
    """Returns the share of frames whose overlap is above each threshold, from the boxes of one start."""
    for file in files:
        if file.stem.rsplit("-", 2)[-2:-1] != [str(start)] or file.stem.endswith("_time"):
            continue
        boxes = read_boxes(file)
        seen = truth[len(truth) - len(boxes) :]  # a later start begins later, and ends with the sequence
        boxes[0] = seen[0]  # the given box counts as right, as in the report, even where it was moved off the true one
        present = ~np.isnan(seen).any(1)
        overlaps = np.nan_to_num(iou(boxes[present], seen[present]))
        curve: np.ndarray = (overlaps[:, None] > THRESHOLDS).mean(0)
        if abs(curve.mean() - stated) < 1e-6:  # a folder may also hold runs of other versions
            return curve
    raise ValueError(f"no run from start {start} has the stated AUC of {stated:.4f}; looked at {len(files)} files")


def flat(by_set: dict[str, dict[str, float]], subset: str = "all") -> dict[tuple[str, str], float]:
    """Returns the values of one set, or of all, by set and sequence."""
    return {
        (name, key): value
        for name, values in by_set.items()
        if subset in (name, "all")
        for key, value in values.items()
    }


def means(measured: dict[str, Any], subset: str) -> dict[str, Any]:
    """Returns AUC with its interval, and precision, over one set of sequences or ``all``."""
    values = list(flat(measured["auc"], subset).values())
    auc = bootstrap(np.array(values))
    return {
        "sequences": len(values),
        "auc": [round(value, 4) for value in (auc.mean, auc.low, auc.high)],
        "precision": round(float(np.mean(list(flat(measured["precision"], subset).values()))), 4),
    }


def difference(first: dict[tuple[str, str], float], other: dict[tuple[str, str], float]) -> list[float]:
    """Returns how much higher the AUC of the other tracker is on the sequences that both have, with its interval."""
    found = bootstrap(np.array([other[key] - first[key] for key in first if key in other]))
    return [round(value, 4) for value in (found.mean, found.low, found.high)]


def speed(file: Path) -> dict[str, Any]:
    """Returns milliseconds of one frame with one target: the best and the median."""
    report = json.loads(file.read_text(encoding="utf-8"))
    rows = report["trackers"]
    found = {TITLES[row["model"]]: row for row in rows if row["engine"] == ENGINE and row["model"] in TITLES}
    found |= {title: row for row in rows if not row["engine"] and (title := _title_of_peer(row["name"]))}
    order = [title for title in TITLES.values() if title in found]
    return {
        "machine": report["machine"],
        "trackers": {
            title: {"best_ms": round(found[title]["best_ms"], 2), "p50_ms": round(found[title]["p50_ms"], 2)}
            for title in order
        },
    }


def _title_of_peer(name: str) -> str | None:
    plain = re.sub(r" \d[\d.]*", "", name.split(",")[0])  # matches: OpenCV 4.11.0 CSRT; FEAR, ONNX Runtime 1.32.0
    return next((title for title in TITLES.values() if title.startswith(plain)), None)


def reliability(folder: Path) -> dict[str, Any]:
    """Returns mean score, share of right boxes and number of frames in ten bins of the score."""
    files = sorted(folder.glob("sequences_*.npz"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no sequences_*.npz; benchmarks/trust.py --output writes them")
    loaded = [np.load(file) for file in files]
    scores = np.concatenate([one["scores"] for one in loaded])
    hits = np.concatenate([np.nan_to_num(one["overlaps"]) > 0.5 for one in loaded])
    found = long_term.reliability(scores, hits)
    return {
        "videos": len(files),
        "error": round(found.error, 4),
        "scores": [None if np.isnan(value) else round(float(value), 4) for value in found.scores],
        "hits": [None if np.isnan(value) else round(float(value), 4) for value in found.hits],
        "counts": found.counts.tolist(),
    }


def write(name: str, content: dict[str, Any]) -> None:
    """Writes one file of docs/results."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(content, indent=1)
    # write innermost lists and objects on one line each
    text = re.sub(r"[\[{][^][{}]*[\]}]", lambda match: " ".join(match[0].split()), text)
    write_file(RESULTS / name, text + "\n")
    print(RESULTS / name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", action="append", default=[], metavar="NAME=FOLDER", help="a set of sequences")
    parser.add_argument("--accuracy", action="append", type=Path, default=[], metavar="FOLDER")
    parser.add_argument("--speed", type=Path, metavar="FILE")
    parser.add_argument("--trust", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.accuracy:
        roots = {name: Path(folder) for name, _, folder in (text.partition("=") for text in options.root)}
        stored = RESULTS / "accuracy.json"
        before = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else {}
        write("accuracy.json", accuracy(options.accuracy, roots, before))
    if options.speed:
        write("speed.json", speed(options.speed))
    if options.trust:
        write("reliability.json", reliability(options.trust))
    return 0


if __name__ == "__main__":
    sys.exit(main())
