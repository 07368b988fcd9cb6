"""That training learns, and learns the same from the same seed."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from squares import Squares, losses, small_network

from snscf_core.training.checkpoint import part, read
from snscf_core.training.losses import best_overlap
from snscf_core.training.schedule import ScheduleConfig
from snscf_core.training.trainer import TrainConfig, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_a_handful_of_pairs_is_learned_by_heart(tmp_path):
    rates = ScheduleConfig(0.1, 0.1, heads_rate=5e-3, peak_rate=5e-3, final_rate=1e-4, backbone_factor=1.0)
    config = TrainConfig(
        steps=60, batch=6, log_every=5, intervals=1, optimiser="adamw", schedule=rates, average_share=0.05
    )
    source = Squares(repeats=1)
    train(config, source, tmp_path, network=small_network())
    told = losses(tmp_path)
    assert told[-1] < 0.3 * told[0]
    # As the tracker would use it: averaged weights, running statistics, the plain network.
    batch, network = source.batch(0, 6), small_network()
    network.load_state_dict(part("average", read(tmp_path)[0]))
    network.eval()
    with torch.no_grad():
        proposals = network(batch.template, batch.search)
    assert 4 <= int(batch.positive.sum()) < 6
    assert float(best_overlap(proposals, batch.box, batch.positive, network.anchors)) > 0.85


@pytest.mark.slow
def test_the_same_seed_gives_the_same_first_20_losses(tmp_path):
    config = TrainConfig(steps=20, batch=4, log_every=1, intervals=1)
    for name in ("one", "two"):
        train(config, Squares(), tmp_path / name, network=small_network(channels=8))
    other = dataclasses.replace(config, seed=1)
    train(other, Squares(), tmp_path / "other", network=small_network(channels=8))
    assert len(losses(tmp_path / "one")) == 20
    assert losses(tmp_path / "one") == losses(tmp_path / "two")
    assert losses(tmp_path / "one") != losses(tmp_path / "other"), "the seed samples the anchors"
