# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Rewrites the part of the network that runs on every frame to compute the same with fewer and larger steps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..model.network import LEVELS, SNSCF, SNSCFNano
from ..model.rpn import RATIOS, LightRegionProposal, RegionProposal, correlate_channels
from ..model.ssf import spatially_semantic_features

_Network = TypeVar("_Network", bound=SNSCF)


class SearchGraph(nn.Module):
    """Computes the features of `SearchOutput` from N x S x S x 3 uint8 BGR crops.

    The network is copied. Batch norms and the normalisation of the pixels are folded into its convolutions. With
    ``reduce``, the features are those that the filters of a trained network use; else they are the taps on one grid.
    """

    def __init__(self, network: SNSCF, levels: Sequence[int], *, reduce: bool) -> None:
        super().__init__()
        network = _copied(network)
        self.levels, self.interleaved = tuple(levels), False
        fold_batch_norms(network.backbone)
        fold_normalisation(network)
        self.backbone = network.backbone
        self.reductions = nn.ModuleList()
        if reduce and isinstance(network, SNSCFNano):
            self.reductions.extend(network.projections[level] for level in levels)
        elif reduce:
            fold_batch_norms(network.reductions)
            self.reductions.extend(cast(nn.Sequential, network.reductions[level])[0] for level in levels)

    def taps(self, crops: Tensor) -> list[Tensor]:
        if self.interleaved:
            count, rows, columns, colours = (int(size) for size in crops.shape)
            images = crops.float().reshape(count, 1, rows, columns * colours)
        else:
            # The colours of a pixel are adjacent in a crop, so this view is channels-last without a copy.
            images = crops.permute(0, 3, 1, 2).float()
        return list(self.backbone(images, self.levels))

    def read_interleaved(self) -> None:
        """Makes the first convolution read crops in their memory layout, where a row holds the colours pixel by pixel.

        The sums are the same, but OpenVINO and ONNX Runtime need not transpose each crop.
        """
        name, first = next((name, part) for name, part in self.backbone.named_modules() if isinstance(part, nn.Conv2d))
        out, colours, rows, columns = first.weight.shape
        assert first.padding == (0, 0) and first.dilation == (1, 1)
        weight = first.weight.permute(0, 2, 3, 1).reshape(out, 1, rows, columns * colours)
        joined = nn.Conv2d(1, out, (rows, columns * colours), (first.stride[0], first.stride[1] * colours))
        joined.weight, joined.bias = nn.Parameter(weight.contiguous(), False), first.bias
        parent, _, own = name.rpartition(".")
        setattr(self.backbone.get_submodule(parent), own, joined)
        self.interleaved = True

    def reduced(self, taps: Sequence[Tensor]) -> list[Tensor]:
        if not self.reductions:
            return list(taps)
        return [reduction(tap) for reduction, tap in zip(self.reductions, taps, strict=True)]

    def features(self, taps: Sequence[Tensor]) -> Tensor:
        """Returns all levels side by side on the grid of the shallowest tap."""
        grid = int(max(tap.shape[-1] for tap in taps))
        return torch.cat(spatially_semantic_features(self.reduced(taps), grid), 1)

    def forward(self, crops: Tensor) -> Tensor:
        return self.features(self.taps(crops))


class ProposalGraph(SearchGraph):
    """Computes features and proposals from crops and template kernels (N x 3 x 2C x 5 x 5, see ``SNSCF.kernels``).

    Returns features and N x 25 x 25 x 25: 5 scores and 20 deltas of each cell. Classification and regression run as one
    convolution on each level. The weighted sum of eq 3 is multiplied into the last convolution.
    """

    def __init__(self, network: SNSCF) -> None:
        super().__init__(network, LEVELS, reduce=True)
        network = _copied(network)
        fold_batch_norms(network.heads)
        width, heads = network.channels, cast(Sequence[RegionProposal], network.heads)
        self.adjust, self.middle = nn.ModuleList(), nn.ModuleList()
        for head in heads:
            branches = (head.classification, head.regression)
            self.adjust.append(_side_by_side([branch.search[0] for branch in branches]))
            self.middle.append(_side_by_side([branch.head[0] for branch in branches], groups=2))
        weight, bias = torch.zeros(5 * len(RATIOS), 2 * width * len(LEVELS), 1, 1), torch.zeros(5 * len(RATIOS))
        shares = network.gamma.softmax(0), network.beta.softmax(0)
        rows = slice(0, len(RATIOS)), slice(len(RATIOS), None)
        for level, head in enumerate(heads):
            for index, branch in enumerate((head.classification, head.regression)):
                start, final, share = (2 * level + index) * width, cast(nn.Conv2d, branch.head[3]), shares[index][level]
                weight[rows[index], start : start + width] = final.weight * share
                bias[rows[index]] += cast(Tensor, final.bias) * share
        self.last = _convolution(weight, bias)

    def forward(self, crops: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        reduced = self.reduced(self.taps(crops))
        hidden = []
        for level, (adjust, middle) in enumerate(zip(self.adjust, self.middle, strict=True)):
            search = F.relu(adjust(reduced[level]), inplace=True)
            hidden.append(F.relu(middle(correlate_channels(search, kernels[:, level])), inplace=True))
        return torch.cat(reduced, 1), self.last(torch.cat(hidden, 1))


class LightProposalGraph(SearchGraph):
    """Computes features and proposals from crops and template kernels (N x 3 x 49 x C, see ``SNSCFNano.kernels``).

    Returns features and N x 5 x 15 x 15: the score and the 4 deltas of each cell.
    """

    def __init__(self, network: SNSCFNano) -> None:
        super().__init__(network, LEVELS, reduce=True)
        network = _copied(network)
        fold_batch_norms(network.reductions)
        fold_batch_norms(network.heads)
        self.downsampling = network.downsampling
        self.adjust = nn.ModuleList(cast(nn.Sequential, reduction)[0] for reduction in network.reductions)
        self.heads = network.heads
        # The weighted sum of eq 3 is multiplied into the last convolutions.
        shares = network.gamma.softmax(0), network.beta.softmax(0)
        for level, head in enumerate(cast(Sequence[LightRegionProposal], network.heads)):
            for branch, share in zip((head.classification, head.regression), shares, strict=True):
                last = cast(nn.Conv2d, branch[-1])
                last.weight.mul_(share[level])
                cast(Tensor, last.bias).mul_(share[level])

    def forward(self, crops: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        taps = self.taps(crops)
        scores, deltas = [], []
        for level, head in enumerate(cast(Sequence[LightRegionProposal], self.heads)):
            search = self.adjust[level](self.downsampling[level](taps[level]))
            score, delta = head.correlated(kernels[:, level], search)
            scores.append(score)
            deltas.append(delta)
        fused = torch.cat([scores[0] + scores[1] + scores[2], deltas[0] + deltas[1] + deltas[2]], 1)
        return self.features(taps), fused


class TemplateGraph(nn.Module):
    """Computes the template features of all levels, 1 x L x C x 7 x 7, from 1 x 127 x 127 x 3 uint8 BGR crops."""

    def __init__(self, network: SNSCF) -> None:
        super().__init__()
        self.network = _copied(network)
        fold_batch_norms(self.network.backbone)
        fold_normalisation(self.network)
        fold_batch_norms(self.network.reductions)

    def forward(self, crops: Tensor) -> Tensor:
        network = self.network
        taps = network.extract(crops.permute(0, 3, 1, 2).float())
        return torch.stack(network.template(network.reduce(taps)), 1)


class KernelGraph(nn.Module):
    """Computes the heads' kernels (see ``SNSCF.kernels``) from the template features of all levels."""

    def __init__(self, network: SNSCF) -> None:
        super().__init__()
        self.network = _copied(network)
        fold_batch_norms(self.network.heads)

    def forward(self, template: Tensor) -> Tensor:
        return self.network.kernels(list(template.unbind(1)))


def _copied(network: _Network) -> _Network:
    copied = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    return cast(_Network, copied.to(memory_format=torch.contiguous_format))  # type: ignore[call-overload]


def fold_batch_norms(module: nn.Module) -> None:
    """Folds each batch norm into the convolution registered before it."""
    before: tuple[str, nn.Module] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and before is not None and isinstance(before[1], nn.Conv2d):
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, nn.Identity())
        else:
            fold_batch_norms(child)
        before = name, child


def fold_normalisation(network: SNSCF) -> None:
    """Folds the backbone's normalisation of pixels into its first convolution, which must not pad."""
    backbone = network.backbone
    shift = backbone.normalise(torch.zeros(1, 3, 1, 1))
    matrix = (backbone.normalise(torch.eye(3).view(3, 3, 1, 1)) - shift)[..., 0, 0].T.double()
    first = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
    assert first.bias is not None and first.padding == (0, 0)
    weight = first.weight.double()
    first.bias += torch.einsum("oihw,i->o", weight, shift.flatten().double()).float()
    first.weight.copy_(torch.einsum("oihw,ij->ojhw", weight, matrix))
    backbone.normalise = _as_it_is  # type: ignore[method-assign]


def _as_it_is(images: Tensor) -> Tensor:
    return images


def _side_by_side(parts: Sequence[Any], groups: int = 1) -> nn.Conv2d:
    """Joins convolutions of the same input, or with ``groups`` of one part of the input each, into one convolution."""
    return _convolution(torch.cat([one.weight for one in parts]), torch.cat([one.bias for one in parts]), groups)


def _convolution(weight: Tensor, bias: Tensor, groups: int = 1) -> nn.Conv2d:
    made = nn.Conv2d(weight.shape[1] * groups, weight.shape[0], weight.shape[-1], groups=groups)
    made.weight, made.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
    return made
