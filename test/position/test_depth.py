# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The depth of a target is its own: not that of the wall behind it or of the bar in front of it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snscf_ros.position.depth import DepthImage, DepthRefused, NotEnoughDepth, target_depth

SIZE = (320, 240)
BOX = (100.0, 60.0, 80.0, 100.0)


def message(depths, encoding: str = "32FC1", padding: int = 0, big: bool = False):
    """A depth image of H x W metres, NaN where no depth is known, with `padding` bytes at the end of each row."""
    kind, unit = {"32FC1": ("f4", 1.0), "16UC1": ("u2", 1e-3)}[encoding]
    values = np.where(np.isnan(depths), 0 if kind == "u2" else np.nan, np.nan_to_num(depths) / unit)
    rows = np.round(values, 0 if kind == "u2" else 9).astype(np.dtype(kind).newbyteorder(">" if big else "<"))
    height, width = rows.shape
    data = b"".join(row.tobytes() + b"\xff" * padding for row in rows)
    step = width * rows.dtype.itemsize + padding
    return SimpleNamespace(
        width=width, height=height, encoding=encoding, is_bigendian=int(big), step=step, data=bytearray(data)
    )


def scene(target: float, behind: float, bar: float = 0.0, margin: float = 0.2):
    """A target that fills the box but for a margin, a background, and a bar across it that is nearer."""
    depths = np.full((SIZE[1], SIZE[0]), behind)
    x, y, w, h = BOX
    left, top = int(x + margin / 2 * w), int(y + margin / 2 * h)
    depths[top : int(top + (1 - margin) * h), left : int(left + (1 - margin) * w)] = target
    depths[:, 130 : int(130 + bar * w)] = target * 0.6
    return depths


@pytest.mark.parametrize("encoding", ["32FC1", "16UC1"])
@pytest.mark.parametrize("big", [False, True])
@given(
    target=st.floats(0.5, 15.0),
    behind=st.floats(1.2, 10.0),
    bar=st.floats(0.0, 0.12),
    missing=st.floats(0.0, 0.6),
    seed=st.integers(0, 10_000),
)
def test_depth_is_that_of_the_target(encoding, big, target, behind, bar, missing, seed):
    random = np.random.default_rng(seed)
    depths = scene(target, min(target * behind, 60.0), bar)
    depths *= random.normal(1.0, 0.005, depths.shape)
    depths[random.random(depths.shape) < missing] = np.nan
    found = target_depth(DepthImage(message(depths, encoding, 6, big)), BOX, SIZE)
    assert found.metres == pytest.approx(target, rel=0.02, abs=0.002)


def test_depth_image_of_another_size_shows_the_same_view():
    half = DepthImage(message(scene(4.0, 9.0)[::2, ::2]))
    assert target_depth(half, BOX, SIZE).metres == pytest.approx(4.0)


def test_of_two_surfaces_the_expected_one_is_the_target():
    depths = scene(4.0, 9.0, bar=0.45)
    image = DepthImage(message(depths))
    assert target_depth(image, BOX, SIZE).metres == pytest.approx(2.4)
    assert target_depth(image, BOX, SIZE, expected=(4.1, 0.2)).metres == pytest.approx(4.0)


def test_too_little_depth_is_said():
    depths = np.full((SIZE[1], SIZE[0]), np.nan)
    with pytest.raises(NotEnoughDepth, match="0 of"):
        target_depth(DepthImage(message(depths)), BOX, SIZE)
    with pytest.raises(NotEnoughDepth, match="outside"):
        target_depth(DepthImage(message(scene(4.0, 9.0))), (400.0, 10.0, 30.0, 30.0), SIZE)


@given(
    st.builds(
        SimpleNamespace,
        width=st.integers(0, 50),
        height=st.integers(0, 50),
        step=st.integers(0, 300),
        encoding=st.sampled_from(["32FC1", "16UC1", "bgr8", ""]),
        is_bigendian=st.integers(0, 1),
        data=st.binary(max_size=400),
    )
)
def test_what_is_no_depth_image_is_refused(broken):
    try:
        image = DepthImage(broken)
    except DepthRefused:
        return
    assert image.metres(slice(None), slice(None)).shape == (broken.height, broken.width)
