# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs a node's callbacks: those that return at once in one thread, those that wait in others.

rclpy's MultiThreadedExecutor is too slow in Jazzy 7.1.6 and Kilted 9.1.2. Until a thread of its pool has begun a
callback, it offers that callback again and again, and so keeps the interpreter from letting the thread begin. That
costs up to a core at 30 images a second, and images wait for hundredths of a second.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ShutdownException, SingleThreadedExecutor, TimeoutException
from rclpy.node import Node

_MOMENT = 0.001  # s; lets a thread begin the task that it was given


class Spinning(Protocol):
    """The part of an executor that `spin` needs; rclpy's executors and NodeExecutor have it."""

    @property
    def context(self) -> Context: ...

    def spin(self) -> None: ...


def spin(executor: Spinning) -> None:
    """Execute callbacks until any thread shuts the executor or its context down.

    Other threads may destroy what the executor waits for. rclpy raises InvalidHandle if that happens just before it
    waits.
    """
    while True:
        try:
            executor.spin()
        except InvalidHandle:
            continue
        except Exception:
            # rclpy checks the context, then builds its wait set from it: RCLError if the context is gone in between.
            if executor.context.ok():
                raise
        return


class NodeExecutor:
    """Executes callbacks in the thread that spins, and those that wait in threads of its own.

    An error in a callback ends spinning. The class asks an executor of rclpy what is ready and overrides none of its
    methods, because `spin` calls other ones from release to release (spin_once until 7.1.8, _spin_once_impl since).
    """

    def __init__(self, waits: Callable[[Any], bool], threads: int) -> None:
        """Make an executor.

        waits: whether the callback of a subscription, timer, service, ... may wait.
        threads: how many threads run such callbacks.
        """
        self._rclpy = SingleThreadedExecutor()
        self._waits = waits
        self._pool = ThreadPoolExecutor(threads)
        # tasks that the pool has and has not finished
        self._handed_over: set[Any] = set()
        self._errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        self._ended = False

    @property
    def context(self) -> Context:
        return self._rclpy.context

    def add_node(self, node: Node) -> None:
        """Execute this node's callbacks too."""
        self._rclpy.add_node(node)

    def shutdown(self, timeout_sec: float | None = None) -> None:
        """End spinning."""
        self._ended = True
        self._rclpy.shutdown(timeout_sec)

    def spin(self) -> None:
        """Execute callbacks until the executor or its context is shut down."""
        while self.context.ok() and not self._ended:
            self.spin_once()

    def spin_once(self) -> None:
        """Wait for one callback and execute it, or hand it over."""
        if not self._errors.empty():
            raise self._errors.get()
        try:
            task, entity, _ = self._rclpy.wait_for_ready_callbacks()
        except (ShutdownException, TimeoutException):
            return
        if task in self._handed_over:
            # rclpy offers it again, because its thread has not begun yet
            time.sleep(_MOMENT)
        elif entity is not None and self._waits(entity):
            self._handed_over.add(task)
            self._pool.submit(self._execute, task)
        else:
            task()
            if (error := task.exception()) is not None:
                raise error

    def _execute(self, task: Any) -> None:
        task()
        self._handed_over.discard(task)
        if (error := task.exception()) is not None:
            self._errors.put(error)
            self._rclpy.wake()
