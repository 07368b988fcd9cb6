# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""That training learns, and learns the same from the same seed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from squares import Squares, losses, small_network

from snscf_core.data.pairs import PairConfig, PairSource
from snscf_core.data.pool import ImagePool
from snscf_core.data.readers import Clip
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
@pytest.mark.parametrize("pairs", ["made up", "of pictures"])
def test_the_same_seed_gives_the_same_first_20_losses(pairs, tmp_path):
    config = TrainConfig(steps=20, batch=4, log_every=1, intervals=1)

    def told(name: str, seed: int) -> list[float]:
        made_up = pairs == "made up"
        source = Squares() if made_up else PairSource(decoded(tmp_path / name), PairConfig(context=True), seed=seed)
        train(dataclasses.replace(config, seed=seed), source, tmp_path / name, network=small_network(channels=8))
        return losses(tmp_path / name)

    one = told("one", 0)
    assert len(one) == 20
    assert one == told("two", 0)
    assert one != told("other", 1), "the seed samples the anchors, and draws the pairs if they are of pictures"


def decoded(folder: Path) -> ImagePool:
    """Four clips of a textured ellipse that moves, with masks, so that all kinds of pairs can be made of them."""
    folder.mkdir()
    clips = []
    for number in range(4):
        random = np.random.default_rng(number)
        background, target = (cv2.resize(random.integers(0, 256, (6, 8, 3), np.uint8), (160, 120)) for _ in range(2))
        boxes = np.array([[30 + 6 * frame, 25 + 3 * frame, 60, 50] for frame in range(4)])
        files, masks = [], []
        for frame, (x, y, w, h) in enumerate(boxes):
            mask = np.zeros((120, 160), np.uint8)
            cv2.ellipse(mask, (x + w // 2, y + h // 2), (w // 2, h // 2), 0, 0, 360, 255, cv2.FILLED)
            files.append(folder / f"{number}-{frame}.png")
            masks.append(folder / f"{number}-{frame}-mask.png")
            cv2.imwrite(str(files[-1]), np.where(mask[..., None] > 0, target, background))
            cv2.imwrite(str(masks[-1]), mask)
        clips.append(Clip(f"clip{number}", "pictures", tuple(files), boxes.astype(float), tuple(masks)))
    pool, problems = ImagePool.build(clips, device="cpu", progress=False)
    assert not problems
    assert "with masks 4 clips, 16 views" in PairSource(pool, PairConfig(), seed=0).describe()
    return pool
