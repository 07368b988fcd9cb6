# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the exported network in ONNX Runtime on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..cores import threads
from .exported import SEARCH, Arrays, ExportedEngine, required
from .network_spec import NetworkSpec


def file_of(graph: str) -> str:
    """Returns the name of a graph's file."""
    return f"{graph}.onnx"


class OnnxRuntimeEngine(ExportedEngine):
    """Runs an exported folder in ONNX Runtime.

    Raises ValueError or FileNotFoundError if the folder or the library can't be used.
    """

    name = "onnxruntime"

    def __init__(self, folder: Path, spec: NetworkSpec) -> None:
        super().__init__(folder, spec)
        self.needs_cpu()
        self._runtime = required("onnxruntime", self.name)
        self._sessions: dict[str, Any] = {SEARCH: self._session(SEARCH)}

    def run(self, graph: str, inputs: Sequence[Arrays], outputs: Sequence[Arrays]) -> None:
        session = self._sessions.get(graph)
        if session is None:
            session = self._sessions[graph] = self._session(graph)
        binding = session.io_binding()
        for one, array in zip(session.get_inputs(), inputs, strict=True):
            binding.bind_cpu_input(one.name, array)
        for one, array in zip(session.get_outputs(), outputs, strict=True):
            binding.bind_output(one.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        session.run_with_iobinding(binding)

    def _session(self, graph: str) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 3
        # Threads that spin between frames would slow down all other work on the machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        file = str(self.folder / file_of(graph))
        return self._runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
