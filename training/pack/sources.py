# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads lists of sources of annotated pictures, and finds the stills and clips in them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from snscf_core.boxes import Array, iou
from snscf_core.crops import Frame
from snscf_core.data.images import Polygons, rasterise, read_image

from .annotations import Annotated, main_part, read_coco, read_mask, read_voc, read_yolo
from .snapshots import Snapshot

KINDS = ("stills", "clips")
FORMATS = ("voc", "yolo", "mask", "coco")
SAME_OBJECT = 0.3  # least IoU of an object with itself one frame earlier
THINNEST = 5.0  # pixels; an object whose shorter side is less has no texture
LARGEST = 0.95  # of both the picture's width and height; a larger object leaves nothing to search in

Report = Callable[[str, str], None]  # called with an item that is left out, and the reason


@dataclass(frozen=True)
class Source:
    """Describes annotated pictures of one repository, as an entry of a list of sources.

    kind: ``stills``, or ``clips`` if consecutive numbers are consecutive frames
    images: pattern of the pictures' paths; * stays within one folder
    format, annotations: format and patterns of a picture's annotation, of which the first that exists counts; {stem} is
        the picture's name without suffix, {folder} the name of its folder; ``coco`` has files for all pictures instead
    smallest: least longer side of an object, in pixels
    skip: names of objects to leave out
    windows: most windows cut out of a still
    frames: most frames of a clip, evenly spaced
    shortest: fewest frames of a clip
    several: true if a clip's pictures may show several objects; each that can be told from the others becomes a clip
    step: greatest difference between the numbers of consecutive frames
    copies: text in the names of altered copies of one picture, which are alike before it (``.rf.`` for Roboflow); only
        the first copy is used
    marks: words for the index (``thermal``, ``lookalikes``, ``occlusion``, ...)
    commit: for files that only an earlier version has
    use: false for a source that is listed only to say why (``note``) it isn't used
    """

    repository: str
    kind: str
    images: str
    format: str
    annotations: tuple[str, ...]
    licence: str
    note: str = ""
    commit: str = "HEAD"
    smallest: float = 12
    skip: tuple[str, ...] = ()
    windows: int = 3
    frames: int = 40
    shortest: int = 12
    several: bool = False
    step: int = 1
    copies: str = ""
    marks: tuple[str, ...] = ()
    use: bool = True


@dataclass(frozen=True)
class Still:
    """Holds a picture and its objects, whose boxes lie inside it."""

    path: str
    picture: Frame
    objects: list[Annotated]


@dataclass(frozen=True)
class Run:
    """Holds consecutive pictures that show one object: their paths, and the object in each."""

    paths: list[str]
    objects: list[Annotated]


def load_sources(file: Path) -> list[Source]:
    """Reads a list of sources. Raises OSError, or ValueError that names the entry and its error."""
    return [_source(entry, f"{file}, entry {number}") for number, entry in enumerate(load_list(file), 1)]


def load_list(file: Path) -> list[Any]:
    """Reads a JSON file that holds a list. Raises OSError, or ValueError for other content."""
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{file} holds no list")
    return entries


def read_stills(source: Source, snapshot: Snapshot, report: Report) -> Iterator[Still]:
    """Yields the pictures of a source that have objects worth learning from."""
    annotations = _Annotations(source, snapshot)
    for path in _pictures(source, snapshot):
        try:
            picture = read_image(snapshot.file(path))
            height, width = picture.shape[:2]
            objects = []
            for item in annotations.of(path, width, height):
                inside = _inside(item, width, height)
                if inside is None:
                    report(path, f"the box {_written(item)} lies outside the picture of {width} x {height}")
                elif _worth(inside, width, height, source):
                    objects.append(inside)
        except (OSError, ValueError) as error:
            report(path, str(error))
            continue
        if objects:
            yield Still(path, picture, objects)
        else:
            report(path, "no object is large enough, or small enough, to learn from")


def find_runs(source: Source, snapshot: Snapshot, report: Report) -> Iterator[Run]:
    """Yields the clips of a source.

    A clip continues while the pictures' numbers are consecutive, each picture has one object, its name stays the same,
    and its box overlaps the previous one by ``SAME_OBJECT``. With ``several``, an object may be any in the picture, and
    its clips end where two boxes overlap the previous one, or one box two previous ones. Clips with fewer than
    ``shortest`` pictures are left out.
    """
    annotations = _Annotations(source, snapshot)
    runs: list[Run] = []

    def ended(run: Run) -> Iterator[Run]:
        if len(run.paths) >= source.shortest:
            yield run
        else:
            report(run.paths[0], f"the object is followed in only {len(run.paths)} pictures")

    for path in _pictures(source, snapshot):
        try:
            width = height = 0
            if source.format in ("yolo", "mask"):  # these formats don't hold the picture's size
                height, width = read_image(snapshot.file(path)).shape[:2]
            objects = [item for item in annotations.of(path, width, height) if item.name not in source.skip]
            if len(objects) != 1 and not source.several:
                raise ValueError(f"{len(objects)} objects, but a clip's picture has one")
        except (OSError, ValueError) as error:
            report(path, str(error))
            continue
        before, runs = runs, _followed(runs, path, objects, source.step)
        for run in before:
            if not any(run is other for other in runs):
                yield from ended(run)
    for run in runs:
        yield from ended(run)


def thinned(run: Run, most: int) -> Run:
    """Returns at most ``most`` pictures of a clip, evenly spaced, including the first and the last."""
    if len(run.paths) <= most:
        return run
    chosen = np.round(np.linspace(0, len(run.paths) - 1, most)).astype(int)
    return Run([run.paths[number] for number in chosen], [run.objects[number] for number in chosen])


def cut_to_picture(box: Array, width: int, height: int) -> Array | None:
    """Returns the part of a box (x, y, w, h) inside a picture; None if that is less than half of it, or not finite."""
    low = np.clip(box[:2], 0, (width, height))
    size = np.clip(box[:2] + box[2:], 0, (width, height)) - low
    whole = float(np.prod(box[2:]))
    if not np.isfinite(box).all() or (box[2:] <= 0).any() or float(np.prod(size)) < whole / 2:
        return None
    return np.concatenate([low, size])


class _Annotations:
    """Reads the objects of each picture of a source."""

    def __init__(self, source: Source, snapshot: Snapshot) -> None:
        self._source, self._snapshot = source, snapshot
        self._by_name: dict[str, list[Annotated]] = {}
        if source.format == "coco":
            for pattern in source.annotations:
                for name in snapshot.matching(pattern):
                    self._by_name.update(read_coco(snapshot.file(name)))

    def of(self, path: str, width: int, height: int) -> list[Annotated]:
        """Returns a picture's objects. Raises FileNotFoundError without an annotation, ValueError if it is damaged."""
        inner = PurePosixPath(path)
        if self._source.format == "coco":
            for end in range(1, len(inner.parts) + 1):  # listed names may begin at any of the picture's folders
                found = self._by_name.get("/".join(inner.parts[-end:]))
                if found is not None:
                    return found
            raise FileNotFoundError("no annotation lists it")
        places = [pattern.format(stem=inner.stem, folder=inner.parent.name) for pattern in self._source.annotations]
        place = next((place for place in places if place in self._snapshot.names), None)
        if place is None:
            raise FileNotFoundError(f"it has no annotation {' or '.join(places)}")
        file = self._snapshot.file(place)
        if self._source.format == "voc":
            return read_voc(file)
        return (read_yolo if self._source.format == "yolo" else read_mask)(file, width, height)


def _pictures(source: Source, snapshot: Snapshot) -> list[str]:
    names = snapshot.matching(source.images)
    if not names:
        raise FileNotFoundError(f"{source.repository} has no {source.images}")
    if not source.copies:
        return names
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(name.split(source.copies)[0], name)
    return list(first.values())


def _source(entry: Any, where: str) -> Source:
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is no object")
    known = {field.name: field for field in fields(Source)}
    unknown = sorted(entry.keys() - known.keys())
    missing = [name for name, field in known.items() if field.default is MISSING and name not in entry]
    if unknown or missing:
        raise ValueError(f"{where} has unknown {unknown} and lacks {missing}; known are {sorted(known)}")
    for name, value in entry.items():
        default = known[name].default
        wanted: tuple[type, ...] = (list,) if name == "annotations" or isinstance(default, tuple) else (str,)
        if isinstance(default, bool):
            wanted = (bool,)
        elif isinstance(default, int):
            wanted = (int, float) if name == "smallest" else (int,)
        if not isinstance(value, wanted):
            raise ValueError(f"{where}: {name} is {value!r}, not {' or '.join(kind.__name__ for kind in wanted)}")
    for name, choices in (("kind", KINDS), ("format", FORMATS)):
        if entry[name] not in choices:
            raise ValueError(f"{where}: {name} is {entry[name]!r}, not one of {', '.join(choices)}")
    return Source(**{name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()})


def _followed(runs: list[Run], path: str, objects: list[Annotated], step: int) -> list[Run]:
    """Adds a picture's objects to the clips that they alone go on with; returns the clip of each, new ones included."""
    fits = np.array([[_goes_on(run, path, item, step) for run in runs] for item in objects], bool)
    fits = fits.reshape(len(objects), len(runs))
    alone = fits & (fits.sum(axis=0) == 1) & (fits.sum(axis=1, keepdims=True) == 1)
    following = [runs[int(row.argmax())] if row.any() else Run([], []) for row in alone]
    for run, item in zip(following, objects, strict=True):
        run.paths.append(path)
        run.objects.append(item)
    return following


def _goes_on(run: Run, path: str, item: Annotated, step: int) -> bool:
    before, number_before = _numbered(run.paths[-1])
    name, number = _numbered(path)
    last = run.objects[-1]
    consecutive = before == name and number_before < number <= number_before + step
    return consecutive and item.name == last.name and float(iou(item.box, last.box)) >= SAME_OBJECT


def _numbered(path: str) -> tuple[str, int]:
    """Splits a path into all but the last number, and that number."""
    stem = PurePosixPath(path).with_suffix("").as_posix()
    match = re.fullmatch(r"(.*?)(\d+)", stem)
    return (match[1], int(match[2])) if match else (stem, -1)


def _inside(item: Annotated, width: int, height: int) -> Annotated | None:
    box = cut_to_picture(np.array(item.box), width, height)
    return None if box is None else Annotated(tuple(box.tolist()), item.name, item.mask)


def _worth(item: Annotated, width: int, height: int, source: Source) -> bool:
    w, h = item.box[2:]
    whole = w > LARGEST * width and h > LARGEST * height
    sized = max(w, h) >= source.smallest and min(w, h) >= THINNEST and not whole
    return item.name not in source.skip and sized and _in_one_part(item)


def _in_one_part(item: Annotated) -> bool:
    """Returns whether an outline holds one part; an object cut in two by an occluder is hard to recognise from it."""
    if not isinstance(item.mask, Polygons):
        return True
    # Only the box is filled: to fill a large picture for each of its objects takes minutes.
    x, y, w, h = item.box
    low = np.floor((x, y))
    shifted = Polygons(tuple(outline - low for outline in item.mask.outlines))
    width, height = np.ceil((x + w, y + h)) - low
    return main_part(rasterise(shifted, int(height), int(width))) is not None


def _written(item: Annotated) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in item.box) + ")"
