# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Describes folders with an exported network, and runs them: the base class of all engines that read such folders."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..model.backbones import cells
from .graph import SearchOutput, output
from .network_spec import NetworkSpec
from .recording import Result, Step

MANIFEST = "engine.json"
Batch = tuple[list[Tensor], list[Tensor]]  # inputs and outputs of one run
VERSION = 3  # raise it when older exports can't be used any more, or are slower


@dataclass(frozen=True)
class Manifest:
    """Describes an exported network.

    format: ``onnx``, ``openvino`` or ``tensorrt``.
    precision: ``f32``, ``fp16``, ``bf16`` or ``int8``.
    weights: sha256 of each file.
    levels, proposals, search_size: see `NetworkSpec`.
    batch: crops in one run.
    made_with: versions of the libraries and, for int8, the number of calibration frames.
    """

    format: str
    precision: str
    model: str
    weights: tuple[str, ...]
    levels: tuple[int, ...]
    proposals: bool
    search_size: int
    batch: int
    made_with: dict[str, str]
    version: int = VERSION

    def write(self, folder: Path) -> None:
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Reads a folder's manifest. Raises FileNotFoundError or ValueError if it holds no exported network."""
        file = folder / MANIFEST
        if not file.is_file():
            raise FileNotFoundError(f"{folder} holds no exported network: there is no {MANIFEST}")
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            version = values["version"]
            if version == VERSION:
                values["weights"], values["levels"] = tuple(values["weights"]), tuple(values["levels"])
                return cls(**values)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} can't be read: {error}") from error
        raise ValueError(f"{folder} was exported by another version of snscf ({version}): export it again")

    def check(self, folder: Path, spec: NetworkSpec) -> None:
        """Raises ValueError if the export does not match the spec, for example if it was made from other weights."""
        if self.weights != spec.digests:
            raise ValueError(
                f"{folder} was exported from other weights of {self.model} (sha256 {self.weights[0][:12]}...) than the "
                f"tracker's {spec.weights.files[0]} ({spec.digests[0][:12]}...): export it again"
            )
        if self.search_size != spec.search_size:
            raise ValueError(
                f"{folder} was exported for search crops of {self.search_size} pixels, the tracker's have "
                f"{spec.search_size}: export it with --search-size {spec.search_size}"
            )
        if spec.proposals and not self.proposals:
            raise ValueError(f"{folder} was exported without the heads: export it for another mode")
        if self.levels != spec.levels:
            raise ValueError(f"{folder} was exported for the levels {self.levels}, the tracker needs {spec.levels}")


class ExportedEngine:
    """Runs a graph of fixed batch size as often as the targets need; subclasses run one batch."""

    name = ""
    threads = True

    def __init__(self, folder: Path, spec: NetworkSpec) -> None:
        self.manifest = Manifest.read(folder)
        self.manifest.check(folder, spec)
        self.spec = spec
        self._channels = sum(spec.sections)
        if self.manifest.precision != "f32":
            self.name = f"{self.name}-{self.manifest.precision}"

    def search(self, crops: Tensor, kernels: Tensor | None) -> SearchOutput:
        """See `Engine`."""
        count, batch = len(crops), self.manifest.batch
        total = -(-count // batch) * batch
        device = crops.device
        kernels = self._kernels(kernels, crops)
        if total > count:
            crops = torch.cat([crops, crops[-1:].expand(total - count, -1, -1, -1)])
            if kernels is not None:
                kernels = torch.cat([kernels, kernels[-1:].expand(total - count, *kernels.shape[1:])])
        grid = cells(self.spec.search_size)
        features = torch.empty(total, self._channels, grid, grid, device=device)
        proposals = None
        if kernels is not None:
            network = self.spec.network
            places = network.places(self.spec.search_size)
            proposals = torch.empty(total, 5 * len(network.anchors), places, places, device=device)
        inputs: list[Tensor] = [part.contiguous() for part in (crops, kernels) if part is not None]
        outputs = [part for part in (features, proposals) if part is not None]
        rows = [slice(start, start + batch) for start in range(0, total, batch)]
        self.run_all([([part[some] for part in inputs], [part[some] for part in outputs]) for some in rows])
        if not self.spec.proposals or proposals is None:
            return output(features[:count], None)
        return output(features[:count], proposals[:count])

    def recorded(self, step: Step[Result]) -> Step[Result]:
        """See `Engine`."""
        return step

    def prepare(self) -> None:
        """See `Engine`."""

    def _kernels(self, kernels: Tensor | None, crops: Tensor) -> Tensor | None:
        """Returns the given kernels, or zeros for a graph whose heads are not used."""
        if kernels is not None or not self.manifest.proposals:
            return kernels
        return torch.zeros(len(crops), *self.spec.network.kernel_shape, device=crops.device)

    def run_all(self, batches: Sequence[Batch]) -> None:
        """Runs all batches, one after the other."""
        for inputs, outputs in batches:
            self.run(inputs, outputs)

    def run(self, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        """Runs one batch.

        inputs: crops and, if the graph has heads, kernels.
        outputs: tensors to fill with features and, if the graph has heads, proposals.
        """
        raise NotImplementedError


def required(module: str, engine: str) -> Any:
    """Imports an optional library. Raises ValueError if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"the engine {engine} needs {module}, which is not installed ({error})") from error
