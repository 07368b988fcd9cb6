# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Composes synthetic pairs: objects cut out by their masks move over other photographs, with exact boxes.

A scene has a background, two neighbours that may look like the target, the target, and perhaps an occluder. Template
and search crop are two moments of one scene. Each layer has its own smooth motion between them, and bends and turns. A
whole batch is composed at once, on the device.

Each layer is a square *patch*, sampled from its picture so that the target's context (``context_side``) has as many
pixels as in a template crop. Patch coordinates run from -1 to 1. A patch is placed by scale and shift only. It is
turned when it is cut, and bent by a small map of displacements. An object's extent is therefore measured once, on its
patch, and its box in any crop follows exactly, even where parts lie outside the crop or are hidden.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..crops import GREY, SEARCH_SIZE, TEMPLATE_SIZE
from .appearance import luma
from .draws import Draws
from .framing import Framing, affine_map, context_sides
from .pool import ImagePool

PATCH = 160  # pixels a side of a patch
MARGIN = PATCH / TEMPLATE_SIZE  # side of a patch, relative to its object's context
NEIGHBOURS = 2
_CANVAS = 2 * PATCH  # cells a side on which extents are measured
_NODES = 17  # a side of the map of displacements
_EMPTY = 0.01  # share of a patch; anything smaller counts as no object
_COLOURFUL = 25.0  # levels of chroma below which a change of hue is not visible


@dataclass(frozen=True)
class CompositorConfig:
    """Sets how composited scenes vary. Motion is between template and search; lengths are relative to the object.

    Chances and shares are from 0 to 1; 0 switches that effect off.
    """

    rotation: float = field(default=15.0, metadata={"help": "degrees: ± half for both moments, then ± all for each"})
    stretch: float = field(default=0.15, metadata={"help": "width against height: 2^±stretch, in each moment"})
    flip: float = field(default=0.5, metadata={"help": "chance that a scene's object is mirrored, in both moments"})
    perspective: float = field(default=0.12, metadata={"help": "change of scale over half a patch, ±"})
    bend: float = field(
        default=0.05, metadata={"help": "standard deviation of the thin plate's nine handles, in half patches"}
    )
    neighbours: float = field(default=0.6, metadata={"help": "chance of each of two other objects beside the target"})
    recoloured: float = field(
        default=0.4, metadata={"help": "share of the neighbours that are the target itself in other colours"}
    )
    occluder: float = field(default=0.4, metadata={"help": "chance of an occluder in the search crop"})
    template_occluder: float = field(default=0.05, metadata={"help": "chance of an occluder in the template"})
    bars: float = field(
        default=0.4,
        metadata={"help": "share of occluders that are a straight bar (a pole, a trunk, an edge), not an object"},
    )
    min_visible: float = field(
        default=0.4, metadata={"help": "least visible share of the target; an occluder that leaves less is removed"}
    )
    hidden: float = field(
        default=0.1, metadata={"help": "below this visible share the occluder stays and the pair is a negative"}
    )
    harmony: float = field(
        default=0.35, metadata={"help": "how far, at most, a pasted object takes on the background's light"}
    )
    camera_shift: float = field(
        default=0.12, metadata={"help": "standard deviation of the background's motion, in sides of the crop"}
    )
    camera_zoom: float = field(default=0.12, metadata={"help": "standard deviation of the background's zoom: 2^±"})
    camera_roll: float = field(
        default=4.0, metadata={"help": "standard deviation of the background's rotation, degrees"}
    )

    def __post_init__(self) -> None:
        shares = "flip neighbours recoloured occluder template_occluder bars min_visible hidden harmony"
        for name in shares.split():
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        for name in "rotation stretch perspective bend camera_shift camera_zoom camera_roll".split():
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.perspective > 0.4:
            raise ValueError(f"perspective must be at most 0.4, got {self.perspective}")


class Cast(NamedTuple):
    """Names the objects of N scenes, as indices of object views with masks (backgrounds: indices of images).

    template, search: N views of one object
    neighbours: N x 2, -1 for no neighbour
    occluders: N, -1 for no occluder
    backgrounds: N images without the target
    absent: N bool, whether the target has left the search crop
    grey: N bool, whether the pair will be shown without colour
    """

    template: Tensor
    search: Tensor
    neighbours: Tensor
    occluders: Tensor
    backgrounds: Tensor
    absent: Tensor
    grey: Tensor


class Composition(NamedTuple):
    """Holds finished crops and their contents. Boxes are (cx, cy, w, h), crop pixels relative to the crop's middle.

    A box is the extent of the pasted alpha above one half, before any occlusion.

    context: None if no background was given for it
    positive: N bool
    visible: N, the visible share of the target in the search crop
    """

    template: Tensor
    search: Tensor
    context: Tensor | None
    template_box: Tensor
    box: Tensor
    positive: Tensor
    visible: Tensor


class PastedLayer(NamedTuple):
    """Holds N patches, P pixels a side, in patch coordinates.

    pixels: N x 4 x P x P (blue, green, red in 0-255, alpha in 0-1)
    field: N x 2 x 17 x 17 displacements
    middle, extent: N x 2 each, the object's measured middle and size
    solid: N bool, whether there is an object at all
    """

    pixels: Tensor
    field: Tensor
    middle: Tensor
    extent: Tensor
    solid: Tensor

    def part(self, start: int, end: int) -> PastedLayer:
        return PastedLayer(*(tensor[start:end] for tensor in self))


class Place(NamedTuple):
    """Places N patches in a crop, in crop pixels.

    origin: N x 2, the patch's middle relative to the crop's
    half: N x 2, half of the patch's sides
    weight: N factors on alpha; 0 removes the patch
    """

    origin: Tensor
    half: Tensor
    weight: Tensor

    def moved(self, by: Tensor) -> Place:
        return Place(self.origin + by, self.half, self.weight)


class Compositor:
    """Makes scenes from the pictures and masks of one pool."""

    def __init__(self, pool: ImagePool, config: CompositorConfig, *, compiled: bool = False) -> None:
        self.pool = pool
        self.config = config
        self._crop, self._crop_mask, self._sampled = pool.crop, pool.crop_mask, _sampled
        if compiled:
            self._crop = torch.compile(self._crop, dynamic=False)
            self._crop_mask = torch.compile(self._crop_mask, dynamic=False)
            self._sampled = torch.compile(self._sampled, dynamic=False)
        device = pool.device
        self._handles = _thin_plate(_NODES).to(device)
        line = torch.linspace(-1, 1, _NODES, device=device)
        self._nodes = torch.stack(torch.meshgrid(line, line, indexing="xy"))[None]  # 1 x 2 (x, y) x 17 x 17
        cells = (torch.arange(PATCH, device=device) + 0.5) * (2 / PATCH) - 1
        self._cells = torch.stack(torch.meshgrid(cells, cells, indexing="xy"))  # 2 (x, y) x P x P
        smoothing = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=device) / 16
        self._smoothing = smoothing[:, None] * smoothing[None, :]

    def backgrounds(self, images: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Returns affine maps (N x 2 x 3, crop to image pixels) of the backgrounds of template and search.

        Both are for crops of the search size; a template crop is the middle of the first.
        """
        c, n = self.config, len(images)
        size = self.pool.sizes[images].float().flip(1)  # width, height
        side = draws.uniform(0.6, 1.0, n, 1) * size.amin(1, keepdim=True)
        centre = side / 2 + draws.uniform(0, 1, n, 2) * (size - side)
        mirror = _mirror(draws.chance(0.5, n))
        roll = draws.normal(n) * math.radians(c.camera_roll)
        search = affine_map(centre, side / SEARCH_SIZE * mirror, roll, SEARCH_SIZE / 2)
        centre = centre + draws.normal(n, 2) * side * c.camera_shift
        side = side * (draws.normal(n, 1) * c.camera_zoom).exp2()
        roll = roll + draws.normal(n) * math.radians(c.camera_roll)
        return affine_map(centre, side / SEARCH_SIZE * mirror, roll, SEARCH_SIZE / 2), search

    def compose(
        self,
        cast: Cast,
        template_background: Tensor,
        search_background: Tensor,
        context_background: Tensor | None,
        template_framing: Framing,
        search_framing: Framing,
        draws: Draws,
    ) -> Composition:
        """Composes N scenes over their backgrounds.

        Crops are N x 3 x 127 x 127 (template), N x 3 x 255 x 255 (search) and, if a context background is given, N x 3
        x 255 x 255 for the template's surroundings with the target exactly in the middle.
        """
        n = len(cast.template)
        layers, recoloured = self._layers(cast, search_background, draws)
        target_then, target_now, *others, front = (layers.part(i * n, (i + 1) * n) for i in range(3 + NEIGHBOURS))
        then, now = _target_place(target_then, template_framing), _target_place(target_now, search_framing)
        pairs = self._neighbour_places(cast, recoloured, (target_then, then), (target_now, now), others, draws)
        front_then, front_now = self._front_places(cast, (target_then, then), (target_now, now), front, draws)

        target = self._sampled(target_now, now, SEARCH_SIZE)
        cover = self._sampled(front, front_now, SEARCH_SIZE)
        alpha = target[:, 3]
        seen = (alpha * (1 - cover[:, 3])).sum((1, 2)) / alpha.sum((1, 2)).clamp(min=1e-6)
        # An occluder that leaves too little to find the target, but too much to call it absent, teaches nothing. Remove
        # it.
        spared = (seen >= self.config.hidden) & (seen < self.config.min_visible)
        cover[:, 3] *= _each(~spared)
        seen = torch.where(spared, torch.ones_like(seen), seen)
        target[:, 3] *= _each(~cast.absent)
        search = search_background
        for layer, (_, place) in zip(others, pairs, strict=True):
            search = _over(self._sampled(layer, place, SEARCH_SIZE), search)
        search = _over(cover, _over(target, search))

        def exemplar(below: Tensor, by: Tensor) -> Tensor:
            size = below.shape[-1]
            for layer, (place, _) in zip(others, pairs, strict=True):
                below = _over(self._sampled(layer, place.moved(by), size), below)
            below = _over(self._sampled(target_then, then.moved(by), size), below)
            return _over(self._sampled(front, front_then.moved(by), size), below)

        shift = template_framing.shift
        return Composition(
            exemplar(template_background, torch.zeros_like(shift)),
            search,
            None if context_background is None else exemplar(context_background, -shift),
            torch.cat([shift, target_then.extent * then.half], 1),
            torch.cat([search_framing.shift, target_now.extent * now.half], 1),
            ~cast.absent & (seen >= self.config.hidden) & target_then.solid & target_now.solid,
            torch.where(cast.absent, torch.zeros_like(seen), seen),
        )

    # Patches --------------------------------------------------------------------------------------------------------

    def _layers(self, cast: Cast, background: Tensor, draws: Draws) -> tuple[PastedLayer, Tensor]:
        """Returns the patches of all N scenes, role by role, and which of the N x 2 neighbours are recoloured targets.

        The roles are: target in the template, target in the search crop, neighbours, occluder.
        """
        c, n = self.config, len(cast.template)
        views = torch.cat([cast.template, cast.search, *cast.neighbours.unbind(1), cast.occluders]).clamp(min=0)
        total = len(views)
        boxes = self.pool.boxes[views]
        # Both moments of the target share the mirror and a first turn.
        mirror = _mirror(draws.chance(c.flip, total - n))
        turn = draws.uniform(-0.5, 0.5, total - n)
        turn = torch.cat([turn[:n], turn]) + draws.uniform(-1, 1, total)
        stretch = draws.uniform(-c.stretch / 2, c.stretch / 2, total)
        step = (context_sides(boxes[:, 2:]) * (MARGIN / PATCH))[:, None] * torch.stack([stretch, -stretch], 1).exp2()
        step = step * torch.cat([mirror[:n], mirror])
        maps = affine_map(boxes[:, :2], step, turn * math.radians(c.rotation), PATCH / 2)
        pixels = self._crop(self.pool.view_image[views], maps, PATCH)
        alpha = self._feathered(self._crop_mask(views, maps, PATCH), draws)
        pixels = self._harmonised(pixels, alpha, background, draws)
        pixels, alpha, recoloured = self._recoloured(pixels, alpha, cast, draws)
        bar = _each(draws.chance(c.bars, n))
        alpha[-n:] = torch.lerp(alpha[-n:], self._bars(n, draws), bar[:, None])
        field = self._field(total, draws)
        return PastedLayer(torch.cat([pixels, alpha], 1), field, *_extents(alpha, field)), recoloured

    def _feathered(self, masks: Tensor, draws: Draws) -> Tensor:
        """Softens the edges, slightly inside the mask, so that no rim of the old background is pasted too."""
        smooth = F.conv2d(masks, self._smoothing[None, None], padding=2)
        width = draws.uniform(0.15, 0.35, len(masks), 1, 1, 1)
        alpha = ((smooth - 0.62) / (2 * width) + 0.5).clamp(0, 1)
        # An object that reaches the patch's border ends there; sampling must not continue it outwards.
        return alpha * (self._cells.abs().amax(0) < 1 - 2 / PATCH)

    def _harmonised(self, pixels: Tensor, alpha: Tensor, background: Tensor, draws: Draws) -> Tensor:
        """Gives objects some of the background's light. Both moments of the target change alike."""
        roles = len(pixels) // len(background)
        weight = alpha.sum((1, 2, 3)).clamp(min=1)
        own = ((pixels * alpha).sum((2, 3)) / weight[:, None]).unflatten(0, (roles, -1))  # roles x N x 3
        own = torch.cat([own[:2].mean(0, keepdim=True).expand(2, -1, -1), own[2:]])
        difference = background.mean((2, 3)) - own
        light = (difference * difference.new_tensor(GREY)).sum(2, keepdim=True)
        strength = draws.uniform(0, self.config.harmony, len(background), 1)
        change = strength * (0.6 * light + 0.4 * difference)
        return (pixels + change.flatten(0, 1)[..., None, None]).clamp(0, 255)

    def _recoloured(self, pixels: Tensor, alpha: Tensor, cast: Cast, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Turns some neighbours into the target in other colours: another hue, and lighter or darker."""
        n = len(cast.template)
        target, mask = pixels[n : 2 * n], alpha[n : 2 * n]
        y = luma(target)
        u, v = target[:, :1] - y, target[:, 2:] - y
        colour = ((u.abs() + v.abs()) * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp(min=1)
        # Without colours to change, the neighbour would equal the target. The same holds if the pair is shown in grey
        # or the target is absent.
        possible = ~cast.grey & ~cast.absent & (colour > _COLOURFUL)
        chosen = draws.chance(self.config.recoloured, n, NEIGHBOURS) & possible[:, None]
        angle = draws.uniform(math.pi / 2, 3 * math.pi / 2, n, NEIGHBOURS)
        factor = torch.where(draws.chance(0.5, n, NEIGHBOURS), 0.65, 1.4)
        new_pixels, new_alpha = list(pixels.split(n)), list(alpha.split(n))
        for index in range(NEIGHBOURS):
            cosine, sine = _each(angle[:, index].cos())[:, None], _each(angle[:, index].sin())[:, None]
            lightness = y * _each(factor[:, index])[:, None]
            # Blue and red chroma have unequal units here. Only a large distance from the old hue matters.
            blue = lightness + u * cosine - v * sine
            red = lightness + u * sine + v * cosine
            green = (lightness - GREY[0] * blue - GREY[2] * red) / GREY[1]
            here = _each(chosen[:, index])[:, None] > 0
            role = 2 + index
            new_pixels[role] = torch.where(here, torch.cat([blue, green, red], 1).clamp(0, 255), new_pixels[role])
            new_alpha[role] = torch.where(here, mask, new_alpha[role])
        return torch.cat(new_pixels), torch.cat(new_alpha), chosen

    def _bars(self, n: int, draws: Draws) -> Tensor:
        """Draws N x 1 x P x P straight bars through the middle, most of them upright."""
        angle = draws.normal(n, 1, 1, 1) * 0.35 + torch.where(draws.chance(0.3, n, 1, 1, 1), math.pi / 2, 0.0)
        thickness = draws.uniform(0.12, 0.4, n, 1, 1, 1)
        x, y = self._cells
        across = (x * angle.cos() + y * angle.sin()).abs()
        along = (y * angle.cos() - x * angle.sin()).abs()
        inside = torch.minimum(thickness - across, 0.9 - along)
        return (inside * (PATCH / 4) + 0.5).clamp(0, 1) * (self._cells.abs().amax(0) < 1 - 2 / PATCH)

    def _field(self, count: int, draws: Draws) -> Tensor:
        """Draws the displacements of tilted and bent patches: count x 2 x 17 x 17."""
        tilt = draws.uniform(-self.config.perspective, self.config.perspective, count, 2)
        nodes = self._nodes.expand(count, -1, -1, -1)
        depth = 1 + (tilt[:, :, None, None] * nodes).sum(1, keepdim=True)
        # Clamping at 0 leaves some objects rigid.
        strength = (draws.uniform(-0.5, 1, count, 1, 1) * self.config.bend).clamp(min=0)
        handles = draws.normal(count, 2, self._handles.shape[1]) * strength
        return nodes / depth - nodes + (handles @ self._handles.T).unflatten(2, (_NODES, _NODES))

    # Places ---------------------------------------------------------------------------------------------------------

    def _neighbour_places(
        self,
        cast: Cast,
        recoloured: Tensor,
        template: tuple[PastedLayer, Place],
        search: tuple[PastedLayer, Place],
        others: Sequence[PastedLayer],
        draws: Draws,
    ) -> list[tuple[Place, Place]]:
        """Places each neighbour in the template and in the search crop."""
        c, n = self.config, len(cast.template)
        present = draws.chance(c.neighbours, n, NEIGHBOURS)
        # A crop that the target has left is centred on another object.
        present[:, 0] |= cast.absent
        present &= recoloured | (cast.neighbours >= 0)
        angle = draws.uniform(0, 2 * math.pi, n, NEIGHBOURS)
        size = draws.uniform(-0.5, 0.5, n, NEIGHBOURS).exp2()
        places = []
        for index, layer in enumerate(others):
            weight = present[:, index].float()
            reach = draws.uniform(0.8, 1.5, n)
            if index == 0:
                reach = torch.where(cast.absent, draws.uniform(0, 0.3, n), reach)
            now = _beside(layer, *search, angle[:, index], reach, size[:, index], weight)
            turned = angle[:, index] + draws.normal(n) * 0.4
            size_then = size[:, index] * (draws.normal(n) * 0.1).exp2()
            then = _beside(layer, *template, turned, draws.uniform(0.9, 1.6, n), size_then, weight)
            places.append((then, now))
        return places

    def _front_places(
        self,
        cast: Cast,
        template: tuple[PastedLayer, Place],
        search: tuple[PastedLayer, Place],
        front: PastedLayer,
        draws: Draws,
    ) -> tuple[Place, Place]:
        """Places the occluder in the template and in the search crop: on the target's edge, or across it."""
        c, n = self.config, len(cast.template)
        there = cast.occluders >= 0
        places = []
        for moment, chance, nearest in ((template, c.template_occluder, 0.5), (search, c.occluder, 0.0)):
            weight = (draws.chance(chance, n) & there).float()
            angle, reach = draws.uniform(0, 2 * math.pi, n), draws.uniform(nearest, 0.8, n)
            places.append(_beside(front, *moment, angle, reach, draws.uniform(-1, 0, n).exp2(), weight))
        return places[0], places[1]


def _mirror(chosen: Tensor) -> Tensor:
    """Returns N x 2 factors on the steps of a map: (-1, 1) where chosen, else (1, 1)."""
    x = torch.where(chosen, -1.0, 1.0)
    return torch.stack([x, torch.ones_like(x)], 1)


def _each(values: Tensor) -> Tensor:
    """Reshapes N values so that they broadcast over N x H x W."""
    return values.float()[:, None, None]


def _target_place(layer: PastedLayer, framing: Framing) -> Place:
    half = (TEMPLATE_SIZE / context_sides(layer.extent))[:, None] * framing.scale
    return Place(framing.shift - layer.middle * half, half, torch.ones_like(half[:, 0]))


def _beside(
    layer: PastedLayer, target: PastedLayer, place: Place, angle: Tensor, reach: Tensor, size: Tensor, weight: Tensor
) -> Place:
    """Places ``layer`` next to the target, in the direction ``angle``. All arguments hold N values.

    reach: 1 lets the boxes touch, 0 is on the target
    size: relative to the target's
    """
    target_extent = target.extent * place.half
    half = (size * context_sides(target_extent) / context_sides(layer.extent))[:, None].expand(-1, 2)
    direction = torch.stack([angle.cos(), angle.sin()], 1)
    direction = direction / direction.abs().amax(1, keepdim=True)
    away = direction * reach[:, None] * (target_extent + layer.extent * half) / 2
    middle = place.origin + target.middle * place.half + away
    return Place(middle - layer.middle * half, half, weight)


def _grid(field: Tensor, origin: Tensor, half: Tensor, size: int) -> Tensor:
    """Returns the patch coordinates that each pixel of a crop samples: N x size x size x 2."""
    pixels = torch.arange(size, device=field.device, dtype=field.dtype) + (0.5 - size / 2)
    at = (pixels[None, :, None] - origin[:, None]) / half[:, None]  # N x size x 2
    flat = torch.stack([at[:, None, :, 0].expand(-1, size, -1), at[:, :, None, 1].expand(-1, -1, size)], -1)
    bent = F.grid_sample(field, flat, mode="bilinear", padding_mode="border", align_corners=True)
    return flat + bent.permute(0, 2, 3, 1)


def _sampled(layer: PastedLayer, place: Place, size: int) -> Tensor:
    """Samples the patches as they appear in crops: N x 4 x size x size."""
    grid = _grid(layer.field, place.origin, place.half, size)
    out = F.grid_sample(layer.pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return torch.cat([out[:, :3], out[:, 3:] * place.weight[:, None, None, None]], 1)


def _over(layer: Tensor, below: Tensor) -> Tensor:
    """Paints N x 4 x S x S on N x 3 x S x S."""
    return torch.lerp(below, layer[:, :3], layer[:, 3:])


def _extents(alpha: Tensor, field: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Measures where a bent patch's alpha is above one half, in patch coordinates.

    Returns its middle (N x 2), its size (N x 2), and whether it is large enough to be an object (N bool). An empty
    patch gets a box of half the patch.
    """
    centre = torch.zeros(len(alpha), 2, device=alpha.device)
    grid = _grid(field, centre, torch.full_like(centre, _CANVAS / 2), _CANVAS)
    inside = F.grid_sample(alpha, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[:, 0] > 0.5
    cells = torch.arange(_CANVAS, device=alpha.device)
    low, high = [], []
    for dim in (1, 2):  # columns, rows
        occupied = inside.any(dim)
        low.append(torch.where(occupied, cells, _CANVAS).amin(1))
        high.append(torch.where(occupied, cells + 1, 0).amax(1))
    first, last = torch.stack(low, 1), torch.stack(high, 1)
    solid = inside.float().mean((1, 2)) > _EMPTY
    found = (last > first).all(1, keepdim=True)
    middle = torch.where(found, (first + last) / _CANVAS - 1, 0.0)
    return middle, torch.where(found, (last - first) * (2 / _CANVAS), 1.0), solid


def _thin_plate(nodes: int) -> Tensor:
    """Returns nodes^2 x 9: how far each node of a grid over [-1, 1]^2 follows each of 3 x 3 handles of a thin plate."""
    line = torch.linspace(-0.7, 0.7, 3, dtype=torch.float64)
    handles = torch.cartesian_prod(line, line).flip(1)
    line = torch.linspace(-1, 1, nodes, dtype=torch.float64)
    points = torch.cartesian_prod(line, line).flip(1)  # x fastest

    def terms(at: Tensor) -> Tensor:
        squared = (at[:, None] - handles[None]).square().sum(2)
        radial = 0.5 * squared * squared.clamp(min=1e-12).log()
        return torch.cat([radial, torch.ones(len(at), 1, dtype=at.dtype), at], 1)

    system = torch.zeros(12, 12, dtype=torch.float64)
    known = terms(handles)
    system[:9], system[9:, :9] = known, known[:, 9:].T
    return (terms(points) @ torch.linalg.inv(system)[:, :9]).float()
