# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Plays a recording to the real node at its own pace: how late detections come, and what dropped images cost.

In lock-step an image is published only when the detections of the image before have come, so that none is dropped.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from snscf_core.boxes import Array, iou
from snscf_core.files import replacing, write_file
from snscf_ros import bringup
from snscf_ros.bags import message_types
from snscf_ros.bags.recording import Recording, Start
from snscf_ros.bags.records import UnreadableMessage
from snscf_ros.bags.results import REJECTED, BagEvaluation
from snscf_ros.messages import box_from_message, box_to_message
from snscf_ros.processes import Child
from snscf_ros.session import ChildEnded, Session
from snscf_ros.stamps import nanoseconds, seconds_text, set_stamp

_DISCOVERY = 30.0
_ANSWER = 30.0
_LINGER = 5.0  # s to wait for the last detections
_LONGEST_GAP = 10.0  # s between two images; longer ones, from a clock that was set or a paused recorder, are cut
_LOOK = 0.5  # s between two checks of the node
_PATIENCE = 3.0  # s after which the first image is sent again: it may get lost before the node listens


def need_ros() -> None:
    """Raise ValueError where there is no ROS 2 to run the node with."""
    try:
        for module in ("rclpy", "sensor_msgs.msg", "snscf_msgs.srv", "vision_msgs.msg"):
            importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"--realtime runs the tracker's node, which needs ROS 2: {error}") from None


def play(
    recording: Recording,
    start: Start,
    offline: BagEvaluation,
    options: argparse.Namespace,
    max_pixels: int,
    folder: Path,
) -> dict[str, Any]:
    """Play the recording from `start` on to a node of its own, and return the report.

    Writes NAME_realtime.txt (one box for each image, the last one again where an image was dropped), realtime.json and
    the node's log. Raises ValueError if the node does not come up, refuses the box or falls silent.
    """
    bringup.isolate()
    namespace = f"bag_{os.getpid()}"
    topic = f"/{namespace}/{bringup.IMAGE_TOPIC}"
    compressed = recording.bag.topics[recording.topic].type == message_types.COMPRESSED
    parameters: dict[str, Any] = {
        "model": str(options.model),
        "mode": options.mode,
        "device": options.device,
        "engine": options.engine,
        "search_size": options.search_size,
        "max_image_pixels": max_pixels,
        "image_transport": "compressed" if compressed else "raw",
        # the offline result has the boxes of lost targets too
        "publish_lost": True,
    }
    if compressed:
        topic += "/compressed"
    if options.lock_step:
        parameters[f"qos_overrides.{topic}.subscription.reliability"] = "reliable"
    command = bringup.tracker_command(parameters=parameters, namespace=namespace)
    with Child("tracker", command, folder / "realtime.log") as tracker:
        try:
            with Session("bag", namespace, [tracker]) as session:
                player = _Player(session, namespace, topic, compressed)
                player.play(recording, start, offline, options.rate, options.lock_step)
        except (ChildEnded, RuntimeError, TimeoutError) as error:
            raise ValueError(tracker.last_error() or f"{error}:\n{tracker.last_lines()}") from error
    report = _report(player, offline, options)
    with replacing(folder / f"{offline.name}_realtime.txt") as part:
        np.savetxt(part, player.held(offline), fmt="%.3f", delimiter=",")
    write_file(folder / "realtime.json", json.dumps(report, indent=1) + "\n")
    return report


class _Player:
    """Publishes the images in a session and notes when their detections come.

    boxes: box of the target by the image's index.
    latencies: seconds from publication to detections, by the image's index.
    lags: seconds by which each image was published late.
    gaps: pauses of the recording that were cut short.
    """

    def __init__(self, session: Session, namespace: str, topic: str, compressed: bool) -> None:
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import CompressedImage, Image
        from vision_msgs.msg import Detection2DArray

        self.boxes: dict[int, tuple[float, float, float, float]] = {}
        self.latencies: dict[int, float] = {}
        self.lags: list[float] = []
        self.gaps = 0
        self._session = session
        self._compressed = compressed
        self._store = message_types.store()
        self._sent: dict[int, tuple[int, float]] = {}  # by stamp: index, and when it was published
        self._tracker = f"/{namespace}/{bringup.NODE_NAME}"
        kind = CompressedImage if compressed else Image
        self._publisher = session.node.create_publisher(kind, topic, QoSProfile(depth=5))
        self._detections = f"{self._tracker}/detections"
        session.node.create_subscription(Detection2DArray, self._detections, self._arrived, QoSProfile(depth=100))

    def play(self, recording: Recording, start: Start, offline: BagEvaluation, rate: float, lock_step: bool) -> None:
        """Play the recording from `start` on. Raises ChildEnded, RuntimeError or TimeoutError if the node fails."""
        node = self._session.node
        self._session.activate()
        self._session.wait(
            lambda: self._publisher.get_subscription_count() > 0 and node.count_publishers(self._detections) > 0,
            _DISCOVERY,
            "the node was not found",
        )
        images = self._images(recording, start.index)
        index, stamp, data = next(images)
        self._first(index, stamp, data)
        self._initialise(start, stamp)
        due, last = time.monotonic(), recording.stamps[start.index]
        for index, stamp, data in images:
            if lock_step:
                self._publish(index, stamp, data)
                if offline.states[index] != REJECTED:
                    self._wait_for(index, stamp)
                continue
            gap = max(0.0, (recording.stamps[index] - last) * 1e-9)
            last = recording.stamps[index]
            self.gaps += gap > _LONGEST_GAP
            due += min(gap, _LONGEST_GAP) / rate
            while (left := due - time.monotonic()) > 0:
                time.sleep(min(left, _LOOK))
                self._session.check()
            self.lags.append(time.monotonic() - due)
            self._publish(index, stamp, data)
            self._session.check()
        self._settle(index, offline)

    def _wait_for(self, index: int, stamp: int) -> None:
        """Wait for the detections of an image."""
        complaint = f"no detections came for the image of stamp {seconds_text(stamp)}"
        self._session.wait(lambda: index in self.latencies, _ANSWER, complaint)

    def held(self, offline: BagEvaluation) -> Array:
        """Return N x 4 boxes. An image that was dropped has the box of the image before.

        Boxes are NaN before the start and for rejected images, as offline: those do not depend on time.
        """
        boxes = np.full((len(offline.stamps), 4), np.nan)
        box: Any = offline.boxes[offline.start]
        for index in range(offline.start, len(boxes)):
            box = self.boxes.get(index, box)
            if offline.states[index] != REJECTED:
                boxes[index] = box
        return boxes

    def _images(self, recording: Recording, first: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield index, stamp and serialised message of each readable image. No two share a stamp."""
        newest = 0
        kind = message_types.COMPRESSED if self._compressed else message_types.IMAGE
        for index, stored in enumerate(recording.messages()):
            if index < first:
                continue
            try:
                message = stored.message()
            except UnreadableMessage:
                continue
            newest = max(recording.stamps[index], newest + 1)
            set_stamp(message.header.stamp, newest)
            # as bytes: rclpy would check every pixel of a message
            yield index, newest, bytes(self._store.serialize_cdr(message, kind))

    def _first(self, index: int, stamp: int, data: bytes) -> None:
        """Publish the image that the box is drawn on until the node has it."""
        deadline = time.monotonic() + _DISCOVERY
        while index not in self.latencies:
            self._publish(index, stamp, data)
            with contextlib.suppress(TimeoutError):
                self._session.wait(lambda: index in self.latencies, _PATIENCE, "")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the node did not track the image of stamp {seconds_text(stamp)}")
        del self.latencies[index]
        self.boxes.pop(index, None)

    def _initialise(self, start: Start, stamp: int) -> None:
        from snscf_msgs.srv import InitTarget

        request = InitTarget.Request(bbox=box_to_message(start.box))
        set_stamp(request.stamp, stamp)
        answer = self._session.call(InitTarget, f"{self._tracker}/init_target", request)
        if not answer.success:
            raise RuntimeError(f"the node refused the box: {answer.message}")

    def _publish(self, index: int, stamp: int, data: bytes) -> None:
        with self._session.news:
            self._sent[stamp] = (index, time.monotonic())
        # Fast DDS may refuse an image that it has no room for (RCLError), which then counts as dropped
        with contextlib.suppress(RuntimeError):
            self._publisher.publish(data)

    def _arrived(self, message: Any) -> None:
        now = time.monotonic()
        with self._session.news:
            index, sent = self._sent.get(nanoseconds(message.header.stamp), (-1, now))
            if index < 0 or index in self.latencies:
                return
            self.latencies[index] = now - sent
            if message.detections:
                self.boxes[index] = box_from_message(message.detections[0].bbox)
            self._session.news.notify_all()

    def _settle(self, last: int, offline: BagEvaluation) -> None:
        """Wait for the last detections. The last image is never dropped, as no newer one replaces it."""
        usable = [index for index, _ in self._sent.values() if offline.states[index] != REJECTED]
        last = max(usable, default=last)
        with contextlib.suppress(TimeoutError):
            self._session.wait(lambda: last in self.latencies or last == offline.start, _LINGER, "")


def _report(player: _Player, offline: BagEvaluation, options: argparse.Namespace) -> dict[str, Any]:
    after = range(offline.start + 1, len(offline.stamps))
    published = [index for index in after if offline.states[index] != REJECTED]
    dropped = [index for index in published if index not in player.latencies]
    milliseconds = np.array([player.latencies[index] for index in published if index in player.latencies]) * 1e3
    report: dict[str, Any] = {
        "rate": None if options.lock_step else options.rate,
        "lock_step": options.lock_step,
        "images": len(published),
        "dropped": len(dropped),
        "latency_milliseconds": {
            f"p{share}": float(np.percentile(milliseconds, share)) if len(milliseconds) else None
            for share in (50, 95, 99)
        },
        "gaps_cut_short": player.gaps,
        "latest_publication_milliseconds": max(player.lags) * 1e3 if player.lags else None,
    }
    boxes = player.held(offline)
    overlaps = iou(boxes[offline.start :], offline.boxes[offline.start :])
    report["mean_overlap_with_offline"] = float(np.nanmean(overlaps))
    if (measures := offline.measures_of(boxes)) is not None and offline.measures is not None:
        report["measures"] = asdict(measures)
        report["lost"] = {
            "success_auc": offline.measures.success_auc - measures.success_auc,
            "precision": offline.measures.precision - measures.precision,
        }
    return report


def summary(report: dict[str, Any]) -> str:
    """Describe the report of `play` in a sentence."""
    shares = report["latency_milliseconds"].items()
    latency = ", ".join(f"{name} {'-' if value is None else f'{value:.1f} ms'}" for name, value in shares)
    how = "in lock-step" if report["lock_step"] else f"at {report['rate']:g} times the recorded pace"
    text = f"node, {how}: latency {latency}; {report['dropped']} of {report['images']} images dropped"
    if report["gaps_cut_short"]:
        text += f"; {report['gaps_cut_short']} gaps cut to {_LONGEST_GAP:.0f} s"
    if "lost" in report:
        text += f"; AUC {report['measures']['success_auc']:.3f}, {report['lost']['success_auc']:.3f} less than offline"
    else:
        text += f"; mean overlap with the offline track {report['mean_overlap_with_offline']:.3f}"
    return text
