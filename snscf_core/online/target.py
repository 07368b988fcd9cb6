# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Defines a target's memory and its track in one frame; saves and loads targets."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..arrays import Array, joined, moved, to_numpy
from ..devices import CPU, Device
from ..model import acf
from ..tensor_files import read_arrays, write_tensors
from .appearance import Light, Memory
from .confidence import Confidence, TrackState
from .motion import Distractor, Motion, MotionConfig, Point

Box = tuple[float, float, float, float]

_GAIN = MotionConfig().velocity_gain


def box_around(centre: Point, size: Point) -> Box:
    """Returns (x, y, w, h), top-left corner."""
    (cx, cy), (w, h) = centre, size
    return (cx - w / 2, cy - h / 2, w, h)


@dataclass(frozen=True)
class Track:
    """The place of a target in one frame.

    box: (x, y, w, h), top-left corner, in pixels of the frame; for a lost target, where it may be.
    score: the probability that the box overlaps the target by more than half (IoU).
    state: tracked, uncertain or lost.
    peak_quality: peak-to-sidelobe ratio, >= 0, of the filters' response, or of the scores in modes that use scores.
    """

    box: Box
    score: float
    state: TrackState
    peak_quality: float


@dataclass
class Target:
    """The memory of one target; made by ``Tracker.init``, changed by ``Tracker.update``.

    centre, size: in pixels of a frame of ``frame_size``.
    frame_size: width and height of the last frame.
    filters: of all levels.
    gains: a factor per level that scales its features to unit mean power.
    template: reduced features per level, which the heads look for; None without trained heads.
    given_template: those of the given box alone; ``template`` also has a share of what the target looks like now.
    confidence: the state and its counters.
    colours, embedding: its appearance, see ``appearance``.
    light: how bright it was around it then; None if an earlier version saved the target.
    size_factors: factors on width and height of proposals, so that they match the convention of the given box.
    motion: its velocity.
    distractors: similar objects beside it.
    usual_size: running mean of the size. When a target is lost, often half hidden, this is closer to its true size.
    searched: frames of search since it was lost.
    places_searched: places away from its last one that have been searched since then.
    unlearned: frames in which it was tracked since the filters learned.
    unrenewed: the same since its template was renewed.
    last_known: centre and size when it was lost, while a place elsewhere is being verified.
    lost_at: centre and size when the search for it began.
    seen: whether its box is that of a match, and not where it may be.
    camera_velocity: by which the camera's own movement shifts the picture at its place, pixels a frame; see ``carry``.
    carried: whether ``motion`` is that against its surroundings, and not in the picture.
    weights: sha256 of the weights that made the filters and the template; empty if unknown.
    kernels: the heads' correlation kernels for the template (1 x `Geometry.kernel_shape`), the same on every frame.
    """

    centre: Point
    size: Point
    frame_size: tuple[int, int]
    filters: acf.FilterBank
    gains: list[float]
    template: list[Array] | None
    confidence: Confidence
    colours: Memory
    embedding: Memory
    size_factors: tuple[float, float] = (1.0, 1.0)
    motion: Motion = field(default_factory=Motion)
    distractors: list[Distractor] = field(default_factory=list)
    usual_size: Point = (0.0, 0.0)
    searched: int = 0
    unlearned: int = 0
    unrenewed: int = 0
    last_known: tuple[Point, Point] | None = None
    lost_at: tuple[Point, Point] | None = None
    weights: str = ""
    kernels: Array | None = field(default=None, repr=False)
    given_template: list[Array] | None = field(default=None, repr=False)
    seen: bool = True
    camera_velocity: Point = (0.0, 0.0)
    carried: bool = False
    places_searched: int = 0
    light: Light | None = None

    def __post_init__(self) -> None:
        if self.given_template is None:
            self.given_template = self.template

    @property
    def box(self) -> Box:
        """(x, y, w, h), top-left corner."""
        return box_around(self.centre, self.size)

    @property
    def length(self) -> float:
        """The side of a square with the same area as its box, frame pixels."""
        return math.sqrt(self.size[0] * self.size[1])

    @property
    def expected(self) -> Point:
        """The centre that is expected in the next frame."""
        return (self.centre[0] + self.motion.velocity[0], self.centre[1] + self.motion.velocity[1])

    def rescale(self, width: int, height: int) -> None:
        """Converts the target to frames of another size, assuming that it was scaled with the picture."""
        if self.frame_size == (width, height):
            return
        sx, sy = width / self.frame_size[0], height / self.frame_size[1]

        def scaled(point: Point) -> Point:
            return (point[0] * sx, point[1] * sy)

        self.centre, self.size, self.usual_size = scaled(self.centre), scaled(self.size), scaled(self.usual_size)
        for motion in (self.motion, *(one.motion for one in self.distractors)):
            motion.velocity = scaled(motion.velocity)
        self.camera_velocity = scaled(self.camera_velocity)
        for one in self.distractors:
            one.centre = scaled(one.centre)
        if self.last_known is not None:
            self.last_known = scaled(self.last_known[0]), scaled(self.last_known[1])
        if self.lost_at is not None:
            self.lost_at = scaled(self.lost_at[0]), scaled(self.lost_at[1])
        self.frame_size = (width, height)

    def carry(self, move: Callable[[Point], Point]) -> None:
        """Takes in how the camera has moved since the last frame. To be called before each update, or never.

        While the target is not seen, all places that it remembers move with the picture, and its velocity is that
        against its surroundings. While it is seen nothing moves, because a camera that turns may well do so to keep it
        in view.
        move: returns where a place of the last frame is in the next one; both in pixels.
        """
        (x, y), (vx, vy), (cx, cy) = self.centre, self.motion.velocity, self.camera_velocity
        moved_x, moved_y = move(self.centre)
        if self.seen == self.carried:
            sign = 1 if self.seen else -1
            self.motion.velocity = (vx + sign * cx, vy + sign * cy)
            self.carried = not self.seen
        # with the gain of the target's own velocity, so that what was learned of both can be taken apart
        self.camera_velocity = (cx + _GAIN * (moved_x - x - cx), cy + _GAIN * (moved_y - y - cy))
        if self.seen:
            return
        self.centre = (moved_x, moved_y)
        for one in self.distractors:
            one.centre = move(one.centre)
        if self.last_known is not None:
            self.last_known = move(self.last_known[0]), self.last_known[1]
        if self.lost_at is not None:
            self.lost_at = move(self.lost_at[0]), self.lost_at[1]

    def save(self, path: str | Path) -> None:
        """Writes the target to a safetensors file, from which ``load`` makes an equal target on any machine."""
        tensors: dict[str, Array] = {}
        numerators = acf.levels_of(to_numpy(self.filters.numerator), self.filters.sections)
        denominators = to_numpy(self.filters.denominator)
        for level, numerator in enumerate(numerators):
            pairs = np.ascontiguousarray(numerator)[..., None].view(np.float32)  # real and imaginary parts
            tensors[f"filters.{level}.numerator"] = pairs
            tensors[f"filters.{level}.denominator"] = denominators[:, level : level + 1]
        for level, features in enumerate(self.template or ()):
            tensors[f"template.{level}"] = to_numpy(features)
        for level, features in enumerate(self.given_template or ()):
            tensors[f"given_template.{level}"] = to_numpy(features)
        memories = {"colours": self.colours, "embedding": self.embedding}
        for name, memory in memories.items():
            tensors[f"{name}.given"] = memory.given
            tensors[f"{name}.recent"] = memory.recent
        values = {
            "centre": self.centre,
            "size": self.size,
            "frame_size": self.frame_size,
            "gains": self.gains,
            "regularisation": [self.filters.regularisation] * len(self.filters.sections),
            "confidence": asdict(self.confidence),
            "size_factors": self.size_factors,
            **{name: {"typical": one.typical, "count": one.count} for name, one in memories.items()},
            "motion": asdict(self.motion),
            "distractors": [asdict(one) for one in self.distractors],
            "usual_size": self.usual_size,
            "searched": self.searched,
            "places_searched": self.places_searched,
            "unlearned": self.unlearned,
            "unrenewed": self.unrenewed,
            "last_known": self.last_known,
            "lost_at": self.lost_at,
            "seen": self.seen,
            "camera_velocity": self.camera_velocity,
            "carried": self.carried,
            "light": None if self.light is None else asdict(self.light),
            "weights": self.weights,
        }
        write_tensors(path, tensors, {"target": json.dumps(values)})

    @classmethod
    def load(cls, path: str | Path, device: Device = CPU) -> Target:
        """Reads a target written by ``save``. Raises ValueError if the file holds no target."""
        try:
            stored, metadata = read_arrays(path)
            values = json.loads(metadata["target"])
            # The arrays are copied because the originals map the file, which may change.
            arrays = {key: array.copy() for key, array in stored.items()}
            tensors = {key: moved(array, device) for key, array in arrays.items()}
            levels = range(len(values["gains"]))
            numerators = [_complex(arrays[f"filters.{level}.numerator"]) for level in levels]
            filters = acf.FilterBank(
                moved(np.concatenate(numerators, 1), device),
                joined([tensors[f"filters.{level}.denominator"] for level in levels], 1),
                tuple(numerator.shape[1] for numerator in numerators),
                values["regularisation"][0],
            )
            confidence = Confidence(**values["confidence"])
            confidence.state = TrackState(confidence.state)
            colours, embedding = (
                Memory(arrays[f"{name}.given"], arrays[f"{name}.recent"], **values[name])
                for name in ("colours", "embedding")
            )
            template, given_template = (
                [tensors[key] for key in sorted(tensors) if key.startswith(kind)] or None
                for kind in ("template.", "given_template.")
            )
            return cls(
                tuple(values["centre"]),
                tuple(values["size"]),
                tuple(values["frame_size"]),
                filters,
                values["gains"],
                template,
                confidence,
                colours,
                embedding,
                tuple(values["size_factors"]),
                _motion(values["motion"]),
                [
                    Distractor(tuple(one["centre"]), _motion(one["motion"]), _named(one, "hits", "seen"))
                    for one in values["distractors"]
                ],
                tuple(values["usual_size"]),
                values["searched"],
                values.get("unlearned", 0),
                values.get("unrenewed", 0),
                _placed(values["last_known"]),
                _placed(values.get("lost_at")),
                values.get("weights", ""),
                given_template=given_template,
                seen=values.get("seen", True),
                camera_velocity=tuple(values.get("camera_velocity", (0.0, 0.0))),
                carried=values.get("carried", False),
                places_searched=values.get("places_searched", 0),
                light=None if values.get("light") is None else Light(**values["light"]),
            )
        except (OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{path} holds no saved target: {error}") from error


def _complex(pairs: npt.NDArray[np.float32]) -> npt.NDArray[np.complex64]:
    """Converts (... x 2) real and imaginary parts to complex numbers."""
    return np.ascontiguousarray(pairs).view(np.complex64)[..., 0]


def _placed(values: list | None) -> tuple[Point, Point] | None:
    return None if values is None else (tuple(values[0]), tuple(values[1]))


def _motion(values: dict) -> Motion:
    since = _named(values, "time_since_update", "unseen")
    return Motion(tuple(values["velocity"]), since, values.get("typical", 0.0))


def _named(values: dict, name: str, before: str) -> int:
    """Returns a value by its name, or by its name in files of earlier versions."""
    return int(values[name] if name in values else values[before])
