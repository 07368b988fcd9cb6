# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keeps the targets that are followed: their names, their cameras, and which of them is the primary one."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from snscf_core import Target, Track

# characters; an id goes out with every detection
_LONGEST_ID = 128


class Refused(ValueError):
    """A request cannot be met; the text is the answer to the user."""


@dataclass(frozen=True)
class FollowedTarget:
    """A target that is followed in the images of one camera.

    frame_id: of the image that it was started in. Images of others show something else.
    size: width and height of that image.
    class_id: what kind of thing it is; empty if that is not known.
    start: counts the starts of targets, also of those of the same name.
    """

    target_id: str
    camera: str
    target: Target
    frame_id: str = ""
    size: tuple[int, int] = (0, 0)
    class_id: str = ""
    start: int = 0

    def is_seen_in(self, frame_id: str, size: tuple[int, int], alternating: Collection[tuple[int, int]] = ()) -> bool:
        """Return whether the target is followed in an image of that frame_id and size.

        alternating: sizes of images that come in turn, from several cameras. While there are none, the size may change.
        """
        return frame_id == self.frame_id and (not alternating or size == self.size)


@dataclass(frozen=True)
class TrackedTarget:
    """The track of one target in one frame.

    class_id: what kind of thing it is; empty if that is not known.
    start: another number under the same name is another object.
    """

    target_id: str
    primary: bool
    track: Track
    class_id: str = ""
    start: int = 0

    def clipped(self, width: int, height: int) -> TrackedTarget:
        """Return the target with the part of its box that is inside an image of that size; at least a pixel is."""
        x, y, w, h = self.track.box
        left, top = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
        right, bottom = min(max(x + w, left + 1.0), float(width)), min(max(y + h, top + 1.0), float(height))
        return replace(self, track=replace(self.track, box=(left, top, right - left, bottom - top)))


class TargetRegistry:
    """Holds the followed targets, oldest first. The primary one was chosen, or is the oldest while none is chosen.

    Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._followed: dict[str, FollowedTarget] = {}
        self._tracks: dict[str, Track] = {}
        self._chosen = ""
        self._last_number = 0
        self._starts = 0

    def check(self, target_id: str, most: int) -> None:
        """Raise Refused if `target_id` is no name for a target, or would exceed `most` targets."""
        if len(target_id) > _LONGEST_ID:
            raise Refused(f"target_id has {len(target_id)} characters, at most {_LONGEST_ID} are allowed")
        if not target_id.isprintable():
            raise Refused(f"target_id {target_id!r} has characters that cannot be shown")
        with self._lock:
            self._check_room(target_id, most)

    def add(
        self,
        target_id: str,
        camera: str,
        target: Target,
        most: int,
        track: Track | None = None,
        frame_id: str = "",
        size: tuple[int, int] = (0, 0),
        class_id: str = "",
    ) -> str:
        """Follow `target` under `target_id`, in place of a target of that name, and return the name.

        An empty name becomes target_1, target_2, ... No such name is given twice, so that an id in the detections is
        always the same object.
        track: its last track, if any frame has been tracked.
        frame_id, size: of the image that it was started in.
        class_id: what kind of thing it is; where that is empty, a target of that name keeps its own.
        """
        with self._lock:
            self._check_room(target_id, most)
            while not target_id:
                self._last_number += 1
                if (name := f"target_{self._last_number}") not in self._followed:
                    target_id = name
            if (before := self._followed.get(target_id)) is not None:
                class_id = class_id or before.class_id
            self._starts += 1
            self._followed[target_id] = FollowedTarget(
                target_id, camera, target, frame_id, size, class_id, self._starts
            )
            self._tracks.pop(target_id, None)
            if track is not None:
                self._tracks[target_id] = track
            return target_id

    def remove(self, target_id: str) -> str:
        """Stop following `target_id`, the primary target if it is empty, and return the name. Raises Refused."""
        with self._lock:
            if not self._followed:
                raise Refused("nothing is being followed")
            target_id = target_id or self._primary()
            if target_id not in self._followed:
                raise Refused(f"target '{target_id}' is not known; followed are {', '.join(self._followed)}")
            self._forget(target_id)
            return target_id

    def remove_of_camera(self, camera: str) -> list[str]:
        """Stop following all targets of one camera, and return their names."""
        with self._lock:
            names = [name for name, followed in self._followed.items() if followed.camera == camera]
            for name in names:
                self._forget(name)
            return names

    def choose(self, target_id: str) -> str:
        """Make a target the primary one until it is removed. With an empty name the oldest becomes primary again.

        Returns the name of the primary target, or an empty string. Raises Refused.
        """
        with self._lock:
            if target_id and target_id not in self._followed:
                known = f"followed are {', '.join(self._followed)}" if self._followed else "nothing is being followed"
                raise Refused(f"target '{target_id}' is not known; {known}")
            self._chosen = target_id
            return self._primary()

    def exchange(self, targets: Mapping[str, Target | None]) -> None:
        """Replace the states of the targets of these names, and forget those whose new state is None."""
        with self._lock:
            for name, target in targets.items():
                if name not in self._followed:
                    continue
                if target is None:
                    self._forget(name)
                else:
                    self._followed[name] = replace(self._followed[name], target=target)

    def clear(self) -> int:
        """Forget everything, and return how many targets there were."""
        with self._lock:
            count = len(self._followed)
            self._followed.clear()
            self._tracks.clear()
            self._chosen = ""
            self._last_number = 0
            return count

    def of_camera(self, camera: str) -> list[FollowedTarget]:
        """Return the targets of one camera, oldest first."""
        with self._lock:
            return [followed for followed in self._followed.values() if followed.camera == camera]

    def record(self, tracks: list[tuple[FollowedTarget, Track]]) -> tuple[TrackedTarget, ...]:
        """Keep the tracks of one frame and return them.

        Targets that were removed or initialised again while the frame was being tracked are left out.
        """
        with self._lock:
            primary = self._primary()
            current = [(f, track) for f, track in tracks if self._followed.get(f.target_id) is f]
            self._tracks.update((f.target_id, track) for f, track in current)
            return tuple(
                TrackedTarget(f.target_id, f.target_id == primary, track, f.class_id, f.start) for f, track in current
            )

    def latest(self) -> dict[str, Track | None]:
        """Return the last track of each target, None before its first frame."""
        with self._lock:
            return {target_id: self._tracks.get(target_id) for target_id in self._followed}

    def _primary(self) -> str:
        return self._chosen or next(iter(self._followed), "")

    def _forget(self, target_id: str) -> None:
        del self._followed[target_id]
        self._tracks.pop(target_id, None)
        if self._chosen == target_id:
            self._chosen = ""

    def _check_room(self, target_id: str, most: int) -> None:
        if target_id not in self._followed and len(self._followed) >= most:
            raise Refused(f"{len(self._followed)} targets are being followed, max_targets is {most}")
