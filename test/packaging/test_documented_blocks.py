# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Each command and each piece of Python in the README and in docs/ runs as it stands there.

A block that can't run here has ``<!-- skip: REASON -->`` on the line before it. Blocks run in
a folder that holds a few frames of the generated scene, as ``video.mp4`` and in OTB's layout as ``SEQUENCES/scene``; no
block needs what another one leaves.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(
    r"(?:^<!-- skip: (?P<reason>[^\n]+) -->\n)?^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
PARSERS: dict[str, Callable[[str], object]] = {
    "ini": lambda text: configparser.ConfigParser().read_string(text),
    "json": json.loads,
    "xml": ElementTree.fromstring,
    "yaml": yaml.safe_load,
}
NOT_CODE = ("bibtex", "text")
RUN = ("python", "sh")


class Block(NamedTuple):
    """A fenced block. line: of its first line of text. reason: why it is skipped, None for one that runs."""

    document: Path
    line: int
    language: str
    text: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    return [
        Block(document, text[: found.start("text")].count("\n") + 1, found["language"], found["text"], found["reason"])
        for found in FENCE.finditer(text)
    ]


BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_block_names_a_language_that_is_checked(document: Path) -> None:
    found = blocks(document)
    # one that FENCE does not see, say because it is indented, would not be checked
    assert len(found) == document.read_text(encoding="utf-8").count("```") / 2
    known = (*RUN, *PARSERS, *NOT_CODE)
    assert [str(block) for block in found if block.language not in known and not block.language.startswith("{")] == []


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in PARSERS], ids=str)
def test_settings_can_be_read(block: Block) -> None:
    PARSERS[block.language](block.text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a block runs, with the commands of this tree in ``bin``."""
    for module in ("cv2", "skimage", "torch"):
        pytest.importorskip(module)
    import cv2

    from snscf_core.scenes import Scene

    images = tmp_path / "SEQUENCES" / "scene" / "img"
    images.mkdir(parents=True)
    scene = Scene(6)
    writer = cv2.VideoWriter(str(tmp_path / "video.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, scene.size)
    for number, frame in enumerate(scene, start=1):
        writer.write(frame.image)
        cv2.imwrite(str(images / f"{number:04}.jpg"), frame.image)
    writer.release()
    boxes = "".join(",".join(f"{value:.2f}" for value in frame.box) + "\n" for frame in scene)
    (images.parent / "groundtruth_rect.txt").write_text(boxes)

    commands = tmp_path / "bin"
    commands.mkdir()
    snscf = commands / "snscf"
    snscf.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m snscf_core "$@"\n')
    snscf.chmod(0o755)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in RUN], ids=str)
def test_blocks_run(block: Block, request: pytest.FixtureRequest) -> None:
    if block.reason is not None:
        pytest.skip(block.reason)
    folder = request.getfixturevalue("folder")
    command = [sys.executable, "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }
    done = subprocess.run([*command, block.text], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
