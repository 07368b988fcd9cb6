# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Declares the page's parameters and checks them. Their default values are in `config/operator.yaml`."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from snscf_ros import bringup

if TYPE_CHECKING:
    from rclpy.node import Node

TRANSPORTS = ("auto", "raw", "compressed")
# name: smallest and largest value
_RANGES: Mapping[str, tuple[float, float]] = {
    "port": (0, 65535),
    "max_viewers": (1, 1000),
    "max_message_rate": (1.0, 1e6),
    "rate": (0.1, 1000.0),
    "quality": (1, 100),
    "max_width": (16, 65535),
    "max_image_pixels": (1, 2**31 - 1),
}


@dataclass(frozen=True)
class PageSettings:
    """Holds the values of all parameters. The fields are the parameters, and `config/operator.yaml` describes them."""

    tracker: str
    host: str
    port: int
    certificate: str
    key: str
    allowed_hosts: tuple[str, ...]
    max_viewers: int
    max_message_rate: float
    image_transport: str
    pass_through: bool
    rate: float
    quality: int
    max_width: int
    max_image_pixels: int

    @property
    def local(self) -> bool:
        """Whether only programs of this machine can reach the page."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def default_parameters() -> dict[str, Any]:
    """Read the values in `config/operator.yaml`, by parameter name."""
    content = yaml.safe_load(bringup.operator_params_file().read_text(encoding="utf-8"))
    return dict(content["/**"]["ros__parameters"])


def declare(node: Node) -> PageSettings:
    """Declare the parameters and read them. Raises ValueError for one that is out of its range, with its name.

    rclpy raises ParameterException for a value of another type.
    """
    from rcl_interfaces.msg import ParameterDescriptor

    fixed = ParameterDescriptor(description="See docs/operator.md.", read_only=True)
    values = {name: node.declare_parameter(name, value, fixed).value for name, value in default_parameters().items()}
    values["allowed_hosts"] = tuple(name for name in values["allowed_hosts"] if name)
    settings = PageSettings(**values)
    check(settings)
    return settings


def check(settings: PageSettings) -> None:
    """Raise ValueError, with its name, for a value that cannot be used."""
    values = dataclasses.asdict(settings)
    for name, (low, high) in _RANGES.items():
        if not low <= values[name] <= high:
            raise ValueError(f"{name} is {values[name]:g}, must be from {low:g} to {high:g}")
    for name in ("tracker", "host"):
        if not values[name]:
            raise ValueError(f"{name} must not be empty")
    if settings.image_transport not in TRANSPORTS:
        raise ValueError(f"image_transport is '{settings.image_transport}', must be one of {', '.join(TRANSPORTS)}")
    if bool(settings.certificate) != bool(settings.key):
        raise ValueError("certificate and key belong together: give both or neither")
    for name in ("certificate", "key"):
        if values[name] and not Path(os.path.expanduser(values[name])).is_file():
            raise ValueError(f"{name}: there is no file '{values[name]}'")
