# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes the trackers under test: ours, OpenCV's, user classes, and stored results of others.

A tracker has the two methods of the GOT-10k toolkit: ``init(image, box)`` and ``update(image) -> box``. A
`TrackerEntry` describes a tracker, can be sent to another process, and makes the tracker there.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from .. import __version__
from ..boxes import Array
from ..crops import SEARCH_SIZE, Frame
from ..files import replacing
from ..model.checkpoints import load
from ..model.geometry import MODELS
from ..online.mode import MODES
from ..online.tracker import Target, Tracker
from ..online.tuning import tuned_config
from . import peers
from .sequences import read_boxes

Box = tuple[float, float, float, float]

OPENCV = {
    "kcf": "TrackerKCF",
    "csrt": "TrackerCSRT",
    "mil": "TrackerMIL",
    "nano": "TrackerNano",
    "vit": "TrackerVit",
}
_MODEL_FILES = {"nano": ("backbone", "neckhead"), "vit": ("net",)}
STORED = "results"
HELP = (
    f"{', '.join(MODELS)}, or a path of weights; OpenCV's kcf, csrt, mil, nano:BACKBONE.onnx:HEAD.onnx, vit:NET.onnx; "
    "by ONNX Runtime fear:TEMPLATE.onnx:TRACK.onnx, nanotrack2: or nanotrack3:BACKBONE.onnx:HEAD.onnx; "
    f"MODULE:CLASS with init(image, box) and update(image); {STORED}:FOLDER with NAME.txt for each sequence"
)


class OnlineTracker(Protocol):
    """Follows one target. Boxes are (x, y, w, h), top-left corner, in pixels of the frame (H x W x 3 uint8 BGR)."""

    def init(self, image: Frame, box: Box) -> None:
        """Starts on a box; replaces any previous target."""
        ...

    def update(self, image: Frame) -> Box | None:
        """Returns the box in the next frame, or None."""
        ...


@dataclass(frozen=True)
class TrackerEntry:
    """Describes a tracker to be tested.

    name: its name in tables and its folder's
    source: as in `HELP`
    mode, device, engine, search_size: for our trackers only
    """

    name: str
    source: str
    mode: str = "auto"
    device: str = "auto"
    engine: str = "torch"
    search_size: int = SEARCH_SIZE

    @property
    def stored(self) -> Path | None:
        """Returns the folder of result files; None for a tracker that runs."""
        kind, _, folder = self.source.partition(":")
        return Path(folder) if kind == STORED and folder else None

    def make(self) -> OnlineTracker:
        """Makes the tracker, ready to start. Raises ValueError or WeightsError if that is impossible."""
        kind, *rest = self.source.split(":")
        if kind in OPENCV:
            return OpenCVTracker(kind, [Path(file) for file in rest])
        if kind in peers.PEERS:
            return peers.make(kind, [Path(file) for file in rest])
        if _is_class(self.source):
            made: OnlineTracker = _class(self.source)()
            return made
        config = tuned_config(self.source, search_size=self.search_size)
        return SnscfTracker(Tracker(self.source, mode=self.mode, device=self.device, engine=self.engine, config=config))

    def description(self) -> dict[str, str]:
        """Describes all that its results depend on, in words and checksums. Raises as `make` does."""
        kind, *rest = self.source.split(":")
        if self.stored is not None:
            return {"tracker": f"stored results ({self.stored.name})"}
        if kind in OPENCV:
            OpenCVTracker(kind, [Path(file) for file in rest])
            files = {Path(file).name: _checksum(Path(file)) for file in rest}
            return {"tracker": f"OpenCV {OPENCV[kind]}", "opencv": cv2.__version__, **files}
        if kind in peers.PEERS:
            peers.make(kind, [Path(file) for file in rest])
            files = {Path(file).name: _checksum(Path(file)) for file in rest}
            return {"tracker": peers.TITLES[kind], "onnxruntime": peers.version(), **files}
        if _is_class(self.source):
            module = sys.modules[_class(self.source).__module__]
            return {"tracker": self.source, "module": _checksum(Path(module.__file__ or ""))}
        _, weights = load(self.source)
        mode = self.mode if self.mode != "auto" else ("snscf" if weights.trained else "correlation_filter")
        config = tuned_config(self.source, search_size=self.search_size)
        return {
            "tracker": weights.model,
            "mode": mode,
            "weights": " ".join(_checksum(file) for file in weights.files),
            "settings": hashlib.sha256(json.dumps(asdict(config)).encode()).hexdigest()[:16],
            "snscf": __version__,
            "engine": self.engine,
            "search size": str(self.search_size),
            **({"export": _checksums(Path(self.engine))} if Path(self.engine).is_dir() else {}),
        }


class SnscfTracker:
    """Runs our tracker on one target."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self._target: Target | None = None

    def init(self, image: Frame, box: Box) -> None:
        self._target = self.tracker.init(image, box)

    def update(self, image: Frame) -> Box | None:
        if self._target is None:
            raise ValueError("update before init")
        return self.tracker.update(image, self._target).box


class OpenCVTracker:
    """Runs one of `OPENCV`; files: its models, if it has any. Boxes are whole pixels, as in OpenCV.

    Raises ValueError if this OpenCV lacks the tracker, or the model files are not the ones needed.
    """

    def __init__(self, kind: str, files: Sequence[Path] = ()) -> None:
        names = _MODEL_FILES.get(kind, ())
        if len(files) != len(names):
            wanted = ":".join([kind, *(f"{name.upper()}.onnx" for name in names)])
            raise ValueError(f"{kind} has {len(names)} model files, got {len(files)}: write {wanted}")
        for file in files:
            if not file.is_file():
                raise FileNotFoundError(f"{file} does not exist")
        places = [place for place in (cv2, getattr(cv2, "legacy", None)) if hasattr(place, OPENCV[kind])]
        if not places:
            raise ValueError(
                f"OpenCV {cv2.__version__} has no {OPENCV[kind]}: KCF and CSRT are in opencv-contrib-python, Nano and "
                "Vit in OpenCV 4.7 and newer"
            )
        self._class = getattr(places[0], OPENCV[kind])
        self._parameters = None
        if names:
            self._parameters = getattr(places[0], f"{OPENCV[kind]}_Params")()
            for name, file in zip(names, files, strict=True):
                setattr(self._parameters, name, str(file))
        self._tracker: Any = None

    def init(self, image: Frame, box: Box) -> None:
        self._tracker = self._class.create(*([self._parameters] if self._parameters is not None else []))
        x, y, w, h = (round(value) for value in box)
        self._tracker.init(image, (x, y, max(1, w), max(1, h)))

    def update(self, image: Frame) -> Box | None:
        found, box = self._tracker.update(image)
        if not found:
            return None
        x, y, w, h = (float(value) for value in box)
        return x, y, w, h


def candidates(
    trackers: Sequence[str],
    modes: Sequence[str] = ("auto",),
    device: str = "auto",
    engines: Sequence[str] = ("torch",),
    search_sizes: Sequence[int] = (SEARCH_SIZE,),
) -> list[TrackerEntry]:
    """Lists the candidates a user asked for: our networks in every mode, engine and search crop, other trackers once.

    The mode ``all`` stands for those that the weights allow. Names are unique. Problems are reported now rather than
    during the run: raises ValueError for an unknown mode, tracker or class, FileNotFoundError, and WeightsError.
    """
    if unknown := [mode for mode in modes if mode not in (*MODES, "auto", "all")]:
        raise ValueError(f"unknown mode {unknown[0]!r}; there are auto, all, {', '.join(MODES)}")
    found: list[TrackerEntry] = []
    for source in dict.fromkeys(trackers):
        kind = source.partition(":")[0]
        if kind in OPENCV or kind in peers.PEERS or kind == STORED or _is_class(source):
            short = Path(source.partition(":")[2]).name if kind == STORED else kind
            short = source.partition(":")[2] if _is_class(source) else short
            found.append(TrackerEntry(short, source))
            continue
        trained = load(source)[1].trained
        if not trained and not {"auto", "all", "correlation_filter"}.issuperset(modes):
            raise ValueError(f"{source} holds only an ImageNet backbone: use mode 'correlation_filter', or 'all'")
        possible = MODES if trained else ("correlation_filter",)
        short = Path(source).name.removesuffix(".safetensors")
        for mode in dict.fromkeys(m for asked in modes for m in (possible if asked == "all" else (asked,))):
            for engine, size in itertools.product(dict.fromkeys(engines), dict.fromkeys(search_sizes)):
                name = f"{short}-{mode}" if len(modes) > 1 or mode != "auto" else short
                name = f"{name}-{Path(engine).name}" if len(engines) > 1 or engine != "torch" else name
                name = f"{name}-{size}px" if len(search_sizes) > 1 or size != SEARCH_SIZE else name
                found.append(TrackerEntry(name, source, mode, device, engine, size))
    for candidate in found:
        if candidate.stored is None:
            candidate.description()
        elif not candidate.stored.is_dir():
            raise FileNotFoundError(f"{candidate.stored} is no folder; expected {candidate.stored}/NAME.txt")
    return _unique(found)


def stored_boxes(folder: Path, name: str) -> Array:
    """Reads N x 4 boxes of a sequence from NAME.txt, NAME/NAME_001.txt, or a file with a variant of OTB's name.

    Raises FileNotFoundError if there is no such file, ValueError naming an invalid line.
    """
    spellings = dict.fromkeys((name, name.replace("-", "."), name.replace("-", "_"), name[:1].lower() + name[1:]))
    places = [folder / part for spelt in spellings for part in (f"{spelt}.txt", f"{spelt}/{spelt}_001.txt")]
    for place in (*places, *(folder / place.name.lower() for place in places)):
        if place.is_file():
            return read_boxes(place)
    raise FileNotFoundError(f"{folder} has no results of {name}: expected {places[0]}")


def _unique(found: list[TrackerEntry]) -> list[TrackerEntry]:
    names = [re.sub(r"[^\w.@+-]", "_", candidate.name) or "tracker" for candidate in found]
    unique = []
    for index, candidate in enumerate(found):
        name = names[index]
        if names.count(name) > 1:
            name = f"{name}-{names[: index + 1].count(name)}"
        unique.append(replace(candidate, name=name))
    return unique


def _is_class(source: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", source) is not None and not source.startswith(f"{STORED}:")


def _class(source: str) -> Any:
    module_name, _, name = source.partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)  # a module in the working directory, as with `python -m`
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"tracker {source}: {error}") from error
    if not callable(getattr(found, "init", None)) or not callable(getattr(found, "update", None)):
        raise ValueError(f"tracker {source} needs the methods init(image, box) and update(image)")
    return found


def _checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else "none"


def _checksums(folder: Path) -> str:
    return " ".join(_checksum(file) for file in sorted(folder.iterdir()) if file.is_file())


def read_result(file: Path) -> tuple[Array, Array]:
    """Reads the boxes N x 4 and seconds N (empty if unknown) that `write_result` wrote."""
    times = _times(file)
    return read_boxes(file), np.loadtxt(times, ndmin=1) if times.is_file() else np.empty(0)


def write_result(file: Path, boxes: Array, seconds: Array) -> None:
    """Writes lines ``x,y,w,h`` and a file of seconds, as the toolkits read them, each whole or not at all."""
    times = _times(file)
    times.parent.mkdir(parents=True, exist_ok=True)
    for path, values, form in ((times, seconds, "%.6f"), (file, boxes, "%.4f")):  # boxes last: they mark completion
        with replacing(path) as part:
            np.savetxt(part, values, fmt=form, delimiter=",")


def _times(file: Path) -> Path:
    """Returns NAME/NAME_time.txt for NAME/NAME_001.txt, as GOT-10k has it, else times/NAME_time.txt beside NAME.txt.

    Beside ``car.txt``, the times of ``car`` would have the name of the boxes of a sequence ``car_time``.
    """
    if file.stem == f"{file.parent.name}_001":
        return file.with_name(f"{file.parent.name}_time.txt")
    return file.parent / "times" / f"{file.stem}_time.txt"
