# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs ``snscf eval``: trackers on data sets, reports, comparisons, and the paper's tables."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..crops import SEARCH_SIZE
from ..engines.engine_selection import HELP as ENGINE_HELP
from ..evaluation import runner, vot
from ..evaluation.datasets import DATASETS, Dataset, read_dataset
from ..evaluation.metrics import MEASURES
from ..evaluation.reports import compare, paper
from ..evaluation.reports.report import mean_table, sequence_table, write_report
from ..evaluation.results import Evaluation, SequenceResult, Table
from ..evaluation.runner import Found, Job, Outcome
from ..evaluation.trackers import HELP, TrackerEntry, candidates
from ..evaluation.vot import BASELINE, SupervisedRun, VotSequence
from ..files import write_file
from ..model.geometry import MODELS
from ..online.mode import MODES
from ..signals import keeping
from .options import SEARCH_SIZE_HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``snscf eval`` itself."""
    parser.add_argument(
        "--dataset",
        default="sequences",
        choices=list(DATASETS),
        help="layout of the data set (default sequences: NAME/img/ and NAME/groundtruth_rect.txt)",
    )
    parser.add_argument("--root", type=Path, help="folder of the data set")
    add_candidate_arguments(parser)
    add_run_arguments(parser)


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the commands ``snscf eval compare`` and ``snscf eval paper``."""
    comparing = commands.add_parser("compare", help="test whether trackers differ: bootstrap over sequences")
    comparing.add_argument(
        "reports", nargs="+", metavar="REPORT", help="folder of a report, or FOLDER:TRACKER; the first is the reference"
    )
    comparing.set_defaults(run=run_compare)

    papering = commands.add_parser("paper", help="make Tables 1 to 4 and Figure 4 of the paper from the given data")
    papering.add_argument("--otb", type=Path, help="folder of OTB-2015")
    papering.add_argument("--vot", type=Path, help="folder of VOT-2018")
    papering.add_argument("--lasot", type=Path, help="folder of LaSOT")
    papering.add_argument("--tracker", "--model", default=MODELS[0], help=f"network (default {MODELS[0]})")
    add_run_arguments(papering)
    papering.set_defaults(run=run_paper)


def add_candidate_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that choose sequences, trackers and modes."""
    parser.add_argument("--sequences", help="names of the sequences to use, separated by commas (default: all)")
    parser.add_argument(
        "--tracker", "--model", default=MODELS[0], help=f"separated by commas: {HELP} (default {MODELS[0]})"
    )
    parser.add_argument(
        "--mode",
        default="auto",
        help=f"of our networks, separated by commas: auto, {', '.join(MODES)}, or all (default auto)",
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how our networks run, how many processes to use, and where results go."""
    parser.add_argument("--device", default="auto", help="of our networks: auto, cpu, cuda, cuda:N (default auto)")
    # Not the fastest engine at hand: results must not depend on which that is.
    parser.add_argument(
        "--engine", default="torch", help=f"of our networks, separated by commas; {ENGINE_HELP} (default torch)"
    )
    parser.add_argument(
        "--search-size",
        default=str(SEARCH_SIZE),
        help=f"of our networks, separated by commas; {SEARCH_SIZE_HELP} (default {SEARCH_SIZE})",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes, each tracking one sequence (default 1)")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for the report (report.html, results.json, plots) and raw boxes; finished runs in it are reused",
    )


def run(options: argparse.Namespace) -> None:
    """Runs ``snscf eval``. Raises ValueError or FileNotFoundError for a request that can't be met, or a failed run."""
    if options.root is None:
        raise ValueError("give the data set's folder with --root FOLDER")
    dataset = read_dataset(options.dataset, options.root, listed(options.sequences) if options.sequences else None)
    trackers = chosen_candidates(options)
    found = _run(dataset, trackers, options.output, options)
    if found is None:
        return
    evaluation = runner.evaluation(dataset, trackers, found)
    tables = _tables(evaluation, vot_results(dataset, trackers, found))
    _print(evaluation, tables)
    if options.output:
        print(f"\n{_write(evaluation, dataset, options.output, tables)}")
    _complain(found, dataset)


def run_compare(options: argparse.Namespace) -> None:
    """Runs ``snscf eval compare``. Raises ValueError or FileNotFoundError."""
    runs = [run for source in options.reports for run in compare.read_runs(source)]
    names = [run.name for run in runs]
    if len(set(names)) < len(names):  # Several reports have the same tracker: add the report's folder to its name.
        sources = [source for source in options.reports for _ in compare.read_runs(source)]
        runs = [replace(run, name=f"{source}:{run.name}") for source, run in zip(sources, runs, strict=True)]
    if len({run.dataset for run in runs}) > 1:
        raise ValueError(f"the reports are on different data sets: {', '.join(sorted({run.dataset for run in runs}))}")
    for table in compare.comparison_tables(runs):
        print_table(table)


def run_paper(options: argparse.Namespace) -> None:
    """Runs ``snscf eval paper``. Raises ValueError or FileNotFoundError."""
    roots = {"otb": options.otb, "vot": options.vot, "lasot": options.lasot}
    if not any(roots.values()):
        raise ValueError("give the data sets' folders with --otb, --vot or --lasot")
    sizes = sizes_of(options.search_size)
    if len(sizes) != 1:
        raise ValueError("the paper's tables compare modes of one tracker: give a single --search-size")
    trackers = candidates([options.tracker], paper.MODES, options.device, [options.engine], sizes)
    runs = {name: _paper_run(name, root, trackers, options) for name, root in roots.items() if root is not None}
    finished = {name: run for name, run in runs.items() if run is not None}
    if not finished:
        return
    # A data set that was not given gets a line. A run that another process gathers gets none.
    coverage = [
        f"{name.upper()} was not given." if root is None else _coverage(finished[name].dataset)
        for name, root in roots.items()
        if root is None or name in finished
    ]
    _print_paper(paper.tables(_measured(finished, trackers, coverage)), options.output)
    for run in finished.values():
        _complain(run.found, run.dataset)


@dataclass(frozen=True)
class _PaperRun:
    """Holds the results on one of the paper's data sets.

    vot: results with resets by tracker; empty for other data sets than VOT.
    """

    dataset: Dataset
    found: Found
    evaluation: Evaluation
    vot: Mapping[str, paper.VotResult]


def _paper_run(
    name: str, root: Path, trackers: Sequence[TrackerEntry], options: argparse.Namespace
) -> _PaperRun | None:
    """Runs the trackers on a data set and writes its report. Returns None in torchrun processes but the first."""
    dataset = read_dataset(name, root)
    folder = options.output / name if options.output else None
    found = _run(dataset, trackers, folder, options)
    if found is None:
        return None
    run = _PaperRun(dataset, found, runner.evaluation(dataset, trackers, found), vot_results(dataset, trackers, found))
    if folder:
        _write(run.evaluation, dataset, folder, _tables(run.evaluation, run.vot))
    return run


def _measured(
    finished: Mapping[str, _PaperRun], trackers: Sequence[TrackerEntry], coverage: Sequence[str]
) -> paper.Measured:
    """Gathers what the paper's tables need from the runs by data set."""
    evaluations = {name: run.evaluation for name, run in finished.items()}
    results: Mapping[str, paper.VotResult] = {}
    speeds = None
    if "vot" in finished:
        by_name = finished["vot"].vot
        results = {tracker.mode: by_name[tracker.name] for tracker in trackers if tracker.name in by_name}
        speeds = {tracker.description["mode"]: tracker.fps for tracker in evaluations["vot"].trackers}
    return paper.Measured(evaluations.get("otb"), evaluations.get("lasot"), results, speeds, coverage)


def _print_paper(tables: Sequence[Table], output: Path | None) -> None:
    """Prints the tables, and writes them to ``paper.md`` if there is an output folder."""
    for table in tables:
        print_table(table)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        text = "\n\n".join(f"## {table.title}\n\n{table.markdown()}\n\n{table.note}" for table in tables)
        write_file(output / "paper.md", f"# The paper's tables, measured\n\n{text}\n")
        print(f"\n{output / 'paper.md'}")


def vot_results(dataset: Dataset, trackers: Sequence[TrackerEntry], found: Found) -> dict[str, paper.VotResult]:
    """Scores the runs with resets, by tracker, over the sequences that each finished; empty unless the set is VOT's."""
    sequences = [one for one in dataset.sequences if isinstance(one, VotSequence)]
    results = {}
    for tracker in trackers:
        runs, boxes, finished = {}, {}, []
        for sequence in sequences:
            run = found.outcomes.get(Job(tracker, sequence, BASELINE).key)
            passed = found.outcomes.get(Job(tracker, sequence).key)
            if isinstance(run, SupervisedRun) and isinstance(passed, Outcome):
                runs[sequence.name], boxes[sequence.name] = [run.regions], passed.boxes
                finished.append(sequence)
        if finished:
            results[tracker.name] = paper.VotResult(
                vot.score(runs, finished), vot.score_tags(runs, finished), vot.average_overlap(boxes, finished)
            )
    return results


def _run(
    dataset: Dataset, trackers: Sequence[TrackerEntry], folder: Path | None, options: argparse.Namespace
) -> Found | None:
    experiments = (runner.ONE_PASS, *((BASELINE,) if isinstance(dataset.sequences[0], VotSequence) else ()))
    quiet = os.environ.get("RANK", "0") != "0"
    with keeping(kept_runs(folder)), frames_bar(dataset.name, quiet) as advance:
        return runner.run(
            dataset,
            trackers,
            folder=folder,
            workers=options.jobs,
            experiments=experiments,
            advance=advance,
            tell=functools.partial(tqdm.write, file=sys.stderr),
        )


def kept_runs(folder: Path | None) -> str:
    """Says where the finished runs of an interrupted evaluation are."""
    if folder is None:
        return "nothing is kept without --output"
    return f"finished runs are in {folder}: the same command goes on from there"


@contextmanager
def frames_bar(title: str | None = None, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Shows a progress bar on standard error, if that is a terminal. Call the result with frames done and in all."""
    with tqdm(unit="frame", desc=title, file=sys.stderr, disable=True if quiet else None) as bar:

        def advance(frames: int, total: int) -> None:
            bar.total = total
            bar.update(frames)

        yield advance


def _write(evaluation: Evaluation, dataset: Dataset, folder: Path, tables: Sequence[Table]) -> Path:
    frames = {sequence.name: sequence.frames_at for sequence in dataset.sequences}
    return write_report(evaluation, folder, frames=frames, tables=tables)


def _tables(evaluation: Evaluation, by_tracker: Mapping[str, paper.VotResult]) -> list[Table]:
    tables = []
    if by_tracker:
        tables.append(
            Table(
                "VOT, with resets",
                ("tracker", "EAO", "accuracy", "robustness", "lost", "AO"),
                tuple(
                    (
                        name,
                        _number(one.scores.eao),
                        _number(one.scores.accuracy),
                        _number(100 * one.scores.robustness),
                        f"{one.scores.lost:.0f}",
                        _number(one.average_overlap),
                    )
                    for name, one in by_tracker.items()
                ),
                "Robustness: failures in 100 frames. AO: without resets.",
            )
        )
        tags = list(next(iter(by_tracker.values())).tags)
        if len(tags) > 1:
            tables.append(
                Table(
                    "VOT, robustness by tag",
                    ("tracker", *tags),
                    tuple(
                        (name, *(_number(100 * one.tags[tag].robustness) if tag in one.tags else "-" for tag in tags))
                        for name, one in by_tracker.items()
                    ),
                )
            )
    if any(len(tracker.sequences) > 1 for tracker in evaluation.trackers):
        tables.append(compare.interval_table(evaluation))
    return tables


def _print(evaluation: Evaluation, tables: Sequence[Table]) -> None:
    if len(evaluation.trackers) == 1:
        print_table(_one_tracker(evaluation))
    else:
        print_table(sequence_table(evaluation))
        print_table(mean_table(evaluation))
    for table in tables:
        print_table(table)
    for note in evaluation.notes:
        print(f"\nnote: {note}")
    if evaluation.missing:
        print(f"\n{len(evaluation.missing)} sequences were missing: {', '.join(evaluation.missing)}")


def _one_tracker(evaluation: Evaluation) -> Table:
    tracker = evaluation.trackers[0]

    def row(title: str, frames: int, values: Callable[[str], float], fps: float) -> tuple[str, ...]:
        cells = (f"{values(m):.1f}" if m == "centre_error" else _number(values(m)) for m in MEASURES)
        return (title, str(frames), *cells, "-" if np.isnan(fps) else f"{fps:.1f}")

    def speed(one: SequenceResult) -> float:
        return len(one.seconds) / one.seconds.sum() if one.seconds.sum() > 0 else float("nan")

    rows = [
        row(name, one.scores.frames, functools.partial(getattr, one.scores), speed(one))
        for name, one in tracker.sequences.items()
    ]
    if (mean := tracker.mean()) is not None:
        rows.append(row(f"mean of {len(rows)}", mean.frames, functools.partial(getattr, mean), tracker.fps))
    return Table(tracker.name, ("sequence", "frames", *MEASURES.values(), "fps"), tuple(rows))


def print_table(table: Table) -> None:
    """Prints a table with its title and note."""
    print(f"\n{table.title}\n\n{table.markdown()}")
    if table.note:
        print(f"\n{table.note}")


def _coverage(dataset: Dataset) -> str:
    count, missing = len(dataset.sequences), dataset.missing
    text = f"{dataset.name}: {count} of {count + len(missing)} sequences"
    return f"{text}, missing {', '.join(missing)}." if missing else f"{text}."


def _complain(found: Found, dataset: Dataset) -> None:
    """Raises ValueError if a run failed or a sequence could not be read, so that the exit status is not 0."""
    if found.failed:
        names = ", ".join(f"{tracker} on {sequence}" for tracker, sequence, _ in found.failed)
        raise ValueError(f"{len(found.failed)} runs failed and are left out: {names}")
    complain_unreadable(dataset.unreadable)


def complain_unreadable(sequences: Mapping[str, str]) -> None:
    """Raises ValueError with the reasons, by name, if there are sequences that could not be read."""
    if sequences:
        reasons = "; ".join(sequences.values())
        raise ValueError(f"{len(sequences)} sequences can't be read and are left out: {reasons}")


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def chosen_candidates(options: argparse.Namespace) -> list[TrackerEntry]:
    """Returns the trackers that the options choose. Raises as `candidates` does, and ValueError for a bad size."""
    return candidates(
        listed(options.tracker),
        listed(options.mode),
        options.device,
        listed(options.engine),
        sizes_of(options.search_size),
    )


def listed(text: str) -> list[str]:
    """Splits a text at commas and drops empty parts."""
    return [part.strip() for part in text.split(",") if part.strip()]


def sizes_of(text: str) -> list[int]:
    """Reads the numbers of ``--search-size``. Raises ValueError."""
    try:
        return [int(part) for part in listed(text)]
    except ValueError:
        raise ValueError(f"--search-size must be whole numbers separated by commas, got {text!r}") from None
