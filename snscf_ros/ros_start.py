# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Prepares a process for rclpy.init: checks its arguments, and goes without what the machine lacks."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from snscf_ros import bringup, middleware

_ARGUMENTS = (
    *("--ros-args", "--params-file", "--param", "--remap", "--log-level", "--log-config-file", "--log-file-name"),
    *("--enclave", "--disable-rosout-logs", "--disable-stdout-logs", "--disable-external-lib-logs"),
)


def unknown_argument(args: Sequence[str]) -> str:
    """Return a sentence that names the argument that neither ROS nor the node knows.

    An empty text stands for a command line without such an argument.

    args: the command line, with the program's name.
    """
    from rclpy.utilities import remove_ros_args

    for text in remove_ros_args(args)[1:]:
        if text in ("-p", "-r", "-e") or text.startswith(_ARGUMENTS[1:]):
            return f"{text} is an argument of ROS, which comes after --ros-args"
        return f"there is no argument {text}{nearest(text)}"
    return ""


def nearest(text: str) -> str:
    """Return the question whether the argument of ROS that is most like a text was meant; empty if none is like it."""
    for word in text.replace("'", " ").replace("[", " ").split():
        if word.startswith("--") and (near := difflib.get_close_matches(word, _ARGUMENTS, n=1)):
            return f"; did you mean {near[0]}?"
    return ""


def prepare() -> None:
    """Give the process standard streams if it was started without, and keep Fast DDS from memory that is not there."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # else the next file that is opened would get this number, and what is printed would go there
            os.open(os.devnull, os.O_RDWR)
    middleware.leave_out_shared_memory(bringup.profile_file())


def log_arguments(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the arguments that switch log files off where they cannot be written; rclpy.init would fail there."""
    folder = _log_folder(environment)
    try:
        if folder is None:
            raise OSError("HOME is not set")
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return []
        raise OSError(f"{folder} cannot be written to")
    except OSError as error:
        print(f"there will be no log files, because {error}", file=sys.stderr)
        return ["--ros-args", "--disable-external-lib-logs"]


def _log_folder(environment: Mapping[str, str]) -> Path | None:
    """Return the folder that ROS would log to; None if it knows none."""
    if folder := environment.get("ROS_LOG_DIR"):
        return Path(os.path.expanduser(folder))
    if home := environment.get("ROS_HOME"):
        return Path(os.path.expanduser(home)) / "log"
    # ROS does not look for the home folder in the list of users
    return Path(environment["HOME"]) / ".ros" / "log" if environment.get("HOME") else None
