# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The tracker: what happens from frame to frame. All that changes lives in a ``Target``, none in the ``Tracker``."""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..boxes import check_box
from ..crops import SEARCH_SIZE, TEMPLATE_SIZE, Frame, check_frame, context_side, cut_crops
from ..engines import Engine, RecordingError, Subject, make
from ..engines.recording import Recorded, Step
from ..model import acf
from ..model.backbones import STRIDE
from ..model.checkpoints import load
from ..model.network import LEVELS
from ..model.ssf import spatially_semantic_features
from .appearance import Memory, Vectors, colours
from .confidence import Confidence, Evidence, TrackState
from .config import MODES, TrackerConfig, changed
from .filter_update import Learned, Learning, resampling
from .motion import SCALES, Point, follow, owner, place
from .proposals import NUMBERS, Search, Seen, Selection, embeddings
from .target import Target, Track
from .tuning import tuning_of

_UNSEEN = 0.05  # how likely a box is to be right that is only expected
_USUAL_RATE = 0.05  # of the mean size
_FIRST_SIGHT_RATE = 0.7  # of the size when a lost target is seen: how it was remembered is worth something too
_LOOKING_RATE = 0.4  # ... and at least while it is looked at, as the scale of the place where it was seen is a guess
_ROAMING = 0.05  # search regions of the usual size that a lost target may move in a frame
_ALIEN = -6.0  # logit of what is known to be something else
_LOYALTY = 1.0  # logit by which something elsewhere has to be likelier than what a lost target is looked at as
_ZOOMS = (1.0, 0.7, 0.5, 1.4)  # of the box of what may be a lost target: which suits its colours best
_ZOOM_COST = 0.05  # on the strangeness, for each e-fold
_PLAUSIBLE = 0.5  # classification score of what may be a lost target
_MOST_CORRECTION = 1.5  # of a proposal's width and height, before the exponent
_AT_ONCE = 4  # targets whose filters learn together: more take memory, and sizes that have to be recorded
_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class _Choice(NamedTuple):
    """A proposal. offset from the middle of the search region, and size: frame pixels. rate: how far the size follows.
    classification, response, agreement: at the proposal, as in ``Evidence``. quality: peak-to-sidelobe ratio of the map
    that decided. embedding: unit vector of the features in the box."""

    offset: Point
    size: Point
    rate: float
    classification: float
    response: float
    agreement: float
    quality: float
    embedding: Vectors


class _Region(NamedTuple):
    """A search region: around a centre, for a target of a size, with the side of the crop. All in frame pixels."""

    frame: Frame
    target: Target
    centre: Point
    size: Point
    side: float


class _Match(NamedTuple):
    """A choice in a region as a box in the frame, what speaks for it, and how probably it is the target and right."""

    region: _Region
    choice: _Choice
    centre: Point
    size: Point
    evidence: Evidence
    there: float
    right: float
    colours: Vectors


class Tracker:
    """Follows any number of targets with one network.

    model: a name (``snscf_mobilenetv2``, ``snscf_r50``) or the path of weights. device: ``auto`` (a GPU if there is
    one), or what torch understands (``cpu``, ``cuda:0``). mode: ``auto`` (``snscf`` with trained heads, else
    ``correlation_filter``) or one of ``MODES``. engine, what runs the network: ``auto`` (the fastest that is installed
    and agrees with torch), one of ``ENGINES``, or a folder that ``snscf export`` wrote. config: None for that of the
    weights, see ``tuning.tuned_config``.

    Raises WeightsError if the weights can't be used, ValueError for an unknown mode, device or engine, for a mode that
    needs trained heads when there are none, or for an engine that is not there or was made of other weights. An engine
    that is there but fails, then or later, or does not agree with torch, is replaced by torch with a warning. Use one
    tracker from one thread at a time.
    """

    def __init__(
        self,
        model: str | Path = "snscf_mobilenetv2",
        *,
        device: str = "auto",
        mode: str = "auto",
        engine: str | Path = "auto",
        config: TrackerConfig | None = None,
    ) -> None:
        if mode != "auto" and mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}; there are auto, {', '.join(MODES)}")
        self.device = _device(device)
        network, self.weights = load(model)
        if mode == "auto":
            mode = "snscf" if self.weights.trained else "correlation_filter"
        if mode != "correlation_filter" and not self.weights.trained:
            raise ValueError(
                f"mode {mode!r} needs trained heads, and {self.weights.files[0]} holds only an ImageNet backbone: "
                "use mode 'correlation_filter' or other weights"
            )
        self.mode = mode
        self.model = self.weights.model
        tuning = tuning_of(self.weights.files)
        self.calibrations = tuning.calibrations
        self.config: TrackerConfig = config or changed(TrackerConfig(), tuning.settings)
        weighted = tuple(level for level in self.weights.levels if self.config.level_weights[level] > 0)
        levels = LEVELS if self.weights.trained else weighted
        self.subject = Subject(
            network,
            self.weights,
            levels,
            proposals=self._uses_proposals,
            device=self.device,
            search_size=self.config.search_size,
        )
        self._digest = hashlib.sha256("".join(self.subject.digests).encode()).hexdigest()
        self.runtime: Engine = make(engine, self.subject)
        self.network = network.to(self.device)
        if self.device.type == "cpu":
            self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._sections = self.subject.sections
        level_weights = torch.tensor(self._response_weights(levels))
        anchors = network.anchors_on(network.places(self.config.search_size))
        selection = Selection(self.config, self.mode, anchors, self._sections, level_weights)
        self._selection = selection.to(self.device)
        self._learning = Learning(self.config, self._sections, self.device)
        # The steps on the device, in the form in which the engine runs them fastest.
        self._search: Step[Seen] = self.runtime.recorded(Search(self.runtime, self._selection))
        self._learn: Step[Learned] = self.runtime.recorded(self._learning)

    @property
    def engine(self) -> str:
        """What runs the network: one of ``ENGINES``."""
        return self.runtime.name

    def warm_up(self) -> None:
        """Runs everything once, so that the first real frame is not slower than the others."""
        frame = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
        target = self.init(frame, (130, 90, 60, 60))
        self.update(frame, target)
        target.unlearned = self.config.learning_interval - 1
        self.update(frame, target)
        if isinstance(self._search, Recorded):
            with torch.inference_mode():
                for count in (1, 2, 4):  # a target that is lost needs three
                    targets = [copy.deepcopy(target) for _ in range(count)]
                    features, _ = self._seen([self._region(frame, one, one.centre, one.size) for one in targets])
                    if self._adapts:
                        self._adapt(targets, features, [1.0] * count, [(0.0, 0.0)] * count)
        self.runtime.prepare()

    def init(self, frame: Frame, box: npt.ArrayLike) -> Target:
        """Starts following what is in the box.

        frame: H x W x 3 uint8 BGR. box: (x, y, w, h), top-left corner, pixels, may be fractional and may reach over
        the frame's border. Raises ValueError, naming the number that is wrong (see ``check_box``, ``check_frame``).
        """
        frame = check_frame(frame)
        height, width = frame.shape[:2]
        x, y, w, h = check_box(box, width, height)
        centre, size = (x + w / 2, y + h / 2), (w, h)
        with torch.inference_mode(), self._threads():
            side = context_side(w, h)
            template = kernels = None
            if self._uses_proposals:
                exemplar = cut_crops(frame, [(centre, side)], TEMPLATE_SIZE, self.device).permute(0, 3, 1, 2).float()
                template = self.network.template(self.network.reduce(self.network.extract(exemplar)))
                kernels = self.network.kernels(template)
            crop_size = self.config.search_size
            side *= crop_size / TEMPLATE_SIZE
            crops = cut_crops(frame, [(centre, side)], crop_size, self.device)
            found = self._or_torch(lambda: self.runtime.search(crops, kernels))
            (features,) = spatially_semantic_features([found.features.contiguous()], self.config.grid)
            parts = features.split(self._sections, 1)
            gains = [float(part.square().sum(1).mean().clamp(min=1e-12).rsqrt()) for part in parts]
            views = self._learning.views([size], [1.0], [(0.0, 0.0)])
            learned = self._learning(features, self._on_device([gains]), *views)
            filters = acf.FilterBank(*learned, self._sections, self.config.ridge)
            given = self._on_device([[(0.0, 0.0, w * crop_size / side, h * crop_size / side)]])
            target = Target(
                centre,
                size,
                (width, height),
                filters,
                gains,
                template,
                Confidence(),
                Memory.of(colours(frame, (x, y, w, h))),
                Memory.of(embeddings(features, given, self._sections)[0, 0].cpu().numpy()),
                usual_size=size,
                weights=self._digest,
                kernels=kernels,
            )
            if self._uses_proposals:
                region = self._region(frame, target, centre, size)
                candidates = self._selection(
                    features,
                    found,
                    None if self.mode == "siamese" else filters,
                    self._on_device([gains]),
                    self._on_device(self._unchanged([region])),
                )
                target.size_factors = self._size_factors(region, candidates)
        return target

    @overload
    def update(self, frame: Frame, targets: Target) -> Track: ...

    @overload
    def update(self, frame: Frame, targets: Sequence[Target]) -> list[Track]: ...

    def update(self, frame: Frame, targets: Target | Sequence[Target]) -> Track | list[Track]:
        """Finds the target, or all of several in one forward pass, in the next frame, and changes them accordingly.

        If the frame's size differs from the one before, the target is taken to have been scaled with the picture.
        Raises ValueError for a frame or targets that can't be used; then no target has changed.
        """
        several = [targets] if isinstance(targets, Target) else list(targets)
        (tracks,) = self.update_views([(frame, several)])
        return tracks[0] if isinstance(targets, Target) else tracks

    def update_views(self, views: Sequence[tuple[Frame, Sequence[Target]]]) -> list[list[Track]]:
        """``update`` for several frames (of several cameras) with the targets in each, all in one forward pass.

        Returns the tracks of each frame. Raises as ``update`` does; then no target has changed.
        """
        frames = [check_frame(frame) for frame, _ in views]
        pairs = [(frame, target) for frame, (_, targets) in zip(frames, views, strict=True) for target in targets]
        everyone = [target for _, target in pairs]
        if not pairs:
            return [[] for _ in views]
        self._check(everyone)
        for frame, target in pairs:
            target.rescale(frame.shape[1], frame.shape[0])
        with torch.inference_mode(), self._threads():
            regions = [region for frame, target in pairs for region in self._regions(frame, target)]
            tracks = iter(self._follow(everyone, regions, *self._seen(regions)))
        return [[next(tracks) for _ in targets] for _, targets in views]

    def searched(self, frame: Frame, targets: Sequence[Target]) -> tuple[Tensor, Tensor | None]:
        """What the engine would be given for these targets in this frame: crops and kernels, see `Engine.search`."""
        return self._inputs([self._region(frame, target, target.centre, target.size) for target in targets])

    # All targets, one step ------------------------------------------------------------------------------------------

    def _region(self, frame: Frame, target: Target, centre: Point, size: Point) -> _Region:
        return _Region(frame, target, centre, size, context_side(*size) * self.config.search_size / TEMPLATE_SIZE)

    def _cell(self, region: _Region) -> float:
        """Frame pixels from one cell of the features to the next. The crop is a little longer than its cells."""
        return STRIDE * region.side / self.config.search_size

    def _regions(self, frame: Frame, target: Target) -> list[_Region]:
        """Where to search: around the target, and for a lost one in other parts of the frame in turn."""
        around = self._region(frame, target, target.centre, target.size)
        if not (target.confidence.lost and self._uses_proposals):
            return [around]
        _, (w, h) = target.last_known or (target.centre, target.size)

        def scaled(scale: float) -> Point:
            return (w * scale, h * scale)

        if target.confidence.state == TrackState.LOST:
            around = self._region(frame, target, target.centre, scaled(SCALES[target.searched % len(SCALES)]))
        # The plan stays the same for as long as the target is lost.
        target.lost_at = target.lost_at or target.last_known or (target.centre, target.size)
        last, usual = target.lost_at
        elsewhere = [
            place(
                target.searched * self.config.search_places + number,
                usual,
                target.frame_size,
                last,
                self.config.search_size,
            )
            for number in range(self.config.search_places)
        ]
        return [around] + [self._region(frame, target, centre, scaled(scale)) for centre, scale in elsewhere]

    def _inputs(self, regions: Sequence[_Region]) -> tuple[Tensor, Tensor | None]:
        """Crops and kernels for the engine."""
        crops = []
        for _, neighbours in groupby(regions, lambda region: id(region.frame)):
            together = list(neighbours)
            places = [(region.centre, region.side) for region in together]
            crops.append(cut_crops(together[0].frame, places, self.config.search_size, self.device))
        whole = crops[0] if len(crops) == 1 else torch.cat(crops)
        return whole, self._kernels([region.target for region in regions])

    def _follow(
        self, targets: list[Target], regions: list[_Region], features: Tensor, choices: list[list[_Choice]]
    ) -> list[Track]:
        proposals: dict[int, list[tuple[_Region, _Choice]]] = {id(target): [] for target in targets}
        homes: dict[int, int] = {}
        for index, (region, ones) in enumerate(zip(regions, choices, strict=True)):
            homes.setdefault(id(region.target), index)
            proposals[id(region.target)] += [(region, choice) for choice in ones]
        tracks, learning, zooms, shifts = [], [], [], []
        for target in targets:
            home = homes[id(target)]
            match = self._match(target, proposals[id(target)])
            track = self._move(target, match, elsewhere=match.region is not regions[home])
            tracks.append(track)
            target.unlearned += track.state == TrackState.TRACKED
            if track.state == TrackState.TRACKED and target.unlearned >= self.config.learning_interval:
                target.unlearned = 0
                learning.append(home)  # what was found elsewhere is never tracked at once
                zooms.append(context_side(*target.size) / context_side(*match.region.size))
                dx, dy = (offset / self._cell(match.region) for offset in match.choice.offset)
                shifts.append((dx, dy))
            beside = [
                _place(region, choice)
                for region, choice in proposals[id(target)]
                if choice is not match.choice and choice.classification >= self.config.distractor_above
            ]
            known = None if target.confidence.lost else target.centre
            hidden = target.centre if target.last_known is None else target.last_known[0]
            target.distractors = follow(target.distractors, beside, known, _length(target.size), hidden)
        if learning and self._adapts:
            found_there = features if len(learning) == len(regions) else features[learning]
            self._adapt([regions[index].target for index in learning], found_there, zooms, shifts)
        return tracks

    def _match(self, target: Target, proposals: Sequence[tuple[_Region, _Choice]]) -> _Match:
        """What is taken for the target, if anything is. The first proposals are those of the region around it.

        Of one that was just there: the best proposal that is no distractor, or where that is hardly it, the likeliest;
        then the target is astray. Of a lost one: the likeliest anywhere.
        """
        size, home = _length(target.size), proposals[0][0]
        lost = target.confidence.lost
        looking = target.confidence.looking > 0
        ours = [
            (region, choice)
            for region, choice in proposals
            if owner(_place(region, choice), target.expected, target.distractors, size) is None
        ]
        matches: list[_Match] = []
        for region, choice in ours or proposals:
            here = region is home and (not lost or looking)
            if here and lost and matches:
                continue
            x, y = _place(region, choice)
            seen, fitted = self._fitted(region, choice)
            evidence = Evidence(
                choice.classification,
                choice.response,
                choice.agreement,
                math.dist((x, y), target.expected) / size,
                target.colours.strangeness(seen),
                target.embedding.strangeness(choice.embedding),
                choice.quality,
            )
            prior = 0.0 if ours else _ALIEN
            if not here:
                last = target.centre if target.last_known is None else target.last_known[0]
                away = math.dist((x, y), last) / region.side * (self.config.search_size / SEARCH_SIZE)
                prior -= self.config.distance_penalty * max(0.0, away - 0.5 - _ROAMING * target.motion.unseen)
                prior -= _LOYALTY if looking else 0.0
            calibration = self.calibrations[self.mode if here or not self._uses_proposals else "searching"]
            there, right = (one.probability(evidence, prior) for one in (calibration.there, calibration.right))
            matches.append(_Match(region, choice, (x, y), fitted, evidence, there, right, seen))
            if not lost and matches[0].there >= self.config.confidence.uncertain_below:
                break
        likeliest = max(matches, key=lambda match: match.there)
        if not lost and likeliest is not matches[0]:
            target.confidence.go_astray()
        return likeliest

    def _fitted(self, region: _Region, choice: _Choice) -> tuple[Vectors, Point]:
        """Colours in the box of a choice, and its size; of a lost target, in the box of the size that they suit best.

        The network sees a target that returns smaller or larger, but takes it for one of the size that it looks for.
        """
        (x, y), (w, h), memory = _place(region, choice), choice.size, region.target.colours
        zooms = _ZOOMS if region.target.confidence.lost and choice.classification >= _PLAUSIBLE else _ZOOMS[:1]
        found = []
        for zoom in zooms:
            seen = colours(region.frame, (x - w * zoom / 2, y - h * zoom / 2, w * zoom, h * zoom))
            found.append((memory.strangeness(seen) + _ZOOM_COST * abs(math.log(zoom)), zoom, seen))
        _, zoom, seen = min(found, key=lambda one: one[0])
        return seen, (w * zoom, h * zoom)

    def _move(self, target: Target, match: _Match, *, elsewhere: bool) -> Track:
        """Changes the target, but for its filters and distractors, by what was found, around it or elsewhere."""
        config, confidence = self.config.confidence, target.confidence
        was_lost, old_size = confidence.lost, target.size
        strange = match.evidence.colour > config.found_strangeness
        state = confidence.observe(match.there, config, strange=strange, elsewhere=elsewhere)
        centre, score = match.centre, match.right
        if state == TrackState.LOST or (not confidence.lost and match.there < config.coast_below):
            if target.last_known is not None:
                target.centre, target.size = target.last_known
                target.last_known = None
            dx, dy = target.motion.coast(self.config.coast)
            centre = (target.centre[0] + dx, target.centre[1] + dy)
            # The box is not that of the match.
            score = min(score, _UNSEEN)
            if state == TrackState.LOST:
                if not was_lost:
                    target.size = target.usual_size
            centre = _inside(centre, target.size, target.frame_size)
        else:
            size, rate = target.size, 0.0
            if was_lost and (elsewhere or target.last_known is None):
                target.last_known = target.last_known or (target.centre, target.size)
                size, rate = target.last_known[1], _FIRST_SIGHT_RATE
                target.motion.velocity = (0.0, 0.0)
            elif was_lost or state == TrackState.TRACKED or match.there >= config.tracked_above:
                rate = max(match.choice.rate, _LOOKING_RATE if was_lost else 0.0)
            size = (
                size[0] + rate * (match.size[0] - size[0]),
                size[1] + rate * (match.size[1] - size[1]),
            )
            target.size = _limited(size, old_size, self.config.min_side, *target.frame_size)
            if not confidence.lost:
                target.last_known, target.lost_at, target.searched = None, None, 0
            centre = _inside(centre, target.size, target.frame_size)
            displacement = (0.0, 0.0) if was_lost else (centre[0] - target.centre[0], centre[1] - target.centre[1])
            target.motion.seen(displacement, surely=state == TrackState.TRACKED)
            if state == TrackState.TRACKED:
                if not was_lost:
                    target.colours.remember(match.colours)
                    target.embedding.remember(match.choice.embedding)
                (w, h), (usual_w, usual_h), share = target.size, target.usual_size, _USUAL_RATE
                target.usual_size = (usual_w + share * (w - usual_w), usual_h + share * (h - usual_h))
        if confidence.lost:
            target.searched += 1
        target.centre = centre
        return Track(target.box, score, state, match.choice.quality)

    def _best_scales(self, regions: Sequence[_Region], features: Tensor) -> list[_Choice]:
        """Mode correlation_filter: where on which of the scales the response is highest."""
        steps = self.config.scale_steps
        targets = [region.target for region in regions]
        bank, gains = self._bank(targets), self._on_device([target.gains for target in targets])
        scaled = [torch.from_numpy(resampling(self.config.grid, step, 0.0)).to(features) for step in steps]
        responses = torch.cat([self._selection.response(step @ features @ step.T, bank, gains) for step in scaled], 1)
        penalties = [1.0 if step == 1 else self.config.scale_change_penalty for step in steps]
        peaks = responses.flatten(2).amax(2) * torch.tensor(penalties, device=self.device)
        best = peaks.argmax(1)
        chosen = responses[torch.arange(len(targets), device=self.device), best].cpu()
        found = []
        qualities, maps = acf.peak_to_sidelobe_ratio(chosen).tolist(), chosen.numpy()
        for region, index, response in zip(regions, best.tolist(), maps, strict=True):
            row, column = _sub_cell_peak(response)
            pixels = self._cell(region) * steps[index]
            found.append((column * pixels, row * pixels, *(side * steps[index] for side in region.size)))
        scales = np.array([[[region.side / self.config.search_size]] for region in regions], np.float32)
        boxes = torch.from_numpy(np.array(found, np.float32)[:, None] / scales).to(self.device)
        vectors = embeddings(features, boxes, self._sections).cpu().numpy()
        return [
            _Choice((x, y), (w, h), 1.0, math.nan, float(response.max()), math.nan, quality, embedding)
            for (x, y, w, h), response, quality, (embedding,) in zip(found, maps, qualities, vectors, strict=True)
        ]

    def _seen(self, regions: Sequence[_Region]) -> tuple[Tensor, list[list[_Choice]]]:
        """The features of each region, and what there may be the target, the likeliest first."""
        crops, kernels = self._inputs(regions)
        if not self._uses_proposals:
            features = self._searched(crops).features
            return features, [[choice] for choice in self._best_scales(regions, features)]
        targets = [region.target for region in regions]
        filters = None if self.mode == "siamese" else self._bank(targets)
        features, candidates = self._searched(
            crops,
            kernels,
            None if filters is None else filters.numerator,
            None if filters is None else filters.denominator,
            self._on_device([target.gains for target in targets]),
            self._on_device(self._unchanged(regions)),
        )
        assert candidates is not None
        return features, self._choices(regions, candidates)

    def _searched(self, crops: Tensor, *others: Tensor | None) -> Seen:
        """What `Search` returns; valid until the next call."""
        return self._or_torch(lambda: self._search(crops, *others))

    def _or_torch(self, step: Callable[[], _T]) -> _T:
        """Does what the engine is a part of; if that fails and torch does not, with torch in its place from now on."""
        try:
            return step()
        except torch.cuda.OutOfMemoryError:
            raise  # torch needs as much
        except Exception as error:  # whatever a runtime may raise
            if self.engine == "torch" and not isinstance(error, RecordingError):
                raise
            reason = str(error)
        failed = self.runtime, self._search
        self.runtime = make("torch", self.subject)
        self._search = Search(self.runtime, self._selection)
        try:
            result = step()
        except Exception:
            self.runtime, self._search = failed  # it was not the engine's fault
            raise
        _LOG.warning("the engine %s failed, torch runs the network instead: %s", failed[0].name, reason)
        return result

    def _choices(self, regions: Sequence[_Region], candidates: Tensor) -> list[list[_Choice]]:
        """Candidates (see `Seen`) in pixels of the frames."""
        choices = []
        for region, rows in zip(regions, candidates.cpu().numpy(), strict=True):
            scale = region.side / self.config.search_size
            fw, fh = region.target.size_factors
            ones = zip(rows[:, :NUMBERS].tolist(), rows[:, NUMBERS:], strict=True)
            choices.append(
                [
                    _Choice((cx * scale, cy * scale), (w * scale * fw, h * scale * fh), *[*values, embedding])
                    for (cx, cy, w, h, *values), embedding in ones
                ]
            )
        return choices

    def _unchanged(self, regions: Sequence[_Region]) -> list[tuple[float, float]]:
        """Side of the context and ratio of what would be proposed for targets that have not changed."""
        found = []
        for region in regions:
            scale = region.side / self.config.search_size
            w, h = (
                side / (factor * scale) for side, factor in zip(region.size, region.target.size_factors, strict=True)
            )
            found.append((context_side(w, h), w / h))
        return found

    def _size_factors(self, region: _Region, candidates: Tensor) -> tuple[float, float]:
        """What brings the size that is proposed on the first frame towards the given one.

        Boxes are drawn tightly or loosely, with or without the legs; the heads know only what they were trained on.
        """
        choice = self._choices([region], candidates)[0][0]
        w, h = (
            min(max(given / size, 1 / _MOST_CORRECTION), _MOST_CORRECTION) ** self.config.size_correction
            for given, size in zip(region.size, choice.size, strict=True)
        )
        return w, h

    # Filters --------------------------------------------------------------------------------------------------------

    def _adapt(
        self, targets: list[Target], features: Tensor, zooms: Sequence[float], shifts: Sequence[Point]
    ) -> None:
        """Moves the filters towards what they would be on the targets as found."""
        bank, gains = self._bank(targets), self._on_device([target.gains for target in targets])
        views, labels = self._learning.views([target.size for target in targets], zooms, shifts)
        inputs = features, gains, views, labels, bank.numerator, bank.denominator
        some = [slice(start, start + _AT_ONCE) for start in range(0, len(targets), _AT_ONCE)]
        learned = [self._learned(*(part[rows] for part in inputs)) for rows in some]
        whole = learned[0] if len(learned) == 1 else Learned(*map(torch.cat, zip(*learned, strict=True)))
        self._share(replace(bank, numerator=whole.numerator, denominator=whole.denominator), targets)

    def _learned(self, *inputs: Tensor) -> Learned:
        """What `Learning` returns, to keep."""
        if isinstance(self._learn, Recorded):
            try:
                return Learned(*(part.clone() for part in self._learn(*inputs)))
            except RecordingError as error:
                _LOG.warning("the filters learn without a recording: %s", error)
                self._learn = self._learning
        return self._learning(*inputs)

    def _bank(self, targets: Sequence[Target]) -> acf.FilterBank:
        filters = [target.filters for target in targets]
        whole = replace(
            filters[0],
            numerator=_stacked([one.numerator for one in filters]),
            denominator=_stacked([one.denominator for one in filters]),
        )
        if len({id(target) for target in targets}) == len(targets):
            self._share(whole, targets)
        return whole

    def _share(self, whole: acf.FilterBank, targets: Sequence[Target]) -> None:
        """Makes the targets' filters parts of one tensor, so that they need not be copied to be used together."""
        for index, target in enumerate(targets):
            one = slice(index, index + 1)
            target.filters = replace(whole, numerator=whole.numerator[one], denominator=whole.denominator[one])

    # Network --------------------------------------------------------------------------------------------------------

    @property
    def _uses_proposals(self) -> bool:
        return self.mode != "correlation_filter"

    @property
    def _adapts(self) -> bool:
        return self.mode not in ("siamese", "naive_fusion")

    def _on_device(self, values: Any) -> Tensor:
        """Numbers as floats."""
        return torch.tensor(values, dtype=torch.float32, device=self.device)

    def _kernels(self, targets: list[Target]) -> Tensor | None:
        """N x ..., see `SNSCF.kernel_shape`."""
        if not self._uses_proposals:
            return None
        kernels = []
        for target in targets:
            if target.kernels is None:
                assert target.template is not None
                target.kernels = self.network.kernels(target.template)
            kernels.append(target.kernels)
        whole = _stacked(kernels)
        # From now on they are parts of one tensor, until other targets are followed together.
        for index, target in enumerate(targets):
            target.kernels = whole[index : index + 1]
        return whole

    def _response_weights(self, levels: Sequence[int]) -> list[float]:
        if self.weights.trained:
            return [float(w) for w in self.network.response_weights.softmax(0)]
        weights = [self.config.level_weights[level] for level in levels]
        return [w / sum(weights) for w in weights]

    def _check(self, targets: Sequence[Target]) -> None:
        """Raises ValueError if these targets can't be followed together by this tracker."""
        if len({id(target) for target in targets}) < len(targets):
            raise ValueError("a target is given more than once")
        size = acf.fft_size(self.config.grid)
        for target in targets:
            filters = target.filters
            if not math.isclose(filters.regularisation, self.config.ridge, rel_tol=1e-6):
                raise ValueError("the target's filters were made with another search_size or regularisation")
            if filters.sections != self._sections or filters.numerator.shape[-2] != size:
                raise ValueError(
                    f"the target's filters have {filters.sections} channels and size {filters.numerator.shape[-2]}, "
                    f"this tracker's {self._sections} and {size}: it was made with another model or configuration"
                )
            if self._uses_proposals and target.template is None:
                raise ValueError(f"the target has no template, which mode {self.mode!r} needs: make it in this mode")
            if target.weights not in ("", self._digest):
                raise ValueError("the target was made with other weights than this tracker's")
            if filters.numerator.device != self.device:
                raise ValueError(f"the target is on {filters.numerator.device}, the tracker on {self.device}")

    def _threads(self) -> AbstractContextManager[object]:
        """While another engine has threads of its own, torch's would only wait for each other beside them."""
        return _ONE_THREAD if self.runtime.threads else nullcontext()


class _OneThread:
    """While it is entered, by however many threads, torch has one thread; then as many as the first of them had."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 1

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = torch.get_num_threads()
            self._inside += 1
            torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            torch.set_num_threads(self._before)


_ONE_THREAD = _OneThread()


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"device {name!r} is not there: torch finds {torch.cuda.device_count()} GPUs")
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _place(region: _Region, choice: _Choice) -> Point:
    """The centre of a choice in the frame."""
    return (region.centre[0] + choice.offset[0], region.centre[1] + choice.offset[1])


def _length(size: Point) -> float:
    """The side of a square of the same area."""
    return math.sqrt(size[0] * size[1])


def _limited(
    size: tuple[float, float], old: tuple[float, float], min_side: float, width: int, height: int
) -> tuple[float, float]:
    """The new size, unless it leaves what can be tracked and the old one was nearer to it."""
    too_small = min(size) < min_side and min(size) < min(old)
    too_large = (size[0] > 1.5 * width or size[1] > 1.5 * height) and size[0] * size[1] > old[0] * old[1]
    return old if too_small or too_large else size


def _inside(centre: Point, size: Point, frame_size: tuple[int, int]) -> Point:
    """The nearest centre with which a pixel of the box, each way, is in the frame."""
    x, y = (
        min(max(place, 1 - side / 2), length - 1 + side / 2)
        for place, side, length in zip(centre, size, frame_size, strict=True)
    )
    return (x, y)


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """1 x ... tensors as one N x ..., without a copy if that is what they were cut from."""
    first, size = parts[0], parts[0].numel()
    start = first.data_ptr(), first.untyped_storage().data_ptr()
    places = ((part.data_ptr(), part.untyped_storage().data_ptr()) for part in parts)
    step = size * first.element_size()
    if all(place == (start[0] + index * step, start[1]) for index, place in enumerate(places)):
        return first.as_strided((len(parts), *first.shape[1:]), (size, *first.stride()[1:]))
    return torch.cat(list(parts))


def _sub_cell_peak(response: npt.NDArray[np.float32]) -> tuple[float, float]:
    """(row, column) of the peak relative to the middle cell, refined by a parabola through its neighbours."""
    row, column = (int(i) for i in np.unravel_index(int(response.argmax()), response.shape))

    def vertex(before: float, at: float, after: float) -> float:
        curvature = before - 2 * at + after
        return 0.5 * (before - after) / curvature if curvature < 0 else 0.0

    rows, columns = response.shape
    up = vertex(*response[row - 1 : row + 2, column]) if 0 < row < rows - 1 else 0.0
    across = vertex(*response[row, column - 1 : column + 2]) if 0 < column < columns - 1 else 0.0
    return float(row + up - (rows - 1) / 2), float(column + across - (columns - 1) / 2)
