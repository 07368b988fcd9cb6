# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Answers requests to start a target, from the service and from topics alike, and tells everybody on `~/events`."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from rclpy.node import Node
from rclpy.qos import QoSProfile
from snscf_msgs.msg import TargetEvent

from snscf_ros.messages import Box, box_to_message
from snscf_ros.node.init_requests import ImagePoint, Started
from snscf_ros.node.tracking_worker import TrackingWorker
from snscf_ros.target_registry import Refused

# how to make a node active, by its lifecycle state
_ADVICE = {
    "unconfigured": "configure and activate it first (ros2 lifecycle set)",
    "inactive": "activate it first (ros2 lifecycle set)",
    "finalized": "it was shut down for good; start the node anew",
}
_QOS = QoSProfile(depth=10)  # reliable, volatile


@dataclass(frozen=True)
class StartRequest:
    """Describes a request to start a target.

    place: the box, or a point around which it is to be found.
    camera: name of the camera; empty for the first one.
    stamp_ns: stamp of the image in which the place counts; 0 for the newest.
    target_id: name of the target; empty for a new one.
    class_id: what kind of thing it is; empty if that is not known.
    or_newest: whether the newest image will do where none of that stamp is kept.
    """

    place: Box | ImagePoint
    camera: str = ""
    stamp_ns: int = 0
    target_id: str = ""
    class_id: str = ""
    or_newest: bool = False


class StartAnswer(NamedTuple):
    """Holds the answer to a request: what was done, or why nothing was (`started` is None then)."""

    message: str
    started: Started | None = None


class StartRequests:
    """Hands requests to the tracking worker, and words, logs and publishes the answers."""

    def __init__(
        self,
        node: Node,
        worker: Callable[[], TrackingWorker | None],
        state: Callable[[], str],
        target_started: Callable[[], None],
    ) -> None:
        """Prepare to answer.

        worker: gives the worker; None while the node is not active.
        state: gives the node's lifecycle state.
        target_started: called each time that a target has been started.
        """
        self._logger = node.get_logger()
        self._worker = worker
        self._state = state
        self._target_started = target_started
        self._events = node.create_publisher(TargetEvent, "~/events", _QOS)

    def active_worker(self) -> TrackingWorker:
        """Return the worker. Raises Refused, with what to do, while the node is not active."""
        if (worker := self._worker()) is None:
            state = self._state()
            advice = _ADVICE.get(state, "wait until it is active")
            raise Refused(f"the tracker is not active, but {state}: {advice}")
        return worker

    def meet(self, name: str, read: Callable[[], StartRequest], often: bool = False) -> StartAnswer:
        """Start a target and return the answer, which waits until the target has reached the newest image.

        name: what the request came by, such as `init_target`.
        read: makes the request from the message; a ValueError of it is the answer.
        often: whether such messages come many times a second, so that not every refusal is logged.
        """
        try:
            request = read()
            started = self.active_worker().init(
                request.camera,
                request.stamp_ns,
                request.place,
                request.target_id,
                class_id=request.class_id,
                or_newest=request.or_newest,
            )
            self._target_started()
            x, y, w, h = started.box
            message = f"following '{started.target_id}' from x {x:g}, y {y:g}, width {w:g}, height {h:g}"
            if started.frames_caught_up:
                message += f", through {started.frames_caught_up} images that came since"
            answer = StartAnswer(message, started)
            self._logger.info(message)
        except ValueError as reason:
            answer = StartAnswer(str(reason))
            if often:
                self._logger.warning(f"{name} refused: {reason}", throttle_duration_sec=5.0)
            else:
                self._logger.warning(f"{name} refused: {reason}")
        except Exception as error:  # an answer is owed, and the executor must go on
            answer = StartAnswer(f"internal error: {error!r}")
            self._logger.error(f"{name} failed:\n{traceback.format_exc()}")
        self._tell(name, answer)
        return answer

    def _tell(self, name: str, answer: StartAnswer) -> None:
        event = TargetEvent(request=name, success=answer.started is not None, message=answer.message)
        if answer.started is not None:
            event.header = answer.started.header
            event.target_id = answer.started.target_id
            event.bbox = box_to_message(answer.started.box)
        try:
            self._events.publish(event)
        except Exception as error:  # the middleware may refuse a message it has no room for; RCLError
            self._logger.warning(f"could not publish the event: {error}")
