# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Infer: run the network and the filters on search regions, and select candidates."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import Any, NamedTuple, TypeVar

from ..arrays import Array, as_array, joined, to_numpy
from ..crops import context_side, cut_crops
from ..engines import Engine, NetworkSpec, RecordingError, make
from ..engines.search_output import SearchOutput
from ..engines.step import RecordedStep, Step
from ..requirements import torch_missing
from .appearance import Vectors
from .config import TrackerConfig
from .filter_bank import joined_filters, joined_kernels
from .mode import Mode
from .motion import Point
from .proposals import NUMBERS, ProposalSelector, Search, SearchResult
from .scale_search import best_scales
from .search_regions import Region
from .target import Target

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class Candidate(NamedTuple):
    """A box in a search region that may be the target. Lengths are frame pixels.

    offset: from the region's centre to the candidate's.
    size: width and height.
    rate: how far the target's size should follow it, from 0 to 1.
    classification, response, agreement: at the box, as in `Evidence`.
    quality: peak-to-sidelobe ratio of the map that decided.
    embedding: unit vector of the features in the box.
    """

    region: Region
    offset: Point
    size: Point
    rate: float
    classification: float
    response: float
    agreement: float
    quality: float
    embedding: Vectors

    @property
    def centre(self) -> Point:
        """The centre in the frame."""
        return (self.region.centre[0] + self.offset[0], self.region.centre[1] + self.offset[1])


@dataclass(frozen=True)
class Findings:
    """The candidates and features of N targets.

    candidates: for each target, first those of the region around it; within a region, the best first.
    features: R x D x G x G of all regions; valid until the next call.
    home: for each target, the row of ``features`` that belongs to the region around it.
    """

    candidates: list[list[Candidate]]
    features: Array
    home: list[int]

    def around(self, targets: list[int]) -> Array:
        """Returns the features around some of the targets, given by their indices."""
        rows = [self.home[index] for index in targets]
        return self.features if len(rows) == len(self.features) else self.features[rows]


class Inference:
    """Runs the network and chooses candidates with the engine. If the engine fails, uses torch from then on.

    runtime: the engine in use.
    config: the settings of the tracker.
    step: `Search`, in the form in which the engine runs it fastest.
    """

    def __init__(
        self,
        runtime: Engine,
        spec: NetworkSpec,
        selector: ProposalSelector,
        config: TrackerConfig,
        mode: Mode,
    ) -> None:
        self.runtime, self.selector, self.config = runtime, selector, config
        self.spec, self._mode = spec, mode
        self._device = spec.device
        self.step: Step[SearchResult] = runtime.recorded(Search(runtime, selector))

    @property
    def recorded(self) -> bool:
        """Whether the engine replays recordings of the steps."""
        return isinstance(self.step, RecordedStep)

    def __call__(self, regions: Sequence[Sequence[Region]], targets: Sequence[Target]) -> Findings:
        """Searches the regions of all targets in one pass through the network."""
        flat = [one for some in regions for one in some]
        owners = [target for some, target in zip(regions, targets, strict=True) for _ in some]
        features, candidates = self._found(flat, owners)
        home = [0, *accumulate(len(some) for some in regions)]
        grouped = [[candidate for one in candidates[start:end] for candidate in one] for start, end in pairwise(home)]
        return Findings(grouped, features, home[:-1])

    def inputs(self, regions: Sequence[Region], targets: Sequence[Target]) -> tuple[Array, Array | None]:
        """Returns the engine's inputs, one row a region: crops and kernels as in `Engine.search`."""
        kernels = joined_kernels(targets, self.runtime) if self._mode.uses_proposals else None
        return self.crops(regions), kernels

    def crops(self, regions: Sequence[Region]) -> Array:
        """Cuts the search crops, N x S x S x 3 uint8, on the device."""
        crops = []
        for _, neighbours in groupby(regions, lambda region: id(region.frame)):
            together = list(neighbours)
            places = [(region.centre, region.side) for region in together]
            size, brightness = self.config.search_size, self.config.brightness
            crops.append(cut_crops(together[0].frame, places, size, self._device, brightness))
        return joined(crops)

    def look(self, crops: Array, kernels: Array | None) -> tuple[SearchOutput, Array]:
        """Runs the network alone; returns its output and the filters' input features, N x D x G x G."""
        return self._or_torch(lambda: Search(self.runtime, self.selector).look(crops, kernels))

    def choose(self, region: Region, target: Target, features: Array, found: SearchOutput) -> list[Candidate]:
        """Chooses the candidates of one region from the result of `look`."""
        rows = self.selector(
            features,
            found,
            target.filters if self._mode.uses_filters else None,
            self._on_device([target.gains]),
            self._on_device(self._reference_shapes([region], [target])),
        )
        return self._candidates([region], [target], rows)[0]

    def _found(self, regions: list[Region], targets: list[Target]) -> tuple[Array, list[list[Candidate]]]:
        """Returns the features of each region and its candidates, the best first."""
        crops, kernels = self.inputs(regions, targets)
        gains = self._on_device([target.gains for target in targets])
        if not self._mode.uses_proposals:
            features = self._searched(crops).features
            filters = joined_filters(targets)
            peaks = best_scales(self.config, self.selector, regions, features, filters, gains, self._device)
            return features, [[Candidate(region, *peak)] for region, peak in zip(regions, peaks, strict=True)]
        bank = joined_filters(targets) if self._mode.uses_filters else None
        features, candidates = self._searched(
            crops,
            kernels,
            None if bank is None else bank.numerator,
            None if bank is None else bank.denominator,
            gains,
            self._on_device(self._reference_shapes(regions, targets)),
        )
        assert candidates is not None
        return features, self._candidates(regions, targets, candidates)

    def _searched(self, crops: Array, *others: Array | None) -> SearchResult:
        """Returns the result of `Search`, which is valid until the next call."""
        return self._or_torch(lambda: self.step(crops, *others))

    def _or_torch(self, step: Callable[[], _T]) -> _T:
        """Runs a step of the engine. If it fails but works with torch, torch replaces the engine from now on.

        Where torch is not installed, the engine's error is the caller's.
        """
        try:
            return step()
        except Exception as error:  # runtimes raise exceptions of many kinds
            if type(error).__name__ == "OutOfMemoryError":
                raise  # torch would need as much memory
            if torch_missing():
                raise
            if self.runtime.name == "torch" and not isinstance(error, RecordingError):
                raise
            reason = str(error)
        failed = self.runtime, self.step
        self.runtime = make("torch", self.spec)
        self.step = Search(self.runtime, self.selector)
        try:
            result = step()
        except Exception:
            self.runtime, self.step = failed  # torch fails too, so the engine was not the cause
            raise
        _LOG.warning("the engine %s failed, torch runs the network instead: %s", failed[0].name, reason)
        return result

    def _candidates(self, regions: Sequence[Region], targets: Sequence[Target], rows: Array) -> list[list[Candidate]]:
        """Converts rows as in `SearchResult` to candidates in frame pixels."""
        found = []
        for region, target, ones in zip(regions, targets, to_numpy(rows), strict=True):
            scale = region.side / self.config.search_size
            fw, fh = target.size_factors
            numbers = zip(ones[:, :NUMBERS].tolist(), ones[:, NUMBERS:], strict=True)
            found.append(
                [
                    Candidate(region, (cx * scale, cy * scale), (w * scale * fw, h * scale * fh), *[*values, embedding])
                    for (cx, cy, w, h, *values), embedding in numbers
                ]
            )
        return found

    def _reference_shapes(self, regions: Sequence[Region], targets: Sequence[Target]) -> list[tuple[float, float]]:
        """Returns, for each region, the shape of the proposal that an unchanged target would get.

        The shape is the side of its context in crop pixels, and its ratio of width to height.
        """
        found = []
        for region, target in zip(regions, targets, strict=True):
            scale = region.side / self.config.search_size
            w, h = (side / (factor * scale) for side, factor in zip(region.size, target.size_factors, strict=True))
            found.append((context_side(w, h), w / h))
        return found

    def _on_device(self, values: Any) -> Array:
        return as_array(values, self._device)
