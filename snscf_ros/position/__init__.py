# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Says where a target is, in metres, and where it will be. Nothing in here imports ROS."""
