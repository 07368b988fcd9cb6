# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Conditions change light, detail, rate and size by what they say, and starts are where they should be."""

from __future__ import annotations

import inspect

import cv2
import numpy as np
import pytest

from snscf_core.evaluation import conditions
from snscf_core.evaluation.conditions import CONDITIONS
from snscf_core.evaluation.fingerprints import of_code
from snscf_core.evaluation.starts import MOVES, first_frames, moved


@pytest.fixture
def frame() -> np.ndarray:
    """Smooth colours of all levels, 90 x 120 pixels."""
    cells = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    return cv2.resize(cells, (120, 90), interpolation=cv2.INTER_CUBIC)


def changed(name: str, frame: np.ndarray, index: int = 0, seed: int = 0) -> np.ndarray:
    return CONDITIONS[name].change(frame, index, np.random.default_rng(seed))


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_gives_a_frame_and_leaves_its_own_alone(name, frame):
    before = frame.copy()
    for index in (0, 30, 61):
        once, again = (changed(name, frame, index) for _ in range(2))
        assert once.dtype == np.uint8 and once.ndim == 3 and once.shape[2] == 3
        assert np.array_equal(once, again) and np.array_equal(frame, before)
        shape = tuple(round(side * CONDITIONS[name].scale) for side in frame.shape[:2])
        assert once.shape[:2] == shape


def test_grey_has_no_colour_and_the_same_luminance(frame):
    grey = changed("grey", frame)
    assert np.ptp(grey, axis=2).max() == 0
    assert np.array_equal(grey[..., 0], cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))


def test_inverted_grey_is_upside_down_at_two_fifths_of_the_contrast(frame):
    grey, inverted = (changed(name, frame)[..., 0].astype(float) for name in ("grey", "inverted_grey"))
    assert np.abs(inverted - (127.5 + 0.4 * (127.5 - grey))).max() <= 0.5
    assert inverted.min() >= 76 and inverted.max() <= 179


@pytest.mark.parametrize(("index", "factor"), [(0, 1), (30, 0.625), (60, 0.25), (90, 0.625), (120, 1), (180, 0.25)])
def test_dimming_goes_to_a_quarter_and_back_in_120_frames(index, factor, frame):
    assert changed("dimming", frame, index).mean() == pytest.approx(frame.mean() * factor, abs=0.5)


def test_light_steps_are_every_30_frames(frame):
    levels = [changed("light_steps", frame, index).mean() / frame.mean() for index in range(120)]
    assert np.round(levels, 2).tolist() == ([1.0] * 30 + [0.4] * 30) * 2


def test_noise_has_its_sigma_and_is_another_with_another_generator():
    frame = np.full((200, 200, 3), 128, np.uint8)
    noisy = changed("noise", frame).astype(float)
    assert noisy.std() == pytest.approx(20, rel=0.02) and noisy.mean() == pytest.approx(128, abs=0.3)
    assert np.corrcoef(noisy[..., 0].ravel(), noisy[..., 1].ravel())[0, 1] == pytest.approx(0, abs=0.02)
    assert not np.array_equal(noisy, changed("noise", frame, seed=1))


def test_jpeg_loses_detail_and_keeps_the_picture(frame):
    error = changed("jpeg", frame).astype(float) - frame
    assert 2 < np.abs(error).mean() < 15 and abs(error.mean()) < 2


def test_blur_spreads_an_edge_over_nine_pixels_of_a_row_alone():
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[:, 30:] = 225
    blurred = changed("motion_blur", frame)
    assert blurred[20, :, 0].tolist() == [0] * 26 + list(range(25, 225, 25)) + [225] * 26
    assert np.array_equal(changed("motion_blur", frame.transpose(1, 0, 2)), frame.transpose(1, 0, 2))


def test_half_size_is_the_mean_of_four(frame):
    means = frame.reshape(45, 2, 60, 2, 3).mean(axis=(1, 3))
    assert np.abs(changed("half_size", frame) - means).max() <= 0.5
    assert CONDITIONS["half_rate"].step == 2 and CONDITIONS["half_rate"].change is conditions.as_it_is


def test_fingerprints_tell_what_is_done_not_what_is_said_of_it():
    source = inspect.getsource(conditions.noise)
    assert of_code([source]) == of_code([source.replace("Gaussian noise", "Grain") + "\n# a remark\n"])
    assert of_code([source]) != of_code([source.replace("* 20", "* 21")])
    assert of_code(['def f():\n    """Nothing."""']) == of_code(["def f():\n    pass"])
    assert len({one.fingerprint for one in CONDITIONS.values()}) == len(CONDITIONS)


def test_starts_are_moved_and_scaled_about_the_middle():
    box = np.array([10.0, 20, 40, 20])
    assert moved(box, MOVES[0]) == pytest.approx([10, 20, 40, 20])
    assert moved(box, MOVES[0]._replace(right=0.1, scale=0.5)) == pytest.approx([24, 25, 20, 10])


def test_first_frames_spread_over_the_first_half_where_the_target_is_there():
    truth = np.tile([10.0, 10, 20, 20], (60, 1))
    assert first_frames(truth, 1) == [0] and first_frames(truth, 3) == [0, 10, 20]
    truth[8:13] = np.nan
    truth[20, 2:] = 0
    assert first_frames(truth, 3) == [0, 13, 21]
    truth[5:] = np.nan
    assert first_frames(truth, 3) == [0, 4, 4]
    with pytest.raises(ValueError, match="never appears"):
        first_frames(np.full((9, 4), np.nan), 2)
