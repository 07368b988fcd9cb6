# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Describes folders with an exported network, and runs them: the base class of all engines that read such folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from ..arrays import Array, is_tensor, to_numpy, to_tensor
from ..files import flush, write_file
from ..model.checkpoints import sha256
from ..model.geometry import TEMPLATE_CELLS, cells
from ..optional_import import import_optional
from .agreement import Example
from .network_spec import NetworkSpec
from .search_output import SearchOutput, output
from .step import Result, Step

MANIFEST = "engine.json"
SEARCH, TEMPLATE, KERNELS = "search", "template", "kernels"  # the graphs of an export
Arrays = npt.NDArray[Any]
Batch = tuple[list[Arrays], list[Arrays]]  # inputs and outputs of one run
VERSION = 5  # raise it when older exports can't be used any more, or are slower


class DamagedExport(ValueError):
    """Reports a file of an export that is not as it was written."""


class FileRecord(TypedDict):
    """Describes a written file, by which damage is noticed."""

    bytes: int
    sha256: str


class Agreement(TypedDict):
    """Says how well an engine agreed with torch where the export was made.

    engine: its name.
    library: name and version of the library that ran it.
    processor: on which it ran.
    difference: largest relative difference, see `agreement.check`.
    """

    engine: str
    library: str
    processor: str
    difference: float


@dataclass(frozen=True)
class Manifest:
    """Describes an exported network.

    format: ``onnx``, ``openvino`` or ``tensorrt``.
    precision: ``f32``, ``fp16``, ``bf16`` or ``int8``.
    weights: sha256 of each file.
    levels, proposals, search_size: see `NetworkSpec`.
    batch: crops in one run.
    made_with: versions of the libraries and, for int8, the number of calibration frames.
    files: every other file of the folder, by name.
    agreement: None until the export has been compared with torch.
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
    files: dict[str, FileRecord] = field(default_factory=dict)
    agreement: Agreement | None = None

    def write(self, folder: Path) -> Manifest:
        """Writes the manifest of the folder's files, all of which are on the disk afterwards, and returns it."""
        files: dict[str, FileRecord] = {}
        for file in sorted(path for path in folder.iterdir() if path.is_file()):
            flush(file)
            files[file.name] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
        written = replace(self, files=files)
        written._store(folder)
        return written

    def noted(self, folder: Path, agreement: Agreement) -> Manifest:
        """Writes into the folder how well its export agrees with torch, and returns the manifest. Raises OSError."""
        written = replace(self, agreement=agreement)
        written._store(folder)
        return written

    def _store(self, folder: Path) -> None:
        write_file(folder / MANIFEST, json.dumps(asdict(self), indent=1) + "\n")
        flush(folder)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Reads a folder's manifest.

        Raises FileNotFoundError if it holds no exported network, DamagedExport if a file is not as it was written, and
        ValueError if another version wrote it.
        """
        file = folder / MANIFEST
        if not file.is_file():
            raise FileNotFoundError(f"{folder} holds no exported network: there is no {MANIFEST}")
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            version = values["version"]
            if version == VERSION:
                values["weights"], values["levels"] = tuple(values["weights"]), tuple(values["levels"])
                manifest = cls(**values)
                manifest._verify(folder)
                return manifest
        except DamagedExport:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedExport(f"{file} can't be read: {error}") from error
        raise ValueError(f"{folder} was exported by another version of snscf ({version}): export it again")

    def _verify(self, folder: Path) -> None:
        for name, record in self.files.items():
            file = folder / name
            size = file.stat().st_size if file.is_file() else 0
            if size != record["bytes"]:
                raise DamagedExport(f"{file} is damaged: it has {size} of {record['bytes']} bytes")
            if sha256(file) != record["sha256"]:
                raise DamagedExport(f"{file} is damaged: its content is not what was written")

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
    """Runs a graph of fixed batch size as often as the targets need; subclasses run one batch.

    folder: holds the graphs ``SEARCH`` and, with the heads, ``TEMPLATE`` and ``KERNELS``.
    """

    name = ""
    threads = True

    def __init__(self, folder: Path, spec: NetworkSpec) -> None:
        self.manifest = Manifest.read(folder)
        self.manifest.check(folder, spec)
        self.folder, self.spec = folder, spec
        self.owned: object = None  # a temporary folder that lives as long as the engine
        self._channels = sum(spec.sections)
        if self.manifest.precision != "f32":
            self.name = f"{self.name}-{self.manifest.precision}"

    def example(self) -> Example:
        """Reads the example that the export holds, with what torch computed from it."""
        return Example.read(self.folder)

    def needs_cpu(self) -> None:
        """Raises ValueError if the tracker is not on the CPU."""
        if self.spec.device.type != "cpu":
            raise ValueError(f"the engine {self.name} runs on the CPU, the tracker is on {self.spec.device}")

    def search(self, crops: Array, kernels: Array | None) -> SearchOutput:
        """See `Engine`."""
        found = self._searched(to_numpy(crops), None if kernels is None else to_numpy(kernels))
        if not is_tensor(crops):
            return found
        return SearchOutput(*(None if part is None else to_tensor(part) for part in found))  # type: ignore[arg-type]

    def _searched(self, crops: Arrays, kernels: Arrays | None) -> SearchOutput:
        count, batch = len(crops), self.manifest.batch
        total = -(-count // batch) * batch
        kernels = self._kernels(kernels, count)
        given = [np.ascontiguousarray(part) for part in (crops, kernels) if part is not None]
        if total > count:
            given = [np.concatenate([part, np.repeat(part[-1:], total - count, 0)]) for part in given]
        grid = cells(self.spec.search_size)
        outputs = [np.empty((total, self._channels, grid, grid), np.float32)]
        if kernels is not None:
            geometry = self.spec.weights.geometry
            places = geometry.places(self.spec.search_size)
            outputs.append(np.empty((total, 5 * geometry.proposals_per_cell, places, places), np.float32))
        rows = [slice(start, start + batch) for start in range(0, total, batch)]
        self.run_all([([part[some] for part in given], [part[some] for part in outputs]) for some in rows])
        features, proposals = outputs[0][:count], outputs[1][:count] if self.spec.proposals else None
        return output(features, proposals)

    def template(self, crops: Array) -> list[Array]:
        """See `Engine`."""
        geometry = self.spec.weights.geometry
        shape = len(self.spec.levels), geometry.channels, TEMPLATE_CELLS, TEMPLATE_CELLS
        found = np.empty((len(crops), *shape), np.float32)
        self._run_each(TEMPLATE, to_numpy(crops), found)
        return [found[:, level] for level in range(len(self.spec.levels))]

    def kernels(self, template: Sequence[Array]) -> Array:
        """See `Engine`."""
        levels = np.stack([to_numpy(level) for level in template], 1)
        found = np.empty((len(levels), *self.spec.weights.geometry.kernel_shape), np.float32)
        self._run_each(KERNELS, levels, found)
        return found

    def _run_each(self, graph: str, given: Arrays, found: Arrays) -> None:
        for index in range(len(given)):
            row = slice(index, index + 1)
            self.run(graph, [np.ascontiguousarray(given[row])], [found[row]])

    def recorded(self, step: Step[Result]) -> Step[Result]:
        """See `Engine`."""
        return step

    def prepare(self) -> None:
        """See `Engine`."""

    def _kernels(self, kernels: Arrays | None, count: int) -> Arrays | None:
        """Returns the given kernels, or zeros for a graph whose heads are not used."""
        if kernels is not None or not self.manifest.proposals:
            return kernels
        return np.zeros((count, *self.spec.weights.geometry.kernel_shape), np.float32)

    def run_all(self, batches: Sequence[Batch]) -> None:
        """Runs all batches of the graph ``SEARCH``, one after the other."""
        for inputs, outputs in batches:
            self.run(SEARCH, inputs, outputs)

    def run(self, graph: str, inputs: Sequence[Arrays], outputs: Sequence[Arrays]) -> None:
        """Runs one batch of a graph.

        inputs: for ``SEARCH`` crops and, if it has heads, kernels; for the others, their only input.
        outputs: arrays to fill: for ``SEARCH`` with features and, if it has heads, proposals.
        """
        raise NotImplementedError


def required(module: str, engine: str) -> Any:
    """Imports an optional library. Raises ValueError if it is not installed."""
    try:
        return import_optional(module)
    except ImportError as error:
        raise ValueError(f"the engine {engine} needs {module}, which is not installed ({error})") from error
