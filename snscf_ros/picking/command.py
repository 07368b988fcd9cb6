# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Implements `snscf pick`: prints the box that a person draws, for `snscf track` and `snscf eval bag`.

    snscf track VIDEO --box "$(snscf pick VIDEO)"
    snscf eval bag BAG --init "$(snscf pick BAG)"

Only the box goes to the standard output. Without a display the frame is saved, to choose a box in.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import cv2

from snscf_core.files import write_file
from snscf_ros.picking.sources import ChosenFrame, frame_of_bag, frame_of_video, is_bag


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``snscf pick``."""
    parser.add_argument("input", type=Path, help="video, folder of images, rosbag2 folder, or .mcap, .db3 or .bag file")
    parser.add_argument("--frame", type=int, default=0, metavar="N", help="number of the frame, from 0 (default 0)")
    parser.add_argument("--image-topic", metavar="TOPIC", default="", help="of a recording (default: the only one)")
    parser.add_argument("--port", type=int, default=0, help="of the page, on this machine only (default: a free one)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--serve", action="store_true", help="serve the page but open no browser, also without a display")
    how.add_argument("--save", type=Path, metavar="FILE", help="only save the frame as .png or .jpg")


def run(options: argparse.Namespace) -> None:
    """Run ``snscf pick``.

    Raises ValueError and FileNotFoundError for what can't be used, OSError where nothing can be written, and ValueError
    where the frame had to be saved because there is no display.
    """
    if options.frame < 0:
        raise ValueError(f"--frame is {options.frame}, must be 0 or more")
    if not 0 <= options.port <= 65535:
        raise ValueError(f"--port is {options.port}, must be from 0 to 65535")
    path = options.input
    bag = path.exists() and is_bag(path)
    chosen = frame_of_bag(path, options.image_topic, options.frame) if bag else frame_of_video(path, options.frame)
    name = path.resolve().name
    if options.save is not None:
        print(f"snscf: {_saved(chosen, options.save)}", file=sys.stderr)
        return
    if reason := _no_page(options.serve):
        saved = _saved(chosen, Path(f"{path.resolve().stem}_frame_{options.frame}.png"))
        raise ValueError(f"{reason}; {saved}: read the box x,y,w,h there")
    from snscf_ros.picking.desk import serve

    def opened(address: str) -> None:
        print(f"snscf: draw the box in {address}", file=sys.stderr, flush=True)
        if not options.serve:
            # not the standard output: the browser would keep it open
            command = [sys.executable, "-m", "webbrowser", address]
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    box = asyncio.run(serve(name, chosen, options.port, opened))
    if options.frame and chosen.stamp is None:
        print(f"snscf: the box counts in frame {options.frame}; snscf track starts on frame 0", file=sys.stderr)
    print(chosen.text(box))


def _no_page(serve: bool) -> str:
    """Return why the page cannot be shown; empty if it can."""
    if importlib.util.find_spec("aiohttp") is None:
        return "the page needs aiohttp (pip install aiohttp)"
    if serve or sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return ""
    return "there is no display to open the page on (--serve serves it anyway)"


def _saved(chosen: ChosenFrame, file: Path) -> str:
    """Save the frame, and return a text that says where. Raises ValueError for a format that OpenCV cannot write."""
    try:
        _, encoded = cv2.imencode(file.suffix or ".png", chosen.pixels)
    except cv2.error:
        raise ValueError(f"{file}: its name must end in .png or .jpg") from None
    write_file(file, encoded.tobytes())
    at = "" if chosen.stamp is None else f", stamp {chosen.stamp}"
    height, width = chosen.pixels.shape[:2]
    return f"the frame ({width} x {height} pixels{at}) is saved as {file}"
