# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Long-term measures, losses and returns, calibration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snscf_core.evaluation.long_term import Events, events, f_score, reliability

GONE = float("nan")


def test_f_score_is_that_of_the_definition():
    # Reported at 0.8: frames 0 and 1, of which one has no target: precision (0.9 + 0) / 2, recall 0.9 / 3.
    overlaps, scores = [[0.9, GONE, 0.6, 0.0]], [[0.9, 0.8, 0.4, 0.1]]
    by_threshold = {}
    for threshold in (0.9, 0.8, 0.4, 0.1):
        said = np.array(scores[0]) >= threshold
        total = np.nan_to_num(overlaps[0])[said].sum()
        precision, recall = total / said.sum(), total / 3
        by_threshold[threshold] = 2 * precision * recall / (precision + recall)
    best = max(by_threshold, key=by_threshold.get)
    found = f_score(overlaps, scores)
    assert found.threshold == best and found.f_score == pytest.approx(by_threshold[best])
    # the same frames as two sequences
    assert f_score([[0.9, GONE], [0.6, 0.0]], [[0.9, 0.8], [0.4, 0.1]]) == found


def test_silence_on_absent_frames_is_worth_something():
    overlaps = [[0.8, 0.8, GONE, GONE]]
    assert f_score(overlaps, [[1, 1, 0, 0]]).f_score == pytest.approx(0.8)
    assert f_score(overlaps, [[1, 1, 1, 1]]).f_score == pytest.approx(2 * 0.4 * 0.8 / 1.2)
    with pytest.raises(ValueError, match="no frame with a target"):
        f_score([[GONE]], [[0.5]])
    with pytest.raises(ValueError, match="2 overlaps but 1"):
        f_score([[0.5, 0.5]], [[1.0]])


def track(*parts):
    """(how many frames, overlap, whether reported), ... as overlaps and reports."""
    overlaps = [overlap for count, overlap, _ in parts for _ in range(count)]
    return overlaps, [says for count, _, says in parts for _ in range(count)]


def test_a_return_is_found_if_the_target_is_reported_on_it_in_time():
    lost = track((10, 0.8, True), (20, GONE, False), (8, 0.0, False), (30, 0.8, True))
    assert events(*lost, within=10) == Events(returns=1, found=1, absences=1, false=0)
    assert events(*lost, within=8) == Events(1, 0, 1, 0)
    elsewhere = track((10, 0.8, True), (20, GONE, False), (30, 0.2, True))
    assert events(*elsewhere, within=10) == Events(1, 0, 1, 0)


def test_a_report_of_nothing_is_false_after_the_grace():
    late = track((10, 0.8, True), (4, GONE, True), (20, GONE, False), (20, 0.8, True))
    assert events(*late, within=10, grace=5).false == 0
    assert events(*late, within=10, grace=3).false == 1
    again = track((10, 0.8, True), (10, GONE, False), (1, GONE, True), (9, GONE, False), (20, 0.8, True))
    assert events(*again, within=10) == Events(1, 1, 1, 1)


def test_what_leaves_for_good_has_no_return_and_a_blink_is_no_absence():
    assert events(*track((10, 0.8, True), (20, GONE, False)), within=10) == Events(0, 0, 1, 0)
    assert events(*track((10, 0.8, True), (3, GONE, True), (20, 0.8, True)), within=10) == Events(0, 0, 0, 0)
    twice = track((5, 0.8, True), (9, GONE, False), (20, 0.8, True), (9, GONE, True), (20, 0.8, True))
    assert events(*twice, within=10) == Events(2, 2, 2, 1)


def test_reliability_of_scores_that_are_what_they_say():
    rng = np.random.default_rng(0)
    scores = rng.random(20_000)
    honest = reliability(scores, rng.random(20_000) < scores)
    assert honest.error < 0.02 and honest.counts.sum() == 20_000
    boastful = reliability(np.full(1000, 0.9), np.arange(1000) < 500)
    assert boastful.error == pytest.approx(0.4)
    assert np.isnan(boastful.scores[:9]).all() and boastful.hits[9] == 0.5
    for wrong in ([], [1.5]):
        with pytest.raises(ValueError):
            reliability(wrong, [True] * len(wrong))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_calibration_error_is_a_share(pairs):
    scores, hits = zip(*pairs, strict=True)
    found = reliability(scores, hits)
    assert 0 <= found.error <= 1 and found.counts.sum() == len(pairs)
