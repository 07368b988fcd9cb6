# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Generates a video with exact ground truth, see `scene`."""

from .scene import PRESENT_FROM, Scene, SceneFrame, save_sequence

__all__ = ["PRESENT_FROM", "Scene", "SceneFrame", "save_sequence"]
