# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Turns image messages into BGR frames, and frames into image messages.

A message is checked against its own header before anything is allocated for it. One that does not fit raises
`ImageRejected` with the number that is wrong.

`encodings` converts the usual encodings: rosbags-image ignores `step` and has no rosdep key, and cv_bridge knows fewer.
Any other encoding is left to cv_bridge (`cv_bridge_decoder`).

Any object with the fields of the ROS message can be read, so messages of a bag need no ROS. Only the functions that
make messages import ROS.
"""

from __future__ import annotations

import array
import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np

from snscf_core.crops import MIN_FRAME_SIDE
from snscf_core.pictures.decoding import as_frame, decode_as_stored, picture_size
from snscf_ros.cv_bridge_decoder import find_bridge
from snscf_ros.encodings import ENCODINGS, Encoding, Frame, bgr_from_mosaic

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image

ImageMessage: TypeAlias = "Image | CompressedImage"


class ImageRejected(ValueError):
    """An image message that cannot be used; the text names what is wrong with it."""


def check(message: ImageMessage, max_pixels: int) -> Callable[[], Frame]:
    """Check that a message can be used, decoding nothing, and return what decodes it.

    The function returned makes the H x W x 3 uint8 BGR frame and raises ImageRejected where that fails. Raises
    ImageRejected if the message cannot be used.
    """
    return check_compressed(message, max_pixels) if _is_compressed(message) else check_image(message, max_pixels)


def decode(message: ImageMessage) -> Frame:
    """Decode a message that `check` has passed to the H x W x 3 uint8 BGR frame. Raises ImageRejected if that fails."""
    return frame_from_compressed(message) if _is_compressed(message) else frame_from_image(message)


def image_size(message: ImageMessage) -> tuple[int, int]:
    """Return width and height of the image in a message that `check` has passed, without decoding it."""
    if not _is_compressed(message):
        return message.width, message.height
    found = picture_size(bytes(message.data))
    assert found is not None, "check lets only JPEG and PNG pass"
    return found


def _is_compressed(message: ImageMessage) -> bool:
    # a CompressedImage names its format and an Image its encoding; a bag's messages have classes of their own
    return hasattr(message, "format")


def check_image(message: Image, max_pixels: int) -> Callable[[], Frame]:
    """Check that the header of an Image describes its data and a frame that can be tracked in; return its decoder.

    Raises ImageRejected.
    """
    name, height, width, step, size = message.encoding, message.height, message.width, message.step, len(message.data)
    _check_size(width, height, max_pixels)
    encoding = ENCODINGS.get(name) or Encoding(_pixel_of_cv_bridge(name), _frame_by_cv_bridge)
    if step < width * encoding.bytes_per_pixel:
        row = width * encoding.bytes_per_pixel
        raise ImageRejected(f"step is {step}, but {width} pixels of '{name}' take {row} bytes a row")
    for field in encoding.even:
        if getattr(message, field) % 2:
            raise ImageRejected(f"{field} {getattr(message, field)} is odd; pixels of {name} share their colours")
    if size != step * height * encoding.rows:
        planes = "" if encoding.rows == 1 else " and the planes of colour behind them"
        raise ImageRejected(
            f"data holds {size} bytes, but {height} rows of step {step}{planes} are {step * height * encoding.rows}"
        )
    return functools.partial(encoding.frame, message)


def frame_from_image(message: Image) -> Frame:
    """Decode an Image that `check_image` has passed to H x W x 3 uint8 BGR; a view of its data where that is BGR."""
    encoding = ENCODINGS.get(message.encoding)
    return encoding.frame(message) if encoding else _frame_by_cv_bridge(message)


def check_compressed(message: CompressedImage, max_pixels: int) -> Callable[[], Frame]:
    """Check that a CompressedImage is a whole JPEG or PNG of a size that can be tracked in; return its decoder.

    Raises ImageRejected.
    """
    if "compresseddepth" in message.format.lower():
        raise ImageRejected(
            f"format '{message.format}' is compressed depth, which holds distances; publish an image to track in"
        )
    data = bytes(message.data)
    try:
        size = picture_size(data)
    except ValueError as error:
        raise ImageRejected(str(error)) from error
    if size is None:
        raise ImageRejected(
            f"format '{message.format}', {len(data)} bytes beginning with '{data[:4].hex()}': neither JPEG nor PNG"
        )
    _check_size(*size, max_pixels)
    return functools.partial(frame_from_compressed, message)


def frame_from_compressed(message: CompressedImage) -> Frame:
    """Decode a CompressedImage that `check_compressed` has passed to H x W x 3 uint8 BGR.

    The pixels stay as the camera sent them: an orientation in the file's metadata is not applied. 16-bit grey is
    scaled as in Image messages; a Bayer mosaic in a grey JPEG ("bayer_rggb8; jpeg compressed") is demosaiced.
    Raises ImageRejected, also where the file can be decoded but its pixels are damaged.
    """
    try:
        image = decode_as_stored(bytes(message.data))
    except ValueError as error:
        raise ImageRejected(f"format '{message.format}': {error}") from error
    mosaic = _MOSAIC.match(message.format)
    return bgr_from_mosaic(image, mosaic[1].lower()) if mosaic and image.ndim == 2 else as_frame(image)


def holds_mosaic(message: CompressedImage) -> bool:
    """Return whether the file of a CompressedImage holds a Bayer mosaic, which looks grey until it is demosaiced."""
    return _MOSAIC.match(message.format) is not None


def _check_size(width: int, height: int, max_pixels: int) -> None:
    for name, value in (("width", width), ("height", height)):
        if value < MIN_FRAME_SIDE:
            raise ImageRejected(f"{name} is {value} pixels, at least {MIN_FRAME_SIDE} are needed")
    if width * height > max_pixels:
        raise ImageRejected(
            f"{width} x {height} = {width * height} pixels are more than max_image_pixels = {max_pixels}"
        )


# the format of a CompressedImage whose file holds a Bayer mosaic
_MOSAIC = re.compile(r"\s*bayer_(rggb|bggr|gbrg|grbg)(?:8|16)\s*(?:;|$)", re.IGNORECASE)


class OutgoingImage:
    """An Image message that is filled in place, so that publishing a frame copies it once.

    Assigning an array or bytes to `message.data` makes rclpy check every byte (30-70 ms at 640x480). So the buffer is
    assigned once, and again only when the size changes.
    """

    def __init__(self) -> None:
        from sensor_msgs.msg import Image

        self.message = Image(encoding="bgr8", is_bigendian=0)
        self._view: Frame = np.empty((0, 0, 3), np.uint8)

    def view(self, height: int, width: int) -> Frame:
        """Return the message's pixels as a writable H x W x 3 array."""
        if self._view.shape[:2] != (height, width):
            self.message.height, self.message.width, self.message.step = height, width, 3 * width
            self.message.data = array.array("B", bytes(3 * width * height))
            # the setter may copy: the view must be of what the message holds now
            self._view = np.frombuffer(self.message.data, np.uint8).reshape(height, width, 3)
        return self._view


def jpeg_message(frame: Frame, quality: int) -> CompressedImage:
    """Make a JPEG CompressedImage of a BGR frame, with the format text that image_transport uses."""
    from sensor_msgs.msg import CompressedImage

    _, encoded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
    data = array.array("B")
    data.frombytes(encoded.data)
    message = CompressedImage(format="bgr8; jpeg compressed bgr8")
    message.data = data
    return message


def _pixel_of_cv_bridge(encoding: str) -> int:
    """Return the bytes of a pixel. Raises ImageRejected where there is no cv_bridge that knows the encoding."""
    cv_bridge = find_bridge()
    pixel = cv_bridge.bytes_per_pixel(encoding) if cv_bridge else None
    if pixel is None:
        raise ImageRejected(f"encoding '{encoding}' is not supported; known are {', '.join(ENCODINGS)}")
    return pixel


def _frame_by_cv_bridge(message: Image) -> Frame:
    cv_bridge = find_bridge()
    assert cv_bridge is not None, "check_image lets only known encodings pass"
    try:
        frame = cv_bridge.convert(message)
    except Exception as error:  # cv_bridge raises its own, OpenCV's, NumPy's and KeyError
        raise ImageRejected(f"encoding '{message.encoding}' cannot be converted by cv_bridge: {error}") from error
    if frame.shape != (message.height, message.width, 3) or frame.dtype != np.uint8:
        raise ImageRejected(f"encoding '{message.encoding}' became {frame.dtype} of shape {frame.shape}")
    return frame
