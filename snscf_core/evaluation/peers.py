# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs FEAR-XS and NanoTrack with ONNX Runtime: small published Siamese trackers, to compare with and learn from.

Only their networks are published files. The code around them follows the published code: FEAR (Borsuk et al., ECCV
2022) and NanoTrack (a light SiamBAN, published as code only). Both have ``init(image, box)`` and ``update(image)`` as
in ``trackers.OnlineTracker``. Boxes are (x, y, w, h) in pixels, images H x W x 3 uint8 BGR.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..boxes import Array
from ..crops import Frame, context_side
from ..optional_import import import_optional

Box = tuple[float, float, float, float]
Part = tuple[int, int, int, int]  # a box in whole pixels
Maps = npt.NDArray[np.float32]
Network = Callable[..., list[Maps]]  # a function of the graph's inputs that returns its outputs

STRIDE = 16  # pixels of the search crop per cell of the maps, for both

# Names as arguments, and the model files that each needs.
PEERS = {
    "fear": ("template", "track"),
    "nanotrack2": ("backbone", "head"),
    "nanotrack3": ("backbone", "head"),
}
TITLES = {"fear": "FEAR", "nanotrack2": "NanoTrack v2", "nanotrack3": "NanoTrack v3"}


def make(kind: str, files: list[Path]) -> FearTracker | NanoTracker:
    """Returns one of `PEERS` with its networks, which run in as many threads as OpenCV uses.

    Raises ValueError if the files are not the ones needed or ONNX Runtime is not installed, FileNotFoundError.
    """
    if kind == "fear":
        return FearTracker(*fear_networks(files))
    first, second = _checked(kind, files)
    return NanoTracker(_network(first, side=NanoTracker.TEMPLATE), _network(first), _network(second), NANO[kind])


def fear_networks(files: list[Path]) -> tuple[Network, Network]:
    """Returns FEAR's networks for the template and for the search crop (see `FearTracker`). Raises as `make` does."""
    first, second = _checked("fear", files)
    return _network(first), _network(second)


def _checked(kind: str, files: list[Path]) -> list[Path]:
    """Checks the files and returns them. Raises ValueError if their number is wrong, FileNotFoundError."""
    if len(files) != len(PEERS[kind]):
        wanted = ":".join([kind, *(f"{name.upper()}.onnx" for name in PEERS[kind])])
        raise ValueError(f"{kind} has {len(PEERS[kind])} model files, got {len(files)}: write {wanted}")
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist")
    return files


def version() -> str:
    """Returns the version of ONNX Runtime. Raises ValueError if it is not installed."""
    return str(_required("onnxruntime").__version__)


@dataclass(frozen=True)
class Choice:
    """Chooses a box on P x P places, with a tracker's published parameters.

    places: P
    window_influence: share of the cosine window in the rank of a place
    change_penalty: penalty on boxes of another size or shape than the previous one
    size_rate: how fast the size follows
    """

    places: int
    window_influence: float
    change_penalty: float
    size_rate: float

    def __call__(self, edges: Array, scores: Maps, before: Array) -> tuple[Array, Array]:
        """Returns the centre and the size (2 each) of the chosen box, in pixels of the crop.

        edges: left, top, right and bottom of the box of each place, 4 x P x P in pixels of the crop
        scores: P x P, 0 to 1
        before: width and height of the previous box, in pixels of the crop
        """
        left, top, right, bottom = edges
        penalties = self._penalties(right - left, bottom - top, before)
        ranks = penalties * scores * (1 - self.window_influence) + _window(self.places) * self.window_influence
        row, column = np.unravel_index(np.nanargmax(ranks), ranks.shape)
        low, high = edges[:2, row, column], edges[2:, row, column]
        rate = penalties[row, column] * scores[row, column] * self.size_rate
        return (low + high) / 2, before * (1 - rate) + (high - low) * rate

    def _penalties(self, widths: Array, heights: Array, before: Array) -> Array:
        """Returns P x P factors of at most 1; NaN for invalid boxes."""

        def extents(widths: Any, heights: Any) -> Any:
            context = (widths + heights) / 2
            return np.sqrt((widths + context) * (heights + context))

        def changes(ratios: Array) -> Array:
            return np.maximum(ratios, 1 / ratios)

        with np.errstate(invalid="ignore", divide="ignore"):
            shapes = changes((before[0] / before[1]) / (widths / heights))
            sizes = changes(extents(widths, heights) / extents(*before))
            return np.asarray(np.exp((1 - shapes * sizes) * self.change_penalty))


FEAR = Choice(16, 0.38, 0.062, 0.765)
NANO = {"nanotrack2": Choice(16, 0.490, 0.150, 0.385), "nanotrack3": Choice(15, 0.455, 0.138, 0.348)}


class FearTracker:
    """Runs FEAR: a template of 128 pixels with a fifth of the box around it, and search crops of five boxes a side.

    Crops have the shape of the box, so the network sees every target as a square. Boxes are whole pixels.

    template: 1 x 3 x 128 x 128 RGB (0 to 255, float32) -> [features]
    search: 1 x 3 x 256 x 256 RGB, features -> [distances 1 x 4 x 16 x 16 from each cell to left, top, right and bottom
        in crop pixels, logits 1 x 1 x 16 x 16]
    """

    TEMPLATE, SEARCH = 128, 256
    _SMALLEST = 3  # pixels a side of a box

    def __init__(self, template: Network, search: Network) -> None:
        self._template_network, self._search_network = template, search
        self._columns, self._rows = _grid(np.arange(FEAR.places))
        self._box = (0, 0, 1, 1)
        self._fill: list[float] = []
        self._features: Maps | None = None

    def init(self, image: Frame, box: Box) -> None:
        x, y, w, h = (round(value) for value in box)
        self._box = self._inside((x, y, w, h), image)
        self._fill = image.mean(axis=(0, 1)).tolist()
        crop, _ = self._crop(image, around=0.2, size=self.TEMPLATE)
        (self._features,) = self._template_network(crop)

    def update(self, image: Frame) -> Box:
        if self._features is None:
            raise ValueError("update before init")
        crop, part = self._crop(image, around=2.0, size=self.SEARCH)
        distances, logits = self._search_network(crop, self._features)
        pixels = np.array(part[2:]) / self.SEARCH  # image pixels per crop pixel, across and down
        edges = _edges(self._columns, self._rows, distances[0])
        centre, size = FEAR(edges, 1 / (1 + np.exp(-logits[0, 0])), np.array(self._box[2:]) / pixels)
        x, y = (round(value) for value in (centre - size / 2) * pixels + part[:2])
        w, h = (round(value) for value in size * pixels)
        self._box = self._inside((x, y, max(self._SMALLEST, w), max(self._SMALLEST, h)), image)
        x, y, w, h = self._box
        return float(x), float(y), float(w), float(h)

    def _crop(self, image: Frame, around: float, size: int) -> tuple[Maps, Part]:
        """Returns the network's input and its part of the image: the box, widened by ``around`` boxes on each side."""
        x, y, w, h = self._box
        wide = 1 + 2 * around
        part = round(x - w * around), round(y - h * around), round(w * wide), round(h * wide)
        return _input(_cut(image, part, size, self._fill)[..., ::-1]), part

    def _inside(self, box: Part, image: Frame) -> Part:
        """Clips a box to the image, at least `_SMALLEST` wide and high."""
        (x, w), (y, h) = (
            self._side(start, start + side, limit)
            for start, side, limit in zip(box[:2], box[2:], image.shape[1::-1], strict=True)
        )
        return x, y, w, h

    def _side(self, start: int, end: int, limit: int) -> tuple[int, int]:
        start, end = min(max(0, start), limit), min(max(0, end), limit)
        if end - start >= self._SMALLEST:
            return start, end - start
        return start - max(0, start + self._SMALLEST - limit), self._SMALLEST


class NanoTracker:
    """Runs NanoTrack: a template of 127 and search crops of 255 pixels, square and with context as in SiamFC.

    template, search: 1 x 3 x S x S BGR (0 to 255, float32) -> [features]
    head: features of the template, features of the search crop -> logits 1 x 2 x P x P, of which the second is the
        target's, and distances 1 x 4 x P x P from each cell to left, top, right and bottom in crop pixels, in either
        order
    """

    TEMPLATE, SEARCH = 127, 255
    _SMALLEST = 10  # pixels a side of a box

    def __init__(self, template: Network, search: Network, head: Network, choice: Choice) -> None:
        self._template_network, self._search_network, self._head = template, search, head
        self._choice = choice
        self._columns, self._rows = _grid(np.arange(choice.places) - choice.places // 2)
        self._centre, self._size = np.zeros(2), np.ones(2)
        self._fill: list[float] = []
        self._features: Maps | None = None

    def init(self, image: Frame, box: Box) -> None:
        x, y, w, h = box
        self._centre, self._size = np.array([x + (w - 1) / 2, y + (h - 1) / 2]), np.array([w, h], float)
        self._fill = image.mean(axis=(0, 1)).tolist()
        (self._features,) = self._template_network(self._crop(image, context_side(w, h), self.TEMPLATE))

    def update(self, image: Frame) -> Box:
        if self._features is None:
            raise ValueError("update before init")
        side = context_side(*self._size)
        pixels = side / self.TEMPLATE  # image pixels per crop pixel
        (seen,) = self._search_network(self._crop(image, side * self.SEARCH / self.TEMPLATE, self.SEARCH))
        logits, distances = sorted((one[0] for one in self._head(self._features, seen)), key=len)
        edges = _edges(self._columns, self._rows, distances)
        offset, size = self._choice(edges, _softmax(logits)[1], self._size / pixels)
        limits = np.array(image.shape[1::-1])
        self._centre = np.clip(self._centre + offset * pixels, 0, limits)
        self._size = np.clip(size * pixels, self._SMALLEST, limits)
        (x, y), (w, h) = self._centre - self._size / 2, self._size
        return float(x), float(y), float(w), float(h)

    def _crop(self, image: Frame, side: float, size: int) -> Maps:
        """Returns the network's input: the square around the centre."""
        pixels = round(side)
        left, top = (math.floor(middle - (pixels + 1) / 2 + 0.5) for middle in self._centre)
        return _input(_cut(image, (left, top, pixels, pixels), size, self._fill))


def _grid(places: npt.NDArray[np.int_]) -> tuple[Array, Array]:
    """Returns columns and rows of the middles of P x P cells, in pixels of the crop."""
    columns, rows = np.meshgrid(places * float(STRIDE), places * float(STRIDE))
    return columns, rows


def _edges(columns: Array, rows: Array, distances: Maps) -> Array:
    """Returns left, top, right and bottom, 4 x P x P, from the distances to them."""
    left, top, right, bottom = distances
    return np.stack([columns - left, rows - top, columns + right, rows + bottom])


@cache
def _window(places: int) -> Array:
    return np.outer(np.hanning(places), np.hanning(places))


def _cut(image: Frame, part: Part, size: int, fill: list[float]) -> Frame:
    """Resizes a part (x, y, w, h) of an image to a square; pixels outside the image have the colour ``fill``."""
    x, y, w, h = part
    rows, columns = image.shape[:2]
    seen: Any = image[max(0, y) : max(0, y + h), max(0, x) : max(0, x + w)]
    above, before = max(0, -y), max(0, -x)
    below, after = max(0, y + h - rows), max(0, x + w - columns)
    if above or before or below or after:
        seen = cv2.copyMakeBorder(seen, above, below, before, after, cv2.BORDER_CONSTANT, value=fill)
    return np.asarray(cv2.resize(seen, (size, size)), np.uint8)


def _input(crop: Frame) -> Maps:
    return np.ascontiguousarray(crop.transpose(2, 0, 1)[None], np.float32)


def _softmax(logits: Maps) -> Maps:
    powers = np.exp(logits - logits.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0), np.float32)


def _network(file: Path, side: int | None = None) -> Network:
    """Loads the graph of a file. side: of the square input image, if different from the file's."""
    runtime = _required("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = max(1, cv2.getNumThreads())
    options.log_severity_level = 3
    # Threads that keep spinning after a run would slow down everything else on the machine.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    graph: str | bytes = str(file) if side is None else _resized(file, side)
    session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return partial(_call, session, [one.name for one in session.get_inputs()])


def _call(session: Any, names: list[str], *inputs: Maps) -> list[Maps]:
    found: list[Maps] = session.run(None, dict(zip(names, inputs, strict=True)))
    return found


def _resized(file: Path, side: int) -> bytes:
    """Changes the graph's image size. The file's sizes of later tensors no longer hold, so they are removed."""
    model = _required("onnx").load(str(file))
    for index in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[index].dim_value = side
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())


def _required(module: str) -> Any:
    try:
        return import_optional(module)
    except ImportError as error:
        raise ValueError(f"FEAR and NanoTrack need {module}, which is not installed ({error})") from error
