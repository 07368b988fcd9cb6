# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Training within a limited time: the rehearsal of it on a CPU, from cut parts to weights that outlast a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from snscf_core.model import checkpoints

ROOT = Path(__file__).resolve().parents[2]
TRAINING = ROOT / "training"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
SCRIPT = [sys.executable, str(TRAINING / "gpu_run.py")]
# Slices of a few steps, and times that don't depend on how busy the machine is.
LONG = ["--device", "cpu", "--seconds", "3600", "--minutes", "2", "--slice-seconds", "4", "--check-seconds", "600"]
SMALL = [
    "--",
    "--batch",
    "2",
    "--checkpoint-seconds",
    "2",
    "--measured-steps",
    "1",
    "--log-every",
    "1",
    "--validation-share",
    "0",
]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not TRAINING.is_dir(), reason="it is in the source tree only")]


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    """Parts of a pack: six clips of a bright square that moves over noise."""
    folder = tmp_path_factory.mktemp("pack")
    rng = np.random.default_rng(0)
    for clip in range(6):
        place = folder / "clips" / f"clip{clip}"
        place.mkdir(parents=True)
        ground = cv2.resize(rng.integers(0, 160, (120, 160, 3), np.uint8), (320, 240), interpolation=cv2.INTER_NEAREST)
        boxes = [(60 + 8 * step, 80 + 3 * clip, 40, 30) for step in range(12)]
        for number, (x, y, w, h) in enumerate(boxes, 1):
            picture = ground.copy()
            picture[y : y + h, x : x + w] = (30, 220, 240)
            assert cv2.imwrite(str(place / f"{number:08d}.png"), picture)
        (place / "groundtruth.txt").write_text("".join(",".join(map(str, box)) + "\n" for box in boxes))
    arguments = ["--data", f"got10k={folder / 'clips'}", "--hold-out", "0", "--part-mib", "1", "--out", folder / "out"]
    subprocess.run([sys.executable, TRAINING / "build_pack.py", *arguments], env=ENVIRONMENT, check=True)
    return folder / "out" / "parts"


def slices(out: Path) -> list[dict]:
    log = out / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    return [line for line in lines if line["kind"] == "slice"]


def whole_weights(out: Path) -> tuple[Path, int]:
    """The newest weights, which the loader has checked, and the steps that they know of."""
    folder = sorted(out.glob("weights-*"))[-1]
    _, weights = checkpoints.load(folder)
    assert weights.trained
    return folder, int(weights.metadata["steps"])


def test_parts_that_are_missing_or_damaged_are_named_before_anything_else(pack, tmp_path):
    parts, work = tmp_path / "parts", tmp_path / "work"
    shutil.copytree(pack, parts)
    first, second, *_ = sorted(parts.glob("*.tar"))
    content = second.read_bytes()
    first.rename(tmp_path / first.name)
    second.write_bytes(content[:-512] + bytes(511) + b"x")
    command = [*SCRIPT, "train", "snscf_nano", "--parts", parts, "--work", work, "--out", tmp_path / "out", *LONG]
    refused = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert f"missing: {first.name}" in refused.stdout and f"damaged: {second.name}" in refused.stdout
    assert "--partial" in refused.stdout and not (work / "run-snscf_nano").exists()
    # They arrive in another call; parts that were unpacked need not be there again.
    for part in parts.glob("*.tar"):
        part.unlink()
    shutil.copy(tmp_path / first.name, parts)
    second.write_bytes(content)
    arrived = subprocess.run(
        [*SCRIPT, "data", "--parts", parts, "--work", work], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert arrived.returncode == 0 and "6 clips, 72 frames" in arrived.stdout
    assert len(list((work / "data" / "clips").iterdir())) == 6


def test_a_rehearsal_on_the_cpu_leaves_weights_when_killed_and_goes_on(pack, tmp_path):
    def begun(work: str, out: str, *more: str) -> subprocess.Popen:
        folders = ["--parts", str(pack), "--work", str(tmp_path / work), "--out", str(tmp_path / out)]
        command = [*SCRIPT, "train", "snscf_nano", *folders, *LONG, *more, *SMALL]
        return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, start_new_session=True)

    def ended(process: subprocess.Popen, out: str, number: int, progress: float = 0.0) -> str:
        """Waits for weights of a run that is further than ``progress``, then sends the signal; what the script said."""
        try:
            limit = time.monotonic() + 250
            while not any(line["progress"] > progress for line in slices(tmp_path / out)):
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < limit, "no weights come"
                time.sleep(0.05)
            os.killpg(process.pid, number) if number == signal.SIGKILL else process.send_signal(number)
            return process.communicate(timeout=200)[0]
        finally:
            process.kill()
            process.wait()

    ended(begun("work", "first"), "first", signal.SIGKILL)
    _, step = whole_weights(tmp_path / "first")
    assert step > 0

    # The same call, with an empty folder for what comes out, goes on with the run and ends when it is asked to.
    process = begun("work", "second")
    said = ended(process, "second", signal.SIGTERM, progress=0.1)
    assert process.returncode == 0 and "continues with its own settings" in said
    folder, later = whole_weights(tmp_path / "second")
    line = slices(tmp_path / "second")[-1]
    assert (line["step"], line["pairs"], line["weights"]) == (later, 2 * later, folder.name) and later > step
    assert np.isfinite(line["loss"]) and not line["finished"]
    came_out = [file for file in (tmp_path / "second").rglob("*") if file.is_file()]
    assert len(came_out) <= 8 and all(file.stat().st_size <= 1 << 24 for file in came_out)

    # On a machine that has nothing but what came out, the learning rate goes on from where it was.
    process = begun("other", "third", "--start", str(tmp_path / "second"))
    said = ended(process, "third", signal.SIGTERM)
    assert process.returncode == 0 and f"starts from {folder}, a run that was" in said
    assert slices(tmp_path / "third")[0]["rate"] <= line["rate"] * 1.001
