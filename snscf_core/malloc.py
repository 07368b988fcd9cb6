# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""How the process gets its memory."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

# As mallopt(3) numbers them: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX.
_SETTINGS = ((-1, 2**31 - 1), (-2, 256 << 20), (-4, 0))


def keep_memory() -> None:
    """Has glibc keep the memory that is freed, for the whole process.

    Tensors of some megabytes come and go all the time on a CPU, and by default the kernel clears their pages anew each
    time. Does nothing with another C library, or where MALLOC_* already says how it is to be.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _SETTINGS:
            mallopt(parameter, value)
