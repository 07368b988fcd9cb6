# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes the network for another runtime."""

from __future__ import annotations

import inspect
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, to_numpy
from ..crops import TEMPLATE_SIZE
from ..files import flush
from ..model.geometry import TEMPLATE_CELLS
from ..surroundings import own_defaults
from . import onnx_runtime, open_vino, tensor_rt
from .agreement import Example
from .exported import KERNELS, SEARCH, TEMPLATE, Manifest, required
from .graph import KernelGraph, TemplateGraph
from .network_spec import NetworkSpec
from .torch_engine import TorchEngine

FORMATS = ("onnx", "openvino", "tensorrt")
PRECISIONS = ("f32", "fp16", "bf16", "int8")
_OPSET = 17
# Layers that are not quantised to 8 bits:
# - the correlations with the template and all later layers, because they decide between neighbouring boxes;
# - ResNet-50's first layer, because all levels inherit its errors.
_FLOAT = r"/Conv(_[0-9]+)?(/.*)?|/(middle|last)[./].*|/backbone/conv1/.*"


@own_defaults()
def export(
    spec: NetworkSpec,
    kind: str,
    folder: Path,
    precision: str = "f32",
    *,
    batch: int = 1,
    calibration: Sequence[tuple[Array, Array | None]] = (),
) -> Manifest:
    """Writes a folder that `engine_selection.make` reads, atomically; replaces an existing folder.

    kind: one of ``FORMATS``.
    precision: one of ``PRECISIONS``; ``int8`` needs ``calibration``.
    batch: crops in one run.
    calibration: crops and kernels as for `Engine.search`, a batch each.

    Raises ValueError for an impossible combination, and if the export fails.
    """
    if kind not in FORMATS or precision not in PRECISIONS:
        raise ValueError(f"can't export {kind} in {precision}; there are {', '.join(FORMATS)}, {', '.join(PRECISIONS)}")
    if precision == "fp16" and kind != "tensorrt":
        raise ValueError(f"fp16 is for tensorrt; {kind} has f32, {'' if kind == 'onnx' else 'bf16, '}int8")
    if precision == "bf16" and kind == "onnx":
        raise ValueError("ONNX Runtime has no bf16 on a CPU: use f32 or int8")
    if precision == "int8" and not calibration:
        raise ValueError("int8 needs calibration on frames like those to be tracked")
    if batch < 1:
        raise ValueError(f"a batch has at least 1 crop, got {batch}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        made_with = _write(spec, kind, partial, precision, batch, calibration)
        Example.of(TorchEngine(spec), spec).write(partial)
        manifest = Manifest(
            kind,
            precision,
            spec.weights.model,
            spec.digests,
            spec.levels,
            spec.proposals,
            spec.search_size,
            batch,
            made_with,
        )
        manifest = manifest.write(partial)
        partial.chmod(0o755)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            os.replace(folder, old / "old")
            os.replace(partial, folder)
            shutil.rmtree(old)
        else:
            os.replace(partial, folder)
        flush(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _write(
    spec: NetworkSpec,
    kind: str,
    folder: Path,
    precision: str,
    batch: int,
    calibration: Sequence[tuple[Array, Array | None]],
) -> dict[str, str]:
    made_with = {"torch": str(torch.__version__)}
    graph = folder / onnx_runtime.file_of(SEARCH)
    write_onnx(spec, graph, batch, interleaved=kind != "tensorrt")
    others = [] if kind == "tensorrt" or not spec.proposals else write_templates(spec, folder)
    if precision == "int8":
        made_with["calibrated on"] = f"{len(calibration)} frames"
    if kind == "openvino":
        openvino = required("openvino", "openvino")
        made_with["openvino"] = metadata.version("openvino")
        model = open_vino.core().read_model(str(graph))
        if precision == "int8":
            model = open_vino.apart(lambda: _quantised(model, calibration))
            made_with["nncf"] = metadata.version("nncf")
        openvino.save_model(model, str(folder / open_vino.file_of(SEARCH)), compress_to_fp16=False)
        for other in others:
            model = open_vino.core().read_model(str(other))
            openvino.save_model(model, str(folder / open_vino.file_of(other.stem)), compress_to_fp16=False)
        del model  # the model maps its file, which is deleted next
        for file in (graph, *others):
            file.unlink()
    elif precision == "int8":
        _quantise_onnx(graph, calibration, symmetric=kind == "tensorrt")
        made_with["onnxruntime"] = metadata.version("onnxruntime")
    if kind == "tensorrt":
        made_with["tensorrt"] = tensor_rt.build(graph, folder / tensor_rt.GRAPH, precision)
        graph.unlink()
    return made_with


def write_templates(spec: NetworkSpec, folder: Path) -> list[Path]:
    """Writes the graphs that compute templates and kernels (see `Engine`) as ONNX files, and returns their paths."""
    template = torch.zeros(1, len(spec.levels), spec.weights.geometry.channels, TEMPLATE_CELLS, TEMPLATE_CELLS)
    crops = torch.zeros(1, TEMPLATE_SIZE, TEMPLATE_SIZE, 3, dtype=torch.uint8)
    files = []
    for name, graph, given in (
        (TEMPLATE, TemplateGraph(spec.network), crops),
        (KERNELS, KernelGraph(spec.network), template),
    ):
        files.append(folder / onnx_runtime.file_of(name))
        _write_graph(graph, (given,), files[-1], ["given"], [name])
    return files


def write_onnx(spec: NetworkSpec, file: Path, batch: int = 1, *, interleaved: bool = False) -> None:
    """Writes the graph as an ONNX file with inputs ``crops`` (``kernels``) and outputs ``features`` (``proposals``).

    interleaved: see `SearchGraph.read_interleaved`.
    """
    required("onnx", "onnxruntime")
    graph = spec.graph()
    if interleaved:
        graph.read_interleaved()
    crops, kernels = spec.example(batch)
    inputs = (crops,) if kernels is None else (crops, kernels)
    names = ["crops", "kernels"], ["features", "proposals"]
    _write_graph(graph, inputs, file, *(some[: len(inputs)] for some in names))


def _write_graph(
    graph: torch.nn.Module, inputs: tuple[Tensor, ...], file: Path, input_names: list[str], output_names: list[str]
) -> None:
    options: dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False  # needs no library besides torch and onnx
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            inputs,
            str(file),
            input_names=input_names,
            output_names=output_names,
            opset_version=_OPSET,
            **options,
        )


def _quantised(model: Any, calibration: Sequence[tuple[Array, Array | None]]) -> Any:
    """Quantises an OpenVINO model to 8-bit weights and activations, with ranges from the calibration data."""
    nncf = required("nncf", "openvino-int8")
    nncf.set_log_level(logging.WARNING)
    return nncf.quantize(
        model,
        nncf.Dataset(calibration, _feed),
        subset_size=len(calibration),
        ignored_scope=nncf.IgnoredScope(patterns=[_FLOAT], validate=False),
    )


def _quantise_onnx(graph: Path, calibration: Sequence[tuple[Array, Array | None]], *, symmetric: bool) -> None:
    """Quantises an ONNX file in place. TensorRT needs ranges that are symmetric around zero."""
    quantization = required("onnxruntime.quantization", "onnxruntime-int8")
    onnx = required("onnx", "onnxruntime-int8")
    names = [node.name for node in onnx.load(str(graph)).graph.node]
    whole = graph.with_suffix(".f32.onnx")
    graph.replace(whole)
    quantization.quantize_static(
        str(whole),
        str(graph),
        _Reader(calibration),
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=quantization.QuantType.QInt8 if symmetric else quantization.QuantType.QUInt8,
        nodes_to_exclude=[name for name in names if re.fullmatch(_FLOAT, name)],
        extra_options={"ActivationSymmetric": symmetric},
    )
    whole.unlink()


class _Reader:
    def __init__(self, calibration: Sequence[tuple[Array, Array | None]]) -> None:
        self._items = iter(calibration)

    def get_next(self) -> dict[str, np.ndarray] | None:
        item = next(self._items, None)
        return None if item is None else _feed(item)


def _feed(item: tuple[Array, Array | None]) -> dict[str, np.ndarray]:
    parts = zip(("crops", "kernels"), item, strict=True)
    return {name: np.ascontiguousarray(to_numpy(part)) for name, part in parts if part is not None}
