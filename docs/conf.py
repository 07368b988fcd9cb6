# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""How Sphinx makes a site of these documents: ``make docs``, and rosdoc2."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project = "snscf"
author = "snscf maintainers"
copyright = "2026 snscf maintainers"
# rosdoc2 reads this file from a copy of the documents, and sets the version by itself.
if (ROOT / "package.xml").is_file():
    version = release = re.search(r"<version>([^<]+)", (ROOT / "package.xml").read_text(encoding="utf-8")).group(1)

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
exclude_patterns = ["_build"]
html_theme = "sphinx_rtd_theme"
html_title = "snscf: visual object tracking for robots"


def name_documents_elsewhere(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replaces links to documents outside this folder by their paths, as the site does not hold them.

    The links serve those who read these documents in the repository.
    """
    source[0] = re.sub(
        r"\[([^][]+)\]\(\.\./([^()#]+\.md)(?:#[^()]*)?\)",
        lambda link: f"`{link[2]}`" if link[1] == link[2] else f"{link[1]} (`{link[2]}`)",
        source[0],
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the hook above."""
    app.connect("source-read", name_documents_elsewhere)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
