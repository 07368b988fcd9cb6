# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Describes the processor: its name, its extensions that networks use, and how long this process waited for it."""

from __future__ import annotations

import platform
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

_INFO = Path("/proc/cpuinfo")
_TASKS = Path("/proc/self/task")
# Extensions for vectors, matrices, half precision and 8 bits, of x86 and ARM.
_USED = re.compile(r"avx.*|amx.*|fma|f16c|sse4_2|asimd.*|sve.*|sme2?|sme[if].*|fphp|i8mm|.*bf16")


def processor() -> str:
    """Returns the name of the processor's model, as far as the system tells it."""
    lines = _lines()
    if name := lines.get("model name"):
        return name
    parts = [lines[key] for key in ("CPU implementer", "CPU part") if key in lines]  # ARM has numbers instead
    return " ".join([platform.processor() or platform.machine(), *parts])


def extensions() -> tuple[str, ...]:
    """Returns the extensions of the processor that networks may use, sorted; empty if the system tells none."""
    lines = _lines()
    names = f"{lines.get('flags', '')} {lines.get('Features', '')}".split()
    return tuple(sorted({name for name in names if _USED.fullmatch(name)}))


def waited() -> float:
    """Returns the seconds that all threads of this process have waited for a free core; 0 if the system tells none."""
    total = 0
    for file in _TASKS.glob("*/schedstat"):
        with suppress(OSError, ValueError, IndexError):
            total += int(file.read_text(encoding="ascii").split()[1])
    return total / 1e9


@cache
def _lines() -> dict[str, str]:
    """Returns what the system tells about the first core."""
    found: dict[str, str] = {}
    with suppress(OSError):
        for line in _INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, colon, value = line.partition(":")
            if colon:
                found.setdefault(name.strip(), value.strip())
    return found
