# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""One frame of the tracker as the method is written: one target, one level and one map after the other.

What ``Tracker.update`` does in folded, batched steps must come out the same.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from snscf_core import Target, Tracker
from snscf_core.crops import TEMPLATE_SIZE, context_side, crop
from snscf_core.model import acf
from snscf_core.model.geometry import STRIDE
from snscf_core.model.rpn import decode


class PlainStep:
    """What is found of a target in the next frame: ``offset`` and ``size`` in pixels, ``rate``, ``certainty``,
    ``quality`` as in the tracker; ``filters``: what those of each level become if the target is tracked there."""

    def __init__(self, tracker: Tracker, target: Target, frame: np.ndarray) -> None:
        self.tracker, self.target, self.config = tracker, target, tracker.config
        self.crop_size = tracker.config.search_size
        self.cells = {255: 31, 191: 23}[self.crop_size]
        self.side = context_side(*target.size) * self.crop_size / TEMPLATE_SIZE
        self.cell = STRIDE * self.side / self.crop_size  # frame pixels
        network = tracker.network
        image = torch.from_numpy(crop(frame, target.centre, self.side, self.crop_size))
        with torch.inference_mode():
            self.taps = network.extract(image[None].permute(0, 3, 1, 2).float(), tracker.spec.levels)
            self.reduced = network.reduce(self.taps)
            self.features = network.filter_features(self.taps, self.reduced)
            bank = target.filters
            levels = (
                acf.levels_of(bank.numerator, bank.sections),
                acf.levels_of(bank.denominator, [1] * len(bank.sections)),
            )
            parts = [[torch.from_numpy(level) for level in some] for some in levels]
            self.old = [acf.CorrelationFilter(n, d, target.filters.regularisation) for n, d in zip(*parts, strict=True)]
            self.window = torch.from_numpy(acf.hann_window(self.cells))
            if tracker.mode == "correlation_filter":
                self._best_scale()
            else:
                self._choose()

    def _best_scale(self) -> None:
        maps = [self._response([resampled(f, step, (0, 0)) for f in self.features]) for step in self.config.scale_steps]
        penalties = [1 if step == 1 else self.config.scale_change_penalty for step in self.config.scale_steps]
        best = int(np.argmax([float(m.max()) * p for m, p in zip(maps, penalties, strict=True)]))
        response, step = maps[best][0, 0].numpy(), self.config.scale_steps[best]
        row, column = np.unravel_index(response.argmax(), response.shape)
        up, across = (parabola(response[row - 1 : row + 2, column]), parabola(response[row, column - 1 : column + 2]))
        pixels, middle = self.cell * step, self.cells // 2
        self.offset = ((column + across - middle) * pixels, (row + up - middle) * pixels)
        self.size = (self.target.size[0] * step, self.target.size[1] * step)
        self.rate = 1.0
        self.certainty = self.quality = float(acf.peak_to_sidelobe_ratio(maps[best][0])[0])

    def _choose(self) -> None:
        tracker, config, target = self.tracker, self.config, self.target
        assert target.template is not None
        template = [torch.from_numpy(level) for level in target.template]
        proposals = tracker.network.propose(template, self.reduced)
        places = tracker.network.places(self.crop_size)
        anchors = tracker.network.anchors_on(places)
        boxes = decode(proposals.deltas, anchors)[0].permute(1, 0, 2, 3).flatten(1)
        scores = proposals.scores[0].sigmoid().flatten()
        ranking, quality_map = scores, proposals.scores.sigmoid().amax(1, keepdim=True)
        if tracker.mode != "siamese":
            response = self._response(self.features)
            at = (boxes[:2] * 2 / (STRIDE * self.cells)).T[None, None]
            sampled = F.grid_sample(response, at, align_corners=False).flatten().clamp(0, 1)
            share = {"paper": 1.0, "naive_fusion": 0.5}.get(tracker.mode, config.response_share)
            ranking = (1 - share) * scores + share * sampled
            quality_map = response if share == 1 else ranking.view(1, -1, places, places).amax(1, keepdim=True)
        spacing = STRIDE if tracker.mode == "paper" else int(anchors[0, 0, 0, 1] - anchors[0, 0, 0, 0])
        self.quality = float(acf.peak_to_sidelobe_ratio(quality_map[0], config.sidelobe // spacing)[0])
        scale = self.side / self.crop_size
        w, h = (side / (factor * scale) for side, factor in zip(target.size, target.size_factors, strict=True))
        chosen, penalties = -1, []
        marks = (np.tile(acf.hann_window(places).ravel(), len(anchors)) * config.window_influence).tolist()
        marked = []
        for (bw, bh), rank, mark in zip(boxes[2:].T.tolist(), ranking.tolist(), marks, strict=True):
            extent, ratio = context_side(bw, bh) / context_side(w, h), (bw / bh) / (w / h)
            change = max(extent, 1 / extent) * max(ratio, 1 / ratio)
            penalties.append(math.exp(-(change - 1) * config.anchor_penalty))
            marked.append(penalties[-1] * rank * (1 - config.window_influence) + mark)
        chosen = int(np.argmax(marked))
        weights = (np.array(penalties) * (ranking if tracker.mode == "paper" else scores).numpy()) ** 2
        cx, cy, bw, bh = merged(boxes.T.double().numpy(), weights, chosen, config.merge_overlap)
        if tracker.mode == "snscf":
            x, y = self._peak_beside(response[0, 0].numpy(), cx, cy)
            cx, cy = cx + config.centre_correction * (x - cx), cy + config.centre_correction * (y - cy)
        self.offset = (cx * scale, cy * scale)
        self.size = (bw * scale * target.size_factors[0], bh * scale * target.size_factors[1])
        self.rate = penalties[chosen] * float(ranking[chosen]) * config.size_rate
        self.certainty = self.quality if tracker.mode == "paper" else float(scores[chosen])

    def _peak_beside(self, response: np.ndarray, cx: float, cy: float) -> tuple[float, float]:
        """The highest response at most two cells away; crop pixels relative to the middle."""
        middle, highest = (self.cells - 1) / 2, (-math.inf, 0.0, 0.0)
        for row in range(1, self.cells - 1):
            for column in range(1, self.cells - 1):
                away = max(abs(column - round(cx / STRIDE + middle)), abs(row - round(cy / STRIDE + middle)))
                if away <= 2 and response[row, column] > highest[0]:
                    across = parabola(response[row, column - 1 : column + 2])
                    down = parabola(response[row - 1 : row + 2, column])
                    highest = (response[row, column], column + across - middle, row + down - middle)
        return highest[1] * STRIDE, highest[2] * STRIDE

    def _response(self, features: list[Tensor]) -> Tensor:
        total = torch.zeros(1, 1, self.cells, self.cells)
        weights = self.tracker.inference.selector.level_weights
        for old, level, gain, weight in zip(self.old, features, self.target.gains, weights, strict=True):
            total += acf.respond(old, level * gain * self.window) * weight
        return total

    def filters(self, size: tuple[float, float]) -> list[acf.CorrelationFilter]:
        """The filters after the target was found with this size."""
        zoom = context_side(*size) / context_side(*self.target.size)
        shift = (self.offset[0] / self.cell, self.offset[1] / self.cell)
        cells, period = self.cells, {31: 32, 23: 24}[self.cells]
        scale = TEMPLATE_SIZE / context_side(*size) / STRIDE
        w, h = size[0] * scale, size[1] * scale
        label = acf.gaussian_label(cells, period, torch.full((1, 2), self.config.label_sigma * math.sqrt(w * h)))
        seen = acf.gaussian_label(cells, cells, torch.tensor([[h, w]]) * self.config.learning_window) * self.window
        out = []
        with torch.inference_mode():
            for old, level, gain in zip(self.old, self.features, self.target.gains, strict=True):
                new = acf.learn(resampled(level, zoom, shift) * gain * seen, label, old.regularisation)
                out.append(old.updated(new, self.config.learning_rate))
        return out


def resampled(features: Tensor, zoom: float, shift: tuple[float, float]) -> Tensor:
    """What the features would be, had the crop been ``zoom`` times as large and its middle ``shift`` cells away."""
    right, down = (2 * cells / features.shape[-1] for cells in shift)
    theta = torch.tensor([[[zoom, 0, right], [0, zoom, down]]], dtype=torch.float32)
    grid = F.affine_grid(theta, [1, 1, *features.shape[-2:]], align_corners=False)
    return F.grid_sample(features, grid, padding_mode="border", align_corners=False)


def parabola(values: np.ndarray) -> float:
    if len(values) < 3:
        return 0.0
    before, at, after = (float(v) for v in values)
    curvature = before - 2 * at + after
    return 0.5 * (before - after) / curvature if curvature < 0 else 0.0


def merged(boxes: np.ndarray, weights: np.ndarray, best: int, overlap: float) -> list[float]:
    total, sums = 0.0, np.zeros(4)
    for index, (box, weight) in enumerate(zip(boxes, weights, strict=True)):
        low = np.maximum(box[:2] - box[2:] / 2, boxes[best, :2] - boxes[best, 2:] / 2)
        high = np.minimum(box[:2] + box[2:] / 2, boxes[best, :2] + boxes[best, 2:] / 2)
        shared = np.prod(np.maximum(high - low, 0))
        if index == best or shared / (box[2:].prod() + boxes[best, 2:].prod() - shared) > overlap:
            sums, total = sums + weight * box, total + weight
    return [float(value) for value in sums / total]
