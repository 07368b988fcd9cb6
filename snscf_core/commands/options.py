# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Defines the command-line options that select a tracker, shared by several commands."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..crops import SEARCH_SIZE
from ..engines.engine_selection import HELP as ENGINE_HELP
from ..model.geometry import MODELS
from ..online.mode import MODES
from ..online.tracker import Tracker
from ..online.tuning import tuned_config

SEARCH_SIZE_HELP = "pixels of the search crop, 16 n + 15: 191 takes about 0.6 of the time but covers less of the frame"


def add_tracker_arguments(parser: argparse.ArgumentParser, engine: str) -> None:
    """Adds the options that `tracker_of` reads. ``engine``: the default engine."""
    parser.add_argument("--model", default=MODELS[0], help=f"{', '.join(MODELS)}, or a path (default {MODELS[0]})")
    parser.add_argument("--mode", default="auto", help=f"auto, {', '.join(MODES)} (default auto)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default auto)")
    parser.add_argument("--engine", default=engine, help=f"{ENGINE_HELP} (default {engine})")
    add_search_size(parser)


def add_search_size(parser: argparse.ArgumentParser) -> None:
    """Adds the option ``--search-size`` alone."""
    parser.add_argument(
        "--search-size", type=int, default=SEARCH_SIZE, help=f"{SEARCH_SIZE_HELP} (default {SEARCH_SIZE})"
    )


def tracker_of(options: argparse.Namespace) -> Tracker:
    """Makes the tracker that the options select. Raises the errors of ``Tracker`` and ``TrackerConfig``."""
    config = tuned_config(options.model, search_size=options.search_size)
    return Tracker(options.model, mode=options.mode, device=options.device, engine=options.engine, config=config)


def box_of(text: str, option: str) -> Sequence[float]:
    """Reads a box ``x,y,w,h`` in pixels. Raises ValueError that names the option."""
    try:
        x, y, w, h = (float(value) for value in text.split(","))
    except ValueError:
        raise ValueError(f"{option} must be x,y,w,h, got {text!r}") from None
    return x, y, w, h
