# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Asks the tracker's services from asyncio, and listens to what it publishes, for the programs that serve operators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from snscf_ros.messages import Box, box_to_message
from snscf_ros.stamps import set_stamp

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.client import Client
    from rclpy.node import Node
    from rclpy.subscription import Subscription
    from snscf_msgs.msg import TrackStatusArray

_GREETING = 2.0  # s to wait for the answer to one greeting
_ANSWER = 5.0  # s; what the tracker does at once
_INIT_EXTRA = 5.0  # s beyond init_timeout
_PARAMETERS = ("cameras", "init_timeout", "buffer_seconds", "model")


class NoAnswer(Exception):
    """Reports that the tracker did not answer; the text says what was waited for, and for how long."""


class Answer(NamedTuple):
    """Holds what the tracker answered.

    success: whether it did what was asked.
    message: what it did, or why not.
    target_id: the target that the answer is about; empty if it names no target.
    """

    success: bool
    message: str
    target_id: str = ""


class TrackerClient:
    """Stands for the tracker. Methods are called in the event loop's thread, callbacks in the executor's.

    Those that ask the tracker for something send their request once at most, and raise NoAnswer.

    parameters: what the tracker said of its parameters; empty until it has answered once.
    details: what its diagnostics say, by name: state, model, device, engine, ...
    """

    def __init__(
        self, node: Node, name: str, loop: asyncio.AbstractEventLoop, on_status: Callable[[TrackStatusArray], None]
    ) -> None:
        """Make the clients.

        name: of the tracker, absolute or in `node`'s namespace.
        on_status: called by the executor with each status.
        """
        from rcl_interfaces.srv import GetParameters
        from snscf_msgs.srv import InitTarget, RemoveTarget, SetPrimary
        from std_srvs.srv import SetBool, Trigger

        self.parameters: dict[str, Any] = {}
        self.details: Mapping[str, str] = {}
        self._node, self._loop, self._on_status = node, loop, on_status
        self.name: str = node.resolve_service_name(name)
        self._init = node.create_client(InitTarget, f"{name}/init_target")
        self._remove = node.create_client(RemoveTarget, f"{name}/remove_target")
        self._primary = node.create_client(SetPrimary, f"{name}/set_primary")
        self._enable = node.create_client(SetBool, f"{name}/enable")
        self._reset = node.create_client(Trigger, f"{name}/reset")
        # The middleware drops a response to a client that the server has not discovered yet. The server discovers a
        # participant's clients in the order of their creation: when the last one gets answers, all do.
        self._greeter = node.create_client(GetParameters, f"{name}/get_parameters")
        self._subscriptions: list[Subscription] = []

    def listen(self, wanted: bool) -> None:
        """Subscribe to the tracker's status and diagnostics, or stop."""
        if wanted == bool(self._subscriptions):
            return
        if not wanted:
            for subscription in self._subscriptions:
                self._node.destroy_subscription(subscription)
            self._subscriptions = []
            return
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.qos import QoSProfile
        from snscf_msgs.msg import TrackStatusArray

        subscribe = self._node.create_subscription
        self._subscriptions = [
            subscribe(TrackStatusArray, f"{self.name}/status", self._on_status, QoSProfile(depth=20)),
            subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, QoSProfile(depth=20)),
        ]

    async def greet(self, timeout: float = _GREETING) -> bool:
        """Ask the tracker for its parameters, and return whether it has answered."""
        from rcl_interfaces.srv import GetParameters
        from rclpy.parameter import parameter_value_to_python

        if not self._greeter.service_is_ready():
            return False
        try:
            answer = await self._response(self._greeter, GetParameters.Request(names=list(_PARAMETERS)), timeout)
        except NoAnswer:
            return False
        values = zip(_PARAMETERS, answer.values, strict=False)
        self.parameters = {name: parameter_value_to_python(value) for name, value in values}
        return True

    async def start(
        self, place: Box | tuple[float, float], stamp: int = 0, camera: str = "", target_id: str = ""
    ) -> Answer:
        """Ask the tracker to follow what is at a place.

        place: (x, y, w, h) from the top-left corner, or a point (x, y) around which the box is to be found; in pixels.
        stamp: of the image in which the place counts, in nanoseconds; 0 for the newest.
        camera: whose image that is; empty for the first camera.
        target_id: a target that shall start again there, or the name of a new one; empty: the tracker chooses one.
        """
        from snscf_msgs.srv import InitTarget

        request = InitTarget.Request(target_id=target_id, camera=camera, around_point=len(place) == 2)
        request.bbox = box_to_message((*place, 0.0, 0.0) if len(place) == 2 else place)
        set_stamp(request.stamp, stamp)
        return await self._ask(self._init, request, target_id, starts=True)

    async def remove(self, target_id: str) -> Answer:
        """Ask the tracker to forget one target."""
        from snscf_msgs.srv import RemoveTarget

        return await self._ask(self._remove, RemoveTarget.Request(target_id=target_id), target_id)

    async def make_primary(self, target_id: str) -> Answer:
        """Ask the tracker to make one target the primary one."""
        from snscf_msgs.srv import SetPrimary

        return await self._ask(self._primary, SetPrimary.Request(target_id=target_id), target_id)

    async def enable(self, on: bool) -> Answer:
        """Ask the tracker to track, or to leave the images alone."""
        from std_srvs.srv import SetBool

        return await self._ask(self._enable, SetBool.Request(data=on))

    async def reset(self) -> Answer:
        """Ask the tracker to forget all targets."""
        from std_srvs.srv import Trigger

        return await self._ask(self._reset, Trigger.Request())

    async def _ask(self, client: Client, request: Any, target_id: str = "", starts: bool = False) -> Answer:
        """Send a request to a tracker that has just answered a greeting. Raises NoAnswer."""
        if not await self.greet():
            raise NoAnswer(f"the tracker {self.name} does not answer: is it running?")
        timeout = float(self.parameters.get("init_timeout") or 10.0) + _INIT_EXTRA if starts else _ANSWER
        answer = await self._response(client, request, timeout)
        return Answer(answer.success, answer.message, getattr(answer, "target_id", "") or target_id)

    async def _response(self, client: Client, request: Any, timeout: float) -> Any:
        """Send one request and wait for its response. Raises NoAnswer."""
        arrived: asyncio.Future[Any] = self._loop.create_future()

        def finish(response: Any) -> None:
            if not arrived.done():
                arrived.set_result(response.result())

        sent = client.call_async(request)
        sent.add_done_callback(lambda response: self._loop.call_soon_threadsafe(finish, response))
        try:
            return await asyncio.wait_for(arrived, timeout)
        except asyncio.TimeoutError:
            client.remove_pending_request(sent)
            raise NoAnswer(f"{client.srv_name} did not answer within {timeout:.0f} s") from None

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"{self.name}: tracker":
                self.details = {"state": status.message, **{value.key: value.value for value in status.values}}
