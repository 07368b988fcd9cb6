# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Compares an engine with torch on an example. An export holds the example, so that no torch is needed to compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..arrays import Array, moved, to_numpy, without_gradients
from ..boxes import iou
from ..crops import TEMPLATE_SIZE
from ..model.geometry import flat_boxes
from ..tensor_files import read_arrays, write_tensors
from .engine import Engine
from .network_spec import NetworkSpec
from .search_output import SearchOutput

# Largest difference to torch, relative to torch's values (root mean squares), of each output on the example. With f32
# the boxes agree to a hundredth of a pixel; the limit leaves room for TensorFloat-32, which GPUs use instead.
TOLERANCE = {"f32": 2e-3, "fp16": 0.02, "bf16": 0.1, "int8": 0.25}
# Smallest IoU between the box that torch scores highest on the example and the engine's box for the same proposal.
OVERLAP = {"f32": 0.99, "fp16": 0.97, "bf16": 0.9, "int8": 0.8}
EXAMPLE = "example.safetensors"


class Disagreement(RuntimeError):
    """Reports that an engine's results differ too much from torch's."""


@dataclass(frozen=True)
class Example:
    """A search crop, and what torch computes from it. All are NumPy arrays.

    crops: 1 x S x S x 3 uint8.
    output: what `Engine.search` returns for the crop.
    template: for each level 1 x C x 7 x 7, of the middle of the crop; empty without the heads.
    kernels: of the template, 1 x `Geometry.kernel_shape`; None without the heads.
    """

    crops: npt.NDArray[np.uint8]
    output: SearchOutput
    template: tuple[npt.NDArray[np.float32], ...] = ()
    kernels: npt.NDArray[np.float32] | None = None

    @classmethod
    def of(cls, torch: Engine, spec: NetworkSpec) -> Example:
        """Computes the example. torch: the engine torch."""
        crops, kernels = (None if part is None else part.numpy() for part in spec.example())
        assert crops is not None
        with without_gradients(spec.device):
            given = (None if part is None else moved(part, spec.device) for part in (crops, kernels))
            output = torch.search(*given)  # type: ignore[arg-type]
            template = torch.template(moved(_middle(crops), spec.device)) if spec.proposals else []
        output = SearchOutput(*(None if part is None else to_numpy(part) for part in output))  # type: ignore[arg-type]
        return cls(crops, output, tuple(map(to_numpy, template)), kernels)

    def write(self, folder: Path) -> None:
        """Writes the example into the folder of an export."""
        arrays = {"crops": self.crops, "kernels": self.kernels, **self.output._asdict()}
        arrays |= {f"template{level}": one for level, one in enumerate(self.template)}
        write_tensors(folder / EXAMPLE, {name: array for name, array in arrays.items() if array is not None}, {})

    @classmethod
    def read(cls, folder: Path) -> Example:
        """Reads the example of an export."""
        arrays, _ = read_arrays(folder / EXAMPLE)
        output = SearchOutput(*map(arrays.get, SearchOutput._fields))  # type: ignore[arg-type]
        template = tuple(arrays[name] for name in sorted(arrays) if name.startswith("template"))
        return cls(arrays["crops"], output, template, arrays.get("kernels"))


def check(engine: Engine, example: Example, spec: NetworkSpec) -> float:
    """Returns the relative difference to torch on the example, for the output that differs most.

    Raises Disagreement if it exceeds `TOLERANCE`, or if the best boxes overlap by less than `OVERLAP`.
    """
    expected = example.output
    kernels = example.kernels if spec.proposals else None
    with without_gradients(spec.device):
        given = (None if part is None else moved(part, spec.device) for part in (example.crops, kernels))
        found = engine.recorded(engine.search)(*given)
        if spec.proposals:
            _check_templates(engine, example, spec)
    precision = engine.name.rpartition("-")[2] if "-" in engine.name else "f32"
    worst, allowed = 0.0, TOLERANCE[precision]
    for name, a, b in zip(SearchOutput._fields, expected, found, strict=True):
        if a is None or b is None:
            continue
        worst = max(worst, _compared_values(name, a, b, allowed))
    if spec.proposals:
        assert expected.scores is not None
        best = int(to_numpy(expected.scores[0]).argmax())
        overlap = float(iou(_box(expected, spec, best), _box(found, spec, best)))
        if not overlap >= OVERLAP[precision]:
            raise Disagreement(f"the best box overlaps torch's by {overlap:.2f}, {OVERLAP[precision]:g} is needed")
    return worst


def _check_templates(engine: Engine, example: Example, spec: NetworkSpec) -> None:
    """Compares templates and kernels, which are exact in all precisions. Raises Disagreement."""
    assert example.kernels is not None
    found = engine.template(moved(_middle(example.crops), spec.device))
    for a, b in zip(example.template, found, strict=True):
        _compared_values("templates", a, b, TOLERANCE["f32"])
    levels: Sequence[Array] = [moved(level, spec.device) for level in example.template]
    _compared_values("kernels", example.kernels, engine.kernels(levels), TOLERANCE["f32"])


def _middle(crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Returns the part of search crops that a template shows."""
    inner = slice((crops.shape[1] - TEMPLATE_SIZE) // 2, (crops.shape[1] + TEMPLATE_SIZE) // 2)
    return crops[:, inner, inner]


def _compared_values(name: str, expected: Array, found: Array, allowed: float) -> float:
    """Returns the relative difference. Raises Disagreement if it is larger than allowed."""
    a, b = to_numpy(expected), to_numpy(found)
    difference = float(np.linalg.norm((a - b).ravel()) / max(float(np.linalg.norm(a.ravel())), 1e-6))
    if not difference <= allowed:  # also true for NaN
        raise Disagreement(f"{name} differ from torch's by {difference:.2g} of their size, {allowed:g} is allowed")
    return difference


def _box(found: SearchOutput, spec: NetworkSpec, index: int) -> npt.NDArray[np.float64]:
    """Returns (x, y, w, h) of one proposal of the first crop, at least a pixel wide and high."""
    assert found.deltas is not None
    cx, cy, w, h = flat_boxes(to_numpy(found.deltas[:1]), spec.anchors)[0, :, index].astype(np.float64)
    w, h = max(w, 1.0), max(h, 1.0)  # the overlap of smaller boxes would be that of rounding errors
    return np.array([cx - w / 2, cy - h / 2, w, h])
