# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Checks and unpacks a pack that arrives in parts, perhaps over several calls."""

from __future__ import annotations

import csv
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snscf_core.model.checkpoints import sha256

CHECKSUMS = "SHA256SUMS"
INDEX = "index.csv"
_DONE = ".unpacked"


@dataclass(frozen=True)
class Arrived:
    """Lists the parts of a pack that have arrived.

    digests: SHA-256 of the unpacked parts
    unpacked, missing: names of parts
    damaged: parts whose checksum is wrong
    counts: clips, frames and stills of the unpacked parts
    lost: names of clips and stills that the index lists in an unpacked part, but that are missing
    """

    digests: Sequence[str]
    unpacked: Sequence[str]
    missing: Sequence[str]
    damaged: Sequence[str]
    counts: Mapping[str, int] = field(default_factory=dict)
    lost: Sequence[str] = ()

    @property
    def complete(self) -> bool:
        return not (self.missing or self.damaged or self.lost)

    def __str__(self) -> str:
        total = len(self.unpacked) + len(self.missing) + len(self.damaged)
        text = f"{len(self.unpacked)} of {total} parts are unpacked"
        text += "".join(f", {number} {name}" for name, number in self.counts.items())
        for name in ("missing", "damaged", "lost"):
            if names := getattr(self, name):
                text += f"; {name}: {', '.join(names[:20])}" + (", ..." if len(names) > 20 else "")
        return text


def write_checksums(parts: Path) -> None:
    """Writes the SHA-256 of every part beside them, as sha256sum does."""
    lines = [f"{sha256(file)}  {file.name}\n" for file in sorted(parts.glob("part-*.tar"))]
    (parts / CHECKSUMS).write_text("".join(lines))


def unpack(parts: Path, into: Path) -> Arrived:
    """Unpacks the parts that were not unpacked before, and returns what has arrived.

    A part's file may be deleted once it is unpacked. Raises ValueError if the checksums can't be read.
    """
    try:
        lines = [line.split() for line in (parts / CHECKSUMS).read_text().splitlines() if line.strip()]
        wanted = {name: digest for digest, name in lines}
    except (OSError, ValueError) as error:
        raise ValueError(f"{parts / CHECKSUMS} can't be read, so the parts are unknown: {error}") from error
    (into / _DONE).mkdir(parents=True, exist_ok=True)
    unpacked, missing, damaged = [], [], []
    for name, digest in sorted(wanted.items()):
        mark, file = into / _DONE / name, parts / name
        if not (mark.is_file() and mark.read_text() == digest):
            if not file.is_file():
                missing.append(name)
                continue
            if sha256(file) != digest:
                damaged.append(name)
                continue
            with tarfile.open(file) as archive:
                archive.extractall(into, filter="data")
            mark.write_text(digest)  # last, so that a partly unpacked part is unpacked again
        unpacked.append(name)
    return Arrived([wanted[name] for name in unpacked], unpacked, missing, damaged, *_counted(into, unpacked))


def _counted(pack: Path, unpacked: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Counts what the index lists in these parts; returns the counts, and the names of missing clips and stills."""
    if not (pack / INDEX).is_file():
        return {}, []
    counts: Counter[str] = Counter()
    lost = []
    with (pack / INDEX).open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if f"part-{int(row['part']):03d}.tar" not in unpacked:
                continue
            place = pack / row["name"]
            clip = row["kind"] == "clip"
            there = sum(1 for _ in place.glob("0*")) if clip else int(place.is_file())
            counts["clips" if clip else "stills"] += 1
            counts["frames"] += there if clip else 0
            if there < int(row["frames"]):
                lost.append(row["name"])
    return dict(counts), lost
