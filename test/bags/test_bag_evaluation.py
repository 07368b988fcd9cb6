# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""An evaluation on a bag: the node's way from message to track, the same every time, without ROS."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bag_harness import ABSENT, FRAMES, STAMPS, TOPIC, TRUTH, options, picture, restamped, rewrite, run, true_box
from rosbags.rosbag2 import Reader

from snscf_core import Tracker
from snscf_core.boxes import iou
from snscf_core.evaluation.sequences import read_boxes, read_frame
from snscf_ros.bags import commands, message_types
from snscf_ros.bags.bag import Bag
from snscf_ros.bags.recording import Recording

HASH = "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968"
MAX_PIXELS = 1_000_000


def detections(folder: Path) -> list[tuple[int, object]]:
    """Log times and messages of the bag of detections."""
    with Reader(folder) as reader:
        (connection,) = reader.connections
        assert (connection.topic, connection.msgtype) == ("/tracker/detections", message_types.DETECTIONS)
        assert connection.digest == HASH
        store = message_types.store()
        return [(time, store.deserialize_cdr(data, connection.msgtype)) for _, time, data in reader.messages()]


def test_definitions_are_the_official_ones():
    assert message_types.store().hash_rihs01(message_types.DETECTIONS) == HASH
    folder = Path(__file__).resolve().parents[2] / "environment" / "vision_msgs" / "msg"
    if not folder.is_dir():
        pytest.skip("there is no source tree")
    official = {name: (folder / f"{name}.msg").read_text().strip() for name in message_types.VISION_MSGS}
    assert official == message_types.VISION_MSGS


@pytest.mark.slow
def test_the_boxes_are_those_of_the_tracker_on_the_frames(evaluated, sequence):
    result, _ = evaluated
    boxes = result.evaluation.boxes
    files = sorted((sequence / "img").iterdir())
    tracker = Tracker(device="cpu", engine="torch")
    target = tracker.init(read_frame(files[0]), true_box(0))
    expected = [true_box(0), *(tracker.update(read_frame(file), target).box for file in files[1:])]
    np.testing.assert_allclose(boxes, expected, atol=1e-6)
    assert iou(boxes[-1], true_box(FRAMES - 1)) > 0.5


@pytest.mark.slow
def test_all_results_are_left_and_say_the_same(evaluated):
    result, _ = evaluated
    evaluation, folder = result.evaluation, result.folder
    name = evaluation.name
    assert evaluation.states[0] == "TRACKED" and evaluation.scores[0] == 1
    np.testing.assert_allclose(read_boxes(folder / f"{name}.txt"), evaluation.boxes, atol=6e-4)
    with (folder / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["stamp"].replace(".", "") for row in rows] == [str(stamp) for stamp in STAMPS]
    assert [row["state"] for row in rows] == list(evaluation.states)
    report = json.loads((folder / "results.json").read_text())
    assert report["images"] == FRAMES and report["problems"] == []
    assert report["measures"]["frames"] == FRAMES - 1
    assert report["measures"]["average_overlap"] > 0.5
    assert report["notes"] == [f"1 of {FRAMES} images have no true box and do not count"]
    assert json.loads((folder / "speed.json").read_text())["images"] == FRAMES - 1
    np.testing.assert_array_equal(evaluation.frame(3), picture(3))


def test_detections_bear_the_headers_and_log_times_of_their_images(evaluated):
    result, bag = evaluated
    found = detections(result.folder / f"{result.evaluation.name}_detections")
    with Bag(bag) as opened:
        stored = list(Recording(opened, TOPIC).messages())
    assert [time for time, _ in found] == [one.log_time for one in stored]
    for (_, message), one, box in zip(found, stored, result.evaluation.boxes, strict=True):
        header = one.message().header
        assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (
            header.stamp.sec,
            header.stamp.nanosec,
            "camera",
        )
        (detection,) = message.detections
        assert detection.id == "target_1" and detection.results[0].hypothesis.class_id == "target"
        centre = detection.bbox.center.position
        np.testing.assert_allclose((centre.x, centre.y), box[:2] + box[2:] / 2)
        np.testing.assert_allclose((detection.bbox.size_x, detection.bbox.size_y), box[2:])


def test_detections_are_those_that_ros_would_make(evaluated):
    serialization = pytest.importorskip("rclpy.serialization")
    from std_msgs.msg import Header

    from snscf_ros.messages import detections_message
    from snscf_ros.target_registry import TrackedTarget

    result, _ = evaluated
    store = message_types.store()
    _, message = detections(result.folder / f"{result.evaluation.name}_detections")[5]
    track = _track(result.evaluation, 5)
    header = Header(frame_id="camera")
    header.stamp.sec, header.stamp.nanosec = divmod(STAMPS[5], 1_000_000_000)
    made = detections_message(header, [TrackedTarget("target_1", True, track)], "target", False)
    ours = bytes(store.serialize_cdr(message, message_types.DETECTIONS))
    assert serialization.deserialize_message(ours, type(made)) == made
    # the gaps between fields hold whatever was in the memory: only after reading it are theirs the same bytes
    theirs = store.deserialize_cdr(serialization.serialize_message(made), message_types.DETECTIONS)
    assert bytes(store.serialize_cdr(theirs, message_types.DETECTIONS)) == ours


def _track(evaluation, number: int):
    from snscf_core import Track, TrackState

    box = tuple(float(value) for value in evaluation.boxes[number])
    return Track(box, float(evaluation.scores[number]), TrackState[evaluation.states[number]], 0.0)


_WITHOUT_ROS = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("rclpy", "sensor_msgs", "std_msgs", "vision_msgs", "snscf_msgs", "cv_bridge"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
from snscf_ros.bags.commands import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_without_ros_the_same_bag_gives_the_same_bytes(evaluated, tmp_path):
    result, bag = evaluated
    command = [sys.executable, "-c", _WITHOUT_ROS, "eval", str(bag), "--ground-truth", TRUTH]
    command += ["--output", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    files = [file.relative_to(result.folder) for file in result.folder.rglob("*") if file.is_file()]
    assert len(files) == 6
    for file in files:
        if file.name != "speed.json":
            assert (tmp_path / file).read_bytes() == (result.folder / file).read_bytes(), file
    done = subprocess.run([*command, "--realtime"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("snscf: --realtime runs the tracker's node, which needs ROS 2: No module named")
    assert done.stderr.count("\n") == 1


def evaluate(bag: Path, output: Path, *arguments: object) -> commands.BagRun:
    """In the quickest mode."""
    asked = options(bag, "--output", output, "--mode", "correlation_filter", *arguments)
    with commands.evaluated(asked) as result:
        return result


@pytest.mark.slow
def test_a_later_start_leaves_what_came_before_untracked(bags, weights, tmp_path):
    box = ",".join(str(value) for value in true_box(4))
    result = evaluate(bags(), tmp_path, "--init", f"{box}@0.2", "--ground-truth", TRUTH)
    evaluation = result.evaluation
    assert evaluation.start == 4
    assert evaluation.states[:5] == (*["NOT_STARTED"] * 4, "TRACKED")
    assert np.isnan(evaluation.boxes[:4]).all() and np.isfinite(evaluation.boxes[4:]).all()
    np.testing.assert_allclose(evaluation.boxes[4], true_box(4))
    assert evaluation.measures.frames == FRAMES - 4 - 1
    assert any("4 images before the start" in note for note in evaluation.notes)
    lines = (tmp_path / f"{evaluation.name}.txt").read_text().splitlines()
    assert len(lines) == FRAMES and lines[0] == "nan,nan,nan,nan"
    found = detections(tmp_path / f"{evaluation.name}_detections")
    assert [len(message.detections) for _, message in found[:5]] == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    "stamp", ["0.35", "0.3501", "1000000000.35", "1000000000350000000", "1000000000.350000001", "0.3500000"]
)
def test_a_start_may_be_relative_absolute_or_in_exact_nanoseconds(bags, stamp):
    with Bag(bags()) as bag:
        start = Recording(bag, TOPIC).start_from_text(f"1,2,30,40@{stamp}", MAX_PIXELS)
        assert (start.index, start.box) == (7, (1.0, 2.0, 30.0, 40.0))


@pytest.mark.parametrize(
    ("init", "sentence"),
    [
        ("1,2,3", "must be x,y,w,h"),
        ("1,2,3,4@soon", "'soon' is no stamp"),
        ("1,2,3,4@nan", "'nan' is no stamp"),
        ("1,2,3,4@99", "not within the recording, which is from 1000000000.000000000 to 1000000001.150000000"),
        ("1,2,3,4@5000000000350000000", "not within the recording"),
    ],
)
def test_a_start_that_cannot_be_is_told(bags, init, sentence):
    with Bag(bags()) as bag, pytest.raises(ValueError, match=sentence):
        Recording(bag, TOPIC).start_from_text(init, MAX_PIXELS)


def test_a_box_outside_the_image_and_no_box_at_all_are_told(bags, weights, tmp_path, capsys):
    assert run("eval", bags(), "--init", "900,2,30,40", "--output", tmp_path) == 1
    assert capsys.readouterr().err == "snscf: box from x=900 to x=930 is outside the frame of width 192\n"
    assert not (tmp_path / "mcap_bgr8_detections").exists()
    assert run("eval", bags(), "--output", tmp_path) == 1
    assert "say what to follow with --init" in capsys.readouterr().err
    for wrong in (("--lock-step",), ("--rate", "0"), ("--report",)):
        assert run("eval", bags(), "--init", "1,2,3,4", *wrong) == 1
        assert wrong[0] in capsys.readouterr().err


def test_truth_may_be_lines_for_every_image_or_lines_with_stamps(bags, sequence, tmp_path):
    plain, stamped = sequence / "groundtruth_rect.txt", tmp_path / "stamped.txt"
    rows = [
        f"{stamp * 1e-9:.6f},{','.join(str(value) for value in true_box(number))}"
        for number, stamp in enumerate(STAMPS)
        if number % 3 == 0
    ]
    stamped.write_text("\n".join(rows[::-1]))
    with Bag(bags()) as bag:
        recording = Recording(bag, TOPIC, TRUTH)
        boxes = recording.truth_from_file(plain)
        np.testing.assert_array_equal(boxes, recording.truth_from_topic())
        some = recording.truth_from_file(stamped)
        np.testing.assert_array_equal(some[::3], [true_box(n) for n in range(0, FRAMES, 3)])
        assert np.isnan(np.delete(some, np.s_[::3], axis=0)).all()
        for text, sentence in (
            ("1,2,3,4\n", f"has 1 boxes, but {TOPIC} has {FRAMES} images"),
            ("0.1,1,2,3,4\n0.2,1,2,3\n", "line 2 has 4 numbers instead of 5"),
            ("0.1,1,2,x,4\n", "line 1: could not convert"),
            ("17.5,1,2,3,4\n", "no line of .* has a box for the stamp of an image"),
        ):
            stamped.write_text(text)
            with pytest.raises(ValueError, match=sentence):
                recording.truth_from_file(stamped)


def test_single_detections_and_other_stamps_of_truth(bags, tmp_path):
    store = message_types.store()

    def single(messages):
        out = []
        for topic, kind, time, data in messages:
            if topic == TRUTH:
                found = store.deserialize_cdr(data, kind).detections
                if not found:
                    continue
                kind, data = message_types.DETECTION, bytes(store.serialize_cdr(found[0], message_types.DETECTION))
            out.append((topic, kind, time, data))
        return out

    def shifted(messages):
        return [(t, k, time, restamped(d, k, time + 5) if t == TRUTH else d) for t, k, time, d in messages]

    with Bag(rewrite(bags(), tmp_path / "single", change=single)) as bag:
        truth = Recording(bag, TOPIC, TRUTH).truth_from_topic()
    assert np.isnan(truth[ABSENT]).all() and np.isfinite(np.delete(truth, ABSENT, axis=0)).all()

    def rotated(messages):
        out = []
        for topic, kind, time, data in messages:
            if topic == TRUTH and time == STAMPS[2]:
                message = store.deserialize_cdr(data, kind)
                message.detections[0].bbox.center.theta = 0.5
                data = bytes(store.serialize_cdr(message, kind))
            out.append((topic, kind, time, data))
        return out

    with (
        Bag(rewrite(bags(), tmp_path / "rotated", change=rotated)) as bag,
        pytest.raises(ValueError, match=f"ground truth on {TRUTH}: theta is 0.5; boxes are upright"),
    ):
        Recording(bag, TOPIC, TRUTH)
    with (
        Bag(rewrite(bags(), tmp_path / "shifted", change=shifted)) as bag,
        pytest.raises(ValueError, match=r"no ground truth of .* bears the stamp of an image"),
    ):
        Recording(bag, TOPIC, TRUTH).truth_from_topic()


@pytest.mark.slow
def test_broken_images_are_named_and_change_nothing(bags, weights, tmp_path, capsys):
    broken = {0, 6, 9}
    store = message_types.store()

    def break_some(messages):
        out = []
        for topic, kind, time, data in messages:
            if topic != TRUTH and STAMPS.index(time) in broken:
                message = store.deserialize_cdr(data, kind)
                message.data = message.data[: len(message.data) // 2]
                data = bytes(store.serialize_cdr(message, kind))
            out.append((topic, kind, time, data))
        return out

    whole = bags("mcap", "jpeg")
    path = rewrite(whole, tmp_path / "broken", change=break_some)
    asked = ("--ground-truth", TRUTH, "--mode", "correlation_filter", "--report", "--output", tmp_path / "out")
    assert run("eval", path, *asked) == 0
    said = capsys.readouterr().out
    page = (tmp_path / "out" / "report" / "report.html").read_text()
    assert "the recording broken" in page and "could not be read" not in page
    assert f"3 of {FRAMES} images could not be used: 1000000000.000000000 (JPEG is damaged or cut off after" in said
    report = json.loads((tmp_path / "out" / "results.json").read_text())
    assert report["rejected"]["images"] == 3 and report["rejected"]["first"][1]["image"] == 6
    assert report["start"]["image"] == 1
    boxes = read_boxes(tmp_path / "out" / "broken.txt")
    assert {int(index) for index in np.flatnonzero(np.isnan(boxes).any(axis=1))} == broken
    assert len(detections(tmp_path / "out" / "broken_detections")) == FRAMES - 3

    def leave_out(messages):
        return [m for m in messages if STAMPS.index(m[2]) not in broken]

    without = evaluate(rewrite(whole, tmp_path / "without", change=leave_out), tmp_path / "o", "--ground-truth", TRUTH)
    np.testing.assert_allclose(without.evaluation.boxes, np.delete(boxes, sorted(broken), axis=0), atol=6e-4)


@pytest.mark.slow
def test_a_damaged_bag_is_evaluated_and_the_exit_status_says_so(bags, weights, tmp_path, capsys):
    (whole,) = bags().glob("*.mcap")
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    output = tmp_path / "out"
    assert run("eval", cut, "--ground-truth", TRUTH, "--mode", "correlation_filter", "--output", output) == 1
    assert "is damaged; what could be read of it was evaluated: cut.mcap: is cut off after" in capsys.readouterr().err
    report = json.loads((output / "results.json").read_text())
    assert 10 < report["images"] < FRAMES and len(report["problems"]) == 1
    assert len(detections(output / "cut_detections")) == report["images"]


def test_only_a_bag_of_detections_is_ever_replaced(bags, weights, tmp_path):
    kept = tmp_path / "mcap_bgr8_detections" / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(ValueError, match="holds more than a bag of detections; it is left as it is"):
        evaluate(bags(), tmp_path, "--ground-truth", TRUTH)
    assert kept.read_text() == "mine"


def test_images_that_are_too_large_are_rejected_as_in_the_node(bags, weights, tmp_path):
    with pytest.raises(ValueError, match=r"no image on .* can be used to start on: 192 x 144 = 27648 pixels are more"):
        evaluate(bags(), tmp_path, "--ground-truth", TRUTH, "--max-image-pixels", 10_000)
    with pytest.raises(ValueError, match="--max-image-pixels must be greater than 0"):
        evaluate(bags(), tmp_path, "--ground-truth", TRUTH, "--max-image-pixels", -1)
