# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The training loop on a small network: it learns, repeats itself, stops, goes on, and survives broken steps."""

from __future__ import annotations

import dataclasses
import json
import os
import signal

import pytest
import torch
from squares import Squares, losses, small_network

from snscf_core import WeightsError
from snscf_core.model import checkpoints
from snscf_core.model.network import create
from snscf_core.training import trainer
from snscf_core.training.checkpoint import FILE, Checkpoints, part, read
from snscf_core.training.losses import LossConfig
from snscf_core.training.trainer import TrainConfig, train
from snscf_core.training.training_error import TrainingError

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = TrainConfig(steps=8, batch=4, log_every=3, intervals=1)


def go(out, config=QUICK, source=None, **arguments):
    return train(config, source or Squares(), out, network=small_network(channels=8), **arguments)


def average_network(out):
    network = small_network(channels=8)
    network.load_state_dict(part("average", read(out)[0]))
    return network.eval()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("run")
    go(out)
    assert len(losses(out)) == 3
    return out


def told(out):
    """All that the log says, but for the time it took."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if key not in ("seconds", "pairs_per_second")} for line in lines]


@pytest.mark.slow
def test_a_run_in_slices_is_the_uninterrupted_one(uninterrupted, tmp_path):
    slices = dataclasses.replace(QUICK, stop_after_minutes=0.0)
    steps = []
    while not (summary := go(tmp_path, slices)).finished:
        steps.append(summary.step)
    assert steps == list(range(1, 8)), "a slice makes at least one step"
    assert told(tmp_path) == told(uninterrupted)
    (ours, _), (theirs, _) = read(tmp_path), read(uninterrupted)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key
    again = go(tmp_path)
    assert again.finished and again.step == 8, "what is finished stays as it is"


def test_signals_end_a_slice_with_a_checkpoint(tmp_path):
    class Signalling(Squares):
        def batch(self, step, size):
            if step == 4:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGINT)
            return super().batch(step, size)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    summary = go(tmp_path, source=Signalling())
    assert not summary.finished and summary.step == 5
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert read(tmp_path)[1]["step"] == 5


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_broken_step_is_skipped_and_counted(monkeypatch, tmp_path, optimiser):
    config = dataclasses.replace(QUICK, steps=8, optimiser=optimiser, checkpoint_seconds=0.0, log_every=2)
    by_step = {}

    class Keeping(Checkpoints):
        def write(self, tensors, state):
            super().write(tensors, state)
            self.wait()
            saved, kept = read(tmp_path)
            by_step[kept["step"]] = saved

    monkeypatch.setattr(trainer, "Checkpoints", Keeping)
    assert go(tmp_path, config, Squares(broken=(3, 6))).finished
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines if line["kind"] == "steps"] == [0, 1, 0, 1]
    assert all(line["loss"] is not None for line in lines if line["kind"] == "steps"), "means of the other steps"
    pairs = [(step, by_step[step], by_step[step + 1]) for step in sorted(by_step) if step + 1 in by_step]
    assert {3, 6} < {step for step, _, _ in pairs}, "the broken steps are among those seen"
    for step, now, later in pairs:
        changed = [key for key in now if key.startswith("network.heads") and not torch.equal(now[key], later[key])]
        changed = [key for key in changed if "num_batches_tracked" not in key]
        assert bool(changed) == (step not in (3, 6)), f"step {step} changed {changed[:3]}"
    assert all(bool(value.isfinite().all()) for key, value in read(tmp_path)[0].items() if value.is_floating_point())


def test_training_that_diverges_is_given_up_and_leaves_the_last_checkpoint(tmp_path):
    config = dataclasses.replace(QUICK, steps=40, max_skipped=5, checkpoint_seconds=1e9)
    go(tmp_path, dataclasses.replace(config, stop_after_minutes=0.0))
    with pytest.raises(
        TrainingError, match=r"not finite in [67] of the last steps, up to step [89]: lower the learning rate"
    ):
        go(tmp_path, config, Squares(broken=range(2, 40)))
    assert read(tmp_path)[1]["step"] == 1


@pytest.mark.slow
def test_a_run_planned_by_time_ends_by_itself_with_both_phases(tmp_path):
    config = TrainConfig(minutes=0.05, batch=2, log_every=1, measured_steps=3)
    summary = go(tmp_path, config)
    plan = read(tmp_path)[1]["plan"]
    assert summary.finished and summary.step == plan["heads_steps"] + plan["end_to_end_steps"]
    assert plan["heads_steps"] >= 8 and plan["end_to_end_steps"] >= 8, "settling and measuring take 8 steps"
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    rates = [line["rate"] for line in lines if line["kind"] == "steps"]
    schedule = config.schedule
    assert rates[0] == pytest.approx(schedule.heads_rate * schedule.warmup_from)
    assert rates[plan["heads_steps"]] == pytest.approx(schedule.peak_rate)
    assert lines[-1]["progress"] == 1.0


@pytest.mark.slow
def test_a_run_planned_by_epochs_tells_every_epoch(tmp_path):
    config = TrainConfig(epochs=4, pairs_per_epoch=9, batch=2, log_every=100)
    assert go(tmp_path, config).step == 18
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["interval"] for line in lines if line["kind"] == "interval"] == [1, 2, 3, 4]


def test_a_run_goes_on_only_with_the_settings_that_decide_it(tmp_path):
    go(tmp_path, dataclasses.replace(QUICK, stop_after_minutes=0.0))
    other = dataclasses.replace(QUICK, batch=2, losses=LossConfig(box_weight=2.0))
    with pytest.raises(
        ValueError, match=r"holds a run with other settings \(batch 4, now 2; losses.box_weight 1.2, now 2"
    ):
        go(tmp_path, other)
    free = dataclasses.replace(QUICK, log_every=5, checkpoint_seconds=5.0, stop_after_minutes=0.0)
    assert go(tmp_path, free).step == 2


def test_a_damaged_checkpoint_is_refused_in_one_sentence(tmp_path):
    go(tmp_path, dataclasses.replace(QUICK, stop_after_minutes=0.0))
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="is no checkpoint of a run") as refused:
        go(tmp_path)
    assert "\n" not in str(refused.value)


def test_the_filters_loss_needs_a_context(tmp_path):
    class Bare(Squares):
        def batch(self, step, size):
            return dataclasses.replace(super().batch(step, size), template_context=None)

    with pytest.raises(ValueError, match="needs pairs with a context"):
        go(tmp_path / "one", source=Bare())
    without = dataclasses.replace(QUICK, steps=3, losses=LossConfig(ridge_weight=0.0))
    assert go(tmp_path / "two", without, Bare()).finished


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"minutes": None, "steps": None}, "one of minutes, epochs and steps, not 0"),
        ({"minutes": 3.0}, "one of minutes, epochs and steps, not 2"),
        ({"batch": 0}, "batch must be positive, got 0"),
        ({"optimiser": "lion"}, "unknown optimiser 'lion'; there are sgd, adamw"),
    ],
)
def test_impossible_settings_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        TrainConfig(**{"steps": 3, **settings})


@pytest.mark.slow
def test_the_average_ships_with_checksums_and_a_card(tmp_path):
    torch.manual_seed(0)
    config = TrainConfig(steps=2, batch=2, log_every=1, intervals=1, channels=8)
    description = trainer.Description(["squares: drawn"], "no terms at all", "snscf train --steps 2")
    summary = train(config, Squares(), tmp_path, network=create("snscf_nano", 8), description=description)
    network, weights = checkpoints.load(summary.weights)
    assert weights.trained and weights.metadata["steps"] == "2" and (summary.weights / "SHA256SUMS").is_file()
    average = part("average", read(tmp_path)[0])
    for key, value in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            stored = average[key].half().float() if average[key].dim() > 1 else average[key]
            assert torch.equal(value, stored), key
    card = (summary.weights / "snscf_nano.md").read_text()
    for fact in ("squares: drawn", "no terms at all", "snscf train --steps 2", "2 of 2 steps of 2 pairs", "CPU"):
        assert fact in card
    assert str(tmp_path) not in card.split("## Settings")[1]


def test_the_average_looks_back_over_the_share_of_the_run(tmp_path):
    config = dataclasses.replace(QUICK, steps=4, average_share=0.5, checkpoint_seconds=0.0)
    values = []

    class Watching(Squares):
        def batch(self, step, size):
            values.append(network.beta[0].item())
            return super().batch(step, size)

    network = small_network(channels=8)
    train(config, Watching(), tmp_path, network=network)
    values.append(network.beta[0].item())
    expected = values[1]  # the first step replaces the random start
    for value in values[2:]:
        expected += 0.5 * (value - expected)  # two steps, half of the run, back
    assert values[1] != values[2] != values[3]
    assert average_network(tmp_path).beta[0].item() == pytest.approx(expected, rel=1e-4)
