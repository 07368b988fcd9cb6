# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""FEAR-XS and NanoTrack: what is done around their networks, and that they give their published results."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from snscf_core.boxes import iou
from snscf_core.evaluation import peers
from snscf_core.evaluation.metrics import score
from snscf_core.evaluation.runner import one_pass
from snscf_core.evaluation.sequences import read_sequence
from snscf_core.evaluation.trackers import candidates

BOX = (40.0, 60.0, 30.0, 20.0)


def picture(left: float, top: float) -> np.ndarray:
    """A bright thing of the size of BOX on a dark ground; only its red channel tells it."""
    image = np.full((160, 200, 3), 30, np.uint8)
    cv2.rectangle(image, (int(left), int(top)), (int(left) + 29, int(top) + 19), (30, 30, 220), -1)
    return image


def looked_at(red: np.ndarray, at: np.ndarray, origin: float) -> tuple[np.ndarray, np.ndarray]:
    """What a network that sees all that is red says of P x P cells: logits, and how far its edges are (4 x P x P).

    at: middles of the cells, P, in pixels of the crop from its pixel ``origin``.
    """
    rows, columns = np.nonzero(red > 125)
    left, top, right, bottom = (
        edge - origin for edge in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    )
    across, down = np.meshgrid(at, at)
    logits = 6 - np.hypot(across - (left + right) / 2, down - (top + bottom) / 2) / 16
    return logits, np.stack([across - left, down - top, right - across, bottom - down]).astype(np.float32)


class Fear:
    """Networks of FEAR that see what is red."""

    def template(self, crop):
        assert crop.shape == (1, 3, 128, 128) and crop.dtype == np.float32
        self.seen = crop
        return [np.ones((1, 256, 8, 8), np.float32)]

    def search(self, crop, features):
        assert crop.shape == (1, 3, 256, 256) and features.shape == (1, 256, 8, 8)
        logits, distances = looked_at(crop[0, 0], np.arange(16) * peers.STRIDE, 0)
        return [distances[None], logits[None, None]]


class Nano:
    """Networks of NanoTrack that see what is red."""

    def template(self, crop):
        assert crop.shape == (1, 3, 127, 127)
        self.seen = crop
        return [np.ones((1, 96, 8, 8), np.float32)]

    def search(self, crop):
        assert crop.shape == (1, 3, 255, 255)
        return [crop]

    def head(self, template, seen):
        logits, distances = looked_at(seen[0, 2], (np.arange(15) - 7) * peers.STRIDE, 127.5)
        return [distances[None], np.stack([np.zeros_like(logits), logits])[None]]


def fear() -> tuple[peers.FearTracker, Fear]:
    networks = Fear()
    return peers.FearTracker(networks.template, networks.search), networks


def nano() -> tuple[peers.NanoTracker, Nano]:
    networks = Nano()
    tracker = peers.NanoTracker(networks.template, networks.search, networks.head, peers.NANO["nanotrack3"])
    return tracker, networks


@pytest.mark.parametrize("make", [fear, nano])
def test_a_peer_follows_what_its_network_sees_also_out_of_the_image(make):
    tracker, _ = make()
    tracker.init(picture(40, 60), BOX)
    for left, top in ((44, 58), (52, 55), (60, 60), (50, 75), (36, 80), (20, 85), (8, 90), (0, 100), (0, 115)):
        box = tracker.update(picture(left, top))
        assert iou(np.array(box), np.array([left, top, 30, 20])) > 0.8, (left, top)


def test_templates_show_the_target_with_its_surroundings_in_the_colours_that_the_network_knows():
    tracker, networks = fear()
    tracker.init(picture(40, 60), BOX)
    red, green, blue = networks.seen[0]
    assert red[64, 64] == 220 and blue[64, 64] == green[64, 64] == 30
    # the box is 1 of 1.4 a side, whatever its shape
    assert (red[64] > 125).mean() == pytest.approx(1 / 1.4, abs=0.02)
    assert (red[:, 64] > 125).mean() == pytest.approx(1 / 1.4, abs=0.02)
    tracker, networks = nano()
    tracker.init(picture(40, 60), BOX)
    blue, green, red = networks.seen[0]
    assert red[63, 63] == 220 and blue[63, 63] == green[63, 63] == 30
    side = np.sqrt((30 + 25) * (20 + 25))
    assert (red[63] > 125).mean() == pytest.approx(30 / side, abs=0.03)
    assert (red[:, 63] > 125).mean() == pytest.approx(20 / side, abs=0.03)


def test_a_choice_prefers_the_size_before_and_follows_another_slowly():
    choice = peers.Choice(3, window_influence=0.0, change_penalty=1.0, size_rate=0.5)
    edges = np.tile(np.array([-10.0, -10, 10, 10])[:, None, None], (1, 3, 3))
    edges[:, 0, 0] = -40, -40, 40, 40
    scores = np.full((3, 3), 0.1, np.float32)
    scores[0, 0], scores[1, 2] = 0.9, 0.8
    edges[[0, 2], 1, 2] += 5
    centre, size = choice(edges, scores, np.array([20.0, 20.0]))
    assert centre.tolist() == [5, 0] and size.tolist() == pytest.approx([20, 20])
    # it alone is there: chosen, but its size counts little
    centre, size = choice(edges[:, :1, :1].repeat(3, 1).repeat(3, 2), scores, np.array([20.0, 20.0]))
    assert centre.tolist() == [0, 0] and 20 < size[0] < 24


def test_files_that_are_missing_or_too_few_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"write fear:TEMPLATE\.onnx:TRACK\.onnx"):
        candidates(["fear:a.onnx"])
    with pytest.raises(FileNotFoundError, match=r"a\.onnx does not exist"):
        candidates([f"nanotrack3:{tmp_path / 'a.onnx'}:b.onnx"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name", "files"),
    [
        ("fear", "fear_xs", ("fear_xs_noembs_template", "fear_xs_noembs_track")),
        ("nanotrack2", "nanotrack_v2", ("nanotrack_backbone_sim", "nanotrack_head_sim")),
        ("nanotrack3", "nanotrack_v3", ("nanotrack_backbone", "nanotrack_head")),
    ],
)
def test_peers_give_the_results_that_are_known_of_them(kind, name, files, data):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    folder = data / "peers"
    if not folder.is_dir():
        pytest.skip("the data has no peers")
    known = json.loads((folder / "results.json").read_text())["sequences_onnxruntime"][name]["Skiing"]
    (candidate,) = candidates([":".join([kind, *(f"{folder / name / file}.onnx" for file in files)])])
    sequence = read_sequence(data / "sequences" / "Skiing")
    found = score(one_pass(candidate.make(), sequence).boxes, sequence.boxes)
    assert found.success_auc == pytest.approx(known["auc"], abs=0.01)
    assert found.precision == pytest.approx(known["dp20"], abs=0.03)
