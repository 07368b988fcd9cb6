"""Measures against published figures, sequences on disk, and the command line."""

from __future__ import annotations

import gzip
import json
import math

import cv2
import numpy as np
import pytest
import torch

from snscf_core import MODES, checkpoints
from snscf_core.cli import main
from snscf_core.evaluation.metrics import mean, score, success_auc
from snscf_core.evaluation.sequences import read_boxes, read_sequence, read_sequences
from snscf_core.network import SNSCF

# ResNet-50 takes ten minutes for all 17 sequences on two cores: six short ones, easy and hard, stand for them.
SHORT = "Couple,Crossing,Dog,Man,uavdt_S0310,vot_ball1"


def test_measures_are_those_of_the_definition():
    truth = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [np.nan] * 4, [0, 0, 10, 10]])
    found = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [0, 0, 1, 1], [30, 40, 10, 10]])
    measured = score(found, truth)
    assert measured.frames == 3
    # Overlaps 1, 1/3 and 0: above 20, 7 and 0 of the 21 thresholds.
    assert measured.success_auc == pytest.approx((20 + 7) / 21 / 3)
    assert measured.overlap_success == pytest.approx(1 / 3)
    assert measured.precision == pytest.approx(2 / 3)
    assert measured.centre_error == pytest.approx((0 + 5 + 50) / 3)


def test_no_box_given_counts_as_a_miss_and_absent_truth_not_at_all():
    measured = score([[np.nan] * 4, [0, 0, 4, 4]], [[0, 0, 4, 4], [np.nan] * 4])
    assert measured.frames == 1 and measured.success_auc == 0 and measured.precision == 0
    assert math.isnan(success_auc([]))
    with pytest.raises(ValueError, match="N x 4"):
        score(np.zeros((3, 4)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="no scores"):
        mean([])


def test_published_results_of_struck_give_its_published_scores(data):
    """Struck on OTB-2015: success AUC 0.4625, and that of each of the 100 sequences."""
    golden = data / "golden"
    expected = json.loads((golden / "expected.json").read_text())["otb"]["STRUCK"]
    annotations = json.loads(gzip.decompress((golden / "OTB2015.json.gz").read_bytes()))
    results = np.load(golden / "otb100_struck_results.npz")
    scores = []
    for name, (auc, precision) in expected["per_sequence"].items():
        boxes, truth = results[name].copy(), np.array(annotations[name]["gt_rect"], float)
        count = min(len(boxes), len(truth))
        boxes[0] = truth[0]
        scores.append(score(boxes[:count], truth[:count]))
        # The stored results are rounded: a few frames fall on the other side of one of the 21 thresholds.
        assert scores[-1].success_auc == pytest.approx(auc, abs=3 / (21 * count) + 6e-5), name
        assert scores[-1].precision == pytest.approx(precision, abs=6e-5), name
    assert len(scores) == 100
    assert mean(scores).success_auc == pytest.approx(expected["auc"], abs=6e-5)


@pytest.mark.parametrize("line", ["1,2,3,4", "1\t2\t3\t4", "1 2 3 4", "1, 2, 3, 4,"])
def test_boxes_are_read_with_any_separator(line, tmp_path):
    file = tmp_path / "boxes.txt"
    file.write_text(f"{line}\nNaN,NaN,NaN,NaN\n")
    boxes = read_boxes(file)
    assert boxes[0].tolist() == [1, 2, 3, 4] and np.isnan(boxes[1]).all()


@pytest.mark.parametrize(("content", "text"), [("1,2,3\n", "line 1 has 3"), ("1,2,3,4\n1,x,3,4\n", "line 2")])
def test_a_wrong_line_is_named(content, text, tmp_path):
    file = tmp_path / "boxes.txt"
    file.write_text(content)
    with pytest.raises(ValueError, match=text):
        read_boxes(file)


@pytest.fixture
def sequence(tmp_path):
    folder = tmp_path / "sequences" / "Patch"
    (folder / "img").mkdir(parents=True)
    rng = np.random.default_rng(0)
    background = cv2.GaussianBlur(rng.integers(0, 256, (120, 160, 3), np.uint8), (0, 0), 2)
    patch = rng.integers(0, 256, (6, 6, 3), np.uint8).repeat(5, 0).repeat(5, 1)
    lines = []
    for index in range(6):
        frame = background.copy()
        frame[40:70, 40 + 4 * index : 70 + 4 * index] = patch
        cv2.imwrite(str(folder / "img" / f"{index + 1:04d}.png"), frame)
        lines.append(f"{40 + 4 * index},40,30,30")
    (folder / "groundtruth_rect.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_a_missing_or_uneven_sequence_is_described(sequence, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"groundtruth_rect\.txt"):
        read_sequence(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_sequences(tmp_path / "none")
    (sequence / "img" / "0006.png").unlink()
    with pytest.raises(ValueError, match="5 images but 6 boxes"):
        read_sequence(sequence)


def test_the_eval_command_tracks_and_reports(sequence, weights, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["eval", "--root", str(sequence.parent), "--output", str(out), "--jobs", "2"]) == 0
    assert "mean of 1" in capsys.readouterr().out
    report = json.loads((out / "results.json").read_text())
    assert report["sequences"]["Patch"]["success_auc"] > 0.6
    boxes = read_boxes(out / "Patch.txt")
    assert score(boxes, read_sequence(sequence).boxes).success_auc == pytest.approx(
        report["mean"]["success_auc"], abs=0.02
    )


def test_the_eval_command_compares_modes_in_one_table(sequence, tmp_path, capsys):
    torch.manual_seed(0)
    checkpoints.save(SNSCF("snscf_mobilenetv2", 8).eval(), tmp_path / "weights")
    model, out = str(tmp_path / "weights"), tmp_path / "out"
    assert main(["eval", "--root", str(sequence.parent), "--model", model, "--mode", "all", "--output", str(out)]) == 0
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["success AUC", *(f"weights-{mode}" for mode in MODES)]
    titles = [line[0] for line in lines[2:]]
    assert titles == ["Patch", "mean of 1", "OS@0.5", "precision@20", "frames / s"]
    for column, mode in enumerate(MODES, 1):
        report = json.loads((out / f"weights-{mode}" / "results.json").read_text())
        assert report["mode"] == mode
        assert lines[2][column] == lines[3][column] == f"{report['mean']['success_auc']:.3f}"
        assert (out / f"weights-{mode}" / "Patch.txt").is_file()


def test_the_track_command_writes_boxes_and_a_video(sequence, weights, tmp_path, capsys):
    text, video = tmp_path / "boxes.txt", tmp_path / "out.mp4"
    assert main(["track", str(sequence), "--output", str(text), "--video", str(video)]) == 0
    rows = [line.split(",") for line in text.read_text().splitlines()]
    assert len(rows) == 6 and rows[-1][5] == "TRACKED"
    assert abs(float(rows[-1][0]) - 60) < 4
    assert cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT) == 6
    # The video is an input too.
    assert main(["track", str(video), "--box", "40,40,30,30"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["track", "nowhere.mp4", "--box", "1,2,3,4"], "nowhere.mp4 does not exist"),
        (["track", "{sequence}", "--box", "1,2,x"], "--box must be"),
        (["track", "{sequence}/img"], "--box x,y,w,h"),
        (["track", "{sequence}", "--model", "nothing"], "nothing"),
        (["eval", "--root", "nowhere"], "nowhere is no folder"),
    ],
)
def test_wrong_arguments_end_with_one_sentence(arguments, text, sequence, capsys):
    assert main([argument.format(sequence=sequence) for argument in arguments]) == 1
    printed = capsys.readouterr().err
    assert text in printed and "Traceback" not in printed


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("model", "sequences", "count", "floor"),
    [("snscf_mobilenetv2", None, 17, 0.48), ("snscf_r50", SHORT, 6, 0.55)],
)
def test_correlation_filters_track_real_sequences(model, sequences, count, floor, data, imagenet, tmp_path):
    """Mean success AUC on the development sequences, without any training."""
    backbone = str(imagenet / checkpoints.IMAGENET_FILES[model])
    options = ["--model", backbone, "--mode", "correlation_filter", "--jobs", "2", "--output", str(tmp_path)]
    chosen = ["--sequences", sequences] if sequences else []
    assert main(["eval", "--root", str(data / "sequences"), *chosen, *options]) == 0
    report = json.loads((tmp_path / "results.json").read_text())
    assert len(report["sequences"]) == count
    assert report["mean"]["success_auc"] >= floor


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_shipped_network_tracks_real_sequences_best_in_its_full_mode(data, tmp_path):
    options = ["--mode", "snscf,correlation_filter", "--jobs", "2", "--output", str(tmp_path)]
    assert main(["eval", "--root", str(data / "sequences"), *options]) == 0
    full, filters = (
        json.loads((tmp_path / f"snscf_mobilenetv2-{mode}" / "results.json").read_text())["mean"]["success_auc"]
        for mode in ("snscf", "correlation_filter")
    )
    assert full >= 0.55 and full > filters
