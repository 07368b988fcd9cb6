# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The image pool: crops as the tracker cuts them, masks that lie where the object is, and what is broken left out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import cut_off, rectangle, write_image, write_mask, write_palette_png
from opencv_places import exact_place
from torch import Tensor

from snscf_core.crops import Frame, crop
from snscf_core.data import pool as pool_module
from snscf_core.data.images import IndexedMask, Polygons
from snscf_core.data.pool import BLOCKS, ImagePool
from snscf_core.data.readers import READERS, Clip

NAN = [float("nan")] * 4


def save(file: Path, picture: Any) -> Path:
    assert cv2.imwrite(str(file), picture)
    return file


def still(file: Path, box: Any = (10, 5, 20, 30), mask: Any = None, name: str = "still") -> Clip:
    masks = None if mask is None else (mask,)
    return Clip(name, "test", (file,), np.array([box], np.float64), masks)


def built(*clips: Clip, **options: Any) -> ImagePool:
    """A pool of clips in which nothing is broken."""
    pool, problems = ImagePool.build(clips, device="cpu", progress=False, **options)
    assert not problems
    return pool


def square(centre: tuple[float, float], side: float, size: int) -> Tensor:
    """1 x 2 x 3: the map of ``crops.crop``."""
    step = side / size
    return torch.tensor([[[step, 0, centre[0] - side / 2], [0, step, centre[1] - side / 2]]])


def cut(pool: ImagePool, image: int, affine: Tensor, size: int) -> Any:
    """One crop as size x size x 3."""
    return pool.crop(torch.tensor([image]), affine, size)[0].permute(1, 2, 0).numpy()


def smooth_noise(width: int, height: int, sigma: float, seed: int = 0) -> Frame:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((height, width, 3)), (0, 0), sigma)
    return np.clip(128 + 40 * noise / noise.std(), 0, 255).astype(np.uint8)


# Building -------------------------------------------------------------------------------------------------------------


def test_views_are_in_order_and_a_shared_image_is_kept_once(tmp_path: Path) -> None:
    files = [write_image(tmp_path / f"{number}.png", seed=number) for number in range(4)]
    boxes = np.array([[10, 5, 20, 30], NAN, [12, 6, 20, 31.0]])
    first = Clip("first", "b", tuple(files[:3]), boxes, None)
    second = Clip("second", "a", (files[2], files[1]), boxes[[0, 2]], None)
    background = Clip("background", "b", (files[3],), np.array([NAN]), None)
    pool = built(first, second, background)
    assert pool.frames == 4
    assert pool.view_image.tolist() == [0, 1, 2, 2, 1, 3]
    assert pool.view_clip.tolist() == [0, 0, 0, 1, 1, 2]
    assert pool.clip_start.tolist() == [0, 3, 5]
    assert pool.clip_length.tolist() == [3, 2, 1]
    assert pool.clip_names == ["first", "second", "background"]
    assert [pool.sources[number] for number in pool.clip_source.tolist()] == ["b", "a", "b"]
    assert pool.sizes.tolist() == [[48, 64]] * 4
    np.testing.assert_array_equal(pool.boxes[[0, 1, 2, 5]], [[20, 20, 20, 30], NAN, [22, 21.5, 20, 31], NAN])
    assert not pool.view_has_mask.any()
    for number, file in enumerate(files):
        at = int(pool.starts[number])
        picture = pool.pixels[at : at + 48 * 64].view(48, 64, 3)
        np.testing.assert_array_equal(picture, cv2.imread(str(file)))
        np.testing.assert_allclose(pool.means[number], cv2.mean(cv2.imread(str(file)))[:3], rtol=1e-5)


def test_large_images_shrink_with_boxes_masks_and_outlines(tmp_path: Path) -> None:
    picture = smooth_noise(640, 400, 5)
    file = save(tmp_path / "a.png", picture)
    box = (100, 80, 200, 120)
    mask = write_mask(tmp_path / "mask.png", rectangle(*box, value=255, size=(640, 400)))
    outline = Polygons((np.array([[100.0, 80], [300, 80], [300, 200], [100, 200]]),))
    pool = built(still(file, box, mask), still(file, box, outline), longest_side=320)
    assert pool.sizes.tolist() == [[200, 320]]
    np.testing.assert_array_equal(pool.boxes, [[100, 70, 100, 60]] * 2)
    assert pool.mask_rectangles.tolist() == [[50, 40, 100, 60]] * 2
    expected = cv2.resize(picture, (320, 200), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(pool.pixels[1 : 1 + 200 * 320].view(200, 320, 3), expected)
    assert built(still(file, box), longest_side=640).sizes.tolist() == [[400, 640]]


def test_what_is_broken_is_named_and_left_out(tmp_path: Path) -> None:
    good = [write_image(tmp_path / f"{number}.jpg", seed=number) for number in range(3)]
    broken = cut_off(write_image(tmp_path / "broken.jpg"))
    box = [10.0, 5, 20, 30]
    clips = [
        Clip("hole", "test", (good[0], broken, good[1]), np.array([box] * 3), None),
        still(broken, name="lost"),
        still(tmp_path / "missing.jpg", name="missing"),
        still(good[2], (64, 5, 20, 30), name="outside"),
        still(good[2], box, tmp_path / "missing.png", name="no mask"),
        still(good[2], box, write_mask(tmp_path / "size.png", rectangle(10, 5, 20, 30, 255, (60, 48))), name="size"),
        still(good[2], box, write_mask(tmp_path / "empty.png", rectangle(0, 0, 0, 0)), name="empty"),
        still(good[2], box, write_mask(tmp_path / "other.png", rectangle(40, 5, 20, 30, 255)), name="other"),
        still(good[2], box, write_mask(tmp_path / "good.png", rectangle(10, 5, 20, 30, 255)), name="good"),
    ]
    pool, problems = ImagePool.build(clips, device="cpu", progress=False)
    assert pool.clip_names == ["hole", "outside", "no mask", "size", "empty", "other", "good"]
    assert pool.clip_length.tolist() == [2, 1, 1, 1, 1, 1, 1]
    assert pool.clip_start.tolist() == [0, 2, 3, 4, 5, 6, 7]
    assert pool.view_image.tolist() == [0, 1, 2, 2, 2, 2, 2, 2]
    assert pool.view_has_mask.tolist() == [False] * 7 + [True]
    np.testing.assert_array_equal(pool.boxes[2], NAN)
    assert torch.isfinite(pool.boxes[torch.tensor([0, 1, 3, 4, 5, 6, 7])]).all()
    expected = [
        f"{broken} can't be read as an image: JPEG is damaged or cut off",  # once, though two clips have it
        f"{tmp_path}/missing.jpg can't be read",
        "test outside frame 1: box (64, 5, 20, 30) outside 64 x 48 pixels",
        f"test no mask frame 1: {tmp_path}/missing.png can't be read",
        f"test size frame 1: {tmp_path}/size.png has 60 x 48 pixels",
        "test empty frame 1: its box and the box around its mask overlap by only 0.00",
        "test other frame 1: its box and the box around its mask overlap by only 0.00",
    ]
    assert len(problems) == len(expected)
    for problem, start in zip(problems, expected, strict=True):
        assert problem.startswith(start)


def test_a_pool_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of the 1 images of 1 clips can be read"):
        ImagePool.build([still(tmp_path / "missing.jpg")], device="cpu", progress=False)


@pytest.mark.parametrize("option", ["longest_side", "frames_per_clip"])
def test_options_that_make_no_sense_are_named(tmp_path: Path, option: str) -> None:
    options: dict[str, Any] = {option: 0}
    with pytest.raises(ValueError, match=f"{option} 0"):
        ImagePool.build([still(write_image(tmp_path / "a.png"))], device="cpu", **options)


def test_long_clips_can_be_thinned_out_evenly(tmp_path: Path) -> None:
    files = tuple(write_image(tmp_path / f"{number}.png") for number in range(9))
    boxes = np.array([[number, 0, 20, 10] for number in range(9)], np.float64)
    pool = built(Clip("long", "test", files, boxes, None), still(files[0]), frames_per_clip=3)
    assert pool.frames == 3
    assert pool.clip_length.tolist() == [3, 1]
    assert (pool.boxes[:3, 0] - 10).tolist() == [0, 4, 8]


def test_more_images_than_memory_is_an_error_before_the_machine_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [write_image(tmp_path / f"{number}.png") for number in range(4)]
    needed = built(*map(still, files)).pixels.numel()
    monkeypatch.setattr(pool_module, "_memory", lambda device: needed)
    assert built(*map(still, files)).frames == 4
    monkeypatch.setattr(pool_module, "_memory", lambda device: needed // 2)
    with pytest.raises(ValueError, match="keep fewer frames per clip"):
        built(*map(still, files))


def test_pixels_are_the_same_however_they_are_moved_to_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [still(write_image(tmp_path / f"{n}.png", 40 + n, 50 - n, n), mask=None) for n in range(6)]
    whole = built(*clips, threads=1)
    monkeypatch.setattr(pool_module, "PART_BYTES", 30_000)  # two images, and some room to spare
    parts = built(*clips, threads=3)
    assert torch.equal(parts.pixels, whole.pixels)
    assert torch.equal(parts.starts, whole.starts)


# Crops ----------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.floats(-30, 150), st.floats(-30, 110), st.floats(0.2, 1.99), st.sampled_from([31, 64]), st.integers(0, 2**31))
def test_crops_are_those_of_the_tracker(
    tmp_path_factory: pytest.TempPathFactory, cx: float, cy: float, step: float, size: int, seed: int
) -> None:
    picture = smooth_noise(121, 80, 1.5, seed)
    pool = built(still(save(tmp_path_factory.mktemp("crop") / "a.png", picture)))
    (cx, cy), side = exact_place((cx, cy), step * size, size)
    expected = crop(picture, (cx, cy), side, size)
    actual = cut(pool, 0, square((cx, cy), side, size), size)
    # Where the crop ends within half a pixel of the image's border, the tracker repeats the border.
    if cx - side / 2 >= 0 and cy - side / 2 >= 0 and cx + side / 2 <= 121 and cy + side / 2 <= 80:
        expected, actual = expected[3:-3, 3:-3], actual[3:-3, 3:-3]
    np.testing.assert_allclose(actual, expected, atol=2)


@pytest.mark.parametrize("step", [2.0, 2.5, 3.0, 3.7, 4.2, 5.5, 6.1, 7.9, 8.0])
def test_crops_that_shrink_are_those_of_the_tracker_too(tmp_path: Path, step: float) -> None:
    # All of the picture is in the crop, so that the tracker's blocks start at the first pixel as well: even pixel noise
    # must come out the same, away from the right and lower ends, where the tracker's blocks leave some pixels over.
    picture = np.random.default_rng(0).integers(0, 256, (167, 211, 3), np.uint8)
    pool = built(still(save(tmp_path / "a.png", picture)))
    size = 127
    centre, side = exact_place((105.3, 83.8), step * size, size)
    step = side / size
    expected = crop(picture, centre, side, size)
    actual = cut(pool, 0, square(centre, side, size), size)
    at = np.arange(size) + 0.5 - size / 2
    columns, rows = centre[0] + at * step, centre[1] + at * step
    away = np.ix_(rows < 167 - 2 * step, columns < 211 - 2 * step)
    np.testing.assert_allclose(actual[away], expected[away], atol=1.6)


def test_crops_that_shrink_from_anywhere_are_near_those_of_the_tracker(tmp_path: Path) -> None:
    picture = smooth_noise(480, 360, 12)
    pool = built(still(save(tmp_path / "a.png", picture)))
    for step in (2.1, 2.9, 3.4):
        for middle in ((240.0, 180.0), (251.3, 171.9)):
            centre, side = exact_place(middle, step * 100, 100)
            expected = crop(picture, centre, side, 100)
            np.testing.assert_allclose(cut(pool, 0, square(centre, side, 100), 100), expected, atol=2)


@settings(deadline=None, max_examples=60)
@given(*(st.floats(-1.3, 1.3) for _ in range(4)), st.floats(-50, 250), st.floats(-50, 250))
def test_any_affine_map_shows_the_right_place(
    tmp_path_factory: pytest.TempPathFactory, a: float, b: float, c: float, d: float, x: float, y: float
) -> None:
    columns, rows = np.meshgrid(np.arange(200), np.arange(180))
    picture = np.stack([columns, rows, np.full_like(rows, 7)], axis=2).astype(np.uint8)  # a pixel says where it is
    pool = built(still(save(tmp_path_factory.mktemp("affine") / "a.png", picture)))
    size = 40
    affine = torch.tensor([[[a, b, x], [c, d, y]]])
    out = cut(pool, 0, affine, size)
    v, u = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5, indexing="ij")
    at_x, at_y = a * u + b * v + x, c * u + d * v + y
    inside = (at_x > 0.51) & (at_x < 199.49) & (at_y > 0.51) & (at_y < 179.49)
    np.testing.assert_allclose(out[inside, 0], at_x[inside] - 0.5, atol=1e-2)
    np.testing.assert_allclose(out[inside, 1], at_y[inside] - 0.5, atol=1e-2)
    outside = (at_x < -0.51) | (at_x > 200.51) | (at_y < -0.51) | (at_y > 180.51)
    np.testing.assert_allclose(out[outside], np.broadcast_to(pool.means[0], out[outside].shape), atol=1e-3)


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_are_averaged_exactly(tmp_path: Path, block: int) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (10 * block, 10 * block, 3), np.uint8)
    if block == 1:
        picture = np.tile(picture, (2, 2, 1))
    pool = built(still(save(tmp_path / "a.png", picture), (1, 1, 5, 5)))
    affine = torch.tensor([[[float(block), 0, 0], [0, block, 0]]])
    expected = picture[: 10 * block, : 10 * block].reshape(10, block, 10, block, 3).mean((1, 3))
    np.testing.assert_allclose(cut(pool, 0, affine, 10), expected, atol=0.51)


@pytest.mark.parametrize("step", [1.0, 3.0, 7.0])
def test_an_even_image_is_even_up_to_its_ends(tmp_path: Path, step: float) -> None:
    pool = built(still(save(tmp_path / "a.png", np.full((49, 65, 3), 200, np.uint8))))
    assert cut(pool, 0, square((60.0, 45.0), step * 32, 32), 32) == pytest.approx(200, abs=1e-3)


def test_outside_is_the_mean_colour_of_the_image_itself(tmp_path: Path) -> None:
    pool = built(*(still(save(tmp_path / f"{n}.png", np.full((40, 50, 3), 60 * n, np.uint8))) for n in range(4)))
    out = pool.crop(torch.tensor([2, 0, 3]), square((-500.0, 20.0), 60, 16).expand(3, -1, -1), 16)
    assert out.mean((1, 2, 3)).tolist() == pytest.approx([120, 0, 180])


def test_a_batch_holds_what_single_crops_hold(tmp_path: Path) -> None:
    clips = [
        still(write_image(tmp_path / f"{n}.png", 50 + 9 * n, 90 - 9 * n, n), mask=Polygons((np.array(p),)), name=str(n))
        for n, p in enumerate([[[10.0, 5], [30, 5], [30, 35], [10, 35]]] * 4)
    ]
    pool = built(*clips)
    order = torch.tensor([3, 0, 2, 2, 1])
    affine = torch.cat([square((20.0 + n, 30.0 - n), 25 * 2.3**n, 32) for n in range(5)])
    together, masks = pool.crop(order, affine, 32), pool.crop_mask(order, affine, 32)
    for number in range(5):
        one = slice(number, number + 1)
        assert torch.equal(together[one], pool.crop(order[one], affine[one], 32))
        assert torch.equal(masks[one], pool.crop_mask(order[one], affine[one], 32))
    assert together.shape == (5, 3, 32, 32) and together.dtype == torch.float32
    assert together.is_contiguous(memory_format=torch.channels_last)
    assert len({float(mask.sum()) for mask in masks}) == 5


def test_precision_does_not_depend_on_the_types_given_or_on_autocast(tmp_path: Path) -> None:
    pool = built(
        still(
            write_image(tmp_path / "a.png", 300, 200),
            mask=write_mask(tmp_path / "m.png", rectangle(10, 5, 20, 30, 255, (300, 200))),
        )
    )
    affine = square((211.4, 90.2), 70.0, 64)
    image = torch.tensor([0])
    expected, expected_mask = pool.crop(image, affine, 64), pool.crop_mask(image, affine, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pool.crop(image.int(), affine.double(), 64), expected)
        assert torch.equal(pool.crop_mask(image.int(), affine.double(), 64), expected_mask)


def test_maps_without_sense_never_read_outside_the_pool(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "m.png", rectangle(10, 5, 20, 30, 255))
    pool = built(still(write_image(tmp_path / "a.png"), mask=mask), still(write_image(tmp_path / "b.png")))
    for value in (0.0, 1e-20, 1e9, -1e9, 1e30, float("inf"), float("nan")):
        affine = torch.full((2, 2, 3), value)
        views = torch.tensor([0, 1])
        assert pool.crop(views, affine, 8).shape == (2, 3, 8, 8)
        assert pool.crop_mask(views, affine, 8).shape == (2, 1, 8, 8)


@pytest.mark.slow
def test_crops_can_be_compiled_as_one_graph(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "m.png", rectangle(10, 5, 20, 30, 255))
    pool = built(still(write_image(tmp_path / "a.png"), mask=mask))
    affine = square((20.2, 20.7), 50.0, 31)

    def both(images: Tensor, affine: Tensor) -> tuple[Tensor, Tensor]:
        return pool.crop(images, affine, 31), pool.crop_mask(images, affine, 31)

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    for one, other in zip(compiled(torch.tensor([0]), affine), both(torch.tensor([0]), affine), strict=True):
        torch.testing.assert_close(one, other)


# Masks ----------------------------------------------------------------------------------------------------------------


def test_masks_lie_where_the_object_is(tmp_path: Path) -> None:
    file = write_image(tmp_path / "a.png")
    both = write_palette_png(tmp_path / "m.png", rectangle(10, 5, 20, 30, 1) + rectangle(40, 20, 4, 6, 2))
    turn = np.linspace(0, 2 * np.pi, 90)
    disc = Polygons((24 + 9 * np.stack([np.cos(turn), np.sin(turn)], axis=1),))
    pool = built(
        still(file, (10, 5, 20, 30), IndexedMask(both, 1)),
        still(file, (40, 20, 4, 6), IndexedMask(both, 2)),
        still(file, (15, 15, 18, 18), disc),
        still(file),
    )
    assert pool.view_has_mask.tolist() == [True, True, True, False]
    identity = torch.eye(3)[None, :2].expand(4, -1, -1)
    masks = pool.crop_mask(torch.arange(4), identity, 48)[:, 0].numpy()
    np.testing.assert_array_equal(masks[0], rectangle(10, 5, 20, 30)[:, :48])
    np.testing.assert_array_equal(masks[1], rectangle(40, 20, 4, 6)[:, :48])
    assert masks[2].sum() == pytest.approx(np.pi * 81, rel=0.03)
    assert not masks[3].any()


@pytest.mark.parametrize("step", [0.4, 1.0, 1.7, 2.0, 3.3, 5.2])
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_masks_keep_their_area_and_place_under_any_scale_and_angle(tmp_path: Path, step: float, angle: float) -> None:
    file = write_image(tmp_path / "a.png", 200, 150)
    mask = write_mask(tmp_path / "m.png", rectangle(83, 61, 41, 37, 255, (200, 150)))
    pool = built(still(file, (83, 61, 41, 37), mask))
    linear = step * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    size = int(130 / step)
    shift = np.array([100.0, 78]) - linear @ [size / 2, size / 2]
    affine = torch.tensor(np.column_stack([linear, shift])[None])
    out = pool.crop_mask(torch.tensor([0]), affine, size)[0, 0].double().numpy()
    assert 0 <= out.min() and out.max() == pytest.approx(1)
    assert out.sum() * step**2 == pytest.approx(41 * 37, rel=0.03)
    v, u = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5, indexing="ij")
    middle = linear @ [(out * u).sum() / out.sum(), (out * v).sum() / out.sum()] + shift
    np.testing.assert_allclose(middle, [103.5, 79.5], atol=0.25)


def test_a_mask_moves_with_its_image(tmp_path: Path) -> None:
    # An object that is bright on black: the mask of a crop is the crop, whatever the map.
    mask = cv2.circle(np.zeros((150, 200), np.uint8), (110, 60), 33, 255, cv2.FILLED)
    pool = built(
        still(save(tmp_path / "a.png", cv2.merge([mask] * 3)), (77, 27, 67, 67), save(tmp_path / "m.png", mask))
    )
    pool = dataclasses.replace(pool, means=torch.zeros_like(pool.means))
    affine = torch.tensor([[[0.9, 0.3, 40.0], [-0.2, 1.1, 20.0]]])
    picture, covered = pool.crop(torch.tensor([0]), affine, 96), pool.crop_mask(torch.tensor([0]), affine, 96)
    torch.testing.assert_close(picture[:, :1] / 255, covered, atol=1e-5, rtol=0)


# Keeping --------------------------------------------------------------------------------------------------------------


def test_a_saved_pool_is_the_same(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "m.png", rectangle(10, 5, 20, 30, 255))
    pool = built(still(write_image(tmp_path / "a.png"), mask=mask), still(write_image(tmp_path / "b.png", 80, 70)))
    folder = tmp_path / "saved"
    folder.mkdir()
    pool.save(folder / "pool.safetensors")
    assert [file.name for file in folder.iterdir()] == ["pool.safetensors"]
    loaded = ImagePool.load(folder / "pool.safetensors")
    for item in dataclasses.fields(ImagePool):
        one, other = getattr(pool, item.name), getattr(loaded, item.name)
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other
    assert loaded.nbytes == pool.nbytes > 3 * (48 * 64 + 80 * 70)


@pytest.mark.parametrize("content", [None, b"nothing", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_file_that_is_no_pool_says_so(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "pool").write_bytes(content)
    with pytest.raises(ValueError, match="pool holds no image pool: "):
        ImagePool.load(tmp_path / "pool")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_crops_are_the_same_on_a_gpu(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "m.png", rectangle(10, 5, 20, 30, 255))
    pool = built(still(write_image(tmp_path / "a.png"), mask=mask), still(write_image(tmp_path / "b.png", 80, 70)))
    views = torch.tensor([0, 1, 0])
    affine = torch.cat([square((30.3, 20.1), side, 40) for side in (30.0, 100.0, 190.0)])
    on_gpu = pool.to("cuda")
    for compiled in (False, True):
        cut_images = torch.compile(on_gpu.crop, fullgraph=True) if compiled else on_gpu.crop
        cut_masks = torch.compile(on_gpu.crop_mask, fullgraph=True) if compiled else on_gpu.crop_mask
        images = cut_images(views.cuda(), affine.cuda(), 40).cpu()
        masks = cut_masks(views.cuda(), affine.cuda(), 40).cpu()
        torch.testing.assert_close(images, pool.crop(views, affine, 40), atol=1e-2, rtol=0)
        torch.testing.assert_close(masks, pool.crop_mask(views, affine, 40), atol=1e-4, rtol=0)


# The real thing -------------------------------------------------------------------------------------------------------


def real_clips(data: Path) -> list[Clip]:
    return READERS["got10k"](data / "train" / "videos") + READERS["coco"](data / "train" / "stills")


def test_masks_and_boxes_of_real_clips_agree(data: Path) -> None:
    clips = [clip for clip in real_clips(data) if clip.masks is not None]
    pool = built(*clips[:4:2], *clips[20::100], longest_side=240)
    assert pool.sources == ["got10k", "coco"]
    assert pool.view_has_mask.all()
    x, y, w, h = pool.mask_rectangles.float().unbind(1)
    around = torch.stack([x + w / 2, y + h / 2, w, h], 1)
    assert (around - pool.boxes).abs().max() < 3
    # Cut out at the box, the mask fills a good part of a crop.
    step = pool.boxes[:, 2:].amax(1) / 64
    affine = torch.zeros(len(step), 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = step
    affine[:, :, 2] = pool.boxes[:, :2] - 32 * step[:, None]
    shares = pool.crop_mask(torch.arange(len(step)), affine, 64).mean((1, 2, 3))
    assert shares.min() > 0.03


@pytest.mark.slow
def test_all_real_images_can_be_read(data: Path) -> None:
    pool = built(*real_clips(data), longest_side=96)
    assert pool.frames == 1361 + 5263
    assert int(torch.isfinite(pool.boxes).all(1).sum()) == 1361 + 6570
    assert int(pool.view_has_mask.sum()) == 690 + 4711
