# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A frame's time: what waits when it is spent, and for how long."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest

from snscf_core import Target, Tracker, TrackState
from snscf_core.online.config import changed
from snscf_core.online.deadline import MOST_WAITING
from snscf_core.online.mode import mode_named
from snscf_core.online.search_regions import plan
from snscf_core.online.tuning import tuned_config
from snscf_core.scenes import Scene

NO_TIME = 0.0


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    config = tuned_config("snscf_nano", search_places=2, search_interval=1)
    return Tracker("snscf_nano", device="cpu", engine="torch", config=config)


@pytest.fixture
def scene() -> Scene:
    return Scene(60, full_occlusion=0, look_alikes=0)


def lost(tracker: Tracker, scene: Scene) -> Target:
    target = tracker.init(scene[0].image, scene[0].box)
    nothing = np.full_like(scene[0].image, 90)
    for _ in range(30):
        if tracker.update(nothing, target).state == TrackState.LOST:
            return target
    raise AssertionError("it is not lost where nothing is to be seen")


def searches(tracker: Tracker, target: Target, frames: int, budget: float | None) -> Iterator[int]:
    """The places that are searched in each of some frames in which nothing is to be seen."""
    nothing = np.full((*target.frame_size[::-1], 3), 90, np.uint8)
    for _ in range(frames):
        before = target.places_searched
        tracker.update(nothing, target, budget=budget)
        yield target.places_searched - before


@pytest.mark.slow
def test_without_time_a_lost_target_is_looked_for_elsewhere_in_one_of_30_frames(tracker, scene):
    target = lost(tracker, scene)
    assert list(searches(tracker, copy.deepcopy(target), 5, None)) == [2] * 5
    before = tracker.deferred.places
    found = list(searches(tracker, target, 2 * MOST_WAITING, NO_TIME))
    assert sorted(found) == [0] * (2 * MOST_WAITING - 2) + [2, 2]
    assert tracker.deferred.places == before + 2 * (2 * MOST_WAITING - 2)


@pytest.mark.slow
def test_without_time_a_target_is_followed_but_learns_late(tracker, scene):
    target = tracker.init(scene[0].image, scene[0].box)
    filters, learned = target.filters.numerator.copy(), []
    for number in range(1, 45):
        track = tracker.update(scene[number].image, target, budget=NO_TIME)
        assert track.state == TrackState.TRACKED
        if not np.array_equal(filters, target.filters.numerator):
            filters = target.filters.numerator.copy()
            learned.append(number)
    assert learned == [MOST_WAITING + tracker.config.learning_interval]
    assert tracker.deferred.lessons and tracker.deferred.templates


@pytest.mark.slow
def test_with_time_enough_the_result_is_that_without_a_limit(tracker, scene):
    one, other = (tracker.init(scene[0].image, scene[0].box) for _ in range(2))
    before = copy.copy(tracker.deferred)
    for number in range(1, 25):
        image = scene[number].image
        assert tracker.update(image, one, budget=60.0) == tracker.update(image, other)
    assert tracker.deferred == before


@pytest.mark.slow
@pytest.mark.parametrize("places, interval", [(1, 2), (2, 1), (3, 4)])
def test_a_lost_target_goes_through_the_same_places_at_any_pace(tracker, scene, places, interval):
    mode = mode_named("snscf", trained=True)
    target = lost(tracker, scene)
    config = changed(tracker.config, {"search_places": places, "search_interval": interval})
    found, counts = [], []
    for searched in range(24):
        target.searched = searched
        regions = plan(scene[0].image, target, config, mode)
        elsewhere = [one for one in regions if one.elsewhere]
        counts.append(len(elsewhere))
        found += [(one.centre, one.side) for one in elsewhere]
        target.places_searched += len(elsewhere)
    assert sum(counts) == 24 * places // interval
    slowly = found[:6]
    target.places_searched = 0
    assert (
        slowly
        == [
            (one.centre, one.side)
            for one in plan(scene[0].image, target, changed(tracker.config, {"search_places": 6}), mode)
            if one.elsewhere
        ][:6]
    )
