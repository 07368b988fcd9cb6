# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Implements ``snscf export``: writes the network for another runtime."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..crops import SEARCH_SIZE
from ..engines.engine_cache import cache_folder, folder_name
from ..engines.engine_selection import FORMAT_OF, difference, note_agreement
from ..engines.export import FORMATS, PRECISIONS, export
from ..engines.exported import ExportedEngine
from ..model.geometry import MODELS
from ..online.mode import MODES
from ..online.tracker import Tracker
from ..online.tuning import tuned_config
from ..signals import keeping
from . import quantisation_data
from .options import add_search_size, box_of

_ENGINES = {file_format: engine for engine, file_format in FORMAT_OF.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``snscf export``."""
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--precision", default="f32", choices=PRECISIONS, help="default f32; int8 needs --calibrate")
    parser.add_argument("--model", default=MODELS[0], help=f"{', '.join(MODELS)}, or a path (default {MODELS[0]})")
    parser.add_argument("--mode", default="auto", help=f"mode to export for: auto, {', '.join(MODES)} (default auto)")
    add_search_size(parser)
    parser.add_argument("--batch", type=int, default=1, help="crops in one run (default 1, best on a CPU)")
    parser.add_argument(
        "--calibrate",
        type=Path,
        action="append",
        default=[],
        metavar="SEQUENCES_OR_VIDEO",
        help="for int8: a sequence in OTB's layout, a folder of such, or a video with --box; repeatable",
    )
    parser.add_argument("--box", help="x,y,w,h of a target in the first frame of the video")
    parser.add_argument("--frames", type=int, default=300, help="number of calibration frames (default 300)")
    parser.add_argument("--output", type=Path, help="folder to write (default: where --engine NAME looks for it)")


def run(options: argparse.Namespace) -> None:
    """Runs ``snscf export``.

    Raises ValueError or FileNotFoundError for unusable options and data, and WeightsError for unusable weights.
    """
    if options.precision == "int8" and not options.calibrate:
        raise ValueError("int8 needs calibration: give --calibrate with frames like those to be tracked")
    if options.calibrate and options.precision != "int8":
        raise ValueError("--calibrate is for --precision int8")
    if options.frames < 1:
        raise ValueError(f"--frames must be at least 1, got {options.frames}")
    if options.output is None and cache_folder() is None:
        raise ValueError("there is no home folder to write to: give --output FOLDER")
    box = None if options.box is None else box_of(options.box, "--box")
    sources = [one for path in options.calibrate for one in quantisation_data.sources(path, box)]
    device = "cuda" if options.format == "tensorrt" else "cpu"
    config = tuned_config(options.model, search_size=options.search_size)
    tracker = Tracker(options.model, device=device, mode=options.mode, engine="torch", config=config)
    spec = tracker.spec
    items = quantisation_data.collect(tracker, sources, options.frames) if sources else []
    folder = options.output or (cache_folder() or Path()) / folder_name(spec, options.format, options.precision)
    with keeping("nothing is written"):
        export(spec, options.format, folder, options.precision, batch=options.batch, calibration=items)
    name = _ENGINES[options.format] + ("" if options.precision == "f32" else f"-{options.precision}")
    made = Tracker(options.model, device=device, mode=options.mode, engine=folder, config=config).runtime
    if not isinstance(made, ExportedEngine) or made.name != name:
        raise ValueError(f"{folder} does not work here, see the warning above")
    differs = difference(made, spec)
    note_agreement(made, differs)
    size = "" if spec.search_size == SEARCH_SIZE else f" and search_size: {spec.search_size}"
    print(f"{folder}\nuse it with engine: {name if options.output is None else folder}{size}")
    print(f"difference to torch: {differs:.2g} of its values")
