# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Composited scenes, measured in the crops: white objects over black pictures, counted pixel by pixel."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from photographs import UNCHANGED, background, cut_out, pool_of, texture

from snscf_core.crops import context_side, crop
from snscf_core.data.compositor import CompositorConfig, _thin_plate
from snscf_core.data.pairs import PairBatch, PairConfig, PairSource
from snscf_core.data.pool import ImagePool
from snscf_core.data.readers import READERS

ALONE = CompositorConfig(neighbours=0, occluder=0, template_occluder=0, harmony=0)
SCENES = PairConfig(
    composited=1, negatives=0, appearance=UNCHANGED, grayscale=0, template_shift=0, context=True, compositor=ALONE
)
BLACK = np.zeros((220, 260, 3), np.uint8)


def shapes() -> dict[str, np.ndarray]:
    """Masks, 220 x 260 bool: round, pointed, hollow and long things."""
    y, x = np.mgrid[:220, :260] + 0.5
    star = np.zeros((220, 260), np.uint8)
    angles = np.arange(10) * math.pi / 5
    radii = np.where(np.arange(10) % 2, 30, 75)
    points = np.stack([130 + radii * np.sin(angles), 110 - radii * np.cos(angles)], 1)
    cv2.fillPoly(star, [points.round().astype(np.int32)], 1)
    return {
        "ellipse": ((x - 130) / 80) ** 2 + ((y - 110) / 50) ** 2 < 1,
        "star": star > 0,
        "ring": (np.hypot(x - 130, y - 110) < 70) & (np.hypot(x - 130, y - 110) > 45),
        "plank": (abs(x - 130) < 95) & (abs(y - 110) < 14),
    }


def white(mask: np.ndarray) -> np.ndarray:
    return np.repeat((mask * 255).astype(np.uint8)[..., None], 3, 2)


def white_on_black(folder, mask: np.ndarray, pictures: int = 2) -> ImagePool:
    """The object is white in a white picture, so that its edges are those of its alpha, over black pictures only."""
    return pool_of(
        cut_out(folder, "object", "stills", mask, [np.full_like(BLACK, 255)] * pictures),
        background(folder, "black", BLACK),
    )


def extent(crop_: torch.Tensor, threshold: float = 127.5) -> np.ndarray:
    """Left, top, right, bottom of what is brighter than ``threshold``."""
    rows, columns = np.nonzero(crop_.numpy().mean(0) > threshold)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)


def edges(box: torch.Tensor, size: int) -> np.ndarray:
    cx, cy, w, h = box.tolist()
    return np.clip(np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]) + size / 2, 0, size)


@pytest.mark.slow
@pytest.mark.parametrize("name", shapes())
def test_boxes_are_the_extent_of_what_is_counted(tmp_path, name):
    bent = replace(ALONE, rotation=40.0, stretch=0.4, perspective=0.25, bend=0.08)
    source = PairSource(white_on_black(tmp_path, shapes()[name]), replace(SCENES, compositor=bent), seed=1)
    batch = source.batch(0, 12)
    assert batch.positive.all() and batch.template_box is not None and batch.template_context is not None
    for i in range(12):
        for crop_, box in (
            (batch.search[i], batch.box[i]),
            (batch.template[i], batch.template_box[i]),
            (batch.template_context[i], batch.template_box[i]),
        ):
            error = np.abs(extent(crop_) - edges(box, crop_.shape[-1]))
            # A counted edge is a whole pixel, a pointed end can be thinner than one.
            assert error.max() < (2.5 if name == "star" else 1.2), (i, error)
    # The two moments are not the same picture.
    sizes = batch.box[:, 2] / batch.box[:, 3], batch.template_box[:, 2] / batch.template_box[:, 3]
    assert (sizes[0] / sizes[1]).log2().abs().max() > 0.1


def test_still_scenes_cut_their_object_as_a_tracker_would(tmp_path):
    """Without any motion a composited crop is the tracker's crop of the object alone."""
    rigid = replace(ALONE, rotation=0, stretch=0, flip=0, perspective=0, bend=0)
    config = replace(SCENES, compositor=rigid, search_shift=0, search_scale=0, search_stretch=0, template_scale=0)
    mask = shapes()["ellipse"]
    batch = PairSource(white_on_black(tmp_path, mask), config, seed=0).batch(0, 2)
    side = context_side(160, 100) * 255 / 127
    expected = crop(white(mask), (130, 110), side, 255).astype(float)
    for search in batch.search:
        overlap = (search.numpy().mean(0) > 127) & (expected.mean(2) > 127)
        union = (search.numpy().mean(0) > 127) | (expected.mean(2) > 127)
        assert overlap.sum() / union.sum() > 0.95  # a soft edge lies a little inside the mask


@pytest.mark.slow
def test_the_template_is_the_middle_of_its_context(tmp_path):
    clips = [cut_out(tmp_path, name, "stills", mask, [texture(3, 220, 260)]) for name, mask in shapes().items()]
    config = replace(SCENES, compositor=CompositorConfig(), composited=1)
    batch = PairSource(pool_of(*clips), config, seed=0).batch(0, 6)
    assert batch.template_context is not None
    middle = batch.template_context[:, :, 64:-64, 64:-64]
    assert (middle - batch.template).abs().mean() < 0.5 and (middle - batch.template).abs().max() < 40
    shifted = PairSource(pool_of(*clips), replace(config, template_shift=8.0), seed=0).batch(0, 6)
    assert shifted.template_context is not None and shifted.template_box is not None
    assert shifted.template_box[:, :2].abs().max() > 2
    # The target is in the middle of the context, and elsewhere in the template.
    pixels = torch.arange(127) - 63
    x, y = (pixels[None] - shifted.template_box[:, axis, None] for axis in (0, 1))
    grid = torch.stack([x[:, None, :].expand(-1, 127, -1), y[:, :, None].expand(-1, -1, 127)], -1) * 2 / 255
    middle = torch.nn.functional.grid_sample(shifted.template_context, grid, align_corners=False)
    assert (middle - shifted.template).abs().mean() < 0.5


def coloured(folder) -> ImagePool:
    """A white object; green, and red ones with masks; black pictures."""
    mask = shapes()["ellipse"]
    colours = {"white": (255, 255, 255), "green": (0, 255, 0), "red": (0, 0, 255)}
    clips = [
        cut_out(folder, name, "white" if name == "white" else "others", mask, [np.full_like(BLACK, colour)])
        for name, colour in colours.items()
    ]
    return pool_of(*clips, background(folder, "black", BLACK))


def whiteness(crops: torch.Tensor) -> torch.Tensor:
    """Pixels that only the white object can give: bright in all three channels."""
    return (crops.amin(1) > 100).sum((1, 2))


def scenes_of_white(pool: ImagePool, config: PairConfig) -> tuple[PairBatch, torch.Tensor]:
    """A batch and which of its templates show the white object, in their middle."""
    made = PairSource(pool, replace(config, context=False), seed=0).batch(0, 14)
    return made, whiteness(made.template[:, :, 60:67, 60:67]) == 49


@pytest.mark.slow
def test_a_target_that_is_absent_is_nowhere_in_the_search_crop_and_another_object_is(tmp_path):
    config = replace(SCENES, negatives=1, compositor=replace(ALONE, recoloured=0))
    batch, chosen = scenes_of_white(coloured(tmp_path), config)
    assert chosen.sum() >= 4 and not batch.positive.any()
    assert (whiteness(batch.search[chosen]) == 0).all()
    assert ((batch.search[chosen].amax(1) > 200).sum((1, 2)) > 500).all()
    assert batch.box.isfinite().all()
    with_target, _ = scenes_of_white(coloured(tmp_path), replace(config, negatives=0))
    assert (whiteness(with_target.search[chosen]) > 200).all() and with_target.positive.all()


@pytest.mark.slow
def test_an_occluder_hides_part_of_the_target_and_leaves_its_box(tmp_path):
    pool = coloured(tmp_path)
    free, chosen = scenes_of_white(pool, SCENES)
    config = replace(SCENES, compositor=replace(ALONE, occluder=1.0, bars=0.0))
    hidden, _ = scenes_of_white(pool, config)
    assert torch.equal(free.box, hidden.box) and torch.equal(free.template, hidden.template)
    left = (whiteness(hidden.search) / whiteness(free.search).clamp(min=1))[chosen]
    assert (left < 0.95).float().mean() > 0.5
    # Occluded by less than most of it, or not at all; a target that is as good as gone makes a negative.
    positive = hidden.positive[chosen]
    assert (left[positive] > config.compositor.min_visible - 0.07).all()
    assert (left[~positive] < config.compositor.hidden + 0.05).all()


@pytest.mark.slow
def test_what_is_hidden_completely_is_a_negative_and_what_is_nearly_is_shown(tmp_path):
    pool = coloured(tmp_path)
    covered = replace(ALONE, occluder=1.0, bars=0.0, min_visible=1.0, hidden=0.0)
    shown, chosen = scenes_of_white(pool, replace(SCENES, compositor=covered))
    free, _ = scenes_of_white(pool, SCENES)
    # With everything to be seen demanded, every occluder that touches the target goes away.
    assert shown.positive[chosen].all()
    ratio = whiteness(shown.search[chosen]) / whiteness(free.search[chosen])
    assert ((ratio - 1).abs() < 0.02).all()
    lenient = replace(covered, min_visible=0.0, hidden=1.0)
    strict, _ = scenes_of_white(pool, replace(SCENES, compositor=lenient))
    ratio = (whiteness(strict.search) / whiteness(free.search).clamp(min=1))[chosen]
    # With all to be seen demanded of a positive, every pair with an occluder on its target is a negative.
    assert not strict.positive[chosen][ratio < 0.98].any() and (ratio < 0.98).any()


@pytest.mark.slow
def test_look_alikes_are_the_target_in_clearly_other_colours_and_never_in_grey(tmp_path):
    mask = shapes()["star"]
    object_ = cut_out(tmp_path, "object", "stills", mask, [np.full_like(BLACK, (40, 60, 220))])
    pool = pool_of(object_, background(tmp_path, "black", BLACK))
    config = replace(SCENES, context=False, compositor=replace(ALONE, neighbours=1.0, recoloured=1.0))

    def others(batch: PairBatch) -> torch.Tensor:
        """Pixels that are lit, and not in the target's red."""
        red = (batch.search[:, 2] > 0.6 * batch.search.amax(1)) & (
            batch.search[:, 2] > 1.8 * batch.search[:, :2].amax(1)
        )
        return ((batch.search.amax(1) > 60) & ~red).sum((1, 2))

    batch = PairSource(pool, config, seed=0).batch(0, 12)
    assert (others(batch) > 300).float().mean() > 0.8 and batch.positive.all()
    alone = PairSource(pool, replace(config, compositor=ALONE), seed=0).batch(0, 12)
    assert (others(alone) < 60).all()
    grey = PairSource(pool, replace(config, grayscale=1.0), seed=0).batch(0, 12)
    lit = [(made.search.amax(1) > 60).sum((1, 2)) for made in (grey, alone)]
    assert (lit[0] / lit[1] < 1.2).all()
    absent = PairSource(pool, replace(config, negatives=1.0), seed=0).batch(0, 6)
    assert (absent.search.amax(1) < 60).all() and not absent.positive.any()


def test_backgrounds_move_and_are_never_pictures_of_the_target(tmp_path):
    mask = shapes()["ellipse"]
    pictures = [np.full_like(BLACK, (0, 0, 255))] * 3
    far = background(tmp_path, "far", texture(5, 220, 260, 20, 140))
    batch = PairSource(pool_of(cut_out(tmp_path, "red", "stills", mask, pictures), far), SCENES, seed=0).batch(0, 12)
    assert batch.template_context is not None
    corner = batch.search[:, :, :6, :6].flatten(2).mean(2)
    outside_red = (corner[:, 2] - corner[:, 0]).abs()
    assert outside_red.max() < 30  # grey, or the grey picture's mean
    assert (batch.template_context[:, :, ::40] - batch.search[:, :, ::40]).abs().mean((1, 2, 3)).min() > 3


def test_masks_that_are_cut_off_empty_or_tiny_are_not_cut_out(tmp_path):
    y, x = np.mgrid[:220, :260]
    border = np.hypot(x - 120, y) < 60  # at the border: the object may go on outside
    tiny, thin, filled = (np.zeros(BLACK.shape[:2], bool) for _ in range(3))
    tiny[50:70, 50:70] = True
    thin[40:160, 40:43], thin[157:160, 40:160] = True, True  # a corner of two lines: nearly nothing in its box
    filled[40:160, 40:160] = True  # the mask is only a box
    good = shapes()["ring"]
    masks = {"border": border, "tiny": tiny, "thin": thin, "filled": filled, "good": good}
    clips = [cut_out(tmp_path, name, "stills", mask, [texture(1, 220, 260)]) for name, mask in masks.items()]
    source = PairSource(pool_of(*clips), SCENES, seed=0)
    assert len(source.table.views) == 5
    assert [source.pool.clip_names[clip] for clip in source.cutouts.clips.tolist()] == ["good"]


def test_the_composited_share_is_exact_over_steps(tmp_path):
    pool = coloured(tmp_path)
    config = replace(SCENES, composited=0.3, template_shift=8.0)
    source = PairSource(pool, config, seed=0)
    counts = []
    for step in range(5):
        calls: list[int] = []
        compose = source._compositor.compose

        def counting(cast, *rest, compose=compose, calls=calls):
            calls.append(len(cast.template))
            return compose(cast, *rest)

        source._compositor.compose = counting  # type: ignore[method-assign]
        source.batch(step, 4)
        source._compositor.compose = compose  # type: ignore[method-assign]
        counts.append(sum(calls))
    assert sum(counts) == 6 and set(counts) == {1, 2}  # 0.3 of 20 pairs


@pytest.mark.parametrize(
    ("settings", "text"), [({"bars": 2}, "bars .* 2"), ({"bend": -1}, "bend .* -1"), ({"perspective": 0.9}, "0.9")]
)
def test_a_setting_out_of_range_is_refused_with_its_name(settings, text):
    with pytest.raises(ValueError, match=text):
        CompositorConfig(**settings)


@pytest.mark.slow
def test_extreme_settings_give_finite_crops_in_range(tmp_path):
    wild = CompositorConfig(180, 2, 1, 0.4, 0.5, 1, 1, 1, 1, 1, 1, 0, 1, 2, 3, 180)
    clips = [cut_out(tmp_path, name, "stills", mask, [texture(3, 220, 260)]) for name, mask in shapes().items()]
    config = PairConfig(composited=1, negatives=0.5, context=True, search_shift=300, search_scale=2, compositor=wild)
    for step in range(2):
        batch = PairSource(pool_of(*clips), config, seed=0).batch(step, 6)
        for crops in (batch.template, batch.search, batch.template_context):
            assert crops is not None and crops.isfinite().all() and crops.min() >= 0 and crops.max() <= 255
        assert batch.box.isfinite().all() and (batch.box[:, 2:] > 0).all()


def test_a_thin_plate_follows_its_handles_and_keeps_straight_what_is_straight():
    nodes = 41  # a node at each handle: 0.7 is 14 of 20 steps from the middle
    plate = _thin_plate(nodes).double()
    line = torch.linspace(-1, 1, nodes, dtype=torch.float64)
    x, y = line.repeat(nodes), line.repeat_interleave(nodes)
    at = torch.tensor([6, 20, 34])
    handles = (at[:, None] * nodes + at[None]).flatten()
    assert (plate[handles] - torch.eye(9, dtype=torch.float64)).abs().max() < 1e-4
    straight = 0.3 * x - 0.2 * y + 0.1
    assert (plate @ straight[handles] - straight).abs().max() < 1e-4


@pytest.mark.slow
def test_real_pictures_are_composited(data):
    clips = READERS["coco"](data / "train" / "stills")[:600]
    pool, _ = ImagePool.build(clips, device="cpu", progress=False)
    source = PairSource(pool, PairConfig(composited=1.0, context=True), seed=0)
    assert len(source.cutouts.views) > 100
    batch = source.batch(0, 8)
    assert batch.search.isfinite().all() and batch.box.isfinite().all()
    # The larger part of a tracker's context lies outside its target.
    area = batch.box[batch.positive, 2:].prod(1)
    assert batch.positive.any() and (area > 20**2).all() and (area < 130**2).all()
