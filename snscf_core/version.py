# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds the version, which is written in package.xml alone."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path


def package_version() -> str:
    """Returns the version as "major.minor.patch".

    Reads package.xml if the code runs from a source tree, else the metadata that pip or colcon installed.
    Returns "unknown" if both are missing.
    """
    manifest = Path(__file__).resolve().parents[1] / "package.xml"
    if manifest.is_file():
        found = re.search(r"<name>snscf_ros</name>\s*<version>([^<]+)</version>", manifest.read_text(encoding="utf-8"))
        if found:
            return found.group(1)
    for distribution in ("snscf", "snscf_core"):  # pip's name, colcon's name
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"
