# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Connects the node's process with the one that starts it, `ros2 launch`: they end together, and restarts are counted.

Both sides use these functions, which need no ROS. The launch file is a thin adapter over them.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import threading
from collections.abc import Callable, Mapping, MutableMapping
from types import FrameType

# variables of the node's process
_PARENT = "SNSCF_END_WITH"  # id of the process that the node ends with
_RESTARTS = "SNSCF_RESTARTS"  # how often the node has been started again

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
# matches what ROS logs, what the node prints before it can log, and the last line of a traceback
_ERROR = re.compile(
    r"^(?:\[(?:ERROR|FATAL)\] \[[\d.]+\] \[[^]]+\]: |tracker_node: (?=.)|(?=(?:\w+\.)*\w+(?:Error|Exception): ))(.*)",
    re.MULTILINE,
)
_PR_SET_PDEATHSIG = 1


def environment_of_child(pid: int) -> dict[str, str]:
    """Return the variables of a node that shall end when the process `pid`, which starts it, ends for any reason."""
    return {_PARENT: str(pid), _RESTARTS: "0"}


def count_start(environment: MutableMapping[str, str]) -> None:
    """After a start, prepare the environment for the next start, which is a restart."""
    environment[_RESTARTS] = str(restarts(environment) + 1)


def restarts(environment: Mapping[str, str] = os.environ) -> int:
    """Return how often the node of this environment has been started again."""
    text = environment.get(_RESTARTS, "")
    return int(text) if text.isdecimal() else 0


def end_with_parent() -> bool:
    """Ask Linux for SIGTERM when the parent ends, if the parent wants that. Return False if it has ended already.

    `ros2 launch` does not end its processes when SIGTERM ends it.
    """
    text = os.environ.get(_PARENT, "")
    if not text.isdecimal():
        return True
    if os.getppid() == int(text):
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        except (OSError, AttributeError):  # not Linux
            return True
        return os.getppid() == int(text)
    # another parent is either a launch prefix, such as a debugger, or has adopted an orphan
    try:
        os.kill(int(text), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def on_request_to_end(handler: Callable[[int, FrameType | None], object]) -> None:
    """Let `handler` take the signals that ask a process to end: SIGINT, SIGTERM, and SIGHUP where a terminal is closed.

    SIGHUP stays ignored under nohup.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def leave_interrupts_to_launch() -> None:
    """Keep Ctrl-C from raising KeyboardInterrupt in a process that runs launch.

    A wake-up descriptor reports the signal to launch. Python raises KeyboardInterrupt as well, which may end one of
    launch's coroutines, and launch then waits for its result for ever.
    """
    main_thread = threading.current_thread() is threading.main_thread()
    if main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: None)


def last_error(output: str) -> str:
    """Return the message of the last error in a node's output, or an empty text."""
    found = _ERROR.findall(_COLOUR.sub("", output).replace("\r", ""))
    return str(found[-1]).strip() if found else ""


def death(exit_code: int, error: str) -> str:
    """Describe in one sentence how a node ended by itself; empty if somebody asked it to end.

    exit_code: as Python gives it, negative for a signal.
    error: the last error that the node printed, if any.
    """
    if exit_code in (0, -signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP):
        return ""
    if exit_code > 0:
        cause = f"with status {exit_code}"
    else:
        try:
            cause = f"by {signal.Signals(-exit_code).name}"
        except ValueError:
            cause = f"by signal {-exit_code}"
        if exit_code == -signal.SIGKILL:
            cause += " (out of memory?)"
    return f"the tracker ended {cause}" + (f": {error}" if error else "")
