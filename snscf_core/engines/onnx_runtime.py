# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the exported network in ONNX Runtime on a CPU."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from .exported import ExportedEngine, required
from .network_spec import NetworkSpec

GRAPH = "search.onnx"


class OnnxRuntimeEngine(ExportedEngine):
    """Runs an exported folder in ONNX Runtime.

    Raises ValueError or FileNotFoundError if the folder or the library can't be used.
    """

    name = "onnxruntime"

    def __init__(self, folder: Path, spec: NetworkSpec) -> None:
        super().__init__(folder, spec)
        if spec.device.type != "cpu":
            raise ValueError(f"the engine onnxruntime runs on the CPU, the tracker is on {spec.device}")
        runtime = required("onnxruntime", self.name)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        # Threads that spin between frames would slow down all other work on the machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = runtime.InferenceSession(str(folder / GRAPH), options, providers=["CPUExecutionProvider"])
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._outputs = [one.name for one in self._session.get_outputs()]

    def run(self, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        binding = self._session.io_binding()
        for name, tensor in zip(self._inputs, inputs, strict=True):
            binding.bind_cpu_input(name, tensor.numpy())
        for name, tensor in zip(self._outputs, outputs, strict=True):
            binding.bind_output(name, "cpu", 0, tensor.numpy().dtype, tuple(tensor.shape), tensor.data_ptr())
        self._session.run_with_iobinding(binding)
