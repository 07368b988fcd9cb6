# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes the messages for /diagnostics: the node's state, the cost of a frame, silent cameras, and lost targets."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from snscf_core import Track, TrackState
from snscf_ros.messages import Counts

STAGES = ("decode", "track", "publish")


@dataclass(frozen=True)
class Latency:
    """Mean and maximum duration of one stage over a window, in seconds, and how often it ran."""

    mean: float
    maximum: float
    count: int


class Stages:
    """Collects the durations of a frame's stages from one report to the next. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._durations: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._durations[stage].append(seconds)

    def take(self) -> dict[str, Latency]:
        """Return the latency of the stages that ran since the last call."""
        with self._lock:
            taken, self._durations = self._durations, {stage: [] for stage in STAGES}
        return {
            stage: Latency(sum(seconds) / len(seconds), max(seconds), len(seconds))
            for stage, seconds in taken.items()
            if seconds
        }


@dataclass(frozen=True)
class CameraHealth:
    """How a camera fares.

    counts: what became of its images.
    silent_for: seconds since its last image, or since activation if none has come.
    useless_for: the same for the last image that could be used.
    calibration: known, none, or what is wrong with it.
    problem: what is wrong with its topic; empty if nothing is.
    """

    counts: Counts
    silent_for: float
    useless_for: float
    calibration: str
    problem: str = ""


@dataclass(frozen=True)
class Health:
    """All that a report is made of.

    node: fully qualified name.
    state: lifecycle state.
    enabled: whether images are tracked.
    tracker: its model, mode, device and engine; empty until it is loaded.
    stages: latency of each stage since the last report.
    cameras: by name.
    targets: last track of each target, None before the first one.
    broken: why the tracker has given up, or that it hangs; empty if it does neither.
    restarts: how often the process was started again.
    name_taken: that another node has the same name; empty if none has.
    deferred: how much work has been put off to keep `max_latency`, by kind; empty without that limit.
    targets_lost: whether the targets were lost with the process before, and none has been started since.
    """

    node: str
    state: str
    enabled: bool
    tracker: Mapping[str, str]
    stages: Mapping[str, Latency] = field(default_factory=dict)
    cameras: Mapping[str, CameraHealth] = field(default_factory=dict)
    targets: Mapping[str, Track | None] = field(default_factory=dict)
    broken: str = ""
    restarts: int = 0
    name_taken: str = ""
    targets_lost: bool = False
    deferred: Mapping[str, int] = field(default_factory=dict)


def report(health: Health, camera_timeout: float, stamp: Time) -> DiagnosticArray:
    """Make one status for the tracker, one for each camera and one for each target."""
    array = DiagnosticArray()
    array.header.stamp = stamp
    array.status = [_tracker_status(health)]
    array.status += [_camera_status(health, name, camera, camera_timeout) for name, camera in health.cameras.items()]
    array.status += [_target_status(health, name, track) for name, track in health.targets.items()]
    return array


def _tracker_status(health: Health) -> DiagnosticStatus:
    level, message = DiagnosticStatus.OK, health.state
    if health.broken:
        level, message = DiagnosticStatus.ERROR, health.broken
    elif health.name_taken:
        level, message = DiagnosticStatus.WARN, health.name_taken
    elif health.targets_lost:
        level, message = DiagnosticStatus.WARN, f"{health.state}, started again: what was followed before is lost"
    elif health.state == "active":
        message = f"following {len(health.targets)}" if health.enabled else "disabled by ~/enable"
    values = {**health.tracker, "restarts": str(health.restarts)}
    for stage, latency in health.stages.items():
        values[f"{stage} mean (ms)"] = f"{latency.mean * 1e3:.2f}"
        values[f"{stage} max (ms)"] = f"{latency.maximum * 1e3:.2f}"
        values[f"{stage} count"] = str(latency.count)
    values |= {f"deferred {kind}": str(count) for kind, count in health.deferred.items()}
    return _status(health, "tracker", level, message, values)


def _camera_status(health: Health, name: str, camera: CameraHealth, timeout: float) -> DiagnosticStatus:
    counts = camera.counts
    level, message = DiagnosticStatus.OK, "images arrive"
    if camera.silent_for > timeout:
        level = DiagnosticStatus.WARN
        missing = "no image" if counts.received else "no image at all"
        message = f"{missing} for {camera.silent_for:.1f} s" + (f": {camera.problem}" if camera.problem else "")
    elif camera.useless_for > timeout:
        level = DiagnosticStatus.WARN
        message = f"images arrive, but none could be used for {camera.useless_for:.1f} s"
    elif camera.problem:
        level, message = DiagnosticStatus.WARN, camera.problem
    elif not counts.received:
        message = "waiting for the first image"
    values = {
        "received": str(counts.received),
        "processed": str(counts.processed),
        "dropped": str(counts.dropped),
        "rejected": str(counts.rejected),
        "silent for (s)": f"{camera.silent_for:.2f}",
        "calibration": camera.calibration,
    }
    return _status(health, f"camera {name}".strip(), level, message, values)


def _target_status(health: Health, name: str, track: Track | None) -> DiagnosticStatus:
    if track is None:
        return _status(health, f"target {name}", DiagnosticStatus.OK, "no frame tracked yet", {})
    state = TrackState(track.state)
    level = DiagnosticStatus.WARN if state == TrackState.LOST else DiagnosticStatus.OK
    values = {"score": f"{track.score:.3f}", "peak quality": f"{track.peak_quality:.2f}"}
    return _status(health, f"target {name}", level, state.name.lower(), values)


def _status(health: Health, part: str, level: bytes, message: str, values: Mapping[str, str]) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=level,
        name=f"{health.node}: {part}",
        message=message,
        hardware_id=health.tracker.get("device", ""),
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
