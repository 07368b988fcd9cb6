# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What only a GPU can show: that a step never waits for it, and that bf16 learns."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from squares import Squares, losses, small_network

from snscf_core.data.pairs import PairBatch
from snscf_core.training.schedule import ScheduleConfig
from snscf_core.training.trainer import TrainConfig, train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]
GPU = torch.device("cuda", 0)


class OnGpu(Squares):
    """The same pairs, moved there beforehand."""

    def __init__(self, steps: int, size: int, **settings) -> None:
        super().__init__(**settings)
        self.moved = [self._moved(Squares.batch(self, step, size)) for step in range(steps)]

    @staticmethod
    def _moved(batch: PairBatch) -> PairBatch:
        values = {item.name: getattr(batch, item.name) for item in dataclasses.fields(batch)}
        return PairBatch(**{name: value if value is None else value.to(GPU) for name, value in values.items()})

    def batch(self, step: int, size: int) -> PairBatch:
        return self.moved[step]


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_step_never_waits_for_the_device(tmp_path, optimiser):
    class Strict(OnGpu):
        def batch(self, step, size):
            # The first steps of both phases may: kernels are chosen, memory is taken.
            torch.cuda.set_sync_debug_mode("error" if step in (6, 7, 8, 16, 17, 18) else "default")
            return super().batch(step, size)

    config = TrainConfig(
        steps=20, batch=4, log_every=1000, intervals=1, optimiser=optimiser, schedule=ScheduleConfig(heads_share=0.5)
    )
    try:
        assert train(config, Strict(20, 4), tmp_path, device=GPU, network=small_network()).finished
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_bf16_learns_and_goes_on_where_it_stopped(tmp_path):
    rates = ScheduleConfig(0.1, 0.1, heads_rate=5e-3, peak_rate=5e-3, final_rate=1e-4, backbone_factor=1.0)
    config = TrainConfig(steps=60, batch=6, log_every=5, intervals=1, optimiser="adamw", schedule=rates)
    source = OnGpu(60, 6, repeats=1)
    first = dataclasses.replace(config, stop_after_minutes=0.0)
    assert train(first, source, tmp_path, device=GPU, network=small_network()).step == 1
    assert train(config, source, tmp_path, device=GPU, network=small_network(1)).finished
    assert losses(tmp_path)[-1] < 0.35 * losses(tmp_path)[0]
