# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A computer without PyTorch follows targets with an export that another has made, and else says how to get one."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from snscf_core.commands.cli import main
from snscf_core.engines.exported import MANIFEST
from snscf_core.scenes import Scene, save_sequence

pytestmark = pytest.mark.slow
ENGINES = {"onnxruntime": "onnx", "openvino": "openvino"}


@pytest.fixture(scope="module")
def sequence(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    save_sequence(Scene(frames=20, size=(320, 240), full_occlusion=0), folder)
    return folder


@pytest.fixture(scope="module")
def exports(tmp_path_factory, weights) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exports")
    for kind in ENGINES.values():
        pytest.importorskip({"onnx": "onnxruntime"}.get(kind, kind))
        assert main(["export", "--format", kind, "--output", str(folder / kind)]) == 0
    return {engine: folder / kind for engine, kind in ENGINES.items()}


@pytest.fixture
def bare(bare_python, tmp_path):
    """Runs ``snscf`` without torch, with an empty cache."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [bare_python, "-m", "snscf_core", *map(str, arguments)]
        environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)

    return run


def rows(file: Path) -> np.ndarray:
    return np.array([[float(value) for value in line.split(",")[:5]] for line in file.read_text().splitlines()])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_scene_is_followed_with_the_boxes_of_torch(engine, sequence, exports, bare, tmp_path):
    assert main(["track", str(sequence), "--engine", "torch", "--output", str(tmp_path / "torch")]) == 0
    done = bare("track", sequence, "--engine", exports[engine], "--output", tmp_path / "bare")
    assert done.returncode == 0, done.stderr
    expected, found = rows(tmp_path / "torch"), rows(tmp_path / "bare")
    assert len(found) == 20
    assert np.abs(found - expected)[:, :4].max() < 0.1, "pixels"
    assert np.abs(found - expected)[:, 4].max() < 0.01


def test_an_export_says_how_well_it_agreed_where_it_was_made(exports):
    for engine, folder in exports.items():
        agreement = json.loads((folder / MANIFEST).read_text())["agreement"]
        assert agreement["engine"] == engine and agreement["library"].startswith(f"{engine} ")
        assert 0 <= agreement["difference"] < 2e-3


@pytest.mark.parametrize("mode", ["auto", "correlation_filter"])
def test_without_an_export_it_is_said_how_to_make_one_and_that_works(mode, sequence, bare, tmp_path, monkeypatch):
    """The command in the message is run here, and its folder is put where the message says."""
    track = ("track", sequence, "--mode", mode, "--output", tmp_path / "boxes")
    done = bare(*track)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    command = re.search(r"on a computer with PyTorch and the same weights run '(snscf [^']+)'", line)[1]
    place = re.search(r"copy that folder to (\S+) here", line)[1]
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command)[1:]
    assert main(arguments) == 0
    shutil.copytree(tmp_path / arguments[arguments.index("--output") + 1], place)
    done = bare(*track)
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "boxes")) == 20
    listed = bare("engines", "--mode", mode)
    assert listed.returncode == 0, listed.stderr
    assert "chosen: onnxruntime, the only one that works" in listed.stdout


def test_an_export_that_computes_something_else_is_refused(sequence, exports, bare, tmp_path):
    """Torch can't take over."""
    folder = shutil.copytree(exports["onnxruntime"], tmp_path / "changed")
    graph = bytearray((folder / "search.onnx").read_bytes())
    graph[len(graph) // 2 : len(graph) // 2 + 4000] = bytes(4000)  # some of the weights
    (folder / "search.onnx").write_bytes(graph)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"] = {}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    done = bare("track", sequence, "--engine", folder)
    assert done.returncode == 1
    assert "failed, and torch can't replace it: Disagreement" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "--data", "otb=x", "--out", "y"], "PyTorch is not installed for"),
        (["export", "--format", "onnx"], "PyTorch is not installed for"),
        (["track", "SCENE", "--engine", "torch"], "on a computer with PyTorch and the same weights run"),
        (["track", "SCENE", "--device", "cuda"], "the device 'cuda' needs torch: PyTorch is not installed for"),
        (["track", "SCENE", "--engine", "openvino"], "snscf export --format openvino --output"),
    ],
)
def test_what_needs_torch_says_so_in_a_sentence(arguments, told, sequence, bare):
    done = bare(*(sequence if argument == "SCENE" else argument for argument in arguments))
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("snscf: ") and told in line
