# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Processes of the demo and of the camera, each test on a domain of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from demo_harness import Processes, Viewer, grey
from domains import Domain


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Domain() as domain:
        processes = Processes(domain.number, tmp_path)
        yield processes
        processes.close()


@pytest.fixture
def viewer(processes: Processes) -> Iterator[Viewer]:
    viewer = Viewer(processes.domain, processes.namespace)
    yield viewer
    viewer.close()


@pytest.fixture
def greys(tmp_path: Path) -> Path:
    """An OTB sequence of 12 frames of grey 10, 30, 50, ...; the target is absent in the fifth."""
    folder = tmp_path / "Greys"
    (folder / "img").mkdir(parents=True)
    rows = []
    for number in range(12):
        cv2.imwrite(str(folder / "img" / f"{number + 1:04d}.png"), grey(10 + 20 * number))
        separator = (",", "\t", " ")[number % 3]
        rows.append(separator.join(["NaN"] * 4 if number == 4 else [f"{number}.5", "7", "10", "12.25"]))
    (folder / "groundtruth_rect.txt").write_text("\n".join(rows) + "\n")
    return folder
