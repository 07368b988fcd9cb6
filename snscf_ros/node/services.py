# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Answers the node's services: start, remove and choose targets, reset, and enable tracking."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from snscf_msgs.srv import InitTarget, RemoveTarget, SetPrimary
from std_srvs.srv import SetBool, Trigger

from snscf_ros.messages import box_from_message
from snscf_ros.node.tracking_worker import TrackingWorker
from snscf_ros.stamps import nanoseconds
from snscf_ros.target_registry import Refused, TargetRegistry

# what brings a node that is not active to it, by its lifecycle state
_ADVICE = {
    "unconfigured": "configure and activate it first (ros2 lifecycle set)",
    "inactive": "activate it first (ros2 lifecycle set)",
    "finalized": "it was shut down for good; start the node anew",
}


class TargetServices:
    """Offers the services on a node and answers every request; what cannot be done is refused with the reason.

    waiting: callback group of `init_target`, which waits for the tracking worker and so keeps nobody else waiting.
    """

    def __init__(
        self,
        node: Node,
        targets: Callable[[], TargetRegistry],
        worker: Callable[[], TrackingWorker | None],
        state: Callable[[], str],
        target_started: Callable[[], None],
    ) -> None:
        """Create the services.

        targets: gives the current targets; a worker that was left behind keeps the old ones.
        worker: gives the worker; None while the node is not active.
        state: gives the node's lifecycle state.
        target_started: called each time that a target has been started.
        """
        self._logger = node.get_logger()
        self._targets = targets
        self._worker = worker
        self._state = state
        self._target_started = target_started
        self.waiting, quick = MutuallyExclusiveCallbackGroup(), MutuallyExclusiveCallbackGroup()
        node.create_service(InitTarget, "~/init_target", self._init_target, callback_group=self.waiting)
        node.create_service(RemoveTarget, "~/remove_target", self._remove_target, callback_group=quick)
        node.create_service(SetPrimary, "~/set_primary", self._set_primary, callback_group=quick)
        node.create_service(Trigger, "~/reset", self._reset, callback_group=quick)
        node.create_service(SetBool, "~/enable", self._enable, callback_group=quick)

    def _active(self) -> TrackingWorker:
        if (worker := self._worker()) is None:
            state = self._state()
            advice = _ADVICE.get(state, "wait until it is active")
            raise Refused(f"the tracker is not active, but {state}: {advice}")
        return worker

    def _init_target(self, request: InitTarget.Request, response: InitTarget.Response) -> InitTarget.Response:
        try:
            box = box_from_message(request.bbox)
            started = self._active().init(request.camera, nanoseconds(request.stamp), box, request.target_id)
            response.target_id, response.frames_caught_up = started
            response.success = True
            self._target_started()
            x, y, w, h = box
            response.message = f"following '{response.target_id}' from x {x:g}, y {y:g}, width {w:g}, height {h:g}"
            if started.frames_caught_up:
                response.message += f", through {started.frames_caught_up} images that came since"
            self._logger.info(response.message)
        except ValueError as reason:
            response.message = str(reason)
            self._logger.warning(f"init_target refused: {reason}")
        except Exception as error:  # an answer is owed, and the executor must go on
            response.message = f"internal error: {error!r}"
            self._logger.error(f"init_target failed:\n{traceback.format_exc()}")
        return response

    def _remove_target(self, request: RemoveTarget.Request, response: RemoveTarget.Response) -> RemoveTarget.Response:
        try:
            response.message = f"removed '{self._targets().remove(request.target_id)}'"
            response.success = True
        except Refused as reason:
            response.message = str(reason)
        return response

    def _set_primary(self, request: SetPrimary.Request, response: SetPrimary.Response) -> SetPrimary.Response:
        try:
            response.target_id = self._targets().choose(request.target_id)
            response.success = True
            response.message = (
                f"primary is '{response.target_id}'" if response.target_id else "nothing is being followed"
            )
        except Refused as reason:
            response.message = str(reason)
        return response

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        worker = self._worker()
        count = self._targets().clear() if worker is None else worker.reset()
        response.success = True
        response.message = f"forgot {count} targets and all counts"
        return response

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        try:
            self._active().enable(request.data)
            response.success = True
            response.message = "tracking" if request.data else "targets are kept, images are left alone"
        except Refused as reason:
            response.message = str(reason)
        return response
