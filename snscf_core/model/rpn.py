# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Proposes boxes: depth-wise correlation, anchors, the heads and their fusion (section 3.2, eq 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import geometry
from .geometry import RATIOS, TEMPLATE_CELLS


class Proposals(NamedTuple):
    """The score and box of every anchor, from one head or from the fusion of all.

    Light heads have one box a cell in place of 5 anchors, on 15 x 15 cells.

    scores: N x 5 x 25 x 25 logits (target against background).
    deltas: N x 5 x 4 x 25 x 25, (dx, dy, dw, dh) against the anchor as in Faster R-CNN.
    """

    scores: Tensor
    deltas: Tensor


def depthwise_correlation(search: Tensor, kernel: Tensor) -> Tensor:
    """Correlates each channel of N x C x H x W with the same channel of N x C x h x w, without padding."""
    if search.device.type == "cpu" and (search.requires_grad or kernel.requires_grad):
        return cast(Tensor, _DepthwiseCorrelation.apply(search, kernel.to(search.dtype)))
    return correlate_channels(search, kernel)


def correlate_channels(search: Tensor, kernel: Tensor) -> Tensor:
    """Correlates as ``depthwise_correlation`` does, with torch's own gradients; can be exported."""
    # Sizes are converted to numbers because runtimes need the groups of a convolution to be constant.
    n, channels, height, width = (int(size) for size in search.shape)
    rows, columns = (int(size) for size in kernel.shape[-2:])
    out = F.conv2d(
        search.reshape(1, n * channels, height, width),
        kernel.reshape(n * channels, 1, rows, columns),
        groups=n * channels,
    )
    return out.reshape(n, channels, height - rows + 1, width - columns + 1)


class _DepthwiseCorrelation(torch.autograd.Function):
    """Computes both gradients as correlations too, which is much faster on a CPU than torch's own gradients."""

    @staticmethod
    def forward(ctx: Any, search: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(search, kernel)
        return correlate_channels(search, kernel)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        search, kernel = ctx.saved_tensors
        (gradient,) = gradients
        of_search = of_kernel = None
        if ctx.needs_input_grad[0]:
            rows, columns = kernel.shape[-2] - 1, kernel.shape[-1] - 1
            of_search = correlate_channels(F.pad(gradient, (columns, columns, rows, rows)), kernel.flip(2, 3))
        if ctx.needs_input_grad[1]:
            of_kernel = correlate_channels(search, gradient)
        return of_search, of_kernel


def anchors(cells: int) -> Tensor:
    """Returns 5 x 4 x cells x cells anchors (cx, cy, w, h) in crop pixels relative to the middle of the crop."""
    return torch.from_numpy(geometry.anchors(cells))


def decode(deltas: Tensor, anchor_boxes: Tensor) -> Tensor:
    """Converts N x 5 x 4 x H x W deltas to boxes (cx, cy, w, h) in crop pixels relative to the middle of the crop."""
    return cast(Tensor, geometry.decode(deltas, anchor_boxes))


class _Branch(nn.Module):
    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()

        def adjust() -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(channels, channels, 3, bias=False), nn.BatchNorm2d(channels), nn.ReLU(True))

        self.kernel, self.search = adjust(), adjust()
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(True),
            nn.Conv2d(channels, outputs, 1),
        )

    def forward(self, template: Tensor, search: Tensor) -> Tensor:
        out: Tensor = self.head(depthwise_correlation(self.search(search), self.kernel(template)))
        return out


class RegionProposal(nn.Module):
    """A head: classification and regression branches on one level. ``channels``: width of the reduced features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.classification = _Branch(channels, len(RATIOS))
        self.regression = _Branch(channels, 4 * len(RATIOS))

    def kernels(self, template: Tensor) -> Tensor:
        """Returns the correlation kernels of both branches, N x 2C x 5 x 5."""
        return torch.cat([self.classification.kernel(template), self.regression.kernel(template)], 1)

    def forward(self, template: Tensor, search: Tensor) -> Proposals:
        """Returns proposals on 25 x 25 cells for template N x C x 7 x 7 and search N x C x 31 x 31 features."""
        deltas = self.regression(template, search)
        return Proposals(self.classification(template, search), deltas.unflatten(1, (len(RATIOS), 4)))


def cell_boxes(cells: int) -> Tensor:
    """Returns the boxes of `geometry.cell_boxes`, 1 x 4 x cells x cells, in crop pixels relative to the middle."""
    return torch.from_numpy(geometry.cell_boxes(cells))


def pixelwise_correlation(search: Tensor, kernel: Tensor) -> Tensor:
    """Correlates each cell of N x C x H x W with each of K template cells (N x K x C): N x K x H x W.

    Source: Yan et al., Alpha-Refine, CVPR 2021, section 3.2.
    """
    # Sizes are converted to numbers because exported graphs need fixed shapes.
    height, width = (int(size) for size in search.shape[-2:])
    return (kernel @ search.flatten(2)).reshape(search.shape[0], kernel.shape[1], height, width)


def _separable(channels: int) -> list[nn.Module]:
    """Makes a depth-wise 3 x 3 and a point-wise convolution, batch norm and ReLU."""
    return [
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]


class LightRegionProposal(nn.Module):
    """A light head: pixel-wise correlation, then depth-wise separable convolutions; one box a cell, no anchors."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(channels, channels, 1)
        self.encode = nn.Sequential(
            nn.Conv2d(channels + TEMPLATE_CELLS**2, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            *_separable(channels),
        )
        self.classification = nn.Sequential(*_separable(channels), *_separable(channels), nn.Conv2d(channels, 1, 1))
        self.regression = nn.Sequential(*_separable(channels), *_separable(channels), nn.Conv2d(channels, 4, 1))

    def kernels(self, template: Tensor) -> Tensor:
        """Returns N x 49 x C kernels, one for each cell of N x C x 7 x 7 template features."""
        return self.kernel(template).flatten(2).transpose(-1, -2) * template.shape[1] ** -0.5

    def correlated(self, kernels: Tensor, search: Tensor) -> tuple[Tensor, Tensor]:
        """Returns scores N x 1 x 15 x 15 and deltas N x 4 x 15 x 15, for the result of `kernels`."""
        encoded = self.encode(torch.cat([pixelwise_correlation(search, kernels.to(search.dtype)), search], 1))
        return self.classification(encoded), self.regression(encoded)

    def forward(self, template: Tensor, search: Tensor) -> Proposals:
        """Returns proposals on 15 x 15 cells for template N x C x 7 x 7 and search N x C x 15 x 15 features."""
        scores, deltas = self.correlated(self.kernels(template), search)
        return Proposals(scores, deltas[:, None])


def fuse(levels: Sequence[Proposals], beta: Tensor, gamma: Tensor) -> Proposals:
    """Computes eq 3: B_all = sum_l beta_l B_l, and the same for the scores with gamma.

    beta, gamma: one number a level; softmax makes them weights that sum to 1.
    """
    b, s = beta.softmax(0), gamma.softmax(0)
    return Proposals(
        torch.stack([level.scores * w for level, w in zip(levels, s, strict=True)]).sum(0),
        torch.stack([level.deltas * w for level, w in zip(levels, b, strict=True)]).sum(0),
    )
