# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the executable `follow`: steers a robot after the tracker's target until Ctrl-C or SIGTERM.

ros2 run snscf_ros follow --ros-args -p output:=ground
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from snscf_ros import asyncio_process, bringup

if TYPE_CHECKING:
    from rclpy.node import Node

    from snscf_ros.follow.settings import FollowSettings

_COMMAND = bringup.FOLLOW_EXECUTABLE


def main(args: list[str] | None = None) -> int:
    """Steer and return the exit code. args: as on the command line."""
    return asyncio_process.main(_COMMAND, bringup.FOLLOW_NAME, "rclpy", _prepare, _serve, args)


def _prepare(node: Node) -> FollowSettings:
    from snscf_ros.follow.settings import declare

    return declare(node)


async def _serve(node: Node, settings: FollowSettings, end: asyncio.Event) -> int:
    """Steer until the process is asked to end, and return the exit code."""
    from snscf_ros.follow.steering import Steering

    steering = Steering(node, settings)
    print(f"{_COMMAND}: steers {settings.output} after {settings.tracker}", flush=True)
    try:
        await end.wait()
    finally:
        steering.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
