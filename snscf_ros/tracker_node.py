"""The executable: it starts the node, spins it, and ends cleanly on Ctrl-C and SIGTERM at any moment.

The node lives in a thread of its own and the main thread only waits for a signal. So there is no KeyboardInterrupt
that could hit an import, a transition or the clean-up, and the exit code is 0 whenever the user asked for the end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.executors import Executor

    from snscf_ros.lifecycle import TrackerNode

# a Ctrl-C should end the process within a second, whatever it is doing
_GRACE = 0.4
# images, init_target, the other services, and one for transitions and diagnostics
_THREADS = 4
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Process:
    """The node's life from start to end."""

    def __init__(self, args: list[str] | None) -> None:
        self._args = args
        self._node: TrackerNode | None = None
        self.asked_to_end = threading.Event()
        self.exit_code = 0
        self._thread = threading.Thread(target=self._live, name="node", daemon=True)

    def run(self) -> int:
        """Live until a signal or an error; returns the exit code."""
        self._thread.start()
        self.asked_to_end.wait()
        ended = self._end()
        # Python gives the signals their deadly default back while it shuts down, and Ctrl-C under launch comes twice
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        sys.stdout.flush()
        sys.stderr.flush()
        if not ended:
            # weights are being loaded or a frame is being tracked: nothing that must be finished
            os._exit(self.exit_code)
        return self.exit_code

    def _live(self) -> None:
        try:
            # imported here, so that a signal during the seconds that this takes finds its handlers
            import rclpy
            from rclpy.exceptions import ParameterException
            from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
            from rclpy.signals import SignalHandlerOptions

            from snscf_ros.lifecycle import TrackerNode

            if self.asked_to_end.is_set():
                return
            rclpy.init(args=self._args, signal_handler_options=SignalHandlerOptions.NO)
            try:
                node = TrackerNode()
            except ParameterException as error:
                print(f"tracker_node: {error}", file=sys.stderr)
                self.exit_code = 1
                return
            executor = MultiThreadedExecutor(num_threads=_THREADS)
            executor.add_node(node)
            self._node = node
            try:
                executor.spin()
            except (KeyboardInterrupt, ExternalShutdownException):
                pass
            self._tidy(executor, node)
        except BaseException:
            self.exit_code = 1
            raise
        finally:
            self.asked_to_end.set()

    def _tidy(self, executor: Executor, node: TrackerNode) -> None:
        executor.shutdown(timeout_sec=0)
        node.destroy_node()

    def _end(self) -> bool:
        """Stop the node; False if a thread of it is still at work."""
        if self._node is None:
            self._thread.join(_GRACE if self.exit_code == 0 else None)
            return not self._thread.is_alive()
        import rclpy

        if not self._node.close(_GRACE):
            return False
        # this wakes the executor
        rclpy.try_shutdown()
        self._thread.join(_GRACE)
        return not self._thread.is_alive()


def main(args: list[str] | None = None) -> int:
    """Run the tracker node; `args` as on the command line. Returns the exit code."""
    process = _Process(args)
    for number in _SIGNALS:
        signal.signal(number, lambda *_: process.asked_to_end.set())
    return process.run()


if __name__ == "__main__":
    sys.exit(main())
