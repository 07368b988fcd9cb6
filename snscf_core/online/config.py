# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Defines the settings of the online tracker, each with its unit and reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from ..crops import SEARCH_SIZE
from ..model.geometry import cells
from .appearance import MemoryConfig
from .confidence import ConfidenceConfig
from .motion import DistractorConfig, MotionConfig

SEARCH_SIZES = 159, 511  # pixels: the smallest search crop, and the largest


@dataclass(frozen=True)
class RecoveryConfig:
    """Settings of the search for a lost target, and of judging the candidates for it."""

    scales: tuple[float, ...] = (1.0, 0.7, 1.6)  # of its size to search for; each finds 0.7 to 2 times that size
    step: float = 0.7  # share of a search region's side from one place to the next
    max_places: int = 4096  # for each kind of region; a small target has small regions, and many of them
    drift: float = 0.05  # movement allowed in a frame, in search regions of the usual size
    switch_margin: float = 1.0  # logit by which a candidate elsewhere must beat the one being verified
    zooms: tuple[float, ...] = (1.0, 0.7, 0.5, 1.4)  # factors tried on a candidate's box; colours decide between them
    zoom_cost: float = 0.05  # added to the strangeness for each e-fold of zoom
    zoom_above: float = 0.5  # classification score from which a candidate's box is zoomed
    first_size_rate: float = 0.7  # weight of its size at first sight against its remembered size
    verify_size_rate: float = 0.4  # smallest size rate during verification: the scale at which it was found is a guess


@dataclass(frozen=True)
class TemplateConfig:
    """Settings of the renewal of a target's template."""

    share: float = 0.0  # of the present look in the template; the given box has the rest; 0: the template stays
    interval: int = 20  # tracked frames from one renewal to the next
    score_above: float = 0.6  # smallest score of a box that the template learns from


@dataclass(frozen=True)
class TrackerConfig:
    """Hyper-parameters of the online tracker. Lengths are relative to the target, so they hold for any resolution."""

    search_size: int = SEARCH_SIZE  # pixels of the search crop, 16 n + 15; 191 takes 0.6 of the time but covers less
    brightness: float = 80.0  # mean luma of 255 levels to which darker crops are brightened, at most 4 times; 0: none
    level_weights: tuple[float, ...] = (0.3, 1.0, 0.0)  # of the responses, conv3 to conv5, without trained weights
    learning_rate: float = 0.01  # of the filters' running averages, for each frame in which the target is tracked
    learning_interval: int = 3  # the filters learn once in so many tracked frames
    regularisation: float = 1e-4  # lambda of eq 7, relative to the mean power of the features
    label_sigma: float = 0.1  # of eq 6, relative to the target's size
    learning_window: float = 0.7  # sigma of the Gaussian window on learned features, relative to width and height
    scale_steps: tuple[float, ...] = (0.96, 1.0, 1.04)  # scales searched around the last one
    scale_change_penalty: float = 0.995  # factor on the peak of a scale other than 1
    anchor_penalty: float = 0.08  # SiamRPN's penalty on changes of size and ratio
    window_influence: float = 0.5  # SiamRPN's cosine window on the proposals' scores
    merge_overlap: float = 0.8  # proposals whose IoU with the best exceeds this are averaged with it; 1: none
    size_rate: float = 0.2  # how fast the size follows the proposal
    shown_size_rate: float = 0.0  # share of the way from the followed size to the proposal's, for the box shown
    size_correction: float = 0.5  # exponent on (given size / proposed size) in the first frame; scales later proposals
    response_share: float = 0.5  # of the filters in the fused score of mode snscf
    centre_correction: float = 0.0  # in snscf: share of the way from a proposal's centre to the filters' peak
    scale_correction: float = 0.0  # in snscf: how far the filters change the size each time they learn; 0: none
    usual_balance: float = 0.08  # of the filters' responses at a larger and a smaller scale, if the size is right
    min_side: float = 4.0  # pixels; no side of a target's box shrinks below this
    max_size_correction: float = 1.5  # limit of (given size / proposed size), and of its inverse
    usual_size_rate: float = 0.05  # of the running mean of the size, to which the size returns when a target is lost
    hidden_score: float = 0.05  # largest score of a box that follows its motion instead of a match
    distractor_logit: float = -6.0  # added to the logit of a candidate that is a known distractor
    sidelobe: int = 40  # crop pixels from the peak of a map that do not count as sidelobe
    learning_batch: int = 4  # targets whose filters learn together; more take memory, and recordings of more sizes
    confidence: ConfidenceConfig = field(default_factory=ConfidenceConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    distractors: DistractorConfig = field(default_factory=DistractorConfig)
    appearance: MemoryConfig = field(default_factory=MemoryConfig)
    recovery: RecoveryConfig = field(default_factory=RecoveryConfig)
    template: TemplateConfig = field(default_factory=TemplateConfig)
    candidates: int = 3  # proposals in different places that are judged in each search region
    distractor_above: float = 0.3  # classification score from which one of them is remembered as a distractor; 1: none
    coast: int = 15  # frames for which a hidden target is expected to keep moving
    search_places: int = 1  # places searched at once for a lost target, besides its last place; 0: none
    search_interval: int = 2  # frames from one such search to the next
    distance_penalty: float = 4.0  # on the logit, for each search region of the usual size that a candidate is too far

    def __post_init__(self) -> None:
        smallest, largest = SEARCH_SIZES
        for name in ("search_size", "learning_interval", "search_interval"):
            if not isinstance(value := getattr(self, name), int):
                raise ValueError(f"{name} must be a whole number, got {value!r}")
        if not (smallest <= self.search_size <= largest and self.search_size % 16 == 15):
            raise ValueError(
                f"search_size must be 16 n + 15 pixels in [{smallest}, {largest}] (such as 191, 255 or 319), "
                f"got {self.search_size}"
            )
        for name in ("learning_interval", "search_interval"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1 frame, got {value}")

    @property
    def ridge(self) -> float:
        """Lambda of eq 7, scaled for Fourier transforms that are not divided by the number of cells."""
        return self.regularisation * self.grid**2

    @property
    def grid(self) -> int:
        """Cells a side of the spatially semantic features of a search crop."""
        return cells(self.search_size)


def changed(config: Any, settings: Mapping[str, Any]) -> Any:
    """Returns a configuration with some settings replaced, by names such as ``confidence.lost_after``.

    Lists become tuples. Raises ValueError for an unknown name, and the configuration's own errors for a bad value.
    """
    known = {item.name: getattr(config, item.name) for item in fields(config)}
    values: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        first, _, rest = name.partition(".")
        if first not in known or is_dataclass(known[first]) != bool(rest):
            raise ValueError(f"{type(config).__name__} has no setting {name!r}")
        if rest:
            inner.setdefault(first, {})[rest] = value
        else:
            values[first] = tuple(value) if isinstance(value, list) else value
    values.update({first: changed(known[first], rest) for first, rest in inner.items()})
    return replace(config, **values)
