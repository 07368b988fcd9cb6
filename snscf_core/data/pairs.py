# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes training pairs (a template crop, a search crop and the target's box in it) in batches on the device.

As in section 4 of the paper, template and search come from two frames of one clip at most some frames apart. A still is
paired with itself. For negatives the search crop shows an object of another clip. A share of the pairs is composited
(``compositor``). Finally both crops are degraded (``appearance``).

Tables about the pool's contents are computed once, on its device. A batch is then a fixed sequence of tensor operations
of fixed shapes, and no step waits for the device.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..crops import SEARCH_SIZE, TEMPLATE_SIZE
from .appearance import Appearance, AppearanceConfig, Degradation, greyed
from .compositor import NEIGHBOURS, Cast, Compositor, CompositorConfig
from .draws import Draws
from .framing import Framing, moved, target_boxes, target_map
from .pool import ImagePool

_CANDIDATES = 8  # drawn for every other object; the first from another scene is taken
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairConfig:
    """Sets what pairs are made of. Shares and chances are from 0 to 1; values are drawn uniformly from ranges.

    weights, gaps: by source; an unnamed source has weight 1 and the gap ``max_gap``
    """

    weights: Mapping[str, float] = field(
        default_factory=dict, metadata={"help": "how often a source is chosen, relative to the others"}
    )
    max_gap: int = field(default=100, metadata={"help": "most frames kept in the pool between template and search"})
    gaps: Mapping[str, int] = field(default_factory=dict)
    stills: float | None = field(
        default=None,
        metadata={"help": "share of objects known from a single picture; None: follows from the weights"},
    )
    negatives: float = field(default=0.2, metadata={"help": "share of pairs whose search crop shows something else"})
    look_alikes: float = field(
        default=0.5,
        metadata={"help": "share of other objects taken from the target's source, so that they resemble it"},
    )
    composited: float = field(default=0.3, metadata={"help": "share of pairs made by the compositor"})
    context: bool = field(default=False, metadata={"help": "fill PairBatch.template_context"})

    template_shift: float = field(
        default=8.0, metadata={"help": "of the target in its template, crop pixels, ± (the paper: 8)"}
    )
    template_scale: float = field(default=1 / 8, metadata={"help": "2^± (the paper: 1/8)"})
    search_shift: float = field(
        default=64.0, metadata={"help": "of the target in the search region, crop pixels, ± (SiamRPN++: 64)"}
    )
    search_scale: float = field(default=1 / 4, metadata={"help": "2^± (the paper: 1/4)"})
    search_stretch: float = field(default=1 / 8, metadata={"help": "width against height: 2^±"})
    flip: float = field(default=0.5, metadata={"help": "chance that both crops are mirrored"})
    grayscale: float = field(default=0.15, metadata={"help": "chance that both crops lose their colour"})
    inverted: float = field(
        default=0.0, metadata={"help": "share of the grey pairs with light and dark inverted, as in infrared"}
    )
    surround: float = field(
        default=0.4,
        metadata={"help": "chance that a search crop shows another image beyond its border, not a plain colour"},
    )

    min_side: float = field(default=6.0, metadata={"help": "pixels of the image; a smaller box is not used"})
    max_area: float = field(default=0.75, metadata={"help": "share of the image; a larger box is not used"})
    min_cutout: float = field(
        default=24.0, metadata={"help": "pixels; least longer side of an object that is cut out by its mask"}
    )

    appearance: AppearanceConfig = field(default_factory=AppearanceConfig)
    compositor: CompositorConfig = field(default_factory=CompositorConfig)

    def __post_init__(self) -> None:
        for name in ("negatives", "look_alikes", "composited", "flip", "grayscale", "inverted", "surround", "max_area"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if self.stills is not None and not 0 <= self.stills <= 1:
            raise ValueError(f"stills must be from 0 to 1 or None, got {self.stills}")
        for name in "max_gap template_shift template_scale search_shift search_scale search_stretch".split():
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for source, weight in self.weights.items():
            if not 0 <= weight < float("inf"):
                raise ValueError(f"the weight of {source} must be a finite number of at least 0, got {weight}")
        for source, gap in self.gaps.items():
            if gap < 0:
                raise ValueError(f"the gap of {source} must be at least 0, got {gap}")


@dataclass(frozen=True)
class PairBatch:
    """Holds N pairs. Crops are float BGR, 0-255. Boxes are (cx, cy, w, h) in crop pixels from the crop's middle."""

    template: Tensor  # N x 3 x 127 x 127
    search: Tensor  # N x 3 x 255 x 255
    box: Tensor  # N x 4, the target in the search crop; for negatives, the object shown instead
    positive: Tensor  # N bool; False: the template's object is not in the search crop
    template_context: Tensor | None = None  # N x 3 x 255 x 255, the template's frame, the target exactly in the middle
    template_box: Tensor | None = None  # N x 4, the target in the template; width and height hold in the context too
    teacher_scores: Tensor | None = None  # N x 1 x P x P, 0 to 1, NaN where there is no teacher's answer
    teacher_boxes: Tensor | None = None  # N x 1 x 4 x P x P, as ``box``


class ViewTable:
    """Draws clips by weight, and pairs of views within a clip.

    usable: V bool, the views that may be drawn. Clips without any are left out. The remaining clips are renumbered,
        sorted by source.
    """

    def __init__(self, pool: ImagePool, usable: Tensor, scenes: Tensor, config: PairConfig) -> None:
        device = pool.device
        views = usable.nonzero()[:, 0]
        clip_of = pool.view_clip[views]
        counts = torch.bincount(clip_of, minlength=len(pool.clip_start))
        present = counts.nonzero()[:, 0]
        source = pool.clip_source[present]
        order = source.argsort(stable=True)
        clips, source = present[order], source[order]

        self.clips = clips
        self.source = source
        self.scene = scenes[clips]
        self.views = views
        self._first = (counts.cumsum(0) - counts)[clips]
        self._count = counts[clips]
        # The partners of a view are the views of its clip within the gap: a contiguous run of ``views``.
        gaps = torch.tensor([config.gaps.get(name, config.max_gap) for name in pool.sources], device=device)
        gap = gaps[pool.clip_source[clip_of]]
        start = (counts.cumsum(0) - counts)[clip_of]
        self._low = torch.maximum(torch.searchsorted(views, views - gap), start)
        self._high = torch.minimum(torch.searchsorted(views, views + gap, right=True), start + counts[clip_of])

        named = [config.weights.get(name, 1.0) for name in pool.sources]
        per_source = torch.tensor(named, dtype=torch.float64, device=device)
        weight = (per_source / torch.bincount(source, minlength=len(named)).clamp(min=1))[source]
        if config.stills is not None:
            still = self._count == 1
            shares = {True: config.stills, False: 1 - config.stills}
            parts = {kind: weight[still == kind].sum() for kind in shares}
            if all(part > 0 for part in parts.values()):
                for kind, share in shares.items():
                    weight = torch.where(still == kind, weight * share / parts[kind], weight)
        # Sum on the CPU: sums on a GPU differ from run to run.
        self._cumulative = weight.cpu().cumsum(0).to(device)
        self._before = self._cumulative - weight
        low, high = torch.searchsorted(source, source), torch.searchsorted(source, source, right=True) - 1
        self._source_from, self._source_to = self._before[low.clamp(max=max(len(clips) - 1, 0))], self._cumulative[high]
        self.total = float(self._cumulative[-1]) if len(clips) else 0.0

    def __len__(self) -> int:
        return len(self.clips)

    def draw_clips(self, draws: Draws, *shape: int) -> Tensor:
        """Draws clips by weight."""
        return self._at(draws.fraction(*shape) * self._cumulative[-1])

    def draw_pair(self, draws: Draws, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Draws two views of each clip within the gap, different ones if there are two."""
        first = self._first[clips] + draws.below(self._count[clips])
        low, others = self._low[first], self._high[first] - self._low[first] - 1
        second = low + draws.below(others)
        second = second + ((second >= first) & (others > 0))
        return self.views[first], self.views[second]

    def draw_elsewhere(self, draws: Draws, clips: Tensor, scene: Tensor, look_alikes: float) -> tuple[Tensor, Tensor]:
        """Draws for each of ``clips`` (N) another clip that is not of ``scene`` (N), and N bool whether one was found.

        The share ``look_alikes`` comes from the source of ``clips`` if that has other scenes.
        """
        n = len(clips)
        anywhere = self.draw_clips(draws, n, _CANDIDATES)
        start, end = self._source_from[clips][:, None], self._source_to[clips][:, None]
        alike = self._at(start + draws.fraction(n, _CANDIDATES) * (end - start))
        wanted = draws.chance(look_alikes, n, 1)
        candidates = torch.cat([torch.where(wanted, alike, anywhere), anywhere], 1)
        elsewhere = self.scene[candidates] != scene[:, None]
        preference = torch.arange(2 * _CANDIDATES, 0, -1, device=clips.device)
        best = (elsewhere * preference).argmax(1, keepdim=True)
        return candidates.gather(1, best)[:, 0], elsewhere.any(1)

    def _at(self, position: Tensor) -> Tensor:
        found = torch.searchsorted(self._cumulative, position, right=True)
        return found.clamp(max=len(self.clips) - 1)


class PairSource:
    """Makes endless batches of pairs; ``batch(step)`` depends only on (seed, step, rank, world).

    A run therefore resumes by continuing at its step. CPUs and GPUs draw different numbers. Ranks of a data-parallel
    run draw from different streams of random numbers. With ``compiled``, torch.compile handles the pixel operations:
    the first batches of each size take minutes, later ones less time than without. Raises ValueError if the pool has no
    usable view, or for a weight or gap of a source that the pool does not have.
    """

    def __init__(
        self,
        pool: ImagePool,
        config: PairConfig,
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
        compiled: bool = False,
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank must be from 0 to world - 1 = {world - 1}, got {rank}")
        for source in (*config.weights, *config.gaps):
            if source not in pool.sources:
                raise ValueError(f"there is no source {source!r}; there are {', '.join(pool.sources)}")
        self.pool, self.config = pool, config
        self._seed, self._rank, self._world = seed, rank, world
        self._draws = Draws(pool.device)
        self._appearance = Appearance(config.appearance, pool.device)
        self._compositor = Compositor(pool, config.compositor, compiled=compiled)
        self._crop, self._degraded = pool.crop, self._appearance.apply
        if compiled:
            self._crop = torch.compile(self._crop, dynamic=False)
            self._degraded = torch.compile(self._degraded, dynamic=False)

        scenes, image_scene = _scenes(pool)
        usable = _usable(pool, config)
        self.table = ViewTable(pool, usable, scenes, config)
        if not self.table.total > 0:
            raise ValueError(f"none of {len(pool.view_clip)} object views is usable for training")
        self.cutouts = ViewTable(pool, usable & _cut_out_well(pool, usable, config), scenes, config)
        self._image_order = image_scene.argsort(stable=True)
        ordered = image_scene[self._image_order]
        self._scene_from = torch.searchsorted(ordered, scenes)
        self._scene_to = torch.searchsorted(ordered, scenes, right=True)
        several = bool((image_scene != image_scene[0]).any())
        self._composited = config.composited if self.cutouts.total > 0 and several else 0.0
        if config.composited and not self._composited:
            _log.warning("no pairs are composited: the pool has no usable masks, or no other pictures for backgrounds")

    def describe(self) -> str:
        """Describes each source in one line: how many of its clips and views are usable and can be cut out."""
        lines = []
        for index, name in enumerate(self.pool.sources):
            numbers = []
            for table in (self.table, self.cutouts):
                of_source = self.pool.clip_source[self.pool.view_clip[table.views]] == index
                numbers += [int((table.source == index).sum()), int(of_source.sum())]
            lines.append("{}: {} clips, {} views; with masks {} clips, {} views".format(name, *numbers))
        return "\n".join(lines)

    def fingerprint(self) -> str:
        """Returns a digest that changes with the pairs: with images, sizes, boxes, masks or the kind of device."""
        pool = self.pool
        digest = hashlib.sha256(f"{pool.device.type} {pool.longest_side} {pool.clip_names}".encode())
        masks = (pool.view_has_mask, pool.mask_rectangles, pool.mask_pixels)
        for values in (pool.sizes, pool.means, pool.boxes, pool.view_image, pool.view_clip, *masks):
            digest.update(values.cpu().numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def batch(self, step: int, size: int) -> PairBatch:
        """Makes ``size`` pairs on the pool's device, the composited ones last."""
        if size < 1 or step < 0:
            raise ValueError(f"a batch needs a step of at least 0 and a size of at least 1, got {step} and {size}")
        # Training may use lower precision elsewhere; coordinates need float32.
        with torch.autocast(self.pool.device.type, enabled=False):
            return self._batch(step, size)

    def _batch(self, step: int, size: int) -> PairBatch:
        c, pool, draws = self.config, self.pool, self._draws
        draws.restart(self._seed, step * self._world + self._rank)
        # The count is exact in the long run, and equal in all batches if the share allows it.
        composed = int((step + 1) * size * self._composited + 1e-6) - int(step * size * self._composited + 1e-6)
        plain = size - composed
        grey = draws.chance(c.grayscale, size)
        template_framing = framing_drawn(draws, size, c.template_shift, c.template_scale, 0.0)
        search_framing = framing_drawn(draws, size, c.search_shift, c.search_scale, c.search_stretch)

        # Where everything is ------------------------------------------------------------------------------------------
        template_view, search_view, positive = self._views(plain)
        mirrored = torch.where(draws.chance(c.flip, plain), -1.0, 1.0)
        first, second = pool.boxes[template_view], pool.boxes[search_view]
        then, now = template_framing.part(0, plain), search_framing.part(0, plain)
        context_framing = Framing(torch.zeros_like(then.shift), then.scale)
        template_maps = [target_map(first, then, mirrored, TEMPLATE_SIZE)]
        search_maps = [target_map(second, now, mirrored, SEARCH_SIZE)]
        context_maps = [target_map(first, context_framing, mirrored, SEARCH_SIZE)]
        template_images, search_images = [pool.view_image[template_view]], [pool.view_image[search_view]]
        surround_images = self._other_images(pool.view_clip[template_view])
        surround_maps = self._compositor.backgrounds(surround_images, draws)[1]
        if composed:
            cast = self._cast(composed, grey[plain:])
            background_then, background_now = self._compositor.backgrounds(cast.backgrounds, draws)
            template_maps.append(moved(background_then, (SEARCH_SIZE - TEMPLATE_SIZE) / 2))
            search_maps.append(background_now)
            context_maps.append(moved(background_then, template_framing.shift[plain:]))
            template_images.append(cast.backgrounds)
            search_images.append(cast.backgrounds)

        # Pixels -------------------------------------------------------------------------------------------------------
        template = self._crop(torch.cat(template_images), torch.cat(template_maps), TEMPLATE_SIZE)
        large_images, large_maps = [*search_images, surround_images], [*search_maps, surround_maps]
        if c.context:
            large_images, large_maps = large_images + template_images, large_maps + context_maps
        large = self._crop(torch.cat(large_images), torch.cat(large_maps), SEARCH_SIZE)
        search, surround, context = large.tensor_split([size, size + plain])
        surrounded = draws.chance(c.surround, plain)[:, None, None]
        outside = ~_inside(search_maps[0], pool.sizes[search_images[0]], SEARCH_SIZE) & surrounded
        search = torch.cat([torch.where(outside[:, None], surround, search[:plain]), search[plain:]])
        template_box, box = target_boxes(first, then), target_boxes(second, now)
        if composed:
            scene = self._compositor.compose(
                cast,
                template[plain:],
                search[plain:],
                context[plain:] if c.context else None,
                template_framing.part(plain, size),
                search_framing.part(plain, size),
                draws,
            )
            template = torch.cat([template[:plain], scene.template])
            search = torch.cat([search[:plain], scene.search])
            if scene.context is not None:
                context = torch.cat([context[:plain], scene.context])
            template_box, box = torch.cat([template_box, scene.template_box]), torch.cat([box, scene.box])
            positive = torch.cat([positive, scene.positive])

        # Appearance ---------------------------------------------------------------------------------------------------
        of_template, of_search = self._appearance.draw(draws, size), self._appearance.draw(draws, size)

        # Drawn last, so that runs without inverted pairs keep the pairs they had before this option.
        inverted = grey & draws.chance(c.inverted, size) if c.inverted else torch.zeros_like(grey)

        def finished(crops: Tensor, what: Degradation) -> Tensor:
            noise = draws.normal(len(what.noisy), *crops.shape[1:])
            out = greyed(self._degraded(crops, what, noise), grey)
            return torch.where(inverted[:, None, None, None], 255 - out, out)

        return PairBatch(
            finished(template, of_template),
            finished(search, of_search),
            box,
            positive,
            finished(context, of_template) if c.context else None,
            template_box,
        )

    def _views(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draws views for templates and search crops, and whether they show the same object."""
        draws, table = self._draws, self.table
        clips = table.draw_clips(draws, count)
        template, search = table.draw_pair(draws, clips)
        other, found = table.draw_elsewhere(draws, clips, table.scene[clips], self.config.look_alikes)
        negative = draws.chance(self.config.negatives, count) & found
        return template, torch.where(negative, table.draw_pair(draws, other)[0], search), ~negative

    def _cast(self, count: int, grey: Tensor) -> Cast:
        draws, table = self._draws, self.cutouts
        clips = table.draw_clips(draws, count)
        template, search = table.draw_pair(draws, clips)
        repeated = clips.repeat(NEIGHBOURS + 1)
        other, found = table.draw_elsewhere(draws, repeated, table.scene[repeated], self.config.look_alikes)
        extras = torch.where(found, table.draw_pair(draws, other)[0], -1).view(NEIGHBOURS + 1, count)
        absent = draws.chance(self.config.negatives, count)
        backgrounds = self._other_images(table.clips[clips])
        return Cast(template, search, extras[:-1].T, extras[-1], backgrounds, absent, grey)

    def _other_images(self, clips: Tensor) -> Tensor:
        """Draws for each of ``clips`` (N) an image outside its scene, or one of its own if there is no other.

        The images of a scene are a contiguous run of the ordered ones.
        """
        start, end = self._scene_from[clips], self._scene_to[clips]
        own = torch.where(end - start < self.pool.frames, end - start, 0)
        position = self._draws.below(self.pool.frames - own)
        return self._image_order[position + torch.where(position >= start, own, 0)]


def framing_drawn(draws: Draws, size: int, shift: float, scale: float, stretch: float) -> Framing:
    zoom, ratio = draws.uniform(-scale, scale, size), draws.uniform(-stretch / 2, stretch / 2, size)
    factors = torch.stack([zoom + ratio, zoom - ratio], 1).exp2()
    return Framing(draws.uniform(-shift, shift, size, 2), factors)


def _inside(maps: Tensor, sizes: Tensor, size: int) -> Tensor:
    """Returns N x size x size bool: which crop pixels lie in their image (N x 2: height, width). Maps must not turn."""
    at = torch.arange(size, device=maps.device) + 0.5
    x = maps[:, 0, :1] * at + maps[:, 0, 2:]
    y = maps[:, 1, 1:2] * at + maps[:, 1, 2:]
    within = [(place > 0) & (place < sizes[:, axis, None]) for place, axis in ((x, 1), (y, 0))]
    return within[0][:, None, :] & within[1][:, :, None]


def _scenes(pool: ImagePool) -> tuple[Tensor, Tensor]:
    """Numbers clips (C) and images (F) so that all that share a picture, however indirectly, share a number."""
    clips = torch.arange(len(pool.clip_start), device=pool.device)
    # Images without any annotation are scenes of their own.
    unseen = torch.arange(pool.frames, device=pool.device) + len(clips)
    while True:
        images = unseen.scatter_reduce(0, pool.view_image, clips[pool.view_clip], "amin")
        joined = clips.scatter_reduce(0, pool.view_clip, images[pool.view_image], "amin")
        if torch.equal(joined, clips):
            return clips, images
        clips = joined


def _usable(pool: ImagePool, config: PairConfig) -> Tensor:
    """Returns V bool: views whose box is known, inside its image, large enough and does not nearly fill it."""
    size = pool.sizes[pool.view_image].float().flip(1)
    centre, extent = pool.boxes[:, :2], pool.boxes[:, 2:]
    return (
        pool.boxes.isfinite().all(1)
        & (extent.amin(1) >= config.min_side)
        & (extent.prod(1) <= config.max_area * size.prod(1))
        & ((centre > 0) & (centre < size)).all(1)
    )


def _cut_out_well(pool: ImagePool, usable: Tensor, config: PairConfig) -> Tensor:
    """Returns V bool: views whose object is whole and detailed, and whose mask fills its box plausibly."""
    size = pool.sizes[pool.view_image].float().flip(1)
    centre, extent = pool.boxes[:, :2], pool.boxes[:, 2:]
    inside = ((centre - extent / 2 >= 1) & (centre + extent / 2 <= size - 1)).all(1)
    good = usable & pool.view_has_mask & inside & (extent.amax(1) >= config.min_cutout)
    cells = 24
    for views in good.nonzero()[:, 0].split(4096):
        maps = torch.zeros(len(views), 2, 3, device=pool.device)
        maps[:, 0, 0], maps[:, 1, 1] = pool.boxes[views, 2] / cells, pool.boxes[views, 3] / cells
        maps[:, :, 2] = centre[views] - extent[views] / 2
        share = pool.crop_mask(views, maps, cells).mean((1, 2, 3))
        good[views] = (share > 0.15) & (share < 0.98)
    return good
