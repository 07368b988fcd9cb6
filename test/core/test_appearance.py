# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a target looks like, as a second opinion."""

from __future__ import annotations

import numpy as np
import pytest

from snscf_core.online.appearance import Light, Memory, MemoryConfig, Seen, colours, light

RATES = MemoryConfig()
RED, GREEN = (40, 40, 200), (60, 180, 50)


def picture(colour, noise=8.0, seed=0):
    rng = np.random.default_rng(seed)
    frame = rng.normal(110, 20, (120, 160, 3))
    frame[30:80, 40:100] = rng.normal(colour, noise, (50, 60, 3))
    return frame.clip(0, 255).astype(np.uint8)


BOX = (40.0, 30.0, 60.0, 50.0)


def test_the_same_colours_are_less_strange_than_others():
    memory = Memory.of(colours(picture(RED), BOX))
    same, other, ground = (
        memory.strangeness(colours(picture(colour, seed=1), box))
        for colour, box in ((RED, BOX), (GREEN, BOX), (RED, (100.0, 80.0, 50.0, 35.0)))
    )
    assert same < 0 < 0.3 < min(other, ground)


@pytest.mark.parametrize("light", [0.6, 0.75, 0.93, 1.25, 1.4])
def test_other_light_is_no_other_colour(light):
    memory = Memory.of(colours(picture(RED), BOX))
    lit = (picture(RED, seed=2) * light).clip(0, 255).astype(np.uint8)
    other = memory.strangeness(colours(picture(GREEN, seed=1), BOX))
    assert memory.strangeness(colours(lit, BOX)) < 0.5 * other
    assert memory.strangeness(colours(lit, BOX)) > memory.strangeness(colours(picture(RED, seed=2), BOX))


@pytest.mark.parametrize("step", [0.25, 0.45, 1.7])
def test_colours_are_known_again_after_a_known_change_of_the_light(step):
    def lit(colour, seed):
        return (picture(colour, seed=seed) * step).clip(0, 255).astype(np.uint8)

    memory, around = Memory.of(colours(picture(RED), BOX)), ((70.0, 55.0), 110.0)
    before = Light.of(light(picture(RED), *around))
    changes = before.changes(light(lit(RED, 1), *around))
    assert changes == pytest.approx((1 / step, 1 / step), rel=0.1)
    unknown = memory.strangeness(colours(lit(RED, 1), BOX))
    known, other = (memory.strangeness(colours(lit(colour, 1), BOX, changes)) for colour in (RED, GREEN))
    assert known <= unknown and known < 0.15 < other


def test_the_light_of_late_follows_and_the_given_one_stays():
    now = Light.of(120.0)
    assert now.changes(60.0) == (2.0, 2.0) and now.changes(0.0) == (5.0, 5.0)
    for _ in range(200):
        now.remember(40.0, RATES)
    assert now.changes(40.0) == pytest.approx((3.0, 1.0), abs=0.01)


def test_the_light_is_the_mean_level_of_a_square_also_across_the_border():
    frame = np.zeros((120, 160, 3), np.uint8)
    frame[:, 80:] = 200
    assert light(frame, (120.0, 60.0), 60.0) == 200
    assert light(frame, (80.0, 60.0), 60.0) == 100
    assert light(frame, (160.0, 120.0), 100.0) == 200 and light(frame, (-500.0, 0.0), 60.0) == 0


def test_what_changes_much_may_change_much():
    steady, moody = Memory.of(colours(picture(RED), BOX)), Memory.of(colours(picture(RED), BOX))
    for seed in range(30):
        steady.remember(colours(picture(RED, seed=seed), BOX), RATES)
        moody.remember(colours(picture(RED, noise=60.0, seed=seed), BOX), RATES)
    assert steady.typical < moody.typical
    for vector in (moody.recent, moody.given):
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-4)


def test_vectors_are_compared_with_what_was_given_and_with_what_was_seen_of_late():
    first, later, other = map(Seen.of, np.eye(3, dtype=np.float32))
    memory = Memory.of(first)
    assert memory.strangeness(first) == pytest.approx(-memory.typical)
    assert memory.strangeness(later) == memory.strangeness(other) == pytest.approx(1.0 - memory.typical)
    for _ in range(200):
        memory.remember(later, RATES)
    typical = memory.typical
    assert memory.strangeness(later) == pytest.approx(-typical, abs=0.02), "of late"
    assert memory.strangeness(first) == pytest.approx(-typical), "as given"
    assert memory.strangeness(other) > 0.9 - typical


@pytest.mark.parametrize(
    "box",
    [
        (-50.0, -50.0, 20.0, 20.0),
        (150.0, 110.0, 400.0, 300.0),
        (10.0, 10.0, 0.3, 0.3),
        (-1e6, 5.0, 3.0, 3.0),
        (0, 0, 160, 120),
    ],
)
def test_any_box_has_colours(box):
    found = colours(picture(RED), box).vectors
    assert found.shape == (5, 8 * 16 * 16) and found.min() >= 0
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-4)
