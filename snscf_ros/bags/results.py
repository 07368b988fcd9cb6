# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes the results of an evaluation on a bag: a bag of detections to play beside the original, boxes, and measures.

Two runs on the same bag give the same bytes. Only the speed differs from run to run, and has a file of its own.
"""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from snscf_core.boxes import Array
from snscf_core.evaluation.metrics import Scores, score
from snscf_core.files import writing
from snscf_ros.bags import message_types
from snscf_ros.bags.replay import ReplayedImage
from snscf_ros.images import Frame
from snscf_ros.messages import detections_message
from snscf_ros.stamps import seconds_text
from snscf_ros.target_registry import TrackedTarget

DETECTIONS_TOPIC = "/tracker/detections"
NOT_STARTED, REJECTED = "NOT_STARTED", "REJECTED"
_MOST_NAMED = 5


@dataclass(frozen=True)
class BagEvaluation:
    """The results for the N images of a recording.

    name: name of the recording.
    stamps: stamp of each image (ns).
    boxes: N x 4 (x, y, w, h); a row is NaN if its image has no box.
    truth: the true boxes in the same form.
    scores: N scores, NaN where there is no box.
    states: the tracker's states, NOT_STARTED or REJECTED.
    start: index of the image that tracking started on.
    rejected: index and reason of each image that could not be used.
    problems: parts of the bag that are lost.
    notes: what a user should know to read the figures.
    frame: decodes the frame of an index.
    seconds: time from each image's message to its track.
    """

    name: str
    stamps: tuple[int, ...]
    boxes: Array
    truth: Array
    scores: Array
    states: tuple[str, ...]
    start: int
    rejected: tuple[tuple[int, str], ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    frame: Callable[[int], Frame]
    seconds: Array

    @property
    def measures(self) -> Scores | None:
        """Compute the scores over the images from the start on. Return None if no image has a true box."""
        return self.measures_of(self.boxes)

    def measures_of(self, boxes: Array) -> Scores | None:
        """Score other boxes, N x 4, in the same way."""
        truth = self.truth[self.start :]
        return score(boxes[self.start :], truth) if np.isfinite(truth).all(axis=1).any() else None

    def write(self, folder: Path, settings: dict[str, Any]) -> None:
        """Write NAME.txt, NAME.csv, results.json and speed.json. settings: what the tracker was run with."""
        np.savetxt(folder / f"{self.name}.txt", self.boxes, fmt="%.3f", delimiter=",")
        with (folder / f"{self.name}.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["stamp", "x", "y", "w", "h", "score", "state"])
            for stamp, box, certainty, state in zip(self.stamps, self.boxes, self.scores, self.states, strict=True):
                rows.writerow([seconds_text(stamp), *(f"{value:.3f}" for value in box), f"{certainty:.6f}", state])
        measures = self.measures
        report = {
            "name": self.name,
            **settings,
            "images": len(self.stamps),
            "start": {"image": self.start, "stamp": seconds_text(self.stamps[self.start])},
            "rejected": {
                "images": len(self.rejected),
                "first": [
                    {"image": index, "stamp": seconds_text(self.stamps[index]), "reason": reason}
                    for index, reason in self.rejected[:_MOST_NAMED]
                ],
            },
            "problems": list(self.problems),
            "notes": list(self.notes),
            "measures": asdict(measures) if measures else None,
        }
        _write_json(folder / "results.json", report)
        tracked = self.seconds[self.start + 1 :]
        speed = {"images": len(tracked), "seconds": float(tracked.sum())}
        if len(tracked):
            median = float(np.median(tracked))
            speed |= {"images_per_second": len(tracked) / float(tracked.sum()), "median_milliseconds": median * 1e3}
        _write_json(folder / "speed.json", speed)

    def rejected_sentence(self) -> str:
        """Name the images that could not be used, the first few with stamp and reason; empty if all could."""
        if not self.rejected:
            return ""
        first = [f"{seconds_text(self.stamps[index])} ({reason})" for index, reason in self.rejected[:_MOST_NAMED]]
        more = ", ..." if len(self.rejected) > _MOST_NAMED else ""
        return f"{len(self.rejected)} of {len(self.stamps)} images could not be used: {', '.join(first)}{more}"


@contextlib.contextmanager
def replacing(folder: Path, name: str) -> Iterator[Path]:
    """Give a temporary folder for the results of the recording `name`; a context manager.

    At its end the results replace those of an earlier run in `folder`. After an error the earlier ones stay. Raises
    ValueError if something else is in the place of the bag of detections, OSError where nothing can be written.
    """
    bag = folder / detections_name(name)
    if bag.exists() and not _is_ours(bag):
        raise ValueError(f"{bag} exists and holds more than a bag of detections; it is left as it is")
    folder.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".results_", dir=folder))
    try:
        with writing(folder):
            yield stage
        for old in ("realtime.json", "realtime.log", f"{name}_realtime.txt"):
            # left by an earlier run
            (folder / old).unlink(missing_ok=True)
        if bag.exists():
            shutil.rmtree(bag)
        for new in stage.iterdir():
            new.replace(folder / new.name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def detections_name(name: str) -> str:
    """Return the name of the bag of detections in the recording `name`."""
    return f"{name}_detections"


class DetectionsBag:
    """Writes the detections to a rosbag2 (mcap) in a new folder; a context manager."""

    def __init__(self, folder: Path, class_id: str, publish_lost: bool) -> None:
        self._class_id, self._publish_lost = class_id, publish_lost
        self._store = message_types.store()
        self._writer = Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP)

    def __enter__(self) -> DetectionsBag:
        self._writer.open()
        self._connection = self._writer.add_connection(
            DETECTIONS_TOPIC, message_types.DETECTIONS, typestore=self._store
        )
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._writer.close()
        else:
            self._writer.abort()

    def add(self, image: ReplayedImage) -> None:
        """Write the detections of one image with its header and log time, nothing for a rejected image."""
        if image.problem:
            return
        message = self._message(image.header, image.targets)
        data = self._store.serialize_cdr(message, message_types.DETECTIONS)
        self._writer.write(self._connection, image.log_time, bytes(data))

    def _message(self, header: Any, targets: tuple[TrackedTarget, ...]) -> Any:
        classes = self._store.types.__getitem__
        return detections_message(header, targets, self._class_id, self._publish_lost, classes)


def _is_ours(folder: Path) -> bool:
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else {""}
    return names <= {"metadata.yaml", f"{folder.name}.mcap"}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
