# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Damages JPEG, PNG, MP4 and bag files at random places, and counts the damaged frames that are taken for good ones.

    python benchmarks/corruption.py --output FOLDER                     # 2000 files
    python benchmarks/corruption.py --files 100 --seed 7                # a quick look

Every file is made from frames of generated scenes (``snscf_core.scenes``) and read as the product reads it. Each gets
one kind of damage:

- flips: 1 to 64 bits anywhere;
- zeros: a run of 8 to 4096 bytes becomes 0;
- cut: the file ends after 2 to 98 parts in 100;
- swap: two blocks of 16 to 2048 bytes change places.

A frame is visibly damaged if more than `SHARE` of its pixels differ by more than `LEVELS` of 256 levels in a channel
from those of the intact file. It is missed if it is neither rejected nor counted as lost. Files are read in a process
of their own, so that a crash or a hang is seen and counted. Everything follows from the seed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from snscf_core.crops import Frame
from snscf_core.pictures.decoding import decode_picture
from snscf_core.pictures.video import Unreadable, read_video
from snscf_core.scenes import Scene

LEVELS, SHARE = 24, 0.01
SCENES, SCENE_FRAMES = 4, 12
BAG_FRAMES = 4
PATIENCE = 120.0  # s for one file; more is a hang
# of 20 files: JPEG is what cameras send
FORMATS = ("jpeg",) * 12 + ("png",) * 4 + ("mp4",) * 2 + ("mcap", "rosbag1")
DAMAGES = ("flips", "zeros", "cut", "swap")
_SAMPLINGS = (
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)
_CUT_OFF = "lost"

Read = list[Frame | None]  # None: rejected, or counted as lost


@dataclass(frozen=True)
class Trial:
    """Says what became of one file.

    frames: frames in the intact file
    visible: those that are visibly damaged, or rejected though they can't be decoded otherwise
    missed: those among them that were taken for good ones
    rejected: all that were rejected
    intact_rejected: frames of the intact file that were rejected
    """

    kind: str
    damage: str
    frames: int
    visible: int
    missed: int
    rejected: int
    intact_rejected: int


def damaged(data: bytes, damage: str, rng: np.random.Generator) -> bytes:
    """Returns data with one kind of damage at a random place."""
    content, size = bytearray(data), len(data)
    if damage == "flips":
        for bit in rng.integers(0, 8 * size, round(2 ** rng.uniform(0, 6))).tolist():
            content[bit // 8] ^= 1 << bit % 8
    elif damage == "zeros":
        length = min(size, round(2 ** rng.uniform(3, 12)))
        begin = int(rng.integers(0, size - length + 1))
        content[begin : begin + length] = bytes(length)
    elif damage == "cut":
        del content[round(size * rng.uniform(0.02, 0.98)) :]
    else:
        length = min(size // 2, round(2 ** rng.uniform(4, 11)))
        first = int(rng.integers(0, size - 2 * length + 1))
        second = int(rng.integers(first + length, size - length + 1))
        content[first : first + length] = data[second : second + length]
        content[second : second + length] = data[first : first + length]
    return bytes(content)


@cache
def scene(seed: int) -> list[Frame]:
    """Returns the frames of a scene."""
    return [shot.image for shot in Scene(SCENE_FRAMES, seed=seed)]


def _jpeg(rng: np.random.Generator) -> tuple[bytes, str]:
    options = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, int(rng.choice(_SAMPLINGS))]
    if rng.random() < 0.1:
        options += [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    elif rng.random() < 0.1:
        options += [cv2.IMWRITE_JPEG_RST_INTERVAL, int(rng.integers(4, 80))]
    return cv2.imencode(".jpg", _frame(rng), options)[1].tobytes(), ".jpg"


def _png(rng: np.random.Generator) -> tuple[bytes, str]:
    return cv2.imencode(".png", _frame(rng)[:240, :320])[1].tobytes(), ".png"


def _mp4(rng: np.random.Generator) -> tuple[bytes, str]:
    frames = [cv2.resize(frame, (320, 240)) for frame in scene(int(rng.integers(SCENES)))]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.mp4"
        writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (320, 240))
        for frame in frames:
            writer.write(frame)
        writer.release()
        return file.read_bytes(), ".mp4"


def _bag(storage: str) -> Callable[[np.random.Generator], tuple[bytes, str]]:
    def make(rng: np.random.Generator) -> tuple[bytes, str]:
        from snscf_ros.bags.from_sequence import write_sequence

        with tempfile.TemporaryDirectory() as folder:
            images = Path(folder) / "img"
            images.mkdir()
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))]
            for number, frame in enumerate(scene(int(rng.integers(SCENES)))[:BAG_FRAMES]):
                cv2.imwrite(str(images / f"{number}.jpg"), frame[:240, :320], quality)
            options = {"topic": "/image", "encoding": "jpeg", "fps": None, "start_stamp": "1"}
            write_sequence(images, Path(folder) / "bag", storage=storage, **options)
            (file,) = (path for path in Path(folder).rglob("*") if path.suffix in (".mcap", ".bag") and path.is_file())
            return file.read_bytes(), file.suffix

    return make


def _frame(rng: np.random.Generator) -> Frame:
    return scene(int(rng.integers(SCENES)))[int(rng.integers(SCENE_FRAMES))]


MAKERS = {"jpeg": _jpeg, "png": _png, "mp4": _mp4, "mcap": _bag("mcap"), "rosbag1": _bag("rosbag1")}


def read(data: bytes, suffix: str, folder: Path) -> Read:
    """Reads a file as the product does; of a bag, each image at its place in time. Empty if all is rejected."""
    if suffix in (".jpg", ".png"):
        try:
            return [decode_picture(data)]
        except ValueError:
            return [None]
    file = folder / f"a{suffix}"
    file.write_bytes(data)
    try:
        return _read_bag(file) if suffix in (".mcap", ".bag") else _read_video(file)
    except ValueError:
        return []


def _read_video(file: Path) -> Read:
    return [None if isinstance(frame, Unreadable) else frame for frame in read_video(file).frames]


def _read_bag(file: Path) -> Read:
    from snscf_ros.bags.bag import Bag
    from snscf_ros.bags.recording import Recording, image_topic
    from snscf_ros.images import check

    with Bag(file) as bag:
        recording = Recording(bag, image_topic(bag, ""))
        frames: dict[int, Frame | None] = {}
        for stamp, stored in zip(recording.stamps, recording.messages(), strict=True):
            try:
                frames[round((stamp / 1e9 - 1) * 30)] = check(stored.message(), 10**7)()
            except ValueError:
                frames[round((stamp / 1e9 - 1) * 30)] = None
        # what the bag says it has lost is not missed
        if recording.problems or len(frames) < BAG_FRAMES <= len(recording):
            return [frames.get(place) for place in range(BAG_FRAMES)]
        return [frames[place] for place in sorted(frames)]


def share_changed(frame: Frame, intact: Frame) -> float:
    """Returns the share of pixels that differ visibly, 1 for frames of another size."""
    if frame.shape != intact.shape:
        return 1.0
    return float((cv2.absdiff(frame, intact).max(axis=2) > LEVELS).mean())


def try_file(number: int, seed: int) -> Trial:
    """Makes a file, damages it and reads it."""
    rng = np.random.default_rng([seed, number])
    kind, damage = FORMATS[number % len(FORMATS)], DAMAGES[number // len(FORMATS) % len(DAMAGES)]
    data, suffix = MAKERS[kind](rng)
    changed = damaged(data, damage, rng)
    with tempfile.TemporaryDirectory() as folder:
        intact = read(data, suffix, Path(folder))
        found = read(changed, suffix, Path(folder))
    good = [frame for frame in intact if frame is not None]
    # a file that is refused as a whole rejects all of its frames
    found = (found or [None] * len(good))[: len(good)]
    visible = missed = 0
    for place, frame in enumerate(good):
        seen = found[place] if place < len(found) else _CUT_OFF
        if seen is None:
            visible += _is_visible(changed, suffix, frame)
        elif isinstance(seen, str) or share_changed(seen, frame) > SHARE:
            visible, missed = visible + 1, missed + 1
    rejected = sum(frame is None for frame in found)
    return Trial(kind, damage, len(good), visible, missed, rejected, len(intact) - len(good))


def _is_visible(data: bytes, suffix: str, intact: Frame) -> bool:
    """Tells whether a rejected frame is visibly damaged; of videos and bags, every one counts."""
    if suffix not in (".jpg", ".png"):
        return True
    image: npt.NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return image is None or share_changed(image, intact) > SHARE


def trials(files: int, seed: int, failures: list[str]) -> Iterator[Trial]:
    """Yields the trials of some files; crashes and hangs are added to ``failures``."""
    pool = _pool()
    for number in tqdm(range(files), unit="file", disable=None):
        try:
            yield pool.submit(try_file, number, seed).result(PATIENCE)
        except (TimeoutError, BrokenProcessPool) as error:
            failures.append(f"file {number}: {type(error).__name__}")
            for process in list((pool._processes or {}).values()):
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)
            pool = _pool()
        except Exception as error:
            failures.append(f"file {number}: {error!r}")
    pool.shutdown()


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_quieten)


def _quieten() -> None:
    """Keeps the libraries' own complaints, one or more for each file, off the terminal."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    cv2.setNumThreads(1)


def table(done: list[Trial]) -> str:
    """Returns a table in Markdown: frames that are visibly damaged, and the share of them that is missed."""
    visible: Counter[tuple[str, str]] = Counter()
    missed: Counter[tuple[str, str]] = Counter()
    for trial in done:
        for key in ((trial.kind, trial.damage), (trial.kind, "all")):
            visible[key] += trial.visible
            missed[key] += trial.missed
    lines = [f"| | {' | '.join((*DAMAGES, 'all'))} |", "|---" * (len(DAMAGES) + 2) + "|"]
    for kind in MAKERS:
        cells = [
            f"{missed[kind, damage]} of {visible[kind, damage]}"
            + (f" ({missed[kind, damage] / visible[kind, damage]:.1%})" if visible[kind, damage] else "")
            for damage in (*DAMAGES, "all")
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000, help="(default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default %(default)s)")
    parser.add_argument("--output", type=Path, help="folder for corruption.json and corruption.md")
    options = parser.parse_args()
    failures: list[str] = []
    done = list(trials(options.files, options.seed, failures))
    rejected = sum(trial.intact_rejected for trial in done)
    text = (
        f"Visibly damaged frames that were taken for good ones, of {len(done)} files (seed {options.seed}):\n\n"
        f"{table(done)}\n\nFrames of intact files that were rejected: {rejected} of "
        f"{rejected + sum(trial.frames for trial in done)}. Crashes, hangs and errors: {len(failures)}.\n"
    )
    print("\n".join([text, *failures]))
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "corruption.md").write_text(text)
        content = {"seed": options.seed, "failures": failures, "trials": [asdict(trial) for trial in done]}
        (options.output / "corruption.json").write_text(json.dumps(content, indent=1))
    return 1 if failures or rejected else 0


if __name__ == "__main__":
    sys.exit(main())
