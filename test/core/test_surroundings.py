# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A tracker in a process whose owner has other plans for torch and NumPy, and in a forked process."""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch

from snscf_core import Tracker
from snscf_core.crops import sample_crops
from snscf_core.devices import CPU
from snscf_core.model.checkpoints import save
from snscf_core.model.network import create

FRAMES = [np.random.default_rng(number).integers(0, 256, (120, 160, 3), np.uint8) for number in range(5)]


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Weights with heads, untrained: enough to run every mode, not to track well."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("heads")
    save(create("snscf_nano", 8), folder)
    return folder


@contextmanager
def double_by_default():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


SETTINGS = {
    "default dtype": double_by_default,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "numpy errors": lambda: np.errstate(all="raise"),
    "default device": lambda: torch.device("meta"),
}


def tracked(model, mode: str, engine: str) -> np.ndarray:
    tracker = Tracker(model, device="cpu", mode=mode, engine=engine)
    target = tracker.init(FRAMES[0], (40, 30, 40, 30))
    tracks = [tracker.update(frame, target) for frame in FRAMES[1:]]
    return np.array([[*track.box, track.score] for track in tracks])


@pytest.mark.parametrize("mode", ["snscf", "correlation_filter"])
def test_nothing_that_the_caller_sets_changes_a_bit(mode, heads):
    expected = tracked(heads, mode, "torch")
    for name, setting in SETTINGS.items():
        with setting():
            assert np.array_equal(tracked(heads, mode, "torch"), expected), name


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_nor_with_another_engine(engine, heads, tmp_path, monkeypatch):
    pytest.importorskip(engine)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    expected = tracked(heads, "snscf", engine)
    for name, setting in SETTINGS.items():
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))  # the engine is exported under the setting too
        with setting():
            assert np.array_equal(tracked(heads, "snscf", engine), expected), name


def test_the_caller_keeps_its_settings(heads):
    with double_by_default(), torch.autocast("cpu", dtype=torch.bfloat16), np.errstate(all="raise"):
        tracked(heads, "snscf", "torch")
        assert torch.get_default_dtype() == torch.float64 and torch.is_autocast_enabled("cpu")
        assert set(np.geterr().values()) == {"raise"}


@pytest.mark.parametrize("setting", [nullcontext, *SETTINGS.values()])
def test_crops_for_other_devices_neither(setting):
    places = [((10.0, 20.0), 90.0), ((80.0, 60.0), 70.0)]
    expected = sample_crops(FRAMES[0], places, 127, CPU)
    with setting():
        assert torch.equal(sample_crops(FRAMES[0], places, 127, CPU), expected)


def test_a_forked_process_is_refused_in_one_sentence(heads):
    """Without that it waits for threads that do not exist there."""
    tracker = Tracker(heads, device="cpu", engine="torch")
    target = tracker.init(FRAMES[0], (40, 30, 40, 30))
    refused = 0
    for call in (lambda: tracker.update(FRAMES[1], target), lambda: Tracker(heads, device="cpu", engine="torch")):
        child = os.fork()
        if child == 0:
            try:
                call()
            except RuntimeError as error:
                os._exit(7 if "'spawn'" in str(error) and "\n" not in str(error) else 1)
            finally:
                os._exit(1)
        refused += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert refused == 2
    assert tracker.update(FRAMES[1], target).box  # the parent goes on
