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
from typing import NamedTuple

from ..cores import available_cores, threads
from ..processor import extensions, processor
from ..requirements import torch_missing
from ..user_folders import expanded
from . import engine_cache
from .agreement import Disagreement, Example, check
from .comparison import compare
from .engine import Engine
from .engine_cache import Choice, folder_name
from .export_advice import export_command, without_torch
from .exported import Agreement, DamagedExport, ExportedEngine, Manifest
from .network_spec import NetworkSpec

ENGINES = ("torch", "cuda_graphs", "onnxruntime", "openvino", "tensorrt")
PRECISIONS = ("fp16", "bf16", "int8")
HELP = (
    f"what runs the network: auto (the fastest that is installed), {', '.join(ENGINES)}, also openvino-bf16, "
    "onnxruntime-int8, openvino-int8 and tensorrt-fp16, or a folder that snscf export wrote"
)
FORMAT_OF = {"onnxruntime": "onnx", "openvino": "openvino", "tensorrt": "tensorrt"}
_WORTHWHILE = 0.95  # share of torch's time; a smaller gain does not justify another library
_WORTH_ROUNDING = 0.9  # share of the time in full precision; a smaller gain does not justify bfloat16
_BFLOAT16 = ("amx_bf16", "avx512_bf16")  # processors without these would compute it more slowly
_COMPARISONS = 3  # most comparisons, if other work disturbs each
_LOG = logging.getLogger(__name__)


def make(wanted: str | Path, spec: NetworkSpec) -> Engine:
    """Makes the engine that ``wanted`` names.

    wanted: a name in ``ENGINES``, also with ``-fp16``, ``-bf16`` or ``-int8``; a folder that `export` wrote; or
        ``auto``, the fastest installed engine.

    Raises ValueError or FileNotFoundError if the engine is not available. If it fails, or disagrees with torch by more
    than `agreement.check` allows, logs a warning and returns torch instead. Where torch is not installed, that is a
    ValueError, too.
    """
    if wanted == "torch":
        return _torch(spec)
    if wanted == "auto":
        return choose(spec).engine
    try:
        engine = _engine(wanted, spec)
        difference(engine, spec)
    except (ValueError, FileNotFoundError):
        raise
    except Exception as error:  # whatever a runtime may raise
        if torch_missing():
            raise ValueError(f"the engine {wanted} failed, and torch can't replace it: {_line(error)}") from error
        _LOG.warning("the engine %s failed, torch runs the network instead: %s", wanted, _line(error))
        return _torch(spec)
    return engine


def _torch(spec: NetworkSpec) -> Engine:
    if reason := torch_missing():
        others = installed(spec)
        raise ValueError(f"use auto or {' or '.join(others)}: {reason}" if others else without_torch(spec))
    from .torch_engine import TorchEngine

    return TorchEngine(spec)


def difference(engine: Engine, spec: NetworkSpec, torch: Engine | None = None) -> float:
    """Returns how much an engine differs from torch, see `agreement.check`. Raises Disagreement.

    An export holds what torch computes, so only an engine without one needs torch. torch: that engine, if it is made
    already.
    """
    if isinstance(engine, ExportedEngine):
        return check(engine, engine.example(), spec)
    return check(engine, Example.of(torch or _torch(spec), spec), spec)


def note_agreement(engine: ExportedEngine, difference: float) -> None:
    """Writes into an export how much its engine differs from torch here. Raises OSError."""
    where = processor() if engine.spec.device.type == "cpu" else _gpu(engine.spec)
    library = _version(engine.name.partition("-")[0])
    found = Agreement(engine=engine.name, library=library, processor=where, difference=difference)
    engine.manifest = engine.manifest.noted(engine.folder, found)


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
    found = [] if torch_missing() else ["torch"]
    if spec.device.type == "cpu":
        found += [name for name in ("onnxruntime", "openvino") if _runs_here(name, "f32", spec)]
        if any(name in _BFLOAT16 for name in extensions()) and _runs_here("openvino", "bf16", spec):
            found.append("openvino-bf16")
    return found


def _runs_here(name: str, precision: str, spec: NetworkSpec) -> bool:
    """Says whether a runtime is installed, and its export is in the cache or can be made."""
    if find_spec(name) is None:
        return False
    makes = all(map(find_spec, ("torch", "onnx")))
    return makes or engine_cache.find(folder_name(spec, FORMAT_OF[name], precision)) is not None


def with_eight_bits(spec: NetworkSpec) -> list[str]:
    """Returns the names of the engines for which the cache has a network of 8 bits."""
    return [
        f"{name}-int8"
        for name in ("onnxruntime", "openvino")
        if spec.device.type == "cpu"
        and find_spec(name)
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
        if find_spec(name) is None:
            raise ValueError(f"the engine {name} needs {name}, which is not installed: pip install {name}")
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
    if torch_missing():
        raise ValueError(f"the engine {wanted} {again}. {without_torch(spec, kind, precision)}")
    if by_hand:
        raise ValueError(f"the engine {wanted} {again}: {export_command(spec, kind, precision)}")
    if find_spec("onnx") is None:
        raise ValueError(f"the engine {wanted} {again}, which needs onnx: pip install onnx")
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
            engine = _read(kind, folder / name, spec)
            note_agreement(engine, difference(engine, spec))
            return engine
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
    if names in ([], ["torch"]) and not also:
        return Chosen(torch(), None, {})
    key = machine(spec)
    with engine_cache.choosing():
        known = None if again else engine_cache.remembered(key)
        if known is None or not known.settled or known.engine not in names:
            return _compared(names, also, key, known, spec, torch)
    return _remembered(known, names, spec, torch)


def _remembered(known: Choice, names: Sequence[str], spec: NetworkSpec, torch: Callable[[], Engine]) -> Chosen:
    """Makes the engine that was chosen before. If it fails, takes the next in speed that works."""
    failed: dict[str, str] = {}
    left = {name: time for name, time in known.seconds.items() if name in names}
    name = known.engine
    while name != "torch":
        try:
            engine = _engine(name, spec)
            difference(engine, spec)
            return Chosen(engine, known, failed)
        except Exception as error:  # whatever a runtime may raise
            _leave_out(name, error, failed)
        del left[name]
        if not left:
            raise _nothing_works(failed)
        name = fastest(left)
    return Chosen(torch(), known, failed)


def _compared(
    names: Sequence[str],
    also: Sequence[str],
    key: str,
    known: Choice | None,
    spec: NetworkSpec,
    torch: Callable[[], Engine],
) -> Chosen:
    """Compares the engines, and remembers the result together with that of disturbed comparisons before."""
    engines: dict[str, Engine] = {"torch": torch()} if "torch" in names else {}
    differences = dict.fromkeys(engines, 0.0)
    failed: dict[str, str] = {}
    may_pass = False
    for name in [*names, *also]:
        if name in engines:
            continue
        try:
            engine = _engine(name, spec)
            differences[name] = difference(engine, spec, engines.get("torch"))
            engines[name] = engine
        except Exception as error:  # whatever a runtime may raise
            may_pass = may_pass or not isinstance(error, Disagreement)
            _leave_out(name, error, failed)
    if not engines:
        raise _nothing_works(failed)
    found = compare(engines, spec)
    before = known.seconds if known else {}
    times = {name: min(took, before.get(name, took)) for name, took in found.seconds.items()}
    chosen, now = (fastest({name: some[name] for name in engines if name in names}) for some in (times, found.seconds))
    comparisons = 1 + (known.comparisons if known else 0)
    settled = comparisons >= _COMPARISONS or (found.clear and chosen == now and not may_pass)
    when = datetime.now().astimezone().isoformat(" ", "minutes")
    choice = Choice(chosen, settled, comparisons, times, differences, when)
    _LOG.info("engine %s: %s", chosen, ", ".join(f"{name} {1000 * took:.1f} ms" for name, took in times.items()))
    engine_cache.remember(key, choice)
    return Chosen(engines[chosen], choice, failed)


def fastest(seconds: Mapping[str, float]) -> str:
    """Returns the engine to choose by the seconds for one crop, at least one.

    Another library than torch, and bfloat16, must be worth it.
    """
    full = {name: took for name, took in seconds.items() if "-" not in name} or seconds
    best = min(full, key=lambda name: full[name])
    if "torch" in full and full[best] > _WORTHWHILE * full["torch"]:
        best = "torch"
    rounded = min(seconds, key=lambda name: seconds[name])
    return rounded if seconds[rounded] <= _WORTH_ROUNDING * seconds[best] else best


def _nothing_works(failed: Mapping[str, str]) -> ValueError:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
    return ValueError(f"no engine works here ({reasons}). {torch_missing()}")


def _leave_out(name: str, error: Exception, failed: dict[str, str]) -> None:
    failed[name] = _line(error)
    _LOG.warning("the engine %s is left out: %s", name, failed[name])


def machine(spec: NetworkSpec) -> str:
    """Describes in one line all that the choice of the fastest engine depends on."""
    gpu = _gpu(spec) if spec.device.type == "cuda" else ""
    return ", ".join(
        [
            folder_name(spec, "any", "f32"),
            gpu or processor(),
            *(() if gpu else (" ".join(extensions()),)),
            f"{threads()} threads on {available_cores()} of {os.cpu_count()} cores",
            *installed(spec),
            *versions(spec),
        ]
    )


def _gpu(spec: NetworkSpec) -> str:
    import torch

    return torch.cuda.get_device_name(spec.device.torch)


def versions(spec: NetworkSpec) -> list[str]:
    """Returns names and versions of the libraries that ``auto`` chooses from here."""
    names = [name.partition("-")[0] for name in installed(spec)]
    libraries = dict.fromkeys("torch" if name == "cuda_graphs" else name for name in names)
    return [_version(library) for library in libraries]


def _version(library: str) -> str:
    """Returns the name of a library, and its version if that is known."""
    try:
        return f"{library} {metadata.version(library)}"
    except metadata.PackageNotFoundError:  # a package of the operating system need not say
        return library


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
