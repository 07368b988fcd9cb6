# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Carries out the commands that start and end tracking, by the tracker's services."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from pymavlink.dialects.v20 import common as dialect

from snscf_ros.mavlink.conversions import box_in_pixels, point_in_pixels
from snscf_ros.mavlink.settings import CameraSettings
from snscf_ros.mavlink.view import TrackedView
from snscf_ros.messages import Box
from snscf_ros.tracker_client import NoAnswer, TrackerClient


class Outcome(NamedTuple):
    """What became of a command. result: MAV_RESULT; reason: why not, for the operator."""

    result: int
    reason: str = ""


_DONE = Outcome(dialect.MAV_RESULT_ACCEPTED)


class TargetActions:
    """Carries out one action after the other."""

    def __init__(self, settings: CameraSettings, tracker: TrackerClient, view: TrackedView) -> None:
        self.camera = settings.camera
        self._settings, self._tracker, self._view = settings, tracker, view
        self._turn = asyncio.Lock()
        self._starting = False

    async def start(self, command: int, params: Sequence[float]) -> Outcome:
        """Start a target on a rectangle or around a point.

        command: MAV_CMD_CAMERA_TRACK_RECTANGLE or MAV_CMD_CAMERA_TRACK_POINT.
        params: of the command.
        """
        if self._starting:
            return Outcome(dialect.MAV_RESULT_TEMPORARILY_REJECTED, "another target is being started")
        if 0 in self._view.size:
            return Outcome(dialect.MAV_RESULT_TEMPORARILY_REJECTED, "no image has come from the camera yet")
        place: Box | tuple[float, float]
        try:
            if command == dialect.MAV_CMD_CAMERA_TRACK_POINT:
                place = point_in_pixels(params, self._view.size)
            else:
                place = box_in_pixels(params, self._view.size)
        except ValueError as reason:
            return Outcome(dialect.MAV_RESULT_DENIED, str(reason))
        # now, and not when it is the command's turn
        stamp = self._view.stamp_before(self._settings.video_delay, time.monotonic())
        self._starting = True
        try:
            async with self._turn:
                answer = await self._tracker.start(place, stamp, self.camera, self._settings.target_id)
                if not answer.success:
                    return Outcome(dialect.MAV_RESULT_FAILED, answer.message)
                await self._tracker.make_primary(answer.target_id)
                self._view.started(answer.target_id, time.monotonic())
        except NoAnswer as reason:
            return Outcome(dialect.MAV_RESULT_TEMPORARILY_REJECTED, str(reason))
        finally:
            self._starting = False
        return _DONE

    async def stop(self) -> Outcome:
        """Remove the target that ground stations see. Succeed if nothing is followed."""
        async with self._turn:  # a start that is under way is stopped, too
            target_id = self._view.primary_id
            if not target_id:
                return _DONE
            try:
                # a refusal means that it has gone already
                await self._tracker.remove(target_id)
            except NoAnswer as reason:
                return Outcome(dialect.MAV_RESULT_TEMPORARILY_REJECTED, str(reason))
            self._view.removed(target_id, time.monotonic())
        return _DONE
