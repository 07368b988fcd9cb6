# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

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

from snscf_ros import cv_bridge_decoder, images
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
    rows = np.frombuffer(message.data, np.uint8).reshape(-1, message.step)
    wide = np.full((len(rows), message.step + padding), 0xAA, np.uint8)
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


def planar_message(planes: list[np.ndarray], steps: list[int], encoding: str) -> Image:
    """An image of planes (rows x bytes) behind each other, whose rows are padded to `steps`."""
    data = bytearray()
    for plane, step in zip(planes, steps, strict=True):
        padded_plane = np.full((len(plane), step), 0xAA, np.uint8)
        padded_plane[:, : plane.shape[1]] = plane
        data += padded_plane.tobytes()
    height, width = planes[0].shape
    message = Image(width=width, height=height, step=steps[0], encoding=encoding)
    message.data = array.array("B", bytes(data))
    return message


def planes_of(encoding: str, padding: int, y: np.ndarray, u: np.ndarray, v: np.ndarray) -> Image:
    """Y, U, V laid out by the definitions of the kernel's pixel formats NV12, NV21, NV24 and YUV420."""
    step = y.shape[1] + padding
    if encoding in ("yuv420", "i420"):
        return planar_message([y, u, v], [step, step // 2, step // 2], encoding)
    first, second = (v, u) if encoding == "nv21" else (u, v)
    pairs = np.stack([first, second], axis=2).reshape(len(u), -1)
    return planar_message([y, pairs], [step, 2 * step if encoding == "nv24" else step], encoding)


@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24", "yuv420", "i420"])
@pytest.mark.parametrize("padding", [0, 2, 14])
def test_planes_of_yuv(encoding, padding):
    part = 1 if encoding == "nv24" else 2
    y = RANDOM.integers(16, 236, (HEIGHT, WIDTH), np.uint8)
    u, v = RANDOM.integers(100, 156, (2, HEIGHT // part, WIDTH // part), np.uint8)
    whole_u, whole_v = (plane.repeat(part, axis=0).repeat(part, axis=1).astype(float) for plane in (u, v))
    frame = decode(planes_of(encoding, padding, y, u, v))
    assert np.abs(frame - yuv_to_bgr(y.astype(float), whole_u, whole_v)).max() <= 2


@pytest.mark.parametrize("name, bgr", [("red", (0, 0, 255)), ("green", (0, 255, 0)), ("blue", (255, 0, 0))])
@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24", "yuv420", "uyvy", "yuyv"])
def test_colours_that_a_camera_sends_have_their_names(encoding, name, bgr):
    """The plain colours in the numbers of BT.601, as every table of them has them."""
    y, u, v = {"red": (81, 90, 240), "green": (145, 54, 34), "blue": (41, 240, 110)}[name]
    if encoding in ("uyvy", "yuyv"):
        pair = (u, y, v, y) if encoding == "uyvy" else (y, u, y, v)
        message = image_message(np.tile(np.uint8(pair), (HEIGHT, WIDTH // 2)).reshape(HEIGHT, WIDTH, 2), encoding)
    else:
        part = 1 if encoding == "nv24" else 2
        planes = [np.full((HEIGHT // part, WIDTH // part), value, np.uint8) for value in (u, v)]
        message = planes_of(encoding, 0, np.full((HEIGHT, WIDTH), y, np.uint8), *planes)
    assert np.abs(decode(message).astype(int) - bgr).max() <= 3


@pytest.mark.parametrize(
    "encoding, width, height, step, data, told",
    [
        ("nv12", 35, 22, 35, 35 * 33, "width 35 is odd"),
        ("nv21", 34, 23, 34, 34 * 23 * 3 // 2, "height 23 is odd"),
        ("yuv420", 34, 22, 35, 35 * 33, "step 35 is odd"),
        ("nv12", 34, 22, 34, 34 * 22, "data holds 748 bytes, but 22 rows of step 34 and .* are 1122"),
        ("nv24", 34, 22, 34, 34 * 22 * 2, "are 2244"),
        ("nv12", 34, 33, 34, 34 * 33, "height 33 is odd"),
        ("nv21", 34, 22, 33, 33 * 33, "step is 33"),
        ("rgb16", 34, 22, 203, 203 * 22, "step is 203, but 34 pixels of 'rgb16' take 204 bytes"),
    ],
)
def test_planes_that_do_not_fit_are_refused_with_the_number(encoding, width, height, step, data, told):
    message = Image(width=width, height=height, step=step, encoding=encoding, data=array.array("B", bytes(data)))
    with pytest.raises(ImageRejected, match=told):
        images.check_image(message, LIMIT)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("sample", ["u1", "<u2", ">u2"])
@pytest.mark.parametrize("padding", [0, 7])
def test_bayer_patterns(pattern, sample, padding):
    """Four plain colours in four quarters: away from the seams demosaicing must give them back exactly."""
    colours = RANDOM.integers(20, 236, (2, 2, 3), np.uint8)
    expected = colours.repeat(HEIGHT // 2, axis=0).repeat(WIDTH // 2, axis=1)
    mosaic = np.zeros((HEIGHT, WIDTH), np.uint8)
    for index, letter in enumerate(pattern):
        row, column = divmod(index, 2)
        mosaic[row::2, column::2] = expected[row::2, column::2, "bgr".index(letter)]
    if sample == "u1":
        message, off = image_message(mosaic, f"bayer_{pattern}8"), 0
    else:
        message, off = image_message(mosaic.astype(sample) * 257, f"bayer_{pattern}16"), 1
        message.is_bigendian = int(sample == ">u2")
        expected = stretched(expected.astype(int) * 257, mosaic.astype(int) * 257)
    frame = decode(padded(message, padding))
    inside = np.ones((HEIGHT, WIDTH), bool)
    inside[[0, -1]] = inside[:, [0, -1]] = False
    inside[HEIGHT // 2 - 2 : HEIGHT // 2 + 2] = inside[:, WIDTH // 2 - 2 : WIDTH // 2 + 2] = False
    assert np.abs(frame[inside] - expected[inside].astype(float)).max() <= off


def stretched(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """`values` of 16 bits on the scale from the 0.5th to the 99.5th percentile of `seen`, in float64."""
    bottom, top = np.percentile(seen[seen > 0], (0.5, 99.5))
    return np.clip((values - bottom) * 255.0 / (top - bottom), 0, 255)


COLOURS_16 = {
    "bgr16": (0, 1, 2),
    "16UC3": (0, 1, 2),
    "rgb16": (2, 1, 0),
    "bgra16": (0, 1, 2, 3),
    "16UC4": (0, 1, 2, 3),
    "rgba16": (2, 1, 0, 3),
}


@pytest.mark.parametrize("encoding", COLOURS_16)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("padding", [0, 1, 10])
@pytest.mark.parametrize("low, high", [(0, 65535), (64, 1023)], ids=["full", "10 bit"])
def test_16_bit_colours(encoding, order, padding, low, high):
    """One stretch for the three colours; alpha has no say in it."""
    bgr = np.linspace(low, high, WIDTH * HEIGHT * 3).round().astype(int)
    RANDOM.shuffle(bgr)
    bgr = bgr.reshape(HEIGHT, WIDTH, 3)
    alpha = np.full((HEIGHT, WIDTH, 1), 65535)
    pixels = np.concatenate([bgr, alpha], 2)[:, :, COLOURS_16[encoding]].astype(order + "u2")
    frame = decode(padded(image_message(pixels, encoding), padding))
    assert np.abs(frame - stretched(bgr, bgr)).max() <= 1


def test_16_bit_colours_of_a_large_image_are_sampled_in_all_places():
    """The four colours of a mosaic have their say, although not every pixel is looked at."""
    mosaic = np.full((400, 400), 400, np.uint16)
    mosaic[1::2, 1::2] = RANDOM.integers(400, 40_000, (200, 200))
    frame = decode(image_message(mosaic, "bayer_rggb16"))
    assert np.abs(frame[1:-1:2, 1:-1:2, 0] - stretched(mosaic, mosaic)[1:-1:2, 1:-1:2]).max() <= 4


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
    encoding=st.sampled_from([*images.ENCODINGS, "32FC1", "nv42", "", "klingon9", "BGR8"]),
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


@settings(max_examples=150, deadline=None)
@given(
    width=st.integers(8, 24).map(lambda half: 2 * half),
    height=st.integers(8, 24).map(lambda half: 2 * half),
    padding=st.integers(0, 9),
    encoding=st.sampled_from(sorted(images.ENCODINGS)),
    is_bigendian=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_padding_never_shows(width, height, padding, encoding, is_bigendian, seed):
    """Every encoding: the same bytes laid out with and without padding give the same frame."""
    layout = images.ENCODINGS[encoding]
    step = width * layout.bytes_per_pixel
    wider = step + (2 * padding if "step" in layout.even else padding)
    content = np.random.default_rng(seed)
    frames = []
    planes: dict[int, np.ndarray] = {}
    for stride in (step, wider):
        data = np.full(int(stride * height * layout.rows), 0xAA, np.uint8)
        start = 0
        for index, (rows, row_bytes) in enumerate(planes_in(encoding, height, step)):
            planes.setdefault(index, content.integers(0, 256, (rows, row_bytes), np.uint8))
            row_stride = stride * row_bytes // step
            data[start : start + rows * row_stride].reshape(rows, row_stride)[:, :row_bytes] = planes[index]
            start += rows * row_stride
        assert start == data.size
        message = Image(width=width, height=height, step=stride, encoding=encoding, is_bigendian=int(is_bigendian))
        message.data = array.array("B", data.tobytes())
        frames.append(decode(message).copy())
    np.testing.assert_array_equal(*frames)


def planes_in(encoding: str, height: int, step: int) -> list[tuple[int, int]]:
    """Rows, and bytes of a row, of each plane of an image whose first plane's rows take `step` bytes."""
    if encoding in ("nv12", "nv21"):
        return [(height, step), (height // 2, step)]
    if encoding in ("yuv420", "i420"):
        return [(height, step), (height // 2, step // 2), (height // 2, step // 2)]
    if encoding == "nv24":
        return [(height, step), (height, 2 * step)]
    return [(height, step)]


def test_every_encoding_that_ros_names_for_pictures_is_known():
    """All of sensor_msgs/image_encodings.hpp, Humble to Rolling, but for what is no picture in colours or grey."""
    depths = [8, 16]
    names = {f"{order}{bits}" for order in ("rgb", "rgba", "bgr", "bgra", "mono") for bits in depths}
    names |= {f"bayer_{pattern}{bits}" for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in depths}
    names |= {f"{bits}UC{channels}" for bits in depths for channels in (1, 3, 4)}
    names |= {"uyvy", "yuv422", "yuyv", "yuv422_yuy2", "nv12", "nv21", "nv24"}
    assert names <= images.ENCODINGS.keys()


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
    frame = decode_compressed(compressed_message(encoded(deep_colour, ".png"), "png"))
    np.testing.assert_array_equal(frame, decode(image_message(deep_colour, "bgr16")))
    assert np.abs(frame - stretched(deep_colour.astype(int), deep_colour.astype(int))).max() <= 1


@pytest.mark.parametrize("bits", [8, 16])
def test_mosaic_in_a_grey_picture_is_demosaiced(bits):
    mosaic = RANDOM.integers(0, 2**bits, (HEIGHT, WIDTH)).astype(f"u{bits // 8}")
    frame = decode_compressed(compressed_message(encoded(mosaic, ".png"), f"bayer_gbrg{bits}; png compressed "))
    np.testing.assert_array_equal(frame, decode(image_message(mosaic, f"bayer_gbrg{bits}")))


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
    monkeypatch.setattr(cv_bridge_decoder, "_found", [])
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
    assert cv_bridge_decoder.find_bridge() is None
    with pytest.raises(ImageRejected, match="32FC3"):
        images.check_image(image_message(BGR.astype(np.float32), "32FC3"), LIMIT)
    np.testing.assert_array_equal(decode(image_message(BGR, "bgr8")), BGR)


# Has the faults of cv_bridge: it cuts off padding in whole pixels and fails on big-endian images. It knows an encoding
# that we do not.
WORKING = """
import numpy as np
class Message:
    pass
class CvBridge:
    def encoding_to_dtype_with_channels(self, encoding):
        return {"rgb16": "uint16", "newest": "uint16"}[encoding], 3
    def cv2_to_imgmsg(self, pixels, encoding):
        message = Message()
        message.height, message.width, message.data = *pixels.shape[:2], pixels.tobytes()
        message.step, message.is_bigendian = len(message.data) // message.height, 0
        return message
    def imgmsg_to_cv2(self, message, encoding):
        if message.is_bigendian:
            raise AttributeError("newbyteorder")
        pixels = np.ndarray((message.height, message.step // 6, 3), np.uint16, message.data)[:, : message.width]
        return (pixels[:, :, ::-1] // 257).astype(np.uint8)
"""


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("padding", [0, 10])
def test_cv_bridge_adds_its_encodings_and_never_sees_padding(order, padding, tmp_path, monkeypatch, fresh_search):
    fake_cv_bridge(tmp_path, monkeypatch, WORKING)
    pixels = (BGR[:, :, ::-1].astype(np.uint16) * 257).astype(order + "u2")
    np.testing.assert_array_equal(decode(padded(image_message(pixels, "newest"), padding)), BGR)
    with pytest.raises(ImageRejected, match="step is 203, but 34 pixels of 'newest' take 204 bytes"):
        images.check_image(Image(width=WIDTH, height=HEIGHT, step=203, encoding="newest"), LIMIT)
    with pytest.raises(ImageRejected, match="klingon9"):
        images.check_image(image_message(BGR, "klingon9"), LIMIT)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("padding", [0, 10])
@pytest.mark.parametrize("encoding", ["rgb16", "bgra16", "bayer_rggb8"])
def test_an_installed_cv_bridge_converts_what_is_not_known_here(encoding, padding, order, monkeypatch, fresh_search):
    """The real library, with encodings that it knows as well as we do taken from our table."""
    if cv_bridge_decoder.find_bridge() is None:
        pytest.skip("there is no cv_bridge that works")
    monkeypatch.delitem(images.ENCODINGS, encoding)
    if encoding == "bayer_rggb8":
        message, expected = image_message(np.full((HEIGHT, WIDTH), 77, np.uint8), encoding), np.full(BGR.shape, 77)
    else:
        channels = (2, 1, 0) if encoding == "rgb16" else (0, 1, 2, 3)
        pixels = np.concatenate([BGR, ALPHA], 2)[:, :, channels].astype(np.uint16) * 257
        message, expected = image_message(pixels.astype(order + "u2"), encoding), BGR
    message.is_bigendian = int(order == ">")
    assert np.abs(decode(padded(message, padding)).astype(int) - expected).max() <= 1
    with pytest.raises(ImageRejected, match="cannot be converted by cv_bridge"):
        decode(image_message(BGR.astype(np.float32), "32FC3"))
