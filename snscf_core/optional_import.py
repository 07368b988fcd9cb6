# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Imports libraries that may be missing, and keeps them from reporting to their makers.

A robot must not look up foreign hosts. OpenVINO and NNCF report through the package openvino_telemetry as soon as they
are imported, ONNX Runtime by itself; both also keep an id of the machine in the home folder. All imports of these
libraries go through here, because what they do when they are imported cannot be undone later.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import MutableMapping
from typing import Any


def import_optional(module: str) -> Any:
    """Imports a module of another project, its telemetry switched off. Raises ImportError if it is missing."""
    _switch_off_telemetry()
    return importlib.import_module(module)


def _switch_off_telemetry() -> None:
    # The user may have chosen otherwise, or have imported the package before.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # With None in its place an import fails, and OpenVINO and NNCF then use stubs that report nothing. They have no
    # setting for it, but a file in the home folder that a command of openvino_telemetry writes.
    modules: MutableMapping[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)
