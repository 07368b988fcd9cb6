# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The networks: grids, alignment, heads, and the conventions of the ImageNet weights."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from snscf_core.model.checkpoints import IMAGENET_FILES, load
from snscf_core.model.geometry import FIRST_CELL, STRIDE
from snscf_core.model.network import MODELS, NANO, SNSCF, create
from snscf_core.model.rpn import (
    RATIOS,
    Proposals,
    anchors,
    cell_boxes,
    decode,
    depthwise_correlation,
    fuse,
    pixelwise_correlation,
)
from snscf_core.model.ssf import spatially_semantic_features


@pytest.fixture(scope="module", params=MODELS)
def network(request) -> SNSCF:
    torch.manual_seed(0)
    return create(request.param).eval()


def test_crops_give_grids_of_15_and_31_cells_at_stride_8_and_of_7_and_15_at_stride_16(network):
    with torch.inference_mode():
        for size, cells in ((127, {8: 15, 16: 7}), (255, {8: 31, 16: 15})):
            taps = network.extract(torch.rand(1, 3, size, size) * 255)
            expected = zip(network.backbone.channels, network.backbone.strides, strict=True)
            assert [tuple(tap.shape) for tap in taps] == [(1, c, cells[s], cells[s]) for c, s in expected]


@pytest.mark.parametrize("level", (0, 1))
def test_a_cell_is_centred_on_its_pixel(network, level):
    """The gradient of a cell reaches as far to the left as to the right, and as far up as down."""
    image = torch.rand(1, 3, 255, 255, requires_grad=True)
    (tap,) = network.extract(image * 255, (level,))
    cell, stride = tap.shape[-1] // 2, network.backbone.strides[level]
    tap[0, :, cell, cell].square().sum().backward()
    assert image.grad is not None
    weight = image.grad[0].abs().sum(0)
    for axis in (0, 1):
        reached = torch.nonzero(weight.sum(axis)).flatten()
        assert abs(float(reached[0] + reached[-1]) / 2 - (FIRST_CELL + (stride - STRIDE) + stride * cell)) <= 1


def test_levels_of_stride_16_come_to_the_grid_of_stride_8_without_a_shift():
    at = 15 + 16 * torch.arange(15.0)  # the pixel of each cell
    (fine,) = spatially_semantic_features([at.expand(1, 1, 15, 15)], 31)
    expected = (7 + 8 * torch.arange(31.0)).clamp(15, 15 + 16 * 14)
    assert torch.allclose(fine[0, 0], expected.expand(31, 31), atol=1e-3)


def test_only_the_levels_asked_for_are_computed(network):
    with torch.inference_mode():
        crops = torch.rand(1, 3, 127, 127) * 255
        both, deep = network.extract(crops, (0, 1)), network.extract(crops, (1,))
    assert len(both) == 2 and len(deep) == 1
    assert torch.equal(both[1], deep[0])


@pytest.mark.slow
def test_heads_propose_on_their_cells_and_a_batch_is_its_members(network):
    with torch.inference_mode():
        z, x = torch.rand(2, 3, 127, 127) * 255, torch.rand(2, 3, 255, 255) * 255
        together, alone = network(z, x), network(z[1:], x[1:])
    anchors, places = (1, 15) if network.name == NANO else (5, 25)
    assert together.scores.shape == (2, anchors, places, places)
    assert together.deltas.shape == (2, anchors, 4, places, places)
    assert torch.allclose(together.deltas[1:], alone.deltas, rtol=1e-3, atol=1e-4)


def test_the_gradients_of_the_depthwise_correlation_are_its_derivatives():
    search = torch.randn(2, 3, 7, 6, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(2, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(depthwise_correlation, (search, kernel))
    assert torch.autograd.gradcheck(lambda x: depthwise_correlation(x, kernel.detach()), (search,))
    with torch.no_grad():
        without = depthwise_correlation(search, kernel)
    assert torch.equal(without, depthwise_correlation(search, kernel))


def test_depthwise_correlation_is_the_sum_over_the_kernel():
    search, kernel = torch.randn(2, 3, 6, 7), torch.randn(2, 3, 2, 3)
    out = depthwise_correlation(search, kernel)
    assert out.shape == (2, 3, 5, 5)
    assert out[1, 2, 3, 4].item() == pytest.approx((search[1, 2, 3:5, 4:7] * kernel[1, 2]).sum().item(), rel=1e-4)


def test_the_pixelwise_correlation_is_the_product_of_each_template_cell_with_each_cell():
    search, kernel = torch.randn(2, 6, 5, 4), torch.randn(2, 9, 6)
    out = pixelwise_correlation(search, kernel)
    assert out.shape == (2, 9, 5, 4)
    assert out[1, 7, 3, 2].item() == pytest.approx(float(search[1, :, 3, 2] @ kernel[1, 7]), rel=1e-4)


def test_cell_boxes_are_16_pixels_apart_and_as_large_as_a_square_target():
    boxes = cell_boxes(15)
    assert boxes[0, :, 7, 7].tolist() == [0, 0, 64, 64]
    assert boxes[0, :, 7, 8].tolist() == [16, 0, 64, 64] and boxes[0, :, 9, 7].tolist() == [0, 32, 64, 64]


def test_anchors_lie_around_the_middle_and_zero_deltas_are_the_anchors():
    boxes = anchors(25)
    assert boxes[:, :2, 12, 12].abs().max() == 0
    assert boxes[0, 0, 12, 13] == STRIDE and boxes[0, 1, 13, 12] == STRIDE
    assert torch.allclose(boxes[:, 2] * boxes[:, 3], torch.tensor(64.0**2))
    assert torch.allclose(boxes[:, 3, 0, 0] / boxes[:, 2, 0, 0], torch.tensor(RATIOS))
    assert torch.equal(decode(torch.zeros(1, 5, 4, 25, 25), boxes)[0], boxes)


def test_fusion_is_the_weighted_sum_of_eq_3():
    levels = [Proposals(torch.full((1, 5, 2, 2), v), torch.full((1, 5, 4, 2, 2), 10 * v)) for v in (1.0, 2.0, 4.0)]
    fused = fuse(levels, torch.log(torch.tensor([0.2, 0.3, 0.5])), torch.zeros(3))
    assert fused.deltas.mean().item() == pytest.approx(10 * (0.2 + 0.6 + 2.0))
    assert fused.scores.mean().item() == pytest.approx(7 / 3)


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match="snscf_vgg"):
        SNSCF("snscf_vgg")


def test_a_network_with_heads_of_its_own_is_made_by_create():
    with pytest.raises(ValueError, match="create"):
        SNSCF(NANO)


@pytest.mark.slow
def test_resnet_statistics_are_those_it_was_trained_with(imagenet, data):
    """On natural images every batch norm sees the mean and variance it stored, if all conventions are right.

    With RGB for BGR, or the stride on the 3 x 3 convolutions, they are not.
    """
    network, _ = load(imagenet / IMAGENET_FILES["snscf_r50"])
    sums: dict[str, list] = {}

    def observe(name):
        def hook(_module, inputs):
            x = inputs[0].double()
            mean, square, count = sums.setdefault(name, [0, 0, 0])
            sums[name] = [mean + x.mean((0, 2, 3)), square + x.square().mean((0, 2, 3)), count + 1]

        return hook

    norms = {n: m for n, m in network.backbone.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    for name, module in norms.items():
        module.register_forward_pre_hook(observe(name))
    stills = data / "train" / "stills"
    images = json.loads((stills / "instances.json").read_text())["images"]
    for entry in [entry for entry in images if entry["source"] == "imagenet"][::40]:
        image = cv2.resize(cv2.imread(str(stills / entry["file_name"])), (255, 255))
        with torch.inference_mode():
            network.extract(torch.from_numpy(image).permute(2, 0, 1)[None].float(), (0, 1))
    assert len(sums) > 30
    for name, (total, squares, count) in sums.items():
        mean, variance = total / count, squares / count - (total / count) ** 2
        ratio = (variance / norms[name].running_var).median()
        assert 0.5 < float(ratio) < 2, name
        if name != "bn1":  # its means are all near zero
            assert np.corrcoef(mean, norms[name].running_mean)[0, 1] > 0.9, name
