"""Writes the network for another runtime."""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import onnx_runtime, open_vino, tensor_rt
from .exported import Manifest, required
from .subject import Subject

FORMATS = ("onnx", "openvino", "tensorrt")
PRECISIONS = ("f32", "bf16", "int8")
_OPSET = 17


def folder_name(subject: Subject, kind: str, precision: str) -> str:
    """Tells apart what is exported of one network from all others, by name and digest."""
    what = "+".join((*subject.digests, *map(str, subject.levels), str(subject.proposals)))
    digest = hashlib.sha256(what.encode()).hexdigest()[:12]
    return f"{subject.weights.model}-{kind}-{precision}-{digest}"


def export(
    subject: Subject,
    kind: str,
    folder: Path,
    precision: str = "f32",
    *,
    batch: int = 1,
    calibration: Sequence[tuple[Tensor, Tensor | None]] = (),
) -> Manifest:
    """Writes a folder that `choice.make` reads; whole or not at all, in place of one that is there.

    kind: one of ``FORMATS``. precision: one of ``PRECISIONS``; ``int8`` needs ``calibration``: crops and kernels
    as of `Engine.search`, a batch each. batch: crops in one run. Raises ValueError for what can't be made.
    """
    if kind not in FORMATS or precision not in PRECISIONS:
        raise ValueError(f"can't export {kind} in {precision}; there are {', '.join(FORMATS)}, {', '.join(PRECISIONS)}")
    if precision == "bf16" and kind == "onnx":
        raise ValueError("ONNX Runtime has no bf16 on a CPU: use f32 or int8")
    if precision == "int8" and not calibration:
        raise ValueError("int8 has to be calibrated on frames like those it will see")
    if batch < 1:
        raise ValueError(f"a batch has at least 1 crop, got {batch}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        made_with = _write(subject, kind, partial, precision, batch, calibration)
        manifest = Manifest(
            kind, precision, subject.weights.model, subject.digests, subject.levels, subject.proposals, batch, made_with
        )
        manifest.write(partial)
        partial.chmod(0o755)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            os.replace(folder, old / "old")
            os.replace(partial, folder)
            shutil.rmtree(old)
        else:
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _write(
    subject: Subject,
    kind: str,
    folder: Path,
    precision: str,
    batch: int,
    calibration: Sequence[tuple[Tensor, Tensor | None]],
) -> dict[str, str]:
    made_with = {"torch": str(torch.__version__)}
    graph = folder / onnx_runtime.GRAPH
    write_onnx(subject, graph, batch)
    if precision == "int8":
        nncf = required("nncf", "int8")
        made_with |= {"nncf": metadata.version("nncf"), "calibrated on": f"{len(calibration)} frames"}
    if kind == "openvino":
        openvino = required("openvino", "openvino")
        made_with["openvino"] = metadata.version("openvino")
        model = openvino.Core().read_model(str(graph))
        if precision == "int8":
            model = quantised(nncf, model, calibration)
        openvino.save_model(model, str(folder / open_vino.GRAPH), compress_to_fp16=False)
        del model  # it reads from the file
        graph.unlink()
    elif precision == "int8":
        onnx = required("onnx", "int8")
        onnx.save(quantised(nncf, onnx.load(str(graph)), calibration, graph=True), str(graph))
    if kind == "tensorrt":
        made_with["tensorrt"] = tensor_rt.build(graph, folder / tensor_rt.GRAPH, precision)
        graph.unlink()
    return made_with


def write_onnx(subject: Subject, file: Path, batch: int = 1) -> None:
    """The graph as one ONNX file with inputs ``crops`` (and ``kernels``), outputs ``features`` (and ``proposals``)."""
    required("onnx", "onnxruntime")
    crops, kernels = subject.example(batch)
    inputs = (crops,) if kernels is None else (crops, kernels)
    options: dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False  # needs nothing that is not installed with torch and onnx
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            subject.graph(),
            inputs,
            str(file),
            input_names=["crops", "kernels"][: len(inputs)],
            output_names=["features", "proposals"][: len(inputs)],
            opset_version=_OPSET,
            **options,
        )


def quantised(
    nncf: Any, model: Any, calibration: Iterable[tuple[Tensor, Tensor | None]], *, graph: bool = False
) -> Any:
    """The model with 8-bit weights and activations, ranges taken from the calibration."""

    def feed(item: tuple[Tensor, Tensor | None]) -> dict[str, np.ndarray]:
        names = ("crops", "kernels")
        return {name: part.numpy() for name, part in zip(names, item, strict=True) if part is not None}

    items = list(calibration)
    return nncf.quantize(model, nncf.Dataset(items, feed), subset_size=len(items))
