# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the demonstration in which a person chooses the targets: starts the operator's page and prints its address."""

from __future__ import annotations

import contextlib
import socket
import time
from importlib.util import find_spec

from snscf_core.requirements import missing
from snscf_ros import bringup
from snscf_ros.demo.console import DemoError, say
from snscf_ros.demo.run import activate
from snscf_ros.processes import Child
from snscf_ros.session import Session

_PORT = 8080
_ADDRESS = f"{bringup.OPERATOR_EXECUTABLE}: open "
_SERVING = 60.0  # s
_LOOK_EVERY = 0.2  # s


def page_command(namespace: str, host: str, port: int | None) -> list[str]:
    """Return the command line of the page. port: None for 8080, or any that is free. Raises DemoError."""
    if find_spec("aiohttp") is None:
        raise DemoError(missing("aiohttp"))
    if port is None:
        port = _PORT if _is_free(host, _PORT) else 0
    return bringup.operator_command(parameters={"host": host, "port": port}, namespace=namespace)


def serve(session: Session, page: Child) -> None:
    """Print the page's address when there is something to see, and wait for Ctrl-C.

    Raises DemoError, ChildEnded and TimeoutError.
    """
    activate(session)
    address: list[str] = []

    def served() -> bool:
        address[:] = [line for line in page.log.read_text(errors="replace").splitlines() if line.startswith(_ADDRESS)]
        return bool(address)

    session.wait(served, _SERVING, "the page did not say where it is")
    print(f"open {address[0].removeprefix(_ADDRESS)}", flush=True)
    say("drag a box around the cup; Ctrl-C ends")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            session.check()
            time.sleep(_LOOK_EVERY)


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError:
            return False
    return True
