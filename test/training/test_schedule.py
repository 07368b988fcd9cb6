# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The plan of a run and the rates along it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from snscf_core.training.schedule import PAPER, Plan, ScheduleConfig, rates


def test_the_papers_rates_over_20_epochs():
    per_epoch = 100
    plan = Plan.of_steps(20 * per_epoch, PAPER.heads_share)
    assert (plan.heads_steps, plan.end_to_end_steps) == (5 * per_epoch, 15 * per_epoch)

    def at(step: int):
        return rates(plan.progress(step), plan.end_to_end(step), PAPER)

    assert at(4 * per_epoch).heads == pytest.approx(0.001) and at(4 * per_epoch).backbone == 0
    assert at(5 * per_epoch).heads == pytest.approx(0.004)
    assert at(5 * per_epoch).backbone == pytest.approx(0.0004)
    assert at(20 * per_epoch).heads == pytest.approx(0.0004)
    epochs = [at(epoch * per_epoch).heads for epoch in range(5, 21)]
    ratios = [later / earlier for earlier, later in pairwise(epochs)]
    assert ratios == pytest.approx([0.1 ** (1 / 15)] * 15), "the decay is exponential"


def test_the_rate_rises_linearly_at_first():
    config = ScheduleConfig(warmup_share=0.1, warmup_from=0.2, heads_rate=1.0)
    assert rates(0.0, False, config).heads == pytest.approx(0.2)
    assert rates(0.05, False, config).heads == pytest.approx(0.6)
    assert rates(0.1, False, config).heads == pytest.approx(1.0)


def test_without_a_phase_of_heads_everything_trains_from_the_start():
    config = ScheduleConfig(heads_share=0.0, warmup_share=0.1)
    plan = Plan.of_steps(100, 0.0)
    first = rates(plan.progress(0), plan.end_to_end(0), config)
    assert plan.end_to_end(0) and first.backbone == pytest.approx(first.heads * config.backbone_factor)
    assert first.heads == pytest.approx(config.peak_rate * config.warmup_from)
    only_heads = Plan.of_steps(100, 1.0)
    assert not only_heads.end_to_end(99) and only_heads.progress(100) == 1.0


def test_heads_that_train_alone_to_the_end_have_the_rate_fall():
    config = ScheduleConfig(heads_share=1.0, warmup_share=0.0, heads_rate=1.0, final_rate=0.01)
    plan = Plan.of_steps(100, 1.0)
    found = [rates(plan.progress(step), plan.end_to_end(step), config) for step in (0, 50, 99)]
    assert [rate.heads for rate in found] == pytest.approx([1.0, 0.1, 0.01], rel=0.1)
    assert all(rate.backbone == 0 for rate in found)


def test_a_run_planned_by_time_gives_each_phase_its_share_of_it():
    plan = Plan.of_time(0.25)
    assert plan.steps is None and not plan.known(0) and plan.progress(30) == 0.0
    plan = plan.measured(step=30, step_seconds=0.1, spent=3.0, total=1000.0)
    assert plan.heads_steps == 30 + 2470, "a quarter of 1000 s in steps of 0.1 s"
    assert plan.known(2499) and not plan.known(2500) and plan.end_to_end(2500)
    assert plan.progress(1250) == pytest.approx(0.125)
    assert plan.progress(2510) == 0.25, "not measured yet"
    plan = plan.measured(step=2530, step_seconds=0.3, spent=259.0, total=1000.0)
    assert plan.end_to_end_steps == 30 + 2470 and plan.steps == 5000, "the rest of the time in steps of 0.3 s"
    assert plan.progress(2530) == pytest.approx(0.25 + 0.75 * 30 / 2500)
    assert plan.progress(5000) == 1.0


def test_time_that_is_over_ends_the_phase_at_once():
    plan = Plan.of_time(0.25).measured(step=30, step_seconds=1.0, spent=400.0, total=1000.0)
    assert plan.heads_steps == 30
    plan = plan.measured(step=60, step_seconds=1.0, spent=1200.0, total=1000.0)
    assert plan.steps == 60


def test_progress_never_falls():
    plan = Plan(0.25, 37, 101)
    values = [plan.progress(step) for step in range(139)]
    assert values == sorted(values) and values[0] == 0.0 and values[-1] == 1.0


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"heads_share": 1.5}, "heads_share must be a fraction"), ({"peak_rate": 0.0}, "peak_rate must")],
)
def test_impossible_schedules_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        ScheduleConfig(**settings)
    with pytest.raises(ValueError, match="at least one step"):
        Plan.of_steps(0, 0.25)
