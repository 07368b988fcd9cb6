# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keeps with each stored run what it was made from, so that a run is used again only for the same inputs.

Beside the boxes in ``NAME.txt``, ``inputs/NAME.json`` holds fingerprints of the tracker, the boxes and the images. The
images are first compared by name, size and time. Their bytes are compared only if these differ, so that a data set may
be copied.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path

from ..files import write_file
from ..model.geometry import MODELS
from . import fingerprints, peers
from .sequences import ImageSequence
from .trackers import TrackerEntry

_REASONS = {
    "tracker": "the tracker, its weights, settings or code have changed",
    "boxes": "the true boxes have changed",
    "images": "the images have changed",
    "record": "there is no record of what they were made from",
}


def tracker_fingerprint(candidate: TrackerEntry) -> str:
    """Returns 12 hexadecimal digits for everything that a tracker's boxes depend on, its code included."""
    kind = candidate.source.partition(":")[0]
    code = ""
    if kind in peers.PEERS:
        code = fingerprints.of_code([Path(peers.__file__).read_text(encoding="utf-8")])
    elif candidate.description().get("tracker") in MODELS:
        code = fingerprints.of_tracking()
    parts = {**candidate.description(), "code": code, "pictures": fingerprints.of_reading()}
    return _digest(json.dumps(parts, sort_keys=True))


def write_description(candidate: TrackerEntry, folder: Path) -> None:
    """Writes ``tracker.json``, which says in words what the runs in a folder were made with."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "tracker.json", json.dumps(candidate.description(), indent=1, sort_keys=True) + "\n")


class Inputs:
    """Knows what a run of a tracker on a sequence depends on. tracker: as from `tracker_fingerprint`."""

    def __init__(self, tracker: str, sequence: ImageSequence) -> None:
        self.tracker, self._files = tracker, sequence.files
        polygons = None if sequence.polygons is None else sequence.polygons.tolist()
        self.boxes = _digest(json.dumps([sequence.boxes.tolist(), polygons]))

    @cached_property
    def files(self) -> str:
        """Returns a fingerprint of the images' names, sizes and times."""
        return _digest(json.dumps([(file.name, *_state(file)) for file in self._files]))

    @cached_property
    def images(self) -> str:
        """Returns a fingerprint of the images' names and bytes. Reads all of them."""
        return _digest(json.dumps([(file.name, _content(file, *_state(file))) for file in self._files]))

    def write(self, result: Path) -> None:
        """Writes the fingerprints of a finished run beside its boxes."""
        values = {"tracker": self.tracker, "boxes": self.boxes, "files": self.files, "images": self.images}
        record = _record(result)
        record.parent.mkdir(parents=True, exist_ok=True)
        write_file(record, json.dumps(values, indent=1) + "\n")

    def changed(self, result: Path) -> str:
        """Returns why a stored run cannot be used again: a key of `_REASONS`; empty if it can."""
        try:
            stored = json.loads(_record(result).read_text(encoding="utf-8"))
            for part in ("tracker", "boxes"):
                if stored[part] != getattr(self, part):
                    return part
            if stored["files"] == self.files:
                return ""
            if stored["images"] != self.images:
                return "images"
        except (OSError, ValueError, KeyError, TypeError):
            return "record"  # the record is missing, or an image can't be read
        with suppress(OSError):
            self.write(result)  # with the new times, so that the bytes need not be read again
        return ""


def forget(result: Path) -> None:
    """Removes the fingerprints of a run before its boxes are written anew, in case that is interrupted."""
    _record(result).unlink(missing_ok=True)


class Stale:
    """Gathers stored runs that are not used, and says so in one sentence for each tracker and reason."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[str]] = defaultdict(list)

    def add(self, tracker: str, part: str, run: str) -> None:
        """Adds a run by its name. part: as from `Inputs.changed`."""
        self._found[tracker, part].append(run)

    def tell(self, tell: Callable[[str], None]) -> None:
        """Calls ``tell`` with each sentence."""
        for (tracker, part), runs in self._found.items():
            tell(f"stored runs of {tracker} are made again, because {_REASONS[part]}: {_listed(runs)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _record(result: Path) -> Path:
    return result.parent / "inputs" / f"{result.stem}.json"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _state(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=100_000)
def _content(file: Path, size: int, time: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
