# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the network on a batch of pairs for training: one pass for all crops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from ..model.network import SNSCF, centre_crop
from ..model.rpn import TEMPLATE_CELLS, Proposals, fuse

Images: TypeAlias = "Tensor | Sequence[Tensor]"  # crops, or taps of the backbone


class Outputs(NamedTuple):
    """Holds the network's outputs for the losses, all float32.

    fused: proposals of eq 3
    levels: the proposals of each head alone
    context, search: the filters' input per level (M x C x 31 x 31), of the pairs that go through the filters; empty
        without a context
    response_weights: 3, they sum to 1
    """

    fused: Proposals
    levels: list[Proposals]
    context: list[Tensor]
    search: list[Tensor]
    response_weights: Tensor


class PairNetwork(nn.Module):
    """Wraps ``SNSCF`` for DistributedDataParallel and torch.compile; same weights and same function."""

    def __init__(self, network: SNSCF) -> None:
        super().__init__()
        self.network = network

    def forward(self, template: Images, search: Images, context: Images | None, every: int = 1) -> Outputs:
        """Runs the network on crops, or on the backbone's features of them: its shallowest tap, or all three.

        template: N x 3 x 127 x 127
        search: N x 3 x 255 x 255
        context: ceil(N / every) x 3 x 255 x 255, the contexts of every ``every``-th pair
        """
        network = self.network
        template_taps = [centre_crop(tap, TEMPLATE_CELLS) for tap in network.aligned(self._taps(template))]
        pairs = len(search if isinstance(search, Tensor) else search[0])
        taps = self._taps(search if context is None else _joined(search, context))
        z, x = [], []
        for reduction, near, wide in zip(network.reductions, template_taps, network.aligned(taps), strict=True):
            near, wide = _jointly(reduction, [near, wide])
            z.append(near)
            x.append(wide)
        levels = [head(near, wide[:pairs]) for head, near, wide in zip(network.heads, z, x, strict=True)]
        levels = [_float(level) for level in levels]
        filtered = [] if context is None else network.filter_features(taps, x)
        return Outputs(
            fuse(levels, network.beta, network.gamma),
            levels,
            [level[pairs:].float() for level in filtered],
            [level[:pairs:every].float() for level in filtered],
            network.response_weights.softmax(0),
        )

    def _taps(self, images: Images) -> Sequence[Tensor]:
        if isinstance(images, Tensor):
            return self.network.extract(images)
        return images if len(images) > 1 else self.network.backbone.rest(images[0])


def _joined(first: Images, second: Images) -> Images:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat([first, second])
    return [torch.cat(taps) for taps in zip(first, second, strict=True)]


def _float(proposals: Proposals) -> Proposals:
    return Proposals(proposals.scores.float(), proposals.deltas.float())


def _jointly(reduction: nn.Module, maps: Sequence[Tensor]) -> list[Tensor]:
    """Applies a 1 x 1 convolution with batch norm to maps of several sizes, with one set of statistics.

    With separate statistics, as in two passes, template and search features would differ from those that the tracker
    makes with the running statistics of both.
    """
    rows = [level.permute(0, 2, 3, 1).reshape(-1, level.shape[1]) for level in maps]
    # The shape 1 x C x 1 x (all cells) is channels last without a copy.
    reduced = reduction(torch.cat(rows).t()[None, :, None])[0, :, 0].t()
    parts = reduced.split([len(part) for part in rows])
    return [
        part.reshape(level.shape[0], *level.shape[2:], -1).permute(0, 3, 1, 2)
        for part, level in zip(parts, maps, strict=True)
    ]
