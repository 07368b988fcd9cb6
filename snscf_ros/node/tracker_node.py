# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The executable: starts the node, spins it, and ends cleanly on Ctrl-C and SIGTERM at any moment.

The node runs in a thread of its own while the main thread waits for a signal. So no KeyboardInterrupt can hit an
import, a transition or the clean-up, and the exit code is 0 whenever the user ended the node.
"""

from __future__ import annotations

import _thread
import faulthandler
import os
import sys
import threading
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from snscf_ros import supervision

if TYPE_CHECKING:
    from snscf_ros.node.lifecycle import TrackerNode

# s; a Ctrl-C should end the process within a second, whatever it is doing
_GRACE = 0.4
# s; destroying the node takes longer on a busy machine, and without it the shared memory stays behind
_FAREWELL = 3.0
# s; after that the process ends, even if something still waits in the middleware
_GIVEN_UP = 8.0
# one for init_target, one for a transition or a parameter
_THREADS = 2


class _Process:
    """Runs the node from start to end."""

    def __init__(self, args: list[str] | None) -> None:
        self._args = args
        self._node: TrackerNode | None = None
        self._initialised = False
        self._exit_code = 0
        self.asked_to_end = threading.Event()
        self._thread = threading.Thread(target=self._live, name="node", daemon=True)

    def run(self) -> NoReturn:
        """Run the node until a signal or an error, and end the process."""
        self._thread.start()
        self.asked_to_end.wait()
        self._end()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # a pipe without a reader, or closed at the start
                stream.flush()
        # Everything that would outlive the process is cleaned up by now. Python and torch would take most of a second
        # to shut down, with the default handlers of signals back in force, and Ctrl-C under ros2 launch comes twice.
        os._exit(self._exit_code)

    def _live(self) -> None:
        try:
            # imported here: it takes seconds, and the signal handlers must be in place before
            import rclpy
            from rclpy.exceptions import ParameterException
            from rclpy.signals import SignalHandlerOptions

            from snscf_core.cores import use_available_cores
            from snscf_ros import ros_start
            from snscf_ros.executor import NodeExecutor, spin
            from snscf_ros.node.cameras import SettingRefused
            from snscf_ros.node.lifecycle import NotBroughtUp, TrackerNode

            use_available_cores()
            self._initialised = True
            try:
                args = sys.argv if self._args is None else [sys.argv[0], *self._args]
                if reason := ros_start.unknown_argument(args):
                    self._fail(reason)
                    return
                ros_start.prepare()
                rclpy.init(args=[*args, *ros_start.log_arguments()], signal_handler_options=SignalHandlerOptions.NO)
                node = TrackerNode()
            except (ParameterException, SettingRefused, RuntimeError) as error:
                # RCLError, which has no public name: the middleware or its security cannot be set up as configured
                self._fail(f"{error}{ros_start.nearest(str(error))}")
                return
            executor = NodeExecutor(node.waits, _THREADS)
            executor.add_node(node)
            self._node = node
            try:
                spin(executor)
            except NotBroughtUp as error:
                self._fail(str(error))
            executor.shutdown(timeout_sec=0)
            # this removes the shared memory, which would outlive the process
            node.destroy_node()
        except BaseException as error:
            self._fail(_not_installed(error) or f"unexpected error\n{traceback.format_exc()}")
        finally:
            self.asked_to_end.set()

    def _fail(self, reason: str) -> None:
        """Print why the process ends with status 1. Failures during the shutdown are not worth a message."""
        if not self.asked_to_end.is_set():
            self._exit_code = 1
            with suppress(OSError, ValueError):
                print(f"tracker_node: {reason}", file=sys.stderr)

    def _end(self) -> None:
        """Finish the current frame and destroy the node, as far as the time limits allow."""
        if not self._initialised:
            return
        # On a busy machine a process once did not end within a minute of Ctrl-C. The second limit holds even where a
        # library keeps the interpreter's lock, and says where every thread waits.
        last = threading.Timer(_GIVEN_UP, os._exit, (self._exit_code,))
        last.daemon = True
        last.start()
        if sys.stderr is not None:
            faulthandler.dump_traceback_later(2 * _GIVEN_UP, exit=True)
        import rclpy

        if self._node is not None:
            self._node.close(_GRACE)
        # this ends spinning, or the making of the node
        rclpy.try_shutdown()
        self._thread.join(_FAREWELL)


def _not_installed(error: BaseException) -> str:
    """Return advice where a package of others could not be imported, else an empty text."""
    if not isinstance(error, ModuleNotFoundError) or not error.name or "." in error.name:
        return ""
    if error.name in ("snscf_core", "snscf_ros"):
        return ""
    from snscf_core.requirements import missing

    return missing(error.name)


def main(args: list[str] | None = None) -> NoReturn:
    """Run the tracker node. args: as on the command line."""
    process = _Process(args)
    # set in another thread: a second signal that interrupts the handler would wait for the event's lock for ever
    supervision.on_request_to_end(lambda *_: _thread.start_new_thread(process.asked_to_end.set, ()))
    if not supervision.end_with_parent():
        process.asked_to_end.set()
    process.run()


if __name__ == "__main__":
    main()
