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
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MOST_HEADER_BYTES = 100_000_000


class TensorFileError(ValueError):
    """Reports a damaged file, another format, or a tensor that can't be stored; the message says what is wrong."""


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads the tensors of a file, and its metadata.

    The tensors share the memory of the mapped file. Only pages that are used are read from disk, and writes to the
    tensors stay in this process. Raises TensorFileError if the content is inconsistent, and OSError.
    """
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
    return {name: _tensor(content, start, *entry) for name, entry in entries.items()}, metadata


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes tensors from any device, and metadata, to a file. Raises TensorFileError and OSError.

    The file is replaced atomically: at any time the path holds the whole old or the whole new file. Tensors that were
    read from the old file keep their values.
    """
    # The largest element types come first, which keeps each tensor aligned.
    ordered = sorted(tensors.items(), key=lambda named: (-named[1].element_size(), named[0]))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in ordered:
        if tensor.dtype not in _NAMES:
            raise TensorFileError(f"{name} is of {tensor.dtype}, which can't be stored")
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            for _, tensor in ordered:
                stream.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


# dtype, shape, begin and end of the bytes, counted from the end of the header
_Entry = tuple[torch.dtype, tuple[int, ...], int, int]


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
        dtype, shape, (begin, end) = _DTYPES[value["dtype"]], tuple(value["shape"]), value["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise TensorFileError(f"the header's entry of {name} can't be understood: {error!r}") from error
    if not all(type(number) is int and 0 <= number < 2**62 for number in (*shape, begin, end)):
        raise TensorFileError(f"shape or place of {name} are not whole numbers")
    if end - begin != prod(shape) * dtype.itemsize:
        raise TensorFileError(f"{name} has {end - begin} bytes, but shape {shape} takes {prod(shape) * dtype.itemsize}")
    return dtype, shape, begin, end


def _check_places(entries: Mapping[str, _Entry], size: int) -> None:
    """Raises TensorFileError unless the tensors fill `size` bytes without gaps or overlaps."""
    reached = 0
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda entry: entry[1][2:]):
        if begin != reached:
            raise TensorFileError(f"{name} begins at byte {begin} of the data instead of {reached}")
        reached = end
    if reached != size:
        raise TensorFileError(f"there are {size} bytes of data instead of {reached}")


def _tensor(content: mmap.mmap, start: int, dtype: torch.dtype, shape: tuple[int, ...], begin: int, end: int) -> Tensor:
    try:
        if begin == end:
            return torch.empty(shape, dtype=dtype)
        raw = torch.frombuffer(content, dtype=torch.uint8, count=end - begin, offset=start + begin)
        # Files of other writers may be unaligned.
        aligned = raw if (start + begin) % dtype.itemsize == 0 else raw.clone()
        return aligned.view(dtype).reshape(shape)
    except (RuntimeError, OverflowError) as error:
        raise TensorFileError(f"a tensor can't have shape {shape}: {error}") from error
