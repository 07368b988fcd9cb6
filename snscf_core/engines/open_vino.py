"""The exported network in OpenVINO, on a CPU."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from .exported import ExportedEngine, required
from .subject import Subject

GRAPH = "search.xml"


class OpenVinoEngine(ExportedEngine):
    """Raises ValueError or FileNotFoundError if the folder or the library can't be used."""

    name = "openvino"

    def __init__(self, folder: Path, subject: Subject) -> None:
        super().__init__(folder, subject)
        if subject.device.type != "cpu":
            raise ValueError(f"the engine openvino runs on the CPU, the tracker is on {subject.device}")
        self._openvino = required("openvino", self.name)
        core = self._openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            # By itself it takes bfloat16 where the CPU has it, which is neither as exact nor always faster.
            "INFERENCE_PRECISION_HINT": "bf16" if self.manifest.precision == "bf16" else "f32",
        }
        self._request = core.compile_model(str(folder / GRAPH), "CPU", settings).create_infer_request()

    def run(self, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        for index, tensor in enumerate(inputs):
            self._request.set_input_tensor(index, self._openvino.Tensor(tensor.numpy(), shared_memory=True))
        for index, tensor in enumerate(outputs):
            self._request.set_output_tensor(index, self._openvino.Tensor(tensor.numpy(), shared_memory=True))
        self._request.infer()
