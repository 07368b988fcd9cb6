# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the exported network in TensorRT on an NVIDIA GPU.

A plan works only with the GPU and the TensorRT version that it was built with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..arrays import Array
from ..model.geometry import cells
from .exported import ExportedEngine, required
from .network_spec import NetworkSpec
from .search_output import SearchOutput, output
from .torch_engine import TorchTemplates

GRAPH = "search.plan"


class TensorRtEngine(TorchTemplates, ExportedEngine):
    """Runs an exported folder in TensorRT.

    Raises ValueError or FileNotFoundError if the folder, the library or the device can't be used.
    """

    name = "tensorrt"
    threads = False

    def __init__(self, folder: Path, spec: NetworkSpec) -> None:
        super().__init__(folder, spec)
        if spec.device.type != "cuda":
            raise ValueError(f"the engine tensorrt needs a CUDA device, the tracker is on {spec.device}")
        tensorrt = required("tensorrt", self.name)
        self._runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        with torch.cuda.device(spec.device.torch):
            engine = self._runtime.deserialize_cuda_engine((folder / GRAPH).read_bytes())
            if engine is None:
                raise RuntimeError(f"{folder} was built by another TensorRT or for another GPU: export it again")
            self._engine: Any = engine
            self._context: Any = engine.create_execution_context()
        self._names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]

    def search(self, crops: Array, kernels: Array | None) -> SearchOutput:
        """See `Engine`."""
        assert isinstance(crops, Tensor) and (kernels is None or isinstance(kernels, Tensor))
        count, batch, geometry = len(crops), self.manifest.batch, self.spec.weights.geometry
        total = -(-count // batch) * batch
        if kernels is None and self.manifest.proposals:  # the heads are not used
            kernels = crops.new_zeros(count, *geometry.kernel_shape, dtype=torch.float32)
        given = [part.contiguous() for part in (crops, kernels) if part is not None]
        if total > count:
            given = [torch.cat([part, part[-1:].expand(total - count, *part.shape[1:])]) for part in given]
        grid, places = cells(self.spec.search_size), geometry.places(self.spec.search_size)
        shapes = [(self._channels, grid, grid)]
        if kernels is not None:
            shapes.append((5 * geometry.proposals_per_cell, places, places))
        outputs = [crops.new_empty(total, *shape, dtype=torch.float32) for shape in shapes]
        for start in range(0, total, batch):
            some = slice(start, start + batch)
            self._run([part[some] for part in given], [part[some] for part in outputs])
        return output(outputs[0][:count], outputs[1][:count] if self.spec.proposals else None)

    def _run(self, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        tensors = dict(zip(("crops", "kernels"), inputs, strict=False))
        tensors |= dict(zip(("features", "proposals"), outputs, strict=False))
        for name in self._names:
            self._context.set_tensor_address(name, tensors[name].data_ptr())
        if not self._context.execute_async_v3(torch.cuda.current_stream(inputs[0].device).cuda_stream):
            raise RuntimeError("TensorRT could not run the network")


def build(graph: Path, plan: Path, precision: str) -> str:
    """Builds the plan of an ONNX file for the current GPU and returns TensorRT's version. This takes minutes.

    Raises ValueError if TensorRT is not installed or can't build the plan.
    """
    tensorrt = required("tensorrt", "tensorrt")
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    flags = getattr(tensorrt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    network = builder.create_network(0 if flags is None else 1 << int(flags))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        raise ValueError(f"TensorRT can't read the network: {parser.get_error(0)}")
    config = builder.create_builder_config()
    if precision != "f32":  # for int8, the graph already contains the ranges
        flag = getattr(tensorrt.BuilderFlag, precision.upper(), None)
        if flag is None:
            raise ValueError(f"TensorRT {tensorrt.__version__} can't build a network in {precision}")
        config.set_flag(flag)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise ValueError("TensorRT could not build the network for this GPU")
    plan.write_bytes(built)
    return str(tensorrt.__version__)
