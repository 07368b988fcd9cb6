# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whether trackers differ, and the paper's tables."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from snscf_core.commands.cli import main
from snscf_core.evaluation.metrics import RULES
from snscf_core.evaluation.reports import compare, paper
from snscf_core.evaluation.reports.report import write_report
from snscf_core.evaluation.results import Evaluation, SequenceResult, TrackerResult


def evaluation(shifts, rules="plain", count=20, name="sequences"):
    """Trackers that are off by as many pixels, and by chance a bit more or less."""
    trackers = []
    for tracker, shift in shifts.items():
        rng = np.random.default_rng(0)
        sequences = {}
        for number in range(count):
            truth = np.tile([10.0, 10, 20, 20], (30, 1))
            off = np.zeros((30, 4))
            off[1:, 0] = np.abs(shift + rng.normal(0, 2))
            sequences[f"s{number}"] = SequenceResult(
                f"s{number}", truth + off, truth, RULES[rules], np.full(30, 0.1), (64, 48)
            )
        trackers.append(TrackerResult(tracker, {"mode": tracker}, sequences))
    return Evaluation(name, tuple(trackers))


@pytest.mark.slow
def test_bootstrap_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        interval = compare.bootstrap(rng.normal(0.5, 0.2, 40), seed=trial)
        assert interval.low < interval.mean < interval.high
        hits += interval.low <= 0.5 <= interval.high
    assert 180 <= hits <= 199
    with pytest.raises(ValueError, match="no sequences"):
        compare.bootstrap(np.empty(0))


def test_a_clear_difference_is_told_from_none():
    table = compare.interval_table(evaluation({"exact": 0, "same": 0, "off": 9}))
    verdicts = {row[0]: row[-1] for row in table.rows}
    assert verdicts == {"exact": "-", "same": "undecided", "off": "worse"}


@pytest.mark.slow
def test_reports_are_compared_on_the_sequences_that_both_have(tmp_path, capsys):
    write_report(evaluation({"zeta": 9, "alpha": 0}), tmp_path / "a")
    write_report(evaluation({"off": 9}, count=12), tmp_path / "b")
    assert main(["eval", "compare", f"{tmp_path / 'b'}:off", f"{tmp_path / 'a'}"]) == 0
    printed = capsys.readouterr().out
    assert "AUC against off" in printed and "bootstrap over 12 sequences" in printed
    rows = {line.split("|")[1].strip(): line for line in printed.splitlines() if line.startswith("| ")}
    assert "undecided" in rows["zeta"] and "better" in rows["alpha"] and "12/0/0" in rows["alpha"]
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    assert main(["eval", "compare", f"{tmp_path / 'a'}:alpha", f"{tmp_path / 'c'}:alpha"]) == 0
    assert "0/20/0" in capsys.readouterr().out


def test_what_cannot_be_compared_is_told_in_one_sentence(tmp_path, capsys):
    write_report(evaluation({"one": 0}), tmp_path / "a")
    write_report(evaluation({"two": 0}, name="otb"), tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "results.json").write_text(json.dumps({"model": "older"}))
    for arguments, text in (
        ([tmp_path / "a"], "two trackers are needed"),
        ([tmp_path / "a", tmp_path / "b"], "different data sets: otb, sequences"),
        ([f"{tmp_path / 'a'}:nobody"], "no tracker 'nobody'; it has one"),
        ([tmp_path / "none"], "is no report"),
        ([tmp_path / "c"], "no report of this version"),
    ):
        assert main(["eval", "compare", *map(str, arguments)]) == 1
        assert text in capsys.readouterr().err


def test_runs_against_different_true_boxes_are_not_compared():
    """Reports on data sets with the same names, or from before and after a correction of the truth."""

    def run(name, frames, truth):
        values = {measure: {"s": 0.5} for measure in compare._MEASURES}
        return compare.ComparedRun(name, "sequences", values, {"s": frames}, truth=truth)

    one = run("one", 30, {"s": "a"})
    for other in (run("same", 30, {"s": "a"}), run("older", 30, {}), run("shorter", 20, {"s": "b"})):
        assert compare.comparison_tables([one, other])
    with pytest.raises(ValueError, match="other true boxes of s"):
        compare.comparison_tables([one, run("corrected", 30, {"s": "b"})])
    first, second = (SequenceResult("s", np.ones((2, 4)), np.full((2, 4), value)) for value in (1.0, 2.0))
    assert first.truth_fingerprint != second.truth_fingerprint


def test_tables_of_the_paper_hold_its_figures_and_ours():
    measured = paper.Measured(
        otb=evaluation({mode: shift for shift, mode in enumerate(paper.MODES)}, "otb"),
        coverage=["otb: 20 of 100 sequences."],
    )
    tables = {table.title.partition(":")[0]: table for table in paper.tables(measured)}
    assert list(tables) == ["Table 1", "Table 2", "Table 3", "Table 4", "Figure 4"]
    mean = measured.otb.trackers[0].mean()
    ours, printed = tables["Table 1"].rows[:2]
    assert ours[:3] == ("SNS-CF, measured", f"{100 * mean.precision:.1f}", f"{100 * mean.overlap_success:.1f}")
    assert ours[4] == "10.0"
    assert printed == ("SNS-CF, paper", "84.0", "65.7", "20.2", "35.1")
    # Without VOT and LaSOT their cells are empty, and no other figure stands in for them.
    assert tables["Table 2"].rows[0] == ("SNS-CF, measured", "-", "-", "-", "-")
    rows = {row[0]: row for row in tables["Table 3"].rows}
    assert rows["siamese, paper"][4:7] == ("0.414", "6.00", "0.234") and rows["siamese, measured"][4:7] == ("-",) * 3
    assert all(set(row[1:]) == {"-"} for row in tables["Figure 4"].rows)
    assert "20 of 100" in tables["Table 1"].note


@pytest.mark.slow
def test_the_paper_command_fills_what_data_there_is(tmp_path, weights, capsys):
    random = np.random.default_rng(0)
    still = cv2.GaussianBlur(random.integers(0, 256, (96, 128, 3), np.uint8), (0, 0), 2)
    still[30:60, 40:70] = random.integers(0, 256, (6, 6, 3), np.uint8).repeat(5, 0).repeat(5, 1)
    for folder, file, box in (
        (tmp_path / "otb" / "Crossing" / "img", "groundtruth_rect.txt", "41,31,30,30"),
        (tmp_path / "vot" / "toy" / "color", "groundtruth.txt", "40,30,70,30,70,60,40,60"),
    ):
        folder.mkdir(parents=True)
        for number in range(1, 13):
            cv2.imwrite(str(folder / (f"{number:08d}.jpg" if "vot" in str(folder) else f"{number:04d}.jpg")), still)
        (folder.parent / file).write_text(f"{box}\n" * 12)
    (tmp_path / "vot" / "toy" / "occlusion.tag").write_text("1\n" * 12)
    (tmp_path / "vot" / "list.txt").write_text("toy\n")
    out = tmp_path / "out"
    arguments = ["--otb", str(tmp_path / "otb"), "--vot", str(tmp_path / "vot"), "--output", str(out), "--jobs", "2"]
    assert main(["eval", "paper", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "OTB-2015: 1 of 100 sequences, missing" in printed and "LASOT was not given" in printed
    text = (out / "paper.md").read_text()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    fusion, scenarios = (cells[1:] for cells in lines if cells[0] == "snscf, measured")
    # the whole of a still scene is tracked, and no length of 100 frames is there to make an EAO of
    assert [fusion[0], fusion[1], fusion[3], fusion[5]] == ["100.0", "100.0", "-", "0.000"]
    assert float(fusion[4]) > 0.7 and float(fusion[7]) > 0.7
    assert scenarios == ["-", "-", "0.000", "-", "0.000"]
    assert (out / "otb" / "report.html").is_file() and (out / "vot" / "raw").is_dir()
    assert main(["eval", "paper"]) == 1
    assert "--otb, --vot or --lasot" in capsys.readouterr().err
