# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Packs data sets that are already on this machine, in the layouts that `snscf train` reads."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
from tqdm import tqdm

from snscf_core.data.images import Mask, read_image, read_mask
from snscf_core.data.readers import READERS, Clip

from .annotations import Annotated
from .output import About, Pack
from .sources import Source, Still, cut_to_picture


def add_data_set(pack: Pack, layout: str, folder: Path, frames: int) -> None:
    """Adds the clips and stills of a data set; longer clips keep ``frames`` evenly spaced frames.

    Raises OSError if the folder holds no data set of that layout.
    """
    problems: list[str] = []
    clips = READERS[layout](folder, problems)
    for problem in problems:
        pack.report(folder.name, problem)
    name = f"{layout}/{folder.name}"
    stills = sorted((clip for clip in clips if len(clip) == 1), key=lambda clip: clip.files[0])
    for file, objects in tqdm(groupby(stills, lambda clip: clip.files[0]), desc=f"{name} stills", disable=None):
        _add_still(pack, name, file, list(objects))
    for clip in tqdm([clip for clip in clips if len(clip) > 1], desc=f"{name} clips", disable=None):
        _add_clip(pack, name, clip, frames)


def _add_still(pack: Pack, name: str, file: Path, clips: list[Clip]) -> None:
    try:
        picture = read_image(file)
    except (OSError, ValueError) as error:
        pack.report(file.name, str(error))
        return
    objects = []
    for clip in clips:
        box = cut_to_picture(clip.boxes[0], picture.shape[1], picture.shape[0])
        if box is not None:
            x, y, w, h = box.tolist()
            objects.append(Annotated((x, y, w, h), "", _mask(pack, clip, 0, *picture.shape[:2])))
    if objects:
        source = Source(name, "stills", "", "coco", (), "see the data set")
        pack.add_still(source, Still(file.name, picture, objects))
    else:
        pack.report(file.name, "has no object")


def _add_clip(pack: Pack, name: str, clip: Clip, most: int) -> None:
    chosen = np.unique(np.linspace(0, len(clip) - 1, min(most, len(clip))).round().astype(int))
    kind = "box" if clip.masks is None else "mask"
    about = About(name, clip.files[0].parent.name, "see the data set", kind, clip.name, (), clip.name)
    if not np.isfinite(clip.boxes[chosen]).all(axis=1).any():
        pack.report(clip.name, "never shows its object")
        return
    writer = pack.clip(about, clip.boxes[chosen], 2)
    for number, frame in enumerate(chosen.tolist()):
        try:
            picture = read_image(clip.files[frame])
        except (OSError, ValueError) as error:
            pack.report(clip.files[frame].name, str(error))
            continue
        writer.add(number, picture, _mask(pack, clip, frame, *picture.shape[:2]))
    writer.finish()


def _mask(pack: Pack, clip: Clip, frame: int, height: int, width: int) -> Mask | None:
    mask = None if clip.masks is None else clip.masks[frame]
    try:
        return None if mask is None else read_mask(mask, height, width)
    except (OSError, ValueError) as error:
        pack.report(f"{clip.name} frame {frame}", str(error))
        return None
