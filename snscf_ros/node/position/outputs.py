# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The publishers of positions and predictions."""

from __future__ import annotations

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from snscf_msgs.msg import TargetPrediction
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

from snscf_ros.node.position import position_messages
from snscf_ros.node.position.position_messages import Place
from snscf_ros.node.position.settings import PositionSettings

_QOS = QoSProfile(depth=5)  # reliable, volatile, which Nav2's subscription asks for
_TF_QOS = QoSProfile(depth=100)


class PositionOutputs:
    """Lifecycle publishers, silent unless the node is active."""

    def __init__(self, node: LifecycleNode, transforms: bool) -> None:
        """Create the publishers. transforms: whether each target is a frame of /tf, too."""
        self._node = node
        self._pose = node.create_lifecycle_publisher(PoseWithCovarianceStamped, "~/target_pose", _QOS)
        self._plain_pose = node.create_lifecycle_publisher(PoseStamped, "~/target_pose_stamped", _QOS)
        self._detections = node.create_lifecycle_publisher(Detection3DArray, "~/detections_3d", _QOS)
        self._prediction = node.create_lifecycle_publisher(TargetPrediction, "~/prediction", _QOS)
        self._transforms = node.create_lifecycle_publisher(TFMessage, "/tf", _TF_QOS) if transforms else None
        self._prefix = node.get_fully_qualified_name().lstrip("/")

    def destroy(self) -> None:
        for publisher in (self._pose, self._plain_pose, self._detections, self._prediction, self._transforms):
            if publisher is not None:
                self._node.destroy_lifecycle_publisher(publisher)

    @property
    def predictions_wanted(self) -> bool:
        return bool(self._prediction.get_subscription_count() > 0)

    @property
    def positions_wanted(self) -> bool:
        """Return whether somebody is subscribed to positions, or the targets are frames."""
        outputs = (self._pose, self._plain_pose, self._detections)
        return self._transforms is not None or any(one.get_subscription_count() > 0 for one in outputs)

    def wanted(self) -> bool:
        """Return whether somebody is subscribed to positions or predictions, or the targets are frames."""
        return self.positions_wanted or self.predictions_wanted

    def publish(self, header: Header, places: list[Place], settings: PositionSettings) -> None:
        """Publish where the targets are. header: stamp of the image, and the frame of the places."""
        self._detections.publish(position_messages.detections_message(header, places, settings.class_id))
        for place in places:
            if place.target.primary:
                self._pose.publish(position_messages.pose_message(header, place))
                self._plain_pose.publish(position_messages.plain_pose_message(header, place))
        if self._transforms is not None and places:
            transforms = [
                position_messages.transform_message(header, f"{self._prefix}/{place.target.target_id}", place)
                for place in places
            ]
            self._transforms.publish(TFMessage(transforms=transforms))

    def publish_prediction(self, message: TargetPrediction) -> None:
        self._prediction.publish(message)
