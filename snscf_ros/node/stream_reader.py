# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads the topics of the cameras in a thread of its own, apart from the executor.

For each message an executor of rclpy looks several times at everything that the node waits for: services, timers,
events. With images and calibrations at 30 Hz that costs more than the messages themselves. This thread waits for its
subscriptions alone, and images come no later because the executor is busy.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import ExitStack
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.guard_condition import GuardCondition
from rclpy.node import Node
from rclpy.subscription import Subscription
from rclpy.task import Task
from rclpy.waitable import Waitable

from snscf_ros.node import rclpy_private

_EVENTS_PERIOD = 1.0  # s


class StreamReader(CallbackGroup):
    """A callback group that takes the messages of its subscriptions itself, and calls one callback after the other.

    Executors leave the group alone, so it also handles the events of the subscriptions, such as a publisher whose
    quality of service does not fit. Fast DDS wakes whoever waits for such events with each message, so the group looks
    for them once a second.

    The callbacks of the subscriptions get the message alone and must return at once.
    """

    def __init__(self, node: Node) -> None:
        """Start the thread. The executor of the node raises what a callback raises, as it does with its own."""
        super().__init__()
        self._node = node
        self._context: Context = node.context
        self._lock = threading.Lock()
        self._subscriptions: list[Subscription] = []
        self._changed = False
        self._ended = False
        self._guard = GuardCondition(None, None, self._context)
        self._thread = threading.Thread(target=self._run, name="cameras", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. The subscriptions can be destroyed then; none may be added."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self._guard.trigger()
        self._thread.join()
        self._guard.destroy()

    # --- what rclpy asks of a callback group ---

    def add_entity(self, entity: Any) -> None:
        super().add_entity(entity)
        if isinstance(entity, Subscription):
            with self._lock:
                self._subscriptions.append(entity)
                self._changed = True
            self._guard.trigger()

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        pass

    # --- the thread ---

    def _run(self) -> None:
        try:
            while not self._ended:
                self._read()
        except Exception as error:
            if self._context.ok() and self._node.executor is not None:
                self._node.executor.create_task(_raise, error)

    def _read(self) -> None:
        """Read until the subscriptions change or the thread is to end."""
        with ExitStack() as held:
            with self._lock:
                self._changed = False
                subscriptions = [one for one in self._subscriptions if _hold(held, one)]
                self._subscriptions = subscriptions.copy()
            wait = rclpy_private.waiting(held, subscriptions, self._guard, self._context)
            occurred = rclpy_private.events_of(held, subscriptions, self._context)
            looked = -math.inf
            while not (self._changed or self._ended):
                for subscription in wait(_EVENTS_PERIOD):
                    taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
                    if taken is not None and not self._ended:
                        subscription.callback(taken[0])
                if (now := time.monotonic()) - looked >= _EVENTS_PERIOD:
                    looked = now
                    for event in occurred():
                        _handle(event)


def _raise(error: Exception) -> None:
    raise error


def _hold(held: ExitStack, subscription: Subscription) -> bool:
    """Keep a subscription from being destroyed while `held` is open. Return False if it is gone."""
    try:
        held.enter_context(subscription.handle)
    except InvalidHandle:
        return False
    return True


def _handle(event: Waitable) -> None:
    task = Task(event.execute, (event.take_data(),))
    task()
    if (error := task.exception()) is not None:
        raise error
