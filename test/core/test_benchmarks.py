# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The benchmarks of trust, calibration, pairs and speed measure what they say."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def benchmarks():
    if not BENCHMARKS.is_dir():
        pytest.skip("benchmarks are in the source tree only")
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def clips(tmp_path) -> Path:
    """Two sequences of 40 frames, grey and bright."""
    for name, grey in (("a", 60), ("b", 200)):
        (tmp_path / name / "img").mkdir(parents=True)
        for index in range(40):
            cv2.imwrite(str(tmp_path / name / "img" / f"{index:04d}.png"), np.full((48, 64, 3), grey + index, np.uint8))
        boxes = "".join(f"{index},5,10,10\n" for index in range(40))
        (tmp_path / name / "groundtruth_rect.txt").write_text(boxes)
    return tmp_path


def test_a_cut_shows_another_sequence_and_the_target_is_absent_meanwhile(clips):
    import trust

    frames, boxes = trust.frames_of(trust.Video("cuts", "a"), clips)
    greys = [int(frame[0, 0, 0]) for frame in frames]
    assert greys == [*range(60, 80), *range(200, 230), *range(83, 100)]
    assert np.isnan(boxes[20:50]).all() and boxes[[19, 50], 0].tolist() == [19, 23] and len(boxes) == len(greys)


def test_settings_reach_the_configuration_they_name():
    import trust

    config = trust.configured("snscf_nano", ["confidence.lost_after=7.5", "coast=3"])
    assert (config.confidence.lost_after, config.coast) == (7.5, 3)
    with pytest.raises(ValueError, match="magic"):
        trust.configured("snscf_nano", ["confidence.magic=1"])


def test_the_fit_finds_what_made_the_data_and_leaves_out_what_it_may_not_use():
    import calibration

    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (20000, 6))
    logit = 1.5 * features[:, 0] - 2.0 * features[:, 4] + 1.0 * features[:, 3] - 0.5
    hits = rng.uniform(size=20000) < 1 / (1 + np.exp(-logit))
    weights, bias = calibration.fit(features, hits, np.ones(20000), range(6))
    assert weights[[0, 4]] == pytest.approx([1.5, -2.0], rel=0.3) and bias == pytest.approx(-0.5, abs=0.15)
    assert weights[3] == 0, "distance never speaks for a box"
    few, _ = calibration.fit(features, hits, np.ones(20000), (0,))
    assert few[0] > 0.5 and not few[1:].any()


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    import calibration

    scores, hits = np.array([0.9, 0.8, 0.4, 0.1]), np.array([True, False, True, False])
    assert calibration.auroc(scores, hits) == 0.75


def test_echo_is_how_much_of_a_wrong_size_comes_back():
    import pairs

    assumed = np.linspace(-0.2, 0.2, 20)
    high, low = np.linspace(0.5, 0.9, 20), np.linspace(0.1, 0.4, 20)
    one = pairs.Answers(np.full(20, 0.8), assumed, 0.25 * assumed + 0.1, high, low)
    # where something else was found its size says nothing
    sizes = np.where(np.arange(20) < 10, 0.75 * assumed, 9.0)
    lost = pairs.Answers(np.repeat([0.6, 0.0], 10), assumed, sizes, np.full(20, 0.45), np.full(20, 0.95))
    assert pairs.row("n", [one, lost]) == "| n | 0.550 ± 0.250 | 0.750 | 0.50 | 0.500 |"


@pytest.mark.slow
def test_pairs_find_the_target_from_places_and_sizes_that_are_wrong(tmp_path):
    import pairs

    from snscf_core import Tracker
    from snscf_core.evaluation.sequences import ImageSequence
    from snscf_core.scenes import Scene

    scene = Scene(40)
    files = []
    for index, frame in enumerate(scene):
        files.append(tmp_path / f"{index:04d}.png")
        cv2.imwrite(str(files[-1]), frame.image)
    truth = [scene.truth(index) for index in range(len(scene))]
    boxes = np.array([box if visible > 0.9 else (np.nan,) * 4 for box, visible in truth])
    tracker = Tracker("snscf_nano", mode="siamese", engine="torch")
    cup = ImageSequence("cup", tuple(files), boxes)
    corner = ImageSequence("corner", tuple(files), np.full_like(boxes, (4, 4, 60, 40)))
    found = pairs.ask(tracker, cup, corner, 6, 0)
    assert len(found.overlaps) == 18 and np.abs(found.assumed).max() <= np.log(1.2)
    assert np.median(found.scores) > np.median(found.strange)
    assert (found.overlaps > 0.5).mean() > 0.8
    again = pairs.ask(tracker, cup, corner, 6, 0)
    assert np.array_equal(found.proposed, again.proposed)


@pytest.mark.slow
def test_the_benchmark_follows_a_scene_and_says_what_it_knew(weights, tmp_path):
    command = [sys.executable, str(BENCHMARKS / "trust.py"), "--root", str(tmp_path), "--kinds", "scenes"]
    run = subprocess.run(
        [*command, "--seeds", "1", "--output", str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    (one,) = json.loads((tmp_path / "out" / "summary.json").read_text()).values()
    assert one["frames"] == 239 and one["returns"] == one["found"] == one["absences"] == 1 and one["false"] == 0
    assert one["auc"] > 0.6 and one["ece"] < 0.2
    assert "1 of 1" in run.stdout and (tmp_path / "out" / "reliability.png").stat().st_size > 5000


@pytest.mark.slow
def test_the_plain_contestant_finds_its_targets(weights, imagenet, tmp_path, capsys):
    import tracking_speed

    from snscf_core.boxes import iou
    from snscf_core.model.checkpoints import IMAGENET_FILES

    tracker = tracking_speed._tracker("snscf_nano", "plain", "cpu", tmp_path)
    scene = tracking_speed.Scene(320, 240, 2)
    targets = [tracker.init(scene.frames[0], box) for box in scene.boxes[0]]
    for step in range(1, 6):
        tracker.update(scene.frames[step], targets)
        for target, truth in zip(targets, scene.boxes[step], strict=True):
            (x, y), (w, h) = target.centre, target.size
            assert iou(np.array([x - w / 2, y - h / 2, w, h]), np.array(truth)) > 0.6
    with pytest.raises(ValueError, match="needs trained heads"):
        tracking_speed._tracker(str(imagenet / IMAGENET_FILES["snscf_nano"]), "plain", "cpu", tmp_path)

    options = {"models": "snscf_nano", "engines": "plain", "targets": "1", "device": "cpu", "size": "160x120"}
    tracking_speed.serve_memory(argparse.Namespace(**options, threads=torch.get_num_threads()))
    assert json.loads(capsys.readouterr().out)["peak_memory_mib"] > 50


@pytest.mark.slow
def test_trackers_are_compared_each_in_its_own_process_with_accuracy_and_a_picture(weights, clips, tmp_path):
    for library in ("onnxruntime", "onnx"):
        pytest.importorskip(library)
    command = [sys.executable, str(BENCHMARKS / "speed.py"), "--engines", "onnxruntime,steam", "--peers", "csrt"]
    command += ["--size", "160x120", "--rounds", "3", "--warm-up", "1", "--threads", "1", "--images", "0"]
    out = tmp_path / "out"
    run = subprocess.run(
        [*command, "--validation", str(clips), "--output", str(out)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    result = json.loads((out / "speed.json").read_text())
    ours = result["trackers"][0]
    assert (ours["model"], ours["engine"], ours["frames"]) == ("snscf_nano", "onnxruntime", 3) and 0 <= ours["auc"] <= 1
    assert 0 < ours["best_ms"] <= ours["p50_ms"] <= ours["p99_ms"]
    assert "steam" in str(result["left_out"]) and "csrt" in str([result["left_out"], result["trackers"]]).lower()
    assert result["machine"]["extensions"] and result["machine"]["libraries"]
    assert (out / "speed.md").read_text().strip() in run.stdout
    assert (out / "speed.svg").stat().st_size > 5000
