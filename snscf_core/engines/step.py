# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Defines steps of arrays or tensors that an engine may record and replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..arrays import Array

Result = TypeVar("Result", bound="tuple[Array | None, ...]")
# A function of arrays or tensors with N rows, or None, that returns a NamedTuple of such.
Step = Callable[..., Result]


class RecordingError(RuntimeError):
    """Reports that a step can't be recorded, or that its replay gives other results than the step."""


class RecordedStep:
    """Marks a step that replays recordings."""
