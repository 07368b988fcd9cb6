# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the whole job once: a camera and the tracker as ROS 2 processes, a target chosen over ROS, and a report.

    python -m snscf_ros.demo [--sequence DIR | --video FILE | --camera 0] [--box x,y,w,h]
    python -m snscf_ros.demo --operator    # choose the target in a browser instead, as often as you like

Leaves in demo_output/: overlay.mp4, contact_sheet.png, scores.json, scores.txt, and the logs of both processes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snscf_ros import bringup, supervision
from snscf_ros.demo.console import DemoError, say
from snscf_ros.processes import Child
from snscf_ros.session import ChildEnded, Session

if TYPE_CHECKING:
    from snscf_ros.messages import Box

_RATE = 10.0  # two cores of a laptop keep up with the default model
_CAMERA = "snscf_ros.demo.camera"
# Another demo, or a tracker of the user's, may run in the same domain.
_NAMESPACE = f"demo_{os.getpid()}"


def main(argv: list[str] | None = None) -> int:
    """Run the demonstration and return the exit code."""
    arguments = _parser().parse_args(argv)
    # set even where the caller ignores them, as shells do for what they start in the background
    supervision.on_request_to_end(_interrupt)
    try:
        _run(arguments)
    except (DemoError, TimeoutError) as error:
        say(str(error))
        return 1
    except ChildEnded as error:
        say(f"{error}; the end of {error.child.log}:\n{error.child.last_lines()}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 0


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo", description="Follow an object with the real node, and show how well.")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--sequence", metavar="DIR", help="folder with img/0001.jpg, ... and groundtruth_rect.txt")
    source.add_argument("--video", metavar="FILE", help="video file")
    source.add_argument("--camera", metavar="N", type=int, help="camera of this computer, by number")
    parser.add_argument("--box", metavar="X,Y,W,H", type=_box, help="the target in the first frame, in pixels")
    parser.add_argument("--operator", action="store_true", help="serve the operator's page, and play over and over")
    parser.add_argument("--host", default="127.0.0.1", help="where the page is served (default: %(default)s)")
    parser.add_argument("--port", metavar="N", type=int, help="(default: 8080, or any that is free)")
    parser.add_argument("--model", default="", help="snscf_nano, snscf_r50, or a weights file")
    parser.add_argument("--mode", default="", help="how the tracker decides (default: the best that the weights allow)")
    parser.add_argument("--device", default="", help="cpu, cuda, ... (default: the best there is)")
    parser.add_argument(
        "--rate", metavar="HZ", type=float, default=_RATE, help="frames per second (default: %(default)g)"
    )
    parser.add_argument("--frames", metavar="N", type=int, default=0, help="frames to play (default: all; scene: 240)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="which scene is generated")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, default=Path("demo_output"), help="(default: %(default)s)"
    )
    return parser


def _box(text: str) -> Box:
    try:
        x, y, w, h = (float(part) for part in re.split(r"[,\s]+", text.strip()))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not four numbers x,y,w,h") from None
    if not (w > 0 and h > 0):
        raise argparse.ArgumentTypeError(f"width and height must be greater than 0, got {w:g} and {h:g}")
    return x, y, w, h


def _run(arguments: argparse.Namespace) -> None:
    """Start the tracker and the camera, and make the run. Raises DemoError, ChildEnded and TimeoutError."""
    _prepare(arguments)
    bringup.isolate()
    output: Path = arguments.output
    parameters = {name: value for name in ("model", "mode", "device") if (value := getattr(arguments, name))}
    command = bringup.tracker_command(parameters=parameters, namespace=_NAMESPACE)
    with contextlib.ExitStack() as stack:
        tracker = stack.enter_context(Child("tracker", command, output / "tracker.log"))
        if arguments.operator:
            _serve(arguments, stack, tracker)
            return
        # this process's imports take a second, and meanwhile the tracker's process is importing
        from snscf_ros.demo.run import DemoRun
        from snscf_ros.demo.sources import open_source

        source = None
        if arguments.camera is None:  # a device can be open only once
            try:
                source = open_source(**_camera_parameters(arguments))
            except (OSError, ValueError) as error:
                raise DemoError(str(error)) from error
        camera = stack.enter_context(Child("camera", _camera_command(arguments), output / "camera.log"))
        session = stack.enter_context(Session("demo", _NAMESPACE, [tracker, camera]))
        place = f"in namespace /{_NAMESPACE} of ROS_DOMAIN_ID {os.environ['ROS_DOMAIN_ID']}"
        say(f"starting the tracker and the camera {place}; their logs are in {output}")
        DemoRun(session, arguments, source).run()


def _serve(arguments: argparse.Namespace, stack: contextlib.ExitStack, tracker: Child) -> None:
    """Start the camera and the operator's page too, and serve until Ctrl-C. Raises DemoError and ChildEnded."""
    from snscf_ros.demo.operator_run import page_command, serve

    camera = stack.enter_context(Child("camera", _camera_command(arguments), arguments.output / "camera.log"))
    command = page_command(_NAMESPACE, arguments.host, arguments.port)
    page = stack.enter_context(Child("page", command, arguments.output / "page.log"))
    session = stack.enter_context(Session("demo", _NAMESPACE, [tracker, camera, page]))
    serve(session, page)


def _prepare(arguments: argparse.Namespace) -> None:
    """Check the numbers, and make the folder without the results of an earlier run. Raises DemoError."""
    if not 0 < arguments.rate <= 1000:
        raise DemoError(f"--rate must be greater than 0 and at most 1000, got {arguments.rate:g}")
    if arguments.frames < 0:
        raise DemoError(f"--frames must not be negative, got {arguments.frames}")
    output: Path = arguments.output
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f"cannot make the folder {output}: {error.strerror}") from error
    for name in ("overlay.mp4", "contact_sheet.png", "scores.json", "scores.txt", "first_frame.png"):
        (output / name).unlink(missing_ok=True)


def _camera_command(arguments: argparse.Namespace) -> list[str]:
    parameters = {"rate": arguments.rate, **_camera_parameters(arguments)}
    command = [sys.executable, "-m", _CAMERA, "--ros-args", "-r", f"__ns:=/{_NAMESPACE}"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    return command


def _camera_parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    parameters: dict[str, Any] = {"source": "scene", "frames": arguments.frames, "seed": arguments.seed}
    if arguments.sequence is not None:
        parameters |= {"source": "sequence", "path": str(Path(os.path.expanduser(arguments.sequence)).resolve())}
    elif arguments.video is not None:
        parameters |= {"source": "video", "path": str(Path(os.path.expanduser(arguments.video)).resolve())}
    elif arguments.camera is not None:
        parameters |= {"source": "device", "device": arguments.camera}
    if arguments.operator:
        parameters |= {"loop": True, "autoplay": True}
    return parameters
