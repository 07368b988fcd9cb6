# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs a process whose node serves others by asyncio, beside a thread that runs the node's callbacks."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from snscf_ros import supervision

if TYPE_CHECKING:
    from rclpy.node import Node

Prepared = TypeVar("Prepared")


def main(
    command: str,
    node_name: str,
    library: str,
    prepare: Callable[[Node], Prepared],
    serve: Callable[[Node, Prepared, asyncio.Event], Coroutine[Any, Any, int]],
    args: list[str] | None,
) -> int:
    """Run the process until Ctrl-C or SIGTERM, or until `serve` returns, and return the exit code.

    command: name of the executable, which begins its messages.
    library: module that must be there; its absence is said in one sentence before anything is started.
    prepare: reads the node's parameters; its ValueError or RuntimeError is said in one sentence.
    serve: does the work, in the event loop; its event is set when the process is asked to end.
    args: as on the command line.
    """
    # the imports and the discovery take a second, in which Ctrl-C must not end in a traceback
    asked_to_end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked_to_end.set())
    if not supervision.end_with_parent():
        return 0
    try:
        importlib.import_module(library)
        return _run(command, node_name, prepare, serve, args, asked_to_end)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] in ("snscf_core", "snscf_ros"):
            raise
        # with what it imports this takes seconds, in which Ctrl-C must be heard
        from snscf_core.requirements import missing

        return fail(command, missing(error.name))


def fail(command: str, reason: str) -> int:
    """Print why the process ends, and return the exit code 1."""
    print(f"{command}: {reason}", file=sys.stderr, flush=True)
    return 1


async def until(end: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do the work until the event is set, and cancel it then. Raises what the work raises."""
    running = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(end.wait())
    done, _ = await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    running.cancel()
    if running in done:
        running.result()


def _run(
    command: str,
    node_name: str,
    prepare: Callable[[Node], Prepared],
    serve: Callable[[Node, Prepared, asyncio.Event], Coroutine[Any, Any, int]],
    args: list[str] | None,
    asked_to_end: threading.Event,
) -> int:
    import rclpy
    from rclpy.exceptions import ParameterException
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from snscf_ros.executor import spin

    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        # nothing can be changed later, so there are no services for it
        node = rclpy.create_node(node_name, start_parameter_services=False)
        prepared = prepare(node)
    except (ParameterException, RuntimeError, ValueError) as error:
        rclpy.try_shutdown()
        return fail(command, str(error))
    except ModuleNotFoundError:
        rclpy.try_shutdown()
        raise
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    broken = threading.Event()

    def spin_or_end() -> None:
        try:
            spin(executor)
        except Exception:
            # a process whose callbacks are dead would look alive
            traceback.print_exc()
            broken.set()
            os.kill(os.getpid(), signal.SIGTERM)

    async def serve_until_asked() -> int:
        end = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end.set)
        return 0 if asked_to_end.is_set() else await serve(node, prepared, end)

    spinning = threading.Thread(target=spin_or_end, name="spin", daemon=True)
    spinning.start()
    try:
        status = asyncio.run(serve_until_asked())
        return 1 if broken.is_set() else status
    finally:
        rclpy.try_shutdown()
        spinning.join(2.0)
        node.destroy_node()
