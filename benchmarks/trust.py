# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures whether the tracker knows that it has lost its target, and whether it finds the target again.

    python benchmarks/trust.py --root DIR --output FOLDER               # every table and picture
    python benchmarks/trust.py --root DIR --seeds 8 --starts 1          # a quick look

There are three kinds of videos. Nothing was fitted to any of them (``benchmarks/calibration.py`` uses others):

- sequences: those in ``--root`` (OTB's layout), from the given box and from slightly moved and scaled boxes, because a
  single start may be decided by chance;
- cuts: the same, but in the middle of each the camera looks elsewhere: 30 frames of another sequence;
- scenes: generated (``snscf_core.scenes``), with full occlusions, exits and returns, and look-alikes.

An absence is five frames or more without the target. A report in it, after the first five frames, is false. A return is
found if within a second (30 frames) the target is reported on a box that overlaps it by more than half.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from snscf_core.boxes import iou
from snscf_core.cores import available_cores
from snscf_core.evaluation import jobs, long_term
from snscf_core.evaluation.metrics import success_auc
from snscf_core.evaluation.sequences import ImageSequence, read_sequence, read_truth
from snscf_core.evaluation.starts import MOVES, moved
from snscf_core.scenes import Scene

SECOND = 30  # frames
KINDS = ("sequences", "cuts", "scenes")


class Video(NamedTuple):
    """Names a video.

    kind: one of ``KINDS``
    name: of a sequence, or the seed of a scene
    start: index in ``MOVES``
    """

    kind: str
    name: str
    start: int = 0


class Followed(NamedTuple):
    """Holds overlap (NaN if the target is absent), score and state for each frame after the first."""

    overlaps: np.ndarray
    scores: np.ndarray
    states: np.ndarray


class Follower:
    """Follows the target of a video in a separate process. options: of the command line."""

    def __init__(self, options: dict[str, Any]) -> None:
        import cv2
        import torch

        from snscf_core.malloc import keep_memory

        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        keep_memory()
        self._options = options
        self._tracker: Any = self.kind()(
            options["model"],
            mode=options["mode"],
            engine=options["engine"],
            config=configured(options["model"], options["set"]),
        )

    def kind(self) -> Any:
        """Returns the class of the tracker."""
        from snscf_core import Tracker

        return Tracker

    def __call__(self, video: Video, advance: Callable[[int], None]) -> Followed:
        frames, truth = frames_of(video, Path(self._options["root"]))
        first = next(frames)
        target = self._tracker.init(first, moved(truth[0], MOVES[video.start]))
        tracks = []
        for frame in frames:
            tracks.append(self._tracker.update(frame, target))
            advance(1)
        return Followed(
            np.array([overlap(track.box, box) for track, box in zip(tracks, truth[1:], strict=True)]),
            np.array([track.score for track in tracks]),
            np.array([int(track.state) for track in tracks]),
        )


def overlap(box: Sequence[float], truth: np.ndarray) -> float:
    """Returns the IoU; NaN where the target is absent."""
    return math.nan if np.isnan(truth).any() else float(iou(np.array(box), truth))


def configured(model: str, settings: Sequence[str]) -> Any:
    """Returns a model's configuration with settings such as ``confidence.lost_after=6``."""
    from snscf_core.online.config import changed
    from snscf_core.online.tuning import tuned_config

    given = dict(setting.split("=", 1) for setting in settings)
    return changed(tuned_config(model), {name: json.loads(value) for name, value in given.items()})


def frames_of(video: Video, root: Path) -> tuple[Iterator[np.ndarray], np.ndarray]:
    """Returns frames, and a box for each (NaN where the target is absent)."""
    if video.kind == "scenes":
        seed = int(video.name)
        scene = Scene(
            240, seed=seed, exits=1 + seed % 2, full_occlusion=(0, 12, 20)[seed % 3], look_alikes=(0, 3, 6)[seed % 3]
        )
        truth = [scene.truth(index) for index in range(len(scene))]
        boxes = np.array([box if visible >= 0.05 else (math.nan,) * 4 for box, visible in truth])
        return (frame.image for frame in scene), boxes
    if video.kind == "cuts":
        return cut(root, video.name)
    sequence = read(root / video.name)
    return iter(sequence.frames()), sequence.boxes


def read(folder: Path) -> ImageSequence:
    """Reads a sequence in OTB's or GOT-10k's layout."""
    if (folder / "img").is_dir():
        return read_sequence(folder)
    boxes = read_truth(folder / "groundtruth.txt")
    absent = folder / "absence.label"
    if absent.is_file():
        boxes[np.array(absent.read_text().split(), int) > 0] = math.nan
    return ImageSequence(folder.name, tuple(sorted(folder.glob("*.jpg"))), boxes)


def cut(root: Path, name: str) -> tuple[Iterator[np.ndarray], np.ndarray]:
    """Inserts 30 frames of another sequence in the middle, where three of its own frames are left out."""
    import cv2

    folder = root / name
    names = names_in(folder.parent)
    sequence = read(folder)
    other = read(folder.parent / names[(names.index(folder.name) + 1) % len(names)])
    middle = len(sequence.boxes) // 2
    shown = [other.files[index % len(other.files)] for index in range(SECOND)]
    after = middle + SECOND // 10

    def frames() -> Iterator[np.ndarray]:
        for index, frame in enumerate(sequence.frames()):
            if index == middle:
                for file in shown:
                    elsewhere = cv2.imread(str(file))
                    yield cv2.resize(elsewhere, frame.shape[1::-1], interpolation=cv2.INTER_AREA)
            if not middle <= index < after:
                yield frame

    absent = np.full((SECOND, 4), math.nan)
    return frames(), np.concatenate([sequence.boxes[:middle], absent, sequence.boxes[after:]])


def names_in(root: Path) -> list[str]:
    return sorted(folder.name for folder in root.iterdir() if folder.is_dir())


def videos(options: argparse.Namespace) -> list[Video]:
    names = options.names or names_in(options.root)
    chosen = []
    if "sequences" in options.kinds:
        chosen += [Video("sequences", name, start) for start in range(options.starts) for name in names]
    if "cuts" in options.kinds:
        chosen += [Video("cuts", name) for name in names]
    if "scenes" in options.kinds:
        chosen += [Video("scenes", str(seed)) for seed in range(options.first_seed, options.first_seed + options.seeds)]
    return chosen


def follow(options: argparse.Namespace, every: list[Video]) -> dict[Video, Followed]:
    """Follows all videos in several processes. Raises RuntimeError if one fails."""
    os.environ["OMP_NUM_THREADS"] = "1"
    settings = {key: getattr(options, key) for key in ("model", "mode", "engine", "set")} | {"root": str(options.root)}
    results = {}
    with tqdm(total=len(every), unit="video", file=sys.stderr) as bar:
        for done in jobs.run(every, functools.partial(Follower, settings), options.jobs):
            if isinstance(done.result, jobs.Failure):
                raise RuntimeError(f"{done.job}: {done.result.error}\n{done.result.details}")
            results[done.job] = done.result
            bar.update()
    return {video: results[video] for video in every}


def summary(results: dict[Video, Followed]) -> dict[str, Any]:
    """Computes each measure over one kind of video."""
    events = functools.reduce(
        long_term.Events.__add__,
        (long_term.events(one.overlaps, one.states == 0, within=SECOND) for one in results.values()),
    )
    f = long_term.f_score([one.overlaps for one in results.values()], [one.scores for one in results.values()])
    hits = np.concatenate([np.nan_to_num(one.overlaps) > 0.5 for one in results.values()])
    scores = np.concatenate([one.scores for one in results.values()])
    states = np.concatenate([one.states for one in results.values()])
    overlaps = np.concatenate([one.overlaps for one in results.values()])
    there = ~np.isnan(overlaps)
    return {
        "videos": len(results),
        "frames": len(scores),
        "auc": float(np.mean([success_auc(one.overlaps[~np.isnan(one.overlaps)]) for one in results.values()])),
        "returns": events.returns,
        "found": events.found,
        "absences": events.absences,
        "false": events.false,
        "f_score": f.f_score,
        "precision": f.precision,
        "recall": f.recall,
        "ece": long_term.reliability(scores, hits).error,
        "tracked": float((states == 0).mean()),
        "uncertain": float((states == 1).mean()),
        "lost": float((states == 2).mean()),
        "wrong_while_tracked": float(((np.nan_to_num(overlaps) < 0.1) & (states == 0)).mean()),
        "lost_while_right": float((there & (np.nan_to_num(overlaps) > 0.5) & (states == 2)).mean()),
    }


def table(summaries: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| videos | AUC | returns found | false | F (P, R) | ECE | tracked/uncertain/lost | wrong while tracked |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, one in summaries.items():
        lines.append(
            f"| {one['videos']} {kind} | {one['auc']:.3f} | {one['found']} of {one['returns']} | "
            f"{one['false']} of {one['absences']} | "
            f"{one['f_score']:.3f} ({one['precision']:.3f}, {one['recall']:.3f}) | {one['ece']:.3f} | "
            f"{one['tracked']:.2f}/{one['uncertain']:.2f}/{one['lost']:.2f} | {one['wrong_while_tracked']:.3f} |"
        )
    return "\n".join(lines)


def draw(by_kind: dict[str, dict[Video, Followed]], file: Path) -> None:
    """Draws reliability diagrams: how often boxes of each score are right, and how many there are."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        2, len(by_kind), figsize=(3.4 * len(by_kind), 4.4), sharex=True, squeeze=False, height_ratios=(3, 1)
    )
    for (kind, ones), upper, lower in zip(by_kind.items(), axes[0], axes[1], strict=True):
        scores = np.concatenate([one.scores for one in ones.values()])
        hits = np.concatenate([np.nan_to_num(one.overlaps) > 0.5 for one in ones.values()])
        found = long_term.reliability(scores, hits)
        edges = np.linspace(0, 1, len(found.counts) + 1)
        upper.bar(edges[:-1], found.hits, np.diff(edges), align="edge", color="#56B4E9", edgecolor="white")
        upper.plot(found.scores, found.scores, ".", color="#D55E00", label="mean score")
        upper.plot([0, 1], [0, 1], color="#7F7F7F", linewidth=0.8)
        upper.set(title=f"{kind}: error {found.error:.3f}", ylim=(0, 1))
        lower.bar(edges[:-1], found.counts / found.counts.sum(), np.diff(edges), align="edge", color="#7F7F7F")
        lower.set(xlabel="score", xlim=(0, 1), ylim=(0, 1))
    axes[0][0].set_ylabel("share of right boxes")
    axes[0][0].legend(frameon=False)
    axes[1][0].set_ylabel("share of frames")
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of sequences in OTB's layout")
    parser.add_argument("--names", nargs="*", help="sequences to use; default: all")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seeds", type=int, default=40, help="number of scenes")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--starts", type=int, default=3, choices=range(1, len(MOVES) + 1), help="starts in each sequence"
    )
    parser.add_argument("--model", default="snscf_nano")
    parser.add_argument("--mode", default="auto")
    parser.add_argument("--engine", default="torch")
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], metavar="NAME=VALUE", help="settings of the TrackerConfig"
    )
    parser.add_argument("--jobs", type=int, default=available_cores(), help="processes")
    parser.add_argument("--output", type=Path, help="folder for results and pictures")
    return parser


def main() -> int:
    options = arguments().parse_args()
    results = follow(options, videos(options))
    by_kind = {
        kind: {video: one for video, one in results.items() if video.kind == kind}
        for kind in KINDS
        if any(video.kind == kind for video in results)
    }
    print(table({kind: summary(ones) for kind, ones in by_kind.items()}))
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        for video, one in results.items():
            np.savez(options.output / f"{video.kind}_{video.name}_{video.start}.npz", **one._asdict())
        draw(by_kind, options.output / "reliability.png")
        (options.output / "summary.json").write_text(
            json.dumps({kind: summary(ones) for kind, ones in by_kind.items()}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
