# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Follows a target with simulated robots, with the real tracker in the loop: ``make follow``.

    python -m snscf_ros.simulation                        # one run of each robot: a video of each, and a picture
    python -m snscf_ros.simulation --runs 50              # fifty runs of each, counted
    python -m snscf_ros.simulation --robot gimbal --seed 7

Leaves in follow_output/: follow.json with all measures, errors.png, and ground.mp4, multirotor.mp4, gimbal.mp4 of the
first run of each.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from snscf_core import Tracker
from snscf_core.cores import use_available_cores
from snscf_core.files import write_file
from snscf_core.requirements import missing
from snscf_ros.simulation import plots
from snscf_ros.simulation.closed_loop import Delays, Moment, follow
from snscf_ros.simulation.courses import Occlusion
from snscf_ros.simulation.film import Film
from snscf_ros.simulation.measures import Measures, measure
from snscf_ros.simulation.robots import ROBOTS, set_up

_HIDDEN = 2.0  # s
_NO_PICTURE, _NO_DEPTH = np.zeros((0, 0, 3), np.uint8), np.zeros((0, 0), np.float32)


def main(argv: list[str] | None = None) -> int:
    """Run the simulation and return the exit code."""
    arguments = _parser().parse_args(argv)
    use_available_cores()
    try:
        _run(arguments)
    except ModuleNotFoundError as error:
        print(f"follow: {missing(error.name or '')}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"follow: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("follow: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="follow", description="Follow a target with simulated robots.")
    parser.add_argument("--robot", choices=[*ROBOTS, "all"], default="all", help="(default: %(default)s)")
    parser.add_argument("--runs", metavar="N", type=int, default=1, help="of each robot (default: %(default)s)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the first run (default: %(default)s)")
    parser.add_argument("--seconds", metavar="S", type=float, default=25.0, help="of a run (default: %(default)g)")
    parser.add_argument("--compensate", action="store_true", help="tell the tracker how the camera turns")
    parser.add_argument("--scan", action="store_true", help="look around for a lost target")
    parser.add_argument("--size", metavar="WxH", type=_size, default=(480, 360), help="of images (default: 480x360)")
    parser.add_argument("--model", default="snscf_nano", help="of the tracker (default: %(default)s)")
    parser.add_argument("--engine", default="auto", help="of the tracker (default: %(default)s)")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, default=Path("follow_output"), help="(default: %(default)s)"
    )
    return parser


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) >= 64 and int(height) >= 64):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size like 480x360, of at least 64 pixels")
    return int(width) // 2 * 2, int(height) // 2 * 2


def _run(arguments: argparse.Namespace) -> None:
    if arguments.runs < 1 or arguments.seconds < 2:
        raise ValueError("runs must be at least 1, and seconds at least 2")
    import matplotlib  # noqa: F401  its absence is said before the runs, and not after them

    arguments.output.mkdir(parents=True, exist_ok=True)
    tracker = Tracker(arguments.model, engine=arguments.engine)
    robots = ROBOTS if arguments.robot == "all" else (arguments.robot,)
    first: dict[str, list[Moment]] = {}
    hidden: dict[str, list[Occlusion]] = {}
    results: dict[str, Any] = {}
    about = {name: getattr(arguments, name) for name in ("model", "size", "seconds", "seed", "scan", "compensate")}
    for robot in robots:
        found = []
        for seed in range(arguments.seed, arguments.seed + arguments.runs):
            occlusions = _occlusions(seed, arguments.seconds)
            film = arguments.output / f"{robot}.mp4" if seed == arguments.seed else None
            run, measures = _one(arguments, robot, seed, occlusions, tracker, film)
            if film is not None:
                first[robot], hidden[robot] = run, occlusions
            found.append(measures)
            print(f"follow: {robot} {seed}: {_sentence(measures)}", flush=True)
        results[robot] = {**summary(found), "runs": [asdict(one) for one in found]}
        print(f"follow: {robot}: {json.dumps(summary(found))}", flush=True)
        # after each robot, because a long run may be interrupted
        content = {**about, "engine": tracker.engine, "delays": asdict(Delays()), "robots": results}
        write_file(arguments.output / "follow.json", json.dumps(content, indent=1) + "\n")
    plots.draw(first, hidden, arguments.size, arguments.output / "errors.png")


def _one(
    arguments: argparse.Namespace,
    robot: str,
    seed: int,
    occlusions: list[Occlusion],
    tracker: Tracker,
    video: Path | None,
) -> tuple[list[Moment], Measures]:
    setup = set_up(robot, seed, arguments.size, arguments.seconds, occlusions, arguments.scan)
    film = Film(video, Delays().image_rate, arguments.size) if video else None
    run = []
    for moment in follow(setup, tracker, arguments.seconds, seed, compensate=arguments.compensate):
        if film:
            film.add(moment)
        # hundreds of images would fill the memory
        run.append(replace(moment, view=replace(moment.view, image=_NO_PICTURE, depth=_NO_DEPTH)))
    if film:
        film.close()
    return run, measure(run, setup.settings, occlusions, arguments.size)


def _occlusions(seed: int, seconds: float) -> list[Occlusion]:
    """Draw when the target is hidden: once, around the middle of the run."""
    start = seconds * float(np.random.default_rng([seed, 11]).uniform(0.35, 0.55))
    return [Occlusion(start, _HIDDEN)] if seconds >= 10 else []


def summary(found: list[Measures]) -> dict[str, Any]:
    """Add up the measures of several runs."""
    times = [time for one in found for time in one.seconds_to_find]
    counted, occlusions = sum(one.counted for one in found), sum(one.occlusions for one in found)
    return {
        "count": len(found),
        "in_view": round(sum(one.in_view for one in found) / max(counted, 1), 4),
        "worst_in_view": round(min(one.in_view / max(one.counted, 1) for one in found), 4),
        "found_again": round(sum(one.found_again for one in found) / occlusions, 4) if occlusions else None,
        "seconds_to_find": round(float(np.median(times)), 2) if times else None,
        "moved_untracked": sum(one.moved_untracked for one in found),
        "looked_around": sum(one.looked_around for one in found),
        "over_limits": sum(one.over_limits for one in found),
        "commands": sum(one.commands for one in found),
        "wrong": sum(one.wrong for one in found),
    }


def _sentence(one: Measures) -> str:
    return (
        f"in view {one.in_view} of {one.counted}, found again {one.found_again} of {one.occlusions},"
        f" moved while not tracked {one.moved_untracked}, over limits {one.over_limits}, wrong {one.wrong}"
    )
