# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The commands about bags: evaluate the tracker on a recording, and make recordings from sequences and videos.

    snscf eval bag BAG [--image-topic TOPIC] [--ground-truth TOPIC|FILE] [--init x,y,w,h[@stamp]] [--realtime]
    snscf bag from-sequence INPUT OUT

`python -m snscf_ros.bags.commands eval|bag ...` does the same.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from snscf_core.commands.options import add_tracker_arguments, tracker_of
from snscf_core.commands.running import run_command
from snscf_core.signals import keeping
from snscf_ros import bringup

if TYPE_CHECKING:
    from snscf_core.boxes import Array
    from snscf_core.online.tracker import Tracker
    from snscf_ros.bags.bag import Bag
    from snscf_ros.bags.recording import Recording, Start
    from snscf_ros.bags.replay import ReplayedImage
    from snscf_ros.bags.results import BagEvaluation
    from snscf_ros.images import Frame

ENCODINGS = ("bgr8", "rgb8", "mono8", "jpeg")
FORMATS = ("mcap", "sqlite3", "rosbag1")


def add_eval_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``snscf eval bag``."""
    parser.add_argument("bag", type=Path, metavar="BAG", help="rosbag2 folder, or .mcap, .db3 or .bag file")
    parser.add_argument("--image-topic", metavar="TOPIC", default="", help="images to track in (default: the only one)")
    parser.add_argument(
        "--ground-truth",
        metavar="TOPIC|FILE",
        default="",
        help="true boxes: a topic of Detection2DArray or Detection2D, or a text file with x,y,w,h for each image"
        " (NaN: absent) or stamp,x,y,w,h",
    )
    parser.add_argument(
        "--init",
        metavar="X,Y,W,H[@STAMP]",
        default="",
        help="the target's box, in the image of a stamp: seconds, absolute or after the first image, or exact"
        " nanoseconds (default: the first true box; without a stamp: the first image)",
    )
    # a fixed engine: the fastest one may differ from run to run, and so would the bytes
    add_tracker_arguments(parser, engine="torch")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for the results (default: BAG's name and _evaluation)"
    )
    parser.add_argument(
        "--max-image-pixels",
        type=int,
        metavar="N",
        help="larger images are rejected (default: the node's, from config/tracker.yaml)",
    )
    parser.add_argument(
        "--realtime", action="store_true", help="also play the bag to the real node (needs ROS 2): latency and drops"
    )
    parser.add_argument("--report", action="store_true", help="also a page with plots and frames (needs true boxes)")
    parser.add_argument("--rate", type=float, default=1.0, help="pace of --realtime, 1 being as recorded (default 1)")
    parser.add_argument(
        "--lock-step",
        action="store_true",
        help="with --realtime: publish an image only when the detections of the image before have come",
    )


@dataclass(frozen=True)
class BagRun:
    """A finished run of ``snscf eval bag``.

    evaluation: what was found.
    settings: what the tracker was run with.
    folder: where the files were written.
    realtime: the report of `--realtime`; None without it.
    """

    evaluation: BagEvaluation
    settings: dict[str, Any]
    folder: Path
    realtime: dict[str, Any] | None


def evaluate(options: argparse.Namespace) -> None:
    """Run ``snscf eval bag``: write what is found and print a summary.

    Raises ValueError and FileNotFoundError for mistakes of the user; OSError where nothing can be written, and then
    earlier results stay; and ValueError, after everything is written, where parts of the bag or messages are lost.
    """
    with evaluated(options) as run:
        evaluation = run.evaluation
        print(_summary(evaluation))
        if run.realtime is not None:
            from snscf_ros.bags.realtime import summary

            print(summary(run.realtime))
        for line in (*evaluation.notes, evaluation.rejected_sentence()):
            if line:
                print(f"note: {line}")
        if options.report:
            print(f"report: {_report(run)}")
        print(f"results are in {run.folder}")
        if evaluation.problems:
            raise ValueError(
                f"{options.bag} is damaged; what could be read of it was evaluated: {'; '.join(evaluation.problems)}"
            )


@contextlib.contextmanager
def evaluated(options: argparse.Namespace) -> Iterator[BagRun]:
    """Evaluate as the options say and write all files; a context manager.

    Until its end the bag stays open for the evaluation's `frame`. Raises ValueError and FileNotFoundError for mistakes
    of the user, OSError where nothing can be written.
    """
    _check(options)
    _need_rosbags()
    from snscf_ros.bags.bag import Bag
    from snscf_ros.bags.results import replacing

    if options.realtime:
        from snscf_ros.bags import realtime

        realtime.need_ros()
    defaults = bringup.default_parameters()
    max_pixels = options.max_image_pixels or int(defaults["max_image_pixels"])
    with Bag(options.bag) as bag:
        recording, truth, start = _questions(bag, options, max_pixels)
        tracker = tracker_of(options)
        tracker.warm_up()
        folder: Path = options.output or Path(f"{bag.name}_evaluation")
        with keeping(f"results of an earlier run stay in {folder}"), replacing(folder, bag.name) as stage:
            replayed = _replayed(tracker, recording, start, max_pixels, stage, defaults)
            evaluation = _evaluation(recording, truth, start, replayed, truth_given=bool(options.ground_truth))
            settings = {
                "image_topic": recording.topic,
                "ground_truth": options.ground_truth or None,
                "model": tracker.model,
                "mode": tracker.mode,
                "device": str(tracker.device),
                "engine": tracker.engine,
                "search_size": options.search_size,
                "max_image_pixels": max_pixels,
            }
            evaluation.write(stage, settings)
        played = None
        if options.realtime:
            played = realtime.play(recording, start, evaluation, options, max_pixels, folder)
        yield BagRun(evaluation, settings, folder, played)


def _questions(bag: Bag, options: argparse.Namespace, max_pixels: int) -> tuple[Recording, Array, Start]:
    """Return the images, the true boxes and the start. Boxes are N x 4; a row is NaN if its image has no box."""
    from snscf_ros.bags.recording import Recording, image_topic, truth_topic

    topic = image_topic(bag, options.image_topic)
    truths = truth_topic(bag, options.ground_truth) if options.ground_truth else ""
    recording = Recording(bag, topic, truths)
    truth: Array = np.full((len(recording), 4), np.nan)
    if truths:
        truth = recording.truth_from_topic()
    elif options.ground_truth:
        truth = recording.truth_from_file(Path(options.ground_truth))
    if options.init:
        return recording, truth, recording.start_from_text(options.init, max_pixels)
    if options.ground_truth:
        return recording, truth, recording.start_from_truth(truth, max_pixels)
    raise ValueError("say what to follow with --init x,y,w,h[@stamp], or give --ground-truth to start from")


def _replayed(
    tracker: Tracker, recording: Recording, start: Start, max_pixels: int, folder: Path, defaults: dict[str, Any]
) -> list[ReplayedImage]:
    from snscf_ros.bags.replay import replay
    from snscf_ros.bags.results import DetectionsBag, detections_name

    replayed = []
    bag = DetectionsBag(folder / detections_name(recording.bag.name), defaults["class_id"], defaults["publish_lost"])
    with bag, tqdm(total=len(recording), unit="image", file=sys.stderr, disable=None) as progress:
        for image in replay(tracker, recording, start, max_pixels):
            bag.add(image)
            replayed.append(image)
            progress.update()
    return replayed


def _evaluation(
    recording: Recording, truth: Array, start: Start, replayed: list[ReplayedImage], truth_given: bool
) -> BagEvaluation:
    from snscf_ros.bags.results import NOT_STARTED, REJECTED, BagEvaluation
    from snscf_ros.stamps import seconds_text

    tracks = [image.track for image in replayed]
    nothing = (np.nan,) * 4
    states = [
        REJECTED if image.problem else track.state.name if track else NOT_STARTED
        for image, track in zip(replayed, tracks, strict=True)
    ]
    notes = []
    if start.index:
        notes.append(
            f"{start.index} images before the start at {seconds_text(recording.stamps[start.index])} were not tracked"
            " in and do not count"
        )
    if recording.unstamped:
        notes.append(f"{recording.unstamped} images have no stamp; they are ordered by the time of recording")
    if recording.clock_set:
        notes.append(f"the camera's clock was set back ({recording.clock_set}x): later images stay later")
    if truth_given and (without := int(np.isnan(truth).any(axis=1).sum())):
        notes.append(f"{without} of {len(recording)} images have no true box and do not count")
    return BagEvaluation(
        name=recording.bag.name,
        stamps=tuple(recording.stamps),
        boxes=np.array([track.box if track else nothing for track in tracks], np.float64).reshape(-1, 4),
        truth=truth,
        scores=np.array([track.score if track else np.nan for track in tracks]),
        states=tuple(states),
        start=start.index,
        rejected=tuple((index, image.problem) for index, image in enumerate(replayed) if image.problem),
        problems=tuple(recording.problems),
        notes=tuple(notes),
        frame=recording.frame,
        seconds=np.array([image.seconds for image in replayed]),
    )


def _summary(evaluation: BagEvaluation) -> str:
    tracked = evaluation.seconds[evaluation.start + 1 :]
    speed = f"{len(tracked) / tracked.sum():.1f} images a second" if len(tracked) else "no image after the first"
    text = f"{evaluation.name}: {len(evaluation.stamps)} images, {speed}"
    if (measures := evaluation.measures) is not None:
        text += (
            f"\nAUC {measures.success_auc:.3f}  OS@0.5 {measures.overlap_success:.3f}  P@20 {measures.precision:.3f}"
            f"  CLE {measures.centre_error:.2f} px  over {measures.frames} images with a true box"
        )
    return text


def _report(run: BagRun) -> Path:
    """Write the page about the images from the start on, and return its path."""
    from snscf_core.evaluation.reports.report import write_report
    from snscf_core.evaluation.results import Evaluation, SequenceResult, TrackerResult

    found, start = run.evaluation, run.evaluation.start
    unusable = {index for index, _ in found.rejected}

    def frames(indices: Sequence[int]) -> Iterator[Frame]:
        black = np.zeros_like(found.frame(start))
        return (black if start + index in unusable else found.frame(start + index) for index in indices)

    sequence = SequenceResult(found.name, found.boxes[start:], found.truth[start:], seconds=found.seconds[start:])
    description = {name: str(value) for name, value in run.settings.items()}
    name = f"{run.settings['model']}-{run.settings['mode']}"
    tracker = TrackerResult(name, description, {found.name: sequence})
    evaluation = Evaluation(f"the recording {found.name}", (tracker,))
    return write_report(evaluation, run.folder / "report", frames={found.name: frames})


def add_bag_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands of ``snscf bag``. Each sets `run` to the function that runs it."""
    commands = parser.add_subparsers(dest="bag_command", required=True)
    sequence = commands.add_parser("from-sequence", help="make a bag of a folder of images or a video")
    sequence.add_argument(
        "input", type=Path, metavar="INPUT", help="folder in OTB's layout, folder of images, or video file"
    )
    sequence.add_argument("output", type=Path, metavar="OUT", help="folder of the new bag; for rosbag1 the .bag file")
    sequence.add_argument("--format", choices=FORMATS, default="mcap", help="(default mcap)")
    sequence.add_argument("--topic", default="/camera/image_raw", help="(default %(default)s; jpeg: /compressed added)")
    sequence.add_argument("--encoding", choices=ENCODINGS, default="bgr8", help="(default bgr8)")
    sequence.add_argument("--fps", type=float, help="images a second (default: the video's own, else 30)")
    sequence.add_argument(
        "--start-stamp", default="1000000000", help="stamp of the first image in seconds (default %(default)s)"
    )
    sequence.add_argument(
        "--allow-damaged", action="store_true", help="leave out frames that can't be read (default: an error)"
    )
    sequence.set_defaults(run=make)


def make(options: argparse.Namespace) -> None:
    """Run ``snscf bag from-sequence``. Raises ValueError and FileNotFoundError for mistakes of the user."""
    _need_rosbags()
    from snscf_ros.bags.from_sequence import write_sequence

    with keeping("no bag is written"):
        sentence = write_sequence(
            options.input,
            options.output,
            storage=options.format,
            topic=options.topic,
            encoding=options.encoding,
            fps=options.fps,
            start_stamp=options.start_stamp,
            allow_damaged=options.allow_damaged,
        )
    print(sentence)


def _check(options: argparse.Namespace) -> None:
    if options.max_image_pixels is not None and options.max_image_pixels <= 0:
        raise ValueError(f"--max-image-pixels must be greater than 0, got {options.max_image_pixels}")
    if not 0 < options.rate <= 1000:
        raise ValueError(f"--rate must be greater than 0 and at most 1000, got {options.rate:g}")
    if options.report and not options.ground_truth:
        raise ValueError("--report needs true boxes: give --ground-truth")
    if options.lock_step and not options.realtime:
        raise ValueError("--lock-step needs --realtime")


def _need_rosbags() -> None:
    try:
        import rosbags.rosbag2  # noqa: F401
    except ImportError as error:
        raise ValueError(f"bags need the package rosbags ({error}): pip install rosbags") from None


def main(arguments: list[str] | None = None) -> int:
    """Run ``python -m snscf_ros.bags.commands eval|bag ...`` and return the exit status."""
    parser = argparse.ArgumentParser(prog="bag_command", description=__doc__)
    commands = parser.add_subparsers(required=True)
    evaluation = commands.add_parser("eval", help="evaluate on a bag")
    add_eval_arguments(evaluation)
    evaluation.set_defaults(run=evaluate)
    bag = commands.add_parser("bag", help="make bags")
    add_bag_commands(bag)
    return run_command(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
