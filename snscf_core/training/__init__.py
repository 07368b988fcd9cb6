# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Trains the network: labels for the anchors, losses, the schedule, the loop, and validation by tracking."""
