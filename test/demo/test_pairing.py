# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Images, truths and tracks come on topics of their own, in any order; what belongs together is told by the stamps."""

from __future__ import annotations

import numpy as np
import pytest

from snscf_core import Track, TrackState
from snscf_ros.demo.frame_matcher import FrameMatcher

FRAME = np.zeros((20, 20, 3), np.uint8)
NOW = 1_700_000_000_000_000_000


def track(x: float) -> Track:
    return Track((x, 0.0, 5.0, 5.0), 0.5, TrackState.TRACKED, 6.0)


def recording(has_truth: bool = True) -> FrameMatcher:
    pairing = FrameMatcher(has_truth)
    pairing.record()
    pairing.begin(NOW)
    return pairing


def test_a_frame_waits_for_its_track_and_its_truth() -> None:
    pairing = recording()
    pairing.add_track(NOW, track(1), 0.1)
    assert list(pairing.take()) == []
    pairing.add_image(NOW, FRAME)
    assert list(pairing.take()) == []
    pairing.add_truth(NOW, (1.0, 2.0, 3.0, 4.0))
    ((_, result),) = pairing.take()
    assert (result.number, result.stamp, result.truth, result.track) == (1, NOW, (1.0, 2.0, 3.0, 4.0), track(1))
    assert not result.dropped and result.latency == 0.1
    assert list(pairing.take()) == []


def test_a_frame_passed_over_for_a_newer_one_is_dropped_and_keeps_the_last_box() -> None:
    pairing = recording(has_truth=False)
    for number in range(4):
        pairing.add_image(NOW + number, FRAME)
    pairing.add_track(NOW, track(1), 0.1)
    pairing.add_track(NOW + 2, track(2), 0.1)
    results = [result for _, result in pairing.take()]
    assert [result.dropped for result in results] == [False, True, False]
    assert [result.track for result in results] == [track(1), track(1), track(2)]
    assert [result.number for result in results] == [1, 2, 3]


def test_only_frames_from_the_first_to_the_last_played_count() -> None:
    pairing = FrameMatcher(has_truth=False)
    pairing.record()
    for number in range(5):
        pairing.add_image(NOW + number, FRAME)
        pairing.add_track(NOW + number, track(number), 0.1)
    assert list(pairing.take()) == []
    pairing.begin(NOW + 1)
    pairing.end(NOW + 3)
    assert not pairing.complete
    assert [result.stamp - NOW for _, result in pairing.take()] == [1, 2, 3]
    assert pairing.complete


def test_a_frame_whose_track_never_comes_is_given_up() -> None:
    pairing = FrameMatcher(has_truth=True, patience=0.0)
    pairing.record()
    pairing.begin(NOW)
    pairing.add_image(NOW, FRAME)
    ((_, result),) = pairing.take()
    assert result.dropped and result.track is None and result.truth is None


@pytest.mark.parametrize("everything", [False, True])
def test_at_the_end_all_frames_are_given_out(everything: bool) -> None:
    pairing = recording()
    pairing.add_image(NOW, FRAME)
    assert len(list(pairing.take(everything=everything))) == everything


def test_before_the_recording_only_a_few_images_are_kept_and_the_newest_whole_one_is_offered() -> None:
    pairing = FrameMatcher(has_truth=True)
    assert pairing.newest() is None
    for number in range(100):
        pairing.add_truth(NOW + number, (float(number), 0.0, 1.0, 1.0))
        pairing.add_track(NOW + number, None, 0.0)
        pairing.add_image(NOW + number, FRAME)
    pairing.add_image(NOW + 100, FRAME)
    newest = pairing.newest()
    assert newest is not None and newest[1] == (99.0, 0.0, 1.0, 1.0)
    assert len(pairing._images) <= 6
