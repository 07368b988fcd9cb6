"""The targets that the node follows: their names, their cameras, and which of them is the primary one."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from snscf_core import Target, Track


class Refused(ValueError):
    """A request that cannot be met; the text is the answer to the user."""


@dataclass(frozen=True)
class Followed:
    """One target that is being followed, in the images of one camera."""

    target_id: str
    camera: str
    target: Target


@dataclass(frozen=True)
class TrackedTarget:
    """Where one target is after one frame."""

    target_id: str
    primary: bool
    track: Track


class Targets:
    """The followed targets, oldest first; the oldest is the primary one. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._followed: dict[str, Followed] = {}
        self._tracks: dict[str, Track] = {}
        self._last_number = 0

    def check_room(self, target_id: str, most: int) -> None:
        """Raise Refused if `target_id` would be one target more than `most`."""
        with self._lock:
            self._check_room(target_id, most)

    def add(self, target_id: str, camera: str, target: Target, most: int) -> str:
        """Follow `target` under `target_id`, in place of the one of that name if there is one; returns the name.

        An empty name is replaced by target_1, target_2, ...: a name is not given twice, so that an id in the
        detections is always the same object.
        """
        with self._lock:
            self._check_room(target_id, most)
            while not target_id:
                self._last_number += 1
                if (name := f"target_{self._last_number}") not in self._followed:
                    target_id = name
            self._followed[target_id] = Followed(target_id, camera, target)
            self._tracks.pop(target_id, None)
            return target_id

    def remove(self, target_id: str) -> str:
        """Stop following `target_id`, the primary target if it is empty; returns the name. Raises Refused."""
        with self._lock:
            if not self._followed:
                raise Refused("nothing is being followed")
            target_id = target_id or next(iter(self._followed))
            if target_id not in self._followed:
                raise Refused(f"target '{target_id}' is not known; followed are {', '.join(self._followed)}")
            del self._followed[target_id]
            self._tracks.pop(target_id, None)
            return target_id

    def clear(self) -> int:
        """Forget everything; returns how many targets there were."""
        with self._lock:
            count = len(self._followed)
            self._followed.clear()
            self._tracks.clear()
            self._last_number = 0
            return count

    def of_camera(self, camera: str) -> list[Followed]:
        """The targets in the images of one camera, oldest first."""
        with self._lock:
            return [followed for followed in self._followed.values() if followed.camera == camera]

    def record(self, tracks: list[tuple[Followed, Track]]) -> tuple[TrackedTarget, ...]:
        """Note the outcome of one frame; those removed or re-initialised while it was being tracked are left out."""
        with self._lock:
            primary = next(iter(self._followed), None)
            current = [(f, track) for f, track in tracks if self._followed.get(f.target_id) is f]
            self._tracks.update((f.target_id, track) for f, track in current)
            return tuple(TrackedTarget(f.target_id, f.target_id == primary, track) for f, track in current)

    def latest(self) -> dict[str, Track | None]:
        """The last known track of each target, None for one that no frame has been tracked for yet."""
        with self._lock:
            return {target_id: self._tracks.get(target_id) for target_id in self._followed}

    def _check_room(self, target_id: str, most: int) -> None:
        if target_id not in self._followed and len(self._followed) >= most:
            raise Refused(f"{len(self._followed)} targets are being followed, max_targets is {most}")
