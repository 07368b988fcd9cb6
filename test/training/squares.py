# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Textured rectangles over smooth backgrounds, as training pairs; and a network small enough to learn them on a CPU.

``python squares.py OUT SETTINGS`` trains it in a process of its own, or several under torchrun.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snscf_core.data.pairs import PairBatch
from snscf_core.model import network as networks
from snscf_core.model.backbones import Backbone
from snscf_core.model.network import SNSCF
from snscf_core.training.processes import Processes, processes
from snscf_core.training.trainer import Summary, TrainConfig, train


class SmallBackbone(Backbone):
    """Stride 8 and the grids of the real ones: 127 pixels give 15 x 15 cells, 255 give 31 x 31, cell k at 7 + 8 k."""

    channels = (24, 24, 24)
    strides = (8, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU())
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, 24, 3, stride, padding), nn.ReLU())
            for inputs, stride, padding in ((16, 2, 0), (24, 1, 1), (24, 1, 1))
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # so that features are as large as a trained backbone's
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def first(self, images: Tensor) -> Tensor:
        return self.stages[0](self.stem((images - 127.5) / 16))

    def rest(self, first: Tensor, levels: Sequence[int] = (0, 1, 2)) -> list[Tensor]:
        taps = [first]
        for stage in self.stages[1:]:
            taps.append(stage(taps[-1]))
        return [taps[level] for level in levels]


def small_network(seed: int = 0, channels: int = 16) -> SNSCF:
    networks.BACKBONES["small"] = SmallBackbone
    torch.manual_seed(seed)
    return SNSCF("small", channels)


class Squares:
    """Pairs that depend on (seed, step) alone; every process gets its slice of the same batch.

    repeats: after so many steps the same pairs come again. broken: at these steps the search crops are NaN.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        processes: Processes | None = None,
        repeats: int | None = None,
        negatives: float = 0.2,
        broken: Sequence[int] = (),
    ) -> None:
        self.seed, self.processes = seed, processes or Processes()
        self.repeats, self.negatives, self.broken = repeats, negatives, broken

    def batch(self, step: int, size: int) -> PairBatch:
        all_of_them = self._drawn(step if self.repeats is None else step % self.repeats, size * self.processes.count)
        own = slice(size * self.processes.rank, size * (self.processes.rank + 1))
        template, search, box, positive, context, template_box = (part[own] for part in all_of_them)
        if step in self.broken:
            search = torch.full_like(search, float("nan"))
        return PairBatch(template, search, box, positive, context, template_box)

    def _drawn(self, step: int, n: int) -> tuple[Tensor, ...]:
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + step)

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return torch.rand(*shape, generator=random) * (high - low) + low

        texture, other = uniform(0, 255, n, 3, 6, 6), uniform(0, 255, n, 3, 6, 6)
        positive = uniform(0, 1, n) >= self.negatives
        aspect = torch.exp2(uniform(-0.8, 0.8, n))
        height = 127 / ((1.5 * aspect + 0.5) * (0.5 * aspect + 1.5)).sqrt()
        size = torch.stack([aspect * height, height], 1)
        middle = torch.zeros(n, 2)
        shift = uniform(-56, 56, n, 2)
        box = torch.cat([shift, size * torch.exp2(uniform(-0.25, 0.25, n, 1))], 1)
        template_box = torch.cat([middle, size], 1)
        shown = torch.where(positive[:, None, None, None], texture, other)
        return (
            _picture(uniform(60, 190, n, 3, 5, 5), texture, template_box, 127),
            _picture(uniform(60, 190, n, 3, 5, 5), shown, box, 255),
            box,
            positive,
            _picture(uniform(60, 190, n, 3, 5, 5), texture, template_box, 255),
            template_box,
        )


def _picture(background: Tensor, texture: Tensor, box: Tensor, size: int) -> Tensor:
    """N x 3 x size x size: the texture fills the box (crop pixels relative to the middle)."""
    at = torch.arange(size) + 0.5 - size / 2
    x = ((at[None, :] - box[:, :1]) * 2 / box[:, 2:3])[:, None, :].expand(-1, size, -1)
    y = ((at[None, :] - box[:, 1:2]) * 2 / box[:, 3:])[:, :, None].expand(-1, -1, size)
    inside = ((x.abs() < 1) & (y.abs() < 1))[:, None]
    target = F.grid_sample(texture, torch.stack([x, y], -1), align_corners=False, padding_mode="border")
    around = F.interpolate(background, size=(size, size), mode="bilinear", align_corners=False)
    return torch.where(inside, target, around)


def losses(out: Path) -> list[float]:
    """The loss of every line in a run's log."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "steps"]


def main(out: Path, settings: dict[str, object]) -> Summary:
    torch.set_num_threads(1)
    with processes("cpu") as (own, device):
        config = TrainConfig(**settings)  # type: ignore[arg-type]
        return train(config, Squares(processes=own), out, processes=own, device=device, network=small_network())


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
