# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the executable `mavlink_camera`: is a MAVLink camera until Ctrl-C or SIGTERM.

ros2 run snscf_ros mavlink_camera --ros-args -p connection:=udpout:192.168.1.10:14550
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from snscf_ros import asyncio_process, bringup

if TYPE_CHECKING:
    from rclpy.node import Node

    from snscf_ros.mavlink.settings import CameraSettings

_COMMAND = bringup.MAVLINK_EXECUTABLE


def main(args: list[str] | None = None) -> int:
    """Be a camera and return the exit code. args: as on the command line."""
    return asyncio_process.main(_COMMAND, bringup.MAVLINK_NAME, "pymavlink", _prepare, _serve, args)


def _prepare(node: Node) -> CameraSettings:
    from snscf_ros.mavlink import connection
    from snscf_ros.mavlink.settings import declare

    settings = declare(node)
    if connection.parse(settings.connection).kind == "serial":
        import serial  # noqa: F401  its absence is said before anything is started
    return settings


async def _serve(node: Node, settings: CameraSettings, end: asyncio.Event) -> int:
    """Be a camera until the process is asked to end, and return the exit code."""
    from snscf_ros.mavlink import connection, links
    from snscf_ros.mavlink.camera import Camera

    where = connection.parse(settings.connection)
    camera = Camera(node, settings, where.kind, lambda data, address: link.send(data, address))
    link = links.make(where, camera.receive)
    print(f"{_COMMAND}: camera {settings.system_id}/{settings.component_id} on {where}", flush=True)

    async def work() -> None:
        await asyncio.gather(camera.run(), links.keep_open(link, str(where), node.get_logger().warning))

    try:
        await asyncio_process.until(end, work())
    except OSError as error:
        return asyncio_process.fail(_COMMAND, f"cannot open {where}: {error.strerror or error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
