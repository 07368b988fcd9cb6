# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A node that shares nothing with the tracker but snscf_msgs: it starts a target, hears its status, and ends."""

from __future__ import annotations

import json

import rclpy
from rclpy.node import Node
from snscf_msgs.msg import TrackStatusArray
from snscf_msgs.srv import InitTarget
from vision_msgs.msg import Detection2DArray


class Listener(Node):
    """Takes the true box that the camera publishes as the operator's, and keeps the first status of its target."""

    def __init__(self) -> None:
        super().__init__("listener")
        self.heard: TrackStatusArray | None = None
        self._answer: rclpy.Future | None = None
        self._client = self.create_client(InitTarget, "/tracker/init_target")
        self.create_subscription(Detection2DArray, "/ground_truth", self._choose, 1)
        self.create_subscription(TrackStatusArray, "/tracker/status", self._hear, 1)

    def _choose(self, truth: Detection2DArray) -> None:
        refused = self._answer is not None and self._answer.done() and not self._answer.result().success
        if truth.detections and self._client.service_is_ready() and (self._answer is None or refused):
            self._answer = self._client.call_async(InitTarget.Request(bbox=truth.detections[0].bbox))

    def _hear(self, status: TrackStatusArray) -> None:
        if self._answer is not None and self._answer.done() and status.targets:
            self.heard = status


def main() -> None:
    rclpy.init()
    node = Listener()
    while node.heard is None:
        rclpy.spin_once(node)
    (target,) = node.heard.targets
    print(json.dumps({"target_id": target.target_id, "state": target.state, "processed": node.heard.frames_processed}))
