# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Tracks targets from frame to frame: plan, infer, associate, update and adapt."""
