# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Weights that cannot be used are refused at configure, with the reason, by a node that is as good as new after."""

from __future__ import annotations

import re
import shutil

import pytest
import torch

from snscf_core.model.checkpoints import CHECKSUMS, find
from snscf_core.tensor_files import read_tensors, write_tensors


@pytest.fixture(scope="module")
def wrong(weights, tmp_path_factory):
    """Files and what is said of them."""
    folder = tmp_path_factory.mktemp("weights")
    good = find("snscf_nano")[0]
    tensors, _ = read_tensors(good)

    pickled = folder / "network.pth"
    torch.save(tensors, pickled)
    cut = folder / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    empty = folder / "empty.safetensors"
    empty.touch()
    changed = folder / "changed" / good.name
    changed.parent.mkdir()
    shutil.copy(good, changed)
    sums = "".join(f"{'0' * 64}  {good.name}\n")
    (changed.parent / CHECKSUMS).write_text(sums, encoding="ascii")
    other = folder / "other.safetensors"
    write_tensors(other, {"fc.weight": torch.zeros(3, 3)}, {})
    lacking = folder / "lacking" / good.name
    lacking.parent.mkdir()
    keys = sorted(tensors)
    write_tensors(lacking, {key: tensors[key] for key in keys[1:]}, {})
    misshapen = folder / "misshapen" / good.name
    misshapen.parent.mkdir()
    write_tensors(misshapen, {**tensors, keys[0]: torch.zeros(1)}, {})
    return [
        (folder / "none.safetensors", "neither a model"),
        (folder, "there are no weights in"),
        (pickled, "can't be read as safetensors"),
        (cut, "can't be read as safetensors"),
        (empty, "can't be read as safetensors"),
        (changed, "its sha256 is"),
        (other, "holds no network known here"),
        (lacking, "does not fit the network"),
        (misshapen, "does not fit the network"),
    ]


@pytest.mark.slow
def test_weights_that_cannot_be_used_are_refused_with_the_reason(spare, wrong):
    tracker = spare
    start = len(tracker.process.log())
    for path, told in wrong:
        assert tracker.set_parameter("model", str(path)).successful
        before = len(tracker.process.log())
        with pytest.raises(RuntimeError, match="refused to configure"):
            tracker.transition("configure")
        assert tracker.state == "unconfigured"
        errors = re.findall(r"^\[ERROR\].*\]: (.*)$", tracker.process.log()[before:], re.MULTILINE)
        assert len(errors) == 1, errors
        assert told in errors[0]
        assert str(path) in errors[0]
    assert "Traceback" not in tracker.process.log()[start:]
    assert tracker.set_parameter("model", "snscf_nano").successful
    tracker.transition("configure")
    # from now on it is fixed, whether the node is active or not
    for _ in range(2):
        refused = tracker.set_parameter("model", str(wrong[0][0]))
        assert not refused.successful
        assert "clean up the node" in refused.reason
        if tracker.state == "inactive":
            tracker.transition("activate")
