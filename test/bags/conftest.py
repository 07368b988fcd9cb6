# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Bags of a tiny sequence, and one evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest
import torch

pytest.importorskip("rosbags.rosbag2")

from bag_harness import ABSENT, FRAMES, START, TRUTH, options, picture, run, true_box

from snscf_ros.bags import commands


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Pictures this small gain nothing from a second thread, and wait for it on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def sequence(tmp_path_factory) -> Path:
    """In OTB's layout, lossless."""
    folder = tmp_path_factory.mktemp("sequences") / "patch"
    (folder / "img").mkdir(parents=True)
    lines = []
    for number in range(FRAMES):
        cv2.imwrite(str(folder / "img" / f"{number + 1:04d}.png"), picture(number))
        lines.append(",".join(str(v) for v in (true_box(number) if number != ABSENT else [float("nan")] * 4)))
    (folder / "groundtruth_rect.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def bags(sequence, tmp_path_factory) -> Callable[..., Path]:
    """bags(storage, encoding): a bag of the sequence, made once."""
    folder = tmp_path_factory.mktemp("bags")

    def make(storage: str = "mcap", encoding: str = "bgr8") -> Path:
        path = folder / f"{storage}_{encoding}"
        made = path.with_suffix(".bag") if storage == "rosbag1" else path
        if not made.exists():
            asked = ("--format", storage, "--encoding", encoding, "--fps", 20, "--start-stamp", START)
            assert run("bag", "from-sequence", sequence, path, *asked) == 0
        return made

    return make


@pytest.fixture(scope="session")
def evaluated(bags, weights, tmp_path_factory) -> Iterator[tuple[commands.BagRun, Path]]:
    """An evaluation of the undamaged bag, and the bag."""
    bag = bags()
    output = tmp_path_factory.mktemp("evaluated")
    with commands.evaluated(options(bag, "--ground-truth", TRUTH, "--output", output)) as result:
        yield result, bag
