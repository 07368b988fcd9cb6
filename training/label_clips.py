# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Boxes targets in clips of public repositories: proposes objects, and lets trackers follow them.

    python training/label_clips.py --snapshots DIR --clips training/clips.json \\
        --teacher fear:TEMPLATE.onnx:TRACK.onnx --teacher nanotrack3:BACKBONE.onnx:HEAD.onnx \\
        --known LABELS.json --protect THUMBNAILS.npz --out LABELS.json --sheets FOLDER

training/README.md, *Labels from trackers*, describes the method. Ctrl-C or SIGTERM ends it with the labels made so far.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pack.following import LONGEST, SHORTEST, Stretch, Teachers, alike, follow, leaving, sight
from pack.labels import Label, load_labels
from pack.overlap import ALIKE, Protected
from pack.proposals import Camera, Proposal, confirmed, propose
from pack.shots import Shot, find_clips, read_shots
from pack.snapshots import Snapshot, open_snapshot
from tqdm import tqdm

from snscf_core.boxes import Array
from snscf_core.crops import Frame
from snscf_core.evaluation.trackers import TrackerEntry

SEEDS = (0.05, 0.3, 0.55, 0.8)  # of a shot; where to look for targets
TRIED = 6  # most proposals of one picture
COVERED = 0.3  # largest share of the smaller of two boxes that the other may cover; beyond, both are the same target
MOVING_CAMERA = 6.0  # pixels of 320 by which the picture moves while a target is followed
CHECKED, CONFIRMED = (
    5,
    0.6,
)  # boxes of a target to check again, and the share that must hold a whole object
SEEN_BEFORE = 0.8  # correlation of two targets' appearances in a repository above which they count as one
STANDING = 20  # most frames of a target that neither moves nor is seen by a moving camera


@dataclass(frozen=True)
class Clips:
    """Lists clips of one repository, as an entry of a list of clips describes them.

    paths: patterns of videos or of pictures; ** stands for any folders
    leave_out: words in paths of clips to leave out
    most: largest number of clips, evenly chosen
    targets: most targets of one clip
    stretches: parts of a clip to search
    still: also label things that don't move; except on tables these are mostly pieces of background
    """

    repository: str
    paths: tuple[str, ...]
    licence: str
    leave_out: tuple[str, ...] = ()
    most: int = 1000
    targets: int = 6
    stretches: int = 2
    still: bool = False
    marks: tuple[str, ...] = ()


class Labeller:
    """Labels clips. known: targets that already have boxes."""

    def __init__(self, teachers: Teachers, known: Sequence[Label], protected: Protected | None) -> None:
        self._teachers, self._protected = teachers, protected
        self._known: dict[tuple[str, str], list[Label]] = {}
        for label in known:
            self._known.setdefault((label.repository, label.path), []).append(label)
        self._repository = ""
        self._seen: list[Array] = []  # appearances in this repository
        self.counts: Counter[str] = Counter()

    def label(self, clips: Clips, snapshot: Snapshot, path: str) -> Iterator[tuple[dict[str, Any], list[Frame]]]:
        """Yields entries of a labels file, each with its pictures. Raises OSError if the clip can't be read."""
        if clips.repository != self._repository:
            self._repository, self._seen = clips.repository, []
        made = 0
        known = self._known.get((clips.repository, path), [])
        for shot in read_shots(snapshot, path, clips.stretches, lambda *_: None):
            if any(self._judged(picture) for picture in shot.pictures[::8]):
                self.counts["protected shots"] += 1
                print(f"{clips.repository} {path}: shows a protected scene", file=sys.stderr)
                return
            for entry, pictures in self._targets(shot, known, clips.still):
                about = {"repository": clips.repository, "path": path, "licence": clips.licence}
                entry["marks"] += clips.marks
                yield about | entry, pictures
                made += 1
                if made >= clips.targets:
                    return

    def _judged(self, picture: Frame) -> bool:
        return self._protected is not None and self._protected.likeness(picture) > ALIKE

    def _targets(self, shot: Shot, known: Sequence[Label], still: bool) -> Iterator[tuple[dict[str, Any], list[Frame]]]:
        camera = Camera(shot.pictures)
        taken = [_known_boxes(label, shot) for label in known]
        for share in SEEDS:
            seed = int(share * len(shot.pictures))
            if len(shot.pictures) - seed < SHORTEST:
                return
            proposals = propose(camera, shot.pictures[seed], seed)
            proposals = [one for one in proposals if still or one.kind != "still"]
            self.counts["proposals"] += len(proposals)
            for proposal in proposals[:TRIED]:
                if any(_covers(boxes, seed, proposal.box) for boxes in taken):
                    self.counts["taken already"] += 1
                    continue
                looks = sight(shot.pictures[seed], proposal.box)
                if any(alike(looks, other) > SEEN_BEFORE for other in self._seen):
                    self.counts["seen before"] += 1
                    continue
                stretch = self._follow(shot, seed, proposal, camera)
                if stretch is None:
                    continue
                boxes = _nearest(stretch.indices, stretch.boxes, range(stretch.indices[0], stretch.indices[-1] + 1), 2)
                if any(_covers(others, index, box) for others in taken for index, box in boxes.items()):
                    self.counts["taken already"] += 1
                    continue
                if not _moves(stretch.boxes):
                    boxes = dict.fromkeys(range(len(shot.pictures)), stretch.boxes[0])
                taken.append(boxes)
                self._seen.append(looks)
                self.counts[f"labelled, {proposal.kind}"] += 1
                moved = camera.displacement(
                    stretch.indices[0], int(stretch.indices[np.isfinite(stretch.boxes[:, 0]).sum() - 1])
                )
                yield _entry(shot, stretch, proposal, moved), [shot.pictures[i] for i in stretch.indices]

    def _follow(self, shot: Shot, seed: int, proposal: Proposal, camera: Camera) -> Stretch | None:
        left = len(shot.pictures) - seed
        if proposal.kind == "still":
            stride = max(1, min(3, left // LONGEST))
        else:
            stride = 1 if shot.numbers[1] - shot.numbers[0] > 1 else max(1, min(2, left // SHORTEST))
        indices = list(range(seed, len(shot.pictures), stride))
        pictures = [shot.pictures[index] for index in indices]
        boxes = follow(self._teachers, pictures[:LONGEST], proposal.box)
        if len(boxes) < SHORTEST:
            self.counts["lost"] += 1
            return None
        checked = np.linspace(0, len(boxes) - 1, CHECKED).astype(int)
        whole = [confirmed(camera, pictures[number], indices[number], boxes[number]) for number in checked]
        if sum(whole) < CONFIRMED * CHECKED:
            self.counts["not confirmed"] += 1
            return None
        if not _moves(boxes) and not camera.displacement(seed, indices[len(boxes) - 1]) > MOVING_CAMERA:
            boxes = boxes[:STANDING]
        absent = leaving(self._teachers, pictures, boxes) if len(boxes) < LONGEST else []
        if absent:
            self.counts["left"] += 1
        numbers = [*range(len(boxes)), *absent]
        all_boxes = np.concatenate([boxes, np.full((len(absent), 4), np.nan)])
        return Stretch([indices[number] for number in numbers], all_boxes)


def _moves(boxes: Array) -> bool:
    boxes = boxes[np.isfinite(boxes[:, 0])]
    middles, size = boxes[:, :2] + boxes[:, 2:] / 2, np.sqrt(np.median(boxes[:, 2:].prod(axis=1)))
    return bool(np.linalg.norm(middles - middles[0], axis=1).max() > 0.25 * size)


def _known_boxes(label: Label, shot: Shot) -> dict[int, Array]:
    """Returns the boxes of a known target by index of the shot's pictures, in their pixels."""
    height, width = shot.pictures[0].shape[:2]
    scale = np.array([width / label.size[0], height / label.size[1]] * 2)
    found = _nearest(label.frames, label.boxes * scale, shot.numbers, 6)
    return {shot.numbers.index(number): box for number, box in found.items()}


def _nearest(numbers: Sequence[int], boxes: Array, wanted: Iterable[int], within: int) -> dict[int, Array]:
    """Maps each wanted number to the box with the nearest number, if that is at most ``within`` away."""
    gaps = np.abs(np.subtract.outer(np.array(list(wanted)), np.array(numbers)))
    rows = gaps.argmin(axis=1)
    return {
        number: boxes[row] for number, row, gap in zip(wanted, rows, gaps.min(axis=1), strict=True) if gap <= within
    }


def _covers(boxes: dict[int, Array], index: int, box: Array) -> bool:
    other = boxes.get(index)
    if other is None or np.isnan(other).any() or np.isnan(box).any():
        return False
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[:2] + box[2:], other[:2] + other[2:])
    common = float(np.maximum(0, high - low).prod())
    return common > COVERED * min(float(box[2:].prod()), float(other[2:].prod()))


def _entry(shot: Shot, stretch: Stretch, proposal: Proposal, camera: float) -> dict[str, Any]:
    height, width = shot.pictures[0].shape[:2]
    present = stretch.boxes[np.isfinite(stretch.boxes[:, 0])]
    sides = np.sqrt(present[:, 2:].prod(axis=1))
    steps = np.linalg.norm(np.diff(present[:, :2] + present[:, 2:] / 2, axis=0), axis=1) / sides[:-1]
    ratios = present[:, 2] / present[:, 3]
    hard = ""
    if np.median(steps) > 0.2:
        hard = "fast"
    elif np.median(sides) < 28:
        hard = "small"
    elif np.percentile(ratios, 90) > 1.5 * np.percentile(ratios, 10):
        hard = "deforming"
    return {
        "size": [width, height],
        "target": proposal.kind,
        "kind": "teachers",
        "frames": [shot.numbers[index] for index in stretch.indices],
        "boxes": [None if np.isnan(box).any() else _cut(box, width, height) for box in stretch.boxes],
        "hard": hard,
        "marks": ["lookalikes"] if proposal.alike else [],
        "moving_camera": bool(camera > MOVING_CAMERA),
    }


def _cut(box: Array, width: int, height: int) -> list[int]:
    x, y, right, bottom = (
        np.round([*np.maximum(0, box[:2]), *np.minimum(box[:2] + box[2:], (width, height))]).astype(int).tolist()
    )
    return [x, y, right - x, bottom - y]


def load_clips(file: Path) -> list[Clips]:
    """Reads a list of clips. Raises OSError, or ValueError with the reason."""
    try:
        return [
            Clips(**{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()})
            for entry in json.loads(file.read_text(encoding="utf-8"))
        ]
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{file} is no list of clips: {error}") from error


def chosen(clips: Clips, snapshot: Snapshot) -> list[str]:
    """Returns the paths of the clips to label."""
    found = [path for pattern in clips.paths for path in find_clips(snapshot, pattern)]
    found = [path for path in dict.fromkeys(found) if not any(word in path for word in clips.leave_out)]
    if len(found) <= clips.most:
        return found
    return [found[index] for index in np.linspace(0, len(found) - 1, clips.most).astype(int)]


def write_labels(entries: Sequence[dict[str, Any]], file: Path) -> None:
    """Writes a labels file, one target per line."""
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    file.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def drawn(picture: Frame, box: Sequence[float] | None, text: str) -> Frame:
    """Returns a tile of 240 x 180 pixels with the picture, a box and a text."""
    shown = picture.copy()
    if box is not None:
        x, y, w, h = (round(value) for value in box)
        cv2.rectangle(shown, (x, y), (x + w, y + h), (0, 0, 255), 2)
    factor = min(240 / shown.shape[1], 180 / shown.shape[0])
    shown = np.asarray(cv2.resize(shown, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA))
    tile = np.zeros((180, 240, 3), np.uint8)
    tile[: shown.shape[0], : shown.shape[1]] = shown[:180, :240]
    cv2.putText(tile, text, (3, 174), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255))
    return tile


class Sheets:
    """Writes tiles into sheet files in a folder; does nothing without a folder."""

    COLUMNS, ROWS = 9, 8

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._tiles: list[Frame] = []
        self._written = 0

    def add(self, number: int, entry: dict[str, Any], pictures: Sequence[Frame]) -> None:
        """Adds the first, the middle and the last picture of a target."""
        for at in (0, (len(pictures) - 1) // 2, len(pictures) - 1):
            text = f"{number} {entry['target']} {at}"
            self._tiles.append(drawn(pictures[at], entry["boxes"][at], text))
        if len(self._tiles) == self.COLUMNS * self.ROWS:
            self.write()

    def write(self) -> None:
        """Writes the pending tiles."""
        if self._folder is not None and self._tiles:
            blank = [np.zeros_like(self._tiles[0])] * (-len(self._tiles) % self.COLUMNS)
            tiles = np.array(self._tiles + blank)
            rows = [np.hstack(list(row)) for row in tiles.reshape(-1, self.COLUMNS, *tiles.shape[1:])]
            self._folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(self._folder / f"sheet-{self._written:03d}.png"), np.vstack(rows))
            self._written += 1
        self._tiles.clear()


def label_repository(labeller: Labeller, clips: Clips, snapshots: Path) -> Iterator[tuple[dict[str, Any], list[Frame]]]:
    """Yields the targets of all clips of a repository; prints which clips can't be read.

    Raises OSError if there is no snapshot.
    """
    with open_snapshot(snapshots, clips.repository) as snapshot:
        for path in tqdm(chosen(clips, snapshot), desc=clips.repository, disable=None):
            try:
                yield from labeller.label(clips, snapshot, path)
            except OSError as error:
                print(f"{clips.repository}: {error}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status, 1 if a whole repository could not be read or it was interrupted."""
    options = _parser().parse_args(arguments)
    cv2.setNumThreads(1)
    try:
        sources = [clips for file in options.clips for clips in load_clips(file)]
        known = [label for file in options.known for label in load_labels(file)]
        protected = Protected.load(options.protect) if options.protect else None
        teachers = Teachers([TrackerEntry(source, source).make() for source in options.teacher])
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    labeller = Labeller(teachers, known, protected)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    entries: list[dict[str, Any]] = []
    sheets = Sheets(options.sheets)
    failed = 0
    try:
        for clips in sources:
            if not options.only or any(word in clips.repository for word in options.only):
                try:
                    for entry, pictures in label_repository(labeller, clips, options.snapshots):
                        entries.append(entry)
                        write_labels(entries, options.out)
                        sheets.add(len(entries) - 1, entry, pictures)
                except OSError as error:
                    failed += 1
                    print(f"{clips.repository}: {error}", file=sys.stderr)
                print(f"{clips.repository}: {len(entries)} targets so far, {dict(labeller.counts)}", flush=True)
    except KeyboardInterrupt:
        failed += 1
        print("stopped; the labels end here", file=sys.stderr)
    write_labels(entries, options.out)
    sheets.write()
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--snapshots", type=Path, required=True, metavar="DIR", help="folder of the repositories")
    parser.add_argument("--clips", type=Path, action="append", required=True, metavar="FILE", help="list of clips")
    parser.add_argument("--teacher", action="append", required=True, metavar="TRACKER", help="as for snscf eval")
    parser.add_argument("--known", type=Path, action="append", default=[], metavar="FILE", help="existing labels")
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="repositories with WORD in the name"
    )
    parser.add_argument("--protect", type=Path, metavar="FILE.npz", help="thumbnails of scenes to leave out")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the labels file")
    parser.add_argument("--sheets", type=Path, metavar="DIR", help="folder for pictures of the boxes, for inspection")
    return parser


if __name__ == "__main__":
    sys.exit(main())
