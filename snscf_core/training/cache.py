# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Caches the features that the frozen layers compute, because without a GPU these layers take most of the time.

The backbone's features of a fixed number of pairs are written to files, which later steps read again and again. The
heads learn from its three taps. End-to-end training trains everything behind the first tap.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from ..data.draws import Draws
from ..data.pairs import PairBatch, PairConfig
from ..files import write_file
from ..model.geometry import STRIDE
from ..model.network import SNSCF, centre_crop
from ..model.rpn import TEMPLATE_CELLS

_STATE = "cache.json"
_AT_ONCE = 24  # pairs
_NUMBERS = 9  # of a pair: box, template box, whether the target is in it


@dataclass(frozen=True)
class TapBatch:
    """Holds N pairs, as ``PairBatch``, with one tensor per tap of the backbone in place of each crop.

    template: N x C_0 x 15 x 15, and the middle N x C_l x 7 x 7 of the deeper taps
    search: N x C_l x 31 x 31
    context: the same shape, for every ``every``-th pair
    """

    template: list[Tensor]
    search: list[Tensor]
    context: list[Tensor] | None
    box: Tensor
    positive: Tensor
    template_box: Tensor


class DescribedSource(Protocol):
    """Provides the pairs that fill a cache, as ``PairSource`` does: the same step always gives the same pairs."""

    @property
    def config(self) -> PairConfig: ...

    def describe(self) -> str: ...

    def fingerprint(self) -> str: ...

    def batch(self, step: int, size: int) -> PairBatch: ...


class CachedPairs:
    """Serves ``pairs`` pairs of a source, in a new order each round; ``batch(step)`` depends only on seed and step.

    folder: holds the cache; an existing one is used, or completed
    every: distance between pairs with a context; 0 for no contexts
    recombined: share of the pairs without a context that get another pair's template, so that the negatives differ from
        round to round (the chance that it shows the same object is that of two draws from the source)

    Raises ValueError if the folder holds the taps of other pairs or of another backbone, or if the disk is too full.
    """

    def __init__(
        self,
        source: DescribedSource,
        network: SNSCF,
        folder: Path,
        *,
        pairs: int,
        every: int,
        seed: int,
        recombined: float = 0.1,
        device: torch.device | None = None,
    ) -> None:
        if pairs < 2:
            raise ValueError(f"a cache needs at least 2 pairs, got {pairs}")
        self._seed, self._every, self._recombined = seed & 0xFFFFFFFFFFFFFFFF, every, recombined
        self._device = device or torch.device("cpu")
        self._draws = Draws(torch.device("cpu"))
        self._rows = pairs
        contexts = -(-pairs // every) if every else 0
        self._count = {True: contexts, False: pairs - contexts}  # with, without a context
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "pairs": pairs,
            "every": every,
            "seed": seed,
            "source": source.describe(),
            "images": source.fingerprint(),
            "settings": asdict(source.config),
            "backbone": _fingerprint(network),
        }
        settings = json.loads(json.dumps(settings))
        done = self._found(settings)
        wide = tuple(31 if stride == STRIDE else 15 for stride in network.backbone.strides)
        cells = {"template": (15, TEMPLATE_CELLS, TEMPLATE_CELLS), "search": wide, "context": wide}
        rows = {"template": pairs, "search": pairs, "context": contexts}
        shapes = {
            f"{kind}.{level}": (rows[kind], side, side, channels)
            for kind, sides in cells.items()
            for level, (side, channels) in enumerate(zip(sides, network.backbone.channels, strict=True))
            if rows[kind]
        }
        if not done:
            needed, free = sum(2 * int(np.prod(shape)) for shape in shapes.values()), _free(folder)
            if needed > 0.95 * free:
                raise ValueError(f"a cache of {pairs} pairs needs {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f}")
        self._files = {name: self._open(name, np.float16, shape, bool(done)) for name, shape in shapes.items()}
        self._numbers = self._open("numbers", np.float32, (pairs, _NUMBERS), bool(done))
        if done < pairs:
            self._fill(source, network, done, settings)

    def batch(self, step: int, size: int) -> TapBatch:
        """Returns ``size`` pairs; the first and every ``every``-th after it have a context."""
        rows = np.empty(size, np.int64)
        has_context = np.zeros(size, bool)
        if self._every:
            has_context[:: self._every] = True
        for kind, places in ((True, has_context), (False, ~has_context)):
            here, among = int(places.sum()), self._count[kind]
            chosen = [self._order(kind, k // among)[k % among] for k in range(step * here, (step + 1) * here)]
            rows[places] = self._row(np.array(chosen, np.int64), kind)

        self._draws.restart(self._seed ^ 0x5CACE, step)
        exchanged = self._draws.chance(self._recombined, size).numpy() & ~has_context & (np.roll(rows, 1) != rows)
        template_rows = np.where(exchanged, np.roll(rows, 1), rows)
        numbers = torch.from_numpy(self._numbers[rows])
        context = self._taps("context", rows[has_context] // self._every) if self._every else None
        return TapBatch(
            self._taps("template", template_rows),
            self._taps("search", rows),
            context,
            numbers[:, :4].to(self._device),
            ((numbers[:, 8] > 0) & ~torch.from_numpy(exchanged)).to(self._device),
            torch.from_numpy(self._numbers[template_rows])[:, 4:8].to(self._device),
        )

    def _taps(self, kind: str, rows: npt.NDArray[np.int64]) -> list[Tensor]:
        taps = [torch.from_numpy(self._files[f"{kind}.{level}"][rows]) for level in range(3)]
        return [tap.to(self._device).float().permute(0, 3, 1, 2) for tap in taps]

    def _row(self, chosen: npt.NDArray[np.int64], with_context: bool) -> npt.NDArray[np.int64]:
        """Returns the rows of the k-th pairs with a context, or without."""
        if with_context:
            return chosen * self._every
        return chosen if not self._every else chosen + chosen // (self._every - 1) + 1

    @lru_cache(maxsize=4)  # noqa: B019 - there is one cache in a run
    def _order(self, with_context: bool, round_: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self._seed, round_, with_context]).permutation(self._count[with_context])

    # Filling ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _fill(self, source: DescribedSource, network: SNSCF, done: int, settings: dict[str, Any]) -> None:
        network = network.to(self._device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        with tqdm(total=self._rows, initial=done, unit="pair", desc="cache", file=sys.stderr, disable=None) as bar:
            while done < self._rows:
                # Use whole batches only, so that a resumed cache equals an uninterrupted one.
                pairs = source.batch(done // _AT_ONCE, _AT_ONCE)
                count = min(_AT_ONCE, self._rows - done)
                self._put(network, pairs, done, count)
                done += count
                bar.update(count)
                if done % (5 * _AT_ONCE) == 0 or done == self._rows:
                    for file in (*self._files.values(), self._numbers):
                        file.flush()
                    self._note(done, settings)

    def _put(self, network: SNSCF, pairs: PairBatch, start: int, count: int) -> None:
        rows = np.arange(start, start + count)
        crops = {"template": pairs.template[:count], "search": pairs.search[:count]}
        places = {"template": rows, "search": rows}
        if self._every:
            assert pairs.template_context is not None, "the source was made with contexts"
            own = rows % self._every == 0
            crops["context"] = pairs.template_context[:count][torch.from_numpy(own)]
            places["context"] = rows[own] // self._every
        for kind, images in crops.items():
            if not len(images):
                continue
            taps: Sequence[Tensor] = network.extract(images.to(memory_format=torch.channels_last))
            for level, tap in enumerate(taps):
                if kind == "template" and level > 0:
                    tap = centre_crop(tap, TEMPLATE_CELLS)
                self._files[f"{kind}.{level}"][places[kind]] = tap.permute(0, 2, 3, 1).half().cpu().numpy()
        assert pairs.template_box is not None
        numbers = torch.cat([pairs.box, pairs.template_box, pairs.positive[:, None].float()], 1)
        self._numbers[rows] = numbers[:count].cpu().numpy()

    def _open(self, name: str, dtype: Any, shape: tuple[int, ...], there: bool) -> Any:
        file = self._folder / f"{name}.npy"
        if there:
            return np.load(file, mmap_mode="r+")
        return np.lib.format.open_memmap(file, "w+", dtype, shape)

    def _found(self, settings: dict[str, Any]) -> int:
        """Returns how many pairs of the same cache are already on disk."""
        file = self._folder / _STATE
        if not file.is_file():
            return 0
        state = json.loads(file.read_text())
        if changed := [key for key in settings if state["of"].get(key) != settings[key]]:
            raise ValueError(f"{self._folder} is a cache with another {changed[0]}: delete it, or choose another")
        return int(state["done"])

    def _note(self, done: int, settings: dict[str, Any]) -> None:
        write_file(self._folder / _STATE, json.dumps({"done": done, "of": settings}))


def _fingerprint(network: SNSCF) -> str:
    digest = hashlib.sha256()
    for key, value in network.backbone.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _free(folder: Path) -> int:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize
