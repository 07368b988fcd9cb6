"""Colours as a second opinion."""

from __future__ import annotations

import numpy as np
import pytest

from snscf_core.appearance import Appearance, histogram

RED, GREEN = (40, 40, 200), (60, 180, 50)


def picture(colour, noise=8.0, seed=0):
    rng = np.random.default_rng(seed)
    frame = rng.normal(110, 20, (120, 160, 3))
    frame[30:80, 40:100] = rng.normal(colour, noise, (50, 60, 3))
    return frame.clip(0, 255).astype(np.uint8)


BOX = (40.0, 30.0, 60.0, 50.0)


def test_the_same_colours_are_less_strange_than_others():
    appearance = Appearance.of(picture(RED), BOX)
    same, other, ground = (
        appearance.strangeness(histogram(picture(colour, seed=1), box))
        for colour, box in ((RED, BOX), (GREEN, BOX), (RED, (100.0, 80.0, 50.0, 35.0)))
    )
    assert same < 0 < 0.3 < min(other, ground)
    dimmed = (picture(RED, seed=2) * 0.93).astype(np.uint8)
    assert appearance.strangeness(histogram(dimmed, BOX)) < 0.5 * other, "a little less light is no other colour"


def test_what_changes_much_may_change_much():
    steady, moody = Appearance.of(picture(RED), BOX), Appearance.of(picture(RED), BOX)
    for seed in range(30):
        steady.remember(histogram(picture(RED, seed=seed), BOX))
        moody.remember(histogram(picture(RED, noise=60.0, seed=seed), BOX))
    assert steady.typical < moody.typical
    assert np.isclose(moody.recent.sum(), 1.0, atol=1e-4) and moody.given.sum() == pytest.approx(1.0, abs=1e-4)


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
    found = histogram(picture(RED), box)
    assert found.shape == (8, 16, 16) and found.min() >= 0 and found.sum() == pytest.approx(1.0, abs=1e-4)
