# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a run leaves to read, and what of it survives being cut off."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from snscf_core.training.checkpoint import FILE, Checkpoints, read
from snscf_core.training.record import Record
from snscf_core.training.training_error import TrainingError


def test_what_was_said_of_steps_that_are_made_again_is_dropped(tmp_path):
    record = Record(tmp_path, 0)
    for step in range(1, 6):
        record.add("steps", step, {"loss": 1.0 / step})
    record.close()
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"kind": "steps", "st')  # killed while writing
    again = Record(tmp_path, 3)
    assert [line["step"] for line in again.lines()] == [1, 2, 3]
    again.add("steps", 4, {"loss": float("nan"), "validation": {"snscf": float("inf")}})
    again.close()
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1]) == {"kind": "steps", "step": 4, "loss": None, "validation": {"snscf": None}}


def test_progress_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    record = Record(tmp_path, 0)
    record.plot()
    empty = (tmp_path / "progress.png").read_bytes()
    for step in range(1, 40):
        values = {"loss": 2.0 / step, "classification": 1.0 / step, "box": None, "ridge": 0.1, "overlap": step / 40}
        record.add("steps", step, values)
    record.add("interval", 39, {"validation": {"snscf": {"mean": 0.5}}})
    record.plot()
    record.close()
    drawn = (tmp_path / "progress.png").read_bytes()
    assert drawn.startswith(b"\x89PNG") and len(drawn) > len(empty)


def test_without_matplotlib_and_tensorboard_the_log_is_all_there_is(tmp_path, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    record = Record(tmp_path, 0)
    record.add("steps", 1, {"loss": 1.0})
    record.plot()
    record.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl"]


def test_a_checkpoint_is_what_was_there_when_writing_began(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    value = torch.arange(1_000_000.0)
    checkpoints.write({"value": value}, {"step": 1})
    value.zero_()
    checkpoints.wait()
    tensors, state = read(tmp_path)
    assert torch.equal(tensors["value"], torch.arange(1_000_000.0)) and state["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert read(tmp_path / "nothing") is None


def test_a_disk_that_takes_no_checkpoint_is_told(tmp_path):
    (tmp_path / FILE).mkdir()  # a folder can't be replaced by a file
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write({"value": torch.zeros(3)}, {"step": 1})
    with pytest.raises(TrainingError, match="can't be written"):
        checkpoints.wait()
