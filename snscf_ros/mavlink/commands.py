# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads MAVLink commands, of either kind."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from pymavlink.dialects.v20 import common as dialect

# for each command that may name a camera, the index of the parameter in which it does
_CAMERA_ID = {
    dialect.MAV_CMD_CAMERA_TRACK_POINT: 3,
    dialect.MAV_CMD_CAMERA_TRACK_RECTANGLE: 4,
    dialect.MAV_CMD_CAMERA_STOP_TRACKING: 0,
}


class Command(NamedTuple):
    """Holds a COMMAND_LONG or COMMAND_INT.

    system, component: who has sent it.
    sequence: number of its packet, 0 to 255.
    target_system, target_component: whom it is for; 0: for all.
    number: MAV_CMD.
    params: all seven; those that are not set may be NaN.
    """

    system: int
    component: int
    sequence: int
    target_system: int
    target_component: int
    number: int
    params: tuple[float, float, float, float, float, float, float]

    @staticmethod
    def read(message: Any) -> Command:
        """Take a command from its message."""
        if message.get_type() == "COMMAND_INT":
            last = (float(message.x), float(message.y), message.z)
        else:
            last = (message.param5, message.param6, message.param7)
        return Command(
            message.get_srcSystem(),
            message.get_srcComponent(),
            message.get_seq(),
            message.target_system,
            message.target_component,
            message.command,
            (message.param1, message.param2, message.param3, message.param4, *last),
        )

    @property
    def broadcast(self) -> bool:
        """Whether it is for others as well."""
        return not self.target_system or not self.target_component

    def is_for(self, system: int, component: int) -> bool:
        """Return whether it is for this component, or for all."""
        return self.target_system in (0, system) and self.target_component in (0, component)

    def whole(self, index: int) -> int | None:
        """Return a parameter as a whole number; None if it is not one."""
        value = self.params[index]
        return int(value) if math.isfinite(value) and value == int(value) else None

    def names_camera(self, component: int) -> bool:
        """Return whether it is for this camera, or leaves open for which."""
        value = self.params[_CAMERA_ID[self.number]]
        return math.isnan(value) or value in (0, component)
