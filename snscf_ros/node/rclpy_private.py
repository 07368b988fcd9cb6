# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Uses the names of rclpy that are not public, all of them in this file.

Checked with rclpy 7.1.5 and 7.1.11 (Jazzy), 9.1.2 and 9.1.5 (Kilted); see docs/ros_versions.md.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

from rclpy.executors import SingleThreadedExecutor

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode
    from rclpy.node import Node
    from rclpy.service import Service


class UnknownRclpyError(RuntimeError):
    """The installed rclpy lacks something that the node needs."""


def check(node: LifecycleNode) -> None:
    """Raise UnknownRclpyError where the installed rclpy lacks something that the node needs.

    Where the node only ends less tidily without it, warn in the node's log.
    """
    if not hasattr(SingleThreadedExecutor, "wait_for_ready_callbacks"):
        raise _unknown("its executors have no wait_for_ready_callbacks")
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


def parameter_overrides(node: Node) -> dict[str, Any]:
    """Return the values of all parameters that the node was given when it started, declared or not, by name.

    Empty where the installed rclpy does not keep them.
    """
    return {name: parameter.value for name, parameter in getattr(node, "_parameter_overrides", {}).items()}


def _state_machine(node: LifecycleNode) -> Any:
    return getattr(node, "_state_machine", None)


def _unknown(consequence: str) -> UnknownRclpyError:
    return UnknownRclpyError(f"this rclpy ({version()}) is not one that snscf knows: {consequence}")
