# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The front page, the figures of the documents, and the site that is made of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"


def test_front_page_is_short_and_shows_the_tracker_at_work() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    first_picture = re.search(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert first_picture is not None
    animation = (ROOT / first_picture[1]).read_bytes()
    assert len(animation) < 2_000_000
    assert animation[8:12] == b"WEBP" and b"ANIM" in animation[:64]


def test_tables_in_the_documents_are_those_of_the_results() -> None:
    command = [sys.executable, "docs/figures.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_pictures_are_drawn_from_the_results(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    script = (
        "import sys, pathlib; sys.path.insert(0, 'docs'); import figures\n"
        f"figures.ROOT = figures.PICTURES = pathlib.Path({str(tmp_path)!r})\n"
        "figures.draw()"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)
    drawn = {path.name for path in tmp_path.glob("*.svg")}
    assert drawn == {path.name for path in PICTURES.glob("*.svg")}
    shown = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    assert all(f"pictures/{name}" in shown for name in drawn)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    for module in ("sphinx", "myst_parser", "sphinx_rtd_theme", "torch"):
        pytest.importorskip(module)
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", tmp_path / "doctrees", ROOT / "docs", tmp_path / "site"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "snscf_core.Tracker.update" in (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
