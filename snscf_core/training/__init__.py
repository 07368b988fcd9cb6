# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Training: labels for the anchors, losses, the schedule, the loop, and validation by tracking."""
