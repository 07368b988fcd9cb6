# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures positions and predictions against the truth of the simulation, with the tracker in the loop.

    python benchmarks/position.py [--runs 50] [--seconds 6] [--rate 15] [--model snscf_nano] [--output FILE]

In each run another target walks in another world. A camera 0.9 m above the ground keeps about 5 m away from it and
swings from side to side; the tracker starts on the true box. What a real robot errs in is drawn once for a run, with
the deviations that the node's parameters state by default: all directions (calibration and mount), the depth, the known
size, and the height of the ground. Each pixel of the depth image errs by as much again.

- Position: distance from the truth as a share of the distance to the camera, over all images of a run; then the median
  over the runs, and the share of the runs below the aim.
- Honesty: the squared distance in deviations (NEES) of one image in the middle of each run, because the errors of
  consecutive images are alike. It should be between the quantiles 0.025 and 0.975 of chi-square with three degrees of
  freedom in 95 % of the runs, and 3 on average.
- Prediction: the angle from the predicted bearing to the true one, for an image that is 0 to 300 ms old, beside that
  of the box as it was in this image. The same without the transforms, and with the direction alone.
- Hidden: as before, but the target is hidden for a second, while the camera goes on swinging. The error of the
  continued position, as long as it is published.
- Turns: the camera turns by half a radian on the spot while the target is hidden for two seconds, and two look-alikes
  pass. How soon the target is tracked again after 70 % of it can be seen, with its places carried along and without.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import yaml
from tqdm import tqdm

from snscf_core import Tracker, TrackState
from snscf_core.boxes import iou
from snscf_core.cores import use_available_cores
from snscf_ros import bringup
from snscf_ros.position.box_errors import LEAST_SCORE, box_deviations
from snscf_ros.position.depth import DepthImage
from snscf_ros.position.estimate import Errors, PositionUnknown
from snscf_ros.position.locating import SOURCES, Evidence, locate
from snscf_ros.position.motion import Sighting, TargetMotion
from snscf_ros.position.rigid import Rigid
from snscf_ros.simulation import Occlusion, Pinhole, Pose, View, World
from snscf_ros.stamps import SECOND

SIZE, ANGLE = (640, 480), math.radians(70)
DISTANCE, HEIGHT = 5.0, 0.9  # m
WIDTH = 0.5  # m, of the target
AIMS = {"depth": 0.03, "size": 0.10, "plane": 0.10}
GROUND_ERROR = 0.03  # m
LATENCIES = (0.0, 0.1, 0.2, 0.3)  # s
TURN, TURNED_HIDDEN, TURN_RATE = 0.5, 2.0, 10.0  # rad, s, images a second
CHI_SQUARE = (0.216, 9.348)  # of 3 degrees of freedom, quantiles 0.025 and 0.975
HIDDEN = 1.0  # s
WARM = 1.0  # s; the filters need as long to know a velocity


class Camera:
    """Keeps its distance from the target, with lag, and swings. Its pose at a time follows from the seed."""

    def __init__(self, world: World, random: np.random.Generator) -> None:
        self._world = world
        self._bearing = random.uniform(0, 2 * math.pi)
        self._swing = random.uniform(0.10, 0.20), random.uniform(0.25, 0.40), random.uniform(0, 2 * math.pi)

    def pose(self, time: float) -> Pose:
        centre = self._world.course.at(time - 0.8)
        ahead = np.array([math.cos(self._bearing), math.sin(self._bearing), 0.0])
        amplitude, frequency, phase = self._swing
        swing = amplitude * math.sin(2 * math.pi * frequency * time + phase)
        return Pose.looking(
            centre - DISTANCE * ahead + np.array([0, 0, HEIGHT]), self._bearing + swing, 0.05 * math.cos(3 * time)
        )


class Rig:
    """One run's world, camera and errors."""

    def __init__(self, seed: int, seconds: float, defaults: dict[str, Any], hidden: bool = False) -> None:
        self.random = np.random.default_rng([seed, 17])
        occlusions = [Occlusion(seconds / 2, HIDDEN)] if hidden else []
        self.lens = Pinhole.with_view(SIZE, ANGLE)
        self.world = World(
            seed, self.lens, reach=3.0, target_width=WIDTH, look_alikes=0, occlusions=occlusions, seconds=seconds
        )
        self.camera = Camera(self.world, self.random)
        self.defaults = defaults
        self.mount = cv2.Rodrigues(np.append(self.random.normal(0, defaults["direction_error"], 2), 0.0))[0]
        self.depth = self.random.normal(0, defaults["depth_error"])
        self.size = 1 + self.random.normal(0, defaults["target_size_error"])
        self.ground = self.random.normal(0, GROUND_ERROR)

    def transform(self, time: float) -> Rigid:
        """Return what /tf says of the camera: from the optical frame to the world, with the error of the mount."""
        pose = self.camera.pose(time)
        return Rigid(pose.rotation @ self.mount, pose.position)

    def evidence(self, view: View, source: str, expected: tuple[float, float] | None) -> Evidence:
        if source == "depth":
            deviation = self.defaults["depth_error"]
            noise = self.depth + self.random.normal(0, deviation, view.depth.shape)
            depth = np.minimum(view.depth, 100.0)
            measured = (depth + noise * depth**2).astype(np.float32)
            image = SimpleNamespace(
                width=SIZE[0],
                height=SIZE[1],
                encoding="32FC1",
                is_bigendian=0,
                step=4 * SIZE[0],
                data=measured.tobytes(),
            )
            return Evidence(depth=DepthImage(image), expected=expected)
        if source == "size":
            width, height = self.world.target_size
            return Evidence(size=(width * self.size, height * self.size))
        ground = Rigid(np.eye(3), np.array([0.0, 0.0, self.ground]))
        return Evidence(plane=self.transform(view.time).inverse @ ground)


def directions(lens: Pinhole, points: Any) -> Any:
    rays = np.column_stack([(points - np.array(SIZE) / 2) / lens.focal, np.ones(len(points))])
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def points(lens: Pinhole, rays: Any) -> Any:
    return np.where(rays[:, 2:] > 0, rays[:, :2] / rays[:, 2:], np.nan) * lens.focal + np.array(SIZE) / 2


def frames(rig: Rig, tracker: Tracker, seconds: float, rate: float) -> Any:
    """Yield each image of a run and the target's track in it."""
    target = None
    for number in range(int(seconds * rate)):
        time = number / rate
        view = rig.world.view(rig.camera.pose(time), time)
        if target is None:
            target = tracker.init(view.image, view.box)
        yield view, tracker.update(view.image, target)


class Way:
    """One way to positions, and the motion that follows from them."""

    def __init__(self, rig: Rig, source: str, fixed: bool = True) -> None:
        self.rig, self.source, self.fixed = rig, source, fixed
        self.motion = TargetMotion(fixed, rig.defaults["target_acceleration"])
        self.seen = functools.partial(directions, rig.lens)
        self.drawn = functools.partial(points, rig.lens)

    def camera(self, stamp_ns: int) -> Rigid:
        return self.rig.transform(stamp_ns / SECOND) if self.fixed else Rigid.identity()

    def update(self, view: View, track: Any) -> Any:
        """Take in an image; returns the position in the world as it is published, and its covariance, or None."""
        defaults, stamp = self.rig.defaults, round(view.time * SECOND)
        camera, position = self.camera(stamp), None
        near = False
        if track.state == TrackState.LOST:
            self.motion.lost()
        elif track.score < LEAST_SCORE:
            self.motion.hidden()
        else:
            deviations = box_deviations(track.box, track.score, *SIZE, factor=defaults["box_error"])
            errors = Errors(
                deviations, defaults["direction_error"], defaults["depth_error"], defaults["target_size_error"]
            )
            if self.source in SOURCES:
                held = self.motion.position_at(stamp, defaults["position_hold"])
                expected = None if held is None else (float(camera.inverse(held.place)[2]), 0.0)
                try:
                    evidence = self.rig.evidence(view, self.source, expected)
                    position = locate(self.seen, track.box, SIZE, evidence, errors, self.source).moved(camera)
                except PositionUnknown:
                    pass
            near = self.motion.update(
                Sighting(stamp, track.box, deviations, self.seen, defaults["direction_error"], camera, position)
            )
        if near and position is not None:
            return position.point, position.covariance
        held = self.motion.position_at(stamp, defaults["position_hold"])
        return None if held is None else (held.place, held.covariance[:3, :3])

    def angle(self, time: float, latency: float) -> float:
        """Return by how much the bearing predicted for then is off, in degrees, from an image that is `latency` old."""
        stamp = round((time + latency) * SECOND)
        found = self.motion.predict(stamp, self.camera, self.drawn, 1.0)
        return math.nan if found is None or found.direction is None else off(self.rig, time + latency, found.direction)


def off(rig: Rig, time: float, direction: Any) -> float:
    """Return the angle from a direction to the true one at a time, in degrees."""
    pose = rig.camera.pose(time)
    foot = rig.world.course.at(time)
    true = pose.to_camera(foot + np.array([0, 0, rig.world.target_size[1] / 2]))
    return math.degrees(math.acos(min(1.0, float(direction @ true / np.linalg.norm(true)))))


def run(seed: int, tracker: Tracker, options: argparse.Namespace, defaults: dict[str, Any]) -> dict[str, Any]:
    """Measure one run in which the target is always seen."""
    rig = Rig(seed, options.seconds, defaults)
    ways = {source: Way(rig, source) for source in SOURCES}
    predictors = {
        "position and transforms": ways["depth"],
        "direction and transforms": Way(rig, "none"),
        "without transforms": Way(rig, "none", fixed=False),
    }
    errors: dict[str, list[float]] = defaultdict(list)
    angles: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    honest: dict[str, float] = {}
    for view, track in frames(rig, tracker, options.seconds, options.rate):
        distance = float(np.linalg.norm(view.target - view.pose.position))
        for source, way in ways.items():
            if (found := way.update(view, track)) is None:
                continue
            away = found[0] - view.target
            errors[source].append(float(np.linalg.norm(away)) / distance)
            if source not in honest and view.time >= options.seconds / 2:
                honest[source] = float(away @ np.linalg.solve(found[1], away))
        for way in predictors.values():
            if way not in ways.values():
                way.update(view, track)
        if view.time < WARM:
            continue
        x, y, w, h = track.box
        last = directions(rig.lens, np.array([[x + w / 2, y + h / 2]]))[0]
        for latency in LATENCIES:
            angles["the box as it was"][latency].append(off(rig, view.time + latency, last))
            for name, way in predictors.items():
                angles[name][latency].append(way.angle(view.time, latency))
    return {
        "errors": {source: float(np.median(errors[source])) if errors[source] else math.nan for source in SOURCES},
        "nees": {source: honest.get(source, math.nan) for source in SOURCES},
        "angles": {name: {t: root_mean_square(a) for t, a in one.items()} for name, one in angles.items()},
    }


def hidden_run(seed: int, tracker: Tracker, options: argparse.Namespace, defaults: dict[str, Any]) -> list[float]:
    """Return the errors in metres of the positions while the target is wholly hidden."""
    rig = Rig(seed, options.seconds, defaults, hidden=True)
    way, errors = Way(rig, "depth"), []
    for view, track in frames(rig, tracker, options.seconds, options.rate):
        found = way.update(view, track)
        if view.visible < 0.02 and found is not None and track.state == TrackState.LOST:
            errors.append(float(np.linalg.norm(found[0] - view.target)))
    return errors


def turned_run(seed: int, tracker: Tracker, carried: bool) -> tuple[float, int] | None:
    """Let the camera turn while the target is hidden; None where the target is not in view before and after.

    Returns the seconds until it is tracked again (infinite if it is not in the time that is left), and in how many
    images something else is tracked.
    """
    random, start = np.random.default_rng([seed, 5]), 2.0
    lens = Pinhole.with_view(SIZE, ANGLE)
    world = World(
        seed,
        lens,
        reach=3.0,
        speed=0.5,
        target_width=WIDTH,
        look_alikes=2,
        occlusions=[Occlusion(start, TURNED_HIDDEN)],
        seconds=7.0,
    )
    bearing, side = random.uniform(0, 2 * math.pi), random.choice((-1, 1))
    ahead = np.array([math.cos(bearing), math.sin(bearing), 0.0])
    place = world.course.at(start + TURNED_HIDDEN / 2) - DISTANCE * ahead + np.array([0.0, 0.0, HEIGHT])
    target, before, seen, wrong = None, None, None, 0
    for number in range(int(7.0 * TURN_RATE)):
        time = number / TURN_RATE
        share = min(max((time - start) / TURNED_HIDDEN, 0.0), 1.0)
        turn = TURN * (share * share * (3 - 2 * share) - 0.5)
        pose = Pose.looking(place, bearing + side * turn, 0.05 * math.sin(3 * time))
        view = world.view(pose, time)
        if target is None or before is None:
            if not np.isfinite(view.box).all():
                return None
            target, before = tracker.init(view.image, view.box), pose
            continue
        if carried:
            turned = pose.rotation.T @ before.rotation
            target.carry(functools.partial(carried_to, lens, turned))
        before = pose
        track = tracker.update(view.image, target)
        if view.visible < 0.7 or time < start + TURNED_HIDDEN / 2:
            continue
        seen = time if seen is None else seen
        right = track.state == TrackState.TRACKED and iou(np.array(track.box), np.array(view.box)) > 0.5
        if right:
            return time - seen, wrong
        wrong += track.state == TrackState.TRACKED
    return None if seen is None else (math.inf, wrong)


def carried_to(lens: Pinhole, turned: Any, place: tuple[float, float]) -> tuple[float, float]:
    x, y = points(lens, directions(lens, np.array([place])) @ turned.T)[0]
    return float(x), float(y)


def turns_summary(found: list[tuple[float, int]]) -> dict[str, Any]:
    waits = [wait for wait, _ in found]
    return {
        "runs": len(waits),
        "within_0.5_s": sum(wait <= 0.5 for wait in waits),
        "within_1_s": sum(wait <= 1.0 for wait in waits),
        "at_all": sum(math.isfinite(wait) for wait in waits),
        "median_s": round(float(np.median(waits)), 2),
        "images_of_something_else": sum(wrong for _, wrong in found),
    }


def root_mean_square(values: list[float]) -> float:
    return float(np.sqrt(np.nanmean(np.square(values))))


def summary(runs: list[dict[str, Any]], hidden: list[list[float]]) -> dict[str, Any]:
    positions = {}
    for source in SOURCES:
        errors, nees = (np.array([one[name][source] for one in runs]) for name in ("errors", "nees"))
        known = np.isfinite(nees)
        positions[source] = {
            "runs_with_positions": int(np.isfinite(errors).sum()),
            "median_error": round(float(np.nanmedian(errors)), 4),
            "runs_below_aim": int((errors <= AIMS[source]).sum()),
            "aim": AIMS[source],
            "nees_inside": int(((nees >= CHI_SQUARE[0]) & (nees <= CHI_SQUARE[1]))[known].sum()),
            "nees_below_upper": int((nees <= CHI_SQUARE[1])[known].sum()),
            "nees_mean": round(float(np.nanmean(nees)), 2),
            "nees_median": round(float(np.nanmedian(nees)), 2),
        }
    names = list(runs[0]["angles"])
    angles = {
        name: {
            f"{t * 1e3:.0f} ms": round(root_mean_square([one["angles"][name][t] for one in runs]), 3) for t in LATENCIES
        }
        for name in names
    }
    flat = [error for one in hidden for error in one]
    return {
        "runs": len(runs),
        "positions": positions,
        "bearing_error_degrees": angles,
        "hidden": {
            "runs": len(hidden),
            "images": len(flat),
            "median_error_m": round(float(np.median(flat)), 3) if flat else None,
            "p90_error_m": round(float(np.quantile(flat, 0.9)), 3) if flat else None,
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="with another world each (default 50)")
    parser.add_argument("--hidden-runs", type=int, default=15, help="in which the target is hidden (default 15)")
    parser.add_argument("--turned-runs", type=int, default=25, help="in which the camera turns meanwhile (default 25)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of a run (default 6)")
    parser.add_argument("--rate", type=float, default=15.0, help="images a second (default 15)")
    parser.add_argument("--model", default="snscf_nano", help="(default snscf_nano)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the node")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    use_available_cores()
    defaults = dict(bringup.default_parameters())
    defaults.update({name: yaml.safe_load(value) for name, _, value in (one.partition("=") for one in options.set)})
    tracker = Tracker(options.model, device="cpu")
    runs = [run(seed, tracker, options, defaults) for seed in tqdm(range(options.runs), "seen", disable=None)]
    hidden = [
        hidden_run(1000 + seed, tracker, options, defaults)
        for seed in tqdm(range(options.hidden_runs), "hidden", disable=None)
    ]
    turned = {
        "carried": [
            turned_run(seed, tracker, True) for seed in tqdm(range(options.turned_runs), "carried", disable=None)
        ],
        "left": [turned_run(seed, tracker, False) for seed in tqdm(range(options.turned_runs), "left", disable=None)],
    }
    figures = {"model": options.model, "seconds": options.seconds, "rate": options.rate, "set": options.set}
    if runs:
        figures.update(summary(runs, hidden))
    for name, found in turned.items():
        if known := [one for one in found if one is not None]:
            figures[f"turns_{name}"] = turns_summary(known)
    print(json.dumps(figures, indent=1))
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
