# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Implements ``snscf engines``: prints how fast each engine is here, which one ``auto`` takes, and why."""

from __future__ import annotations

import argparse
import os

from ..cores import available_cores, threads
from ..engines.engine_cache import choices_file
from ..engines.engine_selection import Chosen, choose, fastest, installed, versions, with_eight_bits
from ..engines.export_advice import export_command
from ..engines.network_spec import NetworkSpec
from ..model.geometry import MODELS
from ..online.mode import MODES
from ..online.tracker import Tracker
from ..online.tuning import tuned_config
from ..processor import extensions, processor
from ..requirements import torch_missing
from .options import add_search_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``snscf engines``."""
    parser.add_argument("--model", default=MODELS[0], help=f"{', '.join(MODELS)}, or a path (default {MODELS[0]})")
    parser.add_argument("--mode", default="auto", help=f"auto, {', '.join(MODES)} (default auto)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default auto)")
    add_search_size(parser)
    parser.add_argument("--again", action="store_true", help="compare again, whatever is remembered")


def run(options: argparse.Namespace) -> None:
    """Runs ``snscf engines``.

    Raises ValueError for unusable options, and WeightsError for unusable weights.
    """
    config = tuned_config(options.model, search_size=options.search_size)
    # The engine torch needs no comparison. Where torch is not installed, the comparison of auto is as good.
    engine = "auto" if torch_missing() else "torch"
    tracker = Tracker(options.model, device=options.device, mode=options.mode, engine=engine, config=config)
    spec = tracker.spec
    reference = tracker.runtime if engine == "torch" else None
    found = choose(spec, reference, again=options.again, also=with_eight_bits(spec))
    print("\n".join([*_surroundings(spec), "", *_table(found, spec), "", *_reasons(found, spec)]))


def _surroundings(spec: NetworkSpec) -> list[str]:
    return [
        f"processor  {processor()} ({' '.join(extensions()) or 'extensions unknown'})",
        f"threads    {threads()}; this process may use {available_cores()} of {os.cpu_count()} cores",
        f"libraries  {', '.join(versions(spec))}",
        f"network    {spec.weights.model}, search crops of {spec.search_size} pixels, on {spec.device}",
    ]


def _table(found: Chosen, spec: NetworkSpec) -> list[str]:
    rows = [("engine", "ms a crop", "difference", "")]
    choice = found.choice
    seconds = choice.seconds if choice else {}
    for name, took in sorted(seconds.items(), key=lambda item: item[1]):
        assert choice is not None
        remark = "only if named" if name not in installed(spec) else ""
        remark = "chosen" if name == choice.engine else remark
        rows.append((name, f"{1000 * took:.2f}", f"{choice.differences.get(name, float('nan')):.2g}", remark))
    rows += [(name, "-", "-", f"left out: {reason}") for name, reason in found.failed.items()]
    rows += [(name, "-", "-", "measured with --again") for name in with_eight_bits(spec) if name not in seconds]
    if "openvino" in installed(spec) and "openvino-int8" not in with_eight_bits(spec):
        command = export_command(spec, "openvino", "int8")
        rows.append(("openvino-int8", "-", "-", f"to be made: {command}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [f"{row[0]:{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}".rstrip() for row in rows]


def _reasons(found: Chosen, spec: NetworkSpec) -> list[str]:
    choice = found.choice
    if choice is None:
        return ["chosen: torch, because no other engine is installed: pip install onnxruntime onnx openvino"]
    lines = [f"chosen: {choice.engine}, {_reason(choice.engine, choice.seconds, spec)}"]
    if found.engine.name != choice.engine:
        lines.append(f"running: {found.engine.name}, because {choice.engine} fails")
    count = f"{choice.comparisons} comparison{'s' if choice.comparisons > 1 else ''}"
    lines.append(f"compared: {choice.when}, {count} so far")
    if not choice.settled:
        lines.append("not settled: other work disturbed the comparison, so the next start compares again")
    lines.append(
        f"remembered in {file} until processor, threads, libraries or network change"
        if (file := choices_file()) and file.is_file()
        else "not remembered: there is no cache folder that can be written"
    )
    return lines


def _reason(chosen: str, seconds: dict[str, float], spec: NetworkSpec) -> str:
    own = {name: took for name, took in seconds.items() if name in installed(spec) and name != chosen}
    if not own:
        return "the only one that works"
    other = fastest(own) if chosen != "torch" else min(own, key=lambda name: own[name])
    times = seconds[other] / seconds[chosen]
    if times >= 1:
        return f"{times:.2f} times as fast as {other}"
    return f"because {other} is only {1 / times:.2f} times as fast, which another library or rounding is not worth"
