# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads annotations of pictures in the formats that repositories use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np

from snscf_core.data.images import Mask, Polygons, read_indices

LARGEST_PART = 0.9  # least share of a mask's pixels in one part; below, there may be two objects, or one partly hidden


@dataclass(frozen=True)
class Annotated:
    """Holds one object of a picture.

    box: x, y, w, h in pixels of the picture, first pixel 0
    mask: H x W or an outline
    """

    box: tuple[float, float, float, float]
    name: str = ""
    mask: Mask | Polygons | None = None


def read_voc(file: Path) -> list[Annotated]:
    """Reads the objects of a VOC file, without those marked as difficult. Raises ValueError if it is damaged."""
    try:
        elements = ElementTree.parse(file).getroot().findall("object")
        found = []
        for element in elements:
            left, top, right, bottom = (
                float(element.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")
            )
            if element.findtext("difficult", "0").strip() != "1":
                found.append(Annotated((left, top, right - left, bottom - top), element.findtext("name", "").strip()))
        return found
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{file.name} is no VOC annotation: {error}") from error


def read_yolo(file: Path, width: int, height: int) -> list[Annotated]:
    """Reads the objects of a YOLO file. Raises ValueError if a line is neither a box nor an outline.

    Lines are ``class cx cy w h`` or ``class x y x y ...`` (an outline), as shares of the picture.
    """
    found = []
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
        name, *rest = line.split() or [""]
        if not name:
            continue
        try:
            values = np.array(rest, np.float64)
        except ValueError:
            values = np.empty(0)
        if len(values) == 4:
            cx, cy, w, h = values * (width, height, width, height)
            found.append(Annotated((float(cx - w / 2), float(cy - h / 2), float(w), float(h)), name))
        elif len(values) >= 6 and len(values) % 2 == 0:
            found.append(_outlined([values.reshape(-1, 2) * (width, height)], name))
        else:
            raise ValueError(f"{file.name} line {number} is neither a box nor an outline: {line[:40]!r}")
    return found


def read_mask(file: Path, width: int, height: int) -> list[Annotated]:
    """Reads a picture that is bright, or not 0, on one object.

    Raises ValueError if it can't be read, has another size, is empty, or has parts that may be several objects.
    """
    indices = read_indices(file)
    if indices.shape != (height, width):
        raise ValueError(
            f"{file.name} has {indices.shape[1]} x {indices.shape[0]} pixels, its picture {width} x {height}"
        )
    # Scaled or compressed masks have all values between black and white.
    mask = indices >= 128 if indices.max() >= 128 else indices > 0
    if not mask.any():
        raise ValueError(f"{file.name} shows no object")
    largest = main_part(mask)
    if largest is None:
        raise ValueError(f"{file.name} falls into parts, which may be several objects")
    return [Annotated(box_of_mask(largest), "", largest)]


def read_coco(file: Path) -> dict[str, list[Annotated]]:
    """Reads a COCO file: the objects of each picture by its ``file_name``, without crowds.

    Raises ValueError if the file is damaged.
    """
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        images = {
            image["id"]: str(image["file_name"] if "file_name" in image else image["filename"])
            for image in content["images" if "images" in content else "image"]
        }
        categories = {entry["id"]: str(entry["name"]) for entry in content.get("categories", ())}
        found: dict[str, list[Annotated]] = {name: [] for name in images.values()}
        for entry in content["annotations" if "annotations" in content else "annotation"]:
            if entry.get("iscrowd"):
                continue
            objects = found[images[entry["image_id"]]]
            category = categories.get(entry.get("category_id"), "")
            polygons = entry.get("segmentation")
            if isinstance(polygons, list) and polygons:
                outlines = [np.array(polygon, np.float64).reshape(-1, 2) for polygon in polygons]
                objects.append(_outlined(outlines, category))
            else:
                x, y, w, h = (float(value) for value in entry["bbox"])
                objects.append(Annotated((x, y, w, h), category))
        return found
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{file.name} is no COCO annotation: {error!r}") from error


def main_part(mask: Mask) -> Mask | None:
    """Returns the largest connected part of a mask, or None if it has less than ``LARGEST_PART`` of the pixels."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    if not len(areas) or areas.max() < LARGEST_PART * areas.sum():
        return None
    return np.asarray(labels == 1 + int(areas.argmax()))


def box_of_mask(mask: Mask) -> tuple[float, float, float, float]:
    """Returns the box x, y, w, h around a mask that is not empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    x, y = float(columns[0]), float(rows[0])
    return x, y, float(columns[-1]) + 1 - x, float(rows[-1]) + 1 - y


def _outlined(outlines: Sequence[np.ndarray], name: str) -> Annotated:
    points = np.concatenate(outlines)
    (x, y), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return Annotated((x, y, right - x, bottom - y), name, Polygons(tuple(outlines)))
