# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Draws the errors of runs over the time with matplotlib, which is loaded only when needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from snscf_core import TrackState
from snscf_ros.simulation.closed_loop import Moment
from snscf_ros.simulation.courses import Occlusion

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# of Okabe and Ito, which colour-blind readers can distinguish
_ACROSS, _DOWN, _STANDS = "#0072B2", "#E69F00", "#D55E00"


def draw(
    runs: Mapping[str, Sequence[Moment]],
    occlusions: Mapping[str, Sequence[Occlusion]],
    size: tuple[int, int],
    path: Path,
) -> None:
    """Draw, for one run of each robot, how far the target is from the middle of the picture. Writes SVG or PNG.

    size: width and height of the images.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.0 + 1.9 * len(runs)), layout="constrained")
    panels = figure.subplots(len(runs), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (robot, run) in zip(panels, runs.items(), strict=True):
        _draw_run(panel, robot, run, occlusions[robot], size)
    panels[-1].set_xlabel("time in s")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=100)


def _draw_run(
    panel: Axes, robot: str, run: Sequence[Moment], occlusions: Sequence[Occlusion], size: tuple[int, int]
) -> None:
    times = np.array([moment.view.time for moment in run])
    boxes = np.array([moment.view.box for moment in run])
    across, down = ((boxes[:, axis] + boxes[:, axis + 2] / 2) / size[axis] - 0.5 for axis in (0, 1))
    panel.axhspan(-0.25, 0.25, color="#eeeeee", label="middle half of the picture")
    for occlusion in occlusions:
        panel.axvspan(occlusion.start, occlusion.start + occlusion.seconds, color="#bbbbbb", label="target hidden")
    panel.plot(times, across, color=_ACROSS, label="target's centre, across")
    panel.plot(times, down, color=_DOWN, label="target's centre, down")
    stands = [m.track is not None and m.track.state != TrackState.TRACKED for m in run]
    marks = np.where(stands, -0.47, math.nan)
    panel.plot(times, marks, ".", color=_STANDS, markersize=4, label="not tracked: the robot stands")
    panel.set_ylim(-0.5, 0.5)
    panel.set_xlim(times[0], times[-1])
    panel.set_title(robot, loc="left", fontsize=10)
    panel.set_ylabel("share of picture", fontsize=8)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
