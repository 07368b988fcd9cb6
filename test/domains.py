# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""ROS domains for tests: each is used by one of all the test processes on this machine at a time."""

from __future__ import annotations

import random
import socket
from types import TracebackType

_COORDINATION_PORT = 22119  # of ROS 2's own domain_coordinator: one port for each domain, held while it is in use


class Domain:
    """A domain that no other test is using, claimed until it is closed; a context.

    Raises RuntimeError where every domain is in use.
    """

    def __init__(self) -> None:
        numbers = list(range(1, 101))
        random.SystemRandom().shuffle(numbers)
        for self.number in numbers:
            self._claim = socket.socket()
            try:
                self._claim.bind(("127.0.0.1", _COORDINATION_PORT + self.number))
            except OSError:
                self._claim.close()
                continue
            return
        raise RuntimeError("every ROS domain is in use")

    def __enter__(self) -> Domain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._claim.close()
