# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""SNS-CF as a ROS 2 node: images in, vision_msgs detections out."""
