# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Several processes that share a batch, started by torchrun: the losses of one process with all of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from squares import losses
from test_interruption import go_on, started

from snscf_core.training.checkpoint import part, read
from snscf_core.training.processes import Processes, processes

SETTINGS = {"steps": 8, "batch": 4, "log_every": 1, "intervals": 1}
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def finish(process: subprocess.Popen) -> str:
    out, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ("one", "two")}
    go_on(folders["one"], SETTINGS)
    assert finish(started(folders["two"], SETTINGS, TWO)).count("finished=True") == 2
    return folders


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(runs):
    assert len(losses(runs["two"])) == SETTINGS["steps"], "one log, not two"
    assert losses(runs["two"]) == pytest.approx(losses(runs["one"]), rel=2e-3)
    assert losses(runs["two"])[:2] == pytest.approx(losses(runs["one"])[:2], rel=1e-5)


@pytest.mark.slow
def test_two_processes_end_with_the_weights_and_statistics_of_one(runs):
    one, two = (read(runs[name])[0] for name in ("one", "two"))
    assert one.keys() == two.keys()
    begin = torch.zeros(())
    for key, value in part("network", one).items():
        if value.is_floating_point():
            other = two[f"network.{key}"]
            scale = value.abs().max().clamp(min=1e-3)
            assert float((value - other).abs().max() / scale) < 0.02, key
            begin = begin + value.abs().sum()
    assert float(begin) > 0


@pytest.mark.slow
def test_two_processes_go_on_from_a_checkpoint_and_stop_together(runs, tmp_path):
    slices = {**SETTINGS, "stop_after_minutes": 0.0, "log_every": 2}
    text = finish(started(tmp_path, slices, TWO))
    assert text.count("finished=False, step=2") == 2, "they agree when the log is written"
    text = finish(started(tmp_path, {**SETTINGS, "log_every": 2}, TWO))
    assert text.count("finished=True, step=8") == 2
    every_second = [sum(pair) / 2 for pair in zip(*[iter(losses(runs["one"]))] * 2, strict=True)]
    assert losses(tmp_path) == pytest.approx(every_second, rel=2e-3)


def test_a_process_alone_asks_nobody():
    alone = Processes()
    values = torch.tensor([1.0, 2.0])
    assert alone.first and alone.mean(values) is values
    assert alone.agree([3.0], torch.device("cpu")) == [3.0]


@pytest.mark.parametrize(
    ("device", "said"),
    [("cuda:99", "does not exist"), ("gpu", "unknown device 'gpu'"), ("meta", "unknown device 'meta'")],
)
def test_devices_that_are_not_there_are_refused(device, said):
    with pytest.raises(ValueError, match=said), processes(device):
        pass
