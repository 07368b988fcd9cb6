# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Fingerprints of code: two sources that do the same have the same, whatever their comments and docstrings say."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_NOT_TRACKING = ("cli", "options", "scenes")


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


@cache
def of_tracking() -> str:
    """Returns the fingerprint of the code that our trackers run: the library's without data, training, evaluation."""
    files = sorted([*_PACKAGE.glob("*.py"), *(_PACKAGE / "engines").glob("*.py")])
    return of_code(file.read_text(encoding="utf-8") for file in files if file.stem not in _NOT_TRACKING)
