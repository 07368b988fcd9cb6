# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Asks the tracker's services for the page, from asyncio, and listens to what it publishes while somebody watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from snscf_ros import messages
from snscf_ros.operator import requests
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


class TrackerClient:
    """Stands for the tracker. Methods are called in the event loop's thread, callbacks in the executor's.

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
            answer = await self._answer(self._greeter, GetParameters.Request(names=list(_PARAMETERS)), timeout)
        except NoAnswer:
            return False
        values = zip(_PARAMETERS, answer.values, strict=False)
        self.parameters = {name: parameter_value_to_python(value) for name, value in values}
        return True

    async def ask(self, request: requests.Request) -> tuple[bool, str, str]:
        """Make a browser's request; return whether it succeeded, the tracker's message, and the target's id.

        Raises NoAnswer. A request is sent once at most.
        """
        from snscf_msgs.srv import InitTarget, RemoveTarget, SetPrimary
        from std_srvs.srv import SetBool, Trigger

        timeout = _ANSWER
        if isinstance(request, requests.Start):
            client, message = self._init, InitTarget.Request(target_id=request.target_id, camera=request.camera)
            message.bbox = messages.box_to_message(request.box)
            set_stamp(message.stamp, request.stamp)
            timeout = float(self.parameters.get("init_timeout") or 10.0) + _INIT_EXTRA
        elif isinstance(request, requests.Remove):
            client, message = self._remove, RemoveTarget.Request(target_id=request.target_id)
        elif isinstance(request, requests.MakePrimary):
            client, message = self._primary, SetPrimary.Request(target_id=request.target_id)
        elif isinstance(request, requests.Enable):
            client, message = self._enable, SetBool.Request(data=request.on)
        else:
            assert isinstance(request, requests.Reset)
            client, message = self._reset, Trigger.Request()
        if not await self.greet():
            raise NoAnswer(f"the tracker {self.name} does not answer: is it running?")
        answer = await self._answer(client, message, timeout)
        return answer.success, answer.message, getattr(answer, "target_id", "") or getattr(request, "target_id", "")

    async def _answer(self, client: Client, message: Any, timeout: float) -> Any:
        """Send one request and wait for its response. Raises NoAnswer."""
        arrived: asyncio.Future[Any] = self._loop.create_future()

        def finish(response: Any) -> None:
            if not arrived.done():
                arrived.set_result(response.result())

        sent = client.call_async(message)
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
