"""The exported network in OpenVINO, on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from .exported import ExportedEngine, required
from .subject import Subject

GRAPH = "search.xml"
_T = TypeVar("_T")


def apart(work: Callable[[], _T]) -> _T:
    """Does it in a thread of its own, and waits.

    OpenVINO's CPU plugin gives the thread that loads it another stack for signals, and frees that when it is unloaded,
    from whatever thread: if that was the main thread's, the next signal to it crashes the process.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


@cache
def core() -> Any:
    """The process's one ``openvino.Core``, with the CPU plugin loaded."""

    def load() -> Any:
        made = required("openvino", "openvino").Core()
        made.get_property("CPU", "FULL_DEVICE_NAME")
        return made

    return apart(load)


class OpenVinoEngine(ExportedEngine):
    """Raises ValueError or FileNotFoundError if the folder or the library can't be used."""

    name = "openvino"

    def __init__(self, folder: Path, subject: Subject) -> None:
        super().__init__(folder, subject)
        if subject.device.type != "cpu":
            raise ValueError(f"the engine openvino runs on the CPU, the tracker is on {subject.device}")
        self._openvino = required("openvino", self.name)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            # By itself it ties each process to the same first cores.
            "ENABLE_CPU_PINNING": False,
            # By itself it takes bfloat16 where the CPU has it, which is neither as exact nor always faster.
            "INFERENCE_PRECISION_HINT": "bf16" if self.manifest.precision == "bf16" else "f32",
        }
        self._request = core().compile_model(str(folder / GRAPH), "CPU", settings).create_infer_request()

    def run(self, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        for index, tensor in enumerate(inputs):
            self._request.set_input_tensor(index, self._openvino.Tensor(tensor.numpy(), shared_memory=True))
        for index, tensor in enumerate(outputs):
            self._request.set_output_tensor(index, self._openvino.Tensor(tensor.numpy(), shared_memory=True))
        self._request.infer()
