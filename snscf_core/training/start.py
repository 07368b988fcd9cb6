# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Prepares the network that a run starts from, and selects the weights that train in each phase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..model.backbones import FBNetC, ResNet50
from ..model.checkpoints import load
from ..model.network import LEVELS, SNSCF

CONV5_STARTS = ("copy", "random")
STEMS = {
    # Layers that keep their ImageNet weights: everything before stride 8.
    ResNet50: ("conv1.", "bn1.", "layer1."),
    FBNetC: tuple(f"conv{number:02d}." for number in range(10)),
}
TO_FIRST_TAP = {  # the layers whose output a cache of features stores
    ResNet50: (*STEMS[ResNet50], "layer2."),
    FBNetC: tuple(f"conv{number:02d}." for number in range(22)),
}


def start(model: str | Path, channels: int, seed: int, conv5: str = "copy") -> tuple[SNSCF, bool]:
    """Returns the network to train, and whether its conv5 is new.

    model: a name starts from the ImageNet weights of its backbone and new heads; a path, as for ``checkpoints.load``,
        may also lead to trained weights to continue from
    conv5: how a conv5 without weights starts (see ``copy_conv5``)
    seed: determines the random heads

    Raises WeightsError, ValueError.
    """
    if conv5 not in CONV5_STARTS:
        raise ValueError(f"unknown start of conv5 {conv5!r}; there are {', '.join(CONV5_STARTS)}")
    torch.manual_seed(seed)
    network, weights = load(model, channels, untrained=True)
    new = LEVELS[-1] not in weights.levels
    if new and isinstance(network.backbone, ResNet50):
        if conv5 == "copy":
            copy_conv5(network.backbone)
        else:
            random_conv5(network.backbone)
    return network, new


@torch.no_grad()
def copy_conv5(backbone: ResNet50) -> None:
    """Starts conv5 as two towers side by side that apply conv4's last two blocks once more.

    conv5 is twice as wide as conv4. The first half of each block's channels holds conv4's last block, the second half
    the block before it, block-diagonally. Its projection duplicates its input. At first, conv5 therefore returns
    conv4's features, refined further, as residual blocks do. The zeros between the towers train like all other weights.
    """
    towers: list[Any] = [backbone.layer3[5], backbone.layer3[4]]
    blocks: list[Any] = list(backbone.layer4)
    for index, block in enumerate(blocks):
        for name, inputs, outputs in (("conv1", 1024, 256), ("conv2", 256, 256), ("conv3", 256, 1024)):
            weight = getattr(block, name).weight
            weight.zero_()
            for tower, source in enumerate(towers):
                first = 0 if index == 0 and name == "conv1" else tower * inputs  # the first block's input is conv4
                rows, columns = slice(tower * outputs, (tower + 1) * outputs), slice(first, first + inputs)
                weight[rows, columns] = getattr(source, name).weight
        for name in ("bn1", "bn2", "bn3"):
            own = dict(getattr(block, name).named_parameters()) | dict(getattr(block, name).named_buffers())
            for key in ("weight", "bias", "running_mean", "running_var"):
                own[key].copy_(torch.cat([getattr(getattr(source, name), key) for source in towers]))
    projection, norm = blocks[0].downsample
    projection.weight.copy_(torch.eye(1024).repeat(2, 1)[:, :, None, None])
    norm.reset_parameters()
    norm.running_var.fill_(1 - norm.eps)


@torch.no_grad()
def random_conv5(backbone: ResNet50) -> None:
    """Applies He et al.'s initialisation; every block but the projection starts at zero (Goyal et al., 2017)."""
    blocks: list[Any] = list(backbone.layer4)
    for block in blocks:
        for module in block.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        block.bn3.weight.zero_()


def groups(network: SNSCF, conv5_new: bool) -> dict[str, str]:
    """Maps each parameter's name to ``heads`` (all outside the backbone), ``conv5`` (if new) or ``backbone``."""
    names = {}
    for name, _ in network.named_parameters():
        if not name.startswith("backbone."):
            names[name] = "heads"
        else:
            names[name] = "conv5" if conv5_new and name.startswith("backbone.layer4.") else "backbone"
    return names


def enter_phase(
    network: SNSCF,
    end_to_end: bool,
    *,
    conv5_new: bool,
    train_stem: bool,
    train_filters: bool,
    behind_first_tap: bool = False,
    only: Sequence[str] = (),
) -> list[str]:
    """Sets which parameters train and which batch norms use batch statistics; returns the names of those that train.

    Batch norms of a backbone keep ImageNet's statistics. Those of the heads and of a new conv5 learn theirs.

    behind_first_tap: in the backbone, only the layers behind its shallowest tap train
    only: among the parameters that would train, only those with one of these words in their names do, and the rest keep
        their weights and statistics; empty: all train

    Raises ValueError if nothing would train.
    """
    network.train()
    network.backbone.eval()
    if conv5_new and isinstance(network.backbone, ResNet50):
        network.backbone.layer4.train()
    stems = TO_FIRST_TAP if behind_first_tap else STEMS
    stem = () if train_stem else next((s for kind, s in stems.items() if isinstance(network.backbone, kind)), ())
    group = groups(network, conv5_new)
    trained = []
    for name, parameter in network.named_parameters():
        on = group[name] != "backbone" or (end_to_end and not name.removeprefix("backbone.").startswith(stem))
        if name == "response_weights" and not train_filters:
            on = False
        on = on and _chosen(name, only)
        parameter.requires_grad_(on)
        if on:
            trained.append(name)
    if not trained:
        phase = "" if end_to_end else " while heads train alone (schedule.heads_share=0 leaves that out)"
        raise ValueError(f"nothing that would train{phase} has any of {', '.join(only)} in its name")
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and not any(_chosen(f"{name}.{one}", only) for one in ("weight", "bias")):
            module.eval()
    return trained


def _chosen(name: str, only: Sequence[str]) -> bool:
    return not only or any(word in name for word in only)


def statistics(network: SNSCF) -> Iterator[Tensor]:
    """Yields the running means and variances of the batch norms that use batch statistics."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.training:
            if module.running_mean is not None and module.running_var is not None:
                yield module.running_mean
                yield module.running_var
