# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The same network on several runtimes."""

from .choice import ENGINES, Engine, make
from .recording import RecordingError
from .subject import Subject

__all__ = ["ENGINES", "Engine", "RecordingError", "Subject", "make"]
