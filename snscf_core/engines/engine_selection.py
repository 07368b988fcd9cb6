# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Selects the engine that runs the network: the requested engine, or the fastest that agrees with torch."""

from __future__ import annotations

import logging
import os
import platform
import tempfile
import time
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..boxes import iou
from ..model.rpn import decode
from ..user_folders import expanded
from . import engine_cache
from .export import export, folder_name
from .exported import DamagedExport, Manifest
from .graph import SearchOutput
from .network_spec import NetworkSpec
from .onnx_runtime import OnnxRuntimeEngine
from .open_vino import OpenVinoEngine
from .recording import Result, Step
from .tensor_rt import TensorRtEngine
from .torch_engine import CudaGraphEngine, TorchEngine

ENGINES = ("torch", "cuda_graphs", "onnxruntime", "openvino", "tensorrt")
PRECISIONS = ("fp16", "bf16", "int8")
HELP = (
    f"what runs the network: auto (the fastest that is installed), {', '.join(ENGINES)}, also openvino-bf16, "
    "onnxruntime-int8, openvino-int8 and tensorrt-fp16, or a folder that snscf export wrote"
)
_READERS = {"onnx": OnnxRuntimeEngine, "openvino": OpenVinoEngine, "tensorrt": TensorRtEngine}
FORMAT_OF = {"onnxruntime": "onnx", "openvino": "openvino", "tensorrt": "tensorrt"}
_LIBRARIES = {"onnxruntime": ("onnxruntime", "onnx"), "openvino": ("openvino", "onnx"), "tensorrt": ("tensorrt",)}
# Largest difference to torch, relative to torch's values (root mean squares), of each output on the example. With f32
# the boxes agree to a hundredth of a pixel; the limit leaves room for TensorFloat-32, which GPUs use instead.
TOLERANCE = {"f32": 2e-3, "fp16": 0.02, "bf16": 0.1, "int8": 0.25}
# Smallest IoU between the box that torch scores highest on the example and the engine's box for the same proposal.
OVERLAP = {"f32": 0.99, "fp16": 0.97, "bf16": 0.9, "int8": 0.8}
_WORTHWHILE = 0.95  # share of torch's time; a smaller gain does not justify another library
_LOG = logging.getLogger(__name__)


class Engine(Protocol):
    """Runs the part of the network that is needed on every frame."""

    @property
    def name(self) -> str:
        """One of ``ENGINES``, followed by ``-fp16``, ``-bf16`` or ``-int8`` if that is its precision."""
        ...

    @property
    def threads(self) -> bool:
        """Whether the engine uses its own thread pool instead of torch's."""
        ...

    def search(self, crops: Tensor, kernels: Tensor | None) -> SearchOutput:
        """Runs the network on N search crops.

        All tensors are on the tracker's device. The next call may overwrite the result.

        crops: N x S x S x 3 uint8 BGR.
        kernels: N x `SNSCF.kernel_shape`; None without the heads.
        """
        ...

    def recorded(self, step: Step[Result]) -> Step[Result]:
        """Returns the step, which may include ``search``, in the form that this engine runs fastest.

        A call may overwrite the result of the call before. Calls raise RecordingError if that form fails.
        """
        ...

    def prepare(self) -> None:
        """Builds now what would otherwise be built in the background when a second crop first appears.

        This may take seconds.
        """
        ...


def make(wanted: str | Path, spec: NetworkSpec) -> Engine:
    """Makes the engine that ``wanted`` names.

    wanted: a name in ``ENGINES``, also with ``-fp16``, ``-bf16`` or ``-int8``; a folder that `export` wrote; or
        ``auto``, the fastest installed engine.

    Raises ValueError or FileNotFoundError if the engine is not available. If it fails, or disagrees with torch by more
    than ``TOLERANCE`` and ``OVERLAP`` allow, logs a warning and returns torch instead.
    """
    reference = TorchEngine(spec)
    if wanted == "torch":
        return reference
    if wanted == "auto":
        return _fastest(spec, reference)
    try:
        engine = _engine(wanted, spec)
        check(engine, reference, spec)
    except (ValueError, FileNotFoundError):
        raise
    except Exception as error:  # whatever a runtime may raise
        _LOG.warning("the engine %s failed, torch runs the network instead: %s", wanted, _line(error))
        return reference
    return engine


class Disagreement(RuntimeError):
    """Reports that an engine's results differ too much from torch's."""


def check(engine: Engine, reference: Engine, spec: NetworkSpec) -> float:
    """Returns the relative difference between two engines on the example, for the output that differs most.

    Raises Disagreement if it exceeds `TOLERANCE`, or if the best boxes overlap by less than `OVERLAP`.
    """
    crops, kernels = (None if part is None else part.to(spec.device) for part in spec.example())
    assert crops is not None
    with torch.inference_mode():
        expected, found = reference.search(crops, kernels), engine.recorded(engine.search)(crops, kernels)
    precision = engine.name.rpartition("-")[2] if "-" in engine.name else "f32"
    worst, allowed = 0.0, TOLERANCE[precision]
    for name, a, b in zip(SearchOutput._fields, expected, found, strict=True):
        if a is None or b is None:
            continue
        difference = float((a - b).norm() / a.norm().clamp(min=1e-6))
        worst = max(worst, difference)
        if not difference <= allowed:  # also true for NaN
            raise Disagreement(f"{name} differ from torch's by {difference:.2g} of their size, {allowed:g} is allowed")
    if expected.scores is not None:
        best = expected.scores[0].argmax()
        anchors = spec.network.anchors_on(expected.scores.shape[-1])
        overlap = float(iou(_box(expected, anchors, best), _box(found, anchors, best)))
        if not overlap >= OVERLAP[precision]:
            raise Disagreement(f"the best box overlaps torch's by {overlap:.2f}, {OVERLAP[precision]:g} is needed")
    return worst


def _box(found: SearchOutput, anchors: Tensor, index: Tensor) -> npt.NDArray[np.float32]:
    """Returns (x, y, w, h) of one proposal of the first crop."""
    assert found.deltas is not None
    boxes = decode(found.deltas[:1], anchors.to(found.deltas))[0].movedim(1, -1).flatten(0, 2)
    cx, cy, w, h = boxes[index].cpu().numpy()
    return np.array([cx - w / 2, cy - h / 2, w, h])


def seconds(engines: list[Engine], spec: NetworkSpec, rounds: int = 7) -> list[float]:
    """Returns the seconds that each engine takes for one crop, the best of several rounds.

    The engines take turns, so that other load on the machine affects all alike.
    """
    crops, kernels = (None if part is None else part.to(spec.device) for part in spec.example())
    assert crops is not None
    best = [float("inf")] * len(engines)
    searches = [engine.recorded(engine.search) for engine in engines]
    with torch.inference_mode():
        for turn in range(rounds + 2):
            for index, search in enumerate(searches):
                began = time.perf_counter()
                search(crops, kernels).features.sum().item()  # so that a GPU finishes
                if turn >= 2:
                    best[index] = min(best[index], time.perf_counter() - began)
    return best


def installed(spec: NetworkSpec) -> list[str]:
    """Returns the names of the engines in full precision that can run here."""
    if spec.device.type == "cuda":
        found = ["torch", "cuda_graphs"]
        # only if it is built already, because that takes minutes
        if find_spec("tensorrt") and engine_cache.find(folder_name(spec, "tensorrt", "f32")):
            found.append("tensorrt")
        return found
    if spec.device.type != "cpu":
        return ["torch"]
    return ["torch", *(name for name in ("onnxruntime", "openvino") if all(map(find_spec, _LIBRARIES[name])))]


def _engine(wanted: str | Path, spec: NetworkSpec) -> Engine:
    name, _, precision = str(wanted).partition("-")
    if name in ENGINES and precision in ("", *PRECISIONS) and not (precision and name not in FORMAT_OF):
        if name == "torch":
            return TorchEngine(spec)
        if name == "cuda_graphs":
            return CudaGraphEngine(spec)
        for library in _LIBRARIES[name]:
            if find_spec(library) is None:
                raise ValueError(f"the engine {name} needs {library}, which is not installed: pip install {library}")
        return _cached(str(wanted), FORMAT_OF[name], precision or "f32", spec)
    folder = expanded(wanted)
    if not folder.is_dir():
        raise ValueError(
            f"unknown engine {str(wanted)!r}; there are auto, {', '.join(ENGINES)}, and folders of snscf export"
        )
    return _READERS[Manifest.read(folder).format](folder, spec)


def _cached(wanted: str, kind: str, precision: str, spec: NetworkSpec) -> Engine:
    """Reads an export from the cache, or makes it if it is missing or can't be read."""
    by_hand = precision == "int8" or kind == "tensorrt"
    again = "has to be made first"
    if folder := engine_cache.find(folder_name(spec, kind, precision)):
        try:
            return _READERS[kind](folder, spec)
        except DamagedExport as error:
            again = f"has to be made again ({error})"
        except Exception as error:  # an export without checksums, and whatever a runtime may raise
            if by_hand:
                raise
            again = f"has to be made again ({_line(error)})"
        _LOG.warning("the engine %s %s", wanted, again)
    if by_hand:
        raise ValueError(
            f"the engine {wanted} {again}: snscf export --format {kind} --precision {precision} "
            f"--search-size {spec.search_size} --model {spec.weights.files[0]}"
        )
    return _exported_now(kind, precision, spec)


def _exported_now(kind: str, precision: str, spec: NetworkSpec) -> Engine:
    """Exports into the cache. Without a cache that can be written, exports for this process alone."""
    name = folder_name(spec, kind, precision)
    if (cache := engine_cache.cache_folder()) is not None:
        with suppress(OSError):
            cache.mkdir(parents=True, exist_ok=True)
            export(spec, kind, cache / name, precision)
            engine_cache.discard_oldest(f"*-{kind}-{precision}-*")
            return _READERS[kind](cache / name, spec)
    with tempfile.TemporaryDirectory() as once:
        export(spec, kind, Path(once) / name, precision)
        return _READERS[kind](Path(once) / name, spec)


def _fastest(spec: NetworkSpec, reference: Engine) -> Engine:
    names = installed(spec)
    if len(names) == 1:
        return reference
    key = _machine(names, spec)
    with engine_cache.choosing():
        chosen = engine_cache.remembered(key)
        if chosen not in names:
            return _chosen(names, key, spec, reference)
    if chosen == "torch":
        return reference
    if (engine := _tried(chosen, spec, reference)) is not None:
        return engine
    with engine_cache.choosing():
        return _chosen([name for name in names if name != chosen], None, spec, reference)


def _chosen(names: list[str], key: str | None, spec: NetworkSpec, reference: Engine) -> Engine:
    """Returns the fastest of the engines, and remembers it under the key unless one failed: that may pass."""
    engines: dict[str, Engine] = {"torch": reference}
    for name in names[1:]:
        if (engine := _tried(name, spec, reference)) is not None:
            engines[name] = engine
    times = dict(zip(engines, seconds(list(engines.values()), spec), strict=True))
    chosen = min(times, key=lambda name: times[name])
    if times[chosen] > _WORTHWHILE * times["torch"]:
        chosen = "torch"
    _LOG.info("engine %s: %s", chosen, ", ".join(f"{n} {1000 * t:.1f} ms" for n, t in times.items()))
    if key is not None and len(engines) == len(names):
        engine_cache.remember(key, chosen, times)
    return engines[chosen]


def _tried(name: str, spec: NetworkSpec, reference: Engine) -> Engine | None:
    """Returns the engine if it works and agrees with torch; else logs a warning and returns None."""
    try:
        engine = _engine(name, spec)
        check(engine, reference, spec)
    except Exception as error:  # whatever a runtime may raise
        _LOG.warning("the engine %s is left out: %s", name, _line(error))
        return None
    return engine


def _machine(names: list[str], spec: NetworkSpec) -> str:
    """Describes in one line all that the choice of the fastest engine depends on."""
    versions = [f"torch {torch.__version__}"]
    for library in dict.fromkeys(library for name in names if name in _LIBRARIES for library in _LIBRARIES[name]):
        with suppress(metadata.PackageNotFoundError):
            versions.append(f"{library} {metadata.version(library)}")
    gpu = torch.cuda.get_device_name(spec.device) if spec.device.type == "cuda" else ""
    return ", ".join(
        [
            folder_name(spec, "any", "f32"),
            gpu or processor(),
            f"{os.cpu_count()} cores",
            f"{torch.get_num_threads()} threads",
            *versions,
        ]
    )


def processor() -> str:
    """Returns the CPU's model name."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
