# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes JPEG pictures for browsers from image messages: passes JPEGs through, and encodes the others."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2

from snscf_ros import images
from snscf_ros.operator.settings import PageSettings

if TYPE_CHECKING:
    from snscf_ros.images import ImageMessage

_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class Picture:
    """Holds one image of a camera as JPEG.

    camera: name of the camera, empty for a single unnamed one.
    stamp: of the image, in nanoseconds.
    size: (width, height) of the image in pixels, in which boxes count; None where the JPEG is the image itself.
    jpeg: the file; its picture may be smaller than the image.
    """

    camera: str
    stamp: int
    size: tuple[int, int] | None
    jpeg: bytes

    def packed(self, frame: int, round_trip: float) -> bytes:
        """Return the binary message for a browser: length of the header (uint32, little-endian), JSON header, JPEG.

        frame: number of the picture among those sent to this browser, which acknowledges it.
        round_trip: seconds that the last acknowledgement took, so that the page can say how old its picture is.
        """
        width, height = self.size or (0, 0)
        header = json.dumps(
            {
                "frame": frame,
                "camera": self.camera,
                "stamp": str(self.stamp),
                "width": width,
                "height": height,
                "round_trip": round(round_trip, 4),
            }
        ).encode()
        return b"".join((struct.pack("<I", len(header)), header, self.jpeg))


def picture(message: ImageMessage, camera: str, stamp: int, settings: PageSettings) -> Picture:
    """Make the picture of an image message. Raises ImageRejected if the message cannot be used or encoded.

    A JPEG is passed through as it is if `settings.pass_through`, unless it holds a Bayer mosaic. Everything else is
    decoded, made smaller if it is wider than `settings.max_width`, and encoded.
    """
    decode = images.check(message, settings.max_image_pixels)
    if settings.pass_through and hasattr(message, "format") and not images.holds_mosaic(message):
        data = bytes(message.data)
        if data.startswith(_JPEG):
            return Picture(camera, stamp, None, data)
    frame = decode()
    height, width = frame.shape[:2]
    if width > settings.max_width:
        smaller = (settings.max_width, max(1, round(height * settings.max_width / width)))
        frame = cv2.resize(frame, smaller, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    try:
        _, encoded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, settings.quality])
    except cv2.error as error:
        raise images.ImageRejected(f"{width} x {height} pixels cannot be encoded: {error.err}") from error
    return Picture(camera, stamp, (width, height), encoded.tobytes())
