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

from .exported import ExportedEngine, required
from .network_spec import NetworkSpec

GRAPH = "search.plan"


class TensorRtEngine(ExportedEngine):
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
        with torch.cuda.device(spec.device):
            engine = self._runtime.deserialize_cuda_engine((folder / GRAPH).read_bytes())
            if engine is None:
                raise RuntimeError(f"{folder} was built by another TensorRT or for another GPU: export it again")
            self._engine: Any = engine
            self._context: Any = engine.create_execution_context()
        self._names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]

    def run(self, inputs: list[Tensor], outputs: list[Tensor]) -> None:
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
