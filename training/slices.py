# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Copies a run's results into a folder that outlasts it, slice by slice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snscf_core.model.checkpoints import sha256
from snscf_core.tensor_files import read_tensors

LOG, SLICES, CHECKSUMS = "log.jsonl", "slices.jsonl", "SHA256SUMS"
_COPIED = ("loss", "classification", "box", "ridge", "overlap", "rate", "progress", "pairs_per_second")


@dataclass
class Slices:
    """Watches the folder of a run and keeps the newest weights and the log in ``out``.

    facts: added to every line about a slice

    Weights go to ``weights-STEP``. The previous folder is deleted once the new one is complete, so a killed process
    leaves complete weights.
    """

    run: Path
    out: Path
    batch: int
    facts: Mapping[str, Any]
    _seen: tuple[str, str] | None = field(default=None, init=False)

    def collect(self) -> dict[str, Any] | None:
        """Copies the weights if they are new; returns the line about them, or None.

        None also if they are being written just now: the next call copies them.
        """
        weights, staged = self.run / "weights", self.run / "staged"
        try:
            content = _content(weights)
            if content == self._seen:
                return None
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir()
            for file in (*weights.glob("*.md"), *_named(weights), weights / CHECKSUMS):
                shutil.copy(file, staged)
            if not is_whole(staged) or _content(staged) != content:
                return None
            step = _step(staged)
        except OSError:
            return None
        target = self.out / f"weights-{step:06d}"
        if target.is_dir() and is_whole(target):
            for card in staged.glob("*.md"):
                os.replace(shutil.copy(card, target / f"{card.name}.new"), target / card.name)
        else:
            shutil.rmtree(target, ignore_errors=True)
            shutil.move(staged, target)
        for old in self.out.glob("weights-*"):
            if old != target:
                shutil.rmtree(old)
        line = self._line(step, target.name)
        # Weights are written before validation and again after it; the second line replaces the first.
        lines = [earlier for earlier in read_lines(self.run / SLICES) if earlier["step"] < step]
        _write(self.run / SLICES, "".join(json.dumps(each) + "\n" for each in (*lines, line)))
        self.copy_log()
        self._seen = content
        return line

    def copy_log(self) -> None:
        """Rewrites the log: the lines of the run, then a line for each slice."""
        text = "".join((self.run / name).read_text() for name in (LOG, SLICES) if (self.run / name).is_file())
        _write(self.out / LOG, text)

    def _line(self, step: int, weights: str) -> dict[str, Any]:
        lines = read_lines(self.run / LOG)
        steps = [line for line in lines if line["kind"] == "steps" and line["step"] <= step]
        last = steps[-1] if steps else {}
        scores = next((line["validation"] for line in lines if line["kind"] == "interval" and line["step"] == step), {})
        return {
            "kind": "slice",
            **self.facts,
            "step": step,
            "pairs": step * self.batch,
            "minutes": round(last.get("seconds", 0.0) / 60, 3),
            **{name: _short(last.get(name)) for name in _COPIED},
            "validation": {mode: _short(values["mean"]) for mode, values in scores.items()},
            "finished": last.get("progress") == 1 and last["step"] == step,
            "weights": weights,
        }


def read_lines(log: Path) -> list[dict[str, Any]]:
    """Returns the lines of a log, without a truncated one."""
    lines = []
    for text in log.read_text().splitlines() if log.is_file() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _write(file: Path, text: str) -> None:
    partial = file.with_name(f".{file.name}")
    partial.write_text(text)
    os.replace(partial, file)


def newest_weights(out: Path) -> Path:
    """Returns the newest complete weights in a folder that ``Slices`` filled, or the folder itself if it has weights.

    Raises ValueError if there are no complete weights.
    """
    folders: Sequence[Path] = [*sorted(out.glob("weights-*"), reverse=True), out]
    for folder in folders:
        if is_whole(folder):
            return folder
    raise ValueError(f"{out} has no complete weights: no folder weights-STEP in which every checksum matches")


def is_whole(folder: Path) -> bool:
    """Returns whether all files that the folder's checksums list exist and match."""
    try:
        named = _named(folder)
        return bool(named) and all(sha256(file) == digest for file, digest in named.items())
    except (OSError, ValueError):
        return False


def _named(weights: Path) -> dict[Path, str]:
    """Returns the files that the checksums list, and their checksums."""
    lines = (line.split() for line in (weights / CHECKSUMS).read_text().splitlines())
    return {weights / name: digest for digest, name in lines}


def _content(weights: Path) -> tuple[str, str]:
    """Returns the checksums and the card, which identify a state of the folder."""
    return (weights / CHECKSUMS).read_text(), "".join(card.read_text() for card in sorted(weights.glob("*.md")))


def _step(weights: Path) -> int:
    return int(read_tensors(sorted(weights.glob("*.safetensors"))[0])[1]["steps"])
