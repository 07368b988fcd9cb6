# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Holds the settings of `snscf train` for each network when it continues from trained weights on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

# Relative frequency of a layout's pictures.
DATA_WEIGHTS: Mapping[str, float] = MappingProxyType({"got10k": 3.0, "coco": 1.0})

_BOTH = (
    *("--optimiser", "adamw", "--weight-decay", "0.05"),
    *("--set", "losses.box_loss=giou", "--set", "losses.ridge_every=4"),
    *("--set", "pairs.search_stretch=0.25", "--set", "pairs.template_scale=0.07", "--set", "pairs.template_shift=4"),
    *("--set", "pairs.grayscale=0.25", "--set", "pairs.inverted=0.3"),
    *("--set", "pairs.appearance.light=0.6", "--set", "pairs.appearance.contrast=0.5"),
)
RECIPES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "snscf_r50": (
            *_BOTH,
            *("--batch", "64", "--channels", "128", "--average-share", "0.03"),
            *("--set", "pairs.search_scale=0.6"),
            *("--set", "schedule.heads_share=0.02", "--set", "schedule.heads_rate=0.0007"),
            *("--set", "schedule.peak_rate=0.0007", "--set", "schedule.final_rate=0.00001"),
        ),
        # Its card has batches of 32 and a rate of 0.0005; four times the batch needs twice the rate.
        "snscf_nano": (
            *_BOTH,
            *("--batch", "128", "--channels", "96", "--average-share", "0.06"),
            *("--set", "losses.class_loss=focal", "--set", "losses.box_weight=2", "--set", "losses.level_weight=0.3"),
            *("--set", "pairs.composited=0", "--set", "pairs.search_scale=0.5"),
            *("--set", "pairs.surround=0.7", "--set", "pairs.negatives=0.15"),
            *("--set", "schedule.heads_share=0", "--set", "schedule.heads_rate=0.001"),
            *("--set", "schedule.peak_rate=0.001", "--set", "schedule.final_rate=0.00001"),
            *("--set", "schedule.backbone_factor=0.3"),
        ),
    }
)
