# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Decodes the usual pixel layouts of `sensor_msgs/Image`: how large their data are, and the way to BGR.

Every decoder reads the message's data in place, by `step` and `is_bigendian`. So it skips padding behind a row, and
copies no row before its conversion. `bgr8` costs nothing: the frame is a view of the data.

Any object with the fields of the ROS message can be decoded, so messages of a bag need no ROS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from snscf_core.pictures.sixteen_bits import stretched_to_8_bit

if TYPE_CHECKING:
    from sensor_msgs.msg import Image

Frame = npt.NDArray[np.uint8]
Samples = npt.NDArray[Any]


@dataclass(frozen=True)
class Encoding:
    """One pixel layout.

    bytes_per_pixel: bytes of a pixel in a row of the first plane, the row that `step` measures.
    frame: makes the H x W x 3 uint8 BGR frame of a message whose sizes fit.
    rows: size of the data, all planes together, in units of `step * height` bytes.
    even: fields of the message that must be even numbers, because neighbouring pixels share their colours.
    """

    bytes_per_pixel: int
    frame: Callable[[Image], Frame]
    rows: Fraction = Fraction(1)
    even: tuple[str, ...] = ()


def bgr_from_mosaic(mosaic: Samples, pattern: str) -> Frame:
    """Demosaic H x W samples of 8 or 16 bits. pattern: the colours of the first two rows, such as "rggb"."""
    eight_bit = mosaic if mosaic.dtype == np.uint8 else stretched_to_8_bit(mosaic)
    return cv2.cvtColor(eight_bit, _DEMOSAIC[pattern])  # type: ignore[return-value]


# OpenCV names a Bayer pattern after the second row's second and third pixel, ROS after the first row's first two.
_DEMOSAIC = {
    "rggb": cv2.COLOR_BayerBG2BGR,
    "bggr": cv2.COLOR_BayerRG2BGR,
    "gbrg": cv2.COLOR_BayerGR2BGR,
    "grbg": cv2.COLOR_BayerGB2BGR,
}


def _plane(message: Image, channels: int, *, start: int = 0, height: int, width: int, step: int) -> Frame:
    """View the plane of the message's data that begins at byte `start` as height x width x channels."""
    return np.ndarray((height, width, channels), np.uint8, message.data, start, (step, channels, 1))


def _packed(message: Image, channels: int) -> Frame:
    return _plane(message, channels, height=message.height, width=message.width, step=message.step)


def _packed_16(message: Image, channels: int) -> npt.NDArray[np.uint16]:
    order = ">" if message.is_bigendian else "<"
    shape = (message.height, message.width, channels)
    return np.ndarray(shape, np.dtype(order + "u2"), message.data, 0, (message.step, 2 * channels, 2))


def _plain(channels: int, code: int | None = None) -> Encoding:
    def frame(message: Image) -> Frame:
        samples = _packed(message, channels)
        return samples if code is None else cv2.cvtColor(samples, code)  # type: ignore[return-value]

    return Encoding(channels, frame)


def _plain_16(channels: int, code: int | None = None) -> Encoding:
    def frame(message: Image) -> Frame:
        # an alpha channel must not take part in the stretch
        grey = stretched_to_8_bit(_packed_16(message, channels)[:, :, :3])
        return grey if code is None else cv2.cvtColor(grey, code)  # type: ignore[return-value]

    return Encoding(2 * channels, frame)


def _bayer(pattern: str, bits: int) -> Encoding:
    def frame(message: Image) -> Frame:
        samples = _packed(message, 1) if bits == 8 else _packed_16(message, 1)
        return bgr_from_mosaic(samples[:, :, 0], pattern)

    return Encoding(bits // 8, frame)


def _yuv_4_2_2(code: int) -> Encoding:
    """Describe a layout of one plane that holds Y and, in turn, U and V."""

    def frame(message: Image) -> Frame:
        return cv2.cvtColor(_packed(message, 2), code)  # type: ignore[return-value]

    return Encoding(2, frame, even=("width",))


def _nv_4_2_0(code: int) -> Encoding:
    """Describe a plane Y, then one of pairs U V (NV12) or V U (NV21) for two by two pixels; rows have equal `step`."""

    def frame(message: Image) -> Frame:
        height, width, step = message.height, message.width, message.step
        pairs = _plane(message, 2, start=step * height, height=height // 2, width=width // 2, step=step)
        return cv2.cvtColorTwoPlane(_packed(message, 1), pairs, code)  # type: ignore[return-value]

    return Encoding(1, frame, Fraction(3, 2), ("width", "height"))


def _frame_from_i420(message: Image) -> Frame:
    """Decode a plane Y, then U, then V, each for two by two pixels; rows of U and V take half of `step`."""
    height, width, step = message.height // 2, message.width // 2, message.step // 2
    size = message.step * message.height
    u, v = (
        _plane(message, 1, start=start, height=height, width=width, step=step) for start in (size, size + step * height)
    )
    pairs = cv2.merge([u, v])
    return cv2.cvtColorTwoPlane(_packed(message, 1), pairs, cv2.COLOR_YUV2BGR_NV12)  # type: ignore[return-value]


# From (Y, U, V, 1) to BGR: BT.601 with video range, as OpenCV converts the other YUV layouts.
_BT601 = np.array(
    [
        [1.164383, 2.017232, 0.0, -276.835824],
        [1.164383, -0.391762, -0.812968, 135.575312],
        [1.164383, 0.0, 1.596027, -222.921584],
    ]
)


def _frame_from_nv24(message: Image) -> Frame:
    """Decode a plane Y, then a plane of pairs U V for every pixel, whose rows take twice `step`."""
    height, width, step = message.height, message.width, message.step
    pairs = _plane(message, 2, start=step * height, height=height, width=width, step=2 * step)
    yuv = cv2.merge([_packed(message, 1), pairs])
    return cv2.transform(yuv, _BT601)  # type: ignore[return-value]


_UYVY = _yuv_4_2_2(cv2.COLOR_YUV2BGR_UYVY)
_YUYV = _yuv_4_2_2(cv2.COLOR_YUV2BGR_YUY2)
_I420 = Encoding(1, _frame_from_i420, Fraction(3, 2), ("width", "height", "step"))

# All names of sensor_msgs/image_encodings.hpp, Humble to Rolling, for colour and grey images; "yuv422" and
# "yuv422_yuy2" are its older names. It has no name for I420, which drivers call "yuv420" or "i420".
ENCODINGS: dict[str, Encoding] = {
    "bgr8": _plain(3),
    "8UC3": _plain(3),
    "rgb8": _plain(3, cv2.COLOR_RGB2BGR),
    "bgra8": _plain(4, cv2.COLOR_BGRA2BGR),
    "8UC4": _plain(4, cv2.COLOR_BGRA2BGR),
    "rgba8": _plain(4, cv2.COLOR_RGBA2BGR),
    "mono8": _plain(1, cv2.COLOR_GRAY2BGR),
    "8UC1": _plain(1, cv2.COLOR_GRAY2BGR),
    "bgr16": _plain_16(3),
    "16UC3": _plain_16(3),
    "rgb16": _plain_16(3, cv2.COLOR_RGB2BGR),
    "bgra16": _plain_16(4),
    "16UC4": _plain_16(4),
    "rgba16": _plain_16(4, cv2.COLOR_RGB2BGR),
    "mono16": _plain_16(1, cv2.COLOR_GRAY2BGR),
    "16UC1": _plain_16(1, cv2.COLOR_GRAY2BGR),
    "uyvy": _UYVY,
    "yuv422": _UYVY,
    "yuyv": _YUYV,
    "yuv422_yuy2": _YUYV,
    "nv12": _nv_4_2_0(cv2.COLOR_YUV2BGR_NV12),
    "nv21": _nv_4_2_0(cv2.COLOR_YUV2BGR_NV21),
    "nv24": Encoding(1, _frame_from_nv24, Fraction(3)),
    "yuv420": _I420,
    "i420": _I420,
    **{f"bayer_{pattern}{bits}": _bayer(pattern, bits) for bits in (8, 16) for pattern in _DEMOSAIC},
}
