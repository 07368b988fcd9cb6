# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The real node, played a bag, gives what the offline replay gives, when nothing is dropped."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from bag_harness import FRAMES, STAMPS, TRUTH, options, restamped, rewrite, true_box
from domains import Domain

pytest.importorskip("rclpy")

from snscf_core.evaluation.sequences import read_boxes
from snscf_ros.bags import commands, message_types


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """A domain for the test; what playing sets is undone; the node works with one thread, as the tests do."""
    before = dict(os.environ)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with Domain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain.number))
        yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


def play(bag: Path, output: Path, *arguments: object) -> commands.BagRun:
    with commands.evaluated(options(bag, "--output", output, "--realtime", *arguments)) as result:
        return result


@pytest.mark.slow
def test_in_lock_step_the_node_and_the_offline_replay_agree(bags, weights, tmp_path):
    box = ",".join(str(value) for value in true_box(2))
    result = play(bags(), tmp_path, "--init", f"{box}@0.1", "--lock-step")
    assert result.realtime["dropped"] == 0
    assert result.realtime["images"] == FRAMES - 3
    assert result.realtime["mean_overlap_with_offline"] == pytest.approx(1, abs=1e-6)
    played = read_boxes(tmp_path / "mcap_bgr8_realtime.txt")
    np.testing.assert_allclose(played, result.evaluation.boxes, atol=1e-3)
    assert np.isnan(played[:2]).all() and np.isfinite(played[2:]).all()
    assert json.loads((tmp_path / "realtime.json").read_text()) == result.realtime


@pytest.mark.slow
def test_they_agree_on_compressed_broken_and_unstamped_images_of_ros1_too(bags, weights, tmp_path):
    store = message_types.store()

    def worsen(messages):
        out = []
        for topic, kind, time, data in messages:
            number = STAMPS.index(time)
            if topic != TRUTH and number == 5:
                message = store.deserialize_cdr(data, kind)
                message.data = message.data[: len(message.data) // 2]
                data = bytes(store.serialize_cdr(message, kind))
            elif topic != TRUTH and number in (8, 9):
                data = restamped(data, kind, 0)
            elif topic != TRUTH and number == 12:
                data = restamped(data, kind, STAMPS[11])
            out.append((topic, kind, time, data))
        return out

    worse = rewrite(bags("mcap", "jpeg"), tmp_path / "worse", storage="sqlite3", change=worsen)
    for bag, images in ((worse, FRAMES - 2), (bags("rosbag1", "rgb8"), FRAMES - 1)):
        output = tmp_path / f"{bag.stem}_out"
        result = play(bag, output, "--ground-truth", TRUTH, "--lock-step")
        assert (result.realtime["dropped"], result.realtime["images"]) == (0, images)
        assert result.realtime["lost"] == {"success_auc": 0, "precision": 0}
        played = read_boxes(output / f"{bag.stem}_realtime.txt")
        np.testing.assert_allclose(played, result.evaluation.boxes, atol=1e-3)


@pytest.mark.slow
def test_at_the_recorded_pace_latency_and_losses_are_told(bags, weights, tmp_path, capsys):
    commands.evaluate(options(bags(), "--output", tmp_path, "--realtime", "--rate", "20", "--ground-truth", TRUTH))
    report = json.loads((tmp_path / "realtime.json").read_text())
    # 400 images a second: no computer keeps up
    assert 0 < report["dropped"] < report["images"] == FRAMES - 1
    latency = report["latency_milliseconds"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    assert report["lost"]["success_auc"] == pytest.approx(
        json.loads((tmp_path / "results.json").read_text())["measures"]["success_auc"]
        - report["measures"]["success_auc"]
    )
    said = capsys.readouterr().out
    assert f"{report['dropped']} of {FRAMES - 1} images dropped" in said and "less than offline" in said
    # without it, what an earlier run left is gone
    commands.evaluate(options(bags(), "--output", tmp_path, "--ground-truth", TRUTH))
    assert not list(tmp_path.glob("*realtime*"))


@pytest.mark.slow
def test_a_node_that_does_not_come_up_is_told_with_its_reason(bags, weights, tmp_path, monkeypatch):
    monkeypatch.setenv("SNSCF_WEIGHTS", str(tmp_path))
    command = commands.bringup.tracker_command

    def wrong(parameters, namespace):
        return command(parameters={**parameters, "max_targets": 0}, namespace=namespace)

    monkeypatch.setattr(commands.bringup, "tracker_command", wrong)
    with pytest.raises(ValueError, match="max_targets"):
        play(bags(), tmp_path / "out", "--ground-truth", TRUTH, "--lock-step")
