# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads the benchmarks, in the layouts in which they are published. Nothing is ever downloaded.

Every reader takes the folder that a data set was unpacked into. A folder without the data set raises FileNotFoundError
with the expected tree. Missing sequences are named in `Dataset.missing`. A sequence whose images do not match its boxes
raises ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..boxes import Array
from ..pictures.files import gap_in, numbered_files, visible_files
from ..texts import read_text
from .metrics import RULES, Rules
from .sequence_lists import LASOT_TEST, OTB_2013, OTB_2015, OTB_FRAMES, TB_50, UAV123_PARTS
from .sequences import ImageSequence, read_boxes, read_sequences

# Columns of the files of attributes (0 or 1 for each sequence), from the kits' scripts that plot them.
_OTB_ATTRIBUTES = "IV OPR SV OCC DEF MB FM IPR OV BC LR".split()
_UAV123_ATTRIBUTES = "SV ARC LR FM FOC POC OV BC IV VC CM SOB".split()
_LASOT_ATTRIBUTES = "IV POC DEF MB CM ROT BC VC SV FOC FM OV LR ARC".split()


@dataclass(frozen=True)
class Dataset:
    """Holds sequences, the rules by which they are scored, and the names of missing ones."""

    name: str
    rules: Rules
    sequences: tuple[ImageSequence, ...]
    missing: tuple[str, ...] = ()


def read_dataset(name: str, root: Path, names: Sequence[str] | None = None) -> Dataset:
    """Reads a data set of `DATASETS`, or some of its sequences.

    Raises as the module says, and ValueError for unknown names.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; there are {', '.join(DATASETS)}")
    dataset = DATASETS[name](Path(root))
    if names is None:
        return dataset
    by_name = {sequence.name: sequence for sequence in dataset.sequences}
    if unknown := [wanted for wanted in names if wanted not in by_name]:
        raise ValueError(f"{root} has no sequence {unknown[0]!r}; it has {', '.join(sorted(by_name))}")
    return Dataset(dataset.name, dataset.rules, tuple(by_name[wanted] for wanted in dict.fromkeys(names)))


def _plain(root: Path) -> Dataset:
    return Dataset("sequences", RULES["plain"], tuple(read_sequences(root)))


def _otb(name: str, listed: Iterable[str]) -> Callable[[Path], Dataset]:
    def read(root: Path) -> Dataset:
        found, missing = [], []
        for target in listed:
            video, _, number = target.partition("-")
            folder = root / video
            truth = folder / (f"groundtruth_rect.{number}.txt" if number else "groundtruth_rect.txt")
            if not truth.is_file() or not (folder / "img").is_dir():
                missing.append(target)
                continue
            boxes, images = read_boxes(truth), numbered_files(folder / "img")
            if video in OTB_FRAMES:
                first, last = OTB_FRAMES[video]
                # some copies also annotate frames before the first that counts
                boxes = boxes[max(0, len(boxes) - (last - first + 1)) :]
                images = {n: file for n, file in images.items() if first <= n <= last}
            attributes = _attributes(root, ("anno/att", "att"), target, _OTB_ATTRIBUTES)
            found.append(_sequence(target, truth, list(images.values()), boxes, attributes))
        _some(found, root, name, "Basketball/img/0001.jpg, ... and Basketball/groundtruth_rect.txt")
        return Dataset(name, RULES["otb"], tuple(found), tuple(missing))

    return read


def _uav123(name: str, step: int) -> Callable[[Path], Dataset]:
    folder = "UAV123_10fps" if step == 3 else "UAV123"

    def read(root: Path) -> Dataset:
        found, missing = [], []
        for truth in _truth_files(root / "anno" / folder):
            video, _, part = truth.stem.rpartition("_")
            if part.isdigit() and video in UAV123_PARTS:
                first, last = ((n - 1) // step + 1 for n in UAV123_PARTS[video][int(part) - 1])
            else:
                video, first, last = truth.stem, 1, None
            boxes = read_boxes(truth)
            images = numbered_files(root / "data_seq" / folder / video)
            if not images:
                missing.append(truth.stem)
                continue
            files = [file for n, file in images.items() if first <= n <= (last or first + len(boxes) - 1)]
            attributes = _attributes(root, (f"anno/{folder}/att", "anno/att"), truth.stem, _UAV123_ATTRIBUTES)
            found.append(_sequence(truth.stem, truth, files, boxes, attributes))
        _some(found, root, name, f"data_seq/{folder}/bike1/000001.jpg, ... and anno/{folder}/bike1.txt")
        return Dataset(name, RULES["uav123"], tuple(found), tuple(missing))

    return read


def _lasot(root: Path) -> Dataset:
    found, missing = [], []
    listed = root / "testing_set.txt"
    for name in read_text(listed).split() if listed.is_file() else LASOT_TEST:
        folder = root / name.rpartition("-")[0] / name
        folder = folder if folder.is_dir() else root / name
        truth = folder / "groundtruth.txt"
        if not truth.is_file() or not (folder / "img").is_dir():
            missing.append(name)
            continue
        boxes = read_boxes(truth)
        gone = _flags(folder / "full_occlusion.txt", len(boxes)) | _flags(folder / "out_of_view.txt", len(boxes))
        boxes[gone] = np.nan
        attributes = _attributes(root, ("annos/att", "att"), name, _LASOT_ATTRIBUTES)
        found.append(_sequence(name, truth, list(numbered_files(folder / "img").values()), boxes, attributes))
    _some(found, root, "LaSOT", "airplane/airplane-1/img/00000001.jpg, ... and airplane/airplane-1/groundtruth.txt")
    return Dataset("lasot", RULES["lasot"], tuple(found), tuple(missing))


def _got10k(split: str) -> Callable[[Path], Dataset]:
    def read(root: Path) -> Dataset:
        folder = root / split if (root / split).is_dir() else root
        listed = folder / "list.txt"
        names = read_text(listed).split() if listed.is_file() else sorted(f.name for f in folder.glob("GOT-10k_*"))
        found, missing = [], []
        for name in names:
            truth = folder / name / "groundtruth.txt"
            if not truth.is_file():
                missing.append(name)
                continue
            boxes, files = read_boxes(truth), list(numbered_files(folder / name).values())
            if len(boxes) == 1 < len(files):
                # in the test set, only the benchmark's server knows the other boxes
                boxes = np.concatenate([boxes, np.full((len(files) - 1, 4), np.nan)])
            # cover is the visible share of the target, from 0 (nothing) to 8 (all); the first box is always given
            hidden = ~_flags(folder / name / "cover.label", len(boxes), default=1)
            hidden |= _flags(folder / name / "absence.label", len(boxes))
            hidden[:1] = False
            boxes[hidden] = np.nan
            found.append(_sequence(name, truth, files, boxes))
        _some(
            found,
            root,
            f"GOT-10k ({split})",
            f"{split}/list.txt, {split}/NAME/00000001.jpg, ... and {split}/NAME/groundtruth.txt",
        )
        return Dataset(f"got10k-{split}", RULES["got10k"], tuple(found), tuple(missing))

    return read


def _vot(root: Path) -> Dataset:
    from .vot import read_vot_sequences

    return Dataset("vot", RULES["plain"], tuple(read_vot_sequences(root)))


DATASETS: Mapping[str, Callable[[Path], Dataset]] = {
    "sequences": _plain,  # any folder in OTB's layout
    "otb": _otb("OTB-2015", OTB_2015),
    "otb2013": _otb("OTB-2013", OTB_2013),
    "tb50": _otb("OTB-50", TB_50),
    "uav123": _uav123("UAV123", 1),
    "uav123_10fps": _uav123("UAV123@10fps", 3),
    "lasot": _lasot,
    "got10k": _got10k("val"),
    "got10k_test": _got10k("test"),
    "vot": _vot,
}


def _sequence(
    name: str, truth: Path, files: Sequence[Path], boxes: Array, attributes: tuple[str, ...] = ()
) -> ImageSequence:
    if len(files) != len(boxes):
        gap = gap_in(files)
        raise ValueError(f"{name}: {len(files)} images, but {len(boxes)} boxes in {truth}{gap and f'; {gap}'}")
    return ImageSequence(name, tuple(files), boxes, attributes)


def _some(found: Sequence[ImageSequence], root: Path, name: str, tree: str) -> None:
    if not found:
        raise FileNotFoundError(f"{root} does not hold {name}: expected {root}/ with {tree}")


def _truth_files(folder: Path) -> list[Path]:
    return visible_files(folder, (".txt",)) if folder.is_dir() else []


def _flags(file: Path, count: int, default: int = 0) -> np.ndarray:
    """Reads ``count`` flags from numbers separated by commas, spaces or lines."""
    if not file.is_file():
        return np.full(count, bool(default))
    values = np.array([float(v) for v in re.split(r"[,\s]+", read_text(file).strip(" \n\t,"))]) > 0
    if len(values) != count:
        raise ValueError(f"{file} has {len(values)} labels for {count} boxes")
    return values


def _attributes(root: Path, folders: Iterable[str], name: str, columns: Sequence[str]) -> tuple[str, ...]:
    for folder in folders:
        for spelt in (name, name.lower(), name[:1].lower() + name[1:], name.replace("-", ".")):
            if (file := root / folder / f"{spelt}.txt").is_file():
                flags = _flags(file, len(columns))
                return tuple(column for column, flag in zip(columns, flags, strict=True) if flag)
    return ()
