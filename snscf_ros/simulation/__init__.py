# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Simulates a camera on a robot in a generated world with exact truth: what the robot does changes what it sees.

There is no physics engine. Lengths are metres, times seconds, angles radians. The world's frame has x and y on the
ground and z up; a camera's is optical (x right, y down, z forward).
"""

from .bodies import Body, Multirotor, PanTilt, Unicycle, Velocity
from .pinhole import Pinhole, Pose
from .world import Occlusion, View, World

__all__ = ["Body", "Multirotor", "Occlusion", "PanTilt", "Pinhole", "Pose", "Unicycle", "Velocity", "View", "World"]
