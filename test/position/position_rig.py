# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A camera without distortion, computed here and not by the code under test, and errors to go with it."""

from __future__ import annotations

import numpy as np

from snscf_ros.position.estimate import Errors

WIDTH, HEIGHT, FOCAL = 640, 480, 500.0
MIDDLE = np.array([WIDTH / 2, HEIGHT / 2])


def directions(points):
    rays = np.column_stack([(points - MIDDLE) / FOCAL, np.ones(len(points))])
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def points(rays):
    return rays[:, :2] / rays[:, 2:] * FOCAL + MIDDLE


def box_of(point, width: float, height: float):
    """Top-left (x, y, w, h) of an upright thing that faces the camera along the optical axis."""
    x, y = points(np.asarray(point, float)[None])[0]
    w, h = width / point[2] * FOCAL, height / point[2] * FOCAL
    return (x - w / 2, y - h / 2, w, h)


def errors(box, centre: float = 0.03, size: float = 0.05) -> Errors:
    w, h = box[2:]
    return Errors(np.array([centre * w, centre * h, size * w, size * h]), direction=0.003, depth=0.004, size=0.03)
