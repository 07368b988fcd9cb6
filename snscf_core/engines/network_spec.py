# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Specifies the network that an engine runs for one tracker."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..crops import SEARCH_SIZE, TEMPLATE_SIZE
from ..model.checkpoints import Weights
from ..model.network import SNSCF, SNSCFNano
from .graph import LightProposalGraph, ProposalGraph, SearchGraph


@dataclass(frozen=True)
class NetworkSpec:
    """Specifies a network, its weights and the parts of it that one tracker needs.

    network: with its weights, in evaluation mode.
    levels: of the backbone.
    proposals: whether the heads are needed.
    search_size: pixels a side of a crop.
    """

    network: SNSCF
    weights: Weights
    levels: tuple[int, ...]
    proposals: bool
    device: torch.device
    search_size: int = SEARCH_SIZE

    def graph(self) -> SearchGraph:
        """Makes a module on the CPU that does the work of every frame."""
        if self.proposals and isinstance(self.network, SNSCFNano):
            return LightProposalGraph(self.network).eval()
        if self.proposals:
            return ProposalGraph(self.network).eval()
        return SearchGraph(self.network, self.levels, reduce=self.weights.trained).eval()

    @property
    def sections(self) -> tuple[int, ...]:
        """Number of channels per level of the features that the correlation filters use."""
        if self.weights.trained:
            return (self.network.filter_channels,) * len(self.levels)
        return tuple(self.network.backbone.channels[level] for level in self.levels)

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """The sha256 of each file of weights."""
        return tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in self.weights.files)

    def example(self, count: int = 1) -> tuple[Tensor, Tensor | None]:
        """Returns crops and kernels of random blobs on the CPU, the same on every call."""
        generator = torch.Generator().manual_seed(0)
        blobs = torch.rand(count, 3, 24, 24, generator=generator, dtype=torch.float32, device="cpu") * 255
        images = torch.nn.functional.interpolate(blobs, [self.search_size] * 2, mode="bicubic").clamp(0, 255)
        crops = images.permute(0, 2, 3, 1).byte().contiguous()
        if not self.proposals:
            return crops, None
        with torch.no_grad():
            network = self.network
            inner = slice((self.search_size - TEMPLATE_SIZE) // 2, (self.search_size + TEMPLATE_SIZE) // 2)
            middle = images.round()[:, :, inner, inner].to(network.beta.device)
            template = network.template(network.reduce(network.extract(middle)))
            return crops, network.kernels(template).cpu().contiguous()
