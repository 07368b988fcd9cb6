# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Configures how the process allocates memory."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

# As mallopt(3) numbers them: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX.
_SETTINGS = ((-1, 2**31 - 1), (-2, 256 << 20), (-4, 0))


def keep_memory() -> None:
    """Makes glibc keep freed memory instead of returning it to the kernel, for the whole process.

    Tracking on a CPU allocates and frees tensors of several megabytes in every frame. By default the kernel clears
    their pages each time. Does nothing with another C library, or if a MALLOC_* environment variable is set.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _SETTINGS:
            mallopt(parameter, value)


def return_memory() -> None:
    """Returns memory that is free to the kernel, once, such as what was needed only to load a network.

    Does nothing with another C library.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
