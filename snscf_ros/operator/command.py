# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the executable `operator_page`: serves the page, prints its address once, and ends on Ctrl-C or SIGTERM.

ros2 run snscf_ros operator_page --ros-args -p port:=8080
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from snscf_ros import asyncio_process, bringup

if TYPE_CHECKING:
    from rclpy.node import Node

    from snscf_ros.operator.settings import PageSettings

_COMMAND = bringup.OPERATOR_EXECUTABLE


def main(args: list[str] | None = None) -> int:
    """Serve the page and return the exit code. args: as on the command line."""
    return asyncio_process.main(_COMMAND, bringup.OPERATOR_NAME, "aiohttp", _prepare, _serve, args)


def _prepare(node: Node) -> tuple[PageSettings, str]:
    """Return the settings and the token."""
    from snscf_ros.operator.access import chosen_token
    from snscf_ros.operator.settings import declare

    settings = declare(node)
    return settings, chosen_token(settings.local)


async def _serve(node: Node, prepared: tuple[PageSettings, str], end: asyncio.Event) -> int:
    """Serve until the process is asked to end, and return the exit code."""
    from snscf_ros.operator.audience import Audience
    from snscf_ros.operator.server import PageServer

    settings, token = prepared
    audience = Audience(node, settings, asyncio.get_running_loop())
    server = PageServer(settings, audience, token)
    try:
        address = await server.start()
    except OSError as error:  # SSLError is one
        files = f" with the certificate {settings.certificate}" if settings.certificate else ""
        reason = f"cannot serve on {settings.host}, port {settings.port}{files}: {error.strerror or error}"
        return asyncio_process.fail(_COMMAND, reason)
    if not settings.local and not settings.certificate:
        node.get_logger().warning("the page is not encrypted: give certificate and key where others share the network")
    print(f"{_COMMAND}: open {address}", flush=True)
    try:
        await asyncio_process.until(end, audience.run())
    finally:
        await server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
