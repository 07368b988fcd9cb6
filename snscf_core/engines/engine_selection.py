# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Selects the engine that runs the network: the requested engine, or the fastest that agrees with torch.

The fastest is compared once on each machine and then remembered. The same processor, number of threads, versions and
network make the same machine. A comparison that other work disturbed is repeated at the next starts.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ..arrays import Array, moved, to_numpy, without_gradients
from ..boxes import iou
from ..cores import available_cores, threads
from ..crops import TEMPLATE_SIZE
from ..model.geometry import flat_boxes
from ..processor import extensions, processor
from ..user_folders import expanded
from . import engine_cache
from .comparison import compare
from .engine_cache import Choice, folder_name
from .exported import DamagedExport, ExportedEngine, Manifest
from .network_spec import NetworkSpec
from .search_output import SearchOutput
from .step import Result, Step

ENGINES = ("torch", "cuda_graphs", "onnxruntime", "openvino", "tensorrt")
PRECISIONS = ("fp16", "bf16", "int8")
HELP = (
    f"what runs the network: auto (the fastest that is installed), {', '.join(ENGINES)}, also openvino-bf16, "
    "onnxruntime-int8, openvino-int8 and tensorrt-fp16, or a folder that snscf export wrote"
)
FORMAT_OF = {"onnxruntime": "onnx", "openvino": "openvino", "tensorrt": "tensorrt"}
_LIBRARIES = {"onnxruntime": ("onnxruntime", "onnx"), "openvino": ("openvino", "onnx"), "tensorrt": ("tensorrt",)}
# Largest difference to torch, relative to torch's values (root mean squares), of each output on the example. With f32
# the boxes agree to a hundredth of a pixel; the limit leaves room for TensorFloat-32, which GPUs use instead.
TOLERANCE = {"f32": 2e-3, "fp16": 0.02, "bf16": 0.1, "int8": 0.25}
# Smallest IoU between the box that torch scores highest on the example and the engine's box for the same proposal.
OVERLAP = {"f32": 0.99, "fp16": 0.97, "bf16": 0.9, "int8": 0.8}
_WORTHWHILE = 0.95  # share of torch's time; a smaller gain does not justify another library
_WORTH_ROUNDING = 0.9  # share of the time in full precision; a smaller gain does not justify bfloat16
_BFLOAT16 = ("amx_bf16", "avx512_bf16")  # processors without these would compute it more slowly
_COMPARISONS = 3  # most comparisons, if other work disturbs each
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

    def search(self, crops: Array, kernels: Array | None) -> SearchOutput:
        """Runs the network on N search crops.

        On a CPU all are NumPy arrays, else tensors on the tracker's device. The next call may overwrite the result.

        crops: N x S x S x 3 uint8 BGR.
        kernels: N x `Geometry.kernel_shape`; None without the heads.
        """
        ...

    def template(self, crops: Array) -> list[Array]:
        """Returns the template features of N crops, N x 127 x 127 x 3 uint8 BGR: for each level N x C x 7 x 7."""
        ...

    def kernels(self, template: Sequence[Array]) -> Array:
        """Returns the heads' kernels for template features, N x `Geometry.kernel_shape`."""
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
    if wanted == "torch":
        return _torch(spec)
    if wanted == "auto":
        return choose(spec).engine
    try:
        engine = _engine(wanted, spec)
        key = f"{engine.name} {_mark(engine)} for {machine(spec)}"
        if _mark(engine) and engine_cache.has_agreed(key):
            _run_once(engine, spec)
        else:
            check(engine, _torch(spec), spec)
            if _mark(engine):
                engine_cache.note_agreement(key)
    except (ValueError, FileNotFoundError):
        raise
    except Exception as error:  # whatever a runtime may raise
        _LOG.warning("the engine %s failed, torch runs the network instead: %s", wanted, _line(error))
        return _torch(spec)
    return engine


def _torch(spec: NetworkSpec) -> Engine:
    from .torch_engine import TorchEngine

    return TorchEngine(spec)


class Disagreement(RuntimeError):
    """Reports that an engine's results differ too much from torch's."""


def check(engine: Engine, reference: Engine, spec: NetworkSpec) -> float:
    """Returns the relative difference between two engines on the example, for the output that differs most.

    Raises Disagreement if it exceeds `TOLERANCE`, or if the best boxes overlap by less than `OVERLAP`.
    """
    crops, kernels = (None if part is None else moved(part.numpy(), spec.device) for part in spec.example())
    assert crops is not None
    with without_gradients(spec.device):
        expected, found = reference.search(crops, kernels), engine.recorded(engine.search)(crops, kernels)
        if spec.proposals:
            _check_templates(engine, reference, crops)
    precision = engine.name.rpartition("-")[2] if "-" in engine.name else "f32"
    worst, allowed = 0.0, TOLERANCE[precision]
    for name, a, b in zip(SearchOutput._fields, expected, found, strict=True):
        if a is None or b is None:
            continue
        worst = max(worst, _compared_values(name, a, b, allowed))
    if expected.scores is not None:
        best = int(to_numpy(expected.scores[0]).argmax())
        overlap = float(iou(_box(expected, spec, best), _box(found, spec, best)))
        if not overlap >= OVERLAP[precision]:
            raise Disagreement(f"the best box overlaps torch's by {overlap:.2f}, {OVERLAP[precision]:g} is needed")
    return worst


def _check_templates(engine: Engine, reference: Engine, crops: Array) -> None:
    """Compares templates and kernels, which are exact in all precisions. Raises Disagreement."""
    inner = slice((crops.shape[1] - TEMPLATE_SIZE) // 2, (crops.shape[1] + TEMPLATE_SIZE) // 2)
    exemplar = crops[:, inner, inner]
    expected = reference.template(exemplar)
    for a, b in zip(expected, engine.template(exemplar), strict=True):
        _compared_values("templates", a, b, TOLERANCE["f32"])
    _compared_values("kernels", reference.kernels(expected), engine.kernels(expected), TOLERANCE["f32"])


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


def installed(spec: NetworkSpec) -> list[str]:
    """Returns the names of the engines that ``auto`` chooses from here, torch first.

    All have full precision, but for bfloat16 where the processor has instructions for it.
    """
    if spec.device.type == "cuda":
        found = ["torch", "cuda_graphs"]
        # only if it is built already, because that takes minutes
        if find_spec("tensorrt") and engine_cache.find(folder_name(spec, "tensorrt", "f32")):
            found.append("tensorrt")
        return found
    if spec.device.type != "cpu":
        return ["torch"]
    found = ["torch", *(name for name in ("onnxruntime", "openvino") if all(map(find_spec, _LIBRARIES[name])))]
    if "openvino" in found and any(name in _BFLOAT16 for name in extensions()):
        found.append("openvino-bf16")
    return found


def with_eight_bits(spec: NetworkSpec) -> list[str]:
    """Returns the names of the engines for which the cache has a network of 8 bits."""
    return [
        f"{name}-int8"
        for name in ("onnxruntime", "openvino")
        if spec.device.type == "cpu"
        and all(map(find_spec, _LIBRARIES[name]))
        and engine_cache.find(folder_name(spec, FORMAT_OF[name], "int8"))
    ]


def _engine(wanted: str | Path, spec: NetworkSpec) -> Engine:
    name, _, precision = str(wanted).partition("-")
    if name in ENGINES and precision in ("", *PRECISIONS) and not (precision and name not in FORMAT_OF):
        if name == "torch":
            return _torch(spec)
        if name == "cuda_graphs":
            from .torch_engine import CudaGraphEngine

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
    return _read(Manifest.read(folder).format, folder, spec)


def _read(kind: str, folder: Path, spec: NetworkSpec) -> ExportedEngine:
    """Makes the engine that reads an exported folder of that format."""
    if kind == "tensorrt":
        from .tensor_rt import TensorRtEngine

        return TensorRtEngine(folder, spec)
    if kind == "openvino":
        from .open_vino import OpenVinoEngine

        return OpenVinoEngine(folder, spec)
    from .onnx_runtime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(folder, spec)


def _cached(wanted: str, kind: str, precision: str, spec: NetworkSpec) -> Engine:
    """Reads an export from the cache, or makes it if it is missing or can't be read."""
    by_hand = precision == "int8" or kind == "tensorrt"
    again = "has to be made first"
    if folder := engine_cache.find(folder_name(spec, kind, precision)):
        try:
            return _read(kind, folder, spec)
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
    from .export import export

    name = folder_name(spec, kind, precision)
    if (folder := engine_cache.cache_folder()) is not None:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            export(spec, kind, folder / name, precision)
            engine_cache.discard_oldest(f"*-{kind}-{precision}-*")
            return _read(kind, folder / name, spec)
    once = tempfile.TemporaryDirectory()
    export(spec, kind, Path(once.name) / name, precision)
    engine = _read(kind, Path(once.name) / name, spec)
    engine.owned = once
    return engine


class Chosen(NamedTuple):
    """What `choose` found.

    choice: None if there is nothing but torch.
    failed: why engines are left out, by name.
    """

    engine: Engine
    choice: Choice | None
    failed: dict[str, str]


def choose(
    spec: NetworkSpec, reference: Engine | None = None, *, again: bool = False, also: Sequence[str] = ()
) -> Chosen:
    """Chooses the fastest engine that agrees with torch, as remembered or else by a comparison.

    reference: the engine torch, if it is made already.
    again: whether to compare, whatever is remembered.
    also: engines to compare, but not to choose.
    """
    torch = cache(lambda: reference or _torch(spec))  # made only where it is needed
    names = installed(spec)
    if len(names) == 1 and not also:
        return Chosen(torch(), None, {})
    key = machine(spec)
    with engine_cache.choosing():
        known = None if again else engine_cache.remembered(key)
        if known is None or not known.settled or known.engine not in names:
            return _compared(names, also, key, known, spec, torch())
    return _remembered(known, names, spec, torch)


def _remembered(known: Choice, names: Sequence[str], spec: NetworkSpec, torch: Callable[[], Engine]) -> Chosen:
    """Makes the engine that was chosen before. If it fails, takes the next in speed that works."""
    failed: dict[str, str] = {}
    left = {name: time for name, time in known.seconds.items() if name in names}
    name = known.engine
    while name != "torch":
        try:
            engine = _engine(name, spec)
            if _mark(engine) == known.exports.get(name):
                _run_once(engine, spec)  # it was compared with torch when it was chosen
            else:
                check(engine, torch(), spec)
            return Chosen(engine, known, failed)
        except Exception as error:  # whatever a runtime may raise
            _leave_out(name, error, failed)
        del left[name]
        name = fastest(left)
    return Chosen(torch(), known, failed)


def _compared(
    names: Sequence[str],
    also: Sequence[str],
    key: str,
    known: Choice | None,
    spec: NetworkSpec,
    reference: Engine,
) -> Chosen:
    """Compares the engines, and remembers the result together with that of disturbed comparisons before."""
    engines: dict[str, Engine] = {"torch": reference}
    differences: dict[str, float] = {"torch": 0.0}
    failed: dict[str, str] = {}
    may_pass = False
    for name in [*names[1:], *also]:
        try:
            engine = _engine(name, spec)
            differences[name] = check(engine, reference, spec)
            engines[name] = engine
        except Exception as error:  # whatever a runtime may raise
            may_pass = may_pass or not isinstance(error, Disagreement)
            _leave_out(name, error, failed)
    found = compare(engines, spec)
    before = known.seconds if known else {}
    times = {name: min(took, before.get(name, took)) for name, took in found.seconds.items()}
    chosen, now = (fastest({name: some[name] for name in engines if name in names}) for some in (times, found.seconds))
    comparisons = 1 + (known.comparisons if known else 0)
    settled = comparisons >= _COMPARISONS or (found.clear and chosen == now and not may_pass)
    marks = {name: _mark(engine) for name, engine in engines.items()}
    when = datetime.now().astimezone().isoformat(" ", "minutes")
    choice = Choice(chosen, settled, comparisons, times, differences, marks, when)
    _LOG.info("engine %s: %s", chosen, ", ".join(f"{name} {1000 * took:.1f} ms" for name, took in times.items()))
    engine_cache.remember(key, choice)
    return Chosen(engines[chosen], choice, failed)


def fastest(seconds: Mapping[str, float]) -> str:
    """Returns the engine to choose by the seconds for one crop, torch's among them.

    Another library, and bfloat16, must be worth it.
    """
    full = {name: took for name, took in seconds.items() if "-" not in name}
    best = min(full, key=lambda name: full[name])
    if full[best] > _WORTHWHILE * full["torch"]:
        best = "torch"
    rounded = min(seconds, key=lambda name: seconds[name])
    return rounded if seconds[rounded] <= _WORTH_ROUNDING * seconds[best] else best


def _mark(engine: Engine) -> str:
    manifest = getattr(engine, "manifest", None)
    return manifest.mark if isinstance(manifest, Manifest) else ""


def _run_once(engine: Engine, spec: NetworkSpec) -> None:
    """Runs the engine on an empty crop, so that the first frame takes no longer than others. Raises RuntimeError."""
    crops = moved(np.zeros((1, spec.search_size, spec.search_size, 3), np.uint8), spec.device)
    kernels = None
    if spec.proposals:
        kernels = moved(np.zeros((1, *spec.weights.geometry.kernel_shape), np.float32), spec.device)
    with without_gradients(spec.device):
        found = engine.recorded(engine.search)(crops, kernels)
    if not np.isfinite(to_numpy(found.features)).all():
        raise RuntimeError("the features of an empty crop are not finite")


def _leave_out(name: str, error: Exception, failed: dict[str, str]) -> None:
    failed[name] = _line(error)
    _LOG.warning("the engine %s is left out: %s", name, failed[name])


def machine(spec: NetworkSpec) -> str:
    """Describes in one line all that the choice of the fastest engine depends on."""
    gpu = ""
    if spec.device.type == "cuda":
        import torch

        gpu = torch.cuda.get_device_name(spec.device.torch)
    return ", ".join(
        [
            folder_name(spec, "any", "f32"),
            gpu or processor(),
            *(() if gpu else (" ".join(extensions()),)),
            f"{threads()} threads on {available_cores()} of {os.cpu_count()} cores",
            *versions(spec),
        ]
    )


def versions(spec: NetworkSpec) -> list[str]:
    """Returns names and versions of the libraries that ``auto`` chooses from here."""
    names = [name.partition("-")[0] for name in installed(spec)]
    found = []
    for library in dict.fromkeys(library for name in names for library in _LIBRARIES.get(name, ("torch",))):
        with suppress(metadata.PackageNotFoundError):
            found.append(f"{library} {metadata.version(library)}")
    return found


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
