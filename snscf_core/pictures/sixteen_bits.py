# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Brings samples of 16 bits to 8, alike for messages, files and training."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt


def stretched_to_8_bit(samples: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Stretch 16-bit samples H x W (x channels) to 8 bits, all channels alike.

    This suits intensities of any depth (10, 12, 14, 16 bits), thermal images and depth in millimetres. The stretch is
    linear from the 0.5th to the 99.5th percentile of the samples that are not zero (zero means "no depth"). It spans at
    least 256 counts, so that noise is not amplified and 8-bit data in 16 bits keep their contrast.
    """
    # an odd stride meets all four colours of a Bayer mosaic
    stride = int(np.sqrt(samples.size / 20_000)) | 1
    sample = samples[::stride, ::stride]
    sample = sample[sample > 0]
    low, high = np.percentile(sample, (0.5, 99.5)) if sample.size else (0.0, 0.0)
    span = max(256.0, float(high) - float(low))
    if high - low < span:
        low = max(0.0, (float(low) + float(high) - span) / 2)
    native = np.ascontiguousarray(samples, np.uint16)
    floor = np.uint16(round(float(low)))
    # saturates to 255
    return cv2.convertScaleAbs(np.maximum(native, floor) - floor, alpha=255.0 / span)  # type: ignore[return-value]
