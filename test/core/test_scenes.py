# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The generated scene is the demo's input and evaluation's: its truth has to be right and its frames reproducible."""

from __future__ import annotations

import builtins
import importlib.util
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from snscf_core.scenes import PRESENT_FROM, Scene, photographs, save_sequence


def pixels_of_target(with_target: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Where two frames differ by more than the target's shadow, which darkens all channels by one factor of at least
    a half."""
    a, b = with_target.astype(np.float64), without.astype(np.float64)
    factor = (a.sum(axis=2) + 1) / (b.sum(axis=2) + 1)
    beside = np.abs(a - b * factor[..., None]).max(axis=2)
    return (a.max(axis=2) - b.max(axis=2) > 12) | (factor < 0.45) | (beside > 22)


def shares(scene: Scene) -> np.ndarray:
    return np.array([scene.truth(index)[1] for index in range(len(scene))])


def bounds(mask: np.ndarray) -> np.ndarray:
    ys, xs = np.nonzero(mask)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


@pytest.mark.parametrize("seed", [0, 3])
def test_truth_box_encloses_the_pixels_that_the_target_changes(seed: int) -> None:
    slow = {
        "frames": 6000,
        "seed": seed,
        "look_alikes": 0,
        "partial_occlusion": False,
        "full_occlusion": 0,
        "speed": 0.05,
        "noise": 0,
    }
    scene, empty = Scene(**slow), Scene(**slow, target=False)
    for index in range(0, 6000, 600):
        frame = scene[index]
        x, y, w, h = frame.box
        measured = bounds(pixels_of_target(frame.image, empty[index].image))
        np.testing.assert_allclose(measured, [x, y, x + w, y + h], atol=1.6, err_msg=f"frame {index}")
        assert frame.visible > 0.99
        assert np.isnan(empty[index].box).all() and not empty[index].present


def test_box_of_a_fast_target_is_where_it_is_in_the_middle_of_the_exposure() -> None:
    plain = {"seed": 1, "look_alikes": 0, "partial_occlusion": False, "full_occlusion": 0, "noise": 0}
    scene, empty = Scene(**plain), Scene(**plain, target=False)
    for index in range(0, 240, 30):
        x, y, w, h = scene[index].box
        left, top, right, bottom = bounds(pixels_of_target(scene[index].image, empty[index].image))
        assert abs((left + right) / 2 - (x + w / 2)) < 1.5 and abs((top + bottom) / 2 - (y + h / 2)) < 1.5


@pytest.mark.slow
def test_every_frame_can_be_made_again_in_any_order() -> None:
    first, second = Scene(frames=30, seed=5), Scene(frames=30, seed=5)
    forward = [frame.image for frame in first]
    for index in (29, 3, 17, 0, -1):
        np.testing.assert_array_equal(second[index].image, forward[index])
    assert not np.array_equal(Scene(frames=30, seed=6)[0].image, forward[0])
    with pytest.raises(IndexError, match="30 of 30"):
        first[30]


@pytest.mark.slow
def test_frames_do_not_depend_on_the_process() -> None:
    code = "import zlib; from snscf_core.scenes import Scene; print(zlib.crc32(Scene(frames=9, seed=2)[7].image.data))"
    root = str(Path(__file__).parents[2])
    sums = set()
    for hash_seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", code]
        sums.add(subprocess.run(command, capture_output=True, check=True, cwd=root, env=environment).stdout)
    assert len(sums) == 1


@pytest.mark.parametrize("seed", range(4))
def test_target_moves_turns_grows_and_stays_in_the_picture(seed: int) -> None:
    scene = Scene(seed=seed)
    boxes = np.array([scene.truth(i)[0] for i in range(0, 240, 4)])
    assert (
        (boxes[:, :2] >= 0).all()
        and (boxes[:, 0] + boxes[:, 2] <= 640).all()
        and (boxes[:, 1] + boxes[:, 3] <= 480).all()
    )
    assert boxes[:, 2].max() / boxes[:, 2].min() > 1.8
    assert np.ptp(boxes[:, 0]) > 250 and np.ptp(boxes[:, 1]) > 150
    steps = np.hypot(*np.diff(boxes[:, :2] + boxes[:, 2:] / 2, axis=0).T) / 4
    assert 2 < steps.mean() < 12


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_target_is_half_covered_once_and_hidden_for_the_asked_time(seed: int) -> None:
    scene, empty = Scene(seed=seed, noise=0), Scene(seed=seed, noise=0, target=False)
    visible = shares(scene)
    assert visible[0] > 0.99
    hidden = np.flatnonzero(visible < 0.002)
    assert 6 <= len(hidden) <= 9 and np.ptp(hidden) == len(hidden) - 1
    assert 0.25 < visible[60:120].min() < 0.8
    assert (visible > 0.99).mean() > 0.6
    for index in hidden[::3]:
        frame = scene[int(index)]
        assert not frame.present and not np.isnan(frame.box).any()
        # A hidden target changes nothing but the rim of its shadow.
        assert pixels_of_target(frame.image, empty[int(index)].image).sum() < 0.005 * frame.box[2] * frame.box[3]

    always = Scene(frames=60, seed=seed, partial_occlusion=False, full_occlusion=0)
    assert shares(always).min() > 0.99
    longer = Scene(seed=seed, partial_occlusion=False, full_occlusion=20)
    assert 20 <= (shares(longer) < 0.002).sum() <= 27


@pytest.mark.slow
def test_visible_share_is_the_share_of_uncovered_pixels() -> None:
    plain = {"seed": 0, "look_alikes": 0, "noise": 0}
    scene, empty = Scene(**plain), Scene(**plain, target=False)
    bare = Scene(**plain, partial_occlusion=False, full_occlusion=0)
    bare_empty = Scene(**plain, partial_occlusion=False, full_occlusion=0, target=False)
    uncovered = []
    for index in range(85, 180, 4):
        seen = pixels_of_target(scene[index].image, empty[index].image).sum()
        whole = pixels_of_target(bare[index].image, bare_empty[index].image).sum()
        uncovered.append(seen / whole)
        assert abs(seen / whole - scene[index].visible) < 0.08
    assert min(uncovered) < 0.02 and max(uncovered) > 0.98 and sum(0.2 < share < 0.8 for share in uncovered) >= 4


def test_look_alikes_come_close_and_leave_the_target_alone() -> None:
    bare = {"frames": 240, "seed": 0, "partial_occlusion": False, "full_occlusion": 0, "noise": 0}
    crowded, alone = Scene(**bare, look_alikes=4), Scene(**bare, look_alikes=0)
    assert crowded[50].box == alone[50].box
    nearby = []
    for index in range(0, 240, 8):
        x, y, w, h = (round(value) for value in crowded[index].box)
        left, top = max(x - w, 0), max(y - h, 0)
        there = crowded[index].image[top : y + 2 * h, left : x + 2 * w].astype(int)
        none = alone[index].image[top : y + 2 * h, left : x + 2 * w].astype(int)
        nearby.append((np.abs(there - none).max(axis=2) > 40).mean())
    assert max(nearby) > 0.05 and np.mean(np.array(nearby) > 0.01) > 0.1


def test_target_leaves_and_comes_back() -> None:
    scene = Scene(seed=0, exits=2, partial_occlusion=False, full_occlusion=0)
    present = shares(scene) >= PRESENT_FROM
    assert present[0] and present[-1]
    assert (np.diff(present.astype(int)) == -1).sum() == 2
    away = scene[int(np.flatnonzero(~present)[len(np.flatnonzero(~present)) // 4])]
    assert np.isnan(away.box).all() and away.visible == 0
    for index in range(240):
        if present[index]:
            x, y, w, h = scene.truth(index)[0]
            assert x >= 0 and y >= 0 and x + w <= 640 and y + h <= 480


@pytest.mark.parametrize("size", [(160, 120), (1280, 720), (300, 500)])
def test_other_sizes(size: tuple[int, int]) -> None:
    frame = Scene(frames=3, size=size)[1]
    assert frame.image.shape == (size[1], size[0], 3) and frame.image.dtype == np.uint8
    assert 0.08 < frame.box[2] / min(size) < 0.4


def test_light_drifts_and_frames_are_noisy() -> None:
    scene = Scene(seed=0, look_alikes=0, partial_occlusion=False, full_occlusion=0)
    levels = [scene[index].image.mean() for index in range(0, 240, 20)]
    assert max(levels) / min(levels) > 1.15
    quiet = Scene(seed=0, look_alikes=0, partial_occlusion=False, full_occlusion=0, noise=0)
    difference = scene[9].image.astype(int) - quiet[9].image
    assert 1.5 < difference.std() < 3.5 and abs(difference.mean()) < 0.3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"frames": 0}, "at least 1 frame, got 0"),
        ({"size": (640, 20)}, "640 x 20"),
        ({"look_alikes": 9}, "0 to 6, got 9"),
        ({"full_occlusion": -1}, "-1"),
        ({"speed": 0}, "got 0"),
        ({"noise": 99}, "got 99"),
    ],
)
def test_impossible_scenes_are_refused_with_the_number(arguments: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Scene(**arguments)


def test_saved_sequence_reads_back(tmp_path: Path) -> None:
    scene = Scene(frames=40, size=(320, 240), seed=0, full_occlusion=4)
    save_sequence(scene, tmp_path)
    files = sorted((tmp_path / "img").glob("*.jpg"))
    assert [file.name for file in files] == [f"{number:04d}.jpg" for number in range(1, 41)]
    truth = np.genfromtxt(tmp_path / "groundtruth_rect.txt", delimiter=",")
    assert truth.shape == (40, 4)
    for index, frame in enumerate(scene):
        assert np.isnan(truth[index]).all() == (not frame.present)
        if frame.present:
            np.testing.assert_allclose(truth[index], frame.box, atol=0.001)
    assert np.isnan(truth).any()
    stored = cv2.imread(str(files[7])).astype(int)
    assert np.abs(stored - scene[7].image).mean() < 4


def test_only_files_of_the_installed_wheel_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the scene must not use the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    real_import = builtins.__import__

    def guarded(name: str, *rest: object) -> object:
        assert name.split(".")[0] not in ("pooch", "skimage"), f"{name} was imported"
        return real_import(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", guarded)
    read = []
    real_imread = cv2.imread
    monkeypatch.setattr(cv2, "imread", lambda path, *flags: (read.append(path), real_imread(path, *flags))[1])
    Scene(frames=2)[1]

    package = importlib.util.find_spec("skimage")
    assert package is not None and package.origin is not None
    data = Path(package.origin).parent / "data"
    assert {Path(path).parent for path in read} == {data}
    recorded = next(data.parents[1].glob("scikit_image-*.dist-info/RECORD"), None)
    if recorded is not None:
        listed = recorded.read_text()
        assert all(f"skimage/data/{Path(path).name}," in listed for path in read)


def test_missing_photographs_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install scikit-image"):
        Scene()
