# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Pairs kept as features: the same as fresh ones, in new orders, and a run on them learns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from squares import Squares, losses, small_network

from snscf_core.data.pairs import PairConfig
from snscf_core.model.network import centre_crop
from snscf_core.training.cache import CachedPairs
from snscf_core.training.siamese import PairNetwork
from snscf_core.training.trainer import TrainConfig, train

pytestmark = pytest.mark.usefixtures("one_thread")


class Described(Squares):
    """Squares that a cache can be filled from; counts how often it was asked."""

    config = PairConfig()
    asked = 0

    def describe(self) -> str:
        return f"squares {self.seed}"

    def fingerprint(self) -> str:
        return "none"

    def batch(self, step, size):
        self.asked += 1
        return super().batch(step, size)


def cached(folder: Path, source: Described, **arguments) -> CachedPairs:
    settings = {"pairs": 30, "every": 3, "seed": 5, "recombined": 0.0} | arguments
    return CachedPairs(source, small_network(), folder, **settings)


def key(box: torch.Tensor) -> tuple[float, ...]:
    return tuple(box.tolist())


def test_a_pair_comes_back_with_its_features_box_and_context(tmp_path):
    source = Described()
    cache = cached(tmp_path, source)
    fresh = [source.batch(step, 24) for step in range(2)]
    rows = {key(box): (batch, row) for batch in fresh for row, box in enumerate(batch.box)}
    network = small_network()
    batch = cache.batch(0, 6)
    assert len(batch.search) == 3 and batch.search[0].shape == (6, 24, 31, 31)
    assert [tuple(tap.shape[2:]) for tap in batch.template] == [(15, 15), (7, 7), (7, 7)]
    assert batch.context is not None and len(batch.context[0]) == 2, "of pairs 0 and 3"
    with torch.no_grad():
        for index in range(6):
            pairs, row = rows[key(batch.box[index])]
            assert bool(batch.positive[index]) == bool(pairs.positive[row])
            assert torch.equal(batch.template_box[index], pairs.template_box[row])
            for level, tap in enumerate(network.extract(pairs.search[row : row + 1])):
                assert torch.allclose(batch.search[level][index], tap[0], atol=2e-3 * float(tap.abs().max()))
            shallow, *deep = network.extract(pairs.template[row : row + 1])
            for found, tap in zip(batch.template, [shallow, *(centre_crop(d, 7) for d in deep)], strict=True):
                assert torch.allclose(found[index], tap[0], atol=2e-3 * float(tap.abs().max()))
            if index % 3 == 0:
                for level, tap in enumerate(network.extract(pairs.template_context[row : row + 1])):
                    assert torch.allclose(batch.context[level][index // 3], tap[0], atol=2e-3 * float(tap.abs().max()))


@pytest.mark.parametrize("every", [0, 1, 3])
def test_every_round_has_each_pair_once_in_another_order(tmp_path, every):
    cache = cached(tmp_path, Described(), every=every)
    batches = [cache.batch(step, 6) for step in range(10)]
    boxes = [key(box) for batch in batches for box in batch.box]
    first, second = boxes[:30], boxes[30:]
    assert len(set(first)) == 30 and set(first) == set(second) and first != second
    assert all((batch.context is None) == (every == 0) for batch in batches)
    assert key(cache.batch(3, 6).box[2]) == key(batches[3].box[2]), "a step is the same whenever it is asked for"


def test_recombined_pairs_are_negatives_with_another_template(tmp_path):
    plain, mixed = (cached(tmp_path, Described(negatives=0.0), recombined=share) for share in (0.0, 0.5))
    exchanged = 0
    for step in range(10):
        before, after = plain.batch(step, 6), mixed.batch(step, 6)
        assert torch.equal(before.box, after.box) and bool(before.positive.all())
        assert bool(after.positive[::3].all()), "the filters' loss needs the template's own context"
        for index in (~after.positive).nonzero()[:, 0].tolist():
            exchanged += 1
            assert torch.equal(after.template[0][index], before.template[0][index - 1])
            assert torch.equal(after.template_box[index], before.template_box[index - 1])
    assert 10 <= exchanged <= 30, "half of 40"


def test_a_cache_is_filled_once_continued_and_refused_for_other_pairs(tmp_path):
    source = Described()
    whole = cached(tmp_path / "whole", source).batch(4, 6)
    asked = source.asked
    again = cached(tmp_path / "whole", source).batch(4, 6)
    assert source.asked == asked and torch.equal(whole.search[2], again.search[2])

    cached(tmp_path / "part", source)
    state = json.loads((tmp_path / "part" / "cache.json").read_text())
    (tmp_path / "part" / "cache.json").write_text(json.dumps(state | {"done": 24}))
    damaged = np.load(tmp_path / "part" / "search.2.npy", mmap_mode="r+")
    damaged[24:] = 0
    damaged.flush()
    continued = cached(tmp_path / "part", source)
    assert all(torch.equal(continued.batch(s, 6).search[2], cached(tmp_path / "whole", source).batch(s, 6).search[2])
               for s in range(5))  # fmt: skip

    for changed, named in (({"seed": 6}, "seed"), ({"every": 2}, "every"), ({"pairs": 31}, "pairs")):
        with pytest.raises(ValueError, match=f"is a cache with another {named}"):
            cached(tmp_path / "whole", source, **changed)
    with pytest.raises(ValueError, match="another source"):
        cached(tmp_path / "whole", Described(1))
    other = small_network(seed=1)
    with pytest.raises(ValueError, match="another backbone"):
        CachedPairs(source, other, tmp_path / "whole", pairs=30, every=3, seed=5)


def test_a_cache_that_does_not_fit_on_the_disk_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a cache of 100000000 pairs needs \d+\.\d GB"):
        cached(tmp_path, Described(), pairs=100_000_000)


def test_features_and_crops_give_the_same_outputs(tmp_path):
    source = Described()
    batch = cached(tmp_path, source).batch(0, 6)
    fresh = {key(box): (b, row) for b in [source.batch(0, 24), source.batch(1, 24)] for row, box in enumerate(b.box)}
    found = [fresh[key(box)] for box in batch.box]
    template, search, context = (
        torch.stack([getattr(pairs, name)[row] for pairs, row in found])
        for name in ("template", "search", "template_context")
    )
    network = PairNetwork(small_network()).eval()
    with torch.no_grad():
        of_crops = network(template, search, context[::3], 3)
        for taps in (slice(3), slice(1)):  # all of them as for the heads alone; the first as for end to end
            of_taps = network(batch.template[taps], batch.search[taps], batch.context[taps], 3)
            for a, b in zip(of_crops.fused, of_taps.fused, strict=True):
                assert torch.allclose(a, b, atol=0.01 * float(a.abs().max()))
            assert torch.allclose(
                of_crops.context[1], of_taps.context[1], atol=0.01 * float(of_crops.context[1].abs().max())
            )


@pytest.mark.slow
def test_a_run_on_a_cache_learns_heads_and_then_what_is_behind_the_first_tap(tmp_path):
    config = TrainConfig(steps=40, batch=12, cache_pairs=30, log_every=5, intervals=1, channels=16)
    config = replace(config, losses=replace(config.losses, ridge_every=3))
    config = replace(config, schedule=replace(config.schedule, heads_rate=0.02, peak_rate=0.02, heads_share=0.5))
    network = small_network()
    before = {name: value.clone() for name, value in network.named_parameters()}
    cache = cached(tmp_path / "cache", Described(negatives=0.0))
    train(config, cache, tmp_path / "run", network=network)
    fell = losses(tmp_path / "run")
    assert fell[-1] < 0.8 * fell[0]
    changed = {name for name, value in network.named_parameters() if not torch.equal(value, before[name])}
    assert any(name.startswith("heads.") for name in changed)
    assert any(name.startswith("backbone.stages.2.") for name in changed)


def test_a_cache_and_a_training_stem_exclude_each_other():
    with pytest.raises(ValueError, match="train_stem needs it to be 0"):
        TrainConfig(steps=1, cache_pairs=10, train_stem=True)
