# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reports of evaluations: their tables, page, plots, contact sheets and figures."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
import subprocess
import sys
from dataclasses import asdict
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from snscf_core.evaluation import metrics
from snscf_core.evaluation.reports.contact_sheets import contact_sheets, first_failure
from snscf_core.evaluation.reports.report import attribute_table, mean_table, results, sequence_table, write_report
from snscf_core.evaluation.results import Evaluation, SequenceResult, Table, TrackerResult
from snscf_core.evaluation.sequences import read_frame, read_sequence

TRUTH = np.tile([40.0, 30.0, 20.0, 10.0], (30, 1))
MARK = np.array([0, 0, 255], np.uint8)  # red, at the target of every frame


def shifted(pixels, start=1):
    """The true boxes, moved to the right from a frame on."""
    boxes = TRUTH.copy()
    boxes[start:, 0] += pixels
    return boxes


def tracker(name, boxes, **more):
    """On as many sequences as there are boxes: S0, S1, ..."""
    attributes = more.pop("attributes", {})
    rules = metrics.RULES[more.pop("rules", "plain")]
    seconds = more.pop("seconds", np.empty(0))
    sequences = {
        f"S{i}": SequenceResult(f"S{i}", one, TRUTH, rules, seconds, (160, 120), attributes.get(f"S{i}", ()))
        for i, one in enumerate(boxes)
    }
    return TrackerResult(name, {"model": "m"}, sequences, **more)


def frames(indices):
    for index in indices:
        frame = np.full((120, 160, 3), 60 + index, np.uint8)
        frame[30:40, 40:60] = MARK
        yield frame


class Structure(HTMLParser):
    """Fails on tags left open; collects text and addresses."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.text, self.addresses, self.ids = [], [], [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.ids += [value for name, value in attributes if name == "id"]
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def two():
    attributes = {"S0": ("occlusion", "scale"), "S1": ("scale",)}
    return Evaluation(
        "Things",
        (
            tracker(
                "good", [shifted(1), shifted(2), shifted(40, 20)], attributes=attributes, seconds=np.full(30, 0.02)
            ),
            tracker("poor", [shifted(5), shifted(40, 10)], attributes=attributes, failed={"S2": "out of memory"}),
        ),
        missing=("Gone",),
    )


def test_tables_hold_the_figures_of_the_measures(two):
    good, poor = two.trackers
    means = mean_table(two)
    assert means.header == ("tracker", "sequences", *metrics.MEASURES.values(), "fps")
    assert means.rows[0][:3] == ("good", "3", f"{good.mean().success_auc:.3f}")
    assert means.rows[0][-1] == "50.0" and means.rows[1][-1] == "–"
    assert "not all run on the same sequences" in means.note
    assert sequence_table(two, "centre_error").rows == (
        ("S0", f"{29 / 30:.1f}", f"{29 * 5 / 30:.1f}"),
        ("S1", f"{29 * 2 / 30:.1f}", f"{20 * 40 / 30:.1f}"),
        ("S2", f"{10 * 40 / 30:.1f}", "failed"),
        ("mean", f"{good.mean().centre_error:.1f}", f"{poor.mean().centre_error:.1f}"),
    )
    assert attribute_table(two, "precision").rows == (
        ("occlusion (1)", "1.000", "1.000"),
        ("scale (2)", "1.000", f"{(1 + 10 / 30) / 2:.3f}"),
    )
    with pytest.raises(ValueError, match="unknown measure 'speed'"):
        sequence_table(two, "speed")


def test_got10k_has_the_names_of_its_kit():
    evaluation = Evaluation("GOT-10k", (tracker("one", [shifted(1)], rules="got10k"),))
    assert mean_table(evaluation).header == ("tracker", "sequences", "AO", "SR@0.5", "SR@0.75")


def test_published_results_give_their_published_figures(data):
    golden = data / "golden"
    annotations = json.loads(gzip.decompress((golden / "OTB2015.json.gz").read_bytes()))
    boxes = np.load(golden / "otb100_struck_results.npz")
    sequences = {}
    for name in boxes.files:
        truth = np.array(annotations[name]["gt_rect"], float)
        count = min(len(truth), len(boxes[name]))
        otb = metrics.RULES["otb"]
        sequences[name] = SequenceResult(name, boxes[name][:count].astype(float), truth[:count], otb)
    evaluation = Evaluation("OTB-2015", (TrackerResult("Struck", {}, sequences),))
    expected = json.loads((golden / "expected.json").read_text())["otb"]["STRUCK"]
    assert mean_table(evaluation).rows[0][:2] == ("Struck", "100")
    assert float(mean_table(evaluation).rows[0][2]) == pytest.approx(expected["auc"], abs=5.1e-4)
    curve = results(evaluation)["trackers"]["Struck"]["curves"]["success"]
    assert np.mean(curve) == pytest.approx(expected["auc"], abs=6e-5)


def test_a_failure_is_a_loss_that_lasts():
    def failure(boxes, truth=TRUTH, rules="plain"):
        return first_failure(SequenceResult("S", boxes, truth, metrics.RULES[rules]))

    assert failure(TRUTH) is None
    assert failure(shifted(40, 12)) == 12
    assert failure(shifted(40, 27)) == 27  # to the end
    for length, found in ((9, None), (10, 5)):
        boxes = TRUTH.copy()
        boxes[5 : 5 + length] += 100
        assert failure(boxes) == found
    absent = TRUTH.copy()
    absent[12:15] = np.nan
    assert failure(shifted(40, 12), absent) == 15
    nothing = TRUTH.copy()
    nothing[7:] = np.nan
    assert failure(nothing) == 7
    assert failure(shifted(40, 0)) == 0 and failure(shifted(40, 0), rules="otb") == 1
    assert failure(TRUTH, np.full_like(TRUTH, np.nan)) is None


def test_a_report_is_complete_and_stands_alone(two, tmp_path):
    pytest.importorskip("matplotlib")
    extra = Table("Confidence", ("tracker", "AUC"), (("good", "0.5 to 0.6"),), "95 %")
    page = write_report(
        two, tmp_path / "new" / "report", frames=dict.fromkeys(["S0", "S1", "S2"], frames), tables=[extra]
    )
    assert page == tmp_path / "new" / "report" / "report.html"
    found = Structure(page.read_text())
    links = {address for address in found.addresses if not address.startswith("data:image/")}
    assert len(found.addresses) > len(links) > 3 and links == {f"#{name}" for name in found.ids}
    assert not {"script", "link", "iframe"}.intersection(found.tags)
    text = " ".join(" ".join(found.text).split())
    for expected in (
        "1 sequence of the data set missing : Gone",
        "poor failed on 1 sequence",
        "S2: out of memory",
        "Means on the 2 sequences that every tracker was run on",
        "Confidence",
        "0.5 to 0.6",
        "95 %",
        "occlusion (1)",
        "Every sequence counts the same",
        "S1 · 11/30 · IoU 0.00",
    ):
        assert expected in text
    folder = page.parent
    names = ("attributes", "normalised_precision", "precision", "success")
    assert sorted(file.name for file in (folder / "plots").iterdir()) == [
        f"{n}.{s}" for n in names for s in ("png", "svg")
    ]
    for name in names:
        assert cv2.imread(str(folder / "plots" / f"{name}.png")).std() > 5
    sheets = sorted(file.name for file in (folder / "contact_sheets").iterdir())
    assert sheets == [f"0{i}-{n}-{k}.jpg" for i, n in ((1, "good"), (2, "poor")) for k in ("best", "failures", "worst")]
    assert all(cv2.imread(str(folder / "contact_sheets" / name)) is not None for name in sheets)


def test_figures_are_stored_without_times(two, tmp_path):
    write_report(two, tmp_path)
    stored = json.loads((tmp_path / "results.json").read_text())
    good = stored["trackers"]["good"]
    mean = two.trackers[0].mean()
    assert good["mean"]["success_auc"] == pytest.approx(mean.success_auc, abs=1e-6)
    assert good["sequences"]["S2"]["first_failure"] == 20
    assert good["sequences"]["S0"]["attributes"] == ["occlusion", "scale"]
    assert good["attributes"]["scale"]["frames"] == 60
    assert np.mean(good["curves"]["success"]) == pytest.approx(mean.success_auc, abs=1e-6)
    assert len(good["curves"]["precision"]) == len(stored["thresholds"]["precision"]) == 51
    assert stored["trackers"]["poor"]["failed"] == {"S2": "out of memory"} and stored["missing"] == ["Gone"]
    assert stored["rules"] == [asdict(metrics.RULES["plain"])]
    speed = json.loads((tmp_path / "speed.json").read_text())
    assert speed["good"]["fps"] == 50 and speed["poor"]["sequences"]["S0"] is None


@pytest.mark.slow
def test_the_same_results_give_the_same_files(two, tmp_path):
    def written(folder):
        write_report(two, folder, frames={"S0": frames, "S2": frames})
        return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    first = written(tmp_path / "first")
    assert len(first) > 8 and first == written(tmp_path / "second")
    # over an earlier report too
    assert first == written(tmp_path / "first")


def test_another_speed_changes_no_figure(two, tmp_path):
    slower = Evaluation("Things", (tracker("a", [shifted(1)], seconds=np.full(30, 0.5)),))
    faster = Evaluation("Things", (tracker("a", [shifted(1)], seconds=np.full(30, 0.1)),))
    for evaluation, name in ((slower, "slower"), (faster, "faster")):
        write_report(evaluation, tmp_path / name)
    stored = [(tmp_path / name / "results.json").read_bytes() for name in ("slower", "faster")]
    assert stored[0] == stored[1]
    assert json.loads((tmp_path / "faster" / "speed.json").read_text())["a"]["fps"] == 10


def test_names_are_shown_and_never_markup(tmp_path):
    name = '_<script>alert("x")</script> & $a_{b}$ / ' + "long" * 30
    evaluation = Evaluation("<b>D</b>", (tracker(name, [shifted(1)], failed={"<i>": "</html>"}),), ("<u>",))
    table = Table("<h1>", ("<p>", "<q>"), (("<em>", "<s>"),), "<a href=x>")
    page = write_report(evaluation, tmp_path, tables=[table], frames={"S0": frames}, title="T <title>")
    found = Structure(page.read_text())
    assert not {"script", "b", "i", "u", "q", "em", "s"}.intersection(found.tags)
    assert found.tags.count("h1") == found.tags.count("title") == 1
    text = "".join(found.text)
    for given in (name, "<b>D</b>", "<i>: </html>", "<u>", "<em>", "<s>", "<a href=x>", "T <title>"):
        assert given in text
    assert {file.parent.name for file in tmp_path.rglob("*.jpg")} == {"contact_sheets"}


def test_tiles_show_the_target_and_the_boxes(two):
    asked = []

    def reader(indices):
        asked.append(list(indices))
        return frames(indices)

    sheets, unread = contact_sheets(two, {"S2": reader})
    assert not unread
    assert [(sheet.tracker, sheet.kind) for sheet in sheets] == [(0, "frames"), (0, "failures")]
    (failure,) = sheets[1].tiles
    assert (failure.sequence, failure.index, failure.overlap) == ("S2", 20, 0)
    assert asked == [sorted({tile.index for sheet in sheets for tile in sheet.tiles})]
    picture = failure.picture
    assert picture.shape == (240, 320, 3)
    reds = np.argwhere((picture == MARK).all(axis=2))
    whites = np.argwhere((picture == 255).all(axis=2))
    # the mark fills the white box, on all sides of it
    assert (
        len(reds) > 500
        and (whites.min(axis=0) <= reds.min(axis=0)).all()
        and (whites.max(axis=0) >= reds.max(axis=0)).all()
    )
    own = np.argwhere((picture == (0xB2, 0x72, 0)).all(axis=2))
    assert own[:, 1].min() > reds[:, 1].max()  # 40 pixels to the right
    whole = cv2.imdecode(np.frombuffer(sheets[0].jpeg(["good", "poor"]), np.uint8), cv2.IMREAD_COLOR)
    assert whole.shape[1] > 3 * 320 and whole.shape[0] > 240


def test_boxes_outside_the_frame_and_frames_without_a_box_are_drawn(tmp_path):
    wild = TRUTH.copy()
    wild[1:10] = [-1e12, 1e12, 5, 5]
    wild[10:20] = np.nan
    wild[20:] = [50, 50, 1e9, 1e9]
    truth = TRUTH + np.array([115, 85, 0, 0])  # mostly outside
    results_ = {"S0": SequenceResult("S0", wild, truth)}
    sheets, unread = contact_sheets(Evaluation("D", (TrackerResult("t", {}, results_),)), {"S0": frames})
    assert not unread and [(sheet.kind, len(sheet.tiles)) for sheet in sheets] == [("frames", 12), ("failures", 1)]


def test_unreadable_frames_are_named_and_the_rest_is_reported(two, tmp_path):
    def missing(indices):
        raise FileNotFoundError("img/0001.jpg does not exist")
        yield

    page = write_report(two, tmp_path, frames={"S0": missing, "S1": lambda indices: frames(indices[:1]), "S2": frames})
    text = "".join(Structure(page.read_text()).text)
    assert "The frames of S0 could not be read: img/0001.jpg does not exist" in text
    assert "The frames of S1 could not be read" in text and "S2 · 21/30" in text


@pytest.mark.parametrize("count", [1, 10])
def test_sizes_stay_within_bounds(count, tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (240, 320, 3), np.uint8)
    trackers = tuple(tracker(f"tracker {i}", [shifted(j % 30) for j in range(40)]) for i in range(count))
    readers = {f"S{i}": lambda indices: (noise for _ in indices) for i in range(40)}
    page = write_report(Evaluation("Many", trackers), tmp_path, frames=readers)
    assert page.stat().st_size < 12e6  # of noise, which JPEG can't make small
    sheets, _ = contact_sheets(Evaluation("Many", trackers), readers)
    assert max(len(sheet.tiles) for sheet in sheets) <= 12 and sum(len(sheet.tiles) for sheet in sheets) <= 120


def test_nothing_known_is_shown_as_nothing(tmp_path):
    nowhere = np.full_like(TRUTH, np.nan)
    blank = SequenceResult("S0", nowhere, nowhere)
    trackers = (TrackerResult("blank", {}, {"S0": blank}), TrackerResult("none", {}, {}, {"S0": "it broke"}))
    page = write_report(Evaluation("D", trackers), tmp_path, frames={"S0": frames})
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["trackers"]["blank"]["sequences"]["S0"]["scores"]["success_auc"] is None
    assert stored["trackers"]["none"]["mean"] is None
    assert not re.search(r"\bnan\b", " ".join(Structure(page.read_text()).text).lower())
    assert mean_table(Evaluation("D", trackers)).rows[1][2:] == ("–",) * len(metrics.MEASURES)
    assert not list(tmp_path.glob("contact_sheets/*"))


def test_an_earlier_report_is_replaced_and_other_files_stay(two, tmp_path):
    write_report(two, tmp_path, frames={"S0": frames})
    (tmp_path / "contact_sheets" / "mine.jpg").write_bytes(b"mine")
    (tmp_path / "boxes.txt").write_text("mine")
    write_report(Evaluation("D", (tracker("one", [shifted(1)]),)), tmp_path)
    assert [file.name for file in (tmp_path / "contact_sheets").iterdir()] == ["mine.jpg"]
    assert not (tmp_path / "plots" / "attributes.svg").exists() and (tmp_path / "boxes.txt").read_text() == "mine"


def test_mistakes_are_told(two, tmp_path):
    with pytest.raises(ValueError, match="no tracker to report on"):
        write_report(Evaluation("D", ()), tmp_path)
    with pytest.raises(ValueError, match="both named 'good'"):
        write_report(Evaluation("D", (two.trackers[0], two.trackers[0])), tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is a file"):
        write_report(two, tmp_path / "file")


@pytest.mark.slow
def test_without_matplotlib_the_rest_is_written(tmp_path):
    """In an interpreter that can't import it."""
    program = f"""
import sys
sys.modules["matplotlib"] = None
from pathlib import Path
import numpy as np
from snscf_core.evaluation.reports.report import write_report
from snscf_core.evaluation.results import Evaluation, SequenceResult, TrackerResult
boxes = np.tile([4.0, 4.0, 8.0, 8.0], (5, 1))
result = TrackerResult("one", {{}}, {{"S": SequenceResult("S", boxes, boxes)}})
write_report(Evaluation("D", (result,)), Path({str(tmp_path)!r}))
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    text = "".join(Structure((tmp_path / "report.html").read_text()).text)
    assert "pip install matplotlib" in text and "AUC of each sequence" in text
    assert (tmp_path / "results.json").is_file() and not list((tmp_path / "plots").glob("*"))


def test_plots_rank_the_trackers_in_their_legend(two, tmp_path):
    """The text of an SVG file is there as comments, which is how its letters can be read."""
    pytest.importorskip("matplotlib")
    write_report(two, tmp_path)
    comments = re.findall(r"<!-- (.*?) -->", (tmp_path / "plots" / "success.svg").read_text())
    figures = {one.name: f"{one.name} [{one.mean().success_auc:.3f}]" for one in two.trackers}
    ranked = [figures[one.name] for one in sorted(two.trackers, key=lambda one: -one.mean().success_auc)]
    assert [comment for comment in comments if comment in figures.values()] == ranked
    embedded = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", (tmp_path / "report.html").read_text())
    assert (tmp_path / "plots" / "success.svg").read_bytes() == base64.b64decode(embedded[0])


def test_real_frames_become_contact_sheets(data, tmp_path):
    sequence = read_sequence(data / "sequences" / "Crossing")
    boxes = sequence.boxes.copy()
    boxes[60:] = boxes[60]  # stands still while the target walks on
    result = SequenceResult("Crossing", boxes, sequence.boxes)
    evaluation = Evaluation("Crossing", (TrackerResult("lazy", {}, {"Crossing": result}),))
    lost = first_failure(result)
    assert lost is not None and 60 < lost < 120
    reader = {"Crossing": lambda indices: (read_frame(sequence.files[index]) for index in indices)}
    page = write_report(evaluation, tmp_path, frames=reader)
    assert f"Crossing · {lost + 1}/120" in page.read_text()
    assert math.isclose(results(evaluation)["trackers"]["lazy"]["mean"]["frames"], 120)
    assert cv2.imread(str(tmp_path / "contact_sheets" / "01-lazy-failures.jpg")).std() > 20
