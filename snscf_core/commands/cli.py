# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Track a target in a video or sequence, evaluate trackers on data sets and recordings, train and export networks."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
from tqdm import tqdm

from ..crops import Frame
from ..evaluation.sequences import image_files, image_folder, read_boxes, read_frame, read_video
from ..malloc import keep_memory
from ..model.checkpoints import WeightsError
from ..training.checkpoint import TrainingError
from .accuracy import add_command as add_accuracy_command
from .evaluate import add_arguments as add_evaluation_arguments
from .evaluate import add_commands as add_evaluation_commands
from .evaluate import run as evaluate
from .export import add_arguments as add_export_arguments
from .export import run as export
from .options import add_tracker_arguments, tracker_of
from .train import add_arguments as add_training_arguments
from .train import run as train

_BAGS = "snscf_ros.bags.commands"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="snscf", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    track = commands.add_parser("track", help="follow one target through a video or a folder of images")
    track.add_argument("input", type=Path, help="video file, folder of images, or folder in OTB's layout")
    track.add_argument("--box", help="x,y,w,h of the target in the first frame (default: from groundtruth_rect.txt)")
    track.add_argument(
        "--output", type=Path, help="text file for x,y,w,h,score,state per frame (default: standard output)"
    )
    track.add_argument("--video", type=Path, help="also write a video (.mp4) with the boxes drawn")
    track.set_defaults(run=_track)

    evaluation = commands.add_parser("eval", help="evaluate trackers on data sets and recordings; write a report")
    add_evaluation_arguments(evaluation)
    evaluation.set_defaults(run=evaluate)
    evaluations = evaluation.add_subparsers(title="instead of a data set", metavar="{accuracy,bag,compare,paper}")
    add_evaluation_commands(evaluations)
    add_accuracy_command(evaluations)
    _add_bag_commands(commands, evaluations)

    training = commands.add_parser("train", help="train a network on annotated clips and stills")
    add_training_arguments(training)
    training.set_defaults(run=train)

    exporting = commands.add_parser("export", help="export the network for another runtime, also in 8 bits")
    add_export_arguments(exporting)
    exporting.set_defaults(run=export)

    add_tracker_arguments(track, engine="auto")

    options = parser.parse_args(arguments)
    keep_memory()
    try:
        options.run(options)
    except BrokenPipeError:
        return 1
    except (WeightsError, TrainingError, ValueError, OSError) as error:
        print(f"snscf: {error}", file=sys.stderr)
        return 1
    return 0


def _track(options: argparse.Namespace) -> None:
    frames, total = _frames(options.input)
    frame = next(frames, None)
    if frame is None:
        raise ValueError(f"{options.input} has no frames")
    box = _first_box(options)
    tracker = tracker_of(options)
    with ExitStack() as stack:
        text = stack.enter_context(options.output.open("w")) if options.output else sys.stdout
        writer = _video_writer(options.video, frame) if options.video else None
        if writer is not None:
            stack.callback(writer.release)
        target = tracker.init(frame, box)
        x, y, w, h = target.box
        print(f"{x:.2f},{y:.2f},{w:.2f},{h:.2f},1.000,TRACKED", file=text)
        if writer is not None:
            writer.write(_drawn(frame, target.box, "given"))
        for frame in tqdm(frames, total=total and total - 1, unit="frame", file=sys.stderr, disable=None):
            track = tracker.update(frame, target)
            x, y, w, h = track.box
            print(f"{x:.2f},{y:.2f},{w:.2f},{h:.2f},{track.score:.3f},{track.state.name}", file=text)
            if writer is not None:
                writer.write(_drawn(frame, track.box, f"{track.state.name.lower()} {track.score:.2f}"))


def _add_bag_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    evaluations: argparse._SubParsersAction[argparse.ArgumentParser],
) -> None:
    """Adds ``snscf eval bag`` and ``snscf bag`` if the ROS package is installed.

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


def _frames(source: Path) -> tuple[Iterator[Frame], int | None]:
    """Reads the frames of a video, or of a folder's images sorted by name; returns them and their number, if known."""
    if source.is_dir():
        files = image_files(image_folder(source))
        return map(read_frame, files), len(files)
    video = read_video(source)
    return video.frames, video.length


def _first_box(options: argparse.Namespace) -> list[float]:
    if options.box:
        try:
            return [float(value) for value in options.box.split(",")]
        except ValueError as error:
            raise ValueError(f"--box must be x,y,w,h, got {options.box!r}") from error
    truth = options.input / "groundtruth_rect.txt"
    if truth.is_file() and len(boxes := read_boxes(truth)):
        return [float(value) for value in boxes[0]]
    raise ValueError("give the target's first box with --box x,y,w,h")


def _video_writer(path: Path, frame: Frame) -> cv2.VideoWriter:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (frame.shape[1], frame.shape[0]))
    if not writer.isOpened():
        raise ValueError(f"{path} can't be written as a video")
    return writer


def _drawn(frame: Frame, box: tuple[float, float, float, float], label: str) -> Frame:
    canvas = frame.copy()
    x, y, w, h = (round(value) for value in box)
    cv2.rectangle(canvas, (x, y), (x + w, y + h), (0, 220, 255), 2)
    cv2.putText(canvas, label, (x, max(12, y - 4)), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 220, 255), 1, cv2.LINE_AA)
    return canvas


if __name__ == "__main__":
    sys.exit(main())
