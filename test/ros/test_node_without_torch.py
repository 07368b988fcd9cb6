# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The real node on a computer without PyTorch: it follows with an export, and without one says how to get it."""

from __future__ import annotations

import pytest
from ros_harness import Scene, Tracker, TrackerProcess, box_of, iou

from snscf_core.commands.cli import main

pytestmark = pytest.mark.slow


def test_node_follows_with_an_export_that_was_made_elsewhere(peer, weights, bare_python, tmp_path):
    export = tmp_path / "export"
    assert main(["export", "--format", "onnx", "--output", str(export)]) == 0
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = TrackerProcess("bare", {"engine": str(export)}, environment, python=bare_python)
    try:
        tracker, scene = Tracker(peer, process), Scene()
        tracker.activate()
        with tracker.camera(scene) as camera:
            camera.next()
            answer = tracker.init(camera.truth)
            assert answer.success, answer.message
            for _ in range(10):
                (detection,) = camera.next().detections
                assert iou(box_of(detection), camera.truth) > 0.6
        assert "engine onnxruntime" in process.log()
    finally:
        process.close()


def test_node_without_an_export_ends_and_says_what_to_run_elsewhere(peer, weights, bare_python, tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    process = TrackerProcess("bare", {"autostart_node": True}, environment, python=bare_python)
    try:
        assert process.process.wait(60) == 1
        assert "the network must have been exported for onnxruntime: on a computer with PyTorch" in process.log()
        assert "'snscf export --format onnx --output snscf_nano-onnx-f32-" in process.log()
    finally:
        process.close()
