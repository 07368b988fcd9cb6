# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Follows targets: in each frame, plan, infer, associate, update and adapt. All changing state is in the `Target`s."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
import numpy.typing as npt

from ..arrays import Array, as_array, to_numpy, without_gradients
from ..boxes import check_box
from ..crops import TEMPLATE_SIZE, Frame, check_frame, context_side, cut_crops
from ..devices import Device, device_named
from ..engines import Engine, NetworkSpec, make
from ..engines.threads import ONE_THREAD
from ..model import acf
from ..model.checkpoints import describe
from ..model.geometry import LEVELS
from ..surroundings import own_arithmetic
from .adaptation import FilterUpdate, Learning, Lesson, correct_sizes, lessons_due, renew_templates, renewal_due
from .appearance import Light, Memory, Seen, colours, light
from .association import Match, associate
from .confidence import Confidence
from .config import TrackerConfig, changed
from .deadline import Costs, Deadline, Deferred
from .inference import Findings, Inference
from .mode import mode_named
from .motion import Point
from .point_box import box_around, check_point, square_around
from .proposals import ProposalSelector
from .search_regions import plan, region
from .state_update import update_state
from .target import Target, Track
from .tuning import tuning_of

if TYPE_CHECKING:
    from ..model.network import SNSCF


class Tracker:
    """Follows any number of targets with one network. Use a tracker from one thread at a time.

    What the caller has set for torch and NumPy (default type and device, autocast, ``np.seterr``) changes nothing. The
    threads of torch do not survive a fork: in a process that was forked after a tracker had run, all methods raise
    RuntimeError. Start such processes with ``spawn``.

    model: a name (``snscf_nano``, ``snscf_r50``) or the path of weights.
    device: ``auto`` (a GPU if there is one), or a device of torch (``cpu``, ``cuda:0``).
    mode: one of ``MODES``, or ``auto``: ``snscf`` with trained heads, else ``correlation_filter``.
    engine: ``auto`` (the fastest that is installed and agrees with torch), one of ``ENGINES``, or a folder that
    ``snscf export`` wrote.
    config: None takes the configuration that belongs to the weights, see ``tuning.tuned_config``.
    deferred: counts the work that was put off because a frame's time was spent, see ``update``.

    Raises WeightsError if the weights can't be used. Raises ValueError for an unknown mode, device or engine, for a
    mode that needs trained heads if there are none, and for an engine that is missing, damaged or made from other
    weights. If an engine fails, now or later, or disagrees with torch, the tracker logs a warning and uses torch
    instead. Where torch is not installed, that is a ValueError now, and later the error of the engine.
    """

    @own_arithmetic()
    def __init__(
        self,
        model: str | Path = "snscf_nano",
        *,
        device: str = "auto",
        mode: str = "auto",
        engine: str | Path = "auto",
        config: TrackerConfig | None = None,
    ) -> None:
        self.device = device_named(device)
        if mode != "auto":
            mode_named(mode, trained=True)
        self.weights = describe(model)
        self._mode = mode_named(mode, trained=self.weights.trained, source=self.weights.files[0])
        self.model = self.weights.model
        tuning = tuning_of(self.weights.files)
        self.calibrations = tuning.calibrations
        self.config: TrackerConfig = config or changed(TrackerConfig(), tuning.settings)
        weighted = tuple(level for level in self.weights.levels if self.config.level_weights[level] > 0)
        levels = LEVELS if self.weights.trained else weighted
        self.spec = NetworkSpec(
            self.weights,
            levels,
            proposals=self._mode.uses_proposals,
            device=self.device,
            search_size=self.config.search_size,
        )
        self._digest = hashlib.sha256("".join(self.spec.digests).encode()).hexdigest()
        runtime = make(engine, self.spec)
        sections = self.spec.sections
        weights = self._response_weights(levels)
        kind = _selector_on(self.device)
        coarse = self.spec.coarse
        selector = kind(self.config, self._mode, self.spec.anchors, sections, weights, self.device, coarse=coarse)
        self.inference = Inference(runtime, self.spec, selector, self.config, self._mode)
        self.filter_update = FilterUpdate(Learning(self.config, sections, self.device, coarse), runtime, self.device)
        self.deferred = Deferred()
        self._costs = Costs()
        # Called with each target and its match before the target changes. Calibrations are fitted to these matches.
        self.on_match: Callable[[Target, Match], None] | None = None

    @property
    def mode(self) -> str:
        """One of ``MODES``."""
        return self._mode.name

    @property
    def runtime(self) -> Engine:
        """The engine that runs the network."""
        return self.inference.runtime

    @property
    def engine(self) -> str:
        """The name of the engine that runs the network, see ``ENGINES``."""
        return self.runtime.name

    @own_arithmetic()
    def warm_up(self) -> None:
        """Runs everything once, so that the first real frame is not slower than the others."""
        frame = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
        target = self.init(frame, (130, 90, 60, 60))
        self.update(frame, target)
        target.unlearned = self.config.learning_interval - 1
        self.update(frame, target)
        if self.inference.recorded:
            with without_gradients(self.device):
                # A recording has 1, 2 or 4 rows; a lost target has one or two regions.
                for count in (1, 2, 4):
                    targets = [copy.deepcopy(target) for _ in range(count)]
                    regions = [[region(frame, one.centre, one.size, self.config)] for one in targets]
                    found = self.inference(regions, targets)
                    if self._mode.adapts:
                        self.filter_update([Lesson(one, 1.0, (0.0, 0.0)) for one in targets], found.features)
        self._costs = Costs()  # the first times are far longer than all that follow

    @own_arithmetic()
    def box_around(self, frame: Frame, point: npt.ArrayLike) -> tuple[float, float, float, float]:
        """Returns a box around the object at a point, to start with: (x, y, w, h), top-left corner, in pixels.

        It is a proposal that a person should see: docs/pointing.md says how often it is right. In modes without heads
        it is a square of a fixed share of the frame.

        frame: H x W x 3 uint8 BGR.
        point: (x, y) in pixels of the frame.

        Raises ValueError for a point outside the frame (see ``check_frame``).
        """
        frame = check_frame(frame)
        height, width = frame.shape[:2]
        at = check_point(point, width, height)
        if not self._mode.uses_proposals:
            return square_around(at, width, height)
        with without_gradients(self.device), self._threads():
            x, y, w, h = box_around(frame, at, self.inference).tolist()
        return x, y, w, h

    @own_arithmetic()
    def init(self, frame: Frame, box: npt.ArrayLike) -> Target:
        """Starts to follow the object in the box.

        frame: H x W x 3 uint8 BGR.
        box: (x, y, w, h), top-left corner, in pixels; may be fractional and reach over the frame's border.

        Raises ValueError that names the wrong number (see ``check_box``, ``check_frame``).
        """
        frame = check_frame(frame)
        height, width = frame.shape[:2]
        x, y, w, h = check_box(box, width, height)
        centre, size = (x + w / 2, y + h / 2), (w, h)
        with without_gradients(self.device), self._threads():
            template = kernels = None
            if self._mode.uses_proposals:
                place = centre, context_side(w, h)
                exemplar = cut_crops(frame, [place], TEMPLATE_SIZE, self.device, self.config.brightness)
                template = self.runtime.template(exemplar)
                kernels = self.runtime.kernels(template)
            around = region(frame, centre, size, self.config)
            found, features = self.inference.look(self.inference.crops([around]), kernels)
            parts = acf.levels_of(features, self.spec.sections)
            gains = [max(float((part**2).sum(1).mean()), 1e-12) ** -0.5 for part in parts]
            scale = self.config.search_size / around.side
            target = Target(
                centre,
                size,
                (width, height),
                self._first_filters(features, gains, size),
                gains,
                template,
                Confidence(),
                Memory.of(colours(frame, (x, y, w, h))),
                Memory.of(Seen.of(self._embedding(features, w * scale, h * scale))),
                usual_size=size,
                weights=self._digest,
                kernels=kernels,
                light=Light.of(light(frame, centre, around.side)),
            )
            if self._mode.uses_proposals:
                best = self.inference.choose(around, target, features, found)[0]
                target.size_factors = _size_factors(size, best.size, self.config)
        return target

    @overload
    def update(self, frame: Frame, targets: Target, *, budget: float | None = None) -> Track: ...

    @overload
    def update(self, frame: Frame, targets: Sequence[Target], *, budget: float | None = None) -> list[Track]: ...

    def update(
        self, frame: Frame, targets: Target | Sequence[Target], *, budget: float | None = None
    ) -> Track | list[Track]:
        """Finds one or several targets in the next frame, in one forward pass, and updates them.

        If the frame's size has changed, the targets are assumed to be scaled with the picture.

        budget: seconds that the update should take at most. What can wait is put off, see ``deadline``; without it the
        result does not depend on the machine's speed.

        Raises ValueError for a frame or targets that can't be used; then no target has changed.
        """
        several = [targets] if isinstance(targets, Target) else list(targets)
        (tracks,) = self.update_views([(frame, several)], budget=budget)
        return tracks[0] if isinstance(targets, Target) else tracks

    @own_arithmetic()
    def update_views(
        self, views: Sequence[tuple[Frame, Sequence[Target]]], *, budget: float | None = None
    ) -> list[list[Track]]:
        """Does ``update`` for several frames (of several cameras) with the targets in each, all in one forward pass.

        Returns the tracks of each frame. budget: as in ``update``, for all frames together. Raises the errors of
        ``update``; then no target has changed.
        """
        deadline = Deadline(budget, self._costs, self.deferred)
        frames = [check_frame(frame) for frame, _ in views]
        pairs = [(frame, target) for frame, (_, targets) in zip(frames, views, strict=True) for target in targets]
        targets = [target for _, target in pairs]
        if not pairs:
            return [[] for _ in views]
        self._check(targets)
        for frame, target in pairs:
            target.rescale(frame.shape[1], frame.shape[0])
        config, mode = self.config, self._mode
        with without_gradients(self.device), self._threads():
            planned = [plan(frame, target, config, mode) for frame, target in pairs]
            regions = deadline.trimmed(planned, targets, config.search_interval)
            found = self._costs.measured("region", sum(map(len, regions)), lambda: self.inference(regions, targets))
            matches = [
                associate(target, candidates, config, mode, self.calibrations)
                for target, candidates in zip(targets, found.candidates, strict=True)
            ]
            for target, match in zip(targets, matches, strict=True):
                if self.on_match is not None:
                    self.on_match(target, match)
            for target, some in zip(targets, regions, strict=True):
                target.places_searched += sum(one.elsewhere for one in some)
            tracks = [update_state(target, match, config) for target, match in zip(targets, matches, strict=True)]
            if mode.adapts:
                lessons = lessons_due(targets, tracks, matches, config)
                self._learn(deadline.lessons(lessons, config.learning_interval), found)
            if mode.renews_template:
                seen = zip(pairs, tracks, strict=True)
                renewals = [pair for pair, track in seen if renewal_due(track, pair[1], config.template)]
                self._renew(deadline.templates(renewals, config.template.interval))
        rest = iter(tracks)
        return [[next(rest) for _ in some] for _, some in views]

    def _learn(self, lessons: Sequence[tuple[int, Lesson]], found: Findings) -> None:
        """Updates filters, while the features are valid, so before the next search."""
        if lessons:
            features = found.around([index for index, _ in lessons])
            self._costs.measured("lesson", len(lessons), lambda: self._teach([one for _, one in lessons], features))

    def _teach(self, lessons: list[Lesson], features: Array) -> None:
        if self._mode.corrects_boxes and self.config.scale_correction:
            lessons = correct_sizes(lessons, features, self.inference.selector, self.device)
        self.filter_update(lessons, features)

    def _renew(self, seen: Sequence[tuple[Frame, Target]]) -> None:
        """Renews the templates of targets, each with its frame."""
        if seen:
            self._costs.measured(
                "template", len(seen), lambda: renew_templates(seen, self.runtime, self.device, self.config)
            )

    @own_arithmetic()
    def searched(self, frame: Frame, targets: Sequence[Target]) -> tuple[Array, Array | None]:
        """Returns the engine's inputs for these targets in this frame: crops and kernels, see `Engine.search`."""
        regions = [region(frame, target.centre, target.size, self.config) for target in targets]
        return self.inference.inputs(regions, targets)

    def _first_filters(self, features: Array, gains: list[float], size: Point) -> acf.FilterBank:
        """Returns the filters of a target in the middle of its search region."""
        learning = self.filter_update.learning
        factors = as_array([gains], self.device)
        learned = learning(features, factors, *learning.views([size], [1.0], [(0.0, 0.0)]))
        return acf.FilterBank(*learned, self.spec.sections, self.config.ridge)

    def _embedding(self, features: Array, width: float, height: float) -> npt.NDArray[np.float32]:
        """Returns the embedding of a box in the middle of the search crop, crop pixels."""
        box = as_array([[(0.0, 0.0, width, height)]], self.device)
        return to_numpy(self.inference.selector.embeddings(features, box))[0, 0]

    def _response_weights(self, levels: Sequence[int]) -> list[float]:
        if self.weights.trained:
            shares = np.exp(self.weights.array("response_weights"))
            return [float(share) for share in shares / shares.sum()]
        weights = [self.config.level_weights[level] for level in levels]
        return [w / sum(weights) for w in weights]

    def _check(self, targets: Sequence[Target]) -> None:
        """Raises ValueError if these targets can't be followed together by this tracker."""
        if len({id(target) for target in targets}) < len(targets):
            raise ValueError("a target is given more than once")
        size, sections = acf.fft_size(self.config.grid), self.spec.sections
        for target in targets:
            filters = target.filters
            if not math.isclose(filters.regularisation, self.config.ridge, rel_tol=1e-6):
                raise ValueError("the target's filters were made with another search_size or regularisation")
            if filters.sections != sections or filters.numerator.shape[-2] != size:
                raise ValueError(
                    f"the target's filters have {filters.sections} channels and size {filters.numerator.shape[-2]}, "
                    f"this tracker's {sections} and {size}: it was made with another model or configuration"
                )
            if self._mode.uses_proposals and target.template is None:
                raise ValueError(f"the target has no template, which mode {self.mode!r} needs: make it in this mode")
            if target.weights not in ("", self._digest):
                raise ValueError("the target was made with other weights than this tracker's")
            if _is_elsewhere(filters.numerator, self.device):
                raise ValueError(f"the target is on {_place_of(filters.numerator)}, the tracker on {self.device}")

    @property
    def network(self) -> SNSCF:
        """The network itself, which is loaded when first asked for. Imports torch."""
        return self.spec.network

    def _threads(self) -> AbstractContextManager[object]:
        """Limits torch to one thread while the engine uses a pool of its own; two pools would compete."""
        return ONE_THREAD if self.runtime.threads else nullcontext()


def _selector_on(device: Device) -> type[ProposalSelector]:
    if device.uses_arrays:
        return ProposalSelector
    from .tensor_selection import TensorSelector

    return TensorSelector


def _is_elsewhere(array: Array, device: Device) -> bool:
    if device.uses_arrays or isinstance(array, np.ndarray):
        return device.uses_arrays != isinstance(array, np.ndarray)
    return bool(array.device != device.torch)


def _place_of(array: Array) -> str:
    return "cpu" if isinstance(array, np.ndarray) else str(array.device)


def _size_factors(given: Point, proposed: Point, config: TrackerConfig) -> Point:
    """Returns factors that bring the proposed size in the first frame towards the given size.

    Boxes are drawn tightly or loosely, with or without the legs. The heads know only the boxes of their training data.
    """
    most, exponent = config.max_size_correction, config.size_correction
    w, h = (min(max(ours / theirs, 1 / most), most) ** exponent for ours, theirs in zip(given, proposed, strict=True))
    return w, h
