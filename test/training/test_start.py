# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a run starts from, and what trains in which phase."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from snscf_core import WeightsError
from snscf_core.model.backbones import ResNet50
from snscf_core.model.checkpoints import find, load
from snscf_core.model.network import SNSCF
from snscf_core.training.start import copy_conv5, enter_phase, groups, random_conv5, start, statistics


@pytest.fixture(scope="module")
def backbone() -> ResNet50:
    torch.manual_seed(0)
    network = ResNet50().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # so that it matters which statistics are copied
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return network


def test_a_copied_conv5_applies_conv4s_last_blocks_side_by_side(backbone):
    copy_conv5(backbone)
    x = torch.randn(1, 1024, 15, 15, generator=torch.Generator().manual_seed(1)).relu()
    last, before = backbone.layer3[5], backbone.layer3[4]
    with torch.no_grad():
        found = backbone.layer4(x)
        for block in (last, before):
            block.conv2.dilation = block.conv2.padding = (4, 4)  # as conv5 has it
        expected = torch.cat([last(last(last(x))), before(before(before(x)))], 1)
        for block in (last, before):
            block.conv2.dilation = block.conv2.padding = (2, 2)
    assert float(expected.std()) > 0.1
    assert torch.allclose(found, expected, atol=1e-3 * float(expected.abs().max()))


def test_a_random_conv5_begins_as_its_projection(backbone):
    random_conv5(backbone)
    x = torch.randn(1, 1024, 9, 9, generator=torch.Generator().manual_seed(1)).relu()
    with torch.no_grad():
        found = backbone.layer4(x)
        expected = F.relu(backbone.layer4[0].downsample(x))
    assert torch.allclose(found, expected) and float(found.std()) > 0.1


def test_phases_of_a_residual_network_with_a_new_conv5():
    network = SNSCF("snscf_r50", 8)
    kinds = groups(network, conv5_new=True)
    heads = set(enter_phase(network, end_to_end=False, conv5_new=True, train_stem=False, train_filters=True))
    assert heads == {name for name, kind in kinds.items() if kind != "backbone"}
    assert any(name.startswith("backbone.layer4.") for name in heads)
    following = {id(value) for value in statistics(network)}
    assert id(network.backbone.layer4[0].bn1.running_mean) in following, "a new conv5 learns its statistics"
    assert id(network.reductions[0][1].running_var) in following
    assert id(network.backbone.layer3[0].bn1.running_mean) not in following, "ImageNet's are kept"

    everything = set(enter_phase(network, end_to_end=True, conv5_new=True, train_stem=False, train_filters=True))
    frozen = {name for name, _ in network.named_parameters()} - everything
    assert heads < everything and "backbone.layer2.0.conv1.weight" in everything
    assert frozen and all(name.startswith(("backbone.conv1.", "backbone.bn1.", "backbone.layer1.")) for name in frozen)
    with_stem = enter_phase(network, end_to_end=True, conv5_new=True, train_stem=True, train_filters=True)
    assert len(with_stem) == len(everything | frozen)


def test_a_conv5_that_has_weights_is_part_of_the_backbone():
    network = SNSCF("snscf_r50", 8)
    trained = enter_phase(network, end_to_end=False, conv5_new=False, train_stem=False, train_filters=False)
    assert not any(name.startswith("backbone.") for name in trained)
    assert "response_weights" not in trained, "nothing would give it a gradient"
    assert not network.backbone.layer4[0].bn1.training


def test_parts_can_be_trained_by_themselves():
    network = SNSCF("snscf_r50", 8)
    phase = {"conv5_new": False, "train_stem": False, "train_filters": True}
    trained = enter_phase(network, end_to_end=True, **phase, only=["regression", "beta"])
    assert {name.split(".")[2] for name in trained if name != "beta"} == {"regression"} and "beta" in trained
    following = {id(value) for value in statistics(network)}
    branches = network.heads[1]
    assert id(branches.regression.search[1].running_mean) in following
    assert id(branches.classification.search[1].running_mean) not in following
    assert id(network.reductions[0][1].running_mean) not in following
    with pytest.raises(ValueError, match="wheels"):
        enter_phase(network, end_to_end=False, **phase, only=["wheels"])


def test_heads_begin_the_same_for_the_same_seed(imagenet):
    one, new = start("snscf_nano", 16, seed=3)
    same, _ = start("snscf_nano", 16, seed=3)
    other, _ = start("snscf_nano", 16, seed=4)
    key = "heads.0.regression.0.weight"
    assert not new and one.channels == 16
    assert torch.equal(one.state_dict()[key], same.state_dict()[key])
    assert not torch.equal(one.state_dict()[key], other.state_dict()[key])
    assert torch.equal(one.backbone.conv12.weight, other.backbone.conv12.weight)


def test_a_name_starts_anew_and_a_path_goes_on(imagenet):
    shipped = find("snscf_nano")[0]
    before, _ = load(shipped)
    again, _ = start(shipped, 16, seed=3)
    anew, _ = start("snscf_nano", 16, seed=3)
    key = "heads.0.regression.0.weight"
    assert torch.equal(again.state_dict()[key], before.state_dict()[key]) and again.channels == before.channels
    assert anew.channels == 16


def test_a_residual_network_starts_with_a_copied_conv5(imagenet):
    network, new = start("snscf_r50", 8, seed=0)
    assert new
    assert torch.equal(network.backbone.layer4[1].conv1.weight[:256, :1024], network.backbone.layer3[5].conv1.weight)
    random, _ = start("snscf_r50", 8, seed=0, conv5="random")
    assert float(random.backbone.layer4[1].bn3.weight.abs().sum()) == 0.0


def test_what_can_not_be_a_start_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="there are no weights in"):
        start(tmp_path, 8, seed=0)
    with pytest.raises(ValueError, match="unknown start of conv5 'zeros'; there are copy, random"):
        start("snscf_r50", 8, seed=0, conv5="zeros")
