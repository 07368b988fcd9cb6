# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Records a run: one JSON line per interval, a plot, TensorBoard, and the model card for the weights."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import write_file

LOG = "log.jsonl"
PLOT = "progress.png"


@dataclass(frozen=True)
class Description:
    """Describes a run's training data in the words of whoever started it; only the card uses it."""

    data: Sequence[str] = ()
    terms: str = ""
    command: str = ""


class Record:
    """Keeps the log of the run in ``folder``. Lines after ``step`` are dropped, because those steps run again."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self.path = folder / LOG
        kept = [line for line in self.lines() if line["step"] <= step]
        write_file(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        except ImportError:
            pass  # optional; the log contains everything

    def lines(self) -> list[dict[str, Any]]:
        """Returns all lines so far, without a line that was truncated when the process was killed."""
        if not self.path.is_file():
            return []
        out = []
        for line in self.path.read_text().splitlines():
            try:
                out.append(json.loads(line))
            except ValueError:
                continue
        return out

    def add(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Adds one line; NaN and infinite numbers become null."""
        line = {"kind": kind, "step": step, **_finite(values)}
        with self.path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        if self._board is not None:
            for key, value in _flat(line):
                if key != "step":
                    self._board.add_scalar(f"{kind}/{key}", value, step)

    def plot(self) -> None:
        """Plots losses, overlap and validation against the steps, as a PNG, if matplotlib is installed."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return
        lines = self.lines()
        figure = Figure(figsize=(10, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        steps = [line for line in lines if line["kind"] == "steps"]
        for name in ("loss", "classification", "box", "ridge"):
            points = [(line["step"], line[name]) for line in steps if line.get(name) is not None]
            left.plot(*zip(*points, strict=True), label=name) if points else None
        left.set(xlabel="step", ylabel="loss", yscale="log")
        points = [(line["step"], line["overlap"]) for line in steps if line.get("overlap") is not None]
        right.plot(*zip(*points, strict=True), label="IoU on training pairs") if points else None
        intervals = [line for line in lines if line["kind"] == "interval" and line.get("validation")]
        for mode in sorted({mode for line in intervals for mode in line["validation"]}):
            points = [
                (line["step"], line["validation"][mode]["mean"]) for line in intervals if mode in line["validation"]
            ]
            right.plot(*zip(*points, strict=True), "o-", label=f"validation AUC, {mode}")
        right.set(xlabel="step", ylim=(0, 1))
        for axes in (left, right):
            if axes.lines:
                axes.legend()
        partial = self.folder / ("partial_" + PLOT)
        figure.savefig(partial, dpi=100)
        os.replace(partial, self.folder / PLOT)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def card(model: str, facts: Mapping[str, str], settings: Mapping[str, Any], description: Description) -> str:
    """Returns the model card, as markdown."""
    rows = "".join(f"| {key} | {value} |\n" for key, value in facts.items() if value)
    data = "".join(f"- {line}\n" for line in description.data) or "- not stated\n"
    return (
        f"# {model}: trained weights\n\n"
        "A network of SNS-CF (Ntwari et al., Sensors 2020) for tracking any object in video, given its first box.\n\n"
        f"| | |\n|---|---|\n{rows}\n"
        f"## Data\n\n{data}\n"
        f"Terms of the data, as given by the person who trained: {description.terms or 'not stated'}\n\n"
        f"## Made by\n\n```\n{description.command or 'snscf_core.training.trainer.train'}\n```\n\n"
        f"## Settings\n\n```json\n{json.dumps(settings, indent=1)}\n```\n"
    )


def commit() -> str:
    """Returns the commit of the source, with ``-dirty`` appended if changed; empty without git or history."""
    own = Path(__file__)
    # An installed copy may lie in another project's repository.
    if not _git("ls-files", "--error-unmatch", own.name):
        return ""
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _finite(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _finite(value) for key, value in values.items()}
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    out: list[tuple[str, float]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            out += _flat(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            out.append((prefix + key, value))
    return out
