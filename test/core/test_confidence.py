# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What evidence says, and what a target is called after it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snscf_core import MODES, TrackState
from snscf_core.online.confidence import CALIBRATIONS, Confidence, ConfidenceConfig, Evidence, Logistic

TRACKED, UNCERTAIN, LOST = TrackState
CONFIG = ConfidenceConfig()
SURE, WEAK, NONE = 0.9, 0.3, 0.05
numbers = st.floats(allow_nan=True, allow_infinity=True)


def states(probabilities, confidence=None, strange=False):
    confidence = confidence or Confidence()
    return [confidence.observe(probability, CONFIG, strange=strange) for probability in probabilities]


@given(st.tuples(*[numbers] * 7), st.sampled_from(sorted(CALIBRATIONS)))
def test_any_evidence_gives_a_probability(values, name):
    evidence = Evidence(*values)
    finite = {name: 1.0 for name in ("colour", "embedding") if math.isinf(getattr(evidence, name))}
    evidence = replace(evidence, **finite)
    for logistic in (CALIBRATIONS[name].accuracy, CALIBRATIONS[name].presence):
        assert 0 < logistic.probability(evidence) < 1


@pytest.mark.parametrize("what", ["accuracy", "presence"])
@pytest.mark.parametrize("mode", [*MODES, "searching"])
def test_what_speaks_for_the_target_never_lowers_the_probability(mode, what):
    logistic = getattr(CALIBRATIONS[mode], what)
    base = Evidence(0.5, 0.3, 0.7, 0.2, 0.1, 0.1, 8.0)
    for name, better in {
        "classification": 0.9,
        "response": 0.6,
        "agreement": 0.9,
        "motion": 0.05,
        "colour": -0.1,
        "embedding": -0.1,
        "peak": 20.0,
    }.items():
        assert logistic.probability(replace(base, **{name: better})) >= logistic.probability(base), name


def test_what_is_not_known_says_nothing():
    logistic = Logistic((1.0,) * 7, 0.0)
    assert logistic.probability(Evidence()) == 0.5
    assert logistic.probability(Evidence(classification=0.5, colour=0.0)) == 0.5
    assert logistic.probability(Evidence(), prior=-3.0) == pytest.approx(1 / (1 + math.exp(3)))


def test_a_state_holds_between_its_thresholds():
    between = (CONFIG.uncertain_below + CONFIG.tracked_above) / 2
    assert states([between, between, WEAK, between, SURE, between]) == [
        TRACKED,
        TRACKED,
        UNCERTAIN,
        UNCERTAIN,
        TRACKED,
        TRACKED,
    ]


def test_hardly_a_match_for_long_is_a_loss_and_a_weak_one_for_longer():
    none = states([NONE] * 20)
    weak = states([WEAK] * 100)
    assert none.index(LOST) == math.ceil(CONFIG.lost_after / (1 - NONE / CONFIG.uncertain_below)) - 1
    assert weak.index(LOST) > 3 * none.index(LOST)
    assert LOST not in states([*[NONE] * (none.index(LOST) - 1), 0.4] * 4)


def test_a_lost_target_is_found_only_after_several_sure_frames_in_a_row():
    confidence = Confidence(LOST)
    assert states([SURE] * (CONFIG.found_after + 1), confidence) == [UNCERTAIN] * CONFIG.found_after + [TRACKED]
    assert not confidence.searching
    confidence = Confidence(LOST)
    assert states([SURE] * CONFIG.found_after + [WEAK], confidence)[-1] == LOST
    assert states([SURE], confidence) == [UNCERTAIN] and confidence.searching
    between = (CONFIG.uncertain_below + CONFIG.found_above) / 2
    again = [SURE, between, between, *[SURE] * CONFIG.found_after]
    assert states(again, Confidence(LOST))[-1] == TRACKED, "looks again"
    assert LOST in states([SURE, *[between] * CONFIG.found_within], Confidence(LOST)), "but not for ever"


def test_a_target_that_went_astray_is_verified_like_a_lost_one():
    confidence = Confidence()
    confidence.go_astray()
    between = (CONFIG.uncertain_below + CONFIG.found_above) / 2
    assert states([between, SURE, between], confidence) == [UNCERTAIN] * 3
    assert states([SURE] * 5, confidence, strange=True) == [UNCERTAIN] * 5
    assert states([SURE] * (CONFIG.found_after + 1), confidence)[CONFIG.found_after - 2 :] == [
        UNCERTAIN,
        TRACKED,
        TRACKED,
    ]
    confidence.go_astray()
    assert states([NONE] * 20, confidence)[-1] == LOST and not confidence.astray
    confidence = Confidence()
    confidence.go_astray()
    assert states([SURE] * CONFIG.verified_within, confidence, strange=True)[-2:] == [UNCERTAIN, LOST], "not for ever"


def test_a_lost_target_is_not_found_in_strange_colours():
    looked = states([SURE] * 20, Confidence(LOST), strange=True)
    assert looked.count(UNCERTAIN) > 10 and LOST in looked and TRACKED not in looked
    assert states([SURE], Confidence(), strange=True) == [TRACKED], "what is followed may change its colours"


def test_something_likelier_elsewhere_is_looked_at_anew():
    confidence = Confidence(LOST)
    assert states([SURE] * CONFIG.found_after, confidence)[-1] == UNCERTAIN
    assert confidence.observe(SURE, CONFIG, elsewhere=True) == UNCERTAIN
    assert states([SURE] * CONFIG.found_after, confidence) == [UNCERTAIN] * (CONFIG.found_after - 1) + [TRACKED]
    assert Confidence(LOST).observe(NONE, CONFIG, elsewhere=True) == LOST
