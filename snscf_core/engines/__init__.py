# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the same network on several runtimes."""

from .engine import Engine
from .engine_selection import ENGINES, make
from .network_spec import NetworkSpec
from .step import RecordingError

__all__ = ["ENGINES", "Engine", "NetworkSpec", "RecordingError", "make"]
