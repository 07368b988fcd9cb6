# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Limits torch's threads while an engine uses its own thread pool; two pools would compete."""

from __future__ import annotations

import sys
import threading
from typing import Any


class _OneThread:
    """Limits torch to one thread while any thread is inside the context; then restores the number before."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 1
        self._limited: Any = None  # torch, if it was imported before the first thread came in

    def __enter__(self) -> None:
        torch: Any = sys.modules.get("torch")
        with self._lock:
            if not self._inside:
                self._limited = torch
                self._before = torch.get_num_threads() if torch else 1
            self._inside += 1
            if self._limited:
                self._limited.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._limited:
                self._limited.set_num_threads(self._before)


ONE_THREAD = _OneThread()
