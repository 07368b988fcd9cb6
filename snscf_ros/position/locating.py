# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Chooses how the position of a target is computed: by depth, by size or by a plane, in this order of trust."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from snscf_ros.position.depth import DepthImage, NotEnoughDepth, target_depth
from snscf_ros.position.estimate import (
    Box,
    Directions,
    Errors,
    Position,
    PositionUnknown,
    by_depth,
    by_plane,
    by_size,
)
from snscf_ros.position.rigid import Rigid

SOURCES = ("depth", "size", "plane")


class Evidence(NamedTuple):
    """What the position of a target may be computed from, beside its box.

    depth: the depth image of the moment; None without one.
    expected: depth and its standard deviation that the images before let expect, m.
    size: width and height of the target, m; 0 where not known.
    plane: from the plane's frame to the optical frame; None without one.
    stands: whether the target stands on the plane, and not its middle is in it.
    """

    depth: DepthImage | None = None
    expected: tuple[float, float] | None = None
    size: tuple[float, float] = (0.0, 0.0)
    plane: Rigid | None = None
    stands: bool = True


def locate(
    directions: Directions,
    box: Box,
    image_size: tuple[int, int],
    evidence: Evidence,
    errors: Errors,
    source: str = "auto",
) -> Position:
    """Compute the position of a target in the optical frame.

    source: depth, size or plane; auto takes the first of them that gives a position.
    Raises PositionUnknown, which names every way that was tried.
    """
    ways: dict[str, Callable[[], Position]] = {}
    if (depth := evidence.depth) is not None:
        ways["depth"] = lambda: by_depth(
            directions, box, target_depth(depth, box, image_size, evidence.expected), errors
        )
    if max(evidence.size) > 0:
        ways["size"] = lambda: by_size(directions, box, *evidence.size, errors)
    if (plane := evidence.plane) is not None:
        ways["plane"] = lambda: by_plane(directions, box, plane, evidence.stands, errors)
    reasons = []
    for name in SOURCES if source == "auto" else (source,):
        if name not in ways:
            reasons.append(f"{name}: nothing is known for it")
            continue
        try:
            return ways[name]()
        except (NotEnoughDepth, PositionUnknown) as reason:
            reasons.append(f"{name}: {reason}")
    raise PositionUnknown("; ".join(reasons))
