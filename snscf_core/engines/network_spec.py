# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Specifies the network that an engine runs for one tracker."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..crops import SEARCH_SIZE, TEMPLATE_SIZE
from ..devices import Device
from ..model.checkpoints import Weights, network_of
from ..model.geometry import STRIDE, TAP_CHANNELS, TAP_STRIDES
from ..surroundings import own_defaults

if TYPE_CHECKING:
    from torch import Tensor

    from ..model.network import SNSCF
    from .graph import SearchGraph


@dataclass(frozen=True)
class NetworkSpec:
    """Specifies a network, its weights and the parts of it that one tracker needs.

    levels: of the backbone.
    proposals: whether the heads are needed.
    search_size: pixels a side of a crop.
    loaded: the network with its weights, in evaluation mode; None to load it when it is first needed.
    """

    weights: Weights
    levels: tuple[int, ...]
    proposals: bool
    device: Device
    search_size: int = SEARCH_SIZE
    loaded: SNSCF | None = None

    @cached_property
    def network(self) -> SNSCF:
        """The network on the device. Imports torch. Raises WeightsError if the weights do not fit it."""
        import torch

        with own_defaults():
            network = self.loaded or network_of(self.weights)
            network = network.to(self.device.torch)
            if self.device.type == "cpu":
                network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def graph(self) -> SearchGraph:
        """Makes a module on the CPU that does the work of every frame."""
        from .graph import LightProposalGraph, ProposalGraph, SearchGraph, SNSCFNano

        with own_defaults():
            if self.proposals and isinstance(self.network, SNSCFNano):
                return LightProposalGraph(self.network).eval()
            if self.proposals:
                return ProposalGraph(self.network).eval()
            return SearchGraph(self.network, self.levels, reduce=self.weights.trained).eval()

    @property
    def sections(self) -> tuple[int, ...]:
        """Number of channels per level of the features that the correlation filters use."""
        if self.weights.trained:
            return (self.weights.geometry.filter_channels,) * len(self.levels)
        return tuple(TAP_CHANNELS[self.weights.model][level] for level in self.levels)

    @property
    def coarse(self) -> tuple[bool, ...]:
        """Whether each level of these features was resampled from cells of twice the stride."""
        return tuple(TAP_STRIDES[self.weights.model][level] > STRIDE for level in self.levels)

    @property
    def anchors(self) -> npt.NDArray[np.float32]:
        """The boxes that the deltas are relative to, A x 4 x P x P."""
        geometry = self.weights.geometry
        return geometry.anchors_on(geometry.places(self.search_size))

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """The sha256 of each file of weights."""
        return tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in self.weights.files)

    def example(self, count: int = 1) -> tuple[Tensor, Tensor | None]:
        """Returns crops of random blobs, and the kernels of the middle of each, on the CPU. Imports torch.

        They are the same on every call.
        """
        import torch

        generator = torch.Generator().manual_seed(0)
        blobs = torch.rand(count, 3, 24, 24, generator=generator, dtype=torch.float32, device="cpu") * 255
        images = torch.nn.functional.interpolate(blobs, [self.search_size] * 2, mode="bicubic").clamp(0, 255)
        crops = images.permute(0, 2, 3, 1).byte().contiguous()
        if not self.proposals:
            return crops, None
        with torch.no_grad():
            network = self.network
            inner = slice((self.search_size - TEMPLATE_SIZE) // 2, (self.search_size + TEMPLATE_SIZE) // 2)
            middle = crops[:, inner, inner].permute(0, 3, 1, 2).float().to(network.beta.device)
            template = network.template(network.reduce(network.extract(middle)))
            return crops, network.kernels(template).cpu().contiguous()
