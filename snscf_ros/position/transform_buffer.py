# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keeps the transforms of /tf and /tf_static of the last seconds, and finds the one between two frames at a time.

tf2's own buffer is compiled and comes only with an installed ROS. This one does the part of it that is needed here,
the same wherever the node runs, and in addition lets a movement go on for a moment after the last transform.
"""

from __future__ import annotations

import bisect
from collections import deque

from snscf_ros.position.rigid import Rigid, between
from snscf_ros.stamps import SECOND, seconds_text

_KEPT = 10 * SECOND
# stamps that go back by more belong to a clock that was set, or to a recording that starts again
_OUT_OF_ORDER = SECOND // 2
# a movement is estimated over at least this time, because the noise of two close transforms would be magnified
_MOVEMENT = SECOND // 20
_DEEPEST = 200  # frames above each other; more are a circle


class TransformMissing(LookupError):
    """The transform between two frames at a time is not known; the text says why."""


class _Edge:
    """The transforms from one frame to its parent, by stamp. A single one holds at all times if it is static."""

    def __init__(self, parent: str, static: bool) -> None:
        self.parent, self.static = parent, static
        self._stamps: deque[int] = deque()
        self._transforms: deque[Rigid] = deque()

    def add(self, stamp_ns: int, transform: Rigid) -> None:
        if self.static or (self._stamps and self._stamps[-1] - stamp_ns > _OUT_OF_ORDER):
            self._stamps.clear()
            self._transforms.clear()
        place = bisect.bisect_left(self._stamps, stamp_ns)
        if place < len(self._stamps) and self._stamps[place] == stamp_ns:
            self._transforms[place] = transform
            return
        self._stamps.insert(place, stamp_ns)
        self._transforms.insert(place, transform)
        while self._stamps[-1] - self._stamps[0] > _KEPT:
            self._stamps.popleft()
            self._transforms.popleft()

    def at(self, stamp_ns: int, beyond_ns: int) -> Rigid | None:
        """Return the transform at a time, up to `beyond_ns` after the last one; None where it is not known."""
        if self.static:
            return self._transforms[-1]
        place = bisect.bisect_left(self._stamps, stamp_ns)
        if place < len(self._stamps) and self._stamps[place] == stamp_ns:
            return self._transforms[place]
        if place == 0:
            return None
        if place == len(self._stamps):
            return self._after_the_last(stamp_ns) if stamp_ns - self._stamps[-1] <= beyond_ns else None
        begin, end = self._stamps[place - 1], self._stamps[place]
        share = (stamp_ns - begin) / (end - begin)
        return between(self._transforms[place - 1], self._transforms[place], share)

    def _after_the_last(self, stamp_ns: int) -> Rigid:
        last = self._stamps[-1]
        earlier = bisect.bisect_right(self._stamps, last - _MOVEMENT) - 1
        # a movement of long ago says nothing of now
        if earlier < 0 or last - self._stamps[earlier] > 10 * _MOVEMENT:
            return self._transforms[-1]
        begin = self._stamps[earlier]
        return between(self._transforms[earlier], self._transforms[-1], (stamp_ns - begin) / (last - begin))

    @property
    def span(self) -> str:
        if not self._stamps:
            return "nothing"
        return f"{seconds_text(self._stamps[0])} to {seconds_text(self._stamps[-1])}"


class TransformBuffer:
    """Keeps transforms of all frames. Not locked: its owner guards it."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}  # by child

    def add(self, parent: str, child: str, stamp_ns: int, transform: Rigid, static: bool = False) -> None:
        """Keep a transform that takes points of `child` to those of `parent`. A leading slash of names is dropped."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not parent or not child or parent == child:
            return
        edge = self._edges.get(child)
        if edge is None or edge.parent != parent or edge.static != static:
            edge = self._edges[child] = _Edge(parent, static)
        edge.add(stamp_ns, transform)

    def find(self, target: str, source: str, stamp_ns: int, beyond_ns: int = 0) -> Rigid:
        """Return what takes points of `source` to those of `target` at a time.

        beyond_ns: how long after the last transform its movement may be continued, in nanoseconds.
        Raises TransformMissing.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        if target == source:
            return Rigid.identity()
        above_source, above_target = self._above(source), self._above(target)
        shared = next((frame for frame in above_source if frame in above_target), None)
        if shared is None:
            known = ", ".join(sorted({*self._edges, *(edge.parent for edge in self._edges.values())})) or "none"
            raise TransformMissing(f"no transforms connect '{source}' with '{target}'; frames known are {known}")
        up = self._climb(source, shared, stamp_ns, beyond_ns)
        down = self._climb(target, shared, stamp_ns, beyond_ns)
        return down.inverse @ up

    def _above(self, frame: str) -> list[str]:
        frames = [frame]
        while (edge := self._edges.get(frames[-1])) is not None and len(frames) < _DEEPEST:
            frames.append(edge.parent)
        return frames

    def _climb(self, frame: str, top: str, stamp_ns: int, beyond_ns: int) -> Rigid:
        transform = Rigid.identity()
        while frame != top:
            edge = self._edges[frame]
            step = edge.at(stamp_ns, beyond_ns)
            if step is None:
                raise TransformMissing(
                    f"the transform from '{frame}' to '{edge.parent}' is not known at {seconds_text(stamp_ns)}; kept"
                    f" are {edge.span}"
                )
            transform = step @ transform
            frame = edge.parent
        return transform
