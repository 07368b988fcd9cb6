"""Image messages to BGR frames, and frames to image messages.

A message is checked against its own header before anything is allocated for it; what does not fit raises
`ImageRejected` with the number that is wrong. `bgr8` costs nothing: the frame is a view of the message's buffer.

The conversions of the common encodings are our own. cv_bridge misreads rows whose padding is no multiple of the
channels and fails on big-endian images under NumPy 2, and rosbags-image ignores `step` and has no rosdep key. For the
encodings that are not in the table below (rgb16, bayer_*16, nv21, ...) cv_bridge is asked, where it is installed and
works with the NumPy and OpenCV at hand: see `cv_bridge_conversion`.

Any object with the fields of the ROS message will do to read from: messages of a bag need no ROS. Only what makes
messages for the node imports ROS, where it does so.
"""

from __future__ import annotations

import array
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image

Frame = npt.NDArray[np.uint8]

# below this many pixels on a side there is nothing to track in
SMALLEST_SIDE = 16


class ImageRejected(ValueError):
    """An image message that cannot be used; the text names what is wrong with it."""


class Conversion(Protocol):
    """Turns a checked Image message into an H x W x 3 uint8 BGR frame."""

    def __call__(self, message: Image) -> Frame: ...


@dataclass(frozen=True)
class Encoding:
    """One pixel layout: size of a pixel in bytes, and the way from H x W x channels samples to BGR."""

    bytes_per_pixel: int
    to_bgr: Callable[[npt.NDArray[Any]], Frame]
    even_width: bool = False

    @property
    def is_16_bit(self) -> bool:
        return self.to_bgr is _bgr_from_16_bit


def check_image(message: Image, max_pixels: int) -> None:
    """Raise ImageRejected unless the header of an Image describes its data and a frame that can be tracked in."""
    height, width, step, size = message.height, message.width, message.step, len(message.data)
    _check_size(width, height, max_pixels)
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        if cv_bridge_conversion() is None:
            raise ImageRejected(f"encoding '{message.encoding}' is not supported; known are {', '.join(ENCODINGS)}")
        needed = width
    else:
        needed = width * encoding.bytes_per_pixel
        if encoding.even_width and width % 2:
            raise ImageRejected(f"width {width} is odd; {message.encoding} holds pairs of pixels")
    if step < needed:
        raise ImageRejected(f"step is {step}, but {width} pixels of '{message.encoding}' take {needed} bytes a row")
    if size != step * height:
        raise ImageRejected(f"data holds {size} bytes, but {height} rows of step {step} are {step * height}")


def frame_from_image(message: Image) -> Frame:
    """The H x W x 3 uint8 BGR frame of an Image that `check_image` has passed; a view of its data where it is BGR."""
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        return _frame_by_cv_bridge(message)
    if encoding.is_16_bit:
        samples: npt.NDArray[Any] = np.ndarray(
            (message.height, message.width),
            np.dtype(np.uint16).newbyteorder(">" if message.is_bigendian else "<"),
            buffer=message.data,
            strides=(message.step, 2),
        )
    else:
        channels = encoding.bytes_per_pixel
        samples = np.ndarray(
            (message.height, message.width, channels),
            np.uint8,
            buffer=message.data,
            strides=(message.step, channels, 1),
        )
    return encoding.to_bgr(samples)


def _bgr_from_bgr(samples: npt.NDArray[Any]) -> Frame:
    return samples


def _bgr_by(code: int) -> Callable[[npt.NDArray[Any]], Frame]:
    def convert(samples: npt.NDArray[Any]) -> Frame:
        single = samples[:, :, 0] if samples.shape[2] == 1 else samples
        return cv2.cvtColor(single, code)  # type: ignore[return-value]

    return convert


def _bgr_from_16_bit(samples: npt.NDArray[Any]) -> Frame:
    """Grey from 16 bits, for intensities of any depth (10, 12, 14, 16 bits), thermal images and depth in millimetres.

    Linear from the 0.5th to the 99.5th percentile of the pixels that are not zero (zero means "no depth"), but over
    no less than 256 counts, so that noise is not blown up and 8-bit data in 16 bits keep their contrast.
    """
    stride = max(1, int(np.sqrt(samples.size / 20_000)))
    sample = samples[::stride, ::stride]
    sample = sample[sample > 0]
    low, high = np.percentile(sample, (0.5, 99.5)) if sample.size else (0.0, 0.0)
    span = max(256.0, float(high) - float(low))
    if high - low < span:
        low = max(0.0, (float(low) + float(high) - span) / 2)
    native = np.ascontiguousarray(samples, np.uint16)
    floor = np.uint16(round(float(low)))
    # saturates to 255
    grey = cv2.convertScaleAbs(np.maximum(native, floor) - floor, alpha=255.0 / span)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)  # type: ignore[return-value]


# OpenCV names a Bayer pattern after the second row's second and third pixel, ROS after the first row's first two:
# ROS's rggb is OpenCV's BG. The two plain "yuv422" names are deprecated synonyms.
ENCODINGS: dict[str, Encoding] = {
    "bgr8": Encoding(3, _bgr_from_bgr),
    "8UC3": Encoding(3, _bgr_from_bgr),
    "rgb8": Encoding(3, _bgr_by(cv2.COLOR_RGB2BGR)),
    "bgra8": Encoding(4, _bgr_by(cv2.COLOR_BGRA2BGR)),
    "8UC4": Encoding(4, _bgr_by(cv2.COLOR_BGRA2BGR)),
    "rgba8": Encoding(4, _bgr_by(cv2.COLOR_RGBA2BGR)),
    "mono8": Encoding(1, _bgr_by(cv2.COLOR_GRAY2BGR)),
    "8UC1": Encoding(1, _bgr_by(cv2.COLOR_GRAY2BGR)),
    "mono16": Encoding(2, _bgr_from_16_bit),
    "16UC1": Encoding(2, _bgr_from_16_bit),
    "uyvy": Encoding(2, _bgr_by(cv2.COLOR_YUV2BGR_UYVY), even_width=True),
    "yuv422": Encoding(2, _bgr_by(cv2.COLOR_YUV2BGR_UYVY), even_width=True),
    "yuyv": Encoding(2, _bgr_by(cv2.COLOR_YUV2BGR_YUY2), even_width=True),
    "yuv422_yuy2": Encoding(2, _bgr_by(cv2.COLOR_YUV2BGR_YUY2), even_width=True),
    "bayer_rggb8": Encoding(1, _bgr_by(cv2.COLOR_BayerBG2BGR)),
    "bayer_bggr8": Encoding(1, _bgr_by(cv2.COLOR_BayerRG2BGR)),
    "bayer_gbrg8": Encoding(1, _bgr_by(cv2.COLOR_BayerGR2BGR)),
    "bayer_grbg8": Encoding(1, _bgr_by(cv2.COLOR_BayerGB2BGR)),
}


def check_compressed(message: CompressedImage, max_pixels: int) -> None:
    """Raise ImageRejected unless a CompressedImage is a whole JPEG or PNG of a size that can be tracked in."""
    if "compresseddepth" in message.format.lower():
        raise ImageRejected(
            f"format '{message.format}' is compressed depth, which holds distances; publish an image to track in"
        )
    data = bytes(message.data)
    size = _jpeg_size(data) if data[:3] == b"\xff\xd8\xff" else _png_size(data) if data[:8] == _PNG else None
    if size is None:
        raise ImageRejected(
            f"format '{message.format}', {len(data)} bytes beginning with '{data[:4].hex()}': neither JPEG nor PNG"
        )
    _check_size(*size, max_pixels)


def frame_from_compressed(message: CompressedImage) -> Frame:
    """The H x W x 3 uint8 BGR frame of a CompressedImage that `check_compressed` has passed.

    The pixels stay as the camera sent them: an orientation in the file's metadata is not applied. 16-bit grey is
    scaled as in Image messages; a Bayer mosaic in a grey JPEG ("bayer_rggb8; jpeg compressed") is demosaiced.
    """
    buffer = np.frombuffer(message.data, np.uint8)
    mosaic = message.format.partition(";")[0].strip().lower()
    kind = cv2.IMREAD_UNCHANGED if buffer[0] == _PNG[0] or mosaic.startswith("bayer_") else cv2.IMREAD_COLOR
    try:
        image = cv2.imdecode(buffer, kind | cv2.IMREAD_IGNORE_ORIENTATION if kind >= 0 else kind)
    except cv2.error as error:
        raise ImageRejected(f"{buffer.size} bytes of '{message.format}' cannot be decoded: {error.err}") from error
    if image is None:
        raise ImageRejected(f"{buffer.size} bytes of '{message.format}' cannot be decoded")
    if image.dtype == np.uint16:
        return _bgr_from_16_bit(image) if image.ndim == 2 else _bgr((image[:, :, :3] // 256).astype(np.uint8))
    if image.ndim == 2 and mosaic in ENCODINGS and mosaic.startswith("bayer_"):
        return ENCODINGS[mosaic].to_bgr(image[:, :, None])
    return _bgr(image)


def _bgr(image: npt.NDArray[Any]) -> Frame:
    """8-bit grey, BGR or BGRA as BGR."""
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)  # type: ignore[return-value]
    return np.ascontiguousarray(image[:, :, :3])


def _check_size(width: int, height: int, max_pixels: int) -> None:
    for name, value in (("width", width), ("height", height)):
        if value < SMALLEST_SIDE:
            raise ImageRejected(f"{name} is {value} pixels, at least {SMALLEST_SIDE} are needed")
    if width * height > max_pixels:
        raise ImageRejected(
            f"{width} x {height} = {width * height} pixels are more than max_image_pixels = {max_pixels}"
        )


_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
# start-of-frame markers C0..CF hold the size, but for the tables C4 (Huffman), C8 (JPG) and CC (arithmetic)
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_MOST_SEGMENTS = 1024


def _png_size(data: bytes) -> tuple[int, int]:
    if len(data) < 33 or data[12:16] != b"IHDR" or _PNG_END not in data[-4096:]:
        raise ImageRejected(f"PNG is cut off after {len(data)} bytes")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height from the frame header; raises ImageRejected where the file ends before its end marker."""
    position = 2
    for _ in range(_JPEG_MOST_SEGMENTS):
        while data[position : position + 2] == b"\xff\xff":
            position += 1
        if position + 9 > len(data) or data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker in _JPEG_FRAMES:
            if data.rfind(b"\xff\xd9") < position:
                break
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            return int.from_bytes(data[position + 7 : position + 9], "big"), height
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise ImageRejected(f"JPEG is damaged or cut off after {len(data)} bytes")


class OutgoingImage:
    """An Image message that is filled in place, so that publishing a frame copies it once.

    Assigning an array or bytes to `message.data` makes rclpy look at every byte (30-70 ms at 640x480); the buffer is
    assigned once, and again only when the size changes.
    """

    def __init__(self) -> None:
        from sensor_msgs.msg import Image

        self.message = Image(encoding="bgr8", is_bigendian=0)
        self._view: Frame = np.empty((0, 0, 3), np.uint8)

    def view(self, height: int, width: int) -> Frame:
        """The message's pixels as a writable H x W x 3 array."""
        if self._view.shape[:2] != (height, width):
            self.message.height, self.message.width, self.message.step = height, width, 3 * width
            self.message.data = array.array("B", bytes(3 * width * height))
            # the setter may copy: the view must be of what the message holds now
            self._view = np.frombuffer(self.message.data, np.uint8).reshape(height, width, 3)
        return self._view


def jpeg_message(frame: Frame, quality: int) -> CompressedImage:
    """A BGR frame as a JPEG CompressedImage, with the format text that image_transport uses."""
    from sensor_msgs.msg import CompressedImage

    _, encoded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
    data = array.array("B")
    data.frombytes(encoded.data)
    message = CompressedImage(format="bgr8; jpeg compressed bgr8")
    message.data = data
    return message


_CV_BRIDGE_CHECK = """
import numpy as np
from cv_bridge import CvBridge
bridge = CvBridge()
pixels = np.arange(2 * 4 * 3, dtype=np.uint16).reshape(2, 4, 3) * 2570
converted = bridge.imgmsg_to_cv2(bridge.cv2_to_imgmsg(pixels, "rgb16"), "bgr8")
expected = pixels[:, :, ::-1] / 257
assert converted.shape == (2, 4, 3) and converted.dtype == np.uint8
assert np.abs(converted - expected).max() <= 1
"""
_cv_bridge: list[Conversion | None] = []


def cv_bridge_conversion() -> Conversion | None:
    """cv_bridge's conversion to bgr8 if it is installed and works here, else None; found out once a process.

    A cv_bridge built for another NumPy may fail at import or take the process down with it, so a tiny image goes
    through it in a process of its own first.
    """
    if not _cv_bridge:
        _cv_bridge.append(_find_cv_bridge())
    return _cv_bridge[0]


def _find_cv_bridge() -> Conversion | None:
    if importlib.util.find_spec("cv_bridge") is None:
        return None
    check = subprocess.run(
        [sys.executable, "-c", _CV_BRIDGE_CHECK], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    if check.returncode != 0:
        return None
    from cv_bridge import CvBridge

    bridge = CvBridge()
    return lambda message: np.asarray(bridge.imgmsg_to_cv2(message, "bgr8"))


def _frame_by_cv_bridge(message: Image) -> Frame:
    convert = cv_bridge_conversion()
    assert convert is not None, "check_image lets only known encodings pass"
    try:
        frame = convert(message)
    except Exception as error:  # cv_bridge raises its own, OpenCV's, NumPy's and KeyError
        raise ImageRejected(f"encoding '{message.encoding}' cannot be converted by cv_bridge: {error}") from error
    if frame.shape != (message.height, message.width, 3):
        raise ImageRejected(f"encoding '{message.encoding}' became a frame of shape {frame.shape}")
    return frame
