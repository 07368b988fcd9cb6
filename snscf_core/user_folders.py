# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds the user's folders, which a container with a foreign user id does not have."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """Replaces a leading ``~`` by the home folder. Leaves the path as it is if the user has none."""
    # Path.expanduser would raise RuntimeError then.
    return Path(os.path.expanduser(path))


def user_cache() -> Path | None:
    """Returns this project's folder in the user's cache, which need not exist; None if the user has no home folder."""
    cache = expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return None if cache.parts[0] == "~" else cache / "snscf"
