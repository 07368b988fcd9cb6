# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The documents: each link to a file of this tree, or to a heading in one, leads there."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (".", "docs", "snscf_core/weights", "test", "training")
DOCUMENTS = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))


def prose(path: Path) -> str:
    """The text of a document without its blocks of code."""
    return re.sub(r"^(```|~~~).*?^\1$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    names = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    before: Counter[str] = Counter()
    found = set()
    for name in names:
        found.add(f"{name}-{before[name]}" if before[name] else name)
        before[name] += 1
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        if re.match("[a-z]+:", link):
            continue  # another site
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken
