# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What tests of all parts share: where the development data is, if it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch_free
from hypothesis import HealthCheck, settings

# How long an example takes says nothing of the code on a busy machine.
settings.register_profile("timeless", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("timeless")
_DATA = Path(os.environ.get("SNSCF_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
if "SNSCF_WEIGHTS" not in os.environ and (_DATA / "weights").is_dir():
    # before anything is imported that reads it, and for every process that the tests start
    os.environ["SNSCF_WEIGHTS"] = str(_DATA / "weights")
if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the processors out among themselves: threads of their own would mostly wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="soak and fuzz the node for long, not in slices")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder named by SNSCF_DATA; skips where there is none."""
    if not _DATA.is_dir():
        pytest.skip("there is no development data: set SNSCF_DATA to its folder")
    return _DATA


@pytest.fixture(scope="session")
def weights() -> Path:
    """The folder with the weights; skips where there is none."""
    from snscf_core import WeightsError
    from snscf_core.model.checkpoints import find

    try:
        return find("snscf_nano")[0].parent
    except WeightsError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory) -> str:
    """A Python in a virtual environment without torch; skips where none can be made."""
    return torch_free.make(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="session")
def imagenet() -> Path:
    """The folder with the ImageNet weights of the backbones; skips where there is none."""
    from snscf_core.model.checkpoints import IMAGENET_FILES, search_folders

    for folder in search_folders():
        if all((folder / file).is_file() for file in IMAGENET_FILES.values()):
            return folder
    pytest.skip("there are no ImageNet weights: set SNSCF_WEIGHTS to their folder")
