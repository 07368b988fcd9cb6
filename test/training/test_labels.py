# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The labels of anchors against the same rule written as loops over anchors."""

from __future__ import annotations

import math

import pytest
import torch

from snscf_core.boxes import cxcywh_to_xywh
from snscf_core.boxes import iou as overlap_of_arrays
from snscf_core.model.rpn import anchors, cell_boxes, decode
from snscf_core.training.labels import LabelConfig, assign, assign_cells, intersection_union_hull, iou

CELLS = 25
ANCHORS = anchors(CELLS)


def pairs(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    size = 64 * torch.exp2(torch.rand(n, 2, generator=random) * 2 - 1)
    box = torch.cat([torch.rand(n, 2, generator=random) * 150 - 75, size], 1)
    return box, torch.rand(n, generator=random) < 0.7, torch.rand(n, 5, CELLS, CELLS, generator=random)


def overlap(a: list[float], b: list[float]) -> float:
    width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    inside = max(width, 0) * max(height, 0)
    return inside / (a[2] * a[3] + b[2] * b[3] - inside)


def near_other(box: list[float], r: int, c: int) -> bool:
    """Whether a cell is at most three from the one where the other object is, or from the one nearest to it."""
    column, row = (min(max(round(v / 8), -12), 12) if math.isfinite(v) else 0 for v in box[:2])
    return abs(r - 12 - row) <= 3 and abs(c - 12 - column) <= 3


def expected_classes(box: list[float], positive: bool, keys: list) -> tuple[dict, list]:
    """Position of an anchor to its class, for those that count; and the positions of the targets."""
    places = [(a, r, c) for a in range(5) for r in range(CELLS) for c in range(CELLS)]
    high, low = [], []
    for a, r, c in places:
        if positive:
            found = overlap(box, [float(v) for v in ANCHORS[a, :, r, c]])
            high += [(a, r, c)] if found >= 0.6 else []
            low += [(a, r, c)] if found <= 0.3 else []
        elif near_other(box, r, c):
            low.append((a, r, c))

    def first(positions: list, count: int) -> list:
        return sorted(positions, key=lambda p: -keys[p[0]][p[1]][p[2]])[:count]

    targets, background = first(high, 16), first(low, 48 if positive else 16)
    return {**dict.fromkeys(background, 0), **dict.fromkeys(targets, 1)}, targets


def test_labels_are_those_of_the_rule_written_as_loops():
    box, positive, keys = pairs(16)
    positive[12:] = False
    box[13], box[14, :2] = math.nan, torch.tensor([500.0, -90.0])
    labels = assign(box, positive, ANCHORS, keys)
    seen = {"targets": 0, "negatives": 0}
    for pair in range(len(box)):
        expected, targets = expected_classes(box[pair].tolist(), bool(positive[pair]), keys[pair].tolist())
        found = {
            tuple(at.tolist()): int(labels.classes[pair][tuple(at)]) for at in (labels.classes[pair] >= 0).nonzero()
        }
        assert found == expected
        weighted = {tuple(at.tolist()) for at in labels.weights[pair].nonzero()}
        assert weighted == set(targets)
        assert float(labels.weights[pair].sum()) == pytest.approx(1.0 if targets else 0.0)
        seen["targets"] += len(targets)
        seen["negatives"] += not positive[pair]
    assert seen["targets"] > 20 and seen["negatives"] >= 2, "the pairs did not test both rules"


def test_deltas_decode_to_the_box():
    box, positive, keys = pairs(6, seed=1)
    labels = assign(box, torch.ones_like(positive), ANCHORS, keys)
    boxes = decode(labels.deltas, ANCHORS)
    assert torch.allclose(boxes, box[:, None, :, None, None].expand_as(boxes), atol=1e-2)


def test_a_pair_without_target_needs_no_box():
    box, _, keys = pairs(3)
    box[1] = math.nan
    labels = assign(box, torch.tensor([True, False, True]), ANCHORS, keys)
    assert labels.deltas[1].eq(0).all() and labels.weights[1].eq(0).all()
    assert int((labels.classes[1] == 0).sum()) == 16 and not bool((labels.classes[1] == 1).any())
    assert bool(labels.deltas.isfinite().all())


def test_other_keys_choose_other_anchors_and_the_same_keys_the_same():
    box, positive, keys = pairs(8)
    one, same = assign(box, positive, ANCHORS, keys), assign(box, positive, ANCHORS, keys.clone())
    other = assign(box, positive, ANCHORS, 1 - keys)
    assert torch.equal(one.classes, same.classes)
    assert not torch.equal(one.classes, other.classes)


def test_numbers_of_anchors_are_settings():
    box, positive, keys = pairs(8)
    labels = assign(box, positive, ANCHORS, keys, LabelConfig(positives=4, anchors=10, negatives=3))
    assert (labels.classes == 1).flatten(1).sum(1).max() == 4
    assert (labels.classes == 0)[positive].flatten(1).sum(1).eq(6).all()
    assert (labels.classes == 0)[~positive].flatten(1).sum(1).eq(3).all()


def test_overlap_of_tensors_is_that_of_arrays():
    a, b = pairs(200, 2)[0], pairs(200, 3)[0]
    expected = overlap_of_arrays(cxcywh_to_xywh(a.numpy()), cxcywh_to_xywh(b.numpy()))
    assert iou(a, b).numpy() == pytest.approx(expected, abs=1e-5)
    _, _, hull = intersection_union_hull(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[10.0, 0, 2, 4]]))
    assert float(hull) == pytest.approx(12 * 4)


def test_cells_near_the_centre_are_the_target_and_those_outside_the_ellipse_are_background():
    box, positive, _ = pairs(24, seed=3)
    box[0] = torch.tensor([7.0, -9.0, 6.0, 5.0])  # smaller than a cell
    positive[:20], positive[20:] = True, False
    box[23] = math.nan
    cells = cell_boxes(15)
    labels = assign_cells(box, positive, cells)
    for index in range(24):
        cx, cy, w, h = box[index].tolist()
        for row in range(15):
            for column in range(15):
                x, y = 16 * (column - 7) - cx, 16 * (row - 7) - cy
                expected = 0
                if positive[index]:
                    distance = math.hypot(2 * x / w, 2 * y / h)
                    nearest = max(abs(x), abs(y)) <= 8
                    expected = 1 if distance <= 0.5 or nearest else 0 if distance > 1 else -1
                assert labels.classes[index, 0, row, column] == expected, (index, row, column)
    assert torch.allclose(labels.weights.sum((1, 2, 3)), positive.float())
    decoded = decode(labels.deltas[:20], cells)
    assert torch.allclose(decoded, box[:20, None, :, None, None].expand_as(decoded), atol=1e-3)
