# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the node needs of rclpy beyond the names that rclpy makes public, all in this file.

Checked with rclpy 7.1.5 and 7.1.11 (Jazzy), 9.1.2 and 9.1.5 (Kilted); see docs/ros_versions.md.
"""

from __future__ import annotations

from collections.abc import Collection
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
    """Raises UnknownRclpyError where the installed rclpy lacks something that the node needs; warns in the node's log
    where the node only ends less tidily without it."""
    if not hasattr(SingleThreadedExecutor, "wait_for_ready_callbacks"):
        raise _unknown("its executors have no wait_for_ready_callbacks")
    if not hasattr(_state_machine(node), "destroy_when_not_in_use"):
        warning = _unknown("when the node ends, its shared memory may stay in /dev/shm")
        node.get_logger().warning(str(warning))


def version() -> str:
    """The version of the installed rclpy, or "unknown version"."""
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
    """Let go of the state machine, which rclpy's destroy_node forgets: it keeps the node in the graph, and its shared
    memory on the disk, for as long as the process lives."""
    if hasattr(machine := _state_machine(node), "destroy_when_not_in_use"):
        machine.destroy_when_not_in_use()


def parameter_overrides(node: Node) -> Collection[str]:
    """The names of all parameters that the node was given when it started, declared or not; empty where the installed
    rclpy does not say."""
    return getattr(node, "_parameter_overrides", ())


def _state_machine(node: LifecycleNode) -> Any:
    return getattr(node, "_state_machine", None)


def _unknown(consequence: str) -> UnknownRclpyError:
    return UnknownRclpyError(f"this rclpy ({version()}) is not one that snscf knows: {consequence}")
