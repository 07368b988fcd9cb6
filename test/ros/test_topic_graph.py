# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A silent camera: what the graph tells, and which setting helps. Real nodes are asked in test_node_wiring.py."""

from __future__ import annotations

import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from snscf_ros.node.cameras import sensor_qos
from snscf_ros.topic_graph import Alternation, Publisher, Topics, explain

RAW, JPEG = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
QOS = QoSProfile(depth=1)


def explained(topic: str, kind: str, published: dict[str, str], qos: QoSProfile | None = None) -> str:
    """Return what is said of a subscription to a topic while each of the published ones has one publisher."""
    own = [Publisher("/driver", published[topic], QOS)] if topic in published else []
    return explain(topic, kind, qos or sensor_qos(), Topics(own, {name: [kind] for name, kind in published.items()}))


@pytest.mark.parametrize(
    "topic, kind, published, told",
    [
        ("/a/image_raw", RAW, {}, "nobody publishes images at all"),
        ("/a/image_raw", RAW, {"/chatter": "std_msgs/msg/String"}, "nobody publishes images at all"),
        ("/a/image_raw", RAW, {"/cam/image_raw": RAW}, "images are published on /cam/image_raw"),
        ("/image_raw", RAW, {"/image_raw/compressed": JPEG}, "set image_transport to 'compressed'"),
        ("/image_raw/compressed", JPEG, {"/image_raw": RAW}, "set image_transport to 'raw'"),
        ("/c/compressed/compressed", JPEG, {"/c/compressed": JPEG}, "remap image_raw without /compressed"),
        (
            "/c/compressed",
            RAW,
            {"/c/compressed": JPEG},
            "set image_transport to 'compressed' and remap image_raw to /c",
        ),
        ("/image_raw", RAW, {"/image_raw": "sensor_msgs/msg/PointCloud2"}, "PointCloud2, which is no image"),
        ("/image_raw", RAW, {"/image_raw": RAW}, "/driver has a publisher of /image_raw, but sends nothing"),
    ],
)
def test_the_setting_that_helps_is_named(topic, kind, published, told):
    assert told in explained(topic, kind, published)


def test_quality_of_service_that_does_not_fit_is_named():
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    text = explained("/image_raw", RAW, {"/image_raw": RAW}, latched)
    assert "of /driver on /image_raw does not fit" in text
    assert "durability" in text or "volatile" in text
    assert "qos_overrides./image_raw.subscription" in text
    fitting = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    assert "does not fit" not in explained("/image_raw", RAW, {"/image_raw": RAW}, fitting)


def test_two_cameras_alternate_and_one_that_is_started_again_does_not():
    seen: Alternation[str] = Alternation()
    for now, value in enumerate("lllrrr"):
        seen.observe(value, 0.1 * now)
        assert not seen.values(0.1 * now), "a change is no alternation"
    seen.observe("l", 0.7)
    assert seen.values(0.7) == ("l", "r")
    assert not seen.values(9.0), "it is over"
    seen.observe("r", 9.0)
    assert not seen.values(9.0), "the other has gone long ago"
