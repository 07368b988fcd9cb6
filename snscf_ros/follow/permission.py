# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Decides whether the robot may move, and gives every reason why not."""

from __future__ import annotations

from typing import NamedTuple

from snscf_core import TrackState
from snscf_ros.follow.settings import FollowSettings
from snscf_ros.follow.sighting import Sighting

_FUTURE = 0.1  # s by which an image may be younger than the clock; more means that the clock has been set


class Reason(NamedTuple):
    """Says why the robot does not move. code: for programs; text: for people."""

    code: str
    text: str


def reasons(
    settings: FollowSettings, enabled: bool, wanted: str, sighting: Sighting | None, age: float, silence: float
) -> list[Reason]:
    """Return all that keeps the robot from moving; empty if it may.

    wanted: id of the target that may be followed; empty for any.
    sighting: the newest one; None before the first.
    age: of its image in seconds, by the ROS clock. silence: seconds since it came, by a clock that nobody sets.
    """
    found = [] if enabled else [Reason("not_enabled", "following is not enabled")]
    if sighting is None:
        return [*found, Reason("no_status", "the tracker has said nothing of this camera yet")]
    limit = settings.max_age
    if not silence <= limit:
        found.append(Reason("no_status", f"the tracker has said nothing for {silence:.1f} s, at most {limit:g} s"))
    if sighting.silent:
        found.append(Reason("camera_silent", "the camera gives no images"))
    if sighting.stamp == 0:
        found.append(Reason("no_stamp", "the images have no stamps, so their age is not known"))
    elif not age >= -_FUTURE:
        found.append(Reason("clock", f"the image is {-age:.1f} s younger than the clock"))
    elif not age <= limit:
        found.append(Reason("old_image", f"the image is {age:.1f} s old, at most {limit:g} s"))
    return [*found, *_about_target(settings, wanted, sighting)]


def _about_target(settings: FollowSettings, wanted: str, sighting: Sighting) -> list[Reason]:
    if not sighting.target_id:
        return [Reason("no_target", "the tracker follows nothing")]
    if wanted and sighting.target_id != wanted:
        return [Reason("other_target", f"the primary target is '{sighting.target_id}', not '{wanted}'")]
    if sighting.state == TrackState.LOST:
        return [Reason("lost", "the target is lost")]
    found = []
    if sighting.state == TrackState.UNCERTAIN and settings.uncertain_speed == 0:
        found.append(Reason("uncertain", "the target is uncertain"))
    elif sighting.state not in (TrackState.TRACKED, TrackState.UNCERTAIN):
        found.append(Reason("state", f"the target's state is {sighting.state}"))
    if not sighting.score >= settings.min_score:
        found.append(Reason("low_score", f"the score is {sighting.score:.2f}, at least {settings.min_score:g}"))
    if not sighting.has_direction:
        found.append(Reason("no_bearing", "the direction to the target is not known: is there a camera_info?"))
    return found
