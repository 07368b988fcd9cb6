# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The template: it takes a share of what the target looks like now, and keeps the rest of the given box."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from snscf_core import Target, Tracker, TrackState
from snscf_core.crops import TEMPLATE_SIZE, context_side, crop
from snscf_core.online.config import changed
from snscf_core.online.tuning import tuned_config
from snscf_core.scenes import Scene

SHARE, INTERVAL = 0.25, 3


def tracker_for(mode: str = "snscf", share: float = SHARE) -> Tracker:
    config = changed(tuned_config("snscf_nano"), {"template.share": share, "template.interval": INTERVAL})
    return Tracker("snscf_nano", device="cpu", engine="torch", mode=mode, config=config)


@pytest.fixture(scope="module")
def frames() -> tuple[list[np.ndarray], tuple[float, ...]]:
    scene = Scene(240)
    return [scene[number].image for number in range(13)], tuple(scene[0].box)


def features(tracker: Tracker, frame: np.ndarray, target: Target) -> list[torch.Tensor]:
    """What a new target with this box would have as its template."""
    cut = crop(frame, target.centre, context_side(*target.size), TEMPLATE_SIZE)
    with torch.inference_mode():
        taps = tracker.network.extract(torch.from_numpy(cut)[None].permute(0, 3, 1, 2).float())
        return tracker.network.template(tracker.network.reduce(taps))


def test_the_template_is_the_given_look_mixed_with_the_present_one(frames):
    (first, *rest), box = frames
    tracker = tracker_for()
    target = tracker.init(first, box)
    given = [level.copy() for level in target.template]
    kernels = target.kernels.copy()
    for number, frame in enumerate(rest, 1):
        track = tracker.update(frame, target)
        assert track.state == TrackState.TRACKED and track.score > tracker.config.template.score_above
        if number % INTERVAL:
            continue
        now = features(tracker, frame, target)
        for level, theirs, ours in zip(given, now, target.template, strict=True):
            np.testing.assert_allclose(ours, (1 - SHARE) * level + SHARE * theirs.numpy(), rtol=1e-3, atol=1e-3)
        with torch.inference_mode():
            template = [torch.from_numpy(level) for level in target.template]
            np.testing.assert_allclose(target.kernels, tracker.network.kernels(template), rtol=1e-5, atol=1e-5)
    assert not np.allclose(kernels, target.kernels, atol=1e-3), "it has learned something"
    for level, kept in zip(given, target.given_template, strict=True):
        assert np.array_equal(level, kept), "the given look stays as it was"


def test_a_target_that_is_not_seen_teaches_nothing(frames):
    (first, *rest), box = frames
    tracker = tracker_for()
    target = tracker.init(first, box)
    grey = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, first.shape, np.uint8), (0, 0), 9)
    for frame in rest:
        if tracker.update(frame, target).state == TrackState.TRACKED and target.unrenewed == INTERVAL - 1:
            break
    before = [level.copy() for level in target.template]
    for _ in range(2 * INTERVAL):
        assert tracker.update(grey, target).state != TrackState.TRACKED
    assert all(np.array_equal(one, other) for one, other in zip(before, target.template, strict=True))


@pytest.mark.parametrize(("mode", "share"), [("siamese", SHARE), ("naive_fusion", SHARE), ("snscf", 0.0)])
def test_other_modes_and_a_share_of_nothing_keep_the_given_template(frames, mode, share):
    (first, *rest), box = frames
    tracker = tracker_for(mode, share)
    target = tracker.init(first, box)
    before = target.kernels.copy()
    for frame in rest[: 2 * INTERVAL]:
        tracker.update(frame, target)
    assert np.array_equal(before, target.kernels)


def test_a_saved_target_keeps_both_looks(frames, tmp_path):
    (first, *rest), box = frames
    tracker = tracker_for()
    target = tracker.init(first, box)
    for frame in rest[: INTERVAL + 1]:
        tracker.update(frame, target)
    target.save(tmp_path / "target.safetensors")
    again = Target.load(tmp_path / "target.safetensors")
    for frame in rest[INTERVAL + 1 :]:
        one, other = tracker.update(frame, target), tracker.update(frame, again)
        assert np.allclose(one.box, other.box, atol=1e-3) and one.state == other.state
    assert target.unrenewed == again.unrenewed
