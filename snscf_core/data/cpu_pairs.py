# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes training pairs with OpenCV in a few threads: on a CPU, many times faster than batches of tensors.

`pairs.PairSource` draws and frames the pairs; OpenCV cuts and degrades the crops. No pair is composited.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..crops import GREY, SEARCH_SIZE, TEMPLATE_SIZE
from .appearance import Degradation
from .framing import Framing, target_boxes, target_map
from .pairs import PairBatch, PairSource, framing_drawn
from .pool import BLOCKS, ImagePool

_Image = npt.NDArray[np.uint8]


class CpuPairSource(PairSource):
    """Makes pairs from a pool in main memory; ``batch(step)`` depends only on (seed, step, rank, world).

    every: only one pair in this many gets a context crop; the other context crops are black
    teacher: a `training.teacher.Teacher`, which adds its output on positive pairs to the batch

    Raises ValueError as `PairSource` does, and if the pool is on another device or the configuration asks for
    composited pairs.
    """

    def __init__(
        self,
        pool: ImagePool,
        config: Any,
        *,
        every: int = 1,
        threads: int = 2,
        teacher: Callable[..., Any] | None = None,
        **options: Any,
    ) -> None:
        if pool.device.type != "cpu":
            raise ValueError(f"CPU pairs need a pool on the CPU, but it is on {pool.device}")
        if config.composited:
            raise ValueError(f"CPU pairs cannot be composited: set pairs.composited=0, not {config.composited}")
        super().__init__(pool, config, **options)
        self._every, self._teacher = every, teacher
        self._pixels = pool.pixels.numpy()
        self._workers = ThreadPoolExecutor(threads)

    def _batch(self, step: int, size: int) -> PairBatch:
        c, pool, draws = self.config, self.pool, self._draws
        draws.restart(self._seed, step * self._world + self._rank)
        grey = draws.chance(c.grayscale, size)
        inverted = grey & draws.chance(c.inverted, size)
        then = framing_drawn(draws, size, c.template_shift, c.template_scale, 0.0)
        now = framing_drawn(draws, size, c.search_shift, c.search_scale, c.search_stretch)
        template_view, search_view, positive = self._views(size)
        mirrored = torch.where(draws.chance(c.flip, size), -1.0, 1.0)
        first, second = pool.boxes[template_view], pool.boxes[search_view]
        surrounds = self._other_images(pool.view_clip[template_view])
        surrounded = draws.chance(c.surround, size)
        maps = {
            "template": target_map(first, then, mirrored, TEMPLATE_SIZE),
            "search": target_map(second, now, mirrored, SEARCH_SIZE),
            "context": target_map(first, Framing(torch.zeros_like(then.shift), then.scale), mirrored, SEARCH_SIZE),
        }
        looks = {name: self._appearance.draw(draws, size) for name in ("template", "search")}
        looks["context"] = looks["template"]
        degraded = {name: _Looks(what, grey, inverted) for name, what in looks.items()}
        seeds = draws.below(torch.full((size,), 1 << 31)).tolist()
        images = {"template": template_view, "search": search_view, "context": template_view}

        def crop(name: str, index: int, affine: npt.NDArray[np.floating], length: int) -> _Image:
            around = None
            if name == "search" and surrounded[index]:
                around = self._cut(int(surrounds[index]), _whole(pool, int(surrounds[index]), length), length, None)
            cut = self._cut(int(pool.view_image[images[name][index]]), affine, length, around)
            return degraded[name].applied(cut, index, np.random.default_rng([seeds[index], len(name)]))

        def pair(index: int) -> dict[str, _Image]:
            wanted = ["template", "search"]
            if c.context and index % self._every == 0:
                wanted.append("context")
            sides = {name: TEMPLATE_SIZE if name == "template" else SEARCH_SIZE for name in wanted}
            return {name: crop(name, index, maps[name][index].numpy(), side) for name, side in sides.items()}

        boxes = target_boxes(second, now)

        def answer(index: int) -> Any:
            if self._teacher is None or not positive[index]:
                return None
            targets = {"template": first, "search": second}
            cuts = [partial(crop, name, index) for name in targets]
            shown = [(box[index].double().numpy(), maps[name][index].double().numpy()) for name, box in targets.items()]
            return self._teacher(*cuts, *shown, boxes[index].numpy())

        made = list(self._workers.map(pair, range(size)))
        taught = _answers(list(self._workers.map(answer, range(size))))
        black = np.zeros((SEARCH_SIZE, SEARCH_SIZE, 3), np.uint8)
        return PairBatch(
            _stacked(crops["template"] for crops in made),
            _stacked(crops["search"] for crops in made),
            boxes,
            positive,
            _stacked(crops.get("context", black) for crops in made) if c.context else None,
            target_boxes(first, then),
            *taught,
        )

    def _cut(self, image: int, affine: npt.NDArray[np.floating], length: int, around: _Image | None) -> _Image:
        """Cuts one crop as `ImagePool.crop` does. Beyond the image's border it shows ``around``, or the mean colour."""
        pool = self.pool
        linear = affine[:, :2].astype(np.float64)
        block = min(max(int(math.sqrt(abs(np.linalg.det(linear))) + 1e-5), 1), len(BLOCKS))
        height, width = (-(-int(side) // block) for side in pool.sizes[image])
        start = int(pool.block_starts[image, block - 1])
        picture = self._pixels[start : start + height * width].reshape(height, width, 3)
        # Convert from continuous coordinates to pixel indices, in both the crop and the image.
        offset = (linear @ (0.5, 0.5) + affine[:, 2]) / block - 0.5
        inverse = np.concatenate([linear / block, offset[:, None]], 1)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        if around is not None:
            cv2.warpAffine(picture, inverse, (length, length), around, flags, cv2.BORDER_TRANSPARENT)
            return around
        fill = pool.means[image].tolist()
        crop: Any = cv2.warpAffine(picture, inverse, (length, length), None, flags, cv2.BORDER_CONSTANT, fill)
        return crop


class _Looks:
    """Applies the degradations of a batch to one crop at a time."""

    def __init__(self, what: Degradation, grey: Tensor, inverted: Tensor) -> None:
        self._colour, self._contrast, self._gamma, self._saturation = (
            part.numpy() for part in (what.colour, what.contrast, what.gamma, what.saturation)
        )
        self._grey, self._inverted = grey.numpy(), inverted.numpy()
        self._kernels = dict(zip(what.blurred.tolist(), what.kernels.numpy(), strict=True))
        self._sigma = dict(zip(what.noisy.tolist(), what.sigma.tolist(), strict=True))
        self._coarseness = dict(zip(what.compressed.tolist(), what.coarseness.tolist(), strict=True))

    def applied(self, crop: _Image, index: int, random: np.random.Generator) -> _Image:
        """Returns the crop after light, lens, sensor and codec, in the order of `Appearance.apply`."""
        levels = (np.arange(256, dtype=np.float32) / 255) ** self._gamma[index]
        table = (levels[:, None] * self._colour[index] * 255).astype(np.float32)[None]
        lit: Any = cv2.LUT(crop, table)
        saturation, contrast = float(self._saturation[index]), float(self._contrast[index])
        # Saturation moves colours along the line to their luma, contrast along the line to the crop's mean.
        mix = np.eye(3) * saturation + (1 - saturation) * np.array(GREY)
        mean = float(np.mean(mix @ np.array(cv2.mean(lit)[:3])))
        mix = np.concatenate([mix * contrast, np.full((3, 1), mean * (1 - contrast))], 1)
        out: Any = cv2.transform(lit, mix)
        if (kernel := self._kernels.get(index)) is not None:
            out = cv2.filter2D(out, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        if (sigma := self._sigma.get(index)) is not None:
            out += random.standard_normal(out.shape, np.float32) * sigma
        out = cv2.convertScaleAbs(np.maximum(out, 0))
        if (coarseness := self._coarseness.get(index)) is not None:
            quality = 50 / coarseness if coarseness > 1 else (2 - coarseness) * 50
            _, coded = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
            out = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        if self._grey[index]:
            out = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
            if self._inverted[index]:
                out = 255 - out
        return np.asarray(out)


def _whole(pool: ImagePool, image: int, length: int) -> npt.NDArray[np.float32]:
    """Returns the map with which the shorter side of an image fills the crop."""
    height, width = (int(side) for side in pool.sizes[image])
    step = min(height, width) / length
    return np.array([[step, 0, (width - step * length) / 2], [0, step, (height - step * length) / 2]], np.float32)


def _answers(answers: list[Any]) -> tuple[Tensor | None, Tensor | None]:
    """Stacks scores to N x 1 x P x P and boxes to N x 1 x 4 x P x P; pairs without an answer get NaN and 1."""
    shape = next((one.scores.shape for one in answers if one is not None), None)
    if shape is None:
        return None, None
    scores, boxes = (
        np.full((len(answers), 1, *shape), np.nan, np.float32),
        np.ones((len(answers), 1, 4, *shape), np.float32),
    )
    for index, one in enumerate(answers):
        if one is not None:
            scores[index, 0], boxes[index, 0] = one.scores, one.boxes
    return torch.from_numpy(scores), torch.from_numpy(boxes)


def _stacked(crops: Iterable[_Image]) -> Tensor:
    """Stacks crops to N x 3 x S x S float, in channels-last memory."""
    return torch.from_numpy(np.stack(list(crops))).permute(0, 3, 1, 2).float()
