# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the executable `operator_page`: serves the page, prints its address once, and ends on Ctrl-C or SIGTERM.

ros2 run snscf_ros operator_page --ros-args -p port:=8080
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING

from snscf_ros import bringup, supervision

if TYPE_CHECKING:
    from rclpy.node import Node

    from snscf_ros.operator.settings import PageSettings

_COMMAND = bringup.OPERATOR_EXECUTABLE


def main(args: list[str] | None = None) -> int:
    """Serve the page and return the exit code. args: as on the command line."""
    # the imports and the discovery take a second, in which Ctrl-C must not end in a traceback
    asked_to_end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked_to_end.set())
    if not supervision.end_with_parent():
        return 0
    try:
        return _run(args, asked_to_end)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] in ("snscf_core", "snscf_ros"):
            raise
        # with what it imports this takes seconds, in which Ctrl-C must be heard
        from snscf_core.requirements import missing

        return _fail(missing(error.name))


def _fail(reason: str) -> int:
    print(f"{_COMMAND}: {reason}", file=sys.stderr, flush=True)
    return 1


def _run(args: list[str] | None, asked_to_end: threading.Event) -> int:
    import aiohttp  # noqa: F401  first, so that its absence is said before anything is started
    import rclpy
    from rclpy.exceptions import ParameterException
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from snscf_ros.executor import spin
    from snscf_ros.operator.access import chosen_token
    from snscf_ros.operator.settings import declare

    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        # nothing can be changed later, so there are no services for it
        node = rclpy.create_node(bringup.OPERATOR_NAME, start_parameter_services=False)
        settings = declare(node)
        token = chosen_token(settings.local)
    except (ParameterException, RuntimeError, ValueError) as error:
        rclpy.try_shutdown()
        return _fail(str(error))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    broken = threading.Event()

    def spin_or_end() -> None:
        try:
            spin(executor)
        except Exception:
            # a page whose callbacks are dead would look alive
            traceback.print_exc()
            broken.set()
            os.kill(os.getpid(), signal.SIGTERM)

    spinning = threading.Thread(target=spin_or_end, name="spin", daemon=True)
    spinning.start()
    try:
        status = asyncio.run(_serve(node, settings, token, asked_to_end))
        return 1 if broken.is_set() else status
    finally:
        rclpy.try_shutdown()
        spinning.join(2.0)
        node.destroy_node()


async def _serve(node: Node, settings: PageSettings, token: str, asked_to_end: threading.Event) -> int:
    """Serve until a signal comes, and return the exit code."""
    from snscf_ros.operator.audience import Audience
    from snscf_ros.operator.server import PageServer

    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end.set)
    if asked_to_end.is_set():
        return 0
    audience = Audience(node, settings, loop)
    server = PageServer(settings, audience, token)
    try:
        address = await server.start()
    except OSError as error:  # SSLError is one
        files = f" with the certificate {settings.certificate}" if settings.certificate else ""
        return _fail(f"cannot serve on {settings.host}, port {settings.port}{files}: {error.strerror or error}")
    if not settings.local and not settings.certificate:
        node.get_logger().warning("the page is not encrypted: give certificate and key where others share the network")
    print(f"{_COMMAND}: open {address}", flush=True)
    running = asyncio.ensure_future(audience.run())
    waiting = asyncio.ensure_future(end.wait())
    done, _ = await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    await server.close()
    if running in done:
        running.result()  # raises what ended it
    return 0


if __name__ == "__main__":
    sys.exit(main())
