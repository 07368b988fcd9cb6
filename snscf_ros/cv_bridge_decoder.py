# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Decodes the encodings that `encodings` does not know with cv_bridge, where that is installed and works.

cv_bridge gets rows without padding and in this machine's byte order: it misreads rows whose padding is not a multiple
of a pixel, and fails on big-endian images under NumPy 2.
"""

from __future__ import annotations

import array
import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sensor_msgs.msg import Image

_CHECK = """
import numpy as np
from cv_bridge import CvBridge
bridge = CvBridge()
pixels = np.arange(2 * 4 * 3, dtype=np.uint16).reshape(2, 4, 3) * 2570
converted = bridge.imgmsg_to_cv2(bridge.cv2_to_imgmsg(pixels, "rgb16"), "bgr8")
expected = pixels[:, :, ::-1] / 257
assert converted.shape == (2, 4, 3) and converted.dtype == np.uint8
assert np.abs(converted - expected).max() <= 1
"""


class Bridge:
    """The cv_bridge that is installed."""

    def __init__(self) -> None:
        from cv_bridge import CvBridge

        self._bridge = CvBridge()

    def bytes_per_pixel(self, encoding: str) -> int | None:
        """Return the bytes of a pixel in a row, or None where cv_bridge does not know the encoding."""
        layout = self._layout(encoding)
        return layout and layout[0].itemsize * layout[1]

    def convert(self, message: Image) -> npt.NDArray[Any]:
        """Convert a message whose sizes fit to bgr8. Raises whatever cv_bridge raises."""
        from sensor_msgs.msg import Image

        layout = self._layout(message.encoding)
        assert layout is not None, "only encodings that cv_bridge knows come here"
        sample, channels = layout
        rows: npt.NDArray[Any] = np.ndarray(
            (message.height, message.width * channels),
            sample.newbyteorder(">" if message.is_bigendian else "<"),
            message.data,
            0,
            (message.step, sample.itemsize),
        )
        tight = Image(height=message.height, width=message.width, encoding=message.encoding)
        tight.step = rows.shape[1] * sample.itemsize
        tight.is_bigendian = int(sys.byteorder == "big")
        tight.data = array.array("B", rows.astype(sample).tobytes())
        return np.asarray(self._bridge.imgmsg_to_cv2(tight, "bgr8"))

    def _layout(self, encoding: str) -> tuple[np.dtype[Any], int] | None:
        """Return the type of a sample, and the samples of a pixel."""
        try:
            sample, channels = self._bridge.encoding_to_dtype_with_channels(encoding)
        except Exception:  # cv_bridge raises its own or KeyError
            return None
        return np.dtype(sample), channels


_found: list[Bridge | None] = []


def find_bridge() -> Bridge | None:
    """Return cv_bridge if it is installed and works here, else None. Each process finds out once.

    A cv_bridge built for another NumPy may fail at import, or crash the process. So another process first converts a
    tiny image with it.
    """
    if not _found:
        _found.append(Bridge() if importlib.util.find_spec("cv_bridge") and _passes_check() else None)
    return _found[0]


def _passes_check() -> bool:
    check = subprocess.run(
        [sys.executable, "-c", _CHECK], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    return check.returncode == 0
