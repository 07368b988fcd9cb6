# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keeps exported networks, and which engine was fastest, in the user's cache. Without a home folder keeps nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..files import write_file
from ..user_folders import user_cache
from .exported import MANIFEST

_KEPT = 8  # most exports of one format, for formats that are made in seconds
_CHOICES = "choices.json"


def cache_folder() -> Path | None:
    """Returns the folder for exported networks and remembered choices; None if the user has no home folder."""
    cache = user_cache()
    return None if cache is None else cache / "engines"


def find(name: str) -> Path | None:
    """Returns the export of that name and marks it as used, so that it is discarded last."""
    if (cache := cache_folder()) is None or not (cache / name / MANIFEST).is_file():
        return None
    with suppress(OSError):
        os.utime(cache / name)
    return cache / name


def discard_oldest(pattern: str) -> None:
    """Discards all matching exports but the most recently used, because each new weight file leaves an export."""
    if (cache := cache_folder()) is None:
        return
    with suppress(OSError):
        made = sorted(cache.glob(pattern), key=lambda folder: folder.stat().st_mtime, reverse=True)
        for folder in made[_KEPT:]:
            shutil.rmtree(folder, ignore_errors=True)


def remembered(key: str) -> str:
    """Returns the engine that was chosen before, empty if none was."""
    choice = _choices().get(key)
    return str(choice.get("engine", "")) if isinstance(choice, dict) else ""


def remember(key: str, engine: str, seconds: dict[str, float]) -> None:
    """Remembers a choice, if that can be written. seconds: what each engine took for one crop."""
    if (cache := cache_folder()) is None:
        return
    choices = {**_choices(), key: {"engine": engine, "seconds": seconds}}
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        write_file(cache / _CHOICES, json.dumps(choices, indent=1) + "\n")


@contextmanager
def choosing() -> Iterator[None]:
    """Lets one process choose while others wait for its choice. Does without a lock if none can be made."""
    cache = cache_folder()
    try:
        import fcntl

        if cache is None:
            raise FileNotFoundError("there is no cache")
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / _CHOICES).with_suffix(".lock").open("w")
    except (ImportError, OSError):
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _choices() -> dict[str, object]:
    if (cache := cache_folder()) is None:
        return {}
    try:
        values = json.loads((cache / _CHOICES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
