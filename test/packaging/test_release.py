# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A release, up to the point where it would be published, as docs/releasing.md describes it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "environment" / "release_branch.sh")


@pytest.mark.slow
def test_the_tools_of_ros_release_both_packages_and_the_version_comes_back(tmp_path: Path) -> None:
    packages = pytest.importorskip("catkin_pkg.packages")
    if not (ROOT / ".git").exists() or shutil.which("catkin_prepare_release") is None:
        pytest.skip("there is no git repository, or no catkin_prepare_release")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--shared", ROOT, clone], check=True)

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def versions() -> dict[str, str]:
        return {package.name: package.version for package in packages.find_packages(str(clone)).values()}

    run("git", "config", "user.name", "nobody")
    run("git", "config", "user.email", "nobody@example.org")
    run("git", "switch", "-q", "-C", "main")
    assert set(versions()) == {"snscf_ros"}  # nothing is found inside another package

    run("bash", SCRIPT)
    run("git", "switch", "-q", "ros")
    assert set(versions()) == {"snscf_ros", "snscf_msgs"}
    run("catkin_prepare_release", "--version", "7.8.9", "--no-push", "--non-interactive")
    assert versions() == {"snscf_ros": "7.8.9", "snscf_msgs": "7.8.9"}

    run("git", "switch", "-q", "main")
    run("bash", SCRIPT, "--back")
    run("git", "commit", "-q", "-m", "7.8.9")
    for manifest in ("package.xml", "msg/package.xml"):
        assert "<version>7.8.9</version>" in (clone / manifest).read_text()
    assert run("git", "rev-parse", "main:msg", "main:package.xml") == run(
        "git", "rev-parse", "7.8.9:snscf_msgs", "7.8.9:snscf_ros/package.xml"
    )
    # a change here that the branch has not seen would be undone by bringing back
    run("git", "commit", "-q", "--allow-empty", "-m", "Change something")
    refused = subprocess.run(["bash", SCRIPT, "--back"], cwd=clone, capture_output=True, text=True)
    assert refused.returncode == 1 and "would be undone" in refused.stderr
