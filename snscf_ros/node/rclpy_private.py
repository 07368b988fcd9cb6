# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Uses the names of rclpy that are not public, all of them in this file.

Checked with rclpy 7.1.5 and 7.1.11 (Jazzy), 9.1.2 and 9.1.5 (Kilted); see docs/ros_versions.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from importlib import metadata
from typing import TYPE_CHECKING, Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation

from snscf_ros.stamps import SECOND

if TYPE_CHECKING:
    from rclpy.context import Context
    from rclpy.guard_condition import GuardCondition
    from rclpy.lifecycle import LifecycleNode
    from rclpy.node import Node
    from rclpy.service import Service
    from rclpy.subscription import Subscription
    from rclpy.waitable import Waitable


class UnknownRclpyError(RuntimeError):
    """The installed rclpy lacks something that the node needs."""


def check(node: LifecycleNode) -> None:
    """Raise UnknownRclpyError where the installed rclpy lacks something that the node needs.

    Where the node only ends less tidily without it, warn in the node's log.
    """
    if not hasattr(SingleThreadedExecutor, "wait_for_ready_callbacks"):
        raise _unknown("its executors have no wait_for_ready_callbacks")
    if not hasattr(rclpy_implementation, "WaitSet"):
        raise _unknown("it has no WaitSet")
    if not hasattr(_state_machine(node), "destroy_when_not_in_use"):
        warning = _unknown("when the node ends, its shared memory may stay in /dev/shm")
        node.get_logger().warning(str(warning))


def version() -> str:
    """Return the version of the installed rclpy, or "unknown version"."""
    try:
        return metadata.version("rclpy")
    except metadata.PackageNotFoundError:
        return "unknown version"


def service(node: Node, kind: type) -> Service:
    """Find rclpy's own service of this type for the node. Raises UnknownRclpyError if rclpy has none."""
    for found in node.services:
        if found.srv_type is kind:
            return found
    raise _unknown(f"{type(node).__name__} has no service {kind.__name__}")


def destroy_state_machine(node: LifecycleNode) -> None:
    """Destroy the state machine, which rclpy's destroy_node forgets.

    It would keep the node in the graph, and its shared memory on the disk, until the process ends.
    """
    if hasattr(machine := _state_machine(node), "destroy_when_not_in_use"):
        machine.destroy_when_not_in_use()


def waiting(
    held: ExitStack, subscriptions: Sequence[Subscription], guard: GuardCondition, context: Context
) -> Callable[[float], list[Subscription]]:
    """Return a function that waits for messages or the guard, at most so many seconds, and returns whose messages came.

    held: what the function needs stays there until this is closed.
    """
    for handle in (context.handle, guard.handle):
        held.enter_context(handle)
    wait_set = rclpy_implementation.WaitSet(len(subscriptions), 1, 0, 0, 0, 0, context.handle)
    held.enter_context(wait_set)

    def wait(seconds: float) -> list[Subscription]:
        wait_set.clear_entities()
        for subscription in subscriptions:
            wait_set.add_subscription(subscription.handle)
        wait_set.add_guard_condition(guard.handle)
        wait_set.wait(int(seconds * SECOND))
        ready = wait_set.get_ready_entities("subscription")
        return [subscription for subscription in subscriptions if subscription.handle.pointer in ready]

    return wait


def events_of(held: ExitStack, subscriptions: Iterable[Subscription], context: Context) -> Callable[[], list[Waitable]]:
    """Return a function that returns which events of the subscriptions have occurred, and does not wait.

    held: what the function needs stays there until this is closed.
    """
    events = [event for subscription in subscriptions for event in subscription.event_handlers]
    for event in events:
        held.enter_context(event)
    count = sum(event.get_num_entities().num_events for event in events)
    wait_set = rclpy_implementation.WaitSet(0, 0, 0, 0, 0, count, context.handle)
    held.enter_context(wait_set)

    def occurred() -> list[Waitable]:
        if not events:
            return []
        wait_set.clear_entities()
        for event in events:
            event.add_to_wait_set(wait_set)
        wait_set.wait(0)
        return [event for event in events if event.is_ready(wait_set)]

    return occurred


def parameter_overrides(node: Node) -> dict[str, Any]:
    """Return the values of all parameters that the node was given when it started, declared or not, by name.

    Empty where the installed rclpy does not keep them.
    """
    return {name: parameter.value for name, parameter in getattr(node, "_parameter_overrides", {}).items()}


def _state_machine(node: LifecycleNode) -> Any:
    return getattr(node, "_state_machine", None)


def _unknown(consequence: str) -> UnknownRclpyError:
    return UnknownRclpyError(f"this rclpy ({version()}) is not one that snscf knows: {consequence}")
