# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The command-line options that say which tracker, as several commands have them."""

from __future__ import annotations

import argparse

from ..crops import SEARCH_SIZE
from ..engines.engine_selection import HELP as ENGINE_HELP
from ..model.network import MODELS
from ..online.config import MODES
from ..online.tracker import Tracker
from ..online.tuning import tuned_config

SEARCH_SIZE_HELP = "pixels of the search crop, 16 n + 15: 191 takes about 0.6 of the time and sees less far"


def add_tracker_arguments(parser: argparse.ArgumentParser, engine: str) -> None:
    """``engine``: what it is by default."""
    parser.add_argument("--model", default=MODELS[0], help=f"{', '.join(MODELS)}, or a path (default {MODELS[0]})")
    parser.add_argument("--mode", default="auto", help=f"auto, {', '.join(MODES)} (default auto)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default auto)")
    parser.add_argument("--engine", default=engine, help=f"{ENGINE_HELP} (default {engine})")
    add_search_size(parser)


def add_search_size(parser: argparse.ArgumentParser) -> None:
    """Only that one."""
    parser.add_argument(
        "--search-size", type=int, default=SEARCH_SIZE, help=f"{SEARCH_SIZE_HELP} (default {SEARCH_SIZE})"
    )


def tracker_of(options: argparse.Namespace) -> Tracker:
    """Raises as ``Tracker`` and ``TrackerConfig`` do."""
    config = tuned_config(options.model, search_size=options.search_size)
    return Tracker(options.model, mode=options.mode, device=options.device, engine=options.engine, config=config)
