# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Lets the official VOT toolkit drive the tracker over the TraX protocol: ``python -m snscf_core.commands.trax``.

Needs the package ``vot-trax``. The toolkit's ``trackers.ini`` names the Python that snscf is installed for::

    [SNSCF]
    label = SNS-CF
    protocol = trax
    command = /path/to/venv/bin/python -m snscf_core.commands.trax --device cpu
    timeout = 120

The tracker announces that it works with rectangles, so the toolkit converts polygons to their bounding rectangles.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..cores import use_available_cores
from ..crops import Frame
from ..malloc import keep_memory
from ..model.checkpoints import WeightsError
from ..online.target import Box, Target
from ..online.tracker import Tracker
from ..pictures.decoding import decode_picture, read_picture
from ..signals import Interruption, interruptions
from .options import add_tracker_arguments, tracker_of


def main(arguments: list[str] | None = None) -> int:
    """Serves one client on standard input and output until it quits; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m snscf_core.commands.trax", description="Serve the tracker to a client of the TraX protocol."
    )
    add_tracker_arguments(parser, engine="torch")
    options = parser.parse_args(arguments)
    keep_memory()
    use_available_cores()
    try:
        import trax
    except ImportError:
        print("snscf: the TraX protocol needs the package vot-trax: pip install vot-trax", file=sys.stderr)
        return 1
    try:
        tracker = tracker_of(options)
        tracker.warm_up()
        server = trax.Server(
            [trax.Region.RECTANGLE],
            [trax.Image.PATH, trax.Image.MEMORY, trax.Image.BUFFER],
            tracker_name=f"{tracker.model} {tracker.mode}",
            tracker_family="SNS-CF",
        )
    except (WeightsError, ValueError, trax.TraxException) as error:
        print(f"snscf: {error}", file=sys.stderr)
        return 1
    try:
        with interruptions():
            serve(tracker, server)
    except Interruption as ended:
        print(f"snscf: {ended}", file=sys.stderr)
        return 128 + ended.number
    except ValueError as error:
        print(f"snscf: {error}", file=sys.stderr)
        server.quit(reason=str(error))
        return 1
    except trax.TraxException as error:
        print(f"snscf: the client is gone: {error}", file=sys.stderr)
        return 1
    return 0


def serve(tracker: Tracker, server: Any) -> None:
    """Answers the requests of a ``trax.Server`` until the client quits.

    Raises ValueError for an image or region that can't be used, and TraxException if the client is gone.
    """
    import trax

    target: Target | None = None
    while (request := server.wait()).type != trax.TraxStatus.QUIT:
        frame = _frame(request.image["color"])
        if request.type == trax.TraxStatus.INITIALIZE:
            if len(request.objects) != 1:
                raise ValueError(f"the tracker follows one target, the client asks for {len(request.objects)}")
            target = tracker.init(frame, _box(request.objects[0][0]))
            box, score = target.box, 1.0
        elif target is not None:
            track = tracker.update(frame, target)
            box, score = track.box, track.score
        else:
            raise ValueError("the client sent a frame before it initialised a target")
        server.status([(trax.Rectangle.create(*box), {"confidence": f"{score:.4f}"})])


def _frame(image: Any) -> Frame:
    """Converts a TraX image to H x W x 3 uint8 BGR."""
    import trax

    if image.type() == trax.Image.PATH:
        return read_picture(Path(image.path()))
    if image.type() == trax.Image.MEMORY:
        array = image.array()
        return np.asarray(cv2.cvtColor(array, cv2.COLOR_RGB2BGR if array.shape[2] == 3 else cv2.COLOR_GRAY2BGR))
    try:
        return decode_picture(bytes(image.buffer()))
    except ValueError as error:
        raise ValueError(f"the client sent an image that can't be decoded: {error}") from error


def _box(region: Any) -> Box:
    """Converts a TraX rectangle, or the bounding rectangle of a polygon, to (x, y, w, h)."""
    import trax

    if region.type == trax.Region.POLYGON:
        points = np.array(list(region), np.float64)
        low, high = points.min(0), points.max(0)
        return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])
    if region.type == trax.Region.RECTANGLE:
        x, y, w, h = region.bounds()
        return x, y, w, h
    raise ValueError(f"the client describes the target as {region.type}; a rectangle or polygon is needed")


if __name__ == "__main__":
    sys.exit(main())
