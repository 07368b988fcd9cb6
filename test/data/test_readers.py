# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Readers: each finds clips, boxes and masks in the layout its data set is published in, and names what is broken."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from layouts import cut_off, rectangle, write_image, write_mask, write_palette_png, write_text

from snscf_core.data.images import IndexedMask, Polygons
from snscf_core.data.readers import READERS, Clip

NAN = [float("nan")] * 4


def read(source: str, root: Path) -> tuple[dict[str, Clip], list[str]]:
    """Clips by name, and problems."""
    problems: list[str] = []
    clips = READERS[source](root, problems)
    assert all(clip.source == source for clip in clips)
    assert all(len(clip.files) == len(clip.boxes) == len(clip.masks or clip.files) for clip in clips)
    assert all(file.is_file() for clip in clips for file in clip.files)
    by_name = {clip.name: clip for clip in clips}
    assert len(by_name) == len(clips)
    return by_name, problems


@pytest.mark.parametrize("source", READERS)
@pytest.mark.parametrize("exists", [True, False])
def test_a_wrong_root_is_one_sentence_with_the_tree_that_is_expected(tmp_path: Path, source: str, exists: bool) -> None:
    root = tmp_path / "somewhere"
    if exists:
        write_text(root / "sub" / "readme.txt", "nothing here")
    with pytest.raises(FileNotFoundError) as raised:
        READERS[source](root)
    text = str(raised.value)
    assert text.startswith(f"{root} does not hold ")
    assert ": expected " in text and "/" in text.split(": expected ")[1]
    assert "\n" not in text
    assert ("no such folder" in text) is not exists


def test_without_a_list_problems_are_counted_in_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_image(tmp_path / "a" / "00000001.jpg")
    write_text(tmp_path / "a" / "groundtruth.txt", "1,2,x,4", "1,2,3,4")
    with caplog.at_level(logging.WARNING):
        assert len(READERS["got10k"](tmp_path)) == 1
    assert "got10k: 2 images or annotations are left out" in caplog.text
    assert "groundtruth.txt line 1" in caplog.text


# GOT-10k --------------------------------------------------------------------------------------------------------------


def test_got10k(tmp_path: Path) -> None:
    clip = tmp_path / "train" / "GOT-10k_Train_000001"
    for number in range(1, 5):
        write_image(clip / f"{number:08d}.jpg")
    write_text(clip / "groundtruth.txt", "10.5000,5.0000,20.0000,30.0000", "11,5,20,30", "0,0,0,0", "12,6,20,30")
    write_text(clip / "absence.label", "0", "0", "1", "0")
    write_text(clip / "cover.label", "8", "0", "0", "5")
    for number in (1, 2, 3):
        write_mask(clip / "masks" / f"{number:08d}.png", rectangle(10, 5, 20, 30, 255))
    # The other splits are for others to be judged on.
    write_image(tmp_path / "val" / "GOT-10k_Val_000001" / "00000001.jpg")
    write_text(tmp_path / "val" / "GOT-10k_Val_000001" / "groundtruth.txt", "1,2,3,4")

    clips, problems = read("got10k", tmp_path)
    assert not problems
    assert list(clips) == ["GOT-10k_Train_000001"]
    found = clips["GOT-10k_Train_000001"]
    assert [file.name for file in found.files] == [f"{number:08d}.jpg" for number in range(1, 5)]
    np.testing.assert_array_equal(found.boxes, [[10.5, 5, 20, 30], NAN, NAN, [12, 6, 20, 30]])
    assert found.masks == (clip / "masks" / "00000001.png", None, None, None)
    assert list(read("got10k", tmp_path / "train")[0]) == list(clips)


def test_got10k_names_what_is_broken_and_goes_on(tmp_path: Path) -> None:
    a, b, c, d = (tmp_path / name for name in "abcd")
    for number in (1, 3, 4):  # image 2 is missing
        write_image(a / f"{number:08d}.jpg")
    write_text(a / "groundtruth.txt", "1,1,9,9", "2,2,9,9", "3,3,9", "4,4,9,9")
    write_image(b / "00000001.jpg")  # no boxes
    write_text(c / "groundtruth.txt", "1,1,9,9")  # no images
    for number in (1, 2, 3):
        write_image(d / f"{number:08d}.jpg")
    write_text(d / "groundtruth.txt", "1,1,9,0", "nan,nan,nan,nan", "2,2,inf,9")
    write_text(d / "absence.label", "0", "0")
    clips, problems = read("got10k", tmp_path)
    assert list(clips) == ["a", "d"]
    np.testing.assert_array_equal(clips["a"].boxes, [[1, 1, 9, 9], NAN, [4, 4, 9, 9]])
    assert [file.name for file in clips["a"].files] == ["00000001.jpg", "00000003.jpg", "00000004.jpg"]
    np.testing.assert_array_equal(clips["d"].boxes, [NAN] * 3)
    expected = [
        f"{a}/groundtruth.txt line 3 has no four numbers (x, y, w, h): '3,3,9'",
        f"{a}/groundtruth.txt line 2 has no image",
        f"{b}/groundtruth.txt is missing",
        f"{c}/groundtruth.txt has no images",
        f"{d}/groundtruth.txt line 3 has no four numbers (x, y, w, h): '2,2,inf,9'",
        f"{d}/absence.label has 2 labels for 3 boxes",
        f"{d}/groundtruth.txt line 1: a box of 9 x 0 pixels",
    ]
    assert problems == expected


def test_got10k_reads_the_training_clips(data: Path) -> None:
    clips, problems = read("got10k", data / "train" / "videos")
    assert not problems
    assert len(clips) == 32
    assert sum(len(clip) for clip in clips.values()) == 1361
    assert all(np.isfinite(clip.boxes).all() for clip in clips.values())
    masked = [clip for clip in clips.values() if clip.masks is not None]
    assert len(masked) == 20
    assert sum(mask is not None for clip in masked for mask in clip.masks or ()) == 690


# LaSOT ----------------------------------------------------------------------------------------------------------------


def lasot_clip(root: Path, name: str) -> Path:
    folder = root / name.partition("-")[0] / name
    for number in range(1, 5):
        write_image(folder / "img" / f"{number:08d}.jpg")
    write_text(folder / "groundtruth.txt", "1,1,20,10", "11,21,20,10", "0,0,0,0", "12,21,20,10")
    (folder / "full_occlusion.txt").write_text("0,1,0,0")
    (folder / "out_of_view.txt").write_text("0,0,1,0")
    return folder


def test_lasot_counts_pixels_from_one(tmp_path: Path) -> None:
    lasot_clip(tmp_path, "airplane-1")
    lasot_clip(tmp_path, "zebra-2")
    clips, problems = read("lasot", tmp_path)
    assert not problems
    assert list(clips) == ["airplane-1", "zebra-2"]
    np.testing.assert_array_equal(clips["zebra-2"].boxes, [[0, 0, 20, 10], NAN, NAN, [11, 20, 20, 10]])
    assert clips["zebra-2"].masks is None


@pytest.mark.parametrize(("file", "listed"), [("training_set.txt", "cat-2"), ("testing_set.txt", "cat-1")])
def test_lasot_keeps_away_from_the_benchmarks_test_set(tmp_path: Path, file: str, listed: str) -> None:
    lasot_clip(tmp_path, "cat-1")
    lasot_clip(tmp_path, "cat-2")
    write_text(tmp_path / file, listed)
    assert list(read("lasot", tmp_path)[0]) == ["cat-2"]


def test_lasot_names_what_is_broken_and_goes_on(tmp_path: Path) -> None:
    folder = lasot_clip(tmp_path, "airplane-1")
    (folder / "img" / "00000004.jpg").unlink()
    (folder / "full_occlusion.txt").write_text("0,what,0,0")
    (lasot_clip(tmp_path, "zebra-2") / "groundtruth.txt").unlink()
    clips, problems = read("lasot", tmp_path)
    np.testing.assert_array_equal(clips["airplane-1"].boxes, [[0, 0, 20, 10], [10, 20, 20, 10], NAN])
    assert len(problems) == 3
    assert "full_occlusion.txt" in problems[0] and "what" in problems[0]
    assert problems[1].endswith("airplane-1/groundtruth.txt line 4 has no image")
    assert problems[2].endswith("zebra-2/groundtruth.txt is missing")


# TrackingNet ----------------------------------------------------------------------------------------------------------


def test_trackingnet_counts_frames_as_numbers(tmp_path: Path) -> None:
    for number in range(12):
        write_image(tmp_path / "TRAIN_3" / "frames" / "abc_0" / f"{number}.jpg")
    write_text(tmp_path / "TRAIN_3" / "anno" / "abc_0.txt", *(f"{number},0.5,20,10" for number in range(12)))
    write_image(tmp_path / "TEST" / "frames" / "xyz_0" / "0.jpg")
    write_text(tmp_path / "TEST" / "anno" / "xyz_0.txt", "1,2,3,4")
    clips, problems = read("trackingnet", tmp_path)
    assert not problems
    assert list(clips) == ["abc_0"]
    assert [file.name for file in clips["abc_0"].files] == [f"{number}.jpg" for number in range(12)]
    np.testing.assert_array_equal(clips["abc_0"].boxes[:, 0], np.arange(12))


def test_trackingnet_names_what_is_broken_and_goes_on(tmp_path: Path) -> None:
    for number in (0, 2, 3, 4):
        write_image(tmp_path / "TRAIN_0" / "frames" / "a" / f"{number}.jpg")
    write_text(tmp_path / "TRAIN_0" / "anno" / "a.txt", "0,0,20,10", "1,0,20,10", "2,0,-3,10")
    write_text(tmp_path / "TRAIN_1" / "anno" / "b.txt", "0,0,20,10")
    clips, problems = read("trackingnet", tmp_path)
    assert [file.name for file in clips["a"].files] == ["0.jpg", "2.jpg"]
    np.testing.assert_array_equal(clips["a"].boxes, [[0, 0, 20, 10], NAN])
    assert [problem.rpartition("/")[2] for problem in problems] == [
        "3.jpg has no box",
        "4.jpg has no box",
        "a.txt line 2 has no image",
        "a.txt line 3: a box of -3 x 10 pixels",
        "b.txt has no images",
    ]


def test_frames_that_were_thinned_out_go_with_as_many_boxes_in_order(tmp_path: Path) -> None:
    for number in (0, 8, 16):
        write_image(tmp_path / "TRAIN_0" / "frames" / "a" / f"{number}.jpg")
    write_text(tmp_path / "TRAIN_0" / "anno" / "a.txt", "0,0,20,10", "1,0,20,10", "2,0,20,10")
    clips, problems = read("trackingnet", tmp_path)
    assert not problems
    np.testing.assert_array_equal(clips["a"].boxes[:, 0], [0, 1, 2])


# DAVIS and YouTube-VOS ------------------------------------------------------------------------------------------------


def test_davis_makes_a_clip_of_each_object_with_boxes_around_masks(tmp_path: Path) -> None:
    images, annotations = tmp_path / "JPEGImages" / "480p", tmp_path / "Annotations" / "480p"
    masks = [
        rectangle(10, 5, 20, 30, 1),
        rectangle(11, 5, 20, 30, 1) + rectangle(40, 20, 4, 6, 2),
        rectangle(12, 5, 20, 30, 1) + rectangle(60, 0, 4, 48, 255),  # 255: nothing is known there
        rectangle(42, 21, 4, 6, 2),
    ]
    for number, mask in enumerate(masks):
        write_image(images / "two" / f"{number:05d}.jpg")
        write_palette_png(annotations / "two" / f"{number:05d}.png", mask)
        write_image(images / "one" / f"{number:05d}.jpg")
        write_mask(annotations / "one" / f"{number:05d}.png", rectangle(number, 7, 9, 8, 255))
    clips, problems = read("davis", tmp_path)
    assert not problems
    assert list(clips) == ["one#255", "two#1", "two#2"]
    np.testing.assert_array_equal(clips["one#255"].boxes, [[number, 7, 9, 8] for number in range(4)])
    np.testing.assert_array_equal(clips["two#1"].boxes, [[number, 5, 20, 30] for number in (10, 11, 12)])
    np.testing.assert_array_equal(clips["two#2"].boxes, [[40, 20, 4, 6], NAN, [42, 21, 4, 6]])
    assert [file.stem for file in clips["two#2"].files] == ["00001", "00002", "00003"]
    second = annotations / "two"
    assert clips["two#2"].masks == (IndexedMask(second / "00001.png", 2), None, IndexedMask(second / "00003.png", 2))


def test_davis_names_what_is_broken_and_goes_on(tmp_path: Path) -> None:
    images, annotations = tmp_path / "JPEGImages" / "480p", tmp_path / "Annotations" / "480p"
    rng = np.random.default_rng(0)
    for number in range(3):
        write_image(images / "a" / f"{number:05d}.jpg")
        write_mask(annotations / "a" / f"{number:05d}.png", rng.integers(0, 2, (48, 64), np.uint8) * 255)
    cut_off(annotations / "a" / "00001.png")
    (images / "a" / "00002.jpg").unlink()
    write_image(images / "b" / "00000.jpg")
    write_mask(annotations / "b" / "00000.png", rectangle(0, 0, 0, 0))
    clips, problems = read("davis", tmp_path)
    assert [len(clip) for clip in clips.values()] == [1]
    assert len(problems) == 3
    assert "a/00001.png can't be read as an image: PNG is cut off" in problems[0]
    assert problems[1].endswith("a/00002.png has no image")
    assert problems[2].endswith("b shows no object")


def youtube_vos(root: Path, meta: Any) -> None:
    for number, (x, y) in enumerate([(10, 5), (12, 6), (14, 7)]):
        write_image(root / "JPEGImages" / "0a1b" / f"{number * 5:05d}.jpg")
        mask = rectangle(x, y, 20, 10, 1) + (rectangle(50, 30, 6, 7, 2) if number != 1 else 0)
        write_palette_png(root / "Annotations" / "0a1b" / f"{number * 5:05d}.png", mask.astype(np.uint8))
    write_text(root / "meta.json", json.dumps(meta) if not isinstance(meta, str) else meta)


@pytest.mark.parametrize("inner", ["train", "."])
def test_youtube_vos(tmp_path: Path, inner: str) -> None:
    meta = {"videos": {"0a1b": {"objects": {"1": {"category": "cat", "frames": ["00000"]}, "2": {"category": "dog"}}}}}
    youtube_vos(tmp_path / inner, meta)
    clips, problems = read("youtube_vos", tmp_path)
    assert not problems
    assert list(clips) == ["0a1b#1", "0a1b#2"]
    np.testing.assert_array_equal(clips["0a1b#1"].boxes, [[10, 5, 20, 10], [12, 6, 20, 10], [14, 7, 20, 10]])
    np.testing.assert_array_equal(clips["0a1b#2"].boxes, [[50, 30, 6, 7], NAN, [50, 30, 6, 7]])
    assert [file.name for file in clips["0a1b#2"].files] == ["00000.jpg", "00005.jpg", "00010.jpg"]


def test_youtube_vos_names_what_is_broken_and_goes_on(tmp_path: Path) -> None:
    youtube_vos(
        tmp_path, {"videos": {"0a1b": {"objects": {"1": {}, "2": {}, "3": {}}}, "gone": {"objects": {"1": {}}}}}
    )
    clips, problems = read("youtube_vos", tmp_path)
    assert list(clips) == ["0a1b#1", "0a1b#2"]
    assert len(problems) == 2
    assert problems[0].endswith("gone is missing")
    assert problems[1].endswith("0a1b: object 3 of meta.json is in no mask")
    (tmp_path / "meta.json").write_text("{")
    clips, problems = read("youtube_vos", tmp_path)
    assert list(clips) == ["0a1b#1", "0a1b#2"]
    assert len(problems) == 1 and "meta.json can't be read" in problems[0]


# ImageNet-VID ---------------------------------------------------------------------------------------------------------


def vid_frame(root: Path, snippet: str, number: int, *objects: str) -> Path:
    write_image(root / "Data" / "VID" / snippet / f"{number:06d}.JPEG")
    size = "<size><width>64</width><height>48</height></size>"
    text = f"<annotation><filename>{number:06d}</filename>{size}{''.join(objects)}</annotation>"
    return write_text(root / "Annotations" / "VID" / snippet / f"{number:06d}.xml", text)


def vid_object(track: int, xmin: int, ymin: int, xmax: int, ymax: int) -> str:
    corners = f"<xmax>{xmax}</xmax><xmin>{xmin}</xmin><ymax>{ymax}</ymax><ymin>{ymin}</ymin>"
    flags = "<occluded>0</occluded><generated>0</generated>"
    return f"<object><trackid>{track}</trackid><name>n1</name><bndbox>{corners}</bndbox>{flags}</object>"


def test_imagenet_vid(tmp_path: Path) -> None:
    snippet = "train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000"
    vid_frame(tmp_path, snippet, 0, vid_object(0, 10, 5, 29, 14))
    vid_frame(tmp_path, snippet, 1, vid_object(0, 11, 5, 30, 14), vid_object(1, 0, 0, 63, 47))
    vid_frame(tmp_path, snippet, 2, vid_object(1, 0, 0, 62, 47))
    vid_frame(tmp_path, snippet, 3, vid_object(0, 13, 5, 32, 14))
    vid_frame(tmp_path, "val/ILSVRC2015_val_00000000", 0, vid_object(0, 1, 2, 3, 4))
    clips, problems = read("imagenet_vid", tmp_path)
    assert not problems
    assert list(clips) == [f"{snippet}#0", f"{snippet}#1", "val/ILSVRC2015_val_00000000#0"]
    # The last pixel belongs to the box.
    np.testing.assert_array_equal(clips[f"{snippet}#0"].boxes, [[10, 5, 20, 10], [11, 5, 20, 10], NAN, [13, 5, 20, 10]])
    np.testing.assert_array_equal(clips[f"{snippet}#1"].boxes, [[0, 0, 64, 48], [0, 0, 63, 48]])
    assert [file.name for file in clips[f"{snippet}#1"].files] == ["000001.JPEG", "000002.JPEG"]


def test_imagenet_vid_names_what_is_broken_and_goes_on(tmp_path: Path) -> None:
    for number in range(5):
        vid_frame(tmp_path, "train/a", number, vid_object(0, 10 + number, 5, 29, 14))
    cut_off(tmp_path / "Annotations/VID/train/a/000001.xml")
    (tmp_path / "Data/VID/train/a/000002.JPEG").unlink()
    vid_frame(tmp_path, "train/a", 3, vid_object(0, 20, 5, 10, 14), "<object><trackid>1</trackid></object>")
    clips, problems = read("imagenet_vid", tmp_path)
    assert list(clips) == ["train/a#0"]
    np.testing.assert_array_equal(clips["train/a#0"].boxes, [[10, 5, 20, 10], NAN, [14, 5, 16, 10]])
    assert len(problems) == 4
    for problem, text in zip(
        problems,
        ["000001.xml can't be read", "000002.xml has no image", "000003.xml: object 0 from", "000003.xml: an object"],
        strict=True,
    ):
        assert text in problem


# COCO -----------------------------------------------------------------------------------------------------------------


def coco(root: Path, annotations: list[dict[str, Any]], file: str = "annotations/instances_train2017.json") -> None:
    images = [{"id": n, "file_name": f"{n:012d}.jpg", "width": 64, "height": 48} for n in (7, 3, 9)]
    write_text(root / file, json.dumps({"images": images, "annotations": annotations, "categories": []}))


def coco_box(number: int, image: int, box: Any, segmentation: Any = (), crowd: int = 0) -> dict[str, Any]:
    return {"id": number, "image_id": image, "bbox": box, "segmentation": segmentation, "iscrowd": crowd}


@pytest.mark.parametrize("folder", ["train2017", "images/train2017", "images", "."])
def test_coco(tmp_path: Path, folder: str) -> None:
    for number in (3, 7, 9):
        write_image(tmp_path / folder / f"{number:012d}.jpg")
    outline = [10.5, 5.25, 30.5, 5.25, 30.5, 20.0]
    run_lengths = {"counts": [5, 10], "size": [48, 64]}
    annotations = [
        coco_box(1, 7, [10.5, 5.25, 20, 14.75], [outline, outline]),
        coco_box(2, 3, [1, 2, 3, 4]),
        coco_box(3, 7, [0, 0, 60, 40], run_lengths, crowd=1),
        coco_box(4, 7, [10, 10, 5, 5], [[10, 10, 14, 10, 14, 14, 10, 14]]),
    ]
    coco(tmp_path, annotations)
    coco(tmp_path, [coco_box(5, 3, [1, 2, 3, 4])], "annotations/instances_val2017.json")
    clips, problems = read("coco", tmp_path)
    assert not problems
    assert list(clips) == ["000000000003#2", "000000000007#1", "000000000007#4", "000000000009"]
    np.testing.assert_array_equal(clips["000000000007#1"].boxes, [[10.5, 5.25, 20, 14.75]])
    np.testing.assert_array_equal(clips["000000000009"].boxes, [NAN])  # nothing annotated: good as a background
    assert clips["000000000003#2"].masks is None
    (polygons,) = clips["000000000007#1"].masks or ()
    assert isinstance(polygons, Polygons) and not polygons.pixel_centres
    assert len(polygons.outlines) == 2
    np.testing.assert_array_equal(polygons.outlines[0], np.reshape(outline, (3, 2)))
    # As far as the last pixel's number, not its end: the pixels of the outline are meant.
    (polygons,) = clips["000000000007#4"].masks or ()
    assert isinstance(polygons, Polygons) and polygons.pixel_centres


def test_coco_names_what_is_broken_and_goes_on(tmp_path: Path) -> None:
    for number in (3, 7):
        write_image(tmp_path / "train2017" / f"{number:012d}.jpg")
    annotations = [
        coco_box(1, 7, [10, 5, 0, 14]),
        coco_box(2, 7, None),
        coco_box(3, 7, [1, 2, 3, float("nan")]),
        coco_box(4, 7, [1, 2, 3, 4], {"counts": "abc", "size": [48, 64]}),
        coco_box(5, 7, [1, 2, 3, 5], [[1, 2, 3, 4]]),
        coco_box(6, 9, [1, 2, 3, 4]),
        coco_box(7, 1000, [1, 2, 3, 4]),
    ]
    coco(tmp_path, annotations)
    clips, problems = read("coco", tmp_path)
    assert list(clips) == ["000000000003", "000000000007#4", "000000000007#5"]
    assert all(clip.masks is None for clip in clips.values())
    assert len(problems) == 7
    assert "annotation 7 is of image 1000" in problems[0]
    for number, problem in enumerate(problems[1:6], 1):
        assert f"annotation {number} of 000000000007.jpg" in problem
    assert "000000000009.jpg of " in problems[6] and problems[6].endswith("is missing")


def test_coco_names_a_broken_list(tmp_path: Path) -> None:
    write_text(tmp_path / "instances.json", '{"images": [')
    clips, problems = read("coco", tmp_path)
    assert not clips
    assert len(problems) == 1 and "instances.json can't be read" in problems[0]


def test_coco_reads_the_stills(data: Path) -> None:
    clips, problems = read("coco", data / "train" / "stills")
    assert not problems
    assert len({clip.files[0] for clip in clips.values()}) == 5263
    assert sum(np.isfinite(clip.boxes).all() for clip in clips.values()) == 6570
    assert sum(clip.masks is not None for clip in clips.values()) == 4711


def test_outlines_of_the_stills_fill_their_boxes(data: Path) -> None:
    from snscf_core.data.images import read_mask

    clips, _ = read("coco", data / "train" / "stills")
    masked = [clip for clip in clips.values() if clip.masks is not None][::40]
    assert len(masked) > 100
    for clip in masked:
        height, width = cv2.imread(str(clip.files[0])).shape[:2]
        assert clip.masks is not None and clip.masks[0] is not None
        around = cv2.boundingRect(read_mask(clip.masks[0], height, width).astype(np.uint8))
        np.testing.assert_allclose(around, clip.boxes[0], atol=3, err_msg=clip.name)
