# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads the benchmarks, in the layouts in which they are published. Nothing is ever downloaded.

Every reader takes the folder that a data set was unpacked into, and the names of the sequences to read, None for all. A
folder without the data set raises FileNotFoundError with the expected tree. Missing sequences are named in
`Dataset.missing`, those that can't be used in `Dataset.unreadable`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from ..boxes import Array
from ..pictures.files import gap_in, numbered_files, visible_files
from ..texts import read_text
from .metrics import RULES, Rules
from .sequence_lists import LASOT_TEST, OTB_2013, OTB_2015, OTB_FRAMES, TB_50, UAV123_PARTS
from .sequences import ImageSequence, read_sequence, read_truth, sequence_folders

# Columns of the files of attributes (0 or 1 for each sequence), from the kits' scripts that plot them.
_OTB_ATTRIBUTES = "IV OPR SV OCC DEF MB FM IPR OV BC LR".split()
_UAV123_ATTRIBUTES = "SV ARC LR FM FOC POC OV BC IV VC CM SOB".split()
_LASOT_ATTRIBUTES = "IV POC DEF MB CM ROT BC VC SV FOC FM OV LR ARC".split()


@dataclass(frozen=True)
class Dataset:
    """Holds sequences and the rules by which they are scored.

    missing: names of sequences that are not there.
    unreadable: names of sequences that can't be used, with the reason.
    """

    name: str
    rules: Rules
    sequences: tuple[ImageSequence, ...]
    missing: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)


_Wanted = Sequence[str] | None
# The name of a sequence, and what reads it: None if it is missing.
_Entry = tuple[str, Callable[[], ImageSequence | None]]


def read_dataset(name: str, root: Path, names: Sequence[str] | None = None) -> Dataset:
    """Reads a data set of `DATASETS`, or some of its sequences; the others are not looked at.

    Raises as the module says. Raises ValueError for unknown names, and if no sequence can be used.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; there are {', '.join(DATASETS)}")
    dataset = DATASETS[name](Path(root), names)
    by_name = {sequence.name: sequence for sequence in dataset.sequences}
    if unknown := [wanted for wanted in names or () if wanted not in by_name and wanted not in dataset.unreadable]:
        whole = DATASETS[name](Path(root), None)
        there = sorted([*(sequence.name for sequence in whole.sequences), *whole.unreadable])
        raise ValueError(f"{root} has no sequence {unknown[0]!r}; it has {', '.join(there)}")
    if not by_name:
        raise ValueError(next(iter(dataset.unreadable.values())))
    if names is None:
        return dataset
    chosen = tuple(by_name[wanted] for wanted in dict.fromkeys(names) if wanted in by_name)
    return replace(dataset, sequences=chosen, missing=())


def _read(name: str, rules: Rules, entries: Iterable[_Entry], wanted: _Wanted) -> Dataset:
    """Reads the wanted sequences, all if None. One that can't be used does not stop the others."""
    found, missing, unreadable = [], [], {}
    for sequence, read in entries:
        if wanted is not None and sequence not in wanted:
            continue
        try:
            one = read()
        except (ValueError, OSError) as error:
            unreadable[sequence] = str(error)
            continue
        if one is None:
            missing.append(sequence)
        else:
            found.append(one)
    return Dataset(name, rules, tuple(found), tuple(missing), unreadable)


def _plain(root: Path, wanted: _Wanted) -> Dataset:
    entries = [(folder.name, partial(read_sequence, folder)) for folder in sequence_folders(root)]
    return _read("sequences", RULES["plain"], entries, wanted)


def _otb(name: str, listed: Iterable[str]) -> Callable[[Path, _Wanted], Dataset]:
    def read(root: Path, wanted: _Wanted) -> Dataset:
        found = _read(name, RULES["otb"], [(target, partial(_otb_sequence, root, target)) for target in listed], wanted)
        return _some(found, root, name, "Basketball/img/0001.jpg, ... and Basketball/groundtruth_rect.txt", wanted)

    return read


def _otb_sequence(root: Path, target: str) -> ImageSequence | None:
    video, _, number = target.partition("-")
    folder = root / video
    truth = folder / (f"groundtruth_rect.{number}.txt" if number else "groundtruth_rect.txt")
    if not truth.is_file() or not (folder / "img").is_dir():
        return None
    boxes, images = read_truth(truth), numbered_files(folder / "img")
    if video in OTB_FRAMES:
        first, last = OTB_FRAMES[video]
        # some copies also annotate frames before the first that counts
        boxes = boxes[max(0, len(boxes) - (last - first + 1)) :]
        images = {n: file for n, file in images.items() if first <= n <= last}
    attributes = _attributes(root, ("anno/att", "att"), target, _OTB_ATTRIBUTES)
    return _sequence(target, truth, list(images.values()), boxes, attributes)


def _uav123(name: str, step: int) -> Callable[[Path, _Wanted], Dataset]:
    folder = "UAV123_10fps" if step == 3 else "UAV123"

    def sequence(root: Path, truth: Path) -> ImageSequence | None:
        video, _, part = truth.stem.rpartition("_")
        if part.isdigit() and video in UAV123_PARTS:
            first, last = ((n - 1) // step + 1 for n in UAV123_PARTS[video][int(part) - 1])
        else:
            video, first, last = truth.stem, 1, None
        images = numbered_files(root / "data_seq" / folder / video)
        if not images:
            return None
        boxes = read_truth(truth)
        files = [file for n, file in images.items() if first <= n <= (last or first + len(boxes) - 1)]
        attributes = _attributes(root, (f"anno/{folder}/att", "anno/att"), truth.stem, _UAV123_ATTRIBUTES)
        return _sequence(truth.stem, truth, files, boxes, attributes)

    def read(root: Path, wanted: _Wanted) -> Dataset:
        truths = _truth_files(root / "anno" / folder)
        entries = [(truth.stem, partial(sequence, root, truth)) for truth in truths]
        tree = f"data_seq/{folder}/bike1/000001.jpg, ... and anno/{folder}/bike1.txt"
        return _some(_read(name, RULES["uav123"], entries, wanted), root, name, tree, wanted)

    return read


def _lasot(root: Path, wanted: _Wanted) -> Dataset:
    listed = root / "testing_set.txt"
    names = read_text(listed).split() if listed.is_file() else LASOT_TEST
    found = _read("lasot", RULES["lasot"], [(name, partial(_lasot_sequence, root, name)) for name in names], wanted)
    tree = "airplane/airplane-1/img/00000001.jpg, ... and airplane/airplane-1/groundtruth.txt"
    return _some(found, root, "LaSOT", tree, wanted)


def _lasot_sequence(root: Path, name: str) -> ImageSequence | None:
    folder = root / name.rpartition("-")[0] / name
    folder = folder if folder.is_dir() else root / name
    truth = folder / "groundtruth.txt"
    if not truth.is_file() or not (folder / "img").is_dir():
        return None
    boxes = read_truth(truth)
    gone = _flags(folder / "full_occlusion.txt", len(boxes)) | _flags(folder / "out_of_view.txt", len(boxes))
    boxes[gone] = np.nan
    attributes = _attributes(root, ("annos/att", "att"), name, _LASOT_ATTRIBUTES)
    return _sequence(name, truth, list(numbered_files(folder / "img").values()), boxes, attributes)


def _got10k(split: str) -> Callable[[Path, _Wanted], Dataset]:
    def read(root: Path, wanted: _Wanted) -> Dataset:
        folder = root / split if (root / split).is_dir() else root
        listed = folder / "list.txt"
        names = read_text(listed).split() if listed.is_file() else sorted(f.name for f in folder.glob("GOT-10k_*"))
        entries = [(name, partial(_got10k_sequence, folder / name)) for name in names]
        tree = f"{split}/list.txt, {split}/NAME/00000001.jpg, ... and {split}/NAME/groundtruth.txt"
        found = _read(f"got10k-{split}", RULES["got10k"], entries, wanted)
        return _some(found, root, f"GOT-10k ({split})", tree, wanted)

    return read


def _got10k_sequence(folder: Path) -> ImageSequence | None:
    truth = folder / "groundtruth.txt"
    if not truth.is_file():
        return None
    boxes, files = read_truth(truth), list(numbered_files(folder).values())
    if len(boxes) == 1 < len(files):
        # in the test set, only the benchmark's server knows the other boxes
        boxes = np.concatenate([boxes, np.full((len(files) - 1, 4), np.nan)])
    # cover is the visible share of the target, from 0 (nothing) to 8 (all); the first box is always given
    hidden = ~_flags(folder / "cover.label", len(boxes), default=1)
    hidden |= _flags(folder / "absence.label", len(boxes))
    hidden[:1] = False
    boxes[hidden] = np.nan
    return _sequence(folder.name, truth, files, boxes)


def _vot(root: Path, wanted: _Wanted) -> Dataset:
    from .vot import listed_names, read_vot_sequence

    entries = [(name, partial(read_vot_sequence, root / name)) for name in listed_names(root)]
    return _read("vot", RULES["plain"], entries, wanted)


DATASETS: Mapping[str, Callable[[Path, _Wanted], Dataset]] = {
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


def _some(found: Dataset, root: Path, name: str, tree: str, wanted: _Wanted) -> Dataset:
    """Returns the data set. Raises FileNotFoundError if all of it was wanted, and nothing is there."""
    if wanted is None and not found.sequences and not found.unreadable:
        raise FileNotFoundError(f"{root} does not hold {name}: expected {root}/ with {tree}")
    return found


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
