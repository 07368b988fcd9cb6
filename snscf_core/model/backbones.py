# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Defines the feature extractors: ResNet-50 v1 and FBNet-C, with three taps each.

At stride 8, a crop of 127 pixels gives 15 x 15 cells, and a crop of 255 pixels gives 31 x 31. The centre of cell ``k``
is the crop pixel with index ``7 + 8 k``. Strided convolutions do not pad, so the middle cell sits on the middle pixel
and template cells are aligned like search cells. ResNet-50 keeps stride 8 in later stages and dilates
instead (SiamRPN++). FBNet-C goes on to stride 16: 7 x 7 and 15 x 15 cells, cell ``k`` at pixel ``15 + 16 k``.
Parameter names are those of the files with initial weights, so these load unchanged.

Input everywhere: N x 3 x H x W, BGR, values 0-255, float. Each backbone does its own normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .geometry import NANO, TAP_CHANNELS, TAP_STRIDES


class Backbone(nn.Module):
    """A feature extractor with three taps.

    ``forward`` takes N x 3 x S x S and returns one N x C_l x G_l x G_l tensor per requested level (0, 1, 2). It stops
    after the deepest requested level.

    channels: of each tap, from shallow to deep.
    strides: of each tap, in crop pixels.
    """

    channels: tuple[int, int, int]
    strides: tuple[int, int, int]

    def normalise(self, images: Tensor) -> Tensor:
        """Maps pixels to the input of the first convolution; affine in the three channels."""
        raise NotImplementedError

    def first(self, images: Tensor) -> Tensor:
        """Returns the shallowest tap, N x C_0 x G x G."""
        raise NotImplementedError

    def rest(self, first: Tensor, levels: Sequence[int] = (0, 1, 2)) -> list[Tensor]:
        """Returns the taps of the requested levels, computed from the shallowest tap."""
        raise NotImplementedError

    def forward(self, images: Tensor, levels: Sequence[int] = (0, 1, 2)) -> list[Tensor]:
        return self.rest(self.first(images), levels)


class _Bottleneck(nn.Module):
    """A ResNet v1 bottleneck with the stride on the first 1 x 1 convolution, as He et al. trained it."""

    def __init__(self, inputs: int, width: int, stride: int = 1, dilation: int = 1, project: bool = False) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=1.001e-5)
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps=1.001e-5)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs, eps=1.001e-5)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs, eps=1.001e-5))
            if project
            else None
        )
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            x = x[..., 1:-1, 1:-1]  # so that an odd grid keeps its middle cell
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        return F.relu(self.bn3(self.conv3(x)) + shortcut, inplace=True)


def _stage(inputs: int, width: int, blocks: int, stride: int, dilation: int) -> nn.Sequential:
    first = _Bottleneck(inputs, width, stride, dilation, project=True)
    return nn.Sequential(first, *(_Bottleneck(4 * width, width, 1, dilation) for _ in range(blocks - 1)))


class ResNet50(Backbone):
    """ResNet-50 v1 with the taps conv3 (512 channels), conv4 (1024) and conv5 (2048) of the paper, section 3.2.

    conv4 and conv5 are dilated by 2 and 4. Input normalisation: BGR minus the ImageNet mean, no division.
    """

    channels = TAP_CHANNELS["snscf_r50"]
    strides = TAP_STRIDES["snscf_r50"]
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1), persistent=False)
        self.conv1 = nn.Conv2d(3, 64, 7, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(64, eps=1.001e-5)
        self.layer1 = _stage(64, 64, 3, 1, 1)
        self.layer2 = _stage(256, 128, 4, 2, 1)
        self.layer3 = _stage(512, 256, 6, 1, 2)
        self.layer4 = _stage(1024, 512, 3, 1, 4)

    def normalise(self, images: Tensor) -> Tensor:
        return images - self.mean

    def first(self, images: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(self.normalise(images))), inplace=True)
        out: Tensor = self.layer2(self.layer1(F.max_pool2d(x, 3, 2, 1)))
        return out

    def rest(self, first: Tensor, levels: Sequence[int] = (0, 1, 2)) -> list[Tensor]:
        taps = [first]
        for stage in (self.layer3, self.layer4)[: max(levels)]:
            taps.append(stage(taps[-1]))
        return [taps[level] for level in sorted(levels)]


class FBNetC(Backbone):
    """FBNet-C (Wu et al., CVPR 2019) up to stride 16, as FEAR-XS uses it (Borsuk et al., ECCV 2022).

    Taps: 32 channels at stride 8, 64 and 112 channels at stride 16. Batch norm is folded into the convolutions. Input
    normalisation: RGB minus the ImageNet mean, divided by its standard deviation.
    """

    channels = TAP_CHANNELS[NANO]
    strides = TAP_STRIDES[NANO]
    mean: Tensor
    deviation: Tensor
    # (channels inside, 0 for no expansion; kernel; stride; output channels) of each inverted residual block
    _BLOCKS = (
        (0, 3, 1, 16),
        *((96, 3, 2, 24), (0, 3, 1, 24), (0, 3, 1, 24)),
        *((144, 5, 2, 32), (96, 5, 1, 32), (192, 5, 1, 32), (192, 3, 1, 32)),
        *((192, 5, 2, 64), (192, 5, 1, 64), (384, 5, 1, 64), (384, 5, 1, 64)),
        *((384, 5, 1, 112), (672, 5, 1, 112), (672, 5, 1, 112), (336, 5, 1, 112)),
    )
    _TAPS = (7, 11, 15)  # blocks

    def __init__(self) -> None:
        super().__init__()
        mean, deviation = torch.tensor([[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]]).view(2, 1, 3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)
        self._count = 0
        self._add(nn.Conv2d(3, 16, 3, 2))
        self._blocks: list[tuple[int, int, bool]] = []  # first convolution, end, whether the input is added
        inputs = 16
        for inside, kernel, stride, outputs in self._BLOCKS:
            begin, hidden = self._count, inside or inputs
            if inside:
                self._add(nn.Conv2d(inputs, hidden, 1))
            # A strided convolution pads one pixel less than half its kernel, so that odd sizes keep their middle cell.
            padding = kernel // 2 - (stride == 2)
            self._add(nn.Conv2d(hidden, hidden, kernel, stride, padding, groups=hidden))
            self._add(nn.Conv2d(hidden, outputs, 1))
            self._blocks.append((begin, self._count, stride == 1 and inputs == outputs))
            inputs = outputs

    def _add(self, convolution: nn.Conv2d) -> None:
        self.add_module(f"conv{self._count:02d}", convolution)
        self._count += 1

    def _block(self, x: Tensor, number: int) -> Tensor:
        begin, end, residual = self._blocks[number]
        out = x
        for index in range(begin, end):
            out = self.get_submodule(f"conv{index:02d}")(out)
            if index < end - 1:
                out = F.relu(out, inplace=True)
        return x + out if residual else out

    def normalise(self, images: Tensor) -> Tensor:
        return (images.flip(1) - self.mean) / self.deviation

    def first(self, images: Tensor) -> Tensor:
        x = F.relu(self.get_submodule("conv00")(self.normalise(images)), inplace=True)
        for number in range(self._TAPS[0] + 1):
            x = self._block(x, number)
        return x

    def rest(self, first: Tensor, levels: Sequence[int] = (0, 1, 2)) -> list[Tensor]:
        taps = [first]
        for before, last in zip(self._TAPS, self._TAPS[1 : max(levels) + 1], strict=False):
            x = taps[-1]
            for number in range(before + 1, last + 1):
                x = self._block(x, number)
            taps.append(x)
        return [taps[level] for level in sorted(levels)]
