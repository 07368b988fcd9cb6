# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes the network for another runtime."""

from __future__ import annotations

import hashlib
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

from ..files import flush
from . import onnx_runtime, open_vino, tensor_rt
from .exported import VERSION, Manifest, required
from .network_spec import NetworkSpec

FORMATS = ("onnx", "openvino", "tensorrt")
PRECISIONS = ("f32", "fp16", "bf16", "int8")
_OPSET = 17
# Layers that are not quantised to 8 bits:
# - the correlations with the template and all later layers, because they decide between neighbouring boxes;
# - ResNet-50's first layer, because all levels inherit its errors.
_FLOAT = r"/Conv(_[0-9]+)?(/.*)?|/(middle|last)[./].*|/backbone/conv1/.*"


def folder_name(spec: NetworkSpec, kind: str, precision: str) -> str:
    """Returns a folder name that is unique to the exported network, by its name and digest."""
    parts = (VERSION, *spec.digests, *spec.levels, spec.proposals, spec.search_size)
    what = "+".join(map(str, parts))
    digest = hashlib.sha256(what.encode()).hexdigest()[:12]
    return f"{spec.weights.model}-{kind}-{precision}-{digest}"


def export(
    spec: NetworkSpec,
    kind: str,
    folder: Path,
    precision: str = "f32",
    *,
    batch: int = 1,
    calibration: Sequence[tuple[Tensor, Tensor | None]] = (),
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
    calibration: Sequence[tuple[Tensor, Tensor | None]],
) -> dict[str, str]:
    made_with = {"torch": str(torch.__version__)}
    graph = folder / onnx_runtime.GRAPH
    write_onnx(spec, graph, batch, interleaved=kind != "tensorrt")
    if precision == "int8":
        made_with["calibrated on"] = f"{len(calibration)} frames"
    if kind == "openvino":
        openvino = required("openvino", "openvino")
        made_with["openvino"] = metadata.version("openvino")
        model = open_vino.core().read_model(str(graph))
        if precision == "int8":
            model = open_vino.apart(lambda: _quantised(model, calibration))
            made_with["nncf"] = metadata.version("nncf")
        openvino.save_model(model, str(folder / open_vino.GRAPH), compress_to_fp16=False)
        del model  # the model maps the file, which is deleted next
        graph.unlink()
    elif precision == "int8":
        _quantise_onnx(graph, calibration, symmetric=kind == "tensorrt")
        made_with["onnxruntime"] = metadata.version("onnxruntime")
    if kind == "tensorrt":
        made_with["tensorrt"] = tensor_rt.build(graph, folder / tensor_rt.GRAPH, precision)
        graph.unlink()
    return made_with


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
    options: dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False  # needs no library besides torch and onnx
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            inputs,
            str(file),
            input_names=["crops", "kernels"][: len(inputs)],
            output_names=["features", "proposals"][: len(inputs)],
            opset_version=_OPSET,
            **options,
        )


def _quantised(model: Any, calibration: Sequence[tuple[Tensor, Tensor | None]]) -> Any:
    """Quantises an OpenVINO model to 8-bit weights and activations, with ranges from the calibration data."""
    nncf = required("nncf", "openvino-int8")
    nncf.set_log_level(logging.WARNING)
    return nncf.quantize(
        model,
        nncf.Dataset(calibration, _feed),
        subset_size=len(calibration),
        ignored_scope=nncf.IgnoredScope(patterns=[_FLOAT], validate=False),
    )


def _quantise_onnx(graph: Path, calibration: Sequence[tuple[Tensor, Tensor | None]], *, symmetric: bool) -> None:
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
    def __init__(self, calibration: Sequence[tuple[Tensor, Tensor | None]]) -> None:
        self._items = iter(calibration)

    def get_next(self) -> dict[str, np.ndarray] | None:
        item = next(self._items, None)
        return None if item is None else _feed(item)


def _feed(item: tuple[Tensor, Tensor | None]) -> dict[str, np.ndarray]:
    parts = zip(("crops", "kernels"), item, strict=True)
    return {name: np.ascontiguousarray(part.numpy()) for name, part in parts if part is not None}
