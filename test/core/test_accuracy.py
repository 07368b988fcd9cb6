# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The report of accuracy under conditions: what is filmed, stored, told and drawn."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest

from snscf_core.commands.accuracy import chosen, read_sets
from snscf_core.commands.cli import main
from snscf_core.evaluation import accuracy, fingerprints
from snscf_core.evaluation.conditions import CONDITIONS
from snscf_core.evaluation.datasets import read_dataset
from snscf_core.evaluation.reports import accuracy_report
from snscf_core.evaluation.stored_runs import tracker_fingerprint
from snscf_core.evaluation.trackers import candidates

TRACKERS = '''
import numpy as np

class Still:
    """Stays where it was put."""
    def init(self, image, box):
        self.box = box
    def update(self, image):
        return self.box

class Bright:
    """Takes what is bright: is lost where it is dark or upside down. Cannot stand grey images."""
    def init(self, image, box):
        self.box = box
    def update(self, image):
        if (image[..., 0] == image[..., 2]).all():
            raise RuntimeError("no colour")
        rows, columns = np.nonzero(image[..., 2] > 150)
        if not len(rows):
            return None
        return columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
'''


def make_sequence(folder: Path, frames: int = 40) -> None:
    """A red thing of 20 x 16 pixels that moves by a pixel a frame, at even places."""
    (folder / "img").mkdir(parents=True)
    boxes = ""
    for number in range(frames):
        image = np.full((64, 128, 3), (60, 40, 20), np.uint8)
        image[20:36, 10 + number : 30 + number] = 20, 30, 200
        cv2.imwrite(str(folder / "img" / f"{number + 1:04d}.png"), image)
        boxes += f"{10 + number},20,20,16\n"
    (folder / "groundtruth_rect.txt").write_text(boxes)


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """A folder with trackers in ``mine.py`` and two sets, which is the current one."""
    (tmp_path / "mine.py").write_text(textwrap.dedent(TRACKERS))
    for name in ("first/a", "first/b", "second/c"):
        make_sequence(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


def report(folder: Path) -> dict:
    return json.loads((folder / "accuracy.json").read_text())


def test_half_the_rate_has_half_the_frames_and_half_the_size_half_boxes(workshop):
    (sequence, _) = read_dataset("sequences", Path("first")).sequences
    whole = accuracy.film(sequence, CONDITIONS["as_it_is"])
    assert len(whole) == 40 and np.array_equal(whole.boxes, sequence.boxes)
    slow = accuracy.film(sequence, CONDITIONS["half_rate"])
    assert len(slow) == len(list(slow.frames())) == 20 and np.array_equal(slow.boxes, sequence.boxes[::2])
    small = accuracy.film(sequence, CONDITIONS["half_size"])
    assert len(small) == 40 and np.array_equal(small.boxes * 2, sequence.boxes)
    assert next(small.frames()).shape == (32, 64, 3)
    # judged in the pixels of the original: half of an error of 30 pixels is not within 20
    assert small.score(small.boxes).success_auc == whole.score(whole.boxes).success_auc > 0.9
    assert small.score(small.boxes + np.array([15, 0, 0, 0])).precision == pytest.approx(1 / 40)


def test_starts_begin_later_with_other_boxes_and_are_judged_by_the_true_ones(workshop):
    (sequence, _) = read_dataset("sequences", Path("first")).sequences
    films = [accuracy.film(sequence, CONDITIONS["light_steps"], start, 2) for start in range(2)]
    assert [len(one) for one in films] == [40, 30] and films[1].files[0] == sequence.files[10]
    assert np.array_equal(films[1].truth, sequence.boxes[10:])
    assert not np.array_equal(films[1].boxes[0], films[1].truth[0])
    assert np.array_equal(films[1].boxes[1:], sequence.boxes[11:])
    # light is counted from the start: the first 30 frames are as they are
    assert all(np.array_equal(a, cv2.imread(str(f))) for a, f in zip(films[1].frames(), films[1].files, strict=True))
    assert films[1].score(films[1].boxes).success_auc == films[0].score(films[0].boxes).success_auc
    assert len({one.fingerprint for one in films}) == 2
    assert len(accuracy.film(sequence, CONDITIONS["as_it_is"], 1, 2, frames=20)) == 15


def test_noise_is_the_same_for_every_tracker_and_another_in_every_frame_and_start(workshop):
    (sequence, _) = read_dataset("sequences", Path("first")).sequences
    noisy = accuracy.film(sequence, CONDITIONS["noise"])
    one, two = list(noisy.frames()), list(noisy.frames())
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0][:16], one[1][:16])
    assert not np.array_equal(next(accuracy.film(sequence, CONDITIONS["noise"], 1, 2).frames())[:16], one[10][:16])


def test_intervals_and_differences_are_over_sequences(workshop):
    truth = np.tile([10.0, 10, 20, 20], (30, 1))

    def scores(shift):
        film = accuracy.Filmed("s", (), truth, condition=CONDITIONS["as_it_is"], truth=truth)
        return tuple(film.score(truth + np.array([shift + more, 0, 0, 0])) for more in (0, 1))

    plain, dark = CONDITIONS["as_it_is"], CONDITIONS["dimming"]
    shifts = {("x", plain): (1, 2, 3), ("x", dark): (4, 5, 6), ("y", plain): (3, 4, 5), ("y", dark): (3, 4, 5)}
    found = accuracy.Accuracy(
        {"x": {}, "y": {}},
        (plain, dark),
        ("s1", "s2"),
        2,
        {
            (tracker, subset, condition.name): {f"n{i}": scores(shift) for i, shift in enumerate(of)}
            for (tracker, condition), of in shifts.items()
            for subset in ("s1", "s2")
        },
    )
    values = found.values("x", ["s1"], "as_it_is", "success_auc")
    assert list(values) == [("s1", "n0"), ("s1", "n1"), ("s1", "n2")]
    assert values["s1", "n0"] == np.mean([one.success_auc for one in scores(1)])
    mean = accuracy_report.interval(found, "x", ["s1", "s2"], plain, "success_auc")
    assert mean.mean == pytest.approx(np.mean(list(values.values()))) and mean.low < mean.mean < mean.high
    cost = accuracy_report.difference(found, ["s1"], "success_auc", ("x", plain), ("x", dark))
    assert cost.high < 0 and cost.verdict == "worse"
    tables = {table.title: table for table in accuracy_report.tables(found)}
    assert list(accuracy_report.groups(found)) == ["s1", "s2", "all sets"]
    side_by_side = tables["s1, as it is"].rows
    assert [row[0] for row in side_by_side] == ["x", "y"] and side_by_side[1][-1] == "worse"
    against = {row[0]: row[1] for row in tables["all sets, AUC against x"].rows}
    assert against["as it is"].startswith("-0.") and against[dark.title].startswith("+0.")
    assert tables["s1, AUC against as it is"].rows[0][2].startswith("+0.000")


def test_requests_that_cannot_be_met_are_told(workshop, capsys):
    assert [one.name for one in chosen(["grey", "jpeg", "grey"])] == ["grey", "jpeg"] and len(chosen(["all"])) == 10
    assert {name: len(of) for name, of in read_sets(["x=first", "y=second"], ["a", "c"])[0].items()} == {"x": 1, "y": 1}
    assert list(read_sets(["x=first", "y=second"], ["a"])[0]) == ["x"]
    for arguments, text in (
        (["--root", "first"], "NAME=FOLDER"),
        (["--root", "x=first", "--root", "x=second"], "both named 'x'"),
        (["--root", "x=nowhere"], "nowhere is no folder"),
        (["--root", "x=first", "--sequences", "z"], "no set has a sequence 'z'"),
        (["--root", "x=first", "--conditions", "fog"], "unknown condition 'fog'"),
        (["--root", "x=first", "--starts", "0"], "--starts must be at least 1"),
        (["--root", "x=first", "--tracker", "results:first"], "other conditions"),
    ):
        assert main(["eval", "accuracy", "--tracker", "mine:Still", *arguments]) == 1, arguments
        assert text in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_measures_reports_and_repeats_nothing(workshop, capsys):
    command = ["eval", "accuracy", "--root", "first=first", "--root", "second=second", "--output", "out"]
    conditions = ["--conditions", "as_it_is,light_steps,half_rate,half_size", "--starts", "2"]
    assert main([*command, *conditions, "--tracker", "mine:Bright", "--jobs", "2"]) == 0
    files = {file: file.stat().st_mtime_ns for file in (workshop / "out" / "runs").rglob("*.txt")}
    assert len(files) == 2 * 4 * 3 * 2  # boxes and times
    assert main([*command, *conditions, "--tracker", "mine:Bright,mine:Still"]) == 0
    assert all(file.stat().st_mtime_ns == then for file, then in files.items())
    means = report(workshop / "out")["means"]
    assert list(means) == ["first", "second", "all sets"]
    for found in means.values():
        bright = {name: one["success_auc"]["mean"] for name, one in found["Bright"].items()}
        assert bright["as_it_is"] > 0.94 and bright["half_rate"] > 0.94 and bright["half_size"] > 0.9
        assert bright["light_steps"] < bright["as_it_is"] - 0.05, "10 of the 40 frames of the first start are dark"
        assert found["Still"]["as_it_is"]["success_auc"]["mean"] < 0.5
    text = (workshop / "out" / "accuracy.md").read_text()
    assert "all sets, AUC against Bright" in text and "all sets, AUC against Bright" in capsys.readouterr().out
    if "There is no picture" not in text:
        picture = cv2.imread(str(workshop / "out" / "accuracy.png"))
        assert picture.shape[1] > 900 and picture.std() > 5
    # a tracker that fails loses its sequences there, and the exit status says so
    failing = ["--conditions", "as_it_is,grey", "--starts", "2", "--tracker", "mine:Bright"]
    assert main([*command, *failing]) == 1
    told = capsys.readouterr().err
    assert "6 runs failed" in told and "no colour" in told
    assert report(workshop / "out")["sequences"]["first"]["Bright"]["grey"] == {}


def test_the_fingerprint_of_our_trackers_covers_all_their_folders():
    names = {f"{file.parent.name}/{file.name}" for file in fingerprints.tracking_files()}
    assert {"snscf_core/boxes.py", "engines/torch_engine.py", "model/network.py", "online/tracker.py"} <= names


def test_the_code_of_a_tracker_is_part_of_its_fingerprint(workshop):
    (before,) = candidates(["mine:Still"])
    once = tracker_fingerprint(before)
    assert once == tracker_fingerprint(before) != tracker_fingerprint(candidates(["mine:Bright"])[0])
    with open("mine.py", "a") as module:
        module.write("\nX = 1\n")
    assert tracker_fingerprint(before) != once
