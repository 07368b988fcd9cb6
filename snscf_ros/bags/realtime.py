# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A recording played to the real node at its own pace: how late the detections come, and what the dropped images cost.

In lock-step an image is published only when the detections of the one before have come, so that none is dropped.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snscf_core.boxes import Array, iou
from snscf_ros import bringup
from snscf_ros.bags import message_types
from snscf_ros.bags.recording import Recording, Start
from snscf_ros.bags.records import UnreadableMessage
from snscf_ros.bags.results import REJECTED, BagEvaluation
from snscf_ros.messages import box_from_message, box_to_message
from snscf_ros.processes import Child
from snscf_ros.stamps import nanoseconds, seconds_text, set_stamp

if TYPE_CHECKING:
    from rclpy.node import Node

_ACTIVATION = 180.0  # s: reading the weights on a cold, busy machine
_DISCOVERY = 30.0
_SERVICE = 30.0
_ANSWER = 30.0
_LINGER = 5.0  # s to wait for detections after the last ones
_LONGEST_GAP = 10.0  # s between two images; a clock that was set, or a recorder that paused, is not waited for
_LOOK = 0.5  # s between two looks at the node
_PATIENCE = 3.0  # s after which the first image, which may get lost before the node listens, is sent again


def need_ros() -> None:
    """Raises ValueError where there is no ROS 2 to run the node with."""
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
    """Plays the recording from `start` on to a node of its own; returns what came of it.

    Leaves NAME_realtime.txt (one box for each image, the last one again where an image was dropped), realtime.json and
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
        # the offline result holds the boxes of lost targets too
        "publish_lost": True,
    }
    if compressed:
        topic += "/compressed"
    if options.lock_step:
        parameters[f"qos_overrides.{topic}.subscription.reliability"] = "reliable"
    command = bringup.tracker_command(parameters=parameters, namespace=namespace)
    with Child("tracker", command, folder / "realtime.log") as tracker:
        try:
            with _Player(namespace, topic, compressed, tracker) as player:
                player.play(recording, start, offline, options.rate, options.lock_step)
        except (RuntimeError, TimeoutError) as error:
            raise ValueError(tracker.last_error() or f"{error}:\n{tracker.last_lines()}") from error
    report = _report(player, offline, options)
    np.savetxt(folder / f"{offline.name}_realtime.txt", player.held(offline), fmt="%.3f", delimiter=",")
    (folder / "realtime.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


class _Player:
    """A node that publishes the images and notes when their detections come; a context."""

    def __init__(self, namespace: str, topic: str, compressed: bool, tracker: Child) -> None:
        self._namespace, self._topic, self._compressed, self._tracker = namespace, topic, compressed, tracker
        self._store = message_types.store()
        self._news = threading.Condition()
        self._sent: dict[int, tuple[int, float]] = {}  # by stamp: index, and when it was published
        self.boxes: dict[int, tuple[float, float, float, float]] = {}
        self.latencies: dict[int, float] = {}
        self.lags: list[float] = []
        self.gaps = 0  # that were cut short

    def __enter__(self) -> _Player:
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile
        from rclpy.signals import SignalHandlerOptions
        from sensor_msgs.msg import CompressedImage, Image
        from vision_msgs.msg import Detection2DArray

        from snscf_ros.executor import spin

        # a context of its own: the caller may have one already
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node: Node = rclpy.create_node("bag", namespace=self._namespace, context=self._context)
        kind = CompressedImage if self._compressed else Image
        self._publisher = self._node.create_publisher(kind, self._topic, QoSProfile(depth=5))
        self._detections = f"/{self._namespace}/{bringup.NODE_NAME}/detections"
        self._node.create_subscription(Detection2DArray, self._detections, self._arrived, QoSProfile(depth=100))
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._spinning = threading.Thread(target=spin, args=(self._executor,), name="spin", daemon=True)
        self._spinning.start()
        return self

    def __exit__(self, *_: object) -> None:
        import rclpy

        self._tracker.interrupt()
        rclpy.try_shutdown(context=self._context)
        self._spinning.join(2.0)
        self._node.destroy_node()

    def play(self, recording: Recording, start: Start, offline: BagEvaluation, rate: float, lock_step: bool) -> None:
        bringup.activate(self._node, timeout=_ACTIVATION, meanwhile=self._check)
        self._wait(
            lambda: self._publisher.get_subscription_count() and self._node.count_publishers(self._detections),
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
                    expected = index
                    what = f"no detections came for the image of stamp {seconds_text(stamp)}"
                    self._wait(lambda expected=expected: expected in self.latencies, _ANSWER, what)
                continue
            gap = max(0.0, (recording.stamps[index] - last) * 1e-9)
            last = recording.stamps[index]
            self.gaps += gap > _LONGEST_GAP
            due += min(gap, _LONGEST_GAP) / rate
            while (left := due - time.monotonic()) > 0:
                time.sleep(min(left, _LOOK))
                self._check()
            self.lags.append(time.monotonic() - due)
            self._publish(index, stamp, data)
            self._check()
        self._settle(index, offline)

    def held(self, offline: BagEvaluation) -> Array:
        """N x 4 boxes, that of the image before where one was dropped; NaN as in the offline boxes.

        Those are NaN before the start and for images that were rejected, which is no matter of time.
        """
        boxes = np.full((len(offline.stamps), 4), np.nan)
        box: Any = offline.boxes[offline.start]
        for index in range(offline.start, len(boxes)):
            box = self.boxes.get(index, box)
            if offline.states[index] != REJECTED:
                boxes[index] = box
        return boxes

    def _images(self, recording: Recording, first: int) -> Iterator[tuple[int, int, bytes]]:
        """Index, stamp and serialised message of each image that can be understood; no two share a stamp."""
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
            # as bytes: rclpy would look at every pixel of a message
            yield index, newest, bytes(self._store.serialize_cdr(message, kind))

    def _first(self, index: int, stamp: int, data: bytes) -> None:
        """The image that the box is drawn on, sent until the node has it."""
        deadline = time.monotonic() + _DISCOVERY
        while index not in self.latencies:
            self._publish(index, stamp, data)
            with contextlib.suppress(TimeoutError):
                self._wait(lambda: index in self.latencies, _PATIENCE, "")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the node did nothing with the image of stamp {seconds_text(stamp)}")
        del self.latencies[index]
        self.boxes.pop(index, None)

    def _initialise(self, start: Start, stamp: int) -> None:
        from snscf_msgs.srv import InitTarget

        request = InitTarget.Request(bbox=box_to_message(start.box))
        set_stamp(request.stamp, stamp)
        name = f"/{self._namespace}/{bringup.NODE_NAME}/init_target"
        answer = bringup.call(self._node, InitTarget, name, request, _SERVICE, self._check)
        if not answer.success:
            raise RuntimeError(f"the node refused the box: {answer.message}")

    def _publish(self, index: int, stamp: int, data: bytes) -> None:
        with self._news:
            self._sent[stamp] = (index, time.monotonic())
        # Fast DDS may refuse an image that it has no room for (RCLError): it is lost like any other that is dropped
        with contextlib.suppress(RuntimeError):
            self._publisher.publish(data)

    def _arrived(self, message: Any) -> None:
        now = time.monotonic()
        with self._news:
            index, sent = self._sent.get(nanoseconds(message.header.stamp), (-1, now))
            if index < 0 or index in self.latencies:
                return
            self.latencies[index] = now - sent
            if message.detections:
                self.boxes[index] = box_from_message(message.detections[0].bbox)
            self._news.notify_all()

    def _settle(self, last: int, offline: BagEvaluation) -> None:
        """Wait for the last detections: those of the last image are never dropped."""
        usable = [index for index, _ in self._sent.values() if offline.states[index] != REJECTED]
        last = max(usable, default=last)
        with contextlib.suppress(TimeoutError):
            self._wait(lambda: last in self.latencies or last == offline.start, _LINGER, "")

    def _wait(self, done: Any, timeout: float, complaint: str) -> None:
        deadline = time.monotonic() + timeout
        with self._news:
            while not done():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{complaint} within {timeout:.0f} s")
                self._news.wait(0.05)
                self._check()

    def _check(self) -> None:
        if (code := self._tracker.exit_code) is not None:
            raise RuntimeError(f"the tracker ended with exit code {code}")


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
    """What `play` returned, in a sentence."""
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
