# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Implements ``snscf train``: trains a network on data sets on disk."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import torch

from ..data.cpu_pairs import CpuPairSource
from ..data.pairs import PairSource
from ..data.pool import ImagePool
from ..data.readers import READERS, Clip
from ..files import write_file
from ..training.cache import CachedPairs
from ..training.processes import Processes, processes
from ..training.record import Description
from ..training.schedule import PAPER
from ..training.start import start
from ..training.teacher import Teacher
from ..training.trainer import Summary, TrainConfig, train
from ..training.validation import hold_out
from ..user_folders import expanded

PROBLEMS = "left_out.txt"
_HELP = "train a network on annotated clips and stills, or continue a stopped run"
_NESTED = ("schedule", "losses", "labels", "pairs", "filters")
_FIXED = ("filters",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``snscf train``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = f"{_HELP}."
    parser.epilog = "settings for --set, and their defaults:\n" + "\n".join(_listed())
    parser.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="LAYOUT=DIR[:WEIGHT]",
        help=f"a data set ({', '.join(READERS)}) and how often it is drawn, relative to the others (1); repeatable",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an existing run is continued")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default auto)")
    parser.add_argument("--pool", type=Path, help="file with the decoded images; written if missing")
    parser.add_argument("--cache", type=Path, help="folder of --cache-pairs (default: cache in the run's folder)")
    parser.add_argument("--longest-side", type=int, default=480, help="larger images are shrunk to this (default 480)")
    parser.add_argument("--frames-per-clip", type=int, help="most frames kept of each clip, evenly spaced")
    parser.add_argument("--validation-share", type=float, default=0.1, help="share of the videos to hold out (0.1)")
    parser.add_argument("--validation-clips", type=int, default=16, help="most videos to hold out (default 16)")
    parser.add_argument("--terms", default="", help="licence terms of the data, for the model card")
    parser.add_argument("--paper", action="store_true", help="use the learning rates of the paper")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="see below; repeatable")
    for item, kind in _settings(TrainConfig):
        if item.name in _NESTED:
            continue
        flag = "--" + item.name.replace("_", "-")
        text = item.metadata["help"] + (f" (default {_shown(item)})" if _shown(item) else "")
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            parser.add_argument(flag, choices=item.metadata.get("choices"), help=text, metavar=_metavar(item, kind))


def run(options: argparse.Namespace) -> None:
    """Runs ``snscf train``. Raises ValueError, WeightsError, TrainingError, FileNotFoundError."""
    started = time.monotonic()
    config = _config(options)
    with processes(options.device) as (own, device):
        if own.count > 1 and config.batch % own.count:
            raise ValueError(f"a batch of {config.batch} can't be shared by {own.count} processes")
        named = [_data(text) for text in options.data]
        problems: list[str] = []
        clips = [clip for layout, folder, _ in named for clip in READERS[layout](folder, problems)]
        training, held_out = hold_out(clips, options.validation_share, 0, options.validation_clips)
        weights = {layout: weight for layout, _, weight in named}
        config = replace(config, pairs=replace(config.pairs, weights=weights, context=config.losses.ridge_weight > 0))
        pool = _pool(options, training, device, own, problems)
        source = _source(pool, config, own, device)
        if own.first:
            print(source.describe(), file=sys.stderr)
            print(f"kept for validation: {', '.join(clip.name for clip in held_out) or 'nothing'}", file=sys.stderr)
        pairs = source if config.cache_pairs == 0 else _cached(options, config, source, own, device)
        description = Description(
            [*source.describe().splitlines(), f"kept for validation: {len(held_out)} clips"],
            options.terms,
            shlex.join(["snscf", *sys.argv[1:]]),
        )
        summary = train(
            config,
            pairs,
            options.out,
            clips=held_out,
            description=description,
            processes=own,
            device=device,
            started=started,
        )
    if own.first:
        print(_told(summary, options.out))


def _source(pool: ImagePool, config: TrainConfig, own: Processes, device: torch.device) -> PairSource:
    """Makes the source of pairs. On a CPU it uses OpenCV, which is far cheaper, unless some pairs are composited."""
    place = {"seed": config.seed, "rank": own.rank, "world": own.count}
    if device.type == "cpu" and config.pairs.composited == 0:
        teacher = _teacher(config) if config.teacher else None
        return CpuPairSource(pool, config.pairs, every=config.losses.ridge_every, teacher=teacher, **place)
    if config.teacher:
        raise ValueError("a teacher needs pairs made on the CPU: use --device cpu --set pairs.composited=0")
    return PairSource(pool, config.pairs, compiled=config.compile_pairs, **place)


def _teacher(config: TrainConfig) -> Teacher:
    """Loads the teacher. Raises ValueError for an unknown teacher or with cached pairs, and FileNotFoundError."""
    kind, *files = config.teacher.split(":")
    if kind != "fear":
        raise ValueError(f"a teacher must be fear:TEMPLATE.onnx:TRACK.onnx, got {config.teacher!r}")
    if config.cache_pairs:
        raise ValueError("a teacher can't be used with cached pairs: leave out --cache-pairs")
    return Teacher([Path(file) for file in files])


def _cached(
    options: argparse.Namespace, config: TrainConfig, source: PairSource, own: Processes, device: torch.device
) -> CachedPairs:
    if own.count > 1:
        raise ValueError("cached pairs need a single process")
    network, conv5_new = start(config.model, config.channels, config.seed, config.conv5)
    if conv5_new:
        raise ValueError(f"{config.model} has an untrained conv5, whose features change: its pairs can't be cached")
    return CachedPairs(
        source,
        network,
        options.cache or options.out / "cache",
        pairs=config.cache_pairs,
        every=config.losses.ridge_every if config.losses.ridge_weight > 0 else 0,
        seed=config.seed,
        device=device,
    )


def _told(summary: Summary, out: Path) -> str:
    if not summary.finished:
        of = f" of {summary.steps}" if summary.steps else ""
        return f"stopped at step {summary.step}{of}; run the same command to continue"
    scores = ", ".join(f"{mode} {aucs['mean']:.3f}" for mode, aucs in summary.validation.items())
    return f"finished {summary.step} steps: {out / 'weights'}" + (f", validation AUC {scores}" if scores else "")


def _pool(
    options: argparse.Namespace, clips: list[Clip], device: torch.device, own: Processes, problems: list[str]
) -> ImagePool:
    """Loads or builds the pool of the clips' images.

    Writes ``problems`` and the images that were left out to a file in the run's folder.
    """
    kept = options.pool is not None and options.pool.is_file()
    if kept:
        pool = ImagePool.load(options.pool, device)
        known: dict[tuple[str, str], list[Clip]] = {}
        for clip in clips:
            known.setdefault((clip.source, clip.name), []).append(clip)
        sources = [pool.sources[int(index)] for index in pool.clip_source]
        keys = list(zip(sources, pool.clip_names, strict=True))
        if not known.keys() >= set(keys):
            raise ValueError(f"{options.pool} has clips that are not in this run's training data: use another file")
        for key, made_from in zip(keys, pool.clip_fingerprints, strict=False):  # older files have no fingerprints
            if made_from not in [clip.fingerprint() for clip in known[key]]:
                raise ValueError(f"{options.pool} was made from other images or boxes of {key[1]}: use another file")
        if pool.longest_side != options.longest_side:
            raise ValueError(f"{options.pool} has images of {pool.longest_side} pixels, not of {options.longest_side}")
    else:
        pool, _ = ImagePool.build(
            clips,
            device=device,
            longest_side=options.longest_side,
            frames_per_clip=options.frames_per_clip,
            progress=own.first,
        )
    if own.first:
        left_out = [*problems, *pool.left_out]
        options.out.mkdir(parents=True, exist_ok=True)
        write_file(options.out / PROBLEMS, "".join(f"{problem}\n" for problem in left_out))
        if left_out:
            print(f"{len(left_out)} images or annotations are left out: {options.out / PROBLEMS}", file=sys.stderr)
        if options.pool is not None and not kept:
            pool.save(options.pool)
    return pool


def _data(text: str) -> tuple[str, Path, float]:
    """Parses ``LAYOUT=DIR[:WEIGHT]``. Raises ValueError, and FileNotFoundError for a missing folder."""
    layout, _, rest = text.partition("=")
    folder, _, weight = rest.rpartition(":")
    try:
        number = float(weight) if folder else 1.0
    except ValueError:
        folder, number = "", 1.0  # the colon belongs to the folder's name
    path = expanded(folder or rest)
    if layout not in READERS or not rest:
        raise ValueError(
            f"--data is LAYOUT=DIR or LAYOUT=DIR:WEIGHT with LAYOUT one of {', '.join(READERS)}, got {text!r}"
        )
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder")
    return layout, path, number


def _config(options: argparse.Namespace) -> TrainConfig:
    given: dict[str, Any] = {}
    for item, kind in _settings(TrainConfig):
        value = getattr(options, item.name, None) if item.name not in _NESTED else None
        if value is not None:
            flag = "--" + item.name.replace("_", "-")
            given[item.name] = _parsed(value, kind, flag) if isinstance(value, str) else value
    if options.paper:
        given["schedule"] = PAPER
    config = TrainConfig(**given)
    for text in options.set:
        name, _, value = text.partition("=")
        config = _with(config, name.split("."), value, name)
    return config


def _with(config: Any, path: list[str], value: str, name: str) -> Any:
    """Returns the config with one setting, possibly nested, replaced."""
    kinds = {item.name: kind for item, kind in _settings(type(config))}
    if path[0] not in kinds or name.startswith(_FIXED):
        raise ValueError(f"there is no setting {name!r}; snscf train --help lists them")
    inner = getattr(config, path[0])
    if is_dataclass(inner) != (len(path) > 1):
        raise ValueError(f"there is no setting {name!r}; snscf train --help lists them")
    new = _with(inner, path[1:], value, name) if len(path) > 1 else _parsed(value, kinds[path[0]], name)
    return replace(config, **{path[0]: new})


def _settings(kind: type) -> Iterator[tuple[Field[Any], Any]]:
    hints = get_type_hints(kind)
    for item in fields(kind):
        hint = hints[item.name]
        optional = [part for part in get_args(hint) if part is not type(None)]
        yield item, (optional[0] if type(None) in get_args(hint) else hint)


def _parsed(text: str, kind: Any, name: str) -> Any:
    try:
        if get_origin(kind) is tuple:
            element = get_args(kind)[0]
            return tuple(_parsed(part, element, name) for part in text.split(",") if part)
        if kind is bool:
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        if kind in (int, float, str):
            return kind(text)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{name} is {_NAMES.get(kind, 'another kind of value')}, got {text!r}") from error
    raise ValueError(f"{name} can't be given as text")


_NAMES = {int: "a whole number", float: "a number", bool: "true or false"}


def _listed() -> list[str]:
    lines = []

    def walk(config: Any, prefix: str) -> None:
        for item, kind in _settings(type(config)):
            value = getattr(config, item.name)
            if item.name in _FIXED:
                continue
            if is_dataclass(value):
                walk(value, f"{prefix}{item.name}.")
            elif prefix and not isinstance(value, Mapping) and kind is not Mapping:
                text = item.metadata.get("help", "")
                shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
                lines.append(f"  {prefix}{item.name}={shown}" + (f"  {text}" if text else ""))

    walk(TrainConfig(steps=1), "")
    return lines


def _shown(item: Field[Any]) -> str:
    value = item.default
    return ",".join(value) if isinstance(value, tuple) else "" if value is None else str(value)


def _metavar(item: Field[Any], kind: Any) -> str | None:
    if item.metadata.get("choices"):
        return None
    return {int: "N", float: "NUMBER"}.get(kind, "TEXT" if item.name != "model" else "MODEL")
