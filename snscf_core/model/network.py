# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Builds the network from backbone, reductions, heads and fusion weights; a pure function of weights and inputs.

State that changes from frame to frame is in ``online.target.Target``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ..crops import SEARCH_SIZE
from .backbones import Backbone, FBNetC, ResNet50
from .geometry import LEVELS, MODELS, NANO, NANO_FILTER_CHANNELS, STRIDE, TEMPLATE_CELLS, Geometry
from .rpn import LightRegionProposal, Proposals, RegionProposal, decode, fuse
from .ssf import spatially_semantic_features

BACKBONES: dict[str, type[Backbone]] = {
    NANO: FBNetC,
    "snscf_r50": ResNet50,
}
assert tuple(BACKBONES) == MODELS


def centre_crop(features: Tensor, cells: int) -> Tensor:
    """Returns the middle ``cells`` x ``cells`` of a square map of odd size."""
    start = (features.shape[-1] - cells) // 2
    return features[..., start : start + cells, start : start + cells]


class SNSCF(nn.Module):
    """A network of the tracker with full heads: ``snscf_r50``.

    ``channels``: width of the reductions and heads (the paper: 256). Raises ValueError for another name; `create` makes
    a network of any name.
    """

    beta: Tensor
    gamma: Tensor
    response_weights: Tensor
    anchors: Tensor

    def __init__(self, name: str = "snscf_r50", channels: int = 256) -> None:
        super().__init__()
        if name not in BACKBONES:
            raise ValueError(f"unknown network {name!r}; there are {', '.join(MODELS)}")
        if (name == NANO) != isinstance(self, SNSCFNano):
            raise ValueError(f"{name} is no {type(self).__name__}: make it with create({name!r})")
        self.name = name
        self.channels = channels
        self.backbone = BACKBONES[name]()
        self.reductions = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, channels, 1, bias=False), nn.BatchNorm2d(channels))
            for inputs in self.backbone.channels
        )
        self.heads = nn.ModuleList(self._head(channels) for _ in LEVELS)
        self.beta = nn.Parameter(torch.zeros(len(LEVELS)))  # eq 3, boxes
        self.gamma = nn.Parameter(torch.zeros(len(LEVELS)))  # eq 3, scores
        self.response_weights = nn.Parameter(torch.zeros(len(LEVELS)))  # weighted sum of the filters' responses
        self.register_buffer("anchors", self.anchors_on(self.places(SEARCH_SIZE)), persistent=False)

    def _head(self, channels: int) -> nn.Module:
        return RegionProposal(channels)

    @property
    def geometry(self) -> Geometry:
        """The shapes of this network."""
        return Geometry(self.name, self.channels)

    @property
    def filter_channels(self) -> int:
        """See `Geometry.filter_channels`."""
        return self.geometry.filter_channels

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Shape of the kernels of one target, as `kernels` returns them."""
        return self.geometry.kernel_shape

    def places(self, search_size: int) -> int:
        """See `Geometry.places`."""
        return self.geometry.places(search_size)

    def anchors_on(self, places: int) -> Tensor:
        """Returns the boxes of `Geometry.anchors_on` as a tensor."""
        return torch.from_numpy(self.geometry.anchors_on(places))

    def extract(self, crops: Tensor, levels: Sequence[int] = LEVELS) -> list[Tensor]:
        """Computes the backbone's taps, N x C_l x G x G per level, from N x 3 x S x S BGR crops (0-255, float)."""
        return self.backbone(crops, levels)

    def aligned(self, taps: Sequence[Tensor]) -> list[Tensor]:
        """Resamples all taps to the grid of the heads."""
        return list(taps)

    def reduce(self, taps: Sequence[Tensor]) -> list[Tensor]:
        """Reduces the three taps to N x channels x G x G each."""
        return [reduction(tap) for reduction, tap in zip(self.reductions, self.aligned(taps), strict=True)]

    def filter_features(self, taps: Sequence[Tensor], reduced: Sequence[Tensor]) -> list[Tensor]:
        """Returns the features for the correlation filters, N x F x 31 x 31 a level, from taps and reduced taps."""
        return list(reduced)

    def template(self, reduced: Sequence[Tensor]) -> list[Tensor]:
        """Crops the reduced features of a template crop to the middle 7 x 7 cells per level."""
        return [centre_crop(level, TEMPLATE_CELLS) for level in reduced]

    def kernels(self, template: Sequence[Tensor]) -> Tensor:
        """Computes the heads' correlation kernels, N x 3 x 2C x 5 x 5, from template features (3 x N x C x 7 x 7).

        C channels belong to classification, the next C to regression. The kernels are the same on every frame.
        """
        heads = cast(Sequence[RegionProposal], self.heads)
        return torch.stack([head.kernels(z) for head, z in zip(heads, template, strict=True)], 1)

    def propose(self, template: Sequence[Tensor], reduced: Sequence[Tensor]) -> Proposals:
        """Returns the fused proposals of eq 3.

        template: features, 3 x N x C x 7 x 7.
        reduced: features of the search crop, 3 x N x C x 31 x 31.
        """
        levels = [head(z, x) for head, z, x in zip(self.heads, template, reduced, strict=True)]
        return fuse(levels, self.beta, self.gamma)

    def boxes(self, proposals: Proposals) -> Tensor:
        """Decodes N x 5 x 4 x 25 x 25 boxes (cx, cy, w, h) in crop pixels relative to the middle of the search crop."""
        return decode(proposals.deltas, self.anchors_on(proposals.deltas.shape[-1]).to(proposals.deltas.device))

    def forward(self, template_crops: Tensor, search_crops: Tensor) -> Proposals:
        """Returns the fused proposals for template crops N x 3 x 127 x 127 and search crops N x 3 x 255 x 255."""
        template = self.template(self.reduce(self.extract(template_crops)))
        return self.propose(template, self.reduce(self.extract(search_crops)))


class SNSCFNano(SNSCF):
    """The small network ``snscf_nano``: levels of stride 8 and 16, and light heads on 15 x 15 cells of stride 16.

    ``channels``: width of the reductions and heads. The correlation filters work on 32 channels a level. These are
    learned projections of the taps, resampled by SSF (eq 4) to the grid of stride 8.
    """

    def __init__(self, name: str = NANO, channels: int = 96) -> None:
        super().__init__(name, channels)
        strides, widths = self.backbone.strides, self.backbone.channels
        # Without padding, a strided depth-wise convolution keeps the middle cell.
        self.downsampling = nn.ModuleList(
            nn.Conv2d(width, width, 3, 2, groups=width, bias=False) if stride == STRIDE else nn.Identity()
            for stride, width in zip(strides, widths, strict=True)
        )
        # Most cells are background, so training starts from low scores (Lin et al., ICCV 2017).
        for head in self.heads:
            nn.init.constant_(head.classification[-1].bias, -3.0)  # type: ignore[union-attr, index]
        self.projections = nn.ModuleList(nn.Conv2d(width, NANO_FILTER_CHANNELS, 1) for width in widths)

    def _head(self, channels: int) -> nn.Module:
        return LightRegionProposal(channels)

    def aligned(self, taps: Sequence[Tensor]) -> list[Tensor]:
        return [downsampled(tap) for downsampled, tap in zip(self.downsampling, taps, strict=True)]

    def filter_features(self, taps: Sequence[Tensor], reduced: Sequence[Tensor]) -> list[Tensor]:
        levels = [projection(tap) for projection, tap in zip(self.projections, taps, strict=True)]
        return spatially_semantic_features(levels, taps[0].shape[-1])


def create(name: str, channels: int | None = None) -> SNSCF:
    """Makes the network of that name (one of ``MODELS``) with random weights.

    ``channels`` is the width of the reductions and heads; None means 96 for ``snscf_nano`` and 256 for ``snscf_r50``.
    Raises ValueError for another name.
    """
    kind = SNSCFNano if name == NANO else SNSCF
    return kind(name) if channels is None else kind(name, channels)
