# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A container with a foreign user id has no home folder. The tracker does without a cache there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from snscf_core.user_folders import expanded, user_cache

_ANONYMOUS = ("unshare", "--map-user=54321", "--map-group=54321")


@pytest.fixture
def nobody(tmp_path, monkeypatch) -> None:
    """No HOME, and no entry in the system's list of users."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)


def test_paths_below_a_home_that_is_missing_stay_as_they_are(nobody):
    assert user_cache() is None
    assert expanded("~/weights") == Path("~/weights")


def test_the_cache_is_where_the_user_wants_it(nobody, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "snscf"


@pytest.mark.slow
def test_the_tracker_starts_without_a_home(tmp_path):
    for library in ("onnx", "onnxruntime"):
        pytest.importorskip(library)
    if subprocess.run([*_ANONYMOUS, "true"], check=False).returncode:
        pytest.skip("there can be no foreign user here")
    program = """
import os, pwd
try:
    pwd.getpwuid(os.getuid())
except KeyError:
    from snscf_core import Tracker
    print(Tracker("snscf_nano", device="cpu", engine="onnxruntime").engine)
"""
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME", "USER")}
    command = [*_ANONYMOUS, sys.executable, "-c", program]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "onnxruntime", "empty where the user has an entry"
    assert not list(tmp_path.iterdir())
