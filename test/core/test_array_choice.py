# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The choice of proposals in NumPy is that in torch."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from snscf_core import TrackerConfig
from snscf_core.devices import CPU, Device
from snscf_core.engines.search_output import SearchOutput
from snscf_core.model import acf
from snscf_core.model.rpn import anchors, cell_boxes
from snscf_core.online.array_choice import ArrayChoice, to_peak
from snscf_core.online.mode import mode_named
from snscf_core.online.proposals import ProposalSelector
from snscf_core.online.tensor_selection import TensorSelector, to_peaks

SECTIONS = (16, 24, 8)


def both(mode: str, boxes: torch.Tensor, config: TrackerConfig, *, flat: bool = False) -> list[torch.Tensor]:
    """The candidates in three regions, as arrays and as tensors choose them."""
    generator = torch.Generator().manual_seed(3)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    given = config, mode_named(mode, trained=True), boxes.numpy(), SECTIONS, [0.5, 0.3, 0.2]
    arrays, tensors = ProposalSelector(*given, CPU), TensorSelector(*given, Device(uses_arrays=False))
    count, places, grid = len(boxes), boxes.shape[-1], config.grid
    period = acf.fft_size(grid)
    features, gains = noise(3, sum(SECTIONS), grid, grid), noise(3, 3).exp()
    scores, deltas = 3 * noise(3, count, places, places), noise(3, count, 4, places, places)
    deltas[0, 0, :2] *= 40  # far outside the map of responses
    deltas[1, :, 2:] *= 8  # from next to nothing to endless
    if flat:
        scores.zero_()
    label = acf.gaussian_label(grid, period, torch.full((3, 2), 2.0))
    filters = acf.learn_bank(features * tensors.window, gains, label, SECTIONS, config.ridge)
    features = features + 0.3 * noise(*features.shape)
    response = None if mode == "siamese" else tensors.response(features, filters, gains)
    reference_shape = torch.tensor([[120.0, 1.3], [90.0, 0.4], [64.0, 1.0]])
    found = SearchOutput(features, scores, deltas)
    chosen = arrays.choose(features, found, response, reference_shape)
    return [torch.from_numpy(chosen), tensors.choose(features, found, response, reference_shape)]


@pytest.mark.parametrize("mode", ["snscf", "paper", "siamese", "naive_fusion"])
@pytest.mark.parametrize("size", [255, 191])
@pytest.mark.parametrize("light", [True, False])
def test_arrays_choose_what_tensors_choose(mode, size, light):
    config = TrackerConfig(search_size=size, centre_correction=0.3)
    boxes = cell_boxes((config.grid - 1) // 2) if light else anchors(config.grid - 6)
    found, expected = both(mode, boxes, config)
    assert found.shape == (3, config.candidates, 9 + sum(SECTIONS)) and found.dtype == torch.float32
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-3, equal_nan=True)


def test_arrays_choose_alike_where_all_scores_are_the_same():
    config = replace(TrackerConfig(), window_influence=0.0, candidates=5)
    found, expected = both("siamese", cell_boxes(15), config, flat=True)
    assert float(found[:, :, 8].abs().max()) == 0  # a flat map has no peak
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-3, equal_nan=True)


def test_the_way_to_the_peak_ends_at_the_highest_response_beside_a_centre():
    response = np.zeros((31, 31), np.float32)
    response[15, 17], response[15, 16], response[15, 18] = 0.8, 0.4, 0.6  # the parabola's peak: a sixth of a cell right
    response[20, 12] = 1.0  # too far away
    at = 8 * (2 + 1 / 6)
    assert to_peak(response, np.zeros(2, np.float32)) == pytest.approx([at, 0], abs=1e-4)
    assert to_peak(response, np.array([10, -5], np.float32)) == pytest.approx([at - 10, 5], abs=1e-4)
    assert to_peak(response, np.array([-20, 40], np.float32)) == pytest.approx([-4, 0], abs=1e-4)


def test_outside_the_map_there_is_no_way_to_a_peak():
    response = np.random.default_rng(0).random((31, 31), np.float32)
    centres = [[400, 0], [0, -400], [144, 0], [math.nan, 0], [math.inf, 0], [130, -130], [120, 3]]
    found = [to_peak(response, np.array(centre, np.float32)) for centre in centres]
    assert [bool(np.any(way)) for way in found] == [False, False, False, False, False, True, True]
    for centre, way in zip(centres, found, strict=True):
        tensors = torch.from_numpy(response)[None], torch.tensor([centre], dtype=torch.float32)
        assert torch.allclose(to_peaks(*tensors)[0], torch.from_numpy(way), atol=1e-3)


def test_boxes_that_are_no_numbers_do_not_stop_the_choice():
    boxes = cell_boxes(15)
    choose = ArrayChoice(TrackerConfig(), False, 0.5, 0.2, boxes.numpy(), torch.zeros(225).numpy(), 16)
    deltas = torch.full((1, 4, 15, 15), torch.nan)
    rows = choose(torch.zeros(1, 15, 15).numpy(), deltas.numpy(), torch.zeros(31, 31).numpy(), (64.0, 1.0))
    assert rows.shape == (3, 9)
