# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs child processes with a log each, which end with their parent whatever happens to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from snscf_ros import supervision

_LAST_LINES = 15
# Asks Linux to end this process if the parent is killed and cannot do so itself, then becomes the command. It is a
# program of its own because a fork that runs Python first (`preexec_fn`) can hang in a process with threads.
_START = f"""\
import ctypes, os, signal, sys
for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them, and what is ignored stays so
    signal.signal(getattr(signal, name), signal.SIG_DFL)
try:
    ctypes.CDLL(None).prctl(1, {int(signal.SIGTERM)})  # PR_SET_PDEATHSIG
except (OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{{sys.argv[2]}}: {{error.strerror}}")
"""


class Child:
    """A process whose output goes to a log. As a context manager it ends the process, politely first."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._interrupted = False

    def __enter__(self) -> Child:
        self._output = self.log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START, str(os.getpid()), *self._command],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # Ctrl-C is for the parent, which then ends its children in order
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None and self._output is not None
        try:
            self.interrupt()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5.0)
            if self._process.poll() is None:
                self._process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(2.0)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._output.close()

    def interrupt(self) -> None:
        """Ask the process to end, as Ctrl-C does, and do not wait. Further calls do nothing."""
        assert self._process is not None
        if not self._interrupted and self._process.poll() is None:
            self._interrupted = True
            self._process.send_signal(signal.SIGINT)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while the process runs."""
        assert self._process is not None
        return self._process.poll()

    def last_lines(self) -> str:
        """Return the end of the log, indented."""
        lines = self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return "\n".join(f"    {line}" for line in lines) or "    (nothing)"

    def last_error(self) -> str:
        """Return the message of the last error in the log, or an empty text."""
        return supervision.last_error(self.log.read_text(errors="replace"))
