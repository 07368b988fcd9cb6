# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The labeller boxes what moves or stands out, only where all trackers agree, and once."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from snscf_core.boxes import iou

TRAINING = Path(__file__).resolve().parents[2] / "training"
WIDTH, HEIGHT, SIDE = 320, 200, 40
LENGTH = 60


@pytest.fixture(scope="module", autouse=True)
def training():
    if not TRAINING.is_dir():
        pytest.skip("the labeller is in the source tree only")
    added = [str(TRAINING), str(Path(__file__).parent)]
    sys.path[:0] = added
    yield
    for folder in added:
        sys.path.remove(folder)


class Red:
    """Follows by colour: the box round what is red within one box's size of where the target was."""

    def init(self, image, box) -> None:
        self.box = box

    def update(self, image):
        x, y, w, h = self.box
        left, top = max(0, int(x - w)), max(0, int(y - h))
        part = image[top : int(y + 2 * h), left : int(x + 2 * w)].astype(int)
        rows, columns = np.nonzero(part[..., 2] > part[..., 0] + 90)
        if len(rows):
            x, y = left + columns.min(), top + rows.min()
            self.box = float(x), float(y), float(columns.max() + 1 + left - x), float(rows.max() + 1 + top - y)
        return self.box


class Still:
    """Never leaves where it began."""

    def init(self, image, box) -> None:
        self.box = box

    def update(self, image):
        return self.box


def ground(seed: int) -> np.ndarray:
    """A grey ground with features that an eye, or ORB, can hold on to, but for a band in the middle."""
    image = np.full((HEIGHT, WIDTH, 3), 150, np.uint8)
    rng = np.random.default_rng(seed)
    for _ in range(60):
        x, y = int(rng.integers(0, WIDTH)), int(rng.choice([rng.integers(0, 50), rng.integers(150, HEIGHT)]))
        cv2.rectangle(image, (x, y), (x + 7, y + 5), [int(rng.integers(0, 120))] * 3, -1)
    return image


def position(number: int) -> tuple[int, int]:
    return 4 + 7 * number, 80


def save_clip(folder: Path, seed: int = 0) -> None:
    """Writes a clip with a red thing that moves to the right and out of the picture."""
    folder.mkdir(parents=True)
    for number in range(LENGTH):
        image = ground(seed)
        x, y = position(number)
        image[y : y + SIDE, x : x + SIDE] = (30, 30, 220)
        image[y + 12 : y + 28, x + 12 : x + 28] = (20, 20, 150)
        assert cv2.imwrite(str(folder / f"{number:03d}.png"), image)


def run(folder: Path, teachers: list[str], *arguments: str) -> list[dict]:
    import label_clips

    (folder / "clips.json").write_text(
        json.dumps([{"repository": "owner/name", "paths": ["clip/*.png"], "licence": "CC0", "targets": 1}])
    )
    options = ["--snapshots", str(folder), "--clips", str(folder / "clips.json"), "--out", str(folder / "labels.json")]
    for teacher in teachers:
        options += ["--teacher", f"test_label_clips:{teacher}"]
    assert label_clips.main([*options, *arguments]) == 0
    return json.loads((folder / "labels.json").read_text())


def test_a_thing_that_moves_is_boxed_until_it_leaves(tmp_path):
    from pack.labels import load_labels

    save_clip(tmp_path / "owner+name/clip")
    (entry,) = run(tmp_path, ["Red", "Red"], "--sheets", str(tmp_path / "sheets"))
    (label,) = load_labels(tmp_path / "labels.json")
    assert (entry["target"], label.size, label.marks) == ("moving", (WIDTH, HEIGHT), ("fast", "absent"))
    absent = np.isnan(label.boxes).any(axis=1)
    assert (~absent).sum() >= 12 and absent.sum() >= 3
    for number, box, gone in zip(label.frames, label.boxes, absent, strict=True):
        x, y = position(number)
        assert gone == (x >= WIDTH)
        assert gone or iou(box, (x, y, min(SIDE, WIDTH - x), SIDE)) > 0.8
    assert cv2.imread(str(tmp_path / "sheets/sheet-000.png")) is not None


def test_nothing_is_boxed_where_trackers_disagree_or_boxes_are_known(tmp_path):
    save_clip(tmp_path / "owner+name/clip")
    assert run(tmp_path, ["Red", "Still"]) == []
    (entry,) = run(tmp_path, ["Red"])
    known = tmp_path / "known.json"
    known.write_text(json.dumps([entry]))
    assert run(tmp_path, ["Red"], "--known", str(known)) == []


def test_shots_end_at_cuts_and_protected_scenes_are_left_out(tmp_path):
    from pack.shots import find_clips, read_shots
    from pack.snapshots import open_snapshot

    save_clip(tmp_path / "owner+name/clip")
    for number in range(40, LENGTH):
        other = np.random.default_rng(5).integers(0, 255, (20, 32, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"owner+name/clip/{number:03d}.png"), cv2.resize(other, (WIDTH, HEIGHT)))
    with open_snapshot(tmp_path, "owner/name") as snapshot:
        assert find_clips(snapshot, "**/*.png") == ["clip/*.png"]
        shots = list(read_shots(snapshot, "clip/*.png", 1, lambda *what: pytest.fail(str(what))))
    assert [shot.numbers for shot in shots] == [list(range(40)), list(range(40, LENGTH))]
    thumbnail = cv2.resize(
        cv2.cvtColor(shots[0].pictures[8], cv2.COLOR_BGR2GRAY), (16, 16), interpolation=cv2.INTER_AREA
    )
    np.savez(tmp_path / "protected.npz", thumbs=thumbnail[None])
    assert run(tmp_path, ["Red"], "--protect", str(tmp_path / "protected.npz")) == []


def test_labels_that_are_kept_here_can_be_read_and_lie_in_their_pictures():
    from pack.labels import load_labels

    files = sorted((TRAINING / "labels").glob("*.json"))
    assert files
    for label in (label for file in files for label in load_labels(file)):
        present = label.boxes[np.isfinite(label.boxes[:, 0])]
        where = f"{label.repository} {label.path} {label.frames[0]}"
        assert len(present) >= 12, where
        assert (present[:, :2] >= 0).all() and (present[:, :2] + present[:, 2:] <= label.size).all(), where
        assert (present[:, 2:] >= 4).all(), where
