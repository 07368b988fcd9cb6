# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""``snscf train`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from snscf_core import Tracker
from snscf_core.commands.cli import main
from snscf_core.model import checkpoints
from snscf_core.model.network import create
from snscf_core.training.trainer import Summary


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Six clips of a textured rectangle that moves, in GOT-10k's layout; in one an image and a box are broken."""
    root = tmp_path_factory.mktemp("clips")
    for index in range(6):
        random = np.random.default_rng(index)
        folder = root / f"clip{index}"
        folder.mkdir()
        scene = cv2.resize(random.integers(60, 190, (6, 8, 3), np.uint8), (160, 120))
        target = random.integers(0, 256, (5, 6, 3), np.uint8).repeat(7, 0).repeat(7, 1)
        boxes = []
        for frame in range(12):
            x, y = 10 + 5 * frame, 20 + 3 * frame
            picture = scene.copy()
            picture[y : y + 35, x : x + 42] = target
            cv2.imwrite(str(folder / f"{frame + 1:08d}.jpg"), picture)
            boxes.append(f"{x},{y},42,35")
        if index == 2:
            boxes[8] = "nothing"
        (folder / "groundtruth.txt").write_text("\n".join(boxes) + "\n")
    (root / "clip2" / "00000004.jpg").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def beginning(tmp_path_factory) -> Path:
    """Weights to go on from, much narrower than the real ones."""
    folder = tmp_path_factory.mktemp("beginning")
    torch.manual_seed(0)
    checkpoints.save(create("snscf_nano", 8).eval(), folder)
    return folder


@pytest.fixture
def command(clips, beginning, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["snscf"])
    common = ["--data", f"got10k={clips}", "--model", str(beginning), "--out", str(tmp_path / "run"), "--device", "cpu"]
    small = ["--batch", "2", "--log-every", "1", "--intervals", "1", "--validation-frames", "4"]

    def run(*more: str) -> int:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return main(["train", *common, *small, *more])
        finally:
            torch.set_num_threads(threads)

    return run


@pytest.mark.slow
def test_a_run_in_two_slices_makes_weights_that_track(command, tmp_path, capsys):
    options = ["--steps", "3", "--validation-share", "0.2", "--set", "schedule.heads_share=0.4"]
    options += ["--pool", str(tmp_path / "pool.safetensors"), "--terms", "made here"]
    assert command(*options, "--stop-after-minutes", "0") == 0
    said = capsys.readouterr()
    assert said.out == "stopped at step 1 of 3; run the same command to continue\n"
    assert "clip2" in (tmp_path / "run" / "left_out.txt").read_text() and "left out" in said.err
    assert (tmp_path / "pool.safetensors").is_file()

    assert command(*options) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"finished 3 steps: {tmp_path / 'run' / 'weights'}, validation AUC snscf 0.")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "steps"] == [1, 2, 3]
    validated = lines[-1]["validation"]["snscf"]
    assert len(validated) == 3, "the mean, and two of six clips"
    assert all(name in said.err for name in validated if name != "mean")
    card = (tmp_path / "run" / "weights" / "snscf_nano.md").read_text()
    assert "made here" in card and "got10k: 4 clips" in card

    tracker = Tracker(tmp_path / "run" / "weights", device="cpu")
    assert tracker.mode == "snscf"
    frame = np.zeros((120, 160, 3), np.uint8)
    assert tracker.update(frame, tracker.init(frame, (50, 40, 30, 30))).box


def test_what_is_broken_is_told_of_a_kept_pool_too(command, clips, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("snscf_core.commands.train.train", lambda *_, **__: Summary(True, 1, 1, None, {}))
    expected = [str(clips / "clip2" / name) for name in ("groundtruth.txt line 9 has no four", "00000004.jpg can't be")]
    for name in ("built", "kept"):
        out = tmp_path / name
        assert command("--steps", "1", "--pool", str(tmp_path / "pool.safetensors"), "--out", str(out)) == 0
        assert f"2 images or annotations are left out: {out / 'left_out.txt'}" in capsys.readouterr().err
        told = (out / "left_out.txt").read_text().splitlines()
        assert len(told) == 2 and all(line.startswith(start) for line, start in zip(told, expected, strict=True))


def test_a_pool_of_other_boxes_or_images_is_refused(command, clips, tmp_path, capsys, monkeypatch):
    """The names of the clips are the same."""
    monkeypatch.setattr("snscf_core.commands.train.train", lambda *_, **__: Summary(True, 1, 1, None, {}))
    options = ["--steps", "1", "--pool", str(tmp_path / "pool.safetensors"), "--validation-share", "0"]
    truth = clips / "clip1" / "groundtruth.txt"
    whole = truth.read_text()
    assert command(*options) == 0 and command(*options) == 0
    truth.write_text(whole.replace("\n", "1\n", 1))
    try:
        assert command(*options) == 1
    finally:
        truth.write_text(whole)
    assert "was made from other images or boxes of clip1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_pool_of_other_clips_is_refused(command, tmp_path, capsys):
    options = ["--steps", "1", "--pool", str(tmp_path / "pool.safetensors")]
    assert command(*options, "--validation-share", "0") == 0
    assert command(*options, "--validation-share", "0.5") == 1, "the pool has what is now kept for validation"
    assert "has clips that are not in this run's training data" in capsys.readouterr().err
    assert command(*options, "--validation-share", "0", "--longest-side", "100") == 1
    assert "has images of 480 pixels, not of 100" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--steps", "1", "--minutes", "2"],
            "say how long to train with one of minutes, epochs and steps, not 2 of them",
        ),
        ([], "say how long to train with one of minutes, epochs and steps, not 0 of them"),
        (["--steps", "many"], "--steps is a whole number, got 'many'"),
        (["--steps", "1", "--set", "losses.weight=2"], "there is no setting 'losses.weight'; snscf train --help lists"),
        (["--steps", "1", "--set", "losses=2"], "there is no setting 'losses'"),
        (["--steps", "1", "--set", "filters.grid=2"], "there is no setting 'filters.grid'"),
        (["--steps", "1", "--set", "losses.box_weight=x"], "losses.box_weight is a number, got 'x'"),
        (["--steps", "1", "--set", "losses.box_loss=l2"], "unknown box loss 'l2'; there are smooth_l1, giou, diou"),
        (["--steps", "1", "--set", "pairs.negatives=2"], "negatives must be from 0 to 1, got 2.0"),
        (["--steps", "1", "--data", "mot=/tmp"], "--data is LAYOUT=DIR or LAYOUT=DIR:WEIGHT with LAYOUT one of"),
        (["--steps", "1", "--data", "coco=/not/there:2"], "/not/there is no folder"),
        (["--steps", "1", "--model", "snscf_r18"], "'snscf_r18' is neither a model"),
        (["--steps", "1", "--device", "cuda:77"], "does not exist: torch finds"),
        (["--steps", "1", "--batch", "0"], "batch must be positive, got 0"),
        (["--steps", "1", "--teacher", "fear:a:b"], "a teacher needs pairs made on the CPU"),
        (["--steps", "1", "--set", "pairs.composited=0", "--teacher", "owl:a:b"], "fear:TEMPLATE.onnx:TRACK.onnx"),
        (["--steps", "1", "--set", "pairs.composited=0", "--teacher", "fear:a:b"], "a does not exist"),
    ],
)
def test_mistakes_are_told_in_one_sentence(command, options, said, capsys):
    assert command(*options) == 1
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("snscf: ")]
    assert len(lines) == 1 and said in lines[0] and "Traceback" not in error


def test_every_setting_is_in_the_help(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    for expected in (
        "--stop-after-minutes",
        "losses.ridge_weight=0.2",
        "schedule.peak_rate=0.005",
        "pairs.composited=",
    ):
        assert expected in text


@pytest.mark.slow
def test_the_papers_rates_are_one_flag(command, tmp_path):
    assert command("--steps", "1", "--paper", "--set", "losses.ridge_weight=0") == 0
    card = (tmp_path / "run" / "weights" / "snscf_nano.md").read_text()
    settings = json.loads(card.split("```json\n")[1].split("```")[0])
    assert settings["schedule"]["heads_rate"] == 0.001 and settings["schedule"]["final_rate"] == 0.0004
    assert settings["losses"]["ridge_weight"] == 0.0 and settings["pairs"]["context"] is False
    assert settings["pairs"]["weights"] == {"got10k": 1.0}
