# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keeps an update within its time: puts off what can wait.

Every target is looked for in each frame. These can wait: the places elsewhere where a lost target may be, the learning
of the filters, and the renewal of the template. None of them waits for longer than ``MOST_WAITING`` frames, so that a
time that is always too short makes the tracker slower to learn and to search, but keeps it working.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from ..crops import Frame
from .adaptation import Lesson
from .search_regions import Region
from .target import Target

MOST_WAITING = 30  # frames
_RATE = 0.1  # of the running means
_T = TypeVar("_T")


@dataclass
class Deferred:
    """Counts what has been put off since the tracker was made.

    places: where lost targets were not searched for in the frame in which it was their turn.
    lessons: of filters.
    templates: that were not renewed.
    """

    places: int = 0
    lessons: int = 0
    templates: int = 0


@dataclass
class Costs:
    """Running means of the time that parts of a frame's work take, in seconds for each target or region.

    Zero until measured: what has never been done is tried.
    """

    region: float = 0.0
    lesson: float = 0.0
    template: float = 0.0

    def __post_init__(self) -> None:
        self._known = {item.name for item in fields(self) if getattr(self, item.name)}

    def measured(self, part: str, count: int, work: Callable[[], _T]) -> _T:
        """Does the work, and counts its time as that of ``count`` targets or regions."""
        started = time.perf_counter()
        result = work()
        each = (time.perf_counter() - started) / count
        if part in self._known:
            before = getattr(self, part)
            each = before + _RATE * (each - before)
        self._known.add(part)
        setattr(self, part, each)
        return result


class Deadline:
    """Decides during one frame what there is still time for.

    seconds: from now on; None sets no limit.
    """

    def __init__(self, seconds: float | None, costs: Costs, deferred: Deferred) -> None:
        self._ends = None if seconds is None else time.perf_counter() + seconds
        self._costs, self._deferred = costs, deferred

    def fits(self, cost: float) -> bool:
        """Says whether work of that many seconds would be done in time."""
        return self._ends is None or time.perf_counter() + cost <= self._ends

    def trimmed(self, regions: Sequence[list[Region]], targets: Sequence[Target], interval: int) -> list[list[Region]]:
        """Leaves out places for which there is no time; the first region of each target stays.

        The targets that have been searched for in the fewest places come first.

        interval: from one search elsewhere to the next, in frames.
        """
        kept, count = list(regions), len(regions)
        if self._ends is None:
            return kept
        for index in sorted(range(count), key=lambda index: targets[index].places_searched):
            extra = len(regions[index]) - 1
            overdue = targets[index].searched % MOST_WAITING < interval
            if extra and not overdue and not self.fits((count + extra) * self._costs.region):
                kept[index] = regions[index][:1]
                self._deferred.places += extra
            else:
                count += extra
        return kept

    def lessons(self, due: list[tuple[int, Lesson]], interval: int) -> list[tuple[int, Lesson]]:
        """Returns the lessons that are learned in this frame. interval: between two lessons of a target, in frames."""
        kept = self._kept(due, lambda one: one[1].target.unlearned - interval, self._costs.lesson)
        self._deferred.lessons += len(due) - len(kept)
        return kept

    def templates(self, due: list[tuple[Frame, Target]], interval: int) -> list[tuple[Frame, Target]]:
        """Returns the targets whose templates are renewed in this frame, with the frame. interval: as in `lessons`."""
        kept = self._kept(due, lambda one: one[1].unrenewed - interval, self._costs.template)
        self._deferred.templates += len(due) - len(kept)
        return kept

    def _kept(self, due: list[_T], waited: Callable[[_T], int], cost: float) -> list[_T]:
        """Returns what there is time for, what has waited longest first. waited: for how many frames."""
        if self._ends is None:
            return due
        kept: list[_T] = []
        for one in sorted(due, key=waited, reverse=True):
            if waited(one) >= MOST_WAITING or self.fits((len(kept) + 1) * cost):
                kept.append(one)
        return kept
