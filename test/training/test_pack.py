# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The builder of packs finds pictures in repositories, cuts them right, and leaves out what must not be trained on."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snscf_core.data.images import read_image
from snscf_core.data.readers import READERS

TRAINING = Path(__file__).resolve().parents[2] / "training"
RED = (40, 40, 220)
BOXES = [(300, 200, 24, 30), (330, 210, 20, 20), (20, 30, 150, 60)]


@pytest.fixture(scope="module", autouse=True)
def training():
    if not TRAINING.is_dir():
        pytest.skip("the builder is in the source tree only")
    sys.path.insert(0, str(TRAINING))
    yield
    sys.path.remove(str(TRAINING))


def picture(seed: int, boxes, width: int = 640, height: int = 400) -> np.ndarray:
    """A scene unlike that of any other seed, with red objects in it."""
    coarse = np.random.default_rng(seed).integers(0, 130, (12, 12, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image[..., 2] //= 2
    for x, y, w, h in boxes:
        image[y : y + h, x : x + w] = RED
    return image


def save(file: Path, content) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        assert cv2.imwrite(str(file), content)
    else:
        file.write_text(content)


def voc(boxes, name: str = "thing") -> str:
    objects = "".join(
        f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>"
        f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for x, y, w, h in boxes
    )
    return f"<annotation>{objects}</annotation>"


def commit(folder: Path) -> None:
    git = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "pictures"], check=True)


def source(**changes) -> dict:
    entry = {
        "repository": "owner/stills",
        "kind": "stills",
        "images": "images/*.png",
        "format": "voc",
        "annotations": ["boxes/{stem}.xml"],
        "licence": "CC0",
        "marks": ["thermal"],
    }
    return {**entry, **changes}


CLIP = source(repository="owner/clips", kind="clips", images="*/*.png", annotations=["labels/{folder}/{stem}.txt"])
CLIP["format"] = "yolo"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root, stills = tmp_path_factory.mktemp("snapshots"), tmp_path_factory.mktemp("stills")
    for number in range(4):
        save(stills / f"images/{number}.png", picture(number, BOXES))
        save(stills / f"boxes/{number}.xml", voc(BOXES))
    commit(stills)
    (root / "owner+stills").mkdir()
    shutil.move(stills / ".git", root / "owner+stills/repo")
    for frame in range(30):
        box = (100 + 8 * frame, 150, 30, 40)
        save(root / f"owner+clips/walk/{frame + 90}.png", picture(50, [box]))
        save(root / f"owner+clips/labels/walk/{frame + 90}.txt", yolo(box))
    return root


@pytest.fixture
def snapshots(made, tmp_path) -> Path:
    """``owner/stills``, a git directory without work tree, and ``owner/clips``, a plain folder."""
    shutil.copytree(made, tmp_path / "snapshots")
    return tmp_path / "snapshots"


def yolo(box, width: int = 640, height: int = 400) -> str:
    x, y, w, h = box
    return f"0 {(x + w / 2) / width} {(y + h / 2) / height} {w / width} {h / height}\n"


def build(snapshots: Path, sources: list[dict], *options: str, labels: list[dict] | None = None) -> tuple[int, Path]:
    """The command's exit status and the pack."""
    import build_pack

    out, listed = snapshots.parent / "pack", snapshots.parent / "sources.json"
    listed.write_text(json.dumps(sources))
    words = ["--snapshots", str(snapshots), "--sources", str(listed), "--out", str(out), *options]
    if labels is not None:
        (snapshots.parent / "labels.json").write_text(json.dumps(labels))
        words += ["--labels", str(snapshots.parent / "labels.json")]
    return build_pack.main(words), out


def index(pack: Path) -> list[dict]:
    with (pack / "index.csv").open() as stream:
        return list(csv.DictReader(stream))


def reds_box(file: Path, box) -> tuple[float, float]:
    """Share of a box that is red, and share of the red round it that is in the box."""
    image = read_image(file).astype(int)
    red = (image[..., 2] - image[..., 1] > 90).astype(float)
    x, y, w, h = (round(value) for value in box)
    around = red[max(0, y - 6) : y + h + 6, max(0, x - 6) : x + w + 6]
    return float(red[y : y + h, x : x + w].mean()), float(red[y : y + h, x : x + w].sum() / around.sum())


def test_what_the_readers_find_in_a_pack_is_where_the_boxes_say(snapshots):
    status, pack = build(snapshots, [source(), CLIP], "--hold-out", "0")
    assert status == 0
    stills, clips = READERS["coco"](pack / "stills"), READERS["got10k"](pack / "clips")
    assert len(clips) == 1 and len(clips[0]) == 30
    assert {round(float(box[2] / box[3]), 1) for clip in stills for box in clip.boxes} == {0.8, 1.0, 2.5}
    for clip in [*stills, *clips]:
        for file, box in zip(clip.files, clip.boxes, strict=True):
            assert max(read_image(file).shape) <= 480
            if clip in clips or box[2] / box[3] > 2:  # the two others touch
                assert min(reds_box(file, box)) > 0.85, (file, box)
    rows = index(pack)
    assert {row["repository"] for row in rows} == {"owner/stills", "owner/clips"}
    assert {(row["licence"], row["label_kind"], row["marks"]) for row in rows} == {("CC0", "box", "thermal")}
    assert all((pack / row["name"]).exists() for row in rows)


def test_damage_is_named_and_everything_else_is_kept(snapshots):
    folder = snapshots / "owner+clips"
    save(folder / "images/a.png", picture(1, [(300, 200, 40, 40)]))
    save(folder / "boxes/a.xml", voc([(300, 200, 40, 40), (620, 100, 60, 60), (900, 10, 50, 50)]))
    cut = (folder / "images/a.png").read_bytes()[:-200]
    (folder / "images/cut.png").write_bytes(cut)
    save(folder / "images/lonely.png", picture(2, []))
    save(folder / "images/odd.png", picture(3, []))
    save(folder / "boxes/odd.xml", "<annotation><object>")
    entries = [source(repository="owner/clips"), source(images="nowhere/*.png"), source(repository="owner/none")]
    status, pack = build(snapshots, [*entries, source()])
    assert status == 1
    rows = index(pack)
    # The box that reaches out by more than half, and the one outside, are gone; their picture is not.
    assert [row["objects"] for row in rows if row["repository"] == "owner/clips"] == ["1"]
    assert {row["path"] for row in rows if row["repository"] == "owner/stills"} == {f"images/{n}.png" for n in range(4)}
    reasons = (pack / "left_out.txt").read_text()
    cut_off = "cut.png can't be read as an image: PNG is cut off"
    for what in (cut_off, "lonely.png\tit has no annotation", "odd.xml is no VOC", "box (620", "box (900"):
        assert what in reasons
    assert "owner/stills has no nowhere/*.png" in reasons and "no snapshot of owner/none" in reasons


def test_a_git_directory_that_lacks_a_picture_gives_the_others(snapshots):
    git_directory = snapshots / "owner+stills/repo"
    names = subprocess.run(
        ["git", "--git-dir", str(git_directory), "rev-parse", "HEAD:images/2.png"], capture_output=True, check=True
    )
    name = names.stdout.decode().strip()
    (git_directory / "objects" / name[:2] / name[2:]).unlink()
    status, pack = build(snapshots, [source()])
    assert status == 0
    assert {row["path"] for row in index(pack)} == {"images/0.png", "images/1.png", "images/3.png"}
    assert "images/2.png is listed, but its content is not in the snapshot" in (pack / "left_out.txt").read_text()


def test_pictures_of_judged_scenes_are_left_out_whole_or_mirrored(snapshots):
    def thumbnail(file: Path) -> np.ndarray:
        return cv2.resize(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), (16, 16), interpolation=cv2.INTER_AREA)

    save(snapshots.parent / "still.png", picture(2, BOXES))
    clip = thumbnail(snapshots / "owner+clips/walk/100.png")
    protected = np.stack([thumbnail(snapshots.parent / "still.png")[:, ::-1], clip])
    np.savez(snapshots.parent / "judged.npz", thumbs=protected)
    status, pack = build(snapshots, [source(), CLIP], "--protect", str(snapshots.parent / "judged.npz"))
    assert status == 0
    assert {row["path"] for row in index(pack)} == {"images/0.png", "images/1.png", "images/3.png"}
    assert not (pack / "clips").exists() and not (pack / "held_out").exists()
    judged = [line for line in (pack / "left_out.txt").read_text().splitlines() if "shows a protected scene" in line]
    assert [line.split("\t")[:2] for line in judged] == [
        ["owner/stills", "images/2.png"],
        ["owner/clips", "walk/90.png (0)"],
    ]


def test_held_out_clips_are_apart(snapshots):
    status, pack = build(snapshots, [CLIP], "--hold-out", "1")
    (row,) = index(pack)
    assert status == 0 and row["held_out"] == "True"
    assert len(READERS["got10k"](pack / "held_out")) == 1 and not (pack / "clips").exists()


def test_a_clip_ends_where_the_object_or_the_numbering_jumps(snapshots):
    folder = snapshots / "owner+clips"
    (folder / "walk/105.png").unlink()
    save(folder / "labels/walk/117.txt", yolo((20, 20, 30, 40)))
    status, pack = build(snapshots, [{**CLIP, "shortest": 5, "frames": 6}], "--hold-out", "0")
    assert status == 0
    rows = index(pack)
    assert [(row["path"], row["frames"]) for row in rows] == [("walk/90.png", "6"), ("walk/106.png", "6")]
    assert "walk/117.png\tthe object is followed in only 1 pictures" in (pack / "left_out.txt").read_text()


def test_objects_of_one_picture_become_clips_that_end_where_they_meet(snapshots):
    folder = snapshots / "owner+clips"
    for frame in range(30):
        boxes = [(100 + 8 * frame, 150, 30, 40), (332 - 8 * frame, 150, 30, 40)]
        save(folder / f"walk/{frame + 90}.png", picture(50, boxes))
        save(folder / f"labels/walk/{frame + 90}.txt", "".join(map(yolo, boxes)))
    (folder / "walk/93.png").unlink()
    entry = {**CLIP, "shortest": 8, "several": True, "step": 2}
    status, pack = build(snapshots, [entry], "--hold-out", "0")
    assert status == 0
    clips = READERS["got10k"](pack / "clips")
    assert len(clips) == 4, "two that come together and two that part"
    for clip in clips:
        for file, box in zip(clip.files, clip.boxes, strict=True):
            covered, seen = reds_box(file, box)
            assert covered > 0.9 and seen <= 1
        assert np.ptp(clip.boxes[:, 1]) < 1, "no clip jumps"


def test_the_first_of_altered_copies_is_used(snapshots):
    for stem in ("7_png.rf.aa", "7_png.rf.bb", "8_png.rf.aa"):
        save(snapshots / f"owner+clips/altered/{stem}.png", picture(60 + len(stem), BOXES))
        save(snapshots / f"owner+clips/boxes/{stem}.xml", voc(BOXES))
    status, pack = build(snapshots, [source(repository="owner/clips", images="altered/*.png", copies=".rf.")])
    assert status == 0
    assert {row["path"] for row in index(pack)} == {"altered/7_png.rf.aa.png", "altered/8_png.rf.aa.png"}


def test_labels_follow_targets_through_videos_with_absent_frames(snapshots):
    video = cv2.VideoWriter(str(snapshots / "owner+clips/film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (640, 400))
    for frame in range(40):
        video.write(picture(7, [(100 + 8 * frame, 150, 30, 40)]))
    video.release()
    frames = list(range(3, 39, 2))
    boxes: list = [[50 + 4 * frame, 75, 15, 20] for frame in frames]  # of frames at half the size
    boxes[5] = None
    label = {"repository": "owner/clips", "path": "film.avi", "size": [320, 200], "licence": "CC0", "target": "red"}
    label |= {"kind": "teachers", "frames": frames, "boxes": boxes, "hard": "lookalikes"}
    second = {**label, "path": "gone.avi"}
    status, pack = build(snapshots, [], "--hold-out", "0", labels=[label, second])
    assert status == 1 and "gone.avi is missing" in (pack / "left_out.txt").read_text()
    (clip,) = READERS["got10k"](pack / "clips")
    assert len(clip) == 18 and np.isnan(clip.boxes).any(axis=1).tolist() == [frame == 5 for frame in range(18)]
    assert all(min(reds_box(clip.files[frame], clip.boxes[frame])) > 0.7 for frame in range(18) if frame != 5)
    (row,) = index(pack)
    assert (row["marks"], row["label_kind"], row["objects"]) == ("lookalikes absent", "teachers", "17")


def test_parts_are_small_enough_and_make_the_whole_pack(snapshots, tmp_path):
    rng = np.random.default_rng(0)
    for clip in ("one", "two"):
        for frame in range(12):
            save(snapshots / f"owner+clips/{clip}/{frame}.png", rng.integers(0, 255, (300, 300, 3), np.uint8))
            save(snapshots / f"owner+clips/labels/{clip}/{frame}.txt", "0 0.5 0.5 0.3 0.3")
    status, pack = build(snapshots, [source(), CLIP], "--part-mib", "1")
    assert status == 0
    parts = sorted((pack / "parts").glob("*.tar"))
    assert len(parts) > 1 and all(part.stat().st_size <= 1 << 20 for part in parts)
    for part in parts:
        with tarfile.open(part) as archive:
            archive.extractall(tmp_path / "unpacked", filter="data")
    original = {file.relative_to(pack): file.read_bytes() for file in pack.rglob("*") if file.is_file()}
    carried = {file for file in original if file.parts[0] != "parts" and file.name != "left_out.txt"}
    unpacked = [file for file in (tmp_path / "unpacked").rglob("*") if file.is_file()]
    assert {file.relative_to(tmp_path / "unpacked") for file in unpacked} == carried
    assert all(file.read_bytes() == original[file.relative_to(tmp_path / "unpacked")] for file in unpacked)


def test_all_formats_say_the_same(tmp_path):
    from pack.annotations import read_coco, read_mask, read_voc, read_yolo

    box = (100, 50, 60, 40)
    mask = np.zeros((400, 640), np.uint8)
    mask[50:90, 100:160] = 255
    corners = [100, 50, 160, 50, 160, 90, 100, 90]
    outline = " ".join(str(value / (640, 400)[position % 2]) for position, value in enumerate(corners))
    entry = {"image_id": 3, "category_id": 1, "bbox": list(box)}
    crowd = {**entry, "iscrowd": 1, "segmentation": {"counts": [], "size": [400, 640]}}
    coco = {"images": [{"id": 3, "file_name": "a/b.png"}], "categories": [{"id": 1, "name": "thing"}]}
    save(tmp_path / "a.xml", voc([box]))
    save(tmp_path / "a.txt", yolo(box) + f"0 {outline}\n")
    save(tmp_path / "a.png", mask)
    save(tmp_path / "a.json", json.dumps({**coco, "annotations": [entry, {**entry, "segmentation": [corners]}, crowd]}))
    found = [*read_voc(tmp_path / "a.xml"), *read_yolo(tmp_path / "a.txt", 640, 400)]
    found += [*read_mask(tmp_path / "a.png", 640, 400), *read_coco(tmp_path / "a.json")["a/b.png"]]
    assert len(found) == 6
    assert all(item.box == pytest.approx(box) for item in found)


def test_a_mask_of_two_things_is_refused(tmp_path):
    from pack.annotations import read_mask

    mask = np.zeros((100, 100), np.uint8)
    mask[10:30, 10:30] = mask[60:80, 60:80] = 255
    save(tmp_path / "two.png", mask)
    with pytest.raises(ValueError, match="falls into parts"):
        read_mask(tmp_path / "two.png", 100, 100)


def test_masks_are_cut_with_their_pictures(snapshots):
    folder = snapshots / "owner+clips"
    mask = np.zeros((400, 640), np.uint8)
    cv2.circle(mask, (300, 200), 60, 255, -1)
    scene = picture(9, [])
    scene[mask > 0] = RED
    save(folder / "images/a.png", scene)
    save(folder / "masks/a.png", mask)
    entry = source(repository="owner/clips", format="mask", annotations=["masks/{stem}.png"])
    status, pack = build(snapshots, [entry])
    (clip,) = READERS["coco"](pack / "stills")
    assert status == 0 and clip.masks is not None
    from snscf_core.data.images import read_mask

    image = read_image(clip.files[0]).astype(int)
    shown = read_mask(clip.masks[0], *image.shape[:2])
    red = image[..., 2] - image[..., 1] > 90
    assert (shown & red).sum() / (shown | red).sum() > 0.95


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"window": 3}, "unknown ['window']"),
        ({"format": "gif"}, "format is 'gif', not one of voc, yolo, mask, coco"),
        ({"windows": "3"}, "windows is '3', not int"),
        ({"marks": "thermal"}, "marks is 'thermal', not list"),
    ],
)
def test_a_wrong_list_of_sources_is_named(snapshots, capsys, entry, message):
    status, _ = build(snapshots, [source(), source(**entry)])
    assert status == 2
    assert message in (error := capsys.readouterr().err) and "sources.json, entry 2" in error


def test_the_list_of_sources_that_comes_with_the_builder_is_right():
    from pack.sources import load_sources

    assert load_sources(TRAINING / "sources.json")


BOX = st.tuples(st.floats(0, 500), st.floats(0, 400), st.floats(6, 139), st.floats(6, 79))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(BOX, min_size=1, max_size=12), st.integers(1, 4))
def test_windows_of_stills_hold_whole_boxes(boxes, count):
    from pack.windows import still_windows

    chosen = still_windows(np.array(boxes), 640, 480, count)
    assert 1 <= len(chosen) <= count
    for window, inside in chosen:
        assert inside and window.x >= 0 and window.y >= 0
        assert window.x + window.width <= 640 and window.y + window.height <= 480
        for x, y, w, h in (boxes[number] for number in inside):
            assert window.x <= x and x + w <= window.x + window.width
            assert window.y <= y and y + h <= window.y + window.height


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(BOX, min_size=1, max_size=30), st.data())
def test_windows_of_clips_hold_the_box_in_each_frame(boxes, data):
    from pack.windows import clip_windows

    absent = data.draw(st.sets(st.integers(0, len(boxes) - 1), max_size=len(boxes) - 1))
    known = np.array(boxes)
    known[list(absent)] = np.nan
    windows = clip_windows(known, 640, 480)
    assert len({(window.width, window.height) for window in windows}) == 1
    for number, ((x, y, w, h), window) in enumerate(zip(boxes, windows, strict=True)):
        assert window.x >= 0 and window.y >= 0
        assert window.x + window.width <= 640 and window.y + window.height <= 480
        if number not in absent:
            assert window.x <= x + 0.5 and x + w <= window.x + window.width + 0.5
            assert window.y <= y + 0.5 and y + h <= window.y + window.height + 0.5
