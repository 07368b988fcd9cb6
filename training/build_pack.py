# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes a pack of training pictures out of snapshots of public repositories: clips, stills, one index, and parts.

    python training/build_pack.py --snapshots DIR --sources training/sources.json --labels LABELS.json \\
        --protect THUMBNAILS.npz --out PACK

training/README.md, *A pack*, says what it reads and writes. After Ctrl-C or SIGTERM the pack holds what was read so
far.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from pack.datasets import add_data_set
from pack.labels import Label, load_labels, read_frames
from pack.output import About, Pack
from pack.overlap import Protected
from pack.snapshots import open_snapshot
from pack.sources import Source, find_runs, load_sources, read_stills, thinned
from tqdm import tqdm

from snscf_core.data.images import read_image
from snscf_core.data.readers import READERS

MIB = 1 << 20
SHORTEST = 12  # fewest readable frames of a labelled clip


class LeftOut:
    """Records what is left out at once, one line each."""

    def __init__(self, file: Path) -> None:
        self._stream = file.open("w", encoding="utf-8")
        self.repository = ""
        self.counts: Counter[str] = Counter()

    def __call__(self, what: str, why: str) -> None:
        self.counts[self.repository] += 1
        self._stream.write(f"{self.repository}\t{what}\t{why}\n")
        self._stream.flush()


def add_source(pack: Pack, source: Source, snapshots: Path) -> None:
    """Adds the stills or clips of one source. Raises OSError or ValueError if the whole source can't be read."""
    with open_snapshot(snapshots, source.repository, source.commit) as snapshot:
        if source.kind == "stills":
            for still in tqdm(read_stills(source, snapshot, pack.report), desc=source.repository, disable=None):
                pack.add_still(source, still)
            return
        for whole in tqdm(find_runs(source, snapshot, pack.report), desc=source.repository, disable=None):
            run = thinned(whole, source.frames)
            target, masked = run.objects[0].name, run.objects[0].mask is not None
            kind = "mask" if masked else "box"
            detail = f"{target}/{run.objects[0].box}" if source.several else ""
            about = About(source.repository, run.paths[0], source.licence, kind, target, source.marks, detail)
            boxes = np.array([item.box for item in run.objects])
            clip = pack.clip(about, boxes, min(source.shortest, len(boxes)))
            for number, (path, item) in enumerate(zip(run.paths, run.objects, strict=True)):
                try:
                    clip.add(number, read_image(snapshot.file(path)), item.mask)
                except (OSError, ValueError) as error:
                    pack.report(path, str(error))
            clip.finish()


def add_labels(pack: Pack, labels: Sequence[Label], snapshots: Path) -> None:
    """Adds the labelled targets of one video, which is read only once. Raises OSError if it can't be read."""
    path = labels[0].path
    clips = []
    for label in labels:
        detail = f"{label.target}/{label.frames[0]}/{label.boxes[0].tolist()}"
        about = About(label.repository, path, label.licence, label.kind, label.target, label.marks, detail)
        rows = {frame: row for row, frame in enumerate(label.frames)}
        clips.append((label.size, rows, pack.clip(about, label.boxes, min(SHORTEST, len(label.frames)))))
    with open_snapshot(snapshots, labels[0].repository) as snapshot:
        wanted = {frame for label in labels for frame in label.frames}
        for frame, picture in read_frames(path, snapshot, wanted, pack.report):
            for size, rows, clip in clips:
                if frame in rows:
                    same = picture.shape[1::-1] == size
                    clip.add(rows[frame], picture if same else cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    for _, _, clip in clips:
        clip.finish()


def summary(pack: Pack, left_out: LeftOut) -> str:
    """Returns a table of each repository's contribution."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in pack.rows:
        count = counts[row.repository]
        count[f"{row.kind}s"] += 1
        count["frames"] += row.frames if row.kind == "clip" else 0
        count["objects"] += row.objects if row.kind == "still" else 0
        count["held_out"] += row.held_out
        count["bytes"] += row.bytes
    for repository, number in left_out.counts.items():
        counts[repository]["left_out"] = number
    total: Counter[str] = sum(counts.values(), Counter())
    columns = ("clips", "held_out", "frames", "stills", "objects", "left_out")
    lines = [f"{'':44}" + "".join(f"{column:>10}" for column in columns) + f"{'MiB':>8}"]
    for repository, count in [*sorted(counts.items()), ("total", total)]:
        cells = "".join(f"{count[column]:10d}" for column in columns)
        lines.append(f"{repository[:44]:44}{cells}{count['bytes'] / MIB:8.1f}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status, 1 if a whole source could not be read or it was interrupted."""
    options = _parser().parse_args(arguments)
    try:
        sources = [source for file in options.sources for source in load_sources(file) if source.use]
        labels = [label for file in options.labels for label in load_labels(file)]
        data_sets = [_data_set(text) for text in options.data]
        if (sources or labels) and options.snapshots is None:
            raise ValueError("--sources and --labels need the folder of the repositories: --snapshots")
        protected = Protected.load(options.protect) if options.protect else None
        if options.out.exists() and any(options.out.iterdir()):
            raise ValueError(f"{options.out} is not empty")
        options.out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    chosen = [source for source in sources if _chosen(source.repository, options.only)]
    videos: dict[tuple[str, str], list[Label]] = defaultdict(list)
    for label in labels:
        if _chosen(label.repository, options.only):
            videos[label.repository, label.path].append(label)
    left_out = LeftOut(options.out / "left_out.txt")
    pack = Pack(options.out, left_out, protected, options.hold_out, options.quality)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    failed = 0
    snapshots = options.snapshots
    jobs: list[tuple[str, Callable[[Pack], None]]] = [
        (source.repository, partial(add_source, source=source, snapshots=snapshots)) for source in chosen
    ]
    jobs += [(name, partial(add_labels, labels=video, snapshots=snapshots)) for (name, _), video in videos.items()]
    frames = options.frames_per_clip
    jobs += [
        (folder.name, partial(add_data_set, layout=layout, folder=folder, frames=frames))
        for layout, folder in data_sets
    ]
    try:
        for repository, add in tqdm(jobs, disable=None):
            left_out.repository = repository
            try:
                add(pack)
            except (OSError, ValueError) as error:
                failed += 1
                left_out("everything", str(error))
                print(f"{repository}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        failed += 1
        print(f"stopped in {left_out.repository}; the pack ends here", file=sys.stderr)
    try:
        parts = pack.finish(options.part_mib * MIB)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(summary(pack, left_out))
    print(f"{parts} parts in {options.out / 'parts'}; what is left out, and why: {options.out / 'left_out.txt'}")
    return 1 if failed else 0


def _data_set(text: str) -> tuple[str, Path]:
    layout, _, folder = text.partition("=")
    if layout not in READERS or not folder:
        raise ValueError(f"--data is LAYOUT=DIR with LAYOUT one of {', '.join(READERS)}, got {text!r}")
    return layout, Path(folder)


def _chosen(repository: str, words: Sequence[str]) -> bool:
    return not words or any(word in repository for word in words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--snapshots", type=Path, metavar="DIR", help="folder of the repositories")
    parser.add_argument("--sources", type=Path, action="append", default=[], metavar="FILE", help="annotated pictures")
    parser.add_argument("--labels", type=Path, action="append", default=[], metavar="FILE", help="boxes for videos")
    parser.add_argument(
        "--data", action="append", default=[], metavar="LAYOUT=DIR", help="a data set on this machine; repeatable"
    )
    parser.add_argument(
        "--frames-per-clip", type=int, default=40, metavar="N", help="kept of a longer clip of --data (default 40)"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="repositories with WORD in the name"
    )
    parser.add_argument("--protect", type=Path, metavar="FILE.npz", help="thumbnails of scenes to leave out")
    parser.add_argument("--hold-out", type=int, default=8, metavar="N", help="one video of N; 0: none (default 8)")
    parser.add_argument("--quality", type=int, default=80, metavar="Q", help="WebP quality, 1 to 100 (default 80)")
    parser.add_argument("--part-mib", type=int, default=60, metavar="MIB", help="largest size of a part (default 60)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
