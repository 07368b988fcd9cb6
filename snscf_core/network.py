# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The network: backbone, reductions, heads and fusion weights; a pure function of weights and inputs.

Nothing that changes from frame to frame lives here (that is ``tracker.Target``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from .backbones import Backbone, MobileNetV2, ResNet50
from .rpn import TEMPLATE_CELLS, Proposals, RegionProposal, anchors, decode, fuse

BACKBONES: dict[str, type[Backbone]] = {"snscf_mobilenetv2": MobileNetV2, "snscf_r50": ResNet50}
MODELS = tuple(BACKBONES)
LEVELS = (0, 1, 2)  # conv3, conv4, conv5


def centre_crop(features: Tensor, cells: int) -> Tensor:
    """The middle ``cells`` x ``cells`` of a square map of odd size."""
    start = (features.shape[-1] - cells) // 2
    return features[..., start : start + cells, start : start + cells]


class SNSCF(nn.Module):
    """One of the two networks of the tracker.

    ``name``: ``snscf_mobilenetv2`` or ``snscf_r50``. ``channels``: width of the reductions and heads (the paper: 256).
    Raises ValueError for another name.
    """

    beta: Tensor
    gamma: Tensor
    response_weights: Tensor
    anchors: Tensor

    def __init__(self, name: str = "snscf_mobilenetv2", channels: int = 256) -> None:
        super().__init__()
        if name not in BACKBONES:
            raise ValueError(f"unknown network {name!r}; there are {', '.join(MODELS)}")
        self.name = name
        self.channels = channels
        self.backbone = BACKBONES[name]()
        self.reductions = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, channels, 1, bias=False), nn.BatchNorm2d(channels))
            for inputs in self.backbone.channels
        )
        self.heads = nn.ModuleList(RegionProposal(channels) for _ in LEVELS)
        self.beta = nn.Parameter(torch.zeros(len(LEVELS)))  # eq 3, boxes
        self.gamma = nn.Parameter(torch.zeros(len(LEVELS)))  # eq 3, scores
        self.response_weights = nn.Parameter(torch.zeros(len(LEVELS)))  # weighted sum of the filters' responses
        self.register_buffer("anchors", anchors(25), persistent=False)

    def extract(self, crops: Tensor, levels: Sequence[int] = LEVELS) -> list[Tensor]:
        """N x 3 x S x S BGR crops (0-255, float) to the backbone's taps, one N x C_l x G x G tensor per level."""
        return self.backbone(crops, levels)

    def reduce(self, taps: Sequence[Tensor]) -> list[Tensor]:
        """All three taps to N x channels x G x G each."""
        return [reduction(tap) for reduction, tap in zip(self.reductions, taps, strict=True)]

    def template(self, reduced: Sequence[Tensor]) -> list[Tensor]:
        """Reduced features of a template crop to its middle 7 x 7 cells per level."""
        return [centre_crop(level, TEMPLATE_CELLS) for level in reduced]

    def kernels(self, template: Sequence[Tensor]) -> Tensor:
        """What the heads correlate with, N x 3 x 2C x 5 x 5 (C channels of classification, then of regression), of
        template features (3 x N x C x 7 x 7); the same on every frame."""
        heads = cast(Sequence[RegionProposal], self.heads)
        return torch.stack([head.kernels(z) for head, z in zip(heads, template, strict=True)], 1)

    def propose(self, template: Sequence[Tensor], reduced: Sequence[Tensor]) -> Proposals:
        """Template (3 x N x C x 7 x 7) and search (3 x N x C x 31 x 31) features to the fused proposals of eq 3."""
        levels = [head(z, x) for head, z, x in zip(self.heads, template, reduced, strict=True)]
        return fuse(levels, self.beta, self.gamma)

    def boxes(self, proposals: Proposals) -> Tensor:
        """N x 5 x 4 x 25 x 25 boxes (cx, cy, w, h) in crop pixels relative to the middle of the search crop."""
        return decode(proposals.deltas, anchors(proposals.deltas.shape[-1]).to(proposals.deltas.device))

    def forward(self, template_crops: Tensor, search_crops: Tensor) -> Proposals:
        """Crops N x 3 x 127 x 127 and N x 3 x 255 x 255 to fused proposals."""
        template = self.template(self.reduce(self.extract(template_crops)))
        return self.propose(template, self.reduce(self.extract(search_crops)))
