# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Moves a robot so that it keeps its target in view, and stops it whenever it should not move."""
