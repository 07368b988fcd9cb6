# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Stands for a MAVLink camera whose image tracking is ours: a drone's ground station draws the box."""
