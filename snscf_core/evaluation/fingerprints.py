# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Computes fingerprints of code: equal for sources that do the same, whatever their comments and docstrings say."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_TRACKING = (".", "engines", "model", "online")  # folders of the package


def of_code(sources: Iterable[str]) -> str:
    """Returns 16 hexadecimal digits for texts of Python code. Raises SyntaxError."""
    digest = hashlib.sha256()
    for source in sources:
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
                ast.get_docstring(node) is not None
            ):
                node.body = node.body[1:] or [ast.Pass()]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:16]


def tracking_files() -> list[Path]:
    """Lists the files of the code that our trackers run."""
    return sorted(file for folder in _TRACKING for file in (_PACKAGE / folder).glob("*.py"))


@cache
def of_reading() -> str:
    """Returns the fingerprint of the code that reads pictures."""
    return of_code(file.read_text(encoding="utf-8") for file in sorted((_PACKAGE / "pictures").glob("*.py")))


@cache
def of_tracking() -> str:
    """Returns the fingerprint of the code that our trackers run."""
    return of_code(file.read_text(encoding="utf-8") for file in tracking_files())
