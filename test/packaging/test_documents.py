# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The front page, the figures of the documents, and the site that is made of them."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

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
    elsewhere = {"speed.svg"}  # `make speed` draws it
    assert drawn == {path.name for path in PICTURES.glob("*.svg")} - elsewhere
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


@pytest.fixture
def collect_results() -> ModuleType:
    """The benchmark of that name."""
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("collect_results", ROOT / "benchmarks" / "collect_results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_results_are_collected_from_the_stored_boxes(collect_results: ModuleType, tmp_path: Path) -> None:
    truth = "10,10,20,20\n12,10,20,20\nNaN,NaN,NaN,NaN\n14,10,20,20\n"
    for name in ("first", "second"):
        (tmp_path / "set" / name / "img").mkdir(parents=True)
        (tmp_path / "set" / name / "groundtruth_rect.txt").write_text(truth)
        for number in range(1, 5):
            (tmp_path / "set" / name / "img" / f"{number:04}.jpg").touch()
    runs = tmp_path / "out" / "runs" / "snscf_nano-openvino-0123" / "as_it_is"
    runs.mkdir(parents=True)
    (runs / "first-0-ab.txt").write_text("10,10,20,20\n12,10,20,20\n0,0,5,5\n14,10,20,20\n")  # right
    (runs / "second-0-ab.txt").write_text("10,10,20,20\n90,90,20,20\n0,0,5,5\n90,90,20,20\n")  # lost
    right = 20 / 21  # no overlap is above the last threshold, 1
    scores = {
        name: {"success_auc": [auc], "precision": [share]}
        for name, auc, share in (("first", right, 1.0), ("second", right / 3, 1 / 3))
    }
    report = {"sequences": {"set": {"snscf_nano-openvino": {"as_it_is": scores}}}}
    (tmp_path / "out" / "accuracy.json").write_text(json.dumps(report))

    roots = {"set": tmp_path / "set"}
    found = collect_results.accuracy([tmp_path / "out"], roots, {})
    tracker = found["trackers"]["snscf_nano"]
    assert tracker["success"][:20] == [round(2 / 3, 4)] * 20 and tracker["success"][20] == 0
    assert tracker["sets"]["all"]["auc"][0] == pytest.approx(right * 2 / 3, abs=1e-4)
    assert tracker["sets"]["set"]["precision"] == pytest.approx(2 / 3, abs=1e-4)

    peer = {**tracker, "auc": {"set": {"first": 0.5, "second": 0.5}}}  # measured earlier
    found = collect_results.accuracy([tmp_path / "out"], roots, {"trackers": {"FEAR-XS": peer}})
    assert list(found["trackers"]) == ["snscf_nano", "FEAR-XS"]
    assert found["trackers"]["FEAR-XS"]["difference"][0] == pytest.approx(0.5 - right * 2 / 3, abs=1e-4)

    (runs / "second-0-ab.txt").write_text("10,10,20,20\n12,10,20,20\n0,0,5,5\n90,90,20,20\n")  # of another version
    with pytest.raises(ValueError, match="second"):
        collect_results.accuracy([tmp_path / "out"], roots, {})
