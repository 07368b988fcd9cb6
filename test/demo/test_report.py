# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The scores and pictures that the demo leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from snscf_core import Track, TrackState
from snscf_ros.demo.report import Report
from snscf_ros.demo.scores import FrameResult, summarise

SECOND = 1_000_000_000


def result(number: int, truth=None, box=None, dropped=False, latency=0.05, state=TrackState.TRACKED) -> FrameResult:
    track = None if box is None else Track(box, 0.8, state, 7.0)
    return FrameResult(number, number * SECOND // 10, truth, track, dropped, None if dropped else latency)


def test_scores_of_a_run_worked_out_by_hand() -> None:
    box = (10.0, 10.0, 20.0, 20.0)
    results = [
        result(1, box, box, latency=0.02),
        result(2, box, (20.0, 10.0, 20.0, 20.0), latency=0.04),  # IoU 1/3, 10 px off
        result(3, box, (20.0, 10.0, 20.0, 20.0), dropped=True),
        result(4, None, (300.0, 10.0, 20.0, 20.0), latency=0.06),  # the target is hidden: does not count
        result(5, box, (110.0, 10.0, 20.0, 20.0), latency=0.08),  # IoU 0, 100 px off
    ]
    summary = summarise(results, "source", "tracker", (640, 480))
    assert (summary.frames_sent, summary.frames_tracked, summary.frames_dropped) == (5, 4, 1)
    assert summary.frames_with_truth == 3
    # Of the thresholds 0, 0.05, ..., 1, IoU 1 exceeds 20, IoU 1/3 exceeds 7, IoU 0 none.
    assert summary.success_auc == pytest.approx((20 + 7 + 0) / 21 / 3)
    assert summary.success_auc_in_real_time == pytest.approx((20 + 7 + 7 + 0) / 21 / 4)
    assert summary.overlap_success == pytest.approx(1 / 3)
    assert summary.precision == pytest.approx(2 / 3)
    assert summary.centre_error == pytest.approx((0 + 10 + 100) / 3)
    assert summary.latency_p50 == pytest.approx(0.05) and summary.latency_p95 == pytest.approx(0.077)
    assert summary.frames_per_second == pytest.approx(3 / 0.4)
    assert "1  (the tracker was slower than the camera)" in summary.table()


def test_without_truth_there_are_no_scores_to_show() -> None:
    summary = summarise([result(1, None, (1.0, 1.0, 5.0, 5.0))], "video", "", (64, 48))
    assert summary.success_auc is None and "AUC" not in summary.table()
    assert summary.frames_per_second is None


@pytest.mark.parametrize(("width", "height", "count"), [(128, 96, 70), (641, 361, 5), (90, 160, 1), (1280, 720, 20)])
def test_files_hold_every_frame_and_a_readable_sheet(tmp_path: Path, width: int, height: int, count: int) -> None:
    report = Report(tmp_path, 10.0, count)
    rng = np.random.default_rng(0)
    for number in range(1, count + 1):
        frame = cv2.resize(rng.integers(60, 200, (6, 8, 3), np.uint8), (width, height))
        truth = None if number % 5 == 4 else (0.3 * width, 0.3 * height, 0.1 * width, 0.2 * height)
        box = (0.31 * width, 0.3 * height, 0.1 * width, 0.2 * height)
        state = (TrackState.TRACKED, TrackState.UNCERTAIN, TrackState.LOST)[number % 3]
        report.add(frame, result(number, truth, None if number == 2 else box, number % 7 == 6, state=state))
    summary = report.close("test", "tracker")
    assert summary is not None and summary.frames_sent == count

    video = cv2.VideoCapture(str(tmp_path / "overlay.mp4"))
    frames = 0
    while video.read()[0]:
        frames += 1
    assert frames == count
    assert video.get(cv2.CAP_PROP_FRAME_WIDTH) >= 479

    sheet = cv2.imread(str(tmp_path / "contact_sheet.png"))
    tiles = min(count, 16)
    assert sheet.shape[1] >= 900 and sheet.shape[0] > 250 * -(-tiles // 4)
    details = json.loads((tmp_path / "scores.json").read_text())
    assert [frame["number"] for frame in details["frames"]] == list(range(1, count + 1))
    assert details["frames_sent"] == count
    assert (tmp_path / "scores.txt").read_text().strip() == summary.table().strip()


def test_boxes_are_drawn_where_they_are(tmp_path: Path) -> None:
    report = Report(tmp_path, 10.0)
    black = np.zeros((480, 640, 3), np.uint8)
    for number in range(1, 4):
        report.add(black, result(number, (100.0, 100.0, 200.0, 150.0), (400.0, 200.0, 150.0, 200.0)))
    report.close("test", "tracker")
    video = cv2.VideoCapture(str(tmp_path / "overlay.mp4"))
    _, frame = video.read()
    brightness = frame.astype(int).sum(axis=2)
    # the truth's left side is white, the track's is coloured
    assert brightness[120:230, 98:103].max(axis=1).min() > 400
    assert np.ptp(frame[220:380, 398:403].astype(int).max(axis=1), axis=1).min() > 40
    assert brightness[120:230, 130:270].max() < 60


def test_a_run_that_saw_no_frame_leaves_no_scores(tmp_path: Path) -> None:
    assert Report(tmp_path, 10.0).close("test", "tracker") is None
    assert list(tmp_path.iterdir()) == []
