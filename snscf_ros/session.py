# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A node of this process beside child processes that run the real nodes: start it, ask them, and end all in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from snscf_ros import bringup
from snscf_ros.processes import Child

if TYPE_CHECKING:
    from rclpy.node import Node

_ACTIVATION = 180.0  # s; reading the weights takes long on a cold, busy machine
_SERVICE = 30.0  # s
_POLL = 0.02  # s


class ChildEnded(Exception):
    """A child process has ended while it was needed."""

    def __init__(self, child: Child, exit_code: int) -> None:
        super().__init__(f"the {child.name} ended with exit code {exit_code}")
        self.child = child


class Session:
    """The node `node`, in a context of its own, and the children that it works with; used as a context manager.

    At the end it interrupts the children, which are ended by their own contexts.
    children: the child processes.
    node: the node; there once the context has been entered, and spun by a thread.
    news: guards what the node's callbacks share with the caller; notify it, and `wait` looks again at once.
    """

    def __init__(self, name: str, namespace: str, children: Sequence[Child]) -> None:
        self.news = threading.Condition()
        self.node: Node
        self._name = name
        self._namespace = namespace
        self.children = children

    def __enter__(self) -> Session:
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        from snscf_ros import ros_start
        from snscf_ros.executor import spin

        # a context of its own: the caller may have one already
        self._context = Context()
        ros_start.prepare()
        args = ros_start.log_arguments()
        rclpy.init(args=args, context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(self._name, namespace=self._namespace, context=self._context)
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self.node)
        self._spinning = threading.Thread(target=spin, args=(executor,), name="spin", daemon=True)
        self._spinning.start()
        return self

    def __exit__(self, *_: object) -> None:
        import rclpy

        for child in self.children:
            child.interrupt()
        rclpy.try_shutdown(context=self._context)
        self._spinning.join(2.0)
        self.node.destroy_node()

    def check(self) -> None:
        """Raise ChildEnded if a child has ended."""
        for child in self.children:
            if (code := child.exit_code) is not None:
                raise ChildEnded(child, code)

    def activate(self) -> None:
        """Bring the tracker to active. Raises ChildEnded, and TimeoutError or RuntimeError as `bringup.activate`."""
        bringup.activate(self.node, timeout=_ACTIVATION, meanwhile=self.check)

    def call(self, service: Any, name: str, request: Any) -> Any:
        """Return the response of a child's service. Raises ChildEnded or TimeoutError."""
        return bringup.call(self.node, service, name, request, _SERVICE, self.check)

    def wait(self, done: Callable[[], bool], timeout: float, complaint: str) -> None:
        """Wait until `done` is true. Raises ChildEnded, or TimeoutError with the complaint after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self.news:
            while not done():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{complaint} within {timeout:.0f} s")
                self.news.wait(_POLL)
                self.check()
