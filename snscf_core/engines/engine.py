# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Defines what every engine has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..arrays import Array
from .search_output import SearchOutput
from .step import Result, Step


class Engine(Protocol):
    """Runs the part of the network that is needed on every frame."""

    @property
    def name(self) -> str:
        """One of `engine_selection.ENGINES`, followed by ``-fp16``, ``-bf16`` or ``-int8`` if that is its precision."""
        ...

    @property
    def threads(self) -> bool:
        """Whether the engine uses its own thread pool instead of torch's."""
        ...

    def search(self, crops: Array, kernels: Array | None) -> SearchOutput:
        """Runs the network on N search crops.

        On a CPU all are NumPy arrays, else tensors on the tracker's device. The next call may overwrite the result.

        crops: N x S x S x 3 uint8 BGR.
        kernels: N x `Geometry.kernel_shape`; None without the heads.
        """
        ...

    def template(self, crops: Array) -> list[Array]:
        """Returns the template features of N crops, N x 127 x 127 x 3 uint8 BGR: for each level N x C x 7 x 7."""
        ...

    def kernels(self, template: Sequence[Array]) -> Array:
        """Returns the heads' kernels for template features, N x `Geometry.kernel_shape`."""
        ...

    def recorded(self, step: Step[Result]) -> Step[Result]:
        """Returns the step, which may include ``search``, in the form that this engine runs fastest.

        A call may overwrite the result of the call before. Calls raise RecordingError if that form fails.
        """
        ...

    def prepare(self) -> None:
        """Builds now what would otherwise be built in the background when a second crop first appears.

        This may take seconds.
        """
        ...
