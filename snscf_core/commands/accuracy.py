# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Implements ``snscf eval accuracy``: evaluates trackers on several data sets under several conditions."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ..evaluation.accuracy import measure
from ..evaluation.conditions import CONDITIONS, Condition
from ..evaluation.datasets import DATASETS
from ..evaluation.reports import accuracy_report
from ..evaluation.sequences import ImageSequence
from ..signals import keeping
from .evaluate import (
    add_candidate_arguments,
    add_run_arguments,
    chosen_candidates,
    complain_unreadable,
    frames_bar,
    kept_runs,
    listed,
    print_table,
)

OUTPUT = Path("accuracy_output")


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to those of ``snscf eval``."""
    parser = commands.add_parser(
        "accuracy", help="evaluate trackers on several data sets, also with changed light, noise, rate and size"
    )
    parser.add_argument(
        "--root",
        action="append",
        required=True,
        metavar="NAME=FOLDER",
        help="a data set: its name, and a folder with NAME/img/ and NAME/groundtruth_rect.txt; repeatable",
    )
    add_candidate_arguments(parser)
    parser.add_argument(
        "--conditions", default="all", help=f"separated by commas: {', '.join(CONDITIONS)}; or all (default all)"
    )
    parser.add_argument("--starts", type=int, default=3, help="number of start frames in each sequence (default 3)")
    parser.add_argument("--frames", type=int, default=0, help="most frames of each sequence (default 0: all)")
    add_run_arguments(parser)
    parser.set_defaults(run=run, output=OUTPUT)


def run(options: argparse.Namespace) -> None:
    """Runs ``snscf eval accuracy``.

    Raises ValueError or FileNotFoundError for unusable options and data, and ValueError if a run failed.
    """
    if options.starts < 1 or options.frames < 0:
        raise ValueError(f"--starts must be at least 1 and --frames 0, got {options.starts} and {options.frames}")
    conditions = chosen(listed(options.conditions))
    sets, unreadable = read_sets(options.root, listed(options.sequences) if options.sequences else None)
    trackers = chosen_candidates(options)
    with keeping(kept_runs(options.output)), frames_bar() as advance:
        found = measure(
            sets,
            trackers,
            conditions,
            options.output / "runs",
            starts=options.starts,
            frames=options.frames,
            workers=options.jobs,
            advance=advance,
            tell=functools.partial(tqdm.write, file=sys.stderr),
        )
    for table in accuracy_report.write(found, options.output):
        print_table(table)
    print(f"\n{options.output / 'accuracy.md'}")
    if found.failed:
        raise ValueError(f"{len(found.failed)} runs failed, their sequences are left out: {', '.join(found.failed)}")
    complain_unreadable(unreadable)


def chosen(names: Sequence[str]) -> list[Condition]:
    """Returns conditions by name; ``all`` selects every condition. Raises ValueError for an unknown or missing name."""
    if unknown := [name for name in names if name not in CONDITIONS and name != "all"]:
        raise ValueError(f"unknown condition {unknown[0]!r}; there are all, {', '.join(CONDITIONS)}")
    if not names:
        raise ValueError("there is no condition to measure under")
    return list(CONDITIONS.values()) if "all" in names else [CONDITIONS[name] for name in dict.fromkeys(names)]


def read_sets(
    roots: Sequence[str], names: Sequence[str] | None = None
) -> tuple[dict[str, tuple[ImageSequence, ...]], dict[str, str]]:
    """Reads the sequences of each data set, and returns them with the reasons why others can't be used, by name.

    roots: ``NAME=FOLDER`` for each set.
    names: of the sequences to read; None reads all.

    Raises ValueError for a set without a name, two sets with the same name, a sequence that no set has, and if no
    sequence can be used. Raises FileNotFoundError for a missing folder.
    """
    sets: dict[str, tuple[ImageSequence, ...]] = {}
    unreadable: dict[str, str] = {}
    for root in roots:
        name, _, folder = root.partition("=")
        if not name or not folder:
            raise ValueError(f"--root must be NAME=FOLDER, got {root!r}")
        if name in sets:
            raise ValueError(f"two sets are both named {name!r}")
        dataset = DATASETS["sequences"](Path(folder), names)
        sets[name] = dataset.sequences
        unreadable |= {f"{name}/{sequence}": reason for sequence, reason in dataset.unreadable.items()}
    known = [*(one.name for sequences in sets.values() for one in sequences), *map(_last, unreadable)]
    if unknown := [name for name in names or () if name not in known]:
        everything, others = read_sets(roots)
        there = {*(one.name for sequences in everything.values() for one in sequences), *map(_last, others)}
        raise ValueError(f"no set has a sequence {unknown[0]!r}; there are {', '.join(sorted(there))}")
    if not any(sets.values()):
        raise ValueError(next(iter(unreadable.values())))
    return {name: sequences for name, sequences in sets.items() if sequences}, unreadable


def _last(name: str) -> str:
    return name.rpartition("/")[2]
