# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds pictures that show a scene on which trackers are judged, by thumbnails."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from snscf_core.crops import Frame

ALIKE = 0.97  # least correlation of two thumbnails of the same scene
FLAT = 4.0  # standard deviation of the grey values below which a picture is too plain to compare


class Protected:
    """Holds scenes that must not be trained on."""

    def __init__(self, thumbnails: npt.NDArray[np.generic]) -> None:
        """Takes thumbnails, N x S x S grey values. Raises ValueError for another shape."""
        if thumbnails.ndim != 3 or thumbnails.shape[1] != thumbnails.shape[2] or not len(thumbnails):
            raise ValueError(f"thumbnails must be N x S x S, got shape {thumbnails.shape}")
        self._side = thumbnails.shape[1]
        self._units = _units(thumbnails)

    @classmethod
    def load(cls, file: Path) -> Protected:
        """Reads the array ``thumbs`` of an .npz file. Raises OSError or ValueError if it is missing."""
        with np.load(file) as arrays:
            if "thumbs" not in arrays:
                raise ValueError(f"{file} has no array named thumbs")
            return cls(arrays["thumbs"])

    def likeness(self, picture: Frame) -> float:
        """Returns the highest correlation of a picture, upright or mirrored, with a protected one; 0 if it is plain."""
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        thumbnail = cv2.resize(grey, (self._side, self._side), interpolation=cv2.INTER_AREA)
        if thumbnail.std() < FLAT:
            return 0.0
        both = _units(np.stack([thumbnail, thumbnail[:, ::-1]]))
        return float((self._units @ both.T).max())


def _units(thumbnails: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
