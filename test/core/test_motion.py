# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where targets are expected, where lost ones are looked for, and what is told apart from them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from snscf_core.crops import SEARCH_SIZE, TEMPLATE_SIZE, context_side
from snscf_core.online import motion as motions
from snscf_core.online.config import TrackerConfig
from snscf_core.online.motion import Distractor, Motion
from snscf_core.online.search_regions import place

CONFIG = TrackerConfig()


def owner(place, expected, distractors, length):
    return motions.owner(place, expected, distractors, length, CONFIG.distractors)


def follow(distractors, places, target, length, hidden=None):
    return motions.follow(distractors, places, target, length, CONFIG.distractors, CONFIG.motion, hidden)


def test_a_steady_motion_is_learned_and_coasts_to_a_stop():
    motion = Motion()
    for _ in range(30):
        motion.update((4.0, -2.0), CONFIG.motion)
    assert motion.velocity == pytest.approx((4.0, -2.0), abs=0.01)
    steps = [motion.coast(5, CONFIG.motion) for _ in range(10)]
    assert steps[0] == pytest.approx((3.6, -1.8), abs=0.01)
    assert all(math.hypot(*after) < math.hypot(*before) for before, after in pairwise(steps[:5]))
    assert steps[5:] == [(0.0, 0.0)] * 5 and motion.time_since_update == 10
    motion.update((0.0, 0.0), CONFIG.motion)
    assert motion.time_since_update == 0


@pytest.mark.parametrize(
    ("frame", "size"), [((640, 480), (90.0, 60.0)), ((320, 240), (12.0, 30.0)), ((64, 64), (60.0, 60.0))]
)
def test_the_places_looked_at_cover_the_frame_nearest_first(frame, size):
    last = (0.2 * frame[0], 0.7 * frame[1])
    side = context_side(*size) * SEARCH_SIZE / TEMPLATE_SIZE
    whole = [place(number, size, frame, last, CONFIG) for number in range(400)]
    assert {scale for _, scale in whole} == set(CONFIG.recovery.scales)
    for scale in CONFIG.recovery.scales:
        centres = [centre for centre, other in whole if other == scale]
        for x in range(0, frame[0], 16):
            for y in range(0, frame[1], 16):
                inside = (max(abs(x - cx), abs(y - cy)) <= side * scale / 2 for cx, cy in centres)
                assert any(inside), (x, y, scale)
    usual = [math.dist(centre, last) for centre, scale in whole if scale == 1.0]
    assert len(usual) == 200, "every other one"
    once = len({centre for centre, scale in whole if scale == 1.0})
    assert usual[:once] == sorted(usual[:once]) and usual[once : 2 * once] == usual[:once], "again and again"


def test_of_a_tiny_target_only_the_nearest_places_are_looked_at():
    places = [place(number, (1.0, 1.0), (1920, 1080), (900.0, 500.0), CONFIG) for number in range(0, 10_000, 2)]
    once = len(set(places))
    assert 1000 < once < len(places) and places[once:] == places[: len(places) - once], "again and again"
    assert max(math.dist(centre, (900.0, 500.0)) for centre, _ in places) < 200


def test_where_a_restless_target_is_found_is_less_strange():
    steady, restless = Motion(), Motion()
    assert steady.strangeness(0.9, CONFIG.motion) == 0.9
    for _ in range(30):
        steady.remember(0.1, CONFIG.motion)
        restless.remember(7.0, CONFIG.motion)
    assert steady.strangeness(0.9, CONFIG.motion) == 0.9
    assert restless.typical == pytest.approx(1.0, abs=0.01)
    assert restless.strangeness(0.9, CONFIG.motion) == pytest.approx(0.9 * CONFIG.motion.steady, rel=0.01)


def test_what_is_not_sure_moves_the_velocity_too_but_counts_as_unseen():
    motion = Motion((10.0, 0.0))
    for _ in range(20):
        motion.update((0.0, 0.0), CONFIG.motion, surely=False)
    assert motion.velocity == pytest.approx((0.0, 0.0), abs=0.01) and motion.time_since_update == 20


def walk(start, velocity, frames):
    return [(start[0] + velocity[0] * k, start[1] + velocity[1] * k) for k in range(frames)]


def test_what_passes_the_target_is_told_from_it_by_its_motion():
    target = walk((100.0, 100.0), (1.0, 0.0), 40)
    passer = walk((190.0, 130.0), (-4.0, 0.0), 40)
    distractors: list[Distractor] = []
    for frame in range(10):
        distractors = follow(distractors, [passer[frame], target[frame]], target[frame], 30.0)
    (one,) = distractors
    assert one.hits == 10 and one.expected == pytest.approx(passer[10], abs=1.0)
    expected = (target[9][0] + 1.0, target[9][1])
    assert owner(passer[10], expected, distractors, 30.0) is one
    assert owner(target[10], expected, distractors, 30.0) is None
    assert owner((400.0, 300.0), expected, distractors, 30.0) is None, "something new"


def test_a_distractor_seen_once_owns_nothing_and_an_unseen_one_is_forgotten():
    (one,) = follow([], [(200.0, 100.0)], (100.0, 100.0), 30.0)
    assert owner((200.0, 100.0), (100.0, 100.0), [one], 30.0) is None
    distractors = [one]
    for _ in range(15):
        distractors = follow(distractors, [], (100.0, 100.0), 30.0)
        assert distractors == [one]
    assert follow(distractors, [], (100.0, 100.0), 30.0) == []


def test_while_the_target_is_hidden_distractors_go_on_but_nothing_new_becomes_one():
    passer = walk((190.0, 130.0), (-4.0, 0.0), 20)
    distractors: list[Distractor] = []
    for frame in range(5):
        distractors = follow(distractors, [passer[frame]], (60.0, 60.0), 30.0)
    for frame in range(5, 20):
        distractors = follow(distractors, [passer[frame], (60.0, 60.0)], None, 30.0)
    (one,) = distractors
    assert one.hits == 20 and one.centre == passer[19]


def test_what_is_on_the_target_is_no_distractor():
    assert follow([], [(110.0, 100.0)], (100.0, 100.0), 30.0) == []
    met = Distractor((120.0, 100.0), Motion((-5.0, 0.0)), hits=9)
    assert follow([met], [], (100.0, 100.0), 30.0) == [], "they have met: which is which is not known any more"
    assert follow([met], [], None, 30.0, hidden=(100.0, 100.0)) == [], "nor when the target is hidden there"
    assert follow([met], [], None, 30.0, hidden=(300.0, 100.0)) == [met]
