# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Lets a person draw the first box in a frame of a video or recording, in the operator's page. Needs no ROS."""
