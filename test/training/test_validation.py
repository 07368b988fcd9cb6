# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Clips held out of training, and tracking them."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from snscf_core.data.readers import Clip
from snscf_core.model import checkpoints
from snscf_core.model.network import create
from snscf_core.training.validation import as_sequence, hold_out, validate


def clip(name: str, frames: int, *, folder: str | None = None, source: str = "got10k", absent: int = 0) -> Clip:
    boxes = np.tile([10.0, 10, 20, 20], (frames, 1))
    boxes[:absent] = np.nan
    files = tuple(Path(folder or name) / f"{number:08d}.jpg" for number in range(frames))
    return Clip(name, source, files, boxes, None)


CLIPS = [clip(f"clip{index}", 30) for index in range(40)]


def test_the_same_tenth_is_held_out_whatever_the_order():
    training, held_out = hold_out(CLIPS)
    assert len(held_out) == 4 and len(training) == 36
    assert not {c.name for c in training} & {c.name for c in held_out}
    backwards = hold_out(CLIPS[::-1])[1]
    assert [c.name for c in backwards] == [c.name for c in held_out]
    assert {c.name for c in hold_out(CLIPS, seed=1)[1]} != {c.name for c in held_out}
    assert len(hold_out(CLIPS, most=2)[1]) == 2
    assert hold_out(CLIPS, share=0.0) == (CLIPS, [])
    assert hold_out(CLIPS, most=0) == (CLIPS, [])


def test_another_clip_in_the_list_moves_no_other_into_training():
    held_out = {c.name for c in hold_out(CLIPS, most=3)[1]}
    for extra in range(5):
        more = {c.name for c in hold_out([*CLIPS, clip(f"new{extra}", 30)], most=3)[1]}
        assert len(held_out - more) <= 1


def test_all_objects_of_a_held_out_video_are_held_out():
    clips = [clip(f"video{v}/{o}", 20, folder=f"video{v}") for v in range(6) for o in range(3)]
    training, held_out = hold_out(clips, share=0.3)
    videos = {c.name.split("/")[0] for c in held_out}
    assert len(held_out) == len(videos) == 2, "one object of each"
    assert not any(c.name.split("/")[0] in videos for c in training) and len(training) == 12


def test_stills_and_clips_too_short_to_track_all_train():
    stills = [clip(f"still{index}", 1, folder="images", source="coco") for index in range(30)]
    hidden = clip("hidden", 30, absent=25)
    training, held_out = hold_out([*stills, clip("short", 5), hidden, clip("long", 30)], share=1.0)
    assert [c.name for c in held_out] == ["long"]
    assert len(training) == 32


def test_a_clip_is_tracked_from_its_first_box():
    sequence = as_sequence(clip("late", 30, absent=4), frames=12)
    assert len(sequence) == 12 and sequence.files[0].name == "00000004.jpg"
    assert np.isfinite(sequence.boxes).all()


@pytest.mark.slow
def test_validation_tracks_the_clips_and_leaves_out_a_broken_one(tmp_path, capsys):
    torch.manual_seed(0)
    checkpoints.save(create("snscf_nano", 8).eval(), tmp_path / "weights")
    scenes = []
    for name in ("good", "broken"):
        (tmp_path / name).mkdir()
        moving = clip(name, 12, folder=str(tmp_path / name))
        scene = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        for file in moving.files:
            cv2.imwrite(str(file), scene)
        scenes.append(moving)
    (tmp_path / "broken" / "00000003.jpg").write_bytes(b"nothing")
    scores = validate(tmp_path / "weights", scenes, ("siamese", "correlation_filter"), "cpu", frames=6)
    assert scores.keys() == {"siamese", "correlation_filter"}
    for aucs in scores.values():
        assert aucs.keys() == {"mean", "good"} and aucs["mean"] == aucs["good"]
    assert 0 < scores["correlation_filter"]["good"] <= 1, "nothing moves, so a filter stays"
    assert "broken" in capsys.readouterr().err
    assert math.isnan(validate(tmp_path / "weights", scenes[1:], ("siamese",), "cpu")["siamese"]["mean"])


@pytest.mark.parametrize("frames", [1, 30])
def test_sequences_are_no_longer_than_the_clip(frames):
    assert len(as_sequence(clip("clip", 20), frames)) == min(frames, 20)
