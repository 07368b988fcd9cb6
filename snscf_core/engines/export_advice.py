# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Says how to export a network, here or on a computer with PyTorch."""

from __future__ import annotations

from importlib.util import find_spec

from ..crops import SEARCH_SIZE
from ..model import checkpoints
from ..model.geometry import MODELS
from ..requirements import torch_missing
from .engine_cache import cache_folder, folder_name
from .network_spec import NetworkSpec

_RUNTIMES = {"onnxruntime": "onnx", "openvino": "openvino"}  # those for CPUs, and the format that each reads


def export_command(spec: NetworkSpec, kind: str, precision: str) -> str:
    """Returns the command that exports the network in a format and a precision."""
    parts = ["snscf export --format", kind]
    if precision != "f32":
        parts += ["--precision", precision]
    parts += _model(spec)
    if not spec.proposals and spec.weights.trained:
        parts += ["--mode correlation_filter"]
    if spec.search_size != SEARCH_SIZE:
        parts += ["--search-size", str(spec.search_size)]
    if precision == "int8":
        parts += ["--calibrate SEQUENCES_OR_VIDEO"]
    return " ".join(parts)


def without_torch(spec: NetworkSpec, kind: str = "", precision: str = "f32") -> str:
    """Says how a computer without PyTorch gets its network.

    kind: the format to export; by default that of the first runtime that is installed.
    """
    runtimes = [runtime for runtime in _RUNTIMES if find_spec(runtime) and kind in ("", _RUNTIMES[runtime])]
    if not runtimes:
        return f"{torch_missing()}. Without PyTorch, install onnxruntime, and export the network elsewhere"
    kind = _RUNTIMES[runtimes[0]]
    name, cache = folder_name(spec, kind, precision), cache_folder()
    place = " here" if cache is None else f" to {cache / name} here, or elsewhere"
    return (
        f"{torch_missing()}. Without PyTorch, the network must have been exported for {runtimes[0]}: on a computer "
        f"with PyTorch and the same weights run '{export_command(spec, kind, precision)} --output {name}', and copy "
        f"that folder{place} and give its path as the engine"
    )


def _model(spec: NetworkSpec) -> list[str]:
    """Returns the option that names the network, unless it is the default one."""
    weights = spec.weights
    try:
        named: object = weights.model if checkpoints.find(weights.model) == weights.files else weights.files[0]
    except checkpoints.WeightsError:
        named = weights.files[0]
    return [] if named == MODELS[0] else ["--model", str(named)]
