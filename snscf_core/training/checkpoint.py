# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Stores a run in one safetensors file: all tensors and, as JSON in its header, everything else. No pickles."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..model.checkpoints import WeightsError
from ..tensor_files import TensorFileError, read_tensors, write_tensors
from .training_error import TrainingError

FILE = "checkpoint.safetensors"
_VERSION = 1


class Checkpoints:
    """Writes the checkpoint of the run in ``folder`` in the background. The file on disk is complete at any time.

    A killed process leaves the previous checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._thread: threading.Thread | None = None
        self._error: OSError | TensorFileError | None = None

    def write(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Copies the tensors and starts writing; returns as soon as the originals may change.

        Raises TrainingError if the previous checkpoint could not be written.
        """
        self.wait()
        copies = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in tensors.items()}
        header = {"run": json.dumps({**state, "version": _VERSION})}
        self._thread = threading.Thread(target=self._write, args=(copies, header))
        self._thread.start()

    def wait(self) -> None:
        """Waits until the checkpoint is on disk. Raises TrainingError if it could not be written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise TrainingError(f"{self.path} can't be written: {error}") from error

    def _write(self, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
        try:
            write_tensors(self.path, tensors, header)
        except (OSError, TensorFileError) as error:
            self._error = error


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Reads the tensors and the state of the run in the folder; None if it holds no run.

    Raises WeightsError, in one sentence, if the file can't be used.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        tensors, metadata = read_tensors(path)
        state = json.loads(metadata["run"])
    except (OSError, KeyError, ValueError) as error:
        raise WeightsError(f"{path} is no checkpoint of a run: {error}") from error
    if state.get("version") != _VERSION:
        raise WeightsError(f"{path} was written by another version of this program")
    return tensors, state


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Puts ``prefix.`` before every name."""
    return {f"{prefix}.{key}": value for key, value in tensors.items()}


def part(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Selects the tensors whose names begin with ``prefix.``, and removes that prefix."""
    return {key[len(prefix) + 1 :]: value for key, value in tensors.items() if key.startswith(prefix + ".")}


def optimiser_state(optimiser: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
    """Collects the optimiser's tensors, such as momentum, as ``<parameter>/<what>``."""
    return {
        f"{names[parameter]}/{what}": value
        for parameter, values in optimiser.state.items()
        for what, value in values.items()
        if isinstance(value, Tensor)
    }


def restore_optimiser(
    optimiser: torch.optim.Optimizer, names: Mapping[Tensor, str], saved: Mapping[str, Tensor]
) -> None:
    """Restores what ``optimiser_state`` collected."""
    parameters = {name: parameter for parameter, name in names.items()}
    for key, value in saved.items():
        name, what = key.rsplit("/", 1)
        parameter = parameters[name]
        # Fused optimisers need the same memory layout as the parameter's.
        own = torch.empty_like(parameter) if value.shape == parameter.shape else value.to(parameter.device)
        optimiser.state[parameter][what] = own.copy_(value).detach()
