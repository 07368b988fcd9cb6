# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Context crops against an independent resampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opencv_places import exact_side

from snscf_core.crops import check_frame, context_side, crop, cut_crops, sample_crops
from snscf_core.devices import CPU, device_named


def smooth_frame(height: int = 120, width: int = 160) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    channels = [127 + 100 * np.sin(x / 17 + k) * np.cos(y / 23 - k) for k in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def bilinear(frame: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear interpolation written out, at continuous coordinates whose pixel centres are at i + 0.5."""
    u, v = x - 0.5, y - 0.5
    i, j = np.floor(v).astype(int), np.floor(u).astype(int)
    a, b = (v - i)[..., None], (u - j)[..., None]
    f = frame.astype(np.float64)
    return f[i, j] * (1 - a) * (1 - b) + f[i + 1, j] * a * (1 - b) + f[i, j + 1] * (1 - a) * b + f[i + 1, j + 1] * a * b


@settings(max_examples=40, deadline=None)
@given(st.floats(50, 110), st.floats(40, 80), st.floats(10, 70))
def test_crop_is_the_independent_warp(cx, cy, side):
    frame, size = smooth_frame(), 63
    out = crop(frame, (cx, cy), side, size)
    # Crop coordinate u shows frame coordinate cx + (u - size / 2) * side / size.
    step = (np.arange(size) + 0.5 - size / 2) * side / size
    x, y = np.meshgrid(cx + step, cy + step)
    # OpenCV interpolates with weights in steps of 1 / 32.
    assert np.abs(out - bilinear(frame, x, y)).max() < 2.5


def places(most: int):
    """Some crops of a frame of 160 x 120: inside, over the border and far away, enlarged and shrunk many times."""
    centre = st.tuples(st.floats(-100, 260), st.floats(-100, 220))
    return st.lists(st.tuples(centre, st.floats(4, 900)), min_size=1, max_size=most)


@settings(max_examples=60, deadline=None)
@given(places(5))
def test_crops_that_are_sampled_together_are_those_of_opencv(wanted):
    frame = smooth_frame()
    found = sample_crops(frame, wanted, 63, CPU)
    assert found.shape == (len(wanted), 63, 63, 3) and found.dtype == torch.uint8 and found.is_contiguous()
    one_by_one = np.stack([crop(frame, *place, 63) for place in wanted])
    assert np.array_equal(cut_crops(frame, wanted, 63, CPU), one_by_one)
    difference = np.abs(found.numpy() - one_by_one.astype(int))
    assert difference.max() < 2.5 and difference.mean() < 0.5


@pytest.mark.parametrize("size", [63, 127, 255])
@pytest.mark.parametrize("side", [40.0, 63.0, 120.0, 126.0, 200.0])
def test_crops_that_touch_the_border_are_those_of_opencv(side, size):
    frame = np.random.default_rng(0).integers(0, 256, (210, 330, 3), np.uint8)
    side = exact_side(side, size)
    middles = [(side / 2, length - side / 2, length / 3) for length in (330, 210)]
    wanted = [((x, y), side) for x in middles[0] for y in middles[1]]
    one_by_one = np.stack([crop(frame, *place, size) for place in wanted]).astype(int)
    difference = np.abs(sample_crops(frame, wanted, size, CPU).numpy() - one_by_one)
    # Between pixels that are up to 255 apart, weights in steps of 1 / 32 in both directions make 8 levels.
    assert difference.max() <= 9 and difference.mean() < 0.7


@settings(max_examples=20, deadline=None)
@given(st.floats(50, 110), st.floats(40, 80), st.floats(10, 70))
def test_crops_that_are_sampled_together_are_exact(cx, cy, side):
    frame, size = smooth_frame(), 63
    first, again = sample_crops(frame, [((cx, cy), side), ((-50.0, 60.0), 200.0)], size, CPU).numpy()
    step = (np.arange(size) + 0.5 - size / 2) * side / size
    x, y = np.meshgrid(cx + step, cy + step)
    assert np.abs(first - bilinear(frame, x, y)).max() < 0.51
    assert np.abs(again[:, :10] - frame.reshape(-1, 3).mean(0)).max() <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_crops_on_a_gpu_are_those_of_the_cpu():
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    wanted = [((320.5, 200.25), 180.0), ((10.0, 470.0), 300.0), ((300.0, 200.0), 700.0), ((-900.0, 0.0), 40.0)]
    expected, found = (sample_crops(frame, wanted, 255, device_named(kind)).cpu().int() for kind in ("cpu", "cuda"))
    assert (expected - found).abs().max() <= 1


LUMA = np.array([0.114, 0.587, 0.299])


@pytest.mark.parametrize(("share", "expected"), [(0.1, 4 * 12.7), (0.3, 80), (0.5, 80), (0.8, None), (1.0, None)])
def test_dark_crops_are_brightened_and_others_stay(share, expected):
    frame = (smooth_frame() * share).round().astype(np.uint8)
    wanted = [((80.0, 60.0), 60.0), ((40.0, 50.0), 40.0)]
    plain, lit = (cut_crops(frame, wanted, 63, CPU, brightness) for brightness in (0.0, 80.0))
    for before, after in zip(plain.astype(float), lit.astype(float), strict=True):
        if expected is None:
            assert np.array_equal(before, after)
            continue
        factor = min(4, 80 / (before @ LUMA).mean())
        assert np.abs(after - np.minimum(before * factor, 255)).max() <= 0.51
    if expected is not None:
        assert (lit @ LUMA).mean() == pytest.approx(expected, rel=0.15)
    sampled = sample_crops(frame, wanted, 63, CPU, 80.0).numpy()
    assert np.abs(sampled - lit.astype(float)).max() < 10 and np.abs(sampled - lit.astype(float)).mean() < 1.5


def test_a_black_frame_stays_black():
    frame = np.zeros((60, 80, 3), np.uint8)
    for cut in (cut_crops, sample_crops):
        assert not np.asarray(cut(frame, [((40.0, 30.0), 20.0)], 63, CPU, 80.0)).any()


def test_a_shrinking_crop_averages_instead_of_aliasing():
    frame = np.zeros((400, 400, 3), np.uint8)
    frame[:, ::2] = 255  # stripes that bilinear sampling would turn into patterns
    out = crop(frame, (200, 200), 380, 95)
    assert abs(out[5:-5, 5:-5].astype(float).mean() - 127.5) < 2
    assert out[5:-5, 5:-5].std() < 15


@pytest.mark.parametrize("side", [60, 800])
def test_outside_the_frame_is_the_mean_colour(side):
    frame = smooth_frame()
    out = crop(frame, (0, 0), side, 127)
    mean = frame.reshape(-1, 3).mean(0)
    assert np.abs(out[:50, :50] - mean).max() <= 1
    assert np.abs(crop(frame, (-500, -500), 60, 31) - mean).max() <= 1


def test_a_view_with_padded_rows_gives_the_same_crop():
    wide = np.random.default_rng(0).integers(0, 256, (90, 200, 3), np.uint8)
    view = wide[:, 20:140]
    assert np.array_equal(crop(view, (60, 45), 70, 63), crop(view.copy(), (60, 45), 70, 63))


def test_context_of_a_square_target_doubles_its_side():
    assert context_side(50, 50) == pytest.approx(100)
    assert context_side(20, 80) == pytest.approx(np.sqrt(70 * 130))


@pytest.mark.parametrize(
    ("frame", "error", "text"),
    [
        ([[0]], TypeError, "list"),
        (np.zeros((50, 50), np.uint8), ValueError, r"\(50, 50\)"),
        (np.zeros((50, 50, 4), np.uint8), ValueError, r"\(50, 50, 4\)"),
        (np.zeros((50, 50, 3), np.float32), ValueError, "float32"),
        (np.zeros((1, 1, 3), np.uint8), ValueError, "1 x 1"),
    ],
)
def test_a_wrong_frame_is_refused_naming_what_is_wrong(frame, error, text):
    with pytest.raises(error, match=text):
        check_frame(frame)
