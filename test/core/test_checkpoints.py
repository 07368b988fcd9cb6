# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Weights: found in the documented places, verified, refused with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from snscf_core import Tracker, WeightsError
from snscf_core.model import checkpoints
from snscf_core.model.checkpoints import CHECKSUMS, IMAGENET_FILES, find, load, save
from snscf_core.model.network import MODELS, create
from snscf_core.tensor_files import read_tensors, write_tensors

NAME = "snscf_nano"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(1)
    network = create(NAME, 32).eval()
    folder = tmp_path_factory.mktemp("weights")
    save(network, folder, {"data": "none"}, shard_bytes=700_000)
    return network, folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(saved[1], tmp_path / "copy")


def test_saved_weights_come_back_in_their_stored_precision(saved):
    network, folder = saved
    loaded, weights = load(folder)
    assert len(weights.files) > 1 and weights.trained and weights.model == NAME
    assert weights.metadata["data"] == "none"
    for key, value in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            stored = value.half().float() if value.dim() > 1 else value
            assert torch.equal(loaded.state_dict()[key], stored), key


def test_a_name_is_looked_up_in_the_variable_the_package_and_the_cache(saved, tmp_path, monkeypatch):
    _, folder = saved
    shipped = Path(checkpoints.__file__).parents[1] / "weights"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("SNSCF_WEIGHTS", str(folder))
    assert find(NAME)[0].parent == folder
    assert find(folder / find(NAME)[1].name) == find(NAME), "any shard stands for all"
    monkeypatch.delenv("SNSCF_WEIGHTS")
    shutil.copytree(folder, tmp_path / "snscf")
    assert find(NAME)[0].parent == shipped
    monkeypatch.setattr(checkpoints, "__file__", str(tmp_path / "elsewhere.py"))
    assert find(NAME)[0].parent == tmp_path / "snscf"


@pytest.mark.parametrize("name", MODELS)
def test_the_weights_that_ship_need_nothing_else(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SNSCF_WEIGHTS", raising=False)
    tracker = Tracker(name, device="cpu", engine="torch")
    assert tracker.mode == "snscf" and tracker.weights.trained
    folder = tracker.weights.files[0].parent
    sums = (folder / CHECKSUMS).read_text()
    for file in tracker.weights.files:
        assert file.name in sums and file.stat().st_size <= 15_000_000
    card = (folder / f"{name}.md").read_text()
    for told in ("## Data", "Terms of the data", "schedule", "commit", "time", "AUC"):
        assert told in card


def test_without_weights_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("SNSCF_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(checkpoints, "__file__", str(tmp_path / "elsewhere.py"))
    with pytest.raises(WeightsError, match="set SNSCF_WEIGHTS to the folder") as refused:
        Tracker("snscf_r50")
    assert "\n" not in str(refused.value)


def test_a_variable_that_names_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("SNSCF_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match="nowhere"):
        find(NAME)


def test_a_flipped_bit_is_refused_by_its_checksum(folder):
    file = next(folder.glob("*00002-of*"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="sha256"):
        load(folder)


def test_a_truncated_file_is_refused_also_without_checksums(folder):
    (folder / CHECKSUMS).unlink()
    file = next(folder.glob("*00001-of*"))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="can't be read as safetensors"):
        load(folder)


def test_a_missing_shard_is_named(folder):
    gone = next(folder.glob("*00002-of*"))
    gone.unlink()
    with pytest.raises(WeightsError, match=gone.name):
        load(folder)


def test_weights_are_written_over_what_a_killed_process_left_of_a_set(saved, folder):
    next(folder.glob("*00002-of*")).unlink()
    save(saved[0], folder, {"data": "new"})
    _, weights = load(folder)
    assert weights.metadata["data"] == "new" and list(weights.files) == list(folder.glob("*.safetensors"))


def test_weights_of_another_width_are_refused_naming_the_tensor(folder):
    (folder / CHECKSUMS).unlink()
    file = next(folder.glob("*00001-of*"))
    write_tensors(file, read_tensors(file)[0], {"model": NAME, "channels": "64"})
    with pytest.raises(WeightsError, match="does not fit the network"):
        load(folder)


@pytest.mark.parametrize("what", ["no/such/file.safetensors", "snscf_vgg"])
def test_an_unknown_name_or_path_is_refused(what):
    with pytest.raises(WeightsError, match=what):
        load(what)


def test_the_name_of_a_network_that_was_replaced_is_refused_with_the_name_of_its_successor():
    with pytest.raises(WeightsError, match="no snscf_mobilenetv2 any more: snscf_nano has replaced it"):
        Tracker("snscf_mobilenetv2")


def test_a_file_with_other_tensors_is_refused(tmp_path):
    write_tensors(tmp_path / "other.safetensors", {"x": torch.zeros(3)}, {})
    with pytest.raises(WeightsError, match="holds no network"):
        load(tmp_path / "other.safetensors")


def test_imagenet_weights_serve_the_correlation_filter_only(imagenet):
    path = imagenet / IMAGENET_FILES[NAME]
    assert Tracker(path).mode == "correlation_filter"
    with pytest.raises(ValueError, match="needs trained heads"):
        Tracker(path, mode="snscf")


def test_resnet_without_conv5_tracks_with_two_levels(imagenet):
    _, found = load(imagenet / IMAGENET_FILES["snscf_r50"])
    assert found.levels == (0, 1) and not found.trained


@pytest.mark.parametrize("channels", ["99999999", "-3", "many", "0"])
def test_a_width_that_no_network_has_is_refused_before_anything_is_made(channels, folder):
    (folder / CHECKSUMS).unlink()
    for file in sorted(folder.glob("*.safetensors")):
        tensors, metadata = read_tensors(file)
        write_tensors(file, tensors, {**metadata, "channels": channels})
    with pytest.raises(WeightsError, match="channels"):
        load(folder)
