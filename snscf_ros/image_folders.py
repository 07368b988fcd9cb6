# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Opens a folder of images as a sequence, with or without true boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snscf_core.evaluation.sequences import IMAGE_SUFFIXES, ImageSequence, read_sequence


def open_folder(folder: Path) -> tuple[ImageSequence, bool]:
    """Open a folder in OTB's layout, a folder of images, or a folder that holds them in `img`.

    Returns the sequence, whose boxes are NaN where none are given, and whether it has true boxes. The sequence is empty
    where there are no images. Raises what `read_sequence` raises for a damaged folder in OTB's layout.
    """
    images = folder / "img"
    if images.is_dir() and (folder / "groundtruth_rect.txt").is_file():
        return read_sequence(folder), True
    inside = images if images.is_dir() else folder
    files = tuple(sorted(file for file in inside.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES))
    return ImageSequence(folder.resolve().name, files, np.full((len(files), 4), np.nan)), False
