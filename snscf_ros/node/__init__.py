# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The tracker as a ROS 2 lifecycle node: images in, detections, states and diagnostics out."""
