"""The command ``snscf``: track in a video or sequence, evaluate on annotated sequences, train."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from .checkpoints import WeightsError, load
from .crops import Frame
from .evaluation.metrics import Scores, mean
from .evaluation.one_pass import SequenceResult, evaluate
from .evaluation.sequences import IMAGE_SUFFIXES, read_boxes, read_frame, read_sequences
from .memory import keep_memory
from .network import MODELS
from .tracker import MODES, Tracker
from .training.checkpoint import TrainingError
from .training.command import add_arguments as add_training_arguments
from .training.command import run as train


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="snscf", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    track = commands.add_parser("track", help="follow one target through a video or a folder of images")
    track.add_argument("input", type=Path, help="video file, folder of images, or folder in OTB's layout")
    track.add_argument("--box", help="x,y,w,h of the target in the first frame (default: the first true box, if any)")
    track.add_argument(
        "--output", type=Path, help="text file for x,y,w,h,score,state per frame (default: standard output)"
    )
    track.add_argument("--video", type=Path, help="also write a video (.mp4) with the boxes drawn")
    track.set_defaults(run=_track)

    evaluation = commands.add_parser("eval", help="one-pass evaluation on sequences in OTB's layout")
    evaluation.add_argument(
        "--root", type=Path, required=True, help="folder with NAME/img and NAME/groundtruth_rect.txt"
    )
    evaluation.add_argument("--sequences", help="only these, separated by commas")
    evaluation.add_argument(
        "--output",
        type=Path,
        help="folder for results.json and the boxes of each sequence, in one more folder each if several are compared",
    )
    evaluation.add_argument("--jobs", type=int, default=1, help="sequences tracked at once, a process each (default 1)")
    evaluation.set_defaults(run=_evaluate)

    training = commands.add_parser("train", help="train a network on annotated clips and stills")
    add_training_arguments(training)
    training.set_defaults(run=train)

    for command, several in ((track, ""), (evaluation, "; several, separated by commas, give a table")):
        command.add_argument(
            "--model", default=MODELS[0], help=f"{', '.join(MODELS)}, or a path (default {MODELS[0]}){several}"
        )
        every = ", or all" if several else ""
        command.add_argument("--mode", default="auto", help=f"auto, {', '.join(MODES)}{every} (default auto){several}")
        command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default auto)")

    options = parser.parse_args(arguments)
    keep_memory()
    try:
        options.run(options)
    except (WeightsError, TrainingError, ValueError, FileNotFoundError) as error:
        print(f"snscf: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    return 0


def _track(options: argparse.Namespace) -> None:
    frames, total = _frames(options.input)
    frame = next(frames, None)
    if frame is None:
        raise ValueError(f"{options.input} has no frames")
    box = _first_box(options)
    tracker = Tracker(options.model, mode=options.mode, device=options.device)
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


def _evaluate(options: argparse.Namespace) -> None:
    sequences = read_sequences(options.root, options.sequences.split(",") if options.sequences else None)
    runs = _runs(options)
    found: dict[str, list[SequenceResult]] = {}
    with tqdm(total=len(runs) * sum(map(len, sequences)), unit="frame", file=sys.stderr, disable=None) as progress:
        for name, (model, mode) in runs.items():
            folder = options.output and (options.output / name if len(runs) > 1 else options.output)

            def finished(result: SequenceResult, name: str = name, folder: Path | None = folder) -> None:
                progress.update(len(result.boxes))
                progress.set_postfix_str(f"{name} {result.name} AUC {result.measures.success_auc:.3f}")
                if folder:
                    folder.mkdir(parents=True, exist_ok=True)
                    np.savetxt(folder / f"{result.name}.txt", result.boxes, fmt="%.3f", delimiter=",")

            found[name] = evaluate(model, mode, sequences, device=options.device, jobs=options.jobs, finished=finished)
            if folder:
                report = {
                    "model": model,
                    "mode": mode,
                    "mean": asdict(mean([result.measures for result in found[name]])),
                    "sequences": {result.name: asdict(result.measures) for result in found[name]},
                }
                (folder / "results.json").write_text(json.dumps(report, indent=1) + "\n")
    if len(found) == 1:
        _print_one(next(iter(found.values())))
    else:
        _print_side_by_side(found)


def _runs(options: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """Every model in every mode that was asked for, by a name for it. ``all``: those that the weights allow."""
    models = list(dict.fromkeys(model.strip() for model in options.model.split(",")))
    modes = [mode.strip() for mode in options.mode.split(",")]
    if unknown := [mode for mode in modes if mode not in (*MODES, "auto", "all")]:
        raise ValueError(f"unknown mode {unknown[0]!r}; there are auto, all, {', '.join(MODES)}")
    short = [Path(model).name.removesuffix(".safetensors") for model in models]
    runs = {}
    for model, name in zip(models, short, strict=True):
        name = name if short.count(name) == 1 else model.strip("/").replace("/", "_")
        trained = load(model)[1].trained  # before anything is tracked, so that a mistake is told at once
        if not trained and not {"auto", "all", "correlation_filter"}.issuperset(modes):
            raise ValueError(f"{model} holds only an ImageNet backbone: use mode 'correlation_filter', or 'all'")
        possible = MODES if trained else ("correlation_filter",)
        for mode in dict.fromkeys(m for asked in modes for m in (possible if asked == "all" else (asked,))):
            runs[f"{name}-{mode}"] = (model, mode)
    return runs


def _print_one(results: list[SequenceResult]) -> None:
    print(f"{'sequence':<20} {'frames':>6} {'AUC':>6} {'OS@0.5':>6} {'P@20':>6} {'CLE':>7} {'fps':>6}")
    for result in results:
        print(_row(result.name, result.measures, result.fps))
    print(_row(f"mean of {len(results)}", mean([result.measures for result in results]), _speed(results)))


def _print_side_by_side(found: dict[str, list[SequenceResult]]) -> None:
    """Success AUC of each sequence, and the means, as a table that is markdown too."""
    print(f"| {'success AUC':<20} | {' | '.join(found)} |")
    print(f"|{'-' * 22}|{'|'.join('-' * (len(name) + 1) + ':' for name in found)}|")

    def line(title: str, values: list[str]) -> None:
        cells = (f"{value:>{len(name)}}" for value, name in zip(values, found, strict=True))
        print(f"| {title:<20} | {' | '.join(cells)} |")

    for results in zip(*found.values(), strict=True):
        line(results[0].name, [f"{result.measures.success_auc:.3f}" for result in results])
    means = [mean([result.measures for result in results]) for results in found.values()]
    line(f"mean of {len(next(iter(found.values())))}", [f"{one.success_auc:.3f}" for one in means])
    line("OS@0.5", [f"{one.overlap_success:.3f}" for one in means])
    line("precision@20", [f"{one.precision:.3f}" for one in means])
    line("frames / s", [f"{_speed(results):.1f}" for results in found.values()])


def _speed(results: list[SequenceResult]) -> float:
    return sum(len(result.boxes) for result in results) / sum(result.seconds for result in results)


def _row(name: str, scores: Scores, fps: float) -> str:
    return (
        f"{name:<20} {scores.frames:>6} {scores.success_auc:>6.3f} {scores.overlap_success:>6.3f} "
        f"{scores.precision:>6.3f} {scores.centre_error:>7.2f} {fps:>6.1f}"
    )


def _frames(source: Path) -> tuple[Iterator[Frame], int | None]:
    """The frames of a video, or of a folder's images in order of their names; and how many, if known."""
    if source.is_dir():
        folder = source / "img" if (source / "img").is_dir() else source
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        return map(read_frame, files), len(files)
    if not source.is_file():
        raise FileNotFoundError(f"{source} does not exist")
    video = cv2.VideoCapture(str(source))
    if not video.isOpened():
        raise ValueError(f"{source} can't be opened as a video")
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    return _video_frames(video), count if count > 0 else None


def _video_frames(video: cv2.VideoCapture) -> Iterator[Frame]:
    while True:
        read, frame = video.read()
        if not read:
            return
        yield np.asarray(frame, np.uint8)


def _first_box(options: argparse.Namespace) -> list[float]:
    if options.box:
        try:
            return [float(value) for value in options.box.split(",")]
        except ValueError as error:
            raise ValueError(f"--box must be x,y,w,h, got {options.box!r}") from error
    truth = options.input / "groundtruth_rect.txt"
    if truth.is_file() and len(boxes := read_boxes(truth)):
        return [float(value) for value in boxes[0]]
    raise ValueError("say what to follow with --box x,y,w,h")


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
