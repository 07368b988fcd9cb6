# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the exported network in OpenVINO on a CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..cores import threads
from .exported import SEARCH, Arrays, Batch, ExportedEngine, required
from .network_spec import NetworkSpec

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


def file_of(graph: str) -> str:
    """Returns the name of a graph's file."""
    return f"{graph}.xml"


def apart(work: Callable[[], _T]) -> _T:
    """Runs ``work`` in a separate thread and returns its result.

    OpenVINO's CPU plugin replaces the signal stack of the thread that loads it. It frees that stack when it is unloaded
    from any thread. If the main thread had loaded it, the next signal to the main thread would crash the process.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


@cache
def core() -> Any:
    """Returns the ``openvino.Core`` that the whole process shares, with the CPU plugin loaded."""

    def load() -> Any:
        made = required("openvino", "openvino").Core()
        made.get_property("CPU", "FULL_DEVICE_NAME")
        return made

    return apart(load)


class OpenVinoEngine(ExportedEngine):
    """Runs an exported folder in OpenVINO.

    Raises ValueError or FileNotFoundError if the folder or the library can't be used.
    """

    name = "openvino"

    def __init__(self, folder: Path, spec: NetworkSpec) -> None:
        super().__init__(folder, spec)
        self.needs_cpu()
        self._openvino = required("openvino", self.name)
        self._threads = threads()
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self._threads,
            # By default, OpenVINO pins every process to the same first cores.
            "ENABLE_CPU_PINNING": False,
            # By default, OpenVINO uses bfloat16 if the CPU has it, which is less exact and not always faster.
            "INFERENCE_PRECISION_HINT": "bf16" if self.manifest.precision == "bf16" else "f32",
        }
        self._model = core().read_model(str(folder / file_of(SEARCH)))
        self._compiled = core().compile_model(self._model, "CPU", self._settings)
        self._requests = {SEARCH: self._compiled.create_infer_request()}
        self._pairs: Future[list[Any]] | None = None

    def run(self, graph: str, inputs: Sequence[Arrays], outputs: Sequence[Arrays]) -> None:
        request = self._requests.get(graph)
        if request is None:  # the graphs of templates are exact in all precisions
            settings = {**self._settings, "INFERENCE_PRECISION_HINT": "f32"}
            compiled = core().compile_model(str(self.folder / file_of(graph)), "CPU", settings)
            request = self._requests[graph] = compiled.create_infer_request()
        self._prepare(request, inputs, outputs)
        request.infer()

    def run_all(self, batches: Sequence[Batch]) -> None:
        """Runs two batches at a time: with half of the threads each, they waste less time waiting."""
        pair = self._pair() if len(batches) > 1 and self._threads > 1 else []
        while pair and len(batches) > 1:
            for request, batch in zip(pair, batches, strict=False):
                self._prepare(request, *batch)
            with ExitStack() as stack:  # on errors too, no request may go on writing into memory that is freed
                for request in pair:
                    stack.callback(request.wait)
                    request.start_async()
            batches = batches[len(pair) :]
        super().run_all(batches)

    def prepare(self) -> None:
        """See `Engine`."""
        if self._threads > 1:
            self._started().result()

    def _pair(self) -> list[Any]:
        """Returns two requests that run side by side, or an empty list until a background thread has made them."""
        pair = self._started()
        return pair.result() if pair.done() else []

    def _started(self) -> Future[list[Any]]:
        if self._pairs is None:
            worker = ThreadPoolExecutor(1)
            try:
                self._pairs = worker.submit(self._side_by_side)
            except RuntimeError as error:  # no thread could be started
                _LOG.warning("several targets are run one after the other: %s", error)
                self._pairs = Future()
                self._pairs.set_result([])
            worker.shutdown(wait=False)
        return self._pairs

    def _side_by_side(self) -> list[Any]:
        """Makes two requests that run side by side; this takes about a second.

        Returns an empty list if their results differ in any bit from those of the single request, because results must
        not depend on when the two are ready.
        """
        settings = {**self._settings, "PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": 2}
        try:
            model = core().compile_model(self._model, "CPU", settings)
            pair = [model.create_infer_request() for _ in range(2)]
            given = self._random_inputs()
            results = []
            for request in (self._compiled.create_infer_request(), *pair):
                request.infer(given)
                results.append([request.get_output_tensor(index).data.copy() for index in range(len(model.outputs))])
        except Exception as error:  # for example, too little memory
            _LOG.warning("several targets are run one after the other: %s", error)
            return []
        same = all(np.array_equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))
        if not same:
            _LOG.info("several targets are run one after the other: side by side rounds differently on this processor")
        return pair if same else []

    def _random_inputs(self) -> list[Arrays]:
        """Returns crops and, if the graph has heads, kernels."""
        random, batch, side = np.random.default_rng(0), self.manifest.batch, self.spec.search_size
        given: list[Arrays] = [random.integers(0, 256, (batch, side, side, 3), np.uint8)]
        if self.manifest.proposals:
            shape = batch, *self.spec.weights.geometry.kernel_shape
            given.append(random.standard_normal(shape, np.float32))
        return given

    def _prepare(self, request: Any, inputs: Sequence[Arrays], outputs: Sequence[Arrays]) -> None:
        for index, array in enumerate(inputs):
            request.set_input_tensor(index, self._openvino.Tensor(array, shared_memory=True))
        for index, array in enumerate(outputs):
            request.set_output_tensor(index, self._openvino.Tensor(array, shared_memory=True))
