"""Every encoding against a computation of its own, no copies where none is needed, and nothing believed unchecked."""

from __future__ import annotations

import array
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ros_harness import compressed_message, image_message
from sensor_msgs.msg import CompressedImage, Image

from snscf_ros import images
from snscf_ros.images import ImageRejected

LIMIT = 1_000_000
WIDTH, HEIGHT = 34, 22
RANDOM = np.random.default_rng(5)
BGR = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def decode(message: Image) -> np.ndarray:
    images.check_image(message, LIMIT)
    frame = images.frame_from_image(message)
    assert frame.shape == (message.height, message.width, 3)
    assert frame.dtype == np.uint8
    return frame


def padded(message: Image, padding: int) -> Image:
    """The same image with bytes behind each row that must not be seen."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    wide = np.full((message.height, message.step + padding), 0xAA, np.uint8)
    wide[:, : message.step] = rows
    message.step += padding
    message.data = array.array("B", wide.tobytes())
    return message


def grey_of(bgr: np.ndarray) -> np.ndarray:
    return np.repeat(bgr[:, :, 1:2], 3, axis=2)


ALPHA = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 1), np.uint8)
PLAIN = {
    "bgr8": (BGR, BGR),
    "8UC3": (BGR, BGR),
    "rgb8": (BGR[:, :, ::-1], BGR),
    "bgra8": (np.concatenate([BGR, ALPHA], 2), BGR),
    "8UC4": (np.concatenate([BGR, ALPHA], 2), BGR),
    "rgba8": (np.concatenate([BGR[:, :, ::-1], ALPHA], 2), BGR),
    "mono8": (BGR[:, :, 1], grey_of(BGR)),
    "8UC1": (BGR[:, :, 1], grey_of(BGR)),
}


@pytest.mark.parametrize("padding", [0, 1, 5, 64])
@pytest.mark.parametrize("encoding", PLAIN)
def test_plain_encodings_are_exact_whatever_the_row_padding(encoding, padding):
    pixels, expected = PLAIN[encoding]
    np.testing.assert_array_equal(decode(padded(image_message(pixels, encoding), padding)), expected)


@pytest.mark.parametrize("padding", [0, 6])
def test_bgr_is_a_view_of_the_message(padding):
    message = padded(image_message(BGR, "bgr8"), padding)
    assert np.shares_memory(decode(message), np.frombuffer(message.data, np.uint8))


def yuv_to_bgr(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """BT.601 with video range, in float64."""
    luma, cb, cr = 1.164383 * (y - 16.0), u - 128.0, v - 128.0
    blue = luma + 2.017232 * cb
    green = luma - 0.391762 * cb - 0.812968 * cr
    red = luma + 1.596027 * cr
    return np.clip(np.stack([blue, green, red], axis=2), 0, 255)


@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2"])
@pytest.mark.parametrize("padding", [0, 3])
def test_yuv422_in_both_orders(encoding, padding):
    y = RANDOM.integers(16, 236, (HEIGHT, WIDTH)).astype(float)
    u = RANDOM.integers(100, 156, (HEIGHT, WIDTH // 2)).astype(float)
    v = RANDOM.integers(100, 156, (HEIGHT, WIDTH // 2)).astype(float)
    packed = np.zeros((HEIGHT, WIDTH, 2), np.uint8)
    luma, chroma = (1, 0) if encoding in ("uyvy", "yuv422") else (0, 1)
    packed[:, :, luma] = y
    packed[:, 0::2, chroma] = u
    packed[:, 1::2, chroma] = v
    expected = yuv_to_bgr(y, u.repeat(2, axis=1), v.repeat(2, axis=1))
    frame = decode(padded(image_message(packed, encoding), padding))
    assert np.abs(frame - expected).max() <= 2


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("padding", [0, 7])
def test_bayer_patterns(pattern, padding):
    """Four plain colours in four quarters: away from the seams demosaicing must give them back exactly."""
    colours = RANDOM.integers(20, 236, (2, 2, 3), np.uint8)
    expected = colours.repeat(HEIGHT // 2, axis=0).repeat(WIDTH // 2, axis=1)
    mosaic = np.zeros((HEIGHT, WIDTH), np.uint8)
    for index, letter in enumerate(pattern):
        row, column = divmod(index, 2)
        mosaic[row::2, column::2] = expected[row::2, column::2, "bgr".index(letter)]
    frame = decode(padded(image_message(mosaic, f"bayer_{pattern}8"), padding))
    inside = np.ones((HEIGHT, WIDTH), bool)
    inside[[0, -1]] = inside[:, [0, -1]] = False
    inside[HEIGHT // 2 - 2 : HEIGHT // 2 + 2] = inside[:, WIDTH // 2 - 2 : WIDTH // 2 + 2] = False
    np.testing.assert_array_equal(frame[inside], expected[inside])


@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "low, high", [(0, 65535), (0, 4095), (7000, 9000), (400, 8000)], ids=["full", "12 bit", "thermal", "depth in mm"]
)
def test_16_bit_images_use_the_range_that_they_have(encoding, order, low, high):
    values = np.linspace(low, high, WIDTH * HEIGHT).round().astype(np.uint16).reshape(HEIGHT, WIDTH)
    frame = decode(padded(image_message(values.astype(order + "u2"), encoding), 2))
    seen = values[values > 0]
    bottom, top = np.percentile(seen, 0.5), np.percentile(seen, 99.5)
    expected = np.clip((values - bottom) * 255.0 / (top - bottom), 0, 255)
    for channel in range(3):
        assert np.abs(frame[:, :, channel] - expected).max() <= 1


def test_16_bit_images_without_contrast_stay_without():
    """Noise of a few counts is not blown up, and 8-bit data in 16 bits are kept as they are."""
    noise = RANDOM.integers(5000, 5004, (HEIGHT, WIDTH)).astype(np.uint16)
    assert np.ptp(decode(image_message(noise, "mono16"))) <= 4
    eight_bit = RANDOM.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint16)
    assert np.abs(decode(image_message(eight_bit, "mono16"))[:, :, 0] - eight_bit.astype(float)).max() <= 2


@pytest.mark.parametrize("value", [0, 700, 65535])
def test_16_bit_images_of_one_value(value):
    frame = decode(image_message(np.full((HEIGHT, WIDTH), value, np.uint16), "16UC1"))
    assert np.ptp(frame) == 0


def test_missing_depth_is_black_and_does_not_change_the_rest():
    depth = np.linspace(1000, 5000, WIDTH * HEIGHT).round().astype(np.uint16).reshape(HEIGHT, WIDTH)
    holes = depth.copy()
    holes[5:8, 5:20] = 0
    frame, with_holes = decode(image_message(depth, "16UC1")), decode(image_message(holes, "16UC1"))
    assert with_holes[6, 10].max() == 0
    kept = holes > 0
    assert np.abs(frame[kept].astype(int) - with_holes[kept]).max() <= 3


@settings(max_examples=300, deadline=None)
@given(
    width=st.integers(0, 2**32 - 1) | st.integers(0, 64),
    height=st.integers(0, 2**32 - 1) | st.integers(0, 64),
    step=st.integers(0, 2**32 - 1) | st.integers(0, 256),
    size=st.integers(0, 20_000),
    encoding=st.sampled_from([*images.ENCODINGS, "rgb16", "nv21", "", "klingon9", "BGR8"]),
    is_bigendian=st.booleans(),
)
def test_any_header_is_decoded_or_rejected_never_worse(width, height, step, size, encoding, is_bigendian):
    message = Image(width=width, height=height, step=step, encoding=encoding, is_bigendian=int(is_bigendian))
    message.data = array.array("B", bytes(size))
    try:
        images.check_image(message, LIMIT)
    except ImageRejected as reason:
        assert str(reason)
        return
    assert images.frame_from_image(message).shape == (height, width, 3)


@settings(max_examples=50, deadline=None)
@given(
    width=st.integers(8, 24).map(lambda half: 2 * half),
    height=st.integers(16, 48),
    padding=st.integers(0, 9),
    encoding=st.sampled_from(sorted(images.ENCODINGS)),
    seed=st.integers(0, 2**32 - 1),
)
def test_padding_never_shows(width, height, padding, encoding, seed):
    size = images.ENCODINGS[encoding].bytes_per_pixel
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width * size), np.uint8)
    plain = image_message(pixels, encoding)
    plain.width = width
    wide = padded(image_message(pixels, encoding), padding)
    wide.width = width
    np.testing.assert_array_equal(decode(plain), decode(wide))


@settings(max_examples=50, deadline=None)
@given(width=st.integers(16, 64), height=st.integers(16, 64), seed=st.integers(0, 2**32 - 1))
def test_outgoing_image_comes_back_as_it_went(width, height, seed):
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    outgoing = images.OutgoingImage()
    for shown in (frame, frame[::-1], frame[:16, :16]):
        np.copyto(outgoing.view(*shown.shape[:2]), shown)
        np.testing.assert_array_equal(decode(outgoing.message), shown)


# --- compressed images ---


def decode_compressed(message: CompressedImage) -> np.ndarray:
    images.check_compressed(message, LIMIT)
    return images.frame_from_compressed(message)


def encoded(pixels: np.ndarray, extension: str) -> bytes:
    return cv2.imencode(extension, pixels)[1].tobytes()


SMOOTH = cv2.GaussianBlur(BGR, (0, 0), 4)


@pytest.mark.parametrize("format_text", ["png", "bgr8; png compressed bgr8", "rgb8; png compressed bgr8", ""])
def test_png_is_exact(format_text):
    message = compressed_message(encoded(BGR, ".png"), format_text)
    np.testing.assert_array_equal(decode_compressed(message), BGR)


@pytest.mark.parametrize("format_text", ["jpeg", "jpg", "bgr8; jpeg compressed bgr8"])
def test_jpeg_is_close(format_text):
    frame = decode_compressed(compressed_message(encoded(SMOOTH, ".jpg"), format_text))
    assert np.abs(frame.astype(int) - SMOOTH).mean() < 4


def test_grey_alpha_and_16_bit_pictures():
    grey = SMOOTH[:, :, 0]
    np.testing.assert_array_equal(
        decode_compressed(compressed_message(encoded(grey, ".png"), "mono8; png")),
        np.repeat(grey[:, :, None], 3, axis=2),
    )
    bgra = np.concatenate([BGR, ALPHA], 2)
    np.testing.assert_array_equal(decode_compressed(compressed_message(encoded(bgra, ".png"), "png")), BGR)
    deep = np.linspace(0, 65535, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)
    frame = decode_compressed(compressed_message(encoded(deep, ".png"), "mono16; png compressed "))
    np.testing.assert_array_equal(frame, decode(image_message(deep, "mono16")))
    deep_colour = BGR.astype(np.uint16) * 257
    np.testing.assert_array_equal(decode_compressed(compressed_message(encoded(deep_colour, ".png"), "png")), BGR)


def test_mosaic_in_a_grey_picture_is_demosaiced():
    mosaic = RANDOM.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    frame = decode_compressed(compressed_message(encoded(mosaic, ".png"), "bayer_rggb8; png compressed "))
    np.testing.assert_array_equal(frame, decode(image_message(mosaic, "bayer_rggb8")))


def test_orientation_in_the_metadata_is_not_applied():
    """The boxes are in the pixels that the camera sent."""
    plain = encoded(SMOOTH, ".jpg")
    orientation_6 = bytes.fromhex("45786966000049492a0008000000010012010300010000000600000000000000")
    segment = b"\xff\xe1" + (len(orientation_6) + 2).to_bytes(2, "big") + orientation_6
    rotated = compressed_message(plain[:2] + segment + plain[2:], "jpeg")
    assert cv2.imdecode(np.frombuffer(rotated.data, np.uint8), cv2.IMREAD_COLOR).shape[:2] == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(decode_compressed(rotated), decode_compressed(compressed_message(plain, "jpeg")))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size; nothing behind it."""
    whole = bytearray(encoded(BGR, ".png"))
    whole[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(whole)


def jpeg_header(width: int, height: int) -> bytes:
    whole = bytearray(encoded(BGR, ".jpg"))
    frame = whole.index(b"\xff\xc0")
    whole[frame + 5 : frame + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(whole)


REJECTED = {
    "empty": (b"", "jpeg", "0 bytes"),
    "text": (b"not a picture", "jpeg", "neither JPEG nor PNG"),
    "half a jpeg": (encoded(BGR, ".jpg")[:400], "jpeg", "400 bytes"),
    "half a png": (encoded(BGR, ".png")[:400], "png", "400 bytes"),
    "depth": (b"\0" * 12 + encoded(BGR, ".png"), "16UC1; compressedDepth png", "compressed depth"),
    "huge png": (png_header(100_000, 100_000), "png", "10000000000 pixels"),
    "huge jpeg": (jpeg_header(60_000, 60_000), "jpeg", "3600000000 pixels"),
    "flat png": (png_header(640, 0), "png", "height is 0"),
    "small jpeg": (encoded(BGR[:4], ".jpg"), "jpeg", "height is 4"),
    "only markers": (b"\xff\xd8" + b"\xff\xe0\x00\x02" * 5000 + b"\xff\xd9", "jpeg", "damaged"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_unusable_compressed_image_is_rejected_before_it_is_decoded(name):
    data, format_text, told = REJECTED[name]
    with pytest.raises(ImageRejected, match=told):
        images.check_compressed(compressed_message(data, format_text), LIMIT)


@settings(max_examples=200, deadline=None)
@given(
    start=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", encoded(BGR, ".jpg"), encoded(BGR, ".png")]),
    cut=st.integers(0, 3000),
    noise=st.binary(max_size=60),
    at=st.integers(0, 3000),
)
def test_any_bytes_are_decoded_or_rejected_never_worse(start, cut, noise, at):
    data = bytearray(start[: len(start) - cut] if cut < len(start) else start)
    data[at : at + len(noise)] = noise
    message = compressed_message(bytes(data), "jpeg")
    try:
        frame = decode_compressed(message)
    except ImageRejected as reason:
        assert str(reason)
    else:
        assert frame.ndim == 3
        assert frame.shape[2] == 3


def test_jpeg_message_is_read_back():
    message = images.jpeg_message(SMOOTH, 95)
    assert "jpeg" in message.format
    assert np.abs(decode_compressed(message).astype(int) - SMOOTH).mean() < 4


# --- cv_bridge ---


@pytest.fixture
def fresh_search(monkeypatch):
    """cv_bridge is looked for again, before and after."""
    monkeypatch.setattr(images, "_cv_bridge", [])
    yield
    sys.modules.pop("cv_bridge", None)


def fake_cv_bridge(folder: Path, monkeypatch, body: str) -> None:
    """A module of that name, for this process and those that it starts."""
    (folder / "cv_bridge.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")


BROKEN = {
    "built for another NumPy": "raise ImportError('numpy.core.multiarray failed to import')",
    "attribute missing": "raise AttributeError('_ARRAY_API not found')",
    "crashes the process": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "fails with OpenCV 5": "class CvBridge:\n    def cv2_to_imgmsg(self, *a): raise KeyError(16)\n",
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_cv_bridge_does_no_harm(how, tmp_path, monkeypatch, fresh_search):
    fake_cv_bridge(tmp_path, monkeypatch, BROKEN[how])
    assert images.cv_bridge_conversion() is None
    with pytest.raises(ImageRejected, match="rgb16"):
        images.check_image(image_message(BGR.astype(np.uint16), "rgb16"), LIMIT)
    np.testing.assert_array_equal(decode(image_message(BGR, "bgr8")), BGR)


WORKING = """
import numpy as np
class Message:
    pass
class CvBridge:
    def cv2_to_imgmsg(self, pixels, encoding):
        message = Message()
        message.height, message.width, message.data = *pixels.shape[:2], pixels.tobytes()
        return message
    def imgmsg_to_cv2(self, message, encoding):
        pixels = np.frombuffer(message.data, np.uint16).reshape(message.height, message.width, 3)
        return (pixels[:, :, ::-1] // 257).astype(np.uint8)
"""


def test_cv_bridge_that_converts_rightly_is_used(tmp_path, monkeypatch, fresh_search):
    fake_cv_bridge(tmp_path, monkeypatch, WORKING)
    message = image_message(BGR[:, :, ::-1].astype(np.uint16) * 257, "rgb16")
    np.testing.assert_array_equal(decode(message), BGR)


def test_working_cv_bridge_adds_its_encodings(fresh_search):
    """Where a real cv_bridge is installed, rgb16 is decoded; where it is not, it is refused by name."""
    message = image_message(BGR[:, :, ::-1].astype(np.uint16) * 257, "rgb16")
    if images.cv_bridge_conversion() is None:
        with pytest.raises(ImageRejected, match="rgb16"):
            images.check_image(message, LIMIT)
    else:
        assert np.abs(decode(message).astype(int) - BGR).max() <= 1
