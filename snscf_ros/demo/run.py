# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes one run of the demonstration: choose the target, play the camera, record what comes, and write the report."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from pathlib import Path

import cv2
from snscf_msgs.srv import InitTarget
from std_srvs.srv import Trigger

from snscf_ros import bringup
from snscf_ros.demo import camera
from snscf_ros.demo.console import DemoError, Progress, say
from snscf_ros.demo.frame_matcher import FrameMatcher
from snscf_ros.demo.recorder import Recorder
from snscf_ros.demo.report import Report
from snscf_ros.demo.sources import FrameSource
from snscf_ros.images import Frame
from snscf_ros.messages import Box, box_to_message
from snscf_ros.session import Session

_FIRST_IMAGE = 30.0  # s
_SILENCE = 15.0  # s without an image after which a run is given up
_LINGER = 5.0  # s to wait for the last detections


def activate(session: Session) -> None:
    """Bring the tracker, the session's first child, to active. Raises DemoError with its reason, and ChildEnded."""
    try:
        session.activate()
    except (RuntimeError, TimeoutError) as error:
        tracker = session.children[0]
        raise DemoError(tracker.last_error() or f"{error}:\n{tracker.last_lines()}") from error


class DemoRun:
    """The steps from choosing the target to the scores."""

    def __init__(self, session: Session, arguments: argparse.Namespace, source: FrameSource | None) -> None:
        """Subscribe to what the camera and the tracker publish.

        arguments: those of the command line.
        source: what the camera shows; None for a device, which can be open only once.
        """
        self._session = session
        self._arguments = arguments
        self._source = source
        self._length = source.length if source else None
        if arguments.frames:
            self._length = min(arguments.frames, self._length or arguments.frames)
        self._matcher = FrameMatcher(source is not None and source.has_truth)
        self._recorder = Recorder(session.node, self._matcher)

    def run(self) -> None:
        """Take all steps. Raises DemoError, ChildEnded and TimeoutError."""
        activate(self._session)
        frame, truth = self._first_image()
        self._start_target(self._arguments.box or truth or self._select(frame))
        output: Path = self._arguments.output
        report = Report(output, self._arguments.rate, self._length)
        try:
            self._play(report)
        finally:
            # whatever stopped the run, what came until then is written
            for shot, result in self._matcher.take(everything=True):
                report.add(shot, result)
            scores = report.close(self._source_name(), self._tracker_name())
            if scores is not None:
                print(f"\n{scores.table()}\n", flush=True)
                say(f"results are in {output}: {', '.join(sorted(path.name for path in output.iterdir()))}")
        if scores is None or scores.frames_tracked == 0:
            raise DemoError("no frame was tracked")

    def _first_image(self) -> tuple[Frame, Box | None]:
        newest: list[tuple[Frame, Box | None]] = []

        def arrived() -> bool:
            if (item := self._matcher.newest()) is not None:
                newest.append(item)
            return bool(newest)

        self._session.wait(arrived, _FIRST_IMAGE, "no image came from the camera")
        return newest[-1]

    def _select(self, frame: Frame) -> Box:
        """Let the user draw the box, where there is a display."""
        if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            window = "Draw a box around the target, then press Enter"
            # the headless wheels of OpenCV have no windows
            with contextlib.suppress(cv2.error, AttributeError):
                x, y, w, h = cv2.selectROI(window, frame, showCrosshair=False)
                cv2.destroyAllWindows()
                if w <= 0 or h <= 0:
                    raise DemoError("no box was drawn")
                return float(x), float(y), float(w), float(h)
        picture = self._arguments.output / "first_frame.png"
        cv2.imwrite(str(picture), frame)
        height, width = frame.shape[:2]
        raise DemoError(
            f"which object? Give its box in the first frame ({width} x {height} pixels, see {picture}) as --box x,y,w,h"
        )

    def _start_target(self, box: Box) -> None:
        x, y, w, h = box
        request = InitTarget.Request(bbox=box_to_message(box))
        answer = self._session.call(InitTarget, f"{bringup.NODE_NAME}/init_target", request)
        if not answer.success:
            raise DemoError(f"the tracker refused the box {x:g},{y:g},{w:g},{h:g}: {answer.message}")
        say(answer.message)

    def _play(self, report: Report) -> None:
        """Play the camera and record what comes, until the last frame or until the camera falls silent."""
        self._matcher.record()
        self._session.call(Trigger, f"{camera.NODE_NAME}/play", Trigger.Request())
        with Progress(self._length) as progress:
            ended_at = None
            while not self._matcher.complete:
                for frame, result in self._matcher.take():
                    report.add(frame, result)
                    progress.show(result, report.recent_rate())
                self._session.check()
                now = time.monotonic()
                if self._matcher.ended:
                    ended_at = ended_at or now
                    if now - ended_at > _LINGER:
                        return
                elif now - self._matcher.last_image > _SILENCE:
                    raise DemoError(f"no image came from the camera for {_SILENCE:.0f} s")
                time.sleep(0.01)

    def _source_name(self) -> str:
        return self._source.name if self._source else f"camera {self._arguments.camera}"

    def _tracker_name(self) -> str:
        details = self._recorder.tracker_details
        if "model" not in details:
            return ""
        return f"{details['model']}, mode {details['mode']}, {details['device']}, {details['engine']}"
