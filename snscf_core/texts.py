# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads text files as editors and spreadsheets of every system write them."""

from __future__ import annotations

import codecs
from pathlib import Path

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(file: Path) -> str:
    """Reads a text file of UTF-8, with or without a byte order mark, or of UTF-16 with one.

    Raises OSError if it can't be read. Raises ValueError that names the file and the first line in neither encoding.
    """
    data = file.read_bytes()
    try:
        return data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{file} line {line} is not UTF-8 text (byte 0x{data[error.start]:02x}); save the file as UTF-8"
        ) from error
