# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes files whole or not at all, and names the path in errors of writing."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Adds the path to an OSError about missing room, because the libraries that write do not name it."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _NO_ROOM:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives the path of a partial file, beside ``path``, that takes its place at the end; a context manager.

    After an error, what was at ``path`` is still there, and the partial file is gone. Raises OSError that names the
    path.
    """
    # The suffix stays, because some writers choose the format by it.
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        with writing(path):
            yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_file(path: Path, content: str | bytes) -> None:
    """Writes a text in UTF-8, or bytes: the path holds the whole earlier or the whole new file at any time."""
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
