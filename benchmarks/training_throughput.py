# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures how many pairs a second training handles, and where the time goes.

    python benchmarks/training_throughput.py --pool pool.safetensors --batch 128            # on a GPU
    python benchmarks/training_throughput.py --device cpu --batch 4 --steps 3               # anywhere

Four things are timed on the same pairs: the pair source alone; the network's forward and backward passes alone; whole
    training steps on one prepared batch (network, labels, losses, optimiser, average); and real training with the pair
    source. The steps are those of ``snscf_core.training.trainer.train``. Without data, pictures are generated.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from snscf_core.data.pairs import PairBatch, PairConfig, PairSource
from snscf_core.data.pool import ImagePool
from snscf_core.data.readers import READERS, Clip
from snscf_core.model.network import MODELS, create
from snscf_core.training.losses import LossConfig
from snscf_core.training.schedule import ScheduleConfig
from snscf_core.training.siamese import PairNetwork
from snscf_core.training.start import enter_phase
from snscf_core.training.trainer import TrainConfig, train

TARGET = 0.7  # least share of the time for the network on a GPU


class Timed:
    """Serves ``train`` as a source and times the steps between two of its calls."""

    def __init__(self, make: Callable[[int, int], PairBatch], warm_up: int, steps: int, device: torch.device) -> None:
        self._make, self._first, self._last, self._device = make, warm_up, warm_up + steps, device
        self._started = 0.0
        self.seconds = float("nan")  # per step

    def batch(self, step: int, size: int) -> PairBatch:
        if step in (self._first, self._last):
            now = self._now()
            if step == self._last:
                self.seconds = (now - self._started) / (self._last - self._first)
            self._started = now
        return self._make(step, size)

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def timed(work: Callable[[int], Any], warm_up: int, steps: int, device: torch.device) -> float:
    """Returns the seconds of one call of ``work(step)``, after a warm-up."""
    source = Timed(lambda step, _: work(step), warm_up, steps, device)
    for step in range(warm_up + steps + 1):
        source.batch(step, 0)
    return source.seconds


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measures all times of one configuration, in seconds per batch."""
    device = torch.device(options.device)
    pool = pool_of(options, device)
    pairs = PairConfig(composited=options.composited, context=options.ridge)
    source = PairSource(pool, pairs, seed=0, compiled=options.compile_source)
    fixed = source.batch(0, options.batch)
    losses = LossConfig(ridge_weight=0.2 if options.ridge else 0.0)
    tick = (options.warm_up, options.steps, device)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = {
        "source": timed(lambda step: source.batch(step, options.batch), *tick),
        "network": timed(passes(options, fixed, losses, device), *tick),
        "step": training(options, lambda step, size: fixed, losses, pairs, device),
        "together": training(options, source.batch, losses, pairs, device),
    }
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    return {
        "seconds_per_batch": seconds,
        "pairs_per_second": {name: options.batch / value for name, value in seconds.items()},
        "network_share": seconds["network"] / seconds["together"],
        "pool": {"images": pool.frames, "views": len(pool.view_clip), "bytes": pool.nbytes},
        "peak_memory_gib": memory,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "torch": torch.__version__,
        "settings": {
            name: value if isinstance(value, (int, float, bool, type(None), list)) else str(value)
            for name, value in vars(options).items()
        },
    }


def passes(
    options: argparse.Namespace, batch: PairBatch, losses: LossConfig, device: torch.device
) -> Callable[[int], None]:
    """Returns the forward and backward pass of the network alone, as a function."""
    network = create(options.model).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    enter_phase(
        network,
        not options.heads_only,
        conv5_new=False,
        train_stem=options.train_stem,
        train_filters=losses.ridge_weight > 0,
    )
    module: Any = PairNetwork(network)
    if options.compile:
        module = torch.compile(module, dynamic=False)
    crops = [batch.template, batch.search]
    if batch.template_context is not None:
        crops.append(batch.template_context[:: losses.ridge_every])
    template, search, *context = (c.to(memory_format=torch.channels_last) for c in crops)

    def work(step: int) -> None:
        network.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            out = module(template, search, context[0] if context else None, losses.ridge_every)
        maps = [out.fused.scores, out.fused.deltas, *out.context, *out.search]
        sum(values.float().square().mean() for values in maps).backward()

    return work


def training(
    options: argparse.Namespace,
    make: Callable[[int, int], PairBatch],
    losses: LossConfig,
    pairs: PairConfig,
    device: torch.device,
) -> float:
    """Returns the seconds of one step of ``train``."""
    source = Timed(make, options.warm_up, options.steps, device)
    config = TrainConfig(
        model=options.model,
        steps=options.warm_up + options.steps + 1,
        batch=options.batch,
        losses=losses,
        pairs=pairs,
        precision=options.precision,
        compile=options.compile,
        train_stem=options.train_stem,
        # Tiny rates keep the random weights stable; only the time counts.
        schedule=ScheduleConfig(
            heads_share=1.0 if options.heads_only else 0.0, heads_rate=1e-6, peak_rate=1e-6, final_rate=1e-7
        ),
        checkpoint_seconds=float("inf"),
        log_every=10**9,
        max_skipped=10**9,
        intervals=1,
    )
    with tempfile.TemporaryDirectory() as out:
        train(config, source, Path(out), device=device, network=create(options.model))
    return source.seconds


# Pictures -------------------------------------------------------------------------------------------------------------


def pool_of(options: argparse.Namespace, device: torch.device) -> ImagePool:
    if options.pool is not None and options.pool.is_file():
        return ImagePool.load(options.pool, device)
    with tempfile.TemporaryDirectory() as folder:
        clips = []
        for text in options.data:
            layout, _, root = text.partition("=")
            if layout not in READERS or not root:
                raise SystemExit(f"--data is LAYOUT=DIR with LAYOUT one of {', '.join(READERS)}, got {text!r}")
            clips += READERS[layout](Path(root))
        pool, _ = ImagePool.build(clips or generated(Path(folder), options.pictures), device=device)
    if options.pool is not None:
        pool.save(options.pool)
    return pool


def generated(folder: Path, count: int) -> list[Clip]:
    """Generates pictures of 480 x 360, each with one object and its mask; every four are one clip."""
    rng = np.random.default_rng(0)
    clips: list[Clip] = []
    y, x = np.mgrid[:360, :480]
    files: list[tuple[Path, Path]] = []
    boxes: list[list[float]] = []
    for index in range(count):
        picture = cv2.resize(rng.uniform(0, 255, (12, 16, 3)).astype(np.float32), (480, 360))
        cx, cy, w, h = rng.uniform((160, 120, 40, 40), (320, 240, 140, 120))
        mask = np.hypot((x - cx) / w, (y - cy) / h) < 0.5
        picture[mask] = rng.uniform(0, 255, 3) + 40 * np.sin(x / rng.uniform(2, 20))[mask][:, None]
        pair = folder / f"{index}.jpg", folder / f"{index}.png"
        cv2.imwrite(str(pair[0]), picture.clip(0, 255).astype(np.uint8))
        cv2.imwrite(str(pair[1]), mask.astype(np.uint8) * 255)
        rows, columns = np.nonzero(mask)
        files.append(pair)
        boxes.append([float(v) for v in (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)])
        if index % 4 < 3 and index + 1 < count:
            continue
        clips.append(
            Clip(
                f"generated-{len(clips)}",
                "generated",
                tuple(image for image, _ in files),
                np.array(boxes, float),
                tuple(mask_file for _, mask_file in files),
            )
        )
        files, boxes = [], []
    return clips


def table(result: dict[str, Any]) -> str:
    names = {
        "source": "pair source alone",
        "network": "network, forward and backward",
        "step": "training step on a fixed batch",
        "together": "training",
    }
    lines = [f"{'':34}{'ms / batch':>12}{'pairs / s':>12}"]
    for key, name in names.items():
        seconds, speed = result["seconds_per_batch"][key], result["pairs_per_second"][key]
        lines.append(f"{name:34}{1000 * seconds:12.1f}{speed:12.1f}")
    share = result["network_share"]
    verdict = "" if result["peak_memory_gib"] is None else f" (aim: at least {TARGET:.0%})"
    lines.append(f"the network has {share:.0%} of the time{verdict}")
    if result["peak_memory_gib"] is not None:
        lines.append(f"peak memory {result['peak_memory_gib']:.1f} GiB")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    cuda = torch.cuda.is_available()
    parser.add_argument("--model", default=MODELS[0], choices=MODELS)
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--batch", type=int, default=128 if cuda else 4, help="pairs in a step")
    parser.add_argument("--steps", type=int, default=30 if cuda else 3, help="timed steps")
    parser.add_argument("--warm-up", type=int, default=10 if cuda else 1, help="steps before them")
    parser.add_argument("--data", action="append", default=[], metavar="LAYOUT=DIR", help="repeatable")
    parser.add_argument("--pool", type=Path, help="file with decoded images; written if it does not exist")
    parser.add_argument("--pictures", type=int, default=200, help="number of generated pictures, without data")
    parser.add_argument("--composited", type=float, default=PairConfig().composited, help="share of composited pairs")
    parser.add_argument(
        "--ridge", action=argparse.BooleanOptionalAction, default=True, help="include the filters' loss"
    )
    parser.add_argument("--heads-only", action="store_true", help="time the phase in which the backbone is frozen")
    parser.add_argument("--train-stem", action="store_true", help="train the layers before stride 8, too")
    parser.add_argument("--precision", default="bf16" if cuda else "float32", choices=("bf16", "float32"))
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    parser.add_argument("--compile-source", action="store_true", help="torch.compile the pair source's pixel work")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    options = parser.parse_args()
    if options.batch < 1 or options.steps < 1 or options.warm_up < 0:
        parser.error("batch and steps must be at least 1, warm-up at least 0")
    result = measure(options)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))


if __name__ == "__main__":
    main()
