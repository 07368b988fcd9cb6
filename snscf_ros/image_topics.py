# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Names the topics on which images arrive, and gives the quality of service with which they are received."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snscf_ros.bringup import IMAGE_TOPIC

if TYPE_CHECKING:
    from rclpy.qos import QoSProfile


def topic(camera: str, transport: str) -> str:
    """Return the relative topic of a camera: image_raw, front/image_raw, front/image_raw/compressed, ..."""
    raw = f"{camera}/{IMAGE_TOPIC}" if camera else IMAGE_TOPIC
    return f"{raw}/compressed" if transport == "compressed" else raw


def sensor_qos() -> QoSProfile:
    """Return the profile "newest image only, best effort", which receives from every kind of publisher."""
    from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

    return QoSProfile(
        depth=1,
        history=HistoryPolicy.KEEP_LAST,
        reliability=ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE,
    )
