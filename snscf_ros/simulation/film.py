# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Films a run: what the camera sees, what the tracker says, what the follower does, and where all are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from snscf_core import TrackState
from snscf_ros.simulation.closed_loop import Moment
from snscf_ros.simulation.surroundings import REACH

_CODEC = "mp4v"
_MAP = 140  # pixels
_COLOURS = {  # BGR
    TrackState.TRACKED: (80, 220, 80),
    TrackState.UNCERTAIN: (0, 190, 255),
    TrackState.LOST: (60, 60, 255),
}
_WHITE = (255, 255, 255)
_FONT = (cv2.FONT_HERSHEY_SIMPLEX, 0.5)


class Film:
    """Writes an MP4 file, frame by frame."""

    def __init__(self, path: Path, rate: float, size: tuple[int, int]) -> None:
        """Open the file. Raises OSError if it can't be written.

        rate: frames a second. size: width and height of the images, in even numbers of pixels.
        """
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*_CODEC), rate, size)
        if not self._writer.isOpened():
            raise OSError(f"{path} can't be written: this OpenCV has no encoder for {_CODEC}")
        self._map = np.full((_MAP, _MAP, 3), 40, np.uint8)

    def add(self, moment: Moment) -> None:
        """Draw one image."""
        self._writer.write(self._drawn(moment))

    def close(self) -> None:
        """Finish the file."""
        self._writer.release()

    def _drawn(self, moment: Moment) -> npt.NDArray[np.uint8]:
        view, picture = moment.view, moment.view.image.copy()
        height, width = picture.shape[:2]
        quarter = (width // 4, height // 4)
        cv2.rectangle(picture, quarter, (width - quarter[0], height - quarter[1]), (200, 200, 200), 1)
        if moment.track is not None:
            x, y, w, h = (round(value) for value in moment.track.box)
            cv2.rectangle(picture, (x, y), (x + w, y + h), _COLOURS[moment.track.state], 2)
        self._draw_map(picture, view.pose, view.target)
        if moment.orders:
            order = moment.orders[-1][1]
            forward, turn, tilt = order.velocity
            why = ", ".join(reason.code for reason in order.reasons)
            lines = [
                f"{view.time:4.1f} s  {order.mode.name.lower().replace('_', ' ')}{': ' if why else ''}{why}",
                f"{forward:+.2f} m/s  {turn:+.2f} rad/s" + (f"  tilt {tilt:+.2f}" if tilt else ""),
            ]
            picture[-44:] //= 3
            for number, line in enumerate(lines):
                cv2.putText(picture, line, (8, height - 26 + 18 * number), *_FONT, _WHITE, 1, cv2.LINE_AA)
        return picture

    def _draw_map(self, picture: npt.NDArray[Any], pose: Any, target: npt.NDArray[np.float64]) -> None:
        """Draw where the robot and the target are, from above, and leave their tracks on the map."""
        cv2.circle(self._map, _on_map(target), 1, (60, 90, 200), -1)
        cv2.circle(self._map, _on_map(pose.position), 1, (190, 150, 90), -1)
        shown = self._map.copy()
        ahead = pose.position + 3.0 * pose.rotation[:, 2] / max(math.hypot(*pose.rotation[:2, 2]), 0.1)
        cv2.arrowedLine(shown, _on_map(pose.position), _on_map(ahead), (255, 220, 150), 2, cv2.LINE_AA, 0, 0.35)
        cv2.circle(shown, _on_map(target), 4, (80, 110, 255), -1, cv2.LINE_AA)
        corner = picture[8 : 8 + _MAP, -8 - _MAP : -8]
        corner[:] = cv2.addWeighted(corner, 0.25, shown, 0.75, 0)


def _on_map(place: npt.NDArray[np.float64]) -> tuple[int, int]:
    x, y = (np.clip(place[:2] / (0.6 * REACH), -1, 1) + 1) * (_MAP - 1) / 2
    return round(float(x)), round(_MAP - 1 - float(y))
