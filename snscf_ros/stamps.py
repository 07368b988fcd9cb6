# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Stamps of ROS headers as whole nanoseconds, and nanoseconds as text."""

from __future__ import annotations

from typing import Any

SECOND = 1_000_000_000  # ns


def nanoseconds(stamp: Any) -> int:
    """Return a stamp (`sec`, `nanosec`) in nanoseconds; 0 is the stamp of a camera that gives none."""
    return int(stamp.sec) * SECOND + int(stamp.nanosec)


def set_stamp(stamp: Any, nanoseconds: int) -> None:
    """Set the fields of a stamp to a time in nanoseconds."""
    stamp.sec, stamp.nanosec = divmod(nanoseconds, SECOND)


def seconds_text(nanoseconds: int) -> str:
    """Format nanoseconds as seconds with nine decimals, which loses nothing."""
    sign = "-" if nanoseconds < 0 else ""
    return f"{sign}{abs(nanoseconds) // SECOND}.{abs(nanoseconds) % SECOND:09d}"
