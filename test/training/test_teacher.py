# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A teacher's answers: where they lie on the student's cells, and how the loss follows them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from snscf_core.data.cpu_pairs import CpuPairSource
from snscf_core.data.pairs import PairConfig
from snscf_core.data.pool import ImagePool
from snscf_core.data.readers import Clip
from snscf_core.model.rpn import Proposals, cell_boxes, decode
from snscf_core.training.labels import encode
from snscf_core.training.losses import teacher_loss
from snscf_core.training.teacher import Teacher, on_cells

CELLS = cell_boxes(15)


def answered(box: tuple[float, float, float, float], scale=(1.0, 1.0)):
    """What FEAR's maps would be for a box (cx, cy, w, h) in its crop, relative to the middle: logits 8 inside of it."""
    x, y = np.meshgrid(np.arange(16) * 16.0 - 128, np.arange(16) * 16.0 - 128)
    cx, cy, w, h = box
    distances = np.stack([x - (cx - w / 2), y - (cy - h / 2), cx + w / 2 - x, cy + h / 2 - y])
    logits = np.where(distances.min(0) > 0, 8.0, -8.0)
    return on_cells(distances.astype(np.float32), logits.astype(np.float32), np.array(scale))


def test_answers_lie_where_the_student_sees_the_target():
    answer = answered((32, -48, 64, 48))
    row, column = np.unravel_index(np.nanargmax(answer.scores), (15, 15))
    assert abs((column - 7) * 16 - 32) <= 16 and abs((row - 7) * 16 + 48) <= 16
    assert answer.scores[row, column] > 0.99 and np.nanmin(answer.scores) < 0.01
    assert np.allclose(answer.boxes[:, row, column], (32, -48, 64, 48), atol=0.01)


def test_answers_from_a_crop_of_another_scale_are_brought_to_the_students():
    """The teacher shows half the width and three quarters of the height of what a student's pixel shows."""
    answer = answered((32, 24, 40, 60), scale=(0.5, 0.75))
    row, column = np.unravel_index(np.nanargmax(answer.scores), (15, 15))
    assert np.allclose(answer.boxes[:, row, column], (64, 32, 80, 80), atol=0.01)
    assert abs((column - 7) * 16 - 64) <= 16 and abs((row - 7) * 16 - 32) <= 16
    wider = answered((0, 0, 40, 40), scale=(2.0, 1.0))
    assert np.isnan(wider.scores[7, 0]) and np.isfinite(wider.scores[0, 7]), "the teacher does not show what is left"


def test_only_the_middle_of_a_teachers_box_is_the_target():
    scores = answered((0, 0, 128, 128)).scores
    assert scores[7, 7] > 0.99 and scores[7, 9] > 0.99 and 0 < scores[7, 10] < scores[7, 9]
    assert scores[4, 4] < 0.01, "a corner of the box lies outside of its ellipse"


def proposals(scores: torch.Tensor, boxes: torch.Tensor) -> Proposals:
    return Proposals(torch.logit(scores.clamp(1e-4, 1 - 1e-4)), encode(boxes, CELLS[None]))


def test_the_loss_is_least_where_the_student_says_what_the_teacher_says():
    answer = answered((16, 0, 64, 64))
    scores, boxes = torch.from_numpy(answer.scores)[None, None], torch.from_numpy(answer.boxes)[None, None]
    same = proposals(scores, boxes)
    assert torch.allclose(decode(same.deltas, CELLS)[0, 0, :, 7, 8], torch.tensor([16.0, 0, 64, 64]), atol=0.01)
    none = float(teacher_loss(same, scores, boxes, CELLS, 2.0))
    moved = boxes + torch.tensor([16.0, 0, 0, 0]).view(1, 1, 4, 1, 1)
    assert none < 0.01 < float(teacher_loss(proposals(scores, moved), scores, boxes, CELLS, 2.0))
    unsure = proposals(scores * 0.5, boxes)
    assert none < 0.01 < float(teacher_loss(unsure, scores, boxes, CELLS, 2.0))


def test_pairs_without_an_answer_and_boxes_that_are_infinite_count_nothing():
    answer = answered((16, 0, 64, 64))
    scores = torch.stack([torch.from_numpy(answer.scores), torch.full((15, 15), torch.nan)])[:, None]
    boxes = torch.stack([torch.from_numpy(answer.boxes), torch.ones(4, 15, 15)])[:, None]
    logits = torch.zeros(2, 1, 15, 15, requires_grad=True)
    deltas = encode(boxes, CELLS[None]).detach()
    deltas[1] = torch.inf
    deltas.requires_grad_(True)
    loss = teacher_loss(Proposals(logits, deltas), scores, boxes, CELLS, 2.0)
    loss.backward()
    assert torch.isfinite(loss) and logits.grad[0].abs().sum() > 0
    assert logits.grad[1].abs().max() == 0 and deltas.grad[1].abs().max() == 0


@pytest.mark.slow
def test_fear_finds_the_target_of_a_pair_and_says_nothing_of_pairs_without_it(data, tmp_path):
    pytest.importorskip("onnxruntime")
    files = [data / "peers" / "fear_xs" / f"fear_xs_noembs_{part}.onnx" for part in ("template", "track")]
    if not files[0].is_file():
        pytest.skip("the data has no peers")
    clips = []
    for index in range(2):
        scene = cv2.resize(np.random.default_rng(index).integers(60, 190, (6, 8, 3), np.uint8), (320, 240))
        target = np.random.default_rng(9 + index).integers(0, 256, (5, 5, 3), np.uint8).repeat(10, 0).repeat(10, 1)
        pictures, boxes = [], []
        for frame in range(4):
            picture = scene.copy()
            picture[60 : 60 + 50, 60 + 20 * frame : 110 + 20 * frame] = target
            path = tmp_path / f"{index}_{frame}.png"
            cv2.imwrite(str(path), picture)
            pictures.append(path)
            boxes.append((60 + 20 * frame, 60, 50, 50))
        clips.append(Clip(f"clip{index}", "got10k", tuple(pictures), np.array(boxes, float), None))
    pool, _ = ImagePool.build(clips, device="cpu", longest_side=320, progress=False)
    config = PairConfig(composited=0, negatives=0.4)
    batch = CpuPairSource(pool, config, seed=1, teacher=Teacher(files)).batch(0, 16)
    assert batch.teacher_scores is not None and batch.teacher_boxes is not None
    believed = batch.teacher_scores.isfinite().flatten(1).any(1)
    assert not believed[~batch.positive].any() and believed[batch.positive].float().mean() > 0.6
    answers = zip(batch.teacher_scores[believed], batch.teacher_boxes[believed], batch.box[believed], strict=True)
    for scores, boxes, box in answers:
        best = scores.nan_to_num(-1).flatten().argmax()
        assert (boxes.flatten(2)[0, :, best] - box).abs().max() < 16
