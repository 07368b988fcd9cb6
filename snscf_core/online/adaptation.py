# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Adapt: update sizes, filters and templates from a frame in which their targets are tracked.

The filters learn by eq 8 on the target as found, in a running average. The template takes a share of what the target
looks like now.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np

from ..arrays import Array, as_array, joined, moved
from ..crops import TEMPLATE_SIZE, Frame, context_side, cut_crops
from ..devices import Device
from ..engines import Engine, RecordingError
from ..engines.step import RecordedStep, Step
from ..model import acf
from ..model.geometry import STRIDE
from .association import Match
from .confidence import TrackState
from .config import TemplateConfig, TrackerConfig
from .filter_bank import joined_filters, share_filters
from .motion import Point
from .proposals import ProposalSelector
from .scale_search import resampling, scale_balances
from .search_regions import cell
from .state_update import limited
from .target import Target, Track

_LOG = logging.getLogger(__name__)


class Lesson(NamedTuple):
    """A target whose filters learn in this frame, and the resampling that centres its region's features on it.

    zoom: side of the target's own search crop relative to the region's.
    shift: of the target's centre from the region's, in cells of the features.
    """

    target: Target
    zoom: float
    shift: Point


class Learned(NamedTuple):
    """The learned filters: numerator and denominator as in ``FilterBank``."""

    numerator: Array
    denominator: Array


class FilterUpdate:
    """Moves the filters of tracked targets towards filters learned on the targets as found.

    step: `Learning`, in the form in which the engine runs it fastest.
    """

    def __init__(self, learning: Learning, runtime: Engine, device: Device) -> None:
        self.learning, self._device = learning, device
        self.step: Step[Learned] = runtime.recorded(learning)

    def __call__(self, lessons: Sequence[Lesson], features: Array) -> None:
        """Changes the filters of N different targets. features: N x D x G x G of their regions."""
        targets = [lesson.target for lesson in lessons]
        for target in targets:
            target.unlearned = 0
        bank = joined_filters(targets)
        gains = as_array([target.gains for target in targets], self._device)
        sizes, zooms, shifts = zip(*((one.target.size, one.zoom, one.shift) for one in lessons), strict=True)
        inputs = features, gains, *self.learning.views(sizes, zooms, shifts), bank.numerator, bank.denominator
        most = self.learning.config.learning_batch
        some = [slice(start, start + most) for start in range(0, len(targets), most)]
        learned = [self._learned(*(part[rows] for part in inputs)) for rows in some]
        whole = Learned(*map(joined, zip(*learned, strict=True)))
        share_filters(replace(bank, numerator=whole.numerator, denominator=whole.denominator), targets)

    def _learned(self, *inputs: Array) -> Learned:
        """Runs the step and returns a result that later calls do not overwrite."""
        if isinstance(self.step, RecordedStep):
            try:
                return Learned(*(cast(Any, part).clone() for part in self.step(*inputs)))
            except RecordingError as error:
                _LOG.warning("the filters learn without a recording: %s", error)
                self.step = self.learning
        return self.learning(*inputs)


def lessons_due(
    targets: Sequence[Target], tracks: Sequence[Track], matches: Sequence[Match], config: TrackerConfig
) -> list[tuple[int, Lesson]]:
    """Returns the lessons of the targets whose filters learn in this frame, with each target's index.

    Filters learn in every ``learning_interval``-th frame in which the target is tracked.
    """
    due = []
    for index, (target, track, match) in enumerate(zip(targets, tracks, matches, strict=True)):
        if track.state != TrackState.TRACKED or target.unlearned < config.learning_interval:
            continue
        # A target found elsewhere is not tracked until verified, so this is always the region around the target.
        region = match.candidate.region
        dx, dy = (offset / cell(region, config) for offset in match.candidate.offset)
        due.append((index, Lesson(target, context_side(*target.size) / context_side(*region.size), (dx, dy))))
    return due


def correct_sizes(
    lessons: Sequence[Lesson], features: Array, selector: ProposalSelector, device: Device
) -> list[Lesson]:
    """Makes N targets larger or smaller, as their filters respond more, and returns the lessons for these sizes.

    Proposals tend to the size that they are asked with, or to the whole of which a target is a part. The filters
    remember what size it had.
    features: N x D x G x G, of the search regions.
    """
    config, targets = selector.config, [lesson.target for lesson in lessons]
    gains = as_array([target.gains for target in targets], device)
    zooms, shifts = zip(*((one.zoom, one.shift) for one in lessons), strict=True)
    balances = scale_balances(config, selector, zooms, shifts, features, joined_filters(targets), gains, device)
    corrected = []
    for lesson, target, balance in zip(lessons, targets, balances.tolist(), strict=True):
        before, change = target.size, math.exp(config.scale_correction * (balance - config.usual_balance))
        size = (before[0] * change, before[1] * change)
        target.size = limited(size, before, config.min_side, *target.frame_size)
        corrected.append(lesson._replace(zoom=lesson.zoom * context_side(*target.size) / context_side(*before)))
    return corrected


class Learning:
    """Learns filters from search features that are resampled to be centred on the target.

    Resampling saves a second pass through the network. The step itself uses tensors only, so that a GPU can record and
    replay it. Besides the Hann window, features are multiplied by a Gaussian window of the target's shape. Without it,
    a filter learns the background too, and stays on it when the target moves away.

    sections: number of channels of each level of the features.
    coarse: as in `acf.learn_bank`.
    """

    def __init__(
        self, config: TrackerConfig, sections: tuple[int, ...], device: Device, coarse: tuple[bool, ...] = ()
    ) -> None:
        self.config, self.sections, self.device, self.coarse = config, sections, device, coarse
        self._rate = 1 - (1 - config.learning_rate) ** config.learning_interval
        self._profile = acf.hann_profile(config.grid)

    def views(self, sizes: Sequence[Point], zooms: Sequence[float], shifts: Sequence[Point]) -> tuple[Array, Array]:
        """Returns matrices that resample and window the maps of N targets, and the labels (eq 6).

        The matrices are N x 2 x G x G, across and down. The labels are N x 1 x P x P.

        sizes: of the targets, frame pixels.
        zooms, shifts: as in `resampling`.
        """
        config, grid = self.config, self.config.grid
        period = acf.fft_size(grid)
        places = np.arange(period) - (grid - 1) / 2
        periodic = (places + period / 2) % period - period / 2
        views = np.empty((len(sizes), 2, grid, grid), np.float32)
        labels = np.empty((len(sizes), 1, period, period), np.float32)
        for index, (size, zoom, shift) in enumerate(zip(sizes, zooms, shifts, strict=True)):
            # Both windows are separable, so they are multiplied into the resampling matrix of each axis.
            scale = TEMPLATE_SIZE / (STRIDE * context_side(*size))  # cells in a pixel of the frame
            for axis in range(2):
                gaussian = np.exp(-0.5 * (places[:grid] / (config.learning_window * size[axis] * scale)) ** 2)
                views[index, axis] = resampling(grid, zoom, shift[axis]) * (gaussian * self._profile)[:, None]
            profile = np.exp(-0.5 * (periodic / (config.label_sigma * math.sqrt(size[0] * size[1]) * scale)) ** 2)
            labels[index, 0] = profile[:, None] * profile
        return moved(views, self.device), moved(labels, self.device)

    def __call__(
        self,
        features: Array,
        gains: Array,
        views: Array,
        labels: Array,
        numerator: Array | None = None,
        denominator: Array | None = None,
    ) -> Learned:
        """Learns the filters of N targets.

        features: N x D x G x G, of the search regions.
        gains: N x L.
        views, labels: see `views`.
        numerator, denominator: the filters so far; if given, the result is their running average with the new ones.
        """
        new = acf.learn_bank(features, gains, labels, self.sections, self.config.ridge, views, self.coarse)
        if numerator is not None and denominator is not None:
            old = acf.FilterBank(numerator, denominator, self.sections, self.config.ridge)
            new = old.updated(new, self._rate)
        return Learned(new.numerator, new.denominator)


def renewal_due(track: Track, target: Target, config: TemplateConfig) -> bool:
    """Says whether the target's template is renewed in this frame.

    That is once in ``interval`` tracked frames, if the score is high enough. So a box on something else, or on an
    occluder, is not learned.
    """
    return (
        config.share > 0
        and track.state == TrackState.TRACKED
        and target.unrenewed >= config.interval
        and track.score >= config.score_above
    )


def renew_templates(
    views: Sequence[tuple[Frame, Target]], runtime: Engine, device: Device, config: TrackerConfig
) -> None:
    """Mixes the templates of N targets with their features in these frames, and computes their kernels.

    The template of the given box keeps its share. So whatever is learned from a wrong box is gone with the next
    renewal.

    views: each target with its frame, H x W x 3 uint8 BGR.
    """
    crops = joined(
        [
            cut_crops(frame, [(target.centre, context_side(*target.size))], TEMPLATE_SIZE, device, config.brightness)
            for frame, target in views
        ]
    )
    recent = runtime.template(crops)
    for index, (_, target) in enumerate(views):
        assert target.given_template is not None
        target.template = [
            given + config.template.share * (now[index : index + 1] - given)
            for given, now in zip(target.given_template, recent, strict=True)
        ]
        target.kernels = runtime.kernels(target.template)
        target.unrenewed = 0
