# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""An image message that has come from a camera or a bag, and the counts of what became of such images."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from snscf_ros import images
from snscf_ros.stamps import nanoseconds

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image
    from std_msgs.msg import Header

ImageMessage: TypeAlias = "Image | CompressedImage"


@dataclass(frozen=True)
class ReceivedImage:
    """One image message and when it was received (monotonic seconds)."""

    message: ImageMessage
    received: float = field(default_factory=time.monotonic)

    @property
    def header(self) -> Header:
        return self.message.header

    @property
    def stamp_ns(self) -> int:
        """The header's stamp in nanoseconds; 0 where the camera gives none."""
        return nanoseconds(self.message.header.stamp)

    @property
    def size(self) -> int:
        """Bytes of pixels or of the compressed file."""
        return len(self.message.data)

    def check(self, max_pixels: int) -> None:
        """Raise ImageRejected if the message cannot be used. Decodes nothing."""
        if self._compressed:
            images.check_compressed(self.message, max_pixels)
        else:
            images.check_image(self.message, max_pixels)

    def frame(self) -> images.Frame:
        """Decode the H x W x 3 uint8 BGR frame. Raises ImageRejected if that fails."""
        if self._compressed:
            return images.frame_from_compressed(self.message)
        return images.frame_from_image(self.message)

    @property
    def _compressed(self) -> bool:
        # a CompressedImage names its format and an Image its encoding; a bag's messages have classes of their own
        return hasattr(self.message, "format")


@dataclass(frozen=True)
class Counts:
    """What became of a camera's images since the node was activated or reset."""

    received: int = 0
    processed: int = 0
    dropped: int = 0  # overtaken by a newer one, or replaced before their turn
    rejected: int = 0  # could not be used
