# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Track targets in videos and sequences, evaluate trackers on data sets, train, export and time networks."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from typing import Any

from .accuracy import add_command as add_accuracy_command
from .engines import add_arguments as add_engines_arguments
from .engines import run as engines
from .evaluate import add_arguments as add_evaluation_arguments
from .evaluate import add_commands as add_evaluation_commands
from .evaluate import run as evaluate
from .running import run_command
from .track import add_arguments as add_track_arguments
from .track import run as track

_BAGS = "snscf_ros.bags.commands"
_PICKING = "snscf_ros.picking.command"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="snscf", description=__doc__)
    commands: Any = parser.add_subparsers(dest="command", required=True, parser_class=_CommandParser)

    tracking = commands.add_parser("track", help="follow one target through a video or a folder of images")
    add_track_arguments(tracking)
    tracking.set_defaults(run=track)

    evaluation = commands.add_parser("eval", help="evaluate trackers on data sets and recordings; write a report")
    add_evaluation_arguments(evaluation)
    evaluation.set_defaults(run=evaluate)
    evaluations = evaluation.add_subparsers(
        title="instead of a data set",
        metavar="{accuracy,bag,compare,paper}",
        parser_class=argparse.ArgumentParser,
    )
    add_evaluation_commands(evaluations)
    add_accuracy_command(evaluations)
    _add_bag_commands(commands, evaluations)

    commands.add_parser("train", help="train a network on annotated clips and stills", module="train")
    commands.add_parser("export", help="export the network for another runtime, also in 8 bits", module="export")

    comparing = commands.add_parser("engines", help="print how fast each engine is here, and which one auto takes")
    add_engines_arguments(comparing)
    comparing.set_defaults(run=engines)

    return run_command(parser, arguments)


class _CommandParser(argparse.ArgumentParser):
    """Parses the options of a command.

    module: defines the command, and is imported when the command is given, because it needs torch. Others do not.
    """

    def __init__(self, *, module: str = "", **settings: Any) -> None:
        super().__init__(**settings)
        self._module = module

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses the options."""
        if self._module:
            command = importlib.import_module(f"{__package__}.{self._module}")
            self._module = ""
            command.add_arguments(self)
            self.set_defaults(run=command.run)
        return super().parse_known_args(args, namespace)


def _add_bag_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    evaluations: argparse._SubParsersAction[argparse.ArgumentParser],
) -> None:
    """Adds ``snscf eval bag``, ``snscf bag`` and ``snscf pick`` if the ROS package is installed.

    This library does not depend on ROS, so it imports that package by name.
    """
    if importlib.util.find_spec(_BAGS) is None:
        return
    bags = importlib.import_module(_BAGS)
    replay = evaluations.add_parser("bag", help="track in a recording of ROS 1 or 2, without ROS or through the node")
    bags.add_eval_arguments(replay)
    replay.set_defaults(run=bags.evaluate)
    making = commands.add_parser("bag", help="make recordings from sequences and videos")
    bags.add_bag_commands(making)
    drawing = importlib.import_module(_PICKING)
    picking = commands.add_parser("pick", help="draw a box in a frame of a video or recording, for track and eval bag")
    drawing.add_arguments(picking)
    picking.set_defaults(run=drawing.run)


if __name__ == "__main__":
    sys.exit(main())
