# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node says at its start which overrides of the quality of service rclpy would raise at, or ignore."""

from __future__ import annotations

import pytest

from snscf_ros.qos_overrides import refused, without_effect

TOPICS = ("/front/image_raw", "/front/camera_info")


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("subscription.reliability", "best-effort", "must be one of"),
        ("subscription.durability", 3, "transient_local"),
        ("subscription.depth", "3", "whole number"),
        ("subscription.depth", True, "whole number"),
        ("subscription.depth", 0, "greater than 0"),
        ("subscription.reliabilty", "reliable", "did you mean reliability?"),
        ("subscription.deadline", 5, "must be one of history, depth, reliability, durability"),
        ("publisher.depth", 3, "must be qos_overrides./front/image_raw.subscription.depth"),
    ],
)
def test_what_is_no_override_is_refused(name, value, told):
    assert told in refused({f"qos_overrides./front/image_raw.{name}": value}, TOPICS)


def test_what_can_be_overridden_passes():
    right = {"history": "keep_last", "depth": 3, "reliability": "reliable", "durability": "transient_local"}
    given = {f"qos_overrides.{topic}.subscription.{policy}": right[policy] for topic in TOPICS for policy in right}
    assert not refused({**given, "model": "best-effort"}, TOPICS)
    assert not without_effect(given, TOPICS)


def test_overrides_of_other_topics_are_named_with_the_topic_that_may_be_meant():
    given = ("qos_overrides./front/image_rw.subscription.depth", "qos_overrides.image_raw.depth", "cameras")
    of_another, malformed = without_effect(given, TOPICS)
    assert "did you mean /front/image_raw?" in of_another
    assert "qos_overrides.TOPIC.subscription.POLICY" in malformed
