# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Answers the node's services: start, remove and choose targets, reset, and enable tracking."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from snscf_msgs.srv import InitTarget, RemoveTarget, SetPrimary
from std_srvs.srv import SetBool, Trigger

from snscf_ros.messages import Box, box_from_message
from snscf_ros.node.init_requests import ImagePoint
from snscf_ros.node.start_requests import StartRequest, StartRequests
from snscf_ros.node.tracking_worker import TrackingWorker
from snscf_ros.stamps import nanoseconds
from snscf_ros.target_registry import Refused, TargetRegistry


class TargetServices:
    """Offers the services on a node and answers every request; what cannot be done is refused with the reason."""

    def __init__(
        self,
        node: Node,
        targets: Callable[[], TargetRegistry],
        worker: Callable[[], TrackingWorker | None],
        starts: StartRequests,
        waiting: CallbackGroup,
    ) -> None:
        """Create the services.

        targets: gives the current targets; a worker that was left behind keeps the old ones.
        worker: gives the worker; None while the node is not active.
        starts: meets requests to start a target.
        waiting: callback group of `init_target`, which waits for the tracking worker and so keeps nobody else waiting.
        """
        self._targets = targets
        self._worker = worker
        self._starts = starts
        quick = MutuallyExclusiveCallbackGroup()
        node.create_service(InitTarget, "~/init_target", self._init_target, callback_group=waiting)
        node.create_service(RemoveTarget, "~/remove_target", self._remove_target, callback_group=quick)
        node.create_service(SetPrimary, "~/set_primary", self._set_primary, callback_group=quick)
        node.create_service(Trigger, "~/reset", self._reset, callback_group=quick)
        node.create_service(SetBool, "~/enable", self._enable, callback_group=quick)

    def _init_target(self, request: InitTarget.Request, response: InitTarget.Response) -> InitTarget.Response:
        def read() -> StartRequest:
            place: Box | ImagePoint
            if request.around_point:
                place = ImagePoint(request.bbox.center.position.x, request.bbox.center.position.y)
            else:
                place = box_from_message(request.bbox)
            return StartRequest(place, request.camera, nanoseconds(request.stamp), request.target_id)

        response.message, started = self._starts.meet("init_target", read)
        if started is not None:
            response.success = True
            response.target_id, response.frames_caught_up = started.target_id, started.frames_caught_up
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
            self._starts.active_worker().enable(request.data)
            response.success = True
            response.message = "tracking" if request.data else "targets are kept, images are left alone"
        except Refused as reason:
            response.message = str(reason)
        return response
