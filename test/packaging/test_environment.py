# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""environment/create.sh: what a user sees of it when nothing is to be done, and when something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def create(root: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(root / "environment" / "create.sh")]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})


@pytest.fixture
def bare_tree(tmp_path: Path) -> Path:
    """A copy of what the environment is made from, without an environment."""
    tree = tmp_path / "tree"
    for name in ("environment", "msg"):
        shutil.copytree(ROOT / name, tree / name)
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "package.xml"):
        shutil.copy(ROOT / name, tree)
    return tree


def path_without(folder: Path, *names: str) -> str:
    """A PATH on which everything of this one is found except `names`."""
    folder.mkdir()
    for directory in os.environ["PATH"].split(os.pathsep):
        for tool in Path(directory).glob("*"):
            if tool.name not in names and not (folder / tool.name).exists():
                (folder / tool.name).symlink_to(tool)
    return str(folder)


@pytest.mark.skipif(not (ROOT / ".venv" / ".made" / "project").exists(), reason="no complete private environment")
def test_a_complete_environment_is_left_alone() -> None:
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("these tests do not run in the private environment")
    before = {path: path.stat().st_mtime_ns for path in (ROOT / ".venv" / ".made").iterdir()}
    again = create()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert {path: path.stat().st_mtime_ns for path in (ROOT / ".venv" / ".made").iterdir()} == before


def test_an_unknown_distribution_is_named(bare_tree: Path) -> None:
    refused = create(bare_tree, SNSCF_ROS_DISTRO="foxy")
    assert refused.returncode == 1
    assert "'foxy'" in refused.stderr and "jazzy or kilted" in refused.stderr
    assert not (bare_tree / ".venv").exists()


def test_a_python_out_of_range_is_named(bare_tree: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    refused = create(bare_tree, PYTHON=str(old), SNSCF_ROS="wheels")
    assert refused.returncode == 1
    assert str(old) in refused.stderr and "3.10 to 3.14" in refused.stderr
    assert not (bare_tree / ".venv").exists()


def test_missing_tools_are_named_together_with_the_line_that_installs_them(bare_tree: Path, tmp_path: Path) -> None:
    path = path_without(tmp_path / "bin", "g++", "cmake")
    refused = create(bare_tree, PATH=path, PYTHON=sys.executable, SNSCF_ROS="wheels")
    assert refused.returncode == 1
    assert "a C++ compiler" in refused.stderr and "CMake" in refused.stderr
    assert "apt install g++ cmake" in refused.stderr
    assert not (bare_tree / ".venv").exists()
