# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads published data sets, in the layouts in which they are published.

A reader takes a data set's root folder and returns its clips, one for each object. Broken or missing parts of a data
set are left out and named in ``problems``, one entry for each image or annotation. Without such a list, the reader logs
their number and the first one as a warning. Only a folder that does not hold the data set at all is an error:
FileNotFoundError with the expected tree.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, TypeVar
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ..boxes import Array
from ..pictures.files import IMAGE_SUFFIXES, visible_files
from ..texts import read_text
from .images import IndexedMask, Polygons, read_indices

VOID = 255  # in a mask with several objects: unlabelled pixels

_log = logging.getLogger(__name__)
_Item = TypeVar("_Item")
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Clip:
    """Holds one object through consecutive frames; a still image is a clip of one frame.

    source: the reader's name
    boxes: N x 4 (x, y, w, h), top-left corner, in pixels of the stored image, first pixel 0; NaN where the object is
        absent, invisible, or its box unknown
    masks: per frame a file that is not 0 on the object, one object in a file with the numbers of several, outlines, or
        None; None instead of the tuple if no frame has a mask

    An image without annotated objects is a clip too, with a box of NaN.
    """

    name: str
    source: str
    files: tuple[Path, ...]
    boxes: Array
    masks: tuple[Path | IndexedMask | Polygons | None, ...] | None

    def __len__(self) -> int:
        return len(self.files)

    def fingerprint(self) -> str:
        """Returns 12 hexadecimal digits for the boxes, and the images' names and sizes in bytes."""
        images = [(file.name, file.stat().st_size if file.is_file() else -1) for file in self.files]
        text = json.dumps([np.round(self.boxes, 3).tolist(), images])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


Found = tuple[list[Clip], list[str]]  # clips and problems


class Reader(Protocol):
    """Reads a data set; see the module's docstring."""

    def __call__(self, root: str | Path, problems: list[str] | None = None) -> list[Clip]: ...


# Clips with a text file of boxes --------------------------------------------------------------------------------------


def _got10k(root: Path) -> Iterator[Found]:
    folder = root / "train" if (root / "train").is_dir() else root
    clips = _folders(folder)
    if not any((clip / "groundtruth.txt").is_file() for clip in clips):
        raise _not_found(root, "GOT-10k", "[train/]NAME/00000001.jpg, ... and [train/]NAME/groundtruth.txt")
    return _each(clips, _got10k_clip)


def _got10k_clip(folder: Path) -> Found:
    problems: list[str] = []
    images = _numbered(folder, problems)
    truth = folder / "groundtruth.txt"
    if not truth.is_file():
        return [], [f"{truth} is missing"] if images else []
    boxes = _read_boxes(truth, problems)
    # Cover is the visible share of the target, from 0 (nothing) to 8 (all).
    absent = (_labels(folder / "absence.label", len(boxes), 0, problems) > 0) | (
        _labels(folder / "cover.label", len(boxes), 8, problems) == 0
    )
    masks = _numbered(folder / "masks", problems)
    return _boxed_clip(folder.name, "got10k", truth, images, boxes, absent, 1, masks, problems)


def _lasot(root: Path) -> Iterator[Found]:
    clips = [clip for category in _folders(root) for clip in _folders(category)]
    clips = [clip for clip in clips if (clip / "img").is_dir() or (clip / "groundtruth.txt").is_file()]
    if not clips:
        raise _not_found(root, "LaSOT", "CATEGORY/NAME/img/00000001.jpg, ... and CATEGORY/NAME/groundtruth.txt")
    # Respect the benchmark's own lists: training on its test set would go unnoticed.
    if (root / "training_set.txt").is_file():
        chosen = set(read_text(root / "training_set.txt").split())
        clips = [clip for clip in clips if clip.name in chosen]
    elif (root / "testing_set.txt").is_file():
        tested = set(read_text(root / "testing_set.txt").split())
        clips = [clip for clip in clips if clip.name not in tested]
    return _each(clips, _lasot_clip)


def _lasot_clip(folder: Path) -> Found:
    problems: list[str] = []
    truth = folder / "groundtruth.txt"
    if not truth.is_file():
        return [], [f"{truth} is missing"]
    boxes = _read_boxes(truth, problems) - np.array([1, 1, 0, 0])  # the first pixel is 1
    absent = (_labels(folder / "full_occlusion.txt", len(boxes), 0, problems) > 0) | (
        _labels(folder / "out_of_view.txt", len(boxes), 0, problems) > 0
    )
    images = _numbered(folder / "img", problems)
    return _boxed_clip(folder.name, "lasot", truth, images, boxes, absent, 1, {}, problems)


def _trackingnet(root: Path) -> Iterator[Found]:
    chunks = [chunk for chunk in _folders(root) if re.fullmatch(r"TRAIN(_\d+)?", chunk.name)]
    truths = [truth for chunk in chunks for truth in _files(chunk / "anno", (".txt",))]
    if not truths:
        raise _not_found(root, "TrackingNet", "TRAIN_0/frames/NAME/0.jpg, ... and TRAIN_0/anno/NAME.txt")
    return _each(truths, _trackingnet_clip)


def _trackingnet_clip(truth: Path) -> Found:
    problems: list[str] = []
    boxes = _read_boxes(truth, problems)
    images = _numbered(truth.parent.parent / "frames" / truth.stem, problems)
    absent = np.zeros(len(boxes), bool)
    return _boxed_clip(truth.stem, "trackingnet", truth, images, boxes, absent, 0, {}, problems)


def _boxed_clip(
    name: str,
    source: str,
    truth: Path,
    images: Mapping[int, Path],
    boxes: Array,
    absent: npt.NDArray[np.bool_],
    first: int,
    masks: Mapping[int, Path],
    problems: list[str],
) -> Found:
    """Matches images, numbered from ``first`` on, with N boxes, where some of either may be missing."""
    if not images:
        return [], [*problems, f"{truth} has no images"]
    numbers = sorted(images)
    if len(images) == len(boxes):
        rows = {number: row for row, number in enumerate(numbers)}
    else:
        rows = {number: number - first for number in numbers if 0 <= number - first < len(boxes)}
        problems += [f"{images[number]} has no box" for number in numbers if number not in rows]
        present = set(rows.values())
        problems += [f"{truth} line {row + 1} has no image" for row in range(len(boxes)) if row not in present]
    known = np.where(absent[:, None], np.nan, boxes)
    for row in np.flatnonzero((known[:, 2:] <= 0).any(axis=1)):
        problems.append(f"{truth} line {row + 1}: a box of {known[row, 2]:g} x {known[row, 3]:g} pixels")
        known[row] = np.nan
    kept = [number for number in numbers if number in rows]
    if not kept:
        return [], problems
    known = known[[rows[number] for number in kept]]
    outlines = tuple(
        masks.get(number) if np.isfinite(box).all() else None for number, box in zip(kept, known, strict=True)
    )
    clip = Clip(name, source, tuple(images[number] for number in kept), known, outlines if any(outlines) else None)
    return [clip], problems


def _read_boxes(file: Path, problems: list[str]) -> Array:
    """Reads N x 4 numbers, one row for each line; an invalid line becomes NaN."""
    rows = []
    try:
        text = read_text(file)
    except ValueError as error:
        problems.append(str(error))
        text = file.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.rstrip().splitlines(), 1):
        try:
            row = [float(value) for value in re.split(r"[,\s]+", line.strip().strip(","))]
        except ValueError:
            row = []
        if len(row) != 4 or np.isinf(row).any():
            problems.append(f"{file} line {number} has no four numbers (x, y, w, h): {line.strip()[:40]!r}")
            row = [np.nan] * 4
        rows.append(row if np.isfinite(row).all() else [np.nan] * 4)
    return np.array(rows, np.float64).reshape(-1, 4)


def _labels(file: Path, count: int, default: int, problems: list[str]) -> npt.NDArray[np.float64]:
    """Reads ``count`` numbers, separated by commas, spaces or lines; missing ones get the default."""
    labels = np.full(count, default, np.float64)
    if file.is_file():
        try:
            values = [float(value) for value in re.split(r"[,\s]+", read_text(file).strip().strip(",")) if value]
        except ValueError as error:
            problems.append(f"{file}: {error}")
            return labels
        if len(values) != count:
            problems.append(f"{file} has {len(values)} labels for {count} boxes")
        labels[: len(values)] = values[:count]
    return labels


# Clips with masks of several objects ----------------------------------------------------------------------------------


def _davis(root: Path) -> Iterator[Found]:
    images, annotations = root / "JPEGImages", root / "Annotations"
    for resolution in ("480p", "Full-Resolution", "1080p"):
        if (images / resolution).is_dir() and (annotations / resolution).is_dir():
            folders = _folders(annotations / resolution)
            return _each(
                folders, lambda folder: _masked_clips("davis", images / folder.parent.name / folder.name, folder)
            )
    raise _not_found(root, "DAVIS", "JPEGImages/480p/NAME/00000.jpg, ... and Annotations/480p/NAME/00000.png, ...")


def _youtube_vos(root: Path) -> Iterator[Found]:
    base = root / "train" if (root / "train").is_dir() else root
    images, annotations, meta = base / "JPEGImages", base / "Annotations", base / "meta.json"
    if not images.is_dir() or not annotations.is_dir() or not meta.is_file():
        raise _not_found(
            root,
            "YouTube-VOS",
            "[train/]JPEGImages/NAME/00000.jpg, ..., [train/]Annotations/NAME/00000.png, ... and [train/]meta.json",
        )
    try:
        videos = {str(name): {int(n) for n in video["objects"]} for name, video in _json(meta)["videos"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield [], [f"{meta} can't be read: {error!r}"]
        videos = {}
    missing = sorted(name for name in videos if not (annotations / name).is_dir())
    yield [], [f"{annotations / name} is missing" for name in missing]

    def read(folder: Path) -> Found:
        clips, problems = _masked_clips("youtube_vos", images / folder.name, folder)
        seen = {int(clip.name.rpartition("#")[2]) for clip in clips}
        listed = videos.get(folder.name, seen)
        return clips, problems + [f"{folder}: object {n} of meta.json is in no mask" for n in sorted(listed - seen)]

    yield from _each(_folders(annotations), read)


def _masked_clips(source: str, images: Path, annotations: Path) -> Found:
    """Returns one clip for each object in a folder of masks, from its first frame to its last."""
    problems: list[str] = []
    by_stem = _by_stem(images, problems)
    frames: list[tuple[Path, Path, dict[int, list[float]]]] = []
    for annotation in _files(annotations, (".png",)):
        image = by_stem.get(annotation.stem)
        if image is None:
            problems.append(f"{annotation} has no image")
            continue
        try:
            frames.append((image, annotation, _boxes_of_objects(read_indices(annotation))))
        except ValueError as error:
            problems.append(str(error))
    objects = {index for _, _, boxes in frames for index in boxes}
    if len(objects) > 1:
        objects.discard(VOID)
    if not objects:
        problems.append(f"{annotations} shows no object")
    clips = []
    for index in sorted(objects):
        seen = [number for number, (_, _, boxes) in enumerate(frames) if index in boxes]
        run = frames[seen[0] : seen[-1] + 1]
        clips.append(
            Clip(
                f"{annotations.name}#{index}",
                source,
                tuple(image for image, _, _ in run),
                np.array([boxes.get(index, [np.nan] * 4) for _, _, boxes in run], np.float64),
                tuple(IndexedMask(annotation, index) if index in boxes else None for _, annotation, boxes in run),
            )
        )
    return clips, problems


def _boxes_of_objects(indices: npt.NDArray[np.uint8]) -> dict[int, list[float]]:
    """Maps each object's number in a mask to the box (x, y, w, h) around its pixels."""
    boxes = {}
    for index in np.flatnonzero(np.bincount(indices.ravel(), minlength=256)[1:]) + 1:
        mask = indices == index
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        x, y = float(columns[0]), float(rows[0])
        boxes[int(index)] = [x, y, float(columns[-1]) + 1 - x, float(rows[-1]) + 1 - y]
    return boxes


# ImageNet-VID ---------------------------------------------------------------------------------------------------------


def _imagenet_vid(root: Path) -> Iterator[Found]:
    images, annotations = root / "Data" / "VID", root / "Annotations" / "VID"
    found = sorted(Path(at) for at, _, files in os.walk(annotations) if any(_is_annotation(name) for name in files))
    if not images.is_dir() or not found:
        raise _not_found(
            root, "ImageNet-VID", "Data/VID/train/.../NAME/000000.JPEG, ... and Annotations/VID/train/.../000000.xml"
        )

    def read(folder: Path) -> Found:
        inner = folder.relative_to(annotations)
        return _tracked_clips(inner.as_posix(), images / inner, folder)

    return _each(found, read)


def _is_annotation(name: str) -> bool:
    return name.lower().endswith(".xml") and not name.startswith(".")


def _tracked_clips(name: str, images: Path, annotations: Path) -> Found:
    """Returns one clip for each track in a folder of XML files, from its first frame to its last."""
    problems: list[str] = []
    by_stem = _by_stem(images, problems)
    frames: list[tuple[Path, dict[int, list[float]]]] = []
    for annotation in _files(annotations, (".xml",)):
        image = by_stem.get(annotation.stem)
        if image is None:
            problems.append(f"{annotation} has no image")
            continue
        try:
            objects = ElementTree.parse(annotation).getroot().findall("object")
        except (ElementTree.ParseError, OSError) as error:
            problems.append(f"{annotation} can't be read: {error}")
            continue
        boxes: dict[int, list[float]] = {}
        for element in objects:
            try:
                track = int(element.findtext("trackid", ""))
                left, top, right, bottom = (
                    float(element.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")
                )
            except ValueError as error:
                problems.append(f"{annotation}: an object without track or box ({error})")
                continue
            if not (right >= left and bottom >= top):
                problems.append(f"{annotation}: object {track} from ({left:g}, {top:g}) to ({right:g}, {bottom:g})")
                continue
            boxes[track] = [left, top, right + 1 - left, bottom + 1 - top]  # the last pixel is part of the box
        frames.append((image, boxes))
    clips = []
    for track in sorted({track for _, boxes in frames for track in boxes}):
        seen = [number for number, (_, boxes) in enumerate(frames) if track in boxes]
        run = frames[seen[0] : seen[-1] + 1]
        known = np.array([boxes.get(track, [np.nan] * 4) for _, boxes in run], np.float64)
        clips.append(Clip(f"{name}#{track}", "imagenet_vid", tuple(image for image, _ in run), known, None))
    return clips, problems


# COCO -----------------------------------------------------------------------------------------------------------------


def _coco(root: Path) -> Iterator[Found]:
    places = (root, root / "annotations")
    files = [file for place in places for file in _files(place, (".json",)) if file.name.startswith("instances")]
    if not files:
        raise _not_found(
            root, "COCO", "[annotations/]instances[_SPLIT].json and images in SPLIT/, images/ or beside it"
        )
    # Leave out validation splits if there is a training split: others evaluate on them.
    for file in [file for file in files if "train" in file.name] or files:
        yield _coco_stills(root, file)


def _coco_stills(root: Path, file: Path) -> Found:
    try:
        content = _json(file)
        images = {int(image["id"]): str(image["file_name"]) for image in content["images"]}
        annotations = sorted(content["annotations"], key=lambda annotation: int(annotation["image_id"]))
        by_image = {key: list(group) for key, group in groupby(annotations, key=lambda a: int(a["image_id"]))}
    except (ValueError, KeyError, TypeError) as error:
        return [], [f"{file} can't be read: {error!r}"]
    problems = [
        f"{file}: annotation {annotation.get('id')} is of image {image}, which is not listed"
        for image in sorted(by_image.keys() - images.keys())
        for annotation in by_image[image]
    ]
    split = file.stem.removeprefix("instances").strip("_")
    places = _Listing([root, root / "images", *([root / split, root / "images" / split] if split else [])])
    clips = []
    for image, name in sorted(images.items()):
        path = places.find(name)
        if path is None:
            problems.append(f"{name} of {file} is missing")
            continue
        own: list[Clip] = []
        for annotation in by_image.get(image, ()):
            if annotation.get("iscrowd"):
                continue
            where = f"{file}: annotation {annotation.get('id')} of {name}"
            try:
                box = np.array(annotation["bbox"], np.float64)
            except (KeyError, TypeError, ValueError):
                box = np.empty(0)
            if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] <= 0).any():
                problems.append(f"{where}: the box is {annotation.get('bbox')}")
                continue
            try:
                outlines = _outlines(annotation.get("segmentation"), box)
            except (TypeError, ValueError):
                problems.append(f"{where}: the segmentation has no list of polygons; its box is used")
                outlines = None
            masks = None if outlines is None else (outlines,)
            own.append(Clip(f"{Path(name).stem}#{annotation.get('id')}", "coco", (path,), box[None], masks))
        clips += own or [Clip(Path(name).stem, "coco", (path,), np.full((1, 4), np.nan), None)]
    return clips, problems


def _outlines(segmentation: Any, box: Array) -> Polygons | None:
    """Reads COCO's polygons; None without any. Raises ValueError or TypeError for anything else."""
    if not segmentation:
        return None
    if not isinstance(segmentation, list):
        raise ValueError("no list of polygons")
    outlines = tuple(np.array(polygon, np.float64).reshape(-1, 2) for polygon in segmentation)
    if any(len(outline) < 3 or not np.isfinite(outline).all() for outline in outlines):
        raise ValueError("no polygon")
    points = np.concatenate(outlines)
    # Whole numbers that end one pixel before the box does are indices of the object's last pixels.
    whole = bool((points == np.round(points)).all() and (points.max(axis=0) <= box[:2] + box[2:] - 1).all())
    return Polygons(outlines, pixel_centres=whole)


class _Listing:
    """Finds files in one of several folders by listing each folder once, instead of one look-up for each file."""

    def __init__(self, places: Sequence[Path]) -> None:
        self._places = places
        self._names: dict[Path, set[str]] = {}

    def find(self, name: str) -> Path | None:
        for place in self._places:
            file = place / name
            if file.parent not in self._names:
                self._names[file.parent] = set(os.listdir(file.parent)) if file.parent.is_dir() else set()
            if file.name in self._names[file.parent]:
                return file
        return None


# What readers share ---------------------------------------------------------------------------------------------------


def _each(items: Sequence[_Item], read: Callable[[_Item], Found]) -> Iterator[Found]:
    """Yields ``read`` of each item, in order; in several threads, as most of the work is waiting for files."""
    with ThreadPoolExecutor() as threads:
        yield from tqdm(threads.map(read, items), total=len(items), delay=2, leave=False, disable=None, desc="reading")


def _not_found(root: Path, what: str, tree: str) -> FileNotFoundError:
    state = "" if root.is_dir() else " (there is no such folder)"
    return FileNotFoundError(f"{root} does not hold {what}{state}: expected {tree}")


def _folders(folder: Path) -> list[Path]:
    return sorted(inner for inner in folder.iterdir() if inner.is_dir()) if folder.is_dir() else []


def _files(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    return visible_files(folder, suffixes) if folder.is_dir() else []


def _numbered(folder: Path, problems: list[str]) -> dict[int, Path]:
    """Maps the number in each image's name to the image; of two with one number, only the first."""
    return _by_key(folder, IMAGE_SUFFIXES, lambda file: int(file.stem) if file.stem.isdecimal() else None, problems)


def _by_stem(folder: Path, problems: list[str]) -> dict[str, Path]:
    """Maps each image's name without its ending to the image; of two with one name, only the first."""
    return _by_key(folder, IMAGE_SUFFIXES, lambda file: file.stem, problems)


def _by_key(
    folder: Path, suffixes: Iterable[str], key: Callable[[Path], _Key | None], problems: list[str]
) -> dict[_Key, Path]:
    found: dict[_Key, Path] = {}
    for file in _files(folder, suffixes):
        name = key(file)
        if name is not None and (other := found.setdefault(name, file)) != file:
            problems.append(f"{file} is left out: it is the same frame as {other.name}")
    return found


def _json(file: Path) -> Any:
    return json.loads(read_text(file))


def _reader(source: str, read: Callable[[Path], Iterator[Found]]) -> Reader:
    def reader(root: str | Path, problems: list[str] | None = None) -> list[Clip]:
        clips: list[Clip] = []
        found: list[str] = []
        for more, wrong in read(Path(root)):
            clips += more
            found += wrong
        if problems is not None:
            problems += found
        elif found:
            _log.warning(
                "%s: %d images or annotations are left out, the first because %s", source, len(found), found[0]
            )
        return clips

    return reader


READERS: dict[str, Reader] = {
    "imagenet_vid": _reader("imagenet_vid", _imagenet_vid),
    "coco": _reader("coco", _coco),
    "youtube_vos": _reader("youtube_vos", _youtube_vos),
    "got10k": _reader("got10k", _got10k),
    "lasot": _reader("lasot", _lasot),
    "trackingnet": _reader("trackingnet", _trackingnet),
    "davis": _reader("davis", _davis),
}
