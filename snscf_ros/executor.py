# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs a node's callbacks: in one thread those that return at once, in others those that wait.

rclpy's MultiThreadedExecutor does not serve in Jazzy 7.1.6 and Kilted 9.1.2: while a thread of its pool has not yet
begun with a callback, it offers that callback again and again, and so keeps the interpreter from letting that thread
begin. It costs up to a core at 30 images a second, and images wait for hundredths of a second.
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

_MOMENT = 0.001  # s; for a thread to begin with what it has been given


class Spinning(Protocol):
    """What `spin` needs of an executor: rclpy's have it, and NodeExecutor."""

    @property
    def context(self) -> Context: ...

    def spin(self) -> None: ...


def spin(executor: Spinning) -> None:
    """Executes callbacks until the executor or its context is shut down, by whatever thread at whatever moment.

    Other threads may destroy what the executor waits for: rclpy raises InvalidHandle if that happens just before it
    waits.
    """
    while True:
        try:
            executor.spin()
        except InvalidHandle:
            continue
        except Exception:
            # Once rclpy has found the context there it makes its wait set of it: RCLError if it is gone by then.
            if executor.context.ok():
                raise
        return


class NodeExecutor:
    """Executes callbacks in the thread that spins, and in one of `threads` others where `waits(entity)` says so.

    entity: the subscription, timer, service, ... whose callback it is. What a callback raises ends spinning.

    It asks an executor of rclpy what is ready, and overrides nothing of it: which of its methods `spin` calls has
    changed between releases (spin_once until 7.1.8, _spin_once_impl since).
    """

    def __init__(self, waits: Callable[[Any], bool], threads: int) -> None:
        self._rclpy = SingleThreadedExecutor()
        self._waits = waits
        self._pool = ThreadPoolExecutor(threads)
        # tasks that the pool has been given and not finished yet
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
            # offered once more, as its thread has not begun yet
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
