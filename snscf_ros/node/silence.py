# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which cameras have fallen silent, and when that is to be said."""

from __future__ import annotations

import enum

_REPEAT = 1.0  # s


class Change(enum.Enum):
    """What is news about a camera."""

    FELL_SILENT = enum.auto()
    STILL_SILENT = enum.auto()
    RETURNED = enum.auto()


class Silences:
    """Remembers of each camera whether, and until when, its silence has been told."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def observe(self, camera: str, silent_for: float, timeout: float) -> Change | None:
        """What is news, `silent_for` seconds after a camera's last image; None if nothing is."""
        told = self._told.get(camera)
        if silent_for <= timeout:
            return None if self._told.pop(camera, None) is None else Change.RETURNED
        if told is None:
            self._told[camera] = silent_for
            return Change.FELL_SILENT
        if silent_for - told >= _REPEAT:
            self._told[camera] = silent_for
            return Change.STILL_SILENT
        return None
