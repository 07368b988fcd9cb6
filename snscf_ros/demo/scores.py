# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Scores a demonstration: the result of each frame, and the measures of the run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from snscf_core import Track
from snscf_core.boxes import iou
from snscf_core.evaluation import metrics
from snscf_ros.messages import Box

_NAN_BOX = (math.nan,) * 4


@dataclass(frozen=True)
class FrameResult:
    """One frame that the camera sent, and its result. Boxes are (x, y, w, h) in pixels.

    number: its place in the run, from 1.
    stamp: stamp of the image (ns).
    truth: None where the target is absent or the truth unknown.
    track: None before the first track; for a dropped frame the last known track, which is all that a listener has.
    dropped: whether the tracker passed it over for a newer one.
    latency: seconds from the image's stamp to the arrival of its detections; None for a dropped frame.
    """

    number: int
    stamp: int
    truth: Box | None
    track: Track | None
    dropped: bool
    latency: float | None = None

    @property
    def overlap(self) -> float | None:
        """IoU of the track and the truth, None without either."""
        if self.truth is None or self.track is None:
            return None
        return float(iou(self.track.box, self.truth))


@dataclass(frozen=True)
class DemoScores:
    """The scores of a run; those that need true boxes are None without them.

    The measures are those of one-pass evaluation over the tracked frames in which the target is visible.
    `success_auc_in_real_time` counts the dropped frames too, each with the last box known by then.
    """

    source: str
    tracker: str
    width: int
    height: int
    frames_sent: int
    frames_tracked: int
    frames_dropped: int
    frames_with_truth: int
    success_auc: float | None
    success_auc_in_real_time: float | None
    overlap_success: float | None
    precision: float | None
    centre_error: float | None
    latency_p50: float | None
    latency_p95: float | None
    frames_per_second: float | None

    def lines(self) -> list[tuple[str, str]]:
        """Return names and values for a table."""

        def number(value: float | None, form: str) -> str:
            return "-" if value is None else format(value, form)

        def milliseconds(value: float | None) -> str:
            return "-" if value is None else f"{value * 1e3:.0f} ms"

        slow = "  (the tracker was slower than the camera)" if self.frames_dropped else ""
        rows = [
            ("source", f"{self.source}, {self.width} x {self.height}"),
            ("tracker", self.tracker or "-"),
            ("frames sent", str(self.frames_sent)),
            ("frames tracked", str(self.frames_tracked)),
            ("frames dropped", f"{self.frames_dropped}{slow}"),
        ]
        if self.success_auc is not None:
            rows += [
                ("frames scored", f"{self.frames_with_truth}  (tracked, and the target can be seen)"),
                ("success AUC", number(self.success_auc, ".3f")),
                ("IoU > 0.5", number(self.overlap_success, ".3f")),
                ("precision at 20 px", number(self.precision, ".3f")),
                ("mean centre error", number(self.centre_error, ".1f") + " px"),
            ]
        if self.success_auc is not None and self.frames_dropped:
            real_time = number(self.success_auc_in_real_time, ".3f")
            rows.append(("success AUC in real time", f"{real_time}  (dropped frames count with the last known box)"))
        rows += [
            ("latency, median", milliseconds(self.latency_p50)),
            ("latency, 95th percentile", milliseconds(self.latency_p95)),
            ("frames tracked per second", number(self.frames_per_second, ".1f")),
        ]
        return rows

    def table(self) -> str:
        rows = self.lines()
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def summarise(results: list[FrameResult], source: str, tracker: str, size: tuple[int, int]) -> DemoScores:
    """Score the frames of one run. size: (width, height) of a frame."""
    tracked = [result for result in results if not result.dropped]
    scored = _scores(tracked)
    in_real_time = _scores(results)
    latencies = [result.latency for result in tracked if result.latency is not None]
    seconds = (tracked[-1].stamp - tracked[0].stamp) * 1e-9 if tracked else 0.0
    return DemoScores(
        source=source,
        tracker=tracker,
        width=size[0],
        height=size[1],
        frames_sent=len(results),
        frames_tracked=len(tracked),
        frames_dropped=len(results) - len(tracked),
        frames_with_truth=scored.frames if scored else 0,
        success_auc=scored.success_auc if scored else None,
        success_auc_in_real_time=in_real_time.success_auc if in_real_time else None,
        overlap_success=scored.overlap_success if scored else None,
        precision=scored.precision if scored else None,
        centre_error=scored.centre_error if scored else None,
        latency_p50=float(np.percentile(latencies, 50)) if latencies else None,
        latency_p95=float(np.percentile(latencies, 95)) if latencies else None,
        frames_per_second=(len(tracked) - 1) / seconds if seconds > 0 else None,
    )


def _scores(results: list[FrameResult]) -> metrics.Scores | None:
    if not any(result.truth for result in results):
        return None
    predicted = [result.track.box if result.track else _NAN_BOX for result in results]
    return metrics.score(predicted, [result.truth or _NAN_BOX for result in results])
