# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keeps exported networks, and which engine was chosen, in the user's cache. Without a home folder keeps nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..files import write_file
from ..user_folders import user_cache
from .exported import MANIFEST, VERSION
from .network_spec import NetworkSpec

_KEPT = 8  # most exports of one format, for formats that are made in seconds
_CHOICES = "choices.json"
_REMEMBERED = 64  # most choices; each new weight file or version of a library leaves one


@dataclass(frozen=True)
class Choice:
    """Describes how an engine was chosen on this machine.

    engine: the chosen one.
    settled: whether it needs no further comparison.
    comparisons: number of comparisons so far.
    seconds: for one crop, the best of all comparisons, by engine.
    differences: from torch, relative to torch's values, by engine.
    when: date and time of the latest comparison.
    """

    engine: str
    settled: bool
    comparisons: int
    seconds: dict[str, float]
    differences: dict[str, float] = field(default_factory=dict)
    when: str = ""

    @classmethod
    def of(cls, values: object) -> Choice | None:
        """Returns the choice that a file's values describe; None if they describe none."""
        try:
            read = cls(**values)  # type: ignore[arg-type]  # whatever is in the file
            numbers = [*read.seconds.values(), *read.differences.values(), read.comparisons, read.settled]
            texts = [read.engine, read.when]
            right = all(isinstance(one, int | float) for one in numbers) and all(isinstance(one, str) for one in texts)
        except (TypeError, AttributeError):
            return None
        return read if right and read.engine in read.seconds else None


def cache_folder() -> Path | None:
    """Returns the folder for exported networks and remembered choices; None if the user has no home folder."""
    cache = user_cache()
    return None if cache is None else cache / "engines"


def folder_name(spec: NetworkSpec, kind: str, precision: str) -> str:
    """Returns a folder name that is unique to the exported network, by its name and digest."""
    parts = (VERSION, *spec.digests, *spec.levels, spec.proposals, spec.search_size)
    what = "+".join(map(str, parts))
    digest = hashlib.sha256(what.encode()).hexdigest()[:12]
    return f"{spec.weights.model}-{kind}-{precision}-{digest}"


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


def remembered(key: str) -> Choice | None:
    """Returns what was chosen before; None if nothing was, or if that can't be read."""
    return Choice.of(_choices().get(key))


def remember(key: str, choice: Choice) -> None:
    """Remembers a choice, if that can be written."""
    if (cache := cache_folder()) is None:
        return
    others = {old: known for old, known in _choices().items() if old != key}
    choices = {**dict(list(others.items())[1 - _REMEMBERED :]), key: asdict(choice)}
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        write_file(cache / _CHOICES, json.dumps(choices, indent=1) + "\n")


def choices_file() -> Path | None:
    """Returns the file that holds the choices, which need not exist; None if the user has no home folder."""
    return None if (cache := cache_folder()) is None else cache / _CHOICES


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
