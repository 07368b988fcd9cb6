# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What stands beside weights: hyper-parameters and calibrations, and what happens where it does not belong to them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from snscf_core import MODES, Tracker, TrackerConfig
from snscf_core.model.checkpoints import WeightsError, find, save, sha256
from snscf_core.model.network import MODELS, create
from snscf_core.online.confidence import CALIBRATIONS
from snscf_core.online.config import changed
from snscf_core.online.tuning import tuned_config, tuning_file

LOGISTIC = {"weights": [1, 0, 0, -1, 0, 0, 0], "bias": -2}


@pytest.fixture
def folder(tmp_path) -> Path:
    torch.manual_seed(0)
    save(create("snscf_nano", 8).eval(), tmp_path)
    return tmp_path


def write(folder: Path, **changes: object) -> Path:
    content = {
        "weights": [sha256(folder / "snscf_nano.safetensors")],
        "config": {"size_rate": 0.31, "confidence.lost_after": 7, "scale_steps": [0.9, 1.0, 1.1]},
        "calibrations": {"snscf": {"accuracy": LOGISTIC, "presence": LOGISTIC}},
    }
    file = folder / "snscf_nano.json"
    file.write_text(json.dumps({**content, **changes}))
    return file


def test_a_tracker_takes_what_was_fitted_to_its_weights(folder):
    write(folder)
    tracker = Tracker(folder, device="cpu", engine="torch")
    assert tracker.config.size_rate == 0.31
    assert tracker.config.confidence.lost_after == 7
    assert tracker.config.scale_steps == (0.9, 1.0, 1.1)
    assert tracker.calibrations["snscf"].accuracy.bias == -2
    assert tracker.calibrations["searching"] == CALIBRATIONS["searching"]


def test_a_setting_that_is_given_replaces_the_fitted_one(folder):
    write(folder)
    config = tuned_config(folder, size_rate=0.5)
    assert (config.size_rate, config.confidence.lost_after) == (0.5, 7)
    own = TrackerConfig(size_rate=0.7)
    assert Tracker(folder, device="cpu", engine="torch", config=own).config == own


@pytest.mark.parametrize(
    "changes",
    (
        {"weights": ["0" * 64]},
        {"config": {"sise_rate": 0.3}},
        {"config": {"search_size": 250}},
        {"calibrations": {"snscf": {"accuracy": LOGISTIC}}},
        {"calibrations": {"snscf": {"accuracy": LOGISTIC, "presence": {"weights": [1], "bias": 0}}}},
        {"calibrations": []},
    ),
)
def test_a_tuning_that_does_not_fit_is_left_out_with_a_warning(folder, changes, caplog):
    file = write(folder, **changes)
    tracker = Tracker(folder, device="cpu", engine="torch")
    assert tracker.config == TrackerConfig()
    assert tracker.calibrations == CALIBRATIONS
    assert str(file) in caplog.text


@pytest.mark.parametrize("model", MODELS)
def test_networks_that_ship_have_their_tuning_beside_them(model):
    file = tuning_file(find(model))
    content = json.loads(file.read_text())
    assert content["weights"] == [sha256(one) for one in find(model)]
    assert {"snscf", "searching"} <= set(content["calibrations"]) <= {*MODES, "searching"}


def test_weights_without_a_tuning_use_the_defaults_and_say_so_once(folder, caplog):
    (folder / "snscf_nano.json").unlink(missing_ok=True)
    caplog.set_level(logging.INFO, logger="snscf_core.online.tuning")
    for _ in range(2):
        assert tuned_config(folder) == TrackerConfig()
    assert caplog.text.count("snscf_nano.json does not exist: settings and calibrations are the defaults") == 1


def test_a_damaged_tuning_is_left_out(folder, caplog):
    write(folder).write_text("{")
    assert Tracker(folder, device="cpu", engine="torch").config == TrackerConfig()
    assert "defaults" in caplog.text


def test_weights_that_are_not_there_have_no_configuration(tmp_path):
    with pytest.raises(WeightsError):
        tuned_config(tmp_path)


def test_settings_are_replaced_by_name_and_unknown_ones_refused():
    assert changed(TrackerConfig(), {}) == TrackerConfig()
    for name in ("nothing", "confidence", "confidence.nothing", "size_rate.more"):
        with pytest.raises(ValueError, match=name.rpartition(".")[2]):
            changed(TrackerConfig(), {name: 1})
