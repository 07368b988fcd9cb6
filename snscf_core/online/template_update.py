# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Adapt: mix a target's template with what the target looks like now."""

from __future__ import annotations

from collections.abc import Sequence

from ..arrays import joined
from ..crops import TEMPLATE_SIZE, Frame, context_side, cut_crops
from ..devices import Device
from ..engines import Engine
from .confidence import TrackState
from .config import TemplateConfig
from .target import Target, Track


def due(track: Track, target: Target, config: TemplateConfig) -> bool:
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


def renew(views: Sequence[tuple[Frame, Target]], runtime: Engine, device: Device, config: TemplateConfig) -> None:
    """Mixes the templates of N targets with their features in these frames, and computes their kernels.

    The template of the given box keeps its share. So whatever is learned from a wrong box is gone with the next
    renewal.

    views: each target with its frame, H x W x 3 uint8 BGR.
    """
    crops = joined(
        [
            cut_crops(frame, [(target.centre, context_side(*target.size))], TEMPLATE_SIZE, device)
            for frame, target in views
        ]
    )
    recent = runtime.template(crops)
    for index, (_, target) in enumerate(views):
        assert target.given_template is not None
        target.template = [
            given + config.share * (now[index : index + 1] - given)
            for given, now in zip(target.given_template, recent, strict=True)
        ]
        target.kernels = runtime.kernels(target.template)
        target.unrenewed = 0
