# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads and writes files of named tensors in the safetensors format.

Reading copies nothing and checks everything. Writing is atomic. The format is small: the size of the header (8 bytes,
little-endian), the header as JSON (dtype, shape and byte range of each tensor, and strings under ``__metadata__``),
then the bytes without gaps. The safetensors library is not used because it has no rosdep key: without it, a robot's
package manager can install all that the tracker needs.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .arrays import Array

if TYPE_CHECKING:
    from torch import Tensor

# by the format's name: bytes of an element, and the name of the type in torch; NumPy has the same but for bfloat16
_DTYPES = {
    "F64": (8, "float64"),
    "F32": (4, "float32"),
    "F16": (2, "float16"),
    "BF16": (2, "bfloat16"),
    "I64": (8, "int64"),
    "I32": (4, "int32"),
    "I16": (2, "int16"),
    "I8": (1, "int8"),
    "U8": (1, "uint8"),
    "BOOL": (1, "bool"),
}
_NAMES = {dtype: name for name, (_, dtype) in _DTYPES.items()}
_MOST_HEADER_BYTES = 100_000_000


class TensorFileError(ValueError):
    """Reports a damaged file, another format, or a tensor that can't be stored; the message says what is wrong."""


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads the tensors of a file, and its metadata.

    The tensors share the memory of the mapped file. Only pages that are used are read from disk, and writes to the
    tensors stay in this process. Raises TensorFileError if the content is inconsistent, and OSError.
    """
    content, start, entries, metadata = _mapped(path)
    return {name: _tensor(content, start, *entry) for name, entry in entries.items()}, metadata


def read_arrays(path: str | Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Does the same as `read_tensors` without torch. Raises TensorFileError for bfloat16 too, which NumPy lacks."""
    content, start, entries, metadata = _mapped(path)
    return {name: _array(content, start, name, *entry) for name, entry in entries.items()}, metadata


def read_shapes(path: str | Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Reads the shapes of a file's tensors, and its metadata, with the checks of `read_tensors`."""
    _, _, entries, metadata = _mapped(path)
    return {name: shape for name, (_, shape, _, _) in entries.items()}, metadata


def _mapped(path: str | Path) -> tuple[mmap.mmap, int, dict[str, _Entry], dict[str, str]]:
    """Maps a file; returns its content, where the data begin, and what the header says."""
    with open(path, "rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, _MOST_HEADER_BYTES):
            raise TensorFileError(f"{size} bytes are too few, or the first 8 are not the size of a header")
        entries, metadata = _parse(stream.read(length))
        start = 8 + length
        _check_places(entries, size - start)
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    return content, start, entries, metadata


def write_tensors(path: str | Path, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Writes arrays, or tensors from any device, and metadata to a file. Raises TensorFileError and OSError.

    The file is replaced atomically: at any time the path holds the whole old or the whole new file. Tensors that were
    read from the old file keep their values.
    """
    # The largest element types come first, which keeps each tensor aligned.
    sizes = {name: _bytes_of(name, tensor) for name, tensor in tensors.items()}
    ordered = sorted(tensors.items(), key=lambda named: (-sizes[named[0]][0], named[0]))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in ordered:
        size, kind = sizes[name]
        begin, end = end, end + prod(tensor.shape) * size
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            for _, tensor in ordered:
                stream.write(_raw(tensor))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


# name of the type in the format, shape, begin and end of the bytes, counted from the end of the header
_Entry = tuple[str, tuple[int, ...], int, int]


def _bytes_of(name: str, tensor: Array) -> tuple[int, str]:
    """Returns the bytes of an element and the format's name of its type."""
    kind = _NAMES.get(str(tensor.dtype).removeprefix("torch."))
    if kind is None:
        raise TensorFileError(f"{name} is of {tensor.dtype}, which can't be stored")
    return _DTYPES[kind][0], kind


def _raw(tensor: Array) -> memoryview:
    if isinstance(tensor, np.ndarray):
        return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _parse(text: bytes) -> tuple[dict[str, _Entry], dict[str, str]]:
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise TensorFileError(f"its header is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise TensorFileError("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise TensorFileError("its metadata are not strings")
    return {name: _entry(name, value) for name, value in header.items()}, metadata


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise TensorFileError("its header has a name twice")
    return values


def _entry(name: str, value: Any) -> _Entry:
    try:
        kind, shape, (begin, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
        size, _ = _DTYPES[kind]
    except (TypeError, KeyError, ValueError) as error:
        raise TensorFileError(f"the header's entry of {name} can't be understood: {error!r}") from error
    if not all(type(number) is int and 0 <= number < 2**62 for number in (*shape, begin, end)):
        raise TensorFileError(f"shape or place of {name} are not whole numbers")
    if end - begin != prod(shape) * size:
        raise TensorFileError(f"{name} has {end - begin} bytes, but shape {shape} takes {prod(shape) * size}")
    return kind, shape, begin, end


def _check_places(entries: Mapping[str, _Entry], size: int) -> None:
    """Raises TensorFileError unless the tensors fill `size` bytes without gaps or overlaps."""
    reached = 0
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda entry: entry[1][2:]):
        if begin != reached:
            raise TensorFileError(f"{name} begins at byte {begin} of the data instead of {reached}")
        reached = end
    if reached != size:
        raise TensorFileError(f"there are {size} bytes of data instead of {reached}")


def _array(
    content: mmap.mmap, start: int, name: str, kind: str, shape: tuple[int, ...], begin: int, end: int
) -> npt.NDArray[Any]:
    _, dtype = _DTYPES[kind]
    if kind == "BF16":
        raise TensorFileError(f"{name} is of {dtype}, which can't be read without torch")
    try:
        if begin == end:
            return np.empty(shape, dtype)
        raw = np.frombuffer(content, np.uint8, end - begin, start + begin)
        return raw.view(dtype).reshape(shape)
    except (ValueError, OverflowError) as error:
        raise TensorFileError(f"a tensor can't have shape {shape}: {error}") from error


def _tensor(content: mmap.mmap, start: int, kind: str, shape: tuple[int, ...], begin: int, end: int) -> Tensor:
    import torch

    dtype = getattr(torch, _DTYPES[kind][1])
    try:
        if begin == end:
            return torch.empty(shape, dtype=dtype)
        raw = torch.frombuffer(content, dtype=torch.uint8, count=end - begin, offset=start + begin)
        # Files of other writers may be unaligned.
        aligned = raw if (start + begin) % dtype.itemsize == 0 else raw.clone()
        return aligned.view(dtype).reshape(shape)
    except (RuntimeError, OverflowError) as error:
        raise TensorFileError(f"a tensor can't have shape {shape}: {error}") from error
