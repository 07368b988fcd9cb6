# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Gives the positions of the targets to ROS: reads depth images and transforms, and publishes poses and predictions."""
