"""What runs callbacks; of the tracker's node, one thread those that return at once, and others those that wait.

rclpy's MultiThreadedExecutor is of no use here: until a thread of its pool has begun with a callback, it offers that
callback again and again, and so keeps the interpreter from letting the pool's thread begin (so in Jazzy 7.1.6 and
Kilted 9.1.2). It costs up to a core at 30 images a second, and images wait for hundredths of a second.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rclpy.executors import Executor, ShutdownException, TimeoutException

_MOMENT = 0.001  # s; for a thread to begin with what it has been given


def spin(executor: Executor) -> None:
    """Executes callbacks until the executor's context is shut down, by whatever thread at whatever moment."""
    try:
        executor.spin()
    except Exception:
        # rclpy looks whether the context is there, and then makes its wait set of it: RCLError if it is gone by then
        if executor.context.ok():
            raise


class NodeExecutor(Executor):
    """Executes callbacks in the thread that spins, and in one of `threads` others where `waits(entity)` says so.

    entity: the subscription, timer, service, ... whose callback it is. What a callback raises ends spinning.
    """

    def __init__(self, waits: Callable[[Any], bool], threads: int) -> None:
        super().__init__()
        self._waits = waits
        self._pool = ThreadPoolExecutor(threads)
        # tasks that the pool has been given and not finished yet
        self._handed_over: set[Any] = set()
        self._errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for one callback and execute it, or hand it over."""
        if not self._errors.empty():
            raise self._errors.get()
        try:
            task, entity, _ = self.wait_for_ready_callbacks(timeout_sec=timeout_sec)
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
            self.wake()
