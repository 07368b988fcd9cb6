# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Says which files of a folder are frames, and in which order they come."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

Key: TypeAlias = tuple[tuple[int, int, str], ...]

_log = logging.getLogger(__name__)


def natural_key(name: str) -> Key:
    """Returns a key that sorts names as people do: 2 before 10, and 007 as 7."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)


def visible_files(folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Lists a folder's files with one of these endings, in natural order of their names.

    Hidden files are left out. macOS puts one (`._NAME`) beside each file of an archive.
    """
    wanted = tuple(suffixes)
    found = (file for file in folder.iterdir() if file.name.lower().endswith(wanted) and not file.name.startswith("."))
    return sorted(found, key=lambda file: (natural_key(file.stem), file.name))


def image_files(folder: Path) -> tuple[Path, ...]:
    """Lists the images of a folder in natural order, and warns of numbers that are missing.

    Raises ValueError if two images have one number, such as 7.jpg and 007.jpg: which one counts is not known.
    """
    files = visible_files(folder)
    by_key: dict[Key, Path] = {}
    for file in files:
        other = by_key.setdefault(natural_key(file.stem), file)
        if other != file:
            raise ValueError(f"{folder} has two images for one frame: {other.name} and {file.name}")
    if gap := gap_in(files):
        _log.warning("%s: %s", folder, gap)
    return tuple(files)


def numbered_files(folder: Path) -> dict[int, Path]:
    """Maps the number in the name of each image to the image, in ascending order; other images are left out.

    Raises ValueError if two images have one number.
    """
    found: dict[int, Path] = {}
    for file in visible_files(folder) if folder.is_dir() else ():
        if file.stem.isdecimal() and (other := found.setdefault(int(file.stem), file)) != file:
            raise ValueError(f"{folder} has two images for one frame: {other.name} and {file.name}")
    return found


def gap_in(files: Sequence[Path]) -> str:
    """Says where numbers are missing between files in natural order; empty if none is.

    Numbers may go up by any amount, as long as it is always the same one.
    """
    found = [re.fullmatch(r"(.*?)([0-9]+)", file.stem) for file in files]
    if len(files) < 3 or not all(found) or len({match[1] for match in found if match}) > 1:
        return ""
    numbers = [int(match[2]) for match in found if match]
    steps = [after - before for before, after in pairwise(numbers)]
    usual = Counter(steps).most_common(1)[0][0]
    wide = [place for place, step in enumerate(steps) if step > usual]
    if not wide:
        return ""
    first, missing = wide[0], sum(steps[place] // usual - 1 for place in wide)
    return f"{missing} images are missing, first between {files[first].name} and {files[first + 1].name}"
