# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes a pack: clips in GOT-10k's layout, stills in COCO's, an index, and parts for transport."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from snscf_core.boxes import Array
from snscf_core.crops import Frame
from snscf_core.data.images import Mask, Polygons, rasterise

from .annotations import Annotated, box_of_mask
from .overlap import ALIKE, Protected
from .parts import write_checksums
from .sources import Report, Source, Still, cut_to_picture
from .windows import Window, clip_windows, still_windows

LONGEST_SIDE = 480  # pixels of a stored picture
CLIPS, HELD_OUT, STILLS = "clips", "held_out", "stills"
TAR_BLOCK = 512


@dataclass
class Row:
    """Describes one clip or one still picture in the index."""

    name: str  # path within the pack
    kind: str  # clip or still
    repository: str
    path: str
    licence: str
    label_kind: str  # box, mask, or the kind in a labels file
    target: str
    marks: str  # separated by spaces
    frames: int
    objects: int
    held_out: bool
    bytes: int
    part: int = 0


@dataclass(frozen=True)
class About:
    """Holds the index's facts about a clip, except for counts."""

    repository: str
    path: str
    licence: str
    label_kind: str
    target: str
    marks: tuple[str, ...]
    detail: str  # distinguishes the clips of one path


@dataclass
class Pack:
    """Builds a pack.

    out: a new folder
    hold_out: clips go to ``held_out/`` instead of ``clips/`` if this number divides the first byte of the SHA-256 of
        ``repository/path``; 0 holds out none
    """

    out: Path
    report: Report
    protected: Protected | None = None
    hold_out: int = 8
    quality: int = 80
    rows: list[Row] = field(default_factory=list)
    _images: list[dict[str, Any]] = field(default_factory=list)
    _annotations: list[dict[str, Any]] = field(default_factory=list)

    def add_still(self, source: Source, still: Still) -> None:
        """Cuts the windows of a picture and writes them with their objects."""
        if self.shows_judged(still.picture):
            self.report(still.path, "shows a protected scene")
            return
        height, width = still.picture.shape[:2]
        boxes = np.array([item.box for item in still.objects])
        for number, (window, inside) in enumerate(still_windows(boxes, width, height, source.windows)):
            crop = cut(still.picture, window)
            if self.shows_judged(crop):
                self.report(still.path, f"window {number} shows a protected scene")
                continue
            name = f"{_named(source.repository, still.path, str(number))}.webp"
            content = self.encoded(crop)
            self._write(Path(STILLS) / "images" / name, content)
            entry = {"id": len(self._images) + 1, "file_name": name, "height": crop.shape[0], "width": crop.shape[1]}
            self._images.append({**entry, "source": source.repository, "path": still.path})
            for index in inside:
                self._annotate(len(self._images), still.objects[index], window, crop.shape[1] / window.width)
            kind = "mask" if any(still.objects[index].mask is not None for index in inside) else "box"
            names = ", ".join(sorted({still.objects[index].name for index in inside} - {""}))
            about = (source.repository, still.path, source.licence, kind, names, " ".join(source.marks))
            place = f"{STILLS}/images/{name}"
            self.rows.append(Row(place, "still", *about, 1, len(inside), False, len(content)))

    def clip(self, about: About, boxes: Array, shortest: int) -> ClipWriter:
        """Begins a clip of N frames with boxes N x 4 (x, y, w, h), NaN where the object is absent.

        The clip is left out if fewer than ``shortest`` frames turn out to be usable.
        """
        return ClipWriter(self, about, boxes, shortest)

    def finish(self, part_bytes: int) -> int:
        """Writes the index, the stills' annotations, the parts and their checksums; returns the number of parts.

        Raises ValueError if something indivisible is larger than a part.
        """
        if self._images:
            content = {
                "images": self._images,
                "annotations": self._annotations,
                "categories": [{"id": 1, "name": "object"}],
            }
            self._write(Path(STILLS) / "instances.json", json.dumps(content, separators=(",", ":")).encode())
        count = self._assign_parts(part_bytes)
        self._write_index()
        for part in range(count):
            self._write_part(part)
        write_checksums(self.out / "parts")
        return count

    def shows_judged(self, picture: Frame) -> bool:
        """Returns whether a picture shows a protected scene."""
        return self.protected is not None and self.protected.likeness(picture) > ALIKE

    def encoded(self, picture: Frame) -> bytes:
        """Returns a picture as WebP."""
        done, content = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, self.quality])
        assert done
        return content.tobytes()

    def holds_out(self, about: About) -> bool:
        """Returns whether a clip is kept for calibration. All clips of one video are on the same side."""
        first = hashlib.sha256(f"{about.repository}/{about.path}".encode()).digest()[0]
        return bool(self.hold_out) and first % self.hold_out == 0

    def write_clip(self, about: About, encoded: Sequence[bytes], boxes: Array, masks: Sequence[bytes | None]) -> None:
        """Writes a clip in GOT-10k's layout."""
        held_out = self.holds_out(about)
        folder = Path(HELD_OUT if held_out else CLIPS) / _named(about.repository, about.path, about.detail)
        absent = np.isnan(boxes).any(axis=1)
        lines = [",".join(f"{value:.2f}" for value in np.where(np.isnan(box), 0, box)) for box in boxes]
        self._write(folder / "groundtruth.txt", "".join(f"{line}\n" for line in lines).encode())
        self._write(folder / "absence.label", "".join(f"{int(value)}\n" for value in absent).encode())
        for number, (content, mask) in enumerate(zip(encoded, masks, strict=True), 1):
            self._write(folder / f"{number:08d}.webp", content)
            if mask is not None:
                self._write(folder / "masks" / f"{number:08d}.png", mask)
        size = sum(file.stat().st_size for file in (self.out / folder).rglob("*") if file.is_file())
        described = (about.repository, about.path, about.licence, about.label_kind, about.target, " ".join(about.marks))
        counted = (len(encoded), int((~absent).sum()), held_out, size)
        self.rows.append(Row(folder.as_posix(), "clip", *described, *counted))

    def _annotate(self, image: int, item: Annotated, window: Window, scale: float) -> None:
        box, polygons, kind = moved(np.array(item.box), window, scale), [], "box"
        if item.mask is not None:
            mask = mask_in(item.mask, window, scale)
            polygons = outlines(mask)
            if polygons:
                box, kind = np.array(box_of_mask(mask)), "mask"
        self._annotations.append(
            {
                "id": len(self._annotations) + 1,
                "image_id": image,
                "category_id": 1,
                "bbox": [round(value, 2) for value in box.tolist()],
                "area": round(float(box[2] * box[3]), 1),
                "segmentation": polygons,
                "iscrowd": 0,
                "label_kind": kind,
            }
        )

    def _write(self, place: Path, content: bytes) -> None:
        file = self.out / place
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as stream:  # "x", because two sources with one name would silently lose a clip
            stream.write(content)

    def _write_index(self) -> None:
        with (self.out / "index.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow([column.name for column in fields(Row)])
            for row in self.rows:
                writer.writerow([getattr(row, column.name) for column in fields(Row)])

    def _common(self) -> list[Path]:
        return [file for file in (self.out / "index.csv", self.out / STILLS / "instances.json") if file.is_file()]

    def _assign_parts(self, limit: int) -> int:
        """Numbers the parts. The first also holds the index and the stills' annotations."""
        self._write_index()
        # The numbers of the parts are still missing from the index: at most three more digits per row.
        filled = _tar_size(self._common()) + 3 * len(self.rows) + TAR_BLOCK
        part = 0
        for row in self.rows:
            size = _tar_size(self._files(row))
            if filled + size > limit:
                part, filled = part + 1, 20 * TAR_BLOCK
            if filled + size > limit:
                raise ValueError(f"{row.name} or the index does not fit into a part of {limit} bytes")
            row.part, filled = part, filled + size
        return part + 1

    def _files(self, row: Row) -> list[Path]:
        place = self.out / row.name
        return sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]

    def _write_part(self, part: int) -> None:
        files = self._common() if part == 0 else []
        files += [file for row in self.rows if row.part == part for file in self._files(row)]
        (self.out / "parts").mkdir(exist_ok=True)
        with tarfile.open(self.out / "parts" / f"part-{part:03d}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for file in files:
                # No time or owner, so that the same sources give the same parts.
                entry = tarfile.TarInfo(file.relative_to(self.out).as_posix())
                entry.size = file.stat().st_size
                with file.open("rb") as stream:
                    archive.addfile(entry, stream)


class ClipWriter:
    """Takes the frames of one clip, in order, and writes the clip when it is complete."""

    def __init__(self, pack: Pack, about: About, boxes: Array, shortest: int) -> None:
        self._pack, self._about, self._boxes, self._shortest = pack, about, boxes, shortest
        self._windows: list[Window] = []
        self._size = (0, 0)
        self._encoded: list[bytes] = []
        self._moved: list[Array] = []
        self._masks: list[bytes | None] = []
        self._judged = False

    def add(self, number: int, picture: Frame, mask: Mask | Polygons | None = None) -> None:
        """Adds frame ``number`` of the clip, with the object's mask if there is one.

        A frame is left out if its size differs from the first frame's, or if its box lies outside.
        """
        height, width = picture.shape[:2]
        if not self._windows:
            self._size = (width, height)
            cuts = [cut_to_picture(box, width, height) for box in self._boxes]
            self._absent = np.isnan(self._boxes).any(axis=1)
            self._inside = np.array([np.full(4, np.nan) if box is None else box for box in cuts])
            self._windows = clip_windows(self._inside, width, height)
        wrong = None
        if self._size != (width, height):
            wrong = f"frame {number} has {width} x {height} pixels, the first {self._size[0]} x {self._size[1]}"
        elif np.isnan(self._inside[number]).any() and not self._absent[number]:
            wrong = f"the box of frame {number} lies outside the picture of {width} x {height}"
        if wrong:
            self._pack.report(f"{self._about.path} ({self._about.target})", wrong)
            return
        window = self._windows[number]
        crop = cut(picture, window)
        self._judged |= self._pack.shows_judged(picture) or self._pack.shows_judged(crop)
        if self._judged:
            return
        scale = crop.shape[1] / window.width
        self._encoded.append(self._pack.encoded(crop))
        self._moved.append(moved(self._inside[number], window, scale))
        self._masks.append(None)
        if mask is not None:
            done, content = cv2.imencode(".png", mask_in(mask, window, scale).astype(np.uint8) * 255)
            assert done
            self._masks[-1] = content.tobytes()

    def finish(self) -> None:
        """Writes the clip, or reports why it is left out."""
        where = f"{self._about.path} ({self._about.target})"
        if self._judged:
            self._pack.report(where, "shows a protected scene")
        elif len(self._encoded) < self._shortest:
            self._pack.report(where, f"only {len(self._encoded)} frames can be used")
        else:
            self._pack.write_clip(self._about, self._encoded, np.array(self._moved), self._masks)


def cut(picture: Frame, window: Window) -> Frame:
    """Returns a window of a picture, shrunk if it exceeds ``LONGEST_SIDE``."""
    crop = picture[window.y : window.y + window.height, window.x : window.x + window.width]
    width, height = _stored(window)
    if (width, height) == (window.width, window.height):
        return np.ascontiguousarray(crop)
    return np.asarray(cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA))


def moved(box: Array, window: Window, scale: float) -> Array:
    """Converts a box of a picture to pixels of a stored window."""
    return (box - (window.x, window.y, 0, 0)) * scale


def mask_in(mask: Mask | Polygons, window: Window, scale: float) -> Mask:
    """Returns a picture's mask at the pixels of a stored window, true where it covers at least half of a pixel."""
    if isinstance(mask, Polygons):
        low = np.array([window.x, window.y])
        width, height = _stored(window)
        shifted = tuple((outline - low) * scale for outline in mask.outlines)
        return rasterise(Polygons(shifted), height, width)
    part = mask[window.y : window.y + window.height, window.x : window.x + window.width].astype(np.uint8) * 255
    return np.asarray(cv2.resize(part, _stored(window), interpolation=cv2.INTER_AREA)) >= 128


def outlines(mask: Mask) -> list[list[int]]:
    """Returns the outer outlines of a mask as COCO's polygons, x y x y ..., through the outermost pixels."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    simpler = [cv2.approxPolyDP(contour, 0.8, True) for contour in contours]
    return [contour.reshape(-1).tolist() for contour in simpler if len(contour) >= 3]


def _stored(window: Window) -> tuple[int, int]:
    factor = min(1.0, LONGEST_SIDE / max(window.width, window.height))
    return max(1, round(window.width * factor)), max(1, round(window.height * factor))


def _named(repository: str, path: str, detail: str) -> str:
    """Returns a readable name that no other picture has."""
    readable = f"{repository.split('/')[-1]}-{PurePosixPath(path.replace('*', '')).with_suffix('').name}"
    readable = re.sub(r"[^A-Za-z0-9]+", "-", readable).strip("-")[-48:].strip("-")
    unique = hashlib.sha256(f"{repository}/{path}/{detail}".encode()).hexdigest()[:10]
    return f"{readable}-{unique}"


def _tar_size(files: Sequence[Path]) -> int:
    blocks = sum(1 + -(-file.stat().st_size // TAR_BLOCK) for file in files)
    return blocks * TAR_BLOCK
