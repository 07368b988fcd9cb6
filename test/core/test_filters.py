# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The closed-form filters against ridge regression solved by brute force, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snscf_core import arrays
from snscf_core.model import acf
from snscf_core.model.ssf import spatially_semantic_features


def features(channels: int = 3, cells: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, channels, cells, cells, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shifted_samples(x: np.ndarray) -> np.ndarray:
    """All circular shifts of a C x P x P map, one per row: eq 5."""
    size = x.shape[-1]
    return np.stack([np.roll(x, (-m, -n), (1, 2)).ravel() for m in range(size) for n in range(size)])


def test_learned_filter_solves_the_ridge_regression_of_eq_7():
    size, regularisation = 6, 0.7
    x = features(cells=size)
    label = acf.gaussian_label(size, size, torch.tensor([[1.1, 0.8]], dtype=torch.float64))
    learned = acf.learn(x, label, regularisation)

    samples = shifted_samples(x[0].numpy())
    y = label[0, 0].numpy().ravel()
    w = np.linalg.solve(samples.T @ samples + regularisation * np.eye(samples.shape[1]), samples.T @ y)

    # On any other map, the response of eq 9 is the inner product of w with every shift of it.
    z = features(cells=size, seed=1)
    expected = (shifted_samples(z[0].numpy()) @ w).reshape(size, size)
    assert np.allclose(acf.respond(learned, z)[0, 0].numpy(), expected, atol=1e-10)


def test_response_moves_with_the_target():
    cells = 16
    x = features(channels=4, cells=cells)
    label = acf.gaussian_label(cells, cells, torch.full((1, 2), 1.0, dtype=torch.float64))
    learned = acf.learn(x, label, 1e-6)
    moved = torch.roll(x, (3, -2), (2, 3))
    difference = acf.respond(learned, moved) - torch.roll(acf.respond(learned, x), (3, -2), (2, 3))
    assert difference.abs().max() < 1e-9


def test_response_on_the_learned_map_is_the_label():
    x = features(cells=31, channels=8)
    size = acf.fft_size(31)
    label = acf.gaussian_label(31, size, torch.full((1, 2), 0.8, dtype=torch.float64))
    response = acf.respond(acf.learn(x, label, 1e-9), x)
    assert (response - label[..., :31, :31]).abs().max() < 1e-3
    assert divmod(int(response.argmax()), 31) == (15, 15)


def test_running_average_mixes_numerators_and_denominators():
    label = acf.gaussian_label(6, 6, torch.full((1, 2), 1.0, dtype=torch.float64))
    old, new = acf.learn(features(seed=1), label, 0.1), acf.learn(features(seed=2), label, 0.1)
    mixed = old.updated(new, 0.25)
    assert torch.allclose(mixed.numerator, 0.75 * old.numerator + 0.25 * new.numerator)
    assert torch.allclose(mixed.denominator, 0.75 * old.denominator + 0.25 * new.denominator)
    assert torch.equal(old.updated(new, 0.0).numerator, old.numerator)


def test_peak_to_sidelobe_ratio_is_that_of_the_definition_and_zero_for_a_flat_map():
    response = np.random.default_rng(0).normal(size=(2, 20, 24)).astype(np.float32)
    response[0, 4, 9] = 9.0
    values = response[0]
    outside = np.ones_like(values, bool)
    outside[0:10, 4:15] = False
    expected = (9.0 - values[outside].mean()) / values[outside].std()
    assert float(acf.peak_to_sidelobe_ratio(torch.from_numpy(response))[0]) == pytest.approx(expected, rel=1e-4)
    assert float(acf.peak_to_sidelobe_ratio(torch.zeros(1, 20, 20))[0]) == 0


@pytest.mark.parametrize(("cells", "size"), [(31, 32), (32, 32), (15, 16), (25, 27), (49, 54)])
def test_transforms_are_taken_at_a_fast_size(cells, size):
    assert acf.fft_size(cells) == size


def test_levels_are_brought_to_one_grid():
    ramp = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 2, 16, 16)
    same, finer = spatially_semantic_features([ramp, ramp], 16), spatially_semantic_features([ramp], 32)[0]
    assert all(level is ramp for level in same)
    assert finer.shape == (1, 2, 32, 32)
    # Bilinear, align_corners off: output cell k lies at input cell (k + 0.5) / 2 - 0.5.
    assert torch.allclose(finer[0, 0, 5, 1:-1], (torch.arange(1.0, 31) + 0.5) / 2 - 0.5)


# Transforms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resampled", [False, True], ids=["as they are", "resampled first"])
def test_spectra_of_arrays_are_those_of_tensors(resampled):
    random = np.random.default_rng(3)
    maps = random.normal(size=(2, 5, 9, 9)).astype(np.float32)
    views = random.normal(size=(2, 2, 9, 9)).astype(np.float32) if resampled else None
    spectrum = arrays.rfft2(maps, 16, views)
    seen = maps if views is None else np.einsum("nij,ncjk,nlk->ncil", views[:, 1], maps, views[:, 0])
    np.testing.assert_allclose(spectrum, np.fft.rfft2(seen, s=(16, 16)), rtol=0, atol=1e-3)
    tensors = arrays.rfft2(torch.from_numpy(maps), 16, None if views is None else torch.from_numpy(views))
    np.testing.assert_allclose(spectrum, tensors, rtol=0, atol=1e-3)


def test_coarse_levels_are_transformed_from_their_own_cells():
    random = np.random.default_rng(4)
    sections, count, grid, size = (3, 2, 4), 2, 15, 16
    levels = [torch.from_numpy(random.normal(size=(count, 3, grid, grid)).astype(np.float32))]
    coarse = [torch.from_numpy(random.normal(size=(count, width, 7, 7)).astype(np.float32)) for width in (2, 4)]
    maps = torch.cat(spatially_semantic_features(levels + coarse, grid), 1)
    gains = random.uniform(0.5, 2, (count, 3)).astype(np.float32)
    label = acf.gaussian_label(grid, size, torch.full((count, 2), 1.5)).numpy()
    views = np.tile(np.diag(acf.hann_profile(grid)), (count, 2, 1, 1)).astype(np.float32)
    shares = np.array([0.2, 0.3, 0.5], np.float32)

    def seen(features, flags=()):
        given = gains, label, shares, views
        scale, wanted, weights, windows = map(torch.from_numpy, given) if torch.is_tensor(features) else given
        bank = acf.learn_bank(features, scale, wanted, sections, 0.1, windows, flags)
        response = acf.respond_bank(bank, features, scale, weights, windows, flags)
        return np.concatenate([np.asarray(bank.numerator).ravel(), np.asarray(response).ravel()])

    expected = seen(maps.numpy())
    flags = (False, True, True)
    np.testing.assert_allclose(seen(maps.numpy(), flags), expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(seen(maps, flags), expected, rtol=0, atol=1e-4)
    # The cells between are not looked at.
    between = maps.numpy().copy()
    between[:, 3:, ::2], between[:, 3:, :, ::2] = 9.0, 9.0
    np.testing.assert_allclose(seen(between, flags), expected, rtol=0, atol=1e-4)
    assert np.abs(seen(between) - expected).max() > 1
