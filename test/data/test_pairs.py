# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Pairs, measured in the crops that come out: pictures with rectangles of known colour go in."""

from __future__ import annotations

from dataclasses import fields, replace
from io import BytesIO
from itertools import pairwise, product

import cv2
import numpy as np
import pytest
import torch
from photographs import UNCHANGED, background, cut_out, pool_of, rectangles, texture
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from snscf_core.crops import context_side, crop
from snscf_core.data.appearance import Appearance, AppearanceConfig, blur_kernels, blurred
from snscf_core.data.cpu_pairs import CpuPairSource, _Looks
from snscf_core.data.draws import Draws
from snscf_core.data.pairs import PairBatch, PairConfig, PairSource

NAN = (float("nan"),) * 4
# Clips are told apart by the colour of their rectangle; the pictures are grey otherwise.
COLOURS = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0), "cyan": (255, 255, 0), "pink": (255, 0, 255)}
PLAIN = PairConfig(composited=0, appearance=UNCHANGED, grayscale=0, surround=0)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    moving = [(30 + 4 * i, 40 + i, 50 + i, 36) for i in range(15)]
    gone = [*moving[:5], NAN, NAN, NAN, *moving[8:]]
    still = [(80, 50, 40, 60)]
    return pool_of(
        rectangles(folder, "red", "videos", COLOURS["red"], moving),
        rectangles(folder, "green", "videos", COLOURS["green"], gone),
        rectangles(folder, "blue", "videos", COLOURS["blue"], [(60, 60, 70, 30)] * 6),
        rectangles(folder, "cyan", "stills", COLOURS["cyan"], still),
        rectangles(folder, "pink", "stills", COLOURS["pink"], still),
        background(folder, "empty", texture(99)),
    )


def shares(crop_: torch.Tensor) -> dict[str, float]:
    """How many pixels of a crop (3 x S x S) have each clip's colour."""
    return {name: float(like(crop_, colour).float().sum()) for name, colour in COLOURS.items()}


def like(crop_: torch.Tensor, colour: tuple[int, int, int]) -> torch.Tensor:
    return (crop_ - torch.tensor(colour, dtype=torch.float32)[:, None, None]).abs().amax(0) < 60


def shown(crop_: torch.Tensor) -> str | None:
    """The clip whose colour a crop has, if any."""
    counts = shares(crop_)
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] > 100 else None


def edges(box: torch.Tensor, size: int) -> np.ndarray:
    """Left, top, right, bottom of a box (cx, cy, w, h) relative to the crop's middle, cut off at the crop's border."""
    cx, cy, w, h = box.tolist()
    return np.clip(np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]) + size / 2, 0, size)


def measured(crop_: torch.Tensor, colour: tuple[int, int, int]) -> np.ndarray:
    """Left, top, right, bottom of the pixels of which at least half are of that colour."""
    # Along one axis the share of the colour falls from 1 to 0 at the edge; the other channels are far from grey.
    direction = torch.tensor(colour, dtype=torch.float32) - 75
    projected = ((crop_ - 75) * direction[:, None, None]).sum(0) / direction.square().sum()
    rows, columns = (projected > 0.5).nonzero(as_tuple=True)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)


def same(a: PairBatch, b: PairBatch) -> bool:
    pairs = [(getattr(a, item.name), getattr(b, item.name)) for item in fields(PairBatch)]
    return all((x is None and y is None) or torch.equal(x, y) for x, y in pairs)


# What depends on what -------------------------------------------------------------------------------------------------


def test_a_batch_depends_only_on_seed_step_and_rank(pool):
    config = PairConfig(composited=0, context=True)
    source = PairSource(pool, config, seed=5)
    batches = [source.batch(step, 3) for step in range(3)]
    resumed = PairSource(pool, config, seed=5)
    torch.manual_seed(123)  # numbers that others draw change nothing
    assert same(resumed.batch(2, 3), batches[2])
    assert same(source.batch(0, 3), batches[0])
    for a, b in pairwise(batches):
        assert not torch.equal(a.search, b.search)
    assert not torch.equal(PairSource(pool, config, seed=6).batch(0, 3).search, batches[0].search)


def test_ranks_never_see_the_same_random_numbers(pool):
    sources = [PairSource(pool, PLAIN, seed=1, rank=rank, world=3) for rank in range(3)]
    shifts = torch.cat([source.batch(step, 5).box[:, :2] for step in range(3) for source in sources])
    assert len(shifts.unique(dim=0)) == len(shifts) == 5 * 3 * 3


def test_streams_of_a_seed_all_differ_where_a_generator_takes_32_bits():
    draws = Draws(torch.device("cpu"))
    seeds = set()
    for seed, stream in product((0, 2**40), range(5000)):
        draws.restart(seed, stream)
        seeds.add((seed, draws._generator.initial_seed() & 0xFFFFFFFF))
    assert len(seeds) == 2 * 5000


def test_batches_have_their_shapes_and_are_finite(pool):
    for size in (1, 2, 7):
        batch = PairSource(pool, replace(PLAIN, context=True), seed=0).batch(3, size)
        assert batch.template.shape == (size, 3, 127, 127)
        assert batch.search.shape == (size, 3, 255, 255)
        assert batch.template_context is not None and batch.template_context.shape == (size, 3, 255, 255)
        assert batch.box.shape == (size, 4) and batch.positive.shape == (size,) and batch.positive.dtype == torch.bool
        assert batch.teacher_scores is None and batch.teacher_boxes is None
        for name in (item.name for item in fields(PairBatch) if not item.name.startswith("teacher")):
            values = getattr(batch, name)
            assert values.isfinite().all()
            if values.dim() == 4:
                assert values.dtype == torch.float32 and values.min() >= 0 and values.max() <= 255
    assert PairSource(pool, PLAIN, seed=0).batch(0, 2).template_context is None


# Boxes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_boxes_are_where_the_rectangles_are_in_all_crops(pool):
    source = PairSource(pool, replace(PLAIN, negatives=0, context=True), seed=2)
    far = 0.0
    for step in range(2):
        batch = source.batch(step, 16)
        assert batch.positive.all() and batch.template_box is not None and batch.template_context is not None
        for i in range(16):
            name = shown(batch.template[i])
            assert name is not None
            middle = torch.tensor([0.0, 0.0, *batch.template_box[i, 2:]])
            for crop_, box in (
                (batch.template[i], batch.template_box[i]),
                (batch.search[i], batch.box[i]),
                (batch.template_context[i], middle),
            ):
                found = measured(crop_, COLOURS[name])
                assert np.abs(found - edges(box, crop_.shape[-1])).max() <= 1.01, (step, i)
            far = max(far, float(batch.box[i, :2].abs().max()))
    assert far > 50  # targets are all over the search region


def test_without_variation_the_crops_are_the_trackers_crops(pool):
    config = replace(
        PLAIN,
        weights={"videos": 0, "stills": 1, "backgrounds": 0},
        negatives=0,
        flip=0,
        template_shift=0,
        template_scale=0,
        search_shift=0,
        search_scale=0,
        search_stretch=0,
    )
    batch = PairSource(pool, config, seed=0).batch(0, 4)
    for i in range(4):
        picture = texture(0)
        picture[50:110, 80:120] = COLOURS[shown(batch.template[i]) or ""]
        side = context_side(40, 60)
        for size, crop_ in ((127, batch.template[i]), (255, batch.search[i])):
            expected = crop(picture, (100, 80), side * size / 127, size).astype(float)
            difference = np.abs(crop_.permute(1, 2, 0).numpy() - expected)
            # OpenCV weighs in steps of 1/32 and fades into the border differently.
            assert np.median(difference) < 1 and np.quantile(difference, 0.97) < 9


def test_a_mirrored_pair_is_mirrored_in_both_crops(tmp_path):
    picture = texture(0)
    picture[40:100, 60:90], picture[40:100, 90:120] = (255, 0, 0), (0, 0, 255)  # blue left, red right
    mask = np.zeros(picture.shape[:2], bool)
    mask[40:100, 60:120] = True
    pool = pool_of(cut_out(tmp_path, "halves", "stills", mask, [picture], masked=False))
    batch = PairSource(pool, replace(PLAIN, negatives=0, flip=0.5), seed=4).batch(0, 20)

    def mirrored(crops: torch.Tensor) -> torch.Tensor:
        columns = torch.arange(crops.shape[-1], dtype=torch.float32)
        blue, red = ((crops[:, a] > 160) & (crops[:, b] < 90) for a, b in ((0, 2), (2, 0)))
        return (blue.sum(1) * columns).sum(1) / blue.sum((1, 2)) > (red.sum(1) * columns).sum(1) / red.sum((1, 2))

    assert torch.equal(mirrored(batch.template), mirrored(batch.search))
    assert 3 < mirrored(batch.search).sum() < 17


# Who is paired with whom ----------------------------------------------------------------------------------------------


def test_negatives_show_another_clip_and_positives_the_same(pool):
    source = PairSource(pool, replace(PLAIN, negatives=0.5), seed=3)
    negatives = 0
    for step in range(2):
        batch = source.batch(step, 24)
        for template, search, positive in zip(batch.template, batch.search, batch.positive.tolist(), strict=True):
            name = shown(template)
            assert name is not None and shown(search) is not None
            assert (shares(search)[name] > 0) == positive
            negatives += not positive
    assert 12 < negatives < 36


def test_another_object_of_the_same_picture_is_no_negative(tmp_path):
    both = texture(0)
    masks = [np.zeros(both.shape[:2], bool) for _ in range(2)]
    masks[0][20:60, 30:70], masks[1][80:120, 110:170] = True, True
    for mask, name in zip(masks, ("red", "green"), strict=True):
        both[mask] = COLOURS[name]
    clips = [cut_out(tmp_path, "same", "stills", mask, [both], masked=False) for mask in masks]
    alone = PairSource(pool_of(*clips), replace(PLAIN, negatives=1), seed=0)
    assert alone.batch(0, 6).positive.all()
    other = rectangles(tmp_path, "blue", "videos", COLOURS["blue"], [(60, 60, 50, 40)])
    batch = PairSource(pool_of(*clips, other), replace(PLAIN, negatives=1), seed=0).batch(0, 12)
    for template, search, positive in zip(batch.template, batch.search, batch.positive.tolist(), strict=True):
        blue = [shares(crop_)["blue"] > 100 for crop_ in (template, search)]
        assert not positive and blue[0] != blue[1]


def test_look_alikes_come_from_the_same_source(pool):
    table = PairSource(pool, PLAIN, seed=0).table
    draws = Draws(torch.device("cpu"))
    draws.restart(0, 0)
    clips = table.draw_clips(draws, 4000)
    for look_alikes in (1.0, 0.6, 0.0):
        other, found = table.draw_elsewhere(draws, clips, table.scene[clips], look_alikes)
        assert found.all() and not (table.clips[other] == table.clips[clips]).any()
        alike = (table.source[other] == table.source[clips]).float().mean()
        # Two sources of equal weight, 3 and 2 clips: without the target's own clip 2/5 and 1/3 are of its source.
        by_chance = (2 / 5 + 1 / 3) / 2
        assert alike == pytest.approx(look_alikes + (1 - look_alikes) * by_chance, abs=0.03), look_alikes


def test_views_without_a_usable_box_never_serve(tmp_path):
    nearly_all = [(2, 2, 196, 146)] * 2
    clips = [
        rectangles(tmp_path, "red", "videos", COLOURS["red"], [(30, 40, 50, 36), NAN, (34, 41, 50, 36), NAN]),
        rectangles(tmp_path, "tiny", "videos", COLOURS["green"], [(30, 40, 5, 30)] * 3),
        rectangles(tmp_path, "large", "videos", COLOURS["blue"], nearly_all),
        background(tmp_path, "empty", texture(3)),
    ]
    pool = pool_of(*clips)
    source = PairSource(pool, PLAIN, seed=0)
    assert source.table.views.tolist() == [0, 2]
    batch = source.batch(0, 12)
    assert all(shown(crop_) == "red" for crop_ in (*batch.template, *batch.search))
    with pytest.raises(ValueError, match="none of 6"):
        PairSource(pool_of(*clips[1:]), PLAIN, seed=0)


def test_pairs_stay_within_the_gap_and_show_two_frames_where_there_are_two(pool):
    config = replace(PLAIN, max_gap=50, gaps={"videos": 3})
    table = PairSource(pool, config, seed=0).table
    draws = Draws(torch.device("cpu"))
    draws.restart(0, 0)
    clips = table.draw_clips(draws, 4000)
    first, second = table.draw_pair(draws, clips)
    assert torch.equal(pool.view_clip[first], pool.view_clip[second])
    assert torch.equal(pool.view_clip[first], table.clips[clips])
    gap = (first - second).abs()
    video = pool.view_image.bincount()[pool.view_image[first]] > 0
    video &= pool.clip_length[pool.view_clip[first]] > 1
    assert gap[~video].max() == 0 and set(gap[video].unique().tolist()) == {1, 2, 3}
    assert torch.isfinite(pool.boxes[torch.cat([first, second])]).all()
    alone = PairSource(pool, replace(PLAIN, max_gap=0), seed=0).table
    first, second = alone.draw_pair(draws, alone.draw_clips(draws, 500))
    assert torch.equal(first, second)


def test_sources_and_stills_come_as_often_as_asked_for(pool):
    draws = Draws(torch.device("cpu"))
    draws.restart(0, 0)

    def share_of_stills(**settings: object) -> float:
        table = PairSource(pool, replace(PLAIN, **settings), seed=0).table
        clips = table.clips[table.draw_clips(draws, 20000)]
        return float((pool.clip_length[clips] == 1).float().mean())

    assert share_of_stills() == pytest.approx(1 / 2, abs=0.02)  # two sources that have objects, equal weights
    assert share_of_stills(weights={"videos": 3}) == pytest.approx(1 / 4, abs=0.02)
    assert share_of_stills(weights={"videos": 0}) == 1
    assert share_of_stills(weights={"videos": 3}, stills=0.7) == pytest.approx(0.7, abs=0.02)
    assert share_of_stills(weights={"stills": 0}, stills=0.7) == 0


def test_beyond_the_border_is_a_plain_colour_or_another_picture(tmp_path):
    picture = texture(0, 60, 60)
    picture[10:50, 10:50] = COLOURS["red"]
    mask = np.zeros((60, 60), bool)
    mask[10:50, 10:50] = True
    other = texture(1)
    other[:] = COLOURS["green"]
    pool = pool_of(
        cut_out(tmp_path, "large", "stills", mask, [picture], masked=False), background(tmp_path, "green", other)
    )
    for surround, expected in ((0.0, 0), (1.0, 12)):
        batch = PairSource(pool, replace(PLAIN, surround=surround), seed=0).batch(0, 12)
        greens = [shares(search)["green"] for search in batch.search]
        assert sum(green > 10000 for green in greens) == expected
        for search, box in zip(batch.search, batch.box, strict=True):
            assert np.abs(measured(search, COLOURS["red"]) - edges(box, 255)).max() <= 1.01


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"negatives": 1.5}, "negatives .* 1.5"),
        ({"stills": -0.1}, "stills .* -0.1"),
        ({"max_gap": -1}, "max_gap .* -1"),
        ({"search_shift": float("nan")}, "search_shift .* nan"),
        ({"weights": {"videos": -1.0}}, "videos .* -1.0"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_its_name(settings, text):
    with pytest.raises(ValueError, match=text):
        PairConfig(**settings)


def test_unknown_sources_ranks_and_steps_are_refused(pool):
    with pytest.raises(ValueError, match=r"'cocoa'; there are videos, stills, backgrounds"):
        PairSource(pool, PairConfig(weights={"cocoa": 1.0}), seed=0)
    with pytest.raises(ValueError, match="got 2"):
        PairSource(pool, PairConfig(), seed=0, rank=2, world=2)
    with pytest.raises(ValueError, match="none of"):
        PairSource(pool, PairConfig(weights={"videos": 0, "stills": 0}), seed=0)
    with pytest.raises(ValueError, match="got 0 and 0"):
        PairSource(pool, PLAIN, seed=0).batch(0, 0)


def test_without_masks_nothing_is_composited_and_a_warning_says_so(pool, caplog):
    source = PairSource(pool, PairConfig(composited=1.0, appearance=UNCHANGED), seed=0)
    assert "masks" in caplog.text
    assert source.batch(0, 4).search.shape[0] == 4
    assert source.describe().splitlines()[0] == "videos: 3 clips, 33 views; with masks 0 clips, 0 views"


# The device -----------------------------------------------------------------------------------------------------------


class Waits(TorchDispatchMode):
    """Notes what would make the host wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if by_mask or name in ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal"):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def test_nothing_in_a_batch_waits_for_the_device(pool):
    source = PairSource(pool, PairConfig(context=True), seed=0)
    with Waits() as waits:
        source.batch(0, 8)
    assert waits.found == []
    with Waits() as waits:
        bool(source.batch(0, 8).positive.any())
    assert waits.found  # it does notice


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_batch_on_a_gpu_never_waits_and_has_the_same_shapes(pool):
    source = PairSource(pool.to("cuda"), PairConfig(context=True), seed=0)
    source.batch(0, 8)
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = source.batch(1, 8)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert batch.search.shape == (8, 3, 255, 255) and bool(batch.search.isfinite().all())
    assert same(batch, source.batch(1, 8))


# Appearance -----------------------------------------------------------------------------------------------------------


def degraded(config: AppearanceConfig, crops: torch.Tensor, seed: int = 0) -> torch.Tensor:
    appearance, draws = Appearance(config, crops.device), Draws(crops.device)
    draws.restart(seed, 0)
    what = appearance.draw(draws, len(crops))
    return appearance.apply(crops, what, draws.normal(len(what.noisy), *crops.shape[1:]))


def pictures(count: int, size: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    stack = [cv2.resize(rng.uniform(-40, 295, (9, 9, 3)), (size, size), interpolation=cv2.INTER_CUBIC)] * count
    return torch.from_numpy(np.stack(stack).clip(0, 255)).float().permute(0, 3, 1, 2)


@pytest.mark.parametrize(("size", "compression"), [(127, 1.0), (255, 1.0), (127, 0.0)])
def test_appearance_keeps_shape_and_range_at_its_extremes(size, compression):
    config = AppearanceConfig(2, 2, 2, 1, 2, 1.0, 6.0, 12.0, 1.0, 80.0, compression, (1, 100))
    for seed in range(3):
        for crops in (pictures(6, size), torch.zeros(6, 3, size, size), torch.full((6, 3, size, size), 255.0)):
            out = degraded(config, crops, seed)
            assert out.shape == crops.shape and out.isfinite().all() and out.min() >= 0 and out.max() <= 255


def test_appearance_switched_off_changes_nothing_and_on_differs_from_crop_to_crop():
    crops = pictures(8, 127)
    assert (degraded(UNCHANGED, crops) - crops).abs().max() < 1e-3
    out = degraded(AppearanceConfig(), crops)
    for i, j in pairwise(range(8)):
        assert (out[i] - out[j]).abs().mean() > 1


def test_only_the_asked_share_is_blurred_noisy_or_compressed():
    crops = pictures(40, 63)
    for setting in ("blur", "noise", "compression"):
        out = degraded(replace(UNCHANGED, **{setting: 0.3}), crops)
        changed = ((out - crops).abs().amax((1, 2, 3)) > 0.01).sum()
        # The shortest blurs leave a crop as it is.
        assert changed == 12 or (setting == "blur" and 9 <= changed < 12), setting


def test_blurs_are_what_an_independent_filter_makes_of_their_kernels():
    crops = pictures(3, 64)
    kernels = blur_kernels(
        torch.tensor([0.0, 9.0, 9.0]), torch.tensor([0.0, 0.0, np.pi / 2]), torch.tensor([2, 0, 0.0])
    )
    out = blurred(crops, kernels)
    for crop_, kernel, result in zip(crops, kernels.numpy(), out, strict=True):
        expected = cv2.filter2D(crop_.permute(1, 2, 0).numpy(), -1, kernel, borderType=cv2.BORDER_REPLICATE)
        assert np.abs(result.permute(1, 2, 0).numpy() - expected).max() < 1e-2
    along = (kernels > 0).sum(2).amax(1), (kernels > 0).sum(1).amax(1)
    assert along[0].tolist() == [5, 9, 1] and along[1].tolist() == [5, 1, 9]


def test_compression_is_what_a_jpeg_encoder_does():
    crops = pictures(1, 128) + torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 6
    crops = crops.clamp(0, 255).round()
    picture = crops[0].permute(1, 2, 0).numpy().astype(np.uint8)
    for quality in (15, 50, 85):
        out = degraded(replace(UNCHANGED, compression=1.0, quality=(quality, quality)), crops)[0]
        file = BytesIO()
        # colours in full resolution, which OpenCV can write since 4.7 only
        Image.fromarray(picture[:, :, ::-1]).save(file, "JPEG", quality=quality, subsampling=0)
        coded = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR).astype(float)
        ours, lost = out.permute(1, 2, 0).numpy(), np.abs(coded - picture).mean()
        # The encoder also rounds to whole numbers on its way.
        assert np.abs(ours - coded).mean() < min(1.2, lost / 3)
        assert np.abs(ours - picture).mean() == pytest.approx(lost, rel=0.03)


# Pairs by OpenCV ------------------------------------------------------------------------------------------------------


def test_pairs_by_opencv_depend_only_on_seed_and_step_and_show_their_boxes(pool):
    config = replace(PLAIN, context=True, flip=0)
    source = CpuPairSource(pool, config, every=2, seed=5)
    batches = [source.batch(step, 6) for step in range(3)]
    assert same(CpuPairSource(pool, config, every=2, seed=5, threads=1).batch(2, 6), batches[2])
    assert not torch.equal(batches[0].search, batches[1].search)
    checked = 0
    for batch in batches:
        assert batch.template_context is not None
        assert batch.template_context[1::2].abs().max() == 0 < batch.template_context[::2].mean((1, 2, 3)).min()
        for crop_, box, name in zip(batch.search, batch.box, map(shown, batch.search), strict=True):
            if name is not None:
                assert np.abs(measured(crop_, COLOURS[name]) - edges(box, 255)).max() <= 1.5
                checked += 1
    assert checked >= 12


def test_a_crop_by_opencv_is_the_crop_of_the_pool(pool):
    source = CpuPairSource(pool, PLAIN, seed=1)
    for step, (x, y) in ((0.4, (12.3, 20.1)), (1.0, (-15.0, 40.0)), (2.7, (-300.0, -200.0))):
        affine = torch.tensor([[[step, 0, x], [0, -step, y + 127 * step]]])
        expected = pool.crop(torch.tensor([0]), affine, 127)[0].permute(1, 2, 0)
        found = torch.from_numpy(source._cut(0, affine[0].numpy(), 127, None)).float()
        # OpenCV rounds to whole levels, and weighs neighbours in steps of 1 / 32.
        assert (found - expected).abs().quantile(0.99) <= 4 and (found - expected).abs().mean() < 1


def test_looks_by_opencv_are_those_of_the_batches():
    config = AppearanceConfig(noise=0, compression=0, blur=1.0, light=0.5, contrast=0.5)
    crops = cv2.resize(np.random.default_rng(0).integers(40, 200, (8, 8, 3), np.uint8), (127, 127))[None].repeat(3, 0)
    draws = Draws(torch.device("cpu"))
    draws.restart(1, 2)
    appearance = Appearance(config, torch.device("cpu"))
    what = appearance.draw(draws, 3)
    batch = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    expected = appearance.apply(batch, what, torch.empty(0, 3, 127, 127)).permute(0, 2, 3, 1)
    nobody = torch.zeros(3, dtype=torch.bool)
    looks = _Looks(what, nobody, nobody)
    for index in range(3):
        found = torch.from_numpy(looks.applied(crops[index], index, np.random.default_rng(0))).float()
        assert (found - expected[index]).abs().mean() < 1.5


def test_pairs_by_opencv_refuse_what_they_can_not_make(pool):
    with pytest.raises(ValueError, match=r"pairs\.composited=0"):
        CpuPairSource(pool, PairConfig(), seed=1)


def test_inverted_pairs_are_grey_and_change_light_for_dark(pool):
    plain = replace(PLAIN, grayscale=1, negatives=0)
    grey, inverted = (CpuPairSource(pool, replace(plain, inverted=share), seed=3).batch(0, 4) for share in (0.0, 1.0))
    for a, b in ((grey.search, inverted.search), (grey.template, inverted.template)):
        assert torch.equal(a, 255 - b) and torch.equal(b[:, 0], b[:, 2])
