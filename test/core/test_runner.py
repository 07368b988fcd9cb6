# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Running trackers over data sets: what is stored, what is skipped, and what a crash costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from snscf_core.commands.accuracy import read_sets
from snscf_core.commands.cli import main
from snscf_core.evaluation import jobs, runner
from snscf_core.evaluation.datasets import read_dataset
from snscf_core.evaluation.sequences import read_boxes, read_sequence
from snscf_core.evaluation.stored_runs import Inputs, forget
from snscf_core.evaluation.trackers import candidates, read_result, stored_boxes, write_result

TRACKERS = '''
import os, signal, time
import numpy as np

class Still:
    """Stays where it was put."""
    def init(self, image, box):
        self.box = box
    def update(self, image):
        return self.box

class Slow(Still):
    def update(self, image):
        time.sleep(0.05)
        return self.box

class Moody(Still):
    """Cannot stand frames that are 40 pixels high, and dies of those 44 pixels high."""
    def init(self, image, box):
        super().init(image, box)
        if image.shape[0] == 40:
            raise RuntimeError("too low")
        if image.shape[0] == 44:
            os.kill(os.getpid(), signal.SIGSEGV)

class Silent(Still):
    def update(self, image):
        return None

class Half:
    def init(self, image, box):
        pass
'''


def make_sequence(root: Path, name: str, frames: int = 6, height: int = 48) -> None:
    (root / name / "img").mkdir(parents=True)
    for number in range(1, frames + 1):
        image = np.random.default_rng(number).integers(0, 255, (height, 64, 3), np.uint8)
        cv2.imwrite(str(root / name / "img" / f"{number:04d}.png"), image)
    boxes = "".join(f"{10 + number},10,20,16\n" for number in range(frames))
    (root / name / "groundtruth_rect.txt").write_text(boxes)


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """A folder with trackers in ``mine.py`` and the data in ``data``, which is the current one."""
    (tmp_path / "mine.py").write_text(textwrap.dedent(TRACKERS))
    for name, height in (("a", 48), ("b", 40), ("c", 44), ("d", 48)):
        make_sequence(tmp_path / "data", name, height=height)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


def report(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())["trackers"]


@pytest.mark.slow
def test_any_class_is_a_tracker_and_its_boxes_are_stored_as_the_kits_read_them(workshop, capsys):
    assert main(["eval", "--root", "data", "--tracker", "mine:Still,mine:Silent", "--output", "out"]) == 0
    boxes = read_boxes(workshop / "out" / "raw" / "Still" / "a.txt")
    assert boxes.tolist() == [[10, 10, 20, 16]] * 6
    assert len(np.loadtxt(workshop / "out" / "raw" / "Still" / "times" / "a_time.txt")) == 6
    assert np.isnan(read_boxes(workshop / "out" / "raw" / "Silent" / "a.txt")[1:]).all()
    trackers = report(workshop / "out")
    assert trackers["Still"]["mean"]["success_auc"] > trackers["Silent"]["mean"]["success_auc"] > 0
    assert "difference from Still" in capsys.readouterr().out


@pytest.mark.slow
def test_a_crash_costs_its_own_sequence_and_is_named(workshop, capsys):
    arguments = ["eval", "--root", "data", "--tracker", "mine:Moody,mine:Still", "--output", "out", "--jobs", "2"]
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert "2 runs failed" in told and "Moody on b" in told and "Moody on c" in told and "too low" in told
    trackers = report(workshop / "out")
    assert sorted(trackers["Moody"]["sequences"]) == ["a", "d"] and len(trackers["Still"]["sequences"]) == 4
    assert "RuntimeError: too low" in trackers["Moody"]["failed"]["b"]
    assert f"exit code -{int(signal.SIGSEGV)}" in trackers["Moody"]["failed"]["c"]
    page = (workshop / "out" / "report.html").read_text()
    assert "too low" in page


@pytest.mark.slow
def test_what_is_stored_is_not_run_again(workshop):
    dataset = read_dataset("sequences", Path("data"))
    trackers = candidates(["mine:Still"])
    first = runner.run(dataset, trackers, folder=Path("out"))
    file = workshop / "out" / "raw" / "Still" / "d.txt"
    write_result(file, np.full((6, 4), 7.0), np.ones(6))  # by which it is seen that it has been read
    (workshop / "out" / "raw" / "Still" / "a.txt").unlink()
    steps = []
    second = runner.run(
        dataset, trackers, folder=Path("out"), advance=lambda frames, total: steps.append((frames, total))
    )
    assert sum(frames for frames, _ in steps) == 6 and steps[0][1] == 6
    assert np.array_equal(
        second.outcomes["Still", "a", runner.ONE_PASS].boxes, first.outcomes["Still", "a", runner.ONE_PASS].boxes
    )
    assert (second.outcomes["Still", "d", runner.ONE_PASS].boxes == 7).all()


def test_each_size_of_search_crops_is_a_tracker_of_its_own(workshop, capsys):
    both = candidates(["snscf_nano"], search_sizes=[255, 191])
    assert [one.name for one in both] == ["snscf_nano-255px", "snscf_nano-191px"]
    large, small = (one.description() for one in both)
    assert {key for key in large if large[key] != small[key]} == {"settings", "search size"}
    assert both[1].make().tracker.config.search_size == 191
    for text, reason in (("191,big", "whole numbers"), ("200", "16 n + 15 pixels")):
        assert main(["eval", "--root", "data", "--search-size", text]) == 1
        assert reason in capsys.readouterr().err


def test_a_stored_run_is_used_for_the_same_tracker_boxes_and_images_only(workshop):
    file, image = workshop / "out" / "a.txt", workshop / "data" / "a" / "img" / "0003.png"

    def changed(tracker: str = "one") -> str:
        return Inputs(tracker, read_sequence(workshop / "data" / "a")).changed(file)

    assert changed() == "record"  # as earlier versions left it
    Inputs("one", read_sequence(workshop / "data" / "a")).write(file)
    assert changed() == "" and changed("another") == "tracker"
    os.utime(image, ns=(0, 0))  # as in a copy of the data set: the bytes are the same
    assert changed() == ""
    whole = image.read_bytes()
    image.write_bytes(whole[:500] + b"\0" * 100 + whole[600:])  # of the same length
    assert changed() == "images"
    image.write_bytes(whole)
    assert changed() == ""
    truth = workshop / "data" / "a" / "groundtruth_rect.txt"
    truth.write_text(truth.read_text().replace("10,10,20,16", "11,10,20,16"))
    assert changed() == "boxes"
    forget(file)
    assert changed() == "record"


def test_the_store_says_which_runs_it_does_not_use(workshop):
    (still,) = candidates(["mine:Still"])
    result = runner.Outcome(np.full((6, 4), 7.0), np.ones(6))

    def loaded() -> tuple[list[bool], list[str]]:
        """Whether each run is used, and what is said, as seen by a new process."""
        store, said = runner.Store(Path("out"), nested=False), []
        jobs = [runner.Job(still, one) for one in read_dataset("sequences", Path("data"), ["a", "d"]).sequences]
        if not list(Path("out").rglob("*.txt")):
            for job in jobs:
                store.save(job, result)
        used = [store.load(job) is not None for job in jobs]
        store.stale.tell(said.append)
        return used, said

    assert loaded() == ([True, True], [])
    truth = workshop / "data" / "a" / "groundtruth_rect.txt"
    truth.write_text(truth.read_text().replace("10,10,20,16", "12,10,20,16"))
    assert loaded() == (
        [False, True],
        ["stored runs of Still are made again, because the true boxes have changed: a"],
    )
    with open("mine.py", "a") as module:
        module.write("\n# it has changed\n")
    (said,) = loaded()[1]
    assert said.endswith("because the tracker, its weights, settings or code have changed: a, d")


@pytest.mark.slow
def test_stored_runs_of_other_data_and_trackers_are_made_again_and_said(workshop, capsys):
    asked = ["eval", "--root", "data", "--sequences", "a,d", "--tracker", "mine:Still", "--output", "out"]
    file = workshop / "out" / "raw" / "Still" / "a.txt"
    assert main(asked) == 0 and main(asked) == 0
    assert "made again" not in capsys.readouterr().err and read_boxes(file)[0, 0] == 10
    truth = workshop / "data" / "a" / "groundtruth_rect.txt"
    truth.write_text(truth.read_text().replace("10,10,20,16", "12,10,20,16"))
    assert main(asked) == 0
    told = "stored runs of Still are made again, because the true boxes have changed: a\n"
    assert told in capsys.readouterr().err and read_boxes(file)[0, 0] == 12
    with open("mine.py", "a") as module:
        module.write("\n# it has changed\n")
    assert main(asked) == 0
    assert "because the tracker, its weights, settings or code have changed: a, d\n" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_runner_goes_on_where_it_was(workshop):
    """The process is killed while it works; what had been finished then is not done again."""
    for number in range(6):
        make_sequence(workshop / "many", f"s{number}", frames=10)
    command = [
        sys.executable,
        "-m",
        "snscf_core.commands.cli",
        "eval",
        "--root",
        "many",
        "--tracker",
        "mine:Slow",
        "--output",
        "out",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(workshop)])}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    raw = workshop / "out" / "raw" / "Slow"
    end = time.monotonic() + 120
    while len(list(raw.glob("inputs/s?.json"))) < 2:  # written last
        assert first.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    first.kill()
    first.wait()
    done = [raw / f"{file.stem}.txt" for file in raw.glob("inputs/s?.json")]
    finished = {file.name: file.stat().st_mtime_ns for file in done}
    assert 2 <= len(finished) < 6
    subprocess.run(command, env=environment, check=True, capture_output=True)
    after = {file.name: file.stat().st_mtime_ns for file in raw.glob("s?.txt")}
    assert len(after) == 6
    assert finished.items() <= after.items()


@pytest.mark.slow
def test_two_processes_of_torchrun_share_the_work_and_one_reports(workshop):
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"),
        *("-m", "snscf_core.commands.cli", "eval", "--root", "data", "--tracker", "mine:Still", "--output", "out"),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(workshop)])}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.count("mean of 4") == 1
    assert len(report(workshop / "out")["Still"]["sequences"]) == 4


def test_stored_results_are_found_by_the_names_that_kits_give_them(tmp_path):
    write_result(tmp_path / "Jogging-1.txt", np.full((3, 4), 1.0), np.ones(3))
    write_result(tmp_path / "b" / "b_001.txt", np.full((2, 4), 2.0), np.ones(2))
    (tmp_path / "skating2_1.txt").write_text("1\t2\t3\t4\n")
    assert len(stored_boxes(tmp_path, "Jogging-1")) == 3
    assert len(stored_boxes(tmp_path, "b")) == 2
    assert stored_boxes(tmp_path, "Skating2-1").tolist() == [[1, 2, 3, 4]]
    with pytest.raises(FileNotFoundError, match="no results of c"):
        stored_boxes(tmp_path, "c")


def test_stored_results_that_are_shorter_count_as_far_as_they_go_and_are_noted(workshop, capsys):
    for name, rows in (("a", 6), ("b", 3), ("d", 6)):
        write_result(workshop / "theirs" / f"{name}.txt", np.full((rows, 4), 5.0), np.ones(rows))
    assert main(["eval", "--root", "data", "--tracker", "results:theirs", "--output", "out"]) == 1
    told = capsys.readouterr()
    sentence = "the results of theirs on b have 3 boxes for 6 frames: only the first 3 count"
    assert "theirs on c" in told.err and sentence in told.out
    assert json.loads((workshop / "out" / "results.json").read_text())["notes"] == [sentence]
    assert sentence in (workshop / "out" / "report.html").read_text()
    theirs = report(workshop / "out")["theirs"]
    assert theirs["sequences"]["b"]["scores"]["frames"] == 3 and "no results of c" in theirs["failed"]["c"]


def test_a_bad_line_of_stored_results_is_named(workshop, capsys):
    for name in "abcd":
        write_result(workshop / "theirs" / f"{name}.txt", np.full((6, 4), 5.0), np.ones(6))
    (workshop / "theirs" / "b.txt").write_text("1,2,3,4\n1,2,x,4\n")
    assert main(["eval", "--root", "data", "--tracker", "results:theirs"]) == 1
    assert "theirs on b: theirs/b.txt line 2: could not convert string to float: 'x'" in capsys.readouterr().err


def test_each_sequence_has_times_of_its_own(tmp_path):
    """Whatever the sequences are called, in the flat layout and in GOT-10k's."""
    names = ("car", "car_001", "car_time", "car_001_time")
    files = [tmp_path / "flat" / f"{name}.txt" for name in names]
    files += [tmp_path / "nested" / name / f"{name}_001.txt" for name in names]
    for number, file in enumerate(files, 1):
        write_result(file, np.full((number, 4), float(number)), np.full(number, float(number)))
    for number, file in enumerate(files, 1):
        boxes, seconds = read_result(file)
        assert boxes.tolist() == [[number] * 4] * number and seconds.tolist() == [number] * number


@pytest.mark.parametrize(
    ("tracker", "text"),
    [
        ("mine:Half", "needs the methods"),
        ("mine:None_", "has no attribute"),
        ("nowhere:Class", "No module named"),
        ("nano", "write nano:BACKBONE.onnx:NECKHEAD.onnx"),
        ("nano:a.onnx:b.onnx", "a.onnx does not exist"),
        ("results:nothing", "nothing is no folder"),
        ("unknown", "unknown"),
    ],
)
def test_a_tracker_that_cannot_be_had_is_told_at_once(tracker, text, workshop, capsys):
    assert main(["eval", "--root", "data", "--tracker", tracker]) == 1
    told = capsys.readouterr().err
    assert text in told and "Traceback" not in told


@pytest.mark.slow
def test_opencv_trackers_are_peers(workshop):
    assert main(["eval", "--root", "data", "--sequences", "a", "--tracker", "mil", "--output", "out"]) == 0
    assert report(workshop / "out")["mil"]["sequences"]["a"]["scores"]["frames"] == 6


def test_a_sequence_that_cannot_be_read_costs_itself_only(workshop, capsys):
    (workshop / "data" / "b" / "img" / "0006.png").unlink()
    (workshop / "data" / "c" / "groundtruth_rect.txt").write_text("1,2,x,4\n" * 6)
    for name in "abcd":
        write_result(workshop / "theirs" / f"{name}.txt", np.full((6, 4), 5.0), np.ones(6))
    asked = ["eval", "--root", "data", "--tracker", "results:theirs", "--output", "out"]
    assert main([*asked, "--sequences", "a,d"]) == 0  # the others are not looked at
    assert "5 images" not in str(capsys.readouterr())
    assert main(asked) == 1
    told = capsys.readouterr()
    assert "2 sequences can't be read and are left out: data/b has 5 images but 6 boxes; " in told.err
    assert "note: b is left out: data/b has 5 images but 6 boxes" in told.out and "c is left out" in told.out
    assert sorted(report(workshop / "out")["theirs"]["sequences"]) == ["a", "d"]
    assert main([*asked, "--sequences", "b"]) == 1
    assert "5 images but 6 boxes" in capsys.readouterr().err
    assert main([*asked, "--sequences", "a,e"]) == 1
    assert "no sequence 'e'; it has a, b, c, d" in capsys.readouterr().err
    sets, unreadable = read_sets(["x=data"])
    assert [one.name for one in sets["x"]] == ["a", "d"] and list(unreadable) == ["x/b", "x/c"]


def test_a_true_box_without_size_is_an_absent_target(workshop, capsys):
    """0,0,0,0 and NaN are the same truth, in every reader of text files."""
    for name, absent in (("a", "0,0,0,0"), ("d", "NaN,NaN,NaN,NaN")):
        (workshop / "data" / name / "groundtruth_rect.txt").write_text("10,10,20,16\n" * 3 + f"{absent}\n" * 3)
        write_result(workshop / "theirs" / f"{name}.txt", np.array([[10, 10, 20, 16]] * 6), np.ones(6))
    assert main(["eval", "--root", "data", "--sequences", "a,d", "--tracker", "results:theirs", "--output", "out"]) == 0
    scores = [one["scores"] for one in report(workshop / "out")["theirs"]["sequences"].values()]
    assert scores[0] == scores[1] and scores[0]["frames"] == 3
    (workshop / "data" / "a" / "groundtruth_rect.txt").write_text("0,0,0,0\n" * 6)
    assert main(["track", "data/a"]) == 1
    assert "has no box in its first line" in capsys.readouterr().err


class _Work:
    def __call__(self, job, advance):
        advance(1)
        if job == 2:
            os._exit(3)
        if job == 3:
            raise ValueError("three\nlines")
        return job * 10


@pytest.mark.slow
def test_jobs_survive_each_other():
    done = {one.job: one.result for one in jobs.run(range(5), _Work, workers=2)}
    assert {job: result for job, result in done.items() if isinstance(result, int)} == {0: 0, 1: 10, 4: 40}
    assert "exit code 3" in done[2].error
    assert done[3].error == "ValueError: three lines" and "Traceback" in done[3].details
