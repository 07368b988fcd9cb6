# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""VOT: regions and their overlap, runs with resets, the data set's layout, and the measures against known figures."""

from __future__ import annotations

import gzip
import json
import struct
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snscf_core.boxes import iou
from snscf_core.evaluation.regions import (
    FAILED,
    INITIALISED,
    UNKNOWN,
    corners,
    enclosing_boxes,
    format_region,
    overlaps,
    parse_region,
    read_regions,
    write_regions,
)
from snscf_core.evaluation.vot import (
    SupervisedRun,
    VotSequence,
    average_overlap,
    expected_average_overlap,
    expected_overlap_curve,
    read_runs,
    read_vot_sequence,
    read_vot_sequences,
    run_supervised,
    score,
    score_tags,
    write_runs,
)

TRACKERS = ("NanoTrackV3", "LightTrack", "SiamCAR", "DaSiamRPN")
TAGS = ("camera_motion", "illum_change", "motion_change", "occlusion", "size_change")


# Regions --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("0", UNKNOWN),
        ("1\n", INITIALISED),
        ("2.000", FAILED),
        ("1.5,2,3,4", (1.5, 2, 3, 4)),
        ("1, 2, 3, 4, 5, 6, 7, 8,", (1, 2, 3, 4, 5, 6, 7, 8)),
        ("nan,nan,nan,nan", UNKNOWN),
        ("1,2,3,4,5,6,7,NaN", UNKNOWN),
    ],
)
def test_regions_are_read_as_the_toolkits_write_them(text, region):
    assert parse_region(text) == region


@pytest.mark.parametrize("text", ["3", "1,2", "1,2,3", "m0,0,4,4,16", "1,2,3,x", "1,2,3,4,5,6,7,8,9,10"])
def test_a_line_that_is_no_region_is_named(text, tmp_path):
    file = tmp_path / "run.txt"
    file.write_text(f"1\n{text}\n")
    with pytest.raises(ValueError, match=r"run\.txt line 2"):
        read_regions(file)


def test_regions_survive_writing(tmp_path):
    regions = [1, (1.0, 2.0, 3.5, 4.25), 2, 0, (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, -6.0, 7.0)]
    write_regions(tmp_path / "run.txt", regions)
    assert read_regions(tmp_path / "run.txt") == regions
    assert format_region((1, 2, 3, 1 / 3)) == "1.0000,2.0000,3.0000,0.3333"
    with pytest.raises(FileNotFoundError, match=r"other\.txt"):
        read_regions(tmp_path / "other.txt")


def test_the_toolkits_binary_results_are_read(tmp_path):
    polygon = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.5)
    whole = struct.pack("<hI", 1, 3) + struct.pack("<BI", 0, 1) + struct.pack("<B4f", 1, 10.5, 20, 30, 40)
    whole += struct.pack("<BH8f", 2, 4, *polygon)
    file = tmp_path / "run.bin"
    file.write_bytes(whole)
    assert read_regions(file) == [1, (10.5, 20, 30, 40), polygon]
    for broken in (
        whole[:-3],
        b"",
        struct.pack("<hI", 2, 0),
        struct.pack("<hIB", 1, 1, 3),  # a mask
        struct.pack("<hIBH10f", 1, 1, 2, 5, *range(10)),  # five corners
    ):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match=r"run\.bin"):
            read_regions(file)


# Two polygons, and their overlap as the VOT region library (compiled from C) computes it inside 0..99 x 0..79, without
# and with its legacy rasterisation: upright, turned, outside of the picture on two sides each, a bow tie, a few pixels.
LIBRARY = [
    ([10, 10, 30, 10, 30, 30, 10, 30], [20, 15, 40, 15, 40, 35, 20, 35], 0.249292, 0.230769),
    ([12.3, 20.7, 40.1, 10.2, 52.6, 38.9, 24.8, 49.4], [20, 15, 50, 15, 50, 45, 20, 45], 0.729875, 0.740952),
    ([-20.5, 5.2, 30.4, -12.1, 41.7, 22.8, -9.2, 40.1], [-5, -5, 25, -5, 25, 25, -5, 25], 0.557756, 0.560345),
    ([80.2, 60.5, 120.7, 70.3, 110.1, 95.9, 75.4, 88.8], [90, 55, 130, 55, 130, 90, 90, 90], 0.329032, 0.337321),
    ([10, 10, 40, 40, 40, 10, 10, 40], [15, 5, 35, 5, 35, 45, 15, 45], 0.246731, 0.190476),
    ([3.2, 3.4, 5.1, 2.9, 5.6, 4.8, 3.7, 5.3], [3, 3, 5.5, 3, 5.5, 5, 3, 5], 0.75, 1.0),
]


def test_overlaps_are_those_of_the_vot_library():
    first, second, newer, legacy = (list(values) for values in zip(*LIBRARY, strict=True))
    assert overlaps(first, second, (99, 79)) == pytest.approx(newer, abs=1e-6)
    assert overlaps(second, first, (99, 79)) == pytest.approx(newer, abs=1e-6)
    assert overlaps(first, second, (99, 79), legacy=True) == pytest.approx(legacy, abs=1e-6)


def test_overlaps_of_codes_are_unknown_and_far_regions_do_not_overlap():
    huge = (-1e25, -1e25, 2e25, 2e25)
    regions = [INITIALISED, (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 9.0, 9.0), (1e9, 1e9, 5.0, 5.0), huge]
    found = overlaps(corners(regions), corners([(0.0, 0.0, 10.0, 10.0)] * 5), (100, 100))
    assert np.isnan(found[0]) and found[1:].tolist() == pytest.approx([1, 0, 0, 11**2 / 101**2])
    assert overlaps(np.empty((0, 8)), np.empty((0, 8))).shape == (0,)
    with pytest.raises(ValueError, match="in pairs"):
        overlaps(np.zeros((2, 8)), np.zeros((3, 8)))


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_overlaps_of_large_regions_are_nearly_those_of_areas(seed, legacy):
    rng = np.random.default_rng(seed)
    count = 400  # more rows of pixels than are rasterised at once
    angle, centre = rng.uniform(0, 2 * np.pi, (count, 1)), rng.uniform(300, 500, (count, 1, 2))
    half = rng.uniform(80, 200, (count, 2))
    corner = half[:, None] * [[-1, -1], [1, -1], [1, 1], [-1, 1]]
    x = corner[..., 0] * np.cos(angle) - corner[..., 1] * np.sin(angle)
    y = corner[..., 0] * np.sin(angle) + corner[..., 1] * np.cos(angle)
    polygons = (np.stack([x, y], -1) + centre).reshape(count, 8)
    boxes = corners([tuple(box) for box in enclosing_boxes(polygons) + rng.uniform(-20, 20, (count, 4))])
    assert overlaps(boxes, polygons, (799, 799), legacy=legacy) == pytest.approx(
        area_overlaps(boxes, polygons, (799, 799)), abs=0.02
    )


def area_overlaps(a, b, bounds):
    """Overlaps by areas inside of the picture, not pixels, of convex polygons."""
    w, h = bounds
    picture = np.float32([[0, 0], [w, 0], [w, h], [0, h]])
    found = np.full(len(a), np.nan)
    for index in np.flatnonzero(np.isfinite(a[:, 0])):
        first, second = (np.float32(polygons[index]).reshape(4, 2) for polygons in (a, b))
        common, shape = cv2.intersectConvexConvex(first, second)
        if common > 0:
            common = cv2.intersectConvexConvex(np.float32(shape), picture)[0]
        union = sum(cv2.intersectConvexConvex(p, picture)[0] for p in (first, second)) - common
        found[index] = common / union if union > 0 else 0
    return found


# Measures -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden(data):
    """Known figures, the sequences of VOT-2018, and a run of a tracker on them by its name."""
    folder = data / "golden"

    def unpacked(name):
        return json.loads(gzip.decompress((folder / name).read_bytes()))

    sequences = []
    for name, truth in unpacked("VOT2018.json.gz").items():
        polygons = corners([tuple(region) for region in truth["gt_rect"]])
        tags = {tag: np.array(truth[tag], bool) for tag in TAGS if truth[tag]}
        size = truth["width"], truth["height"]
        sequences.append(VotSequence(name, (), enclosing_boxes(polygons), polygons=polygons, size=size, tags=tags))

    @cache
    def run(tracker):
        regions = unpacked(f"vot2018_{tracker.lower()}_run.json.gz")
        return {name: [[r if isinstance(r, int) else tuple(r) for r in regions[name]]] for name in regions}

    return json.loads((folder / "expected.json").read_text())["vot2018"], sequences, run


@pytest.mark.slow
@pytest.mark.parametrize("tracker", TRACKERS)
def test_known_runs_on_vot2018_have_their_known_scores(tracker, golden):
    expected, sequences, run = golden
    figures = expected[tracker]
    found = score(run(tracker), sequences)
    assert len(sequences) == figures["sequences"]
    assert (found.frames, found.lost) == (figures["frames"], figures["failures"])
    assert round(found.accuracy, 4) == figures["accuracy"]
    assert round(found.robustness, 5) == figures["robustness"]
    assert round(100 * found.robustness, 4) == figures["robustness_percent"]
    assert round(found.eao, 4) == figures["eao"]
    assert found.eao == pytest.approx(figures["published_eao"], abs=6e-4)


@pytest.mark.slow
@pytest.mark.parametrize("tracker", TRACKERS[:2])
def test_other_definitions_move_the_eao_as_known(tracker, golden):
    expected, sequences, run = golden
    known = expected["_what_changes_the_number"][tracker]
    eao = partial(expected_average_overlap, run(tracker), sequences)
    longest = max(len(sequence.polygons) for sequence in sequences)
    found = {
        "standard": eao(),
        "interval_whole": eao(interval=(1, longest)),
        "interval_99_355": eao(interval=(99, 355)),
        "skip_0": eao(restart=0),
        "skip_10": eao(restart=10),
        "exact_polygon_area": eao(overlap=lambda a, b, size: area_overlaps(a, b, np.add(size, 1))),
        "axis_aligned_gt": eao(overlap=lambda a, b, _: iou(enclosing_boxes(a), enclosing_boxes(b))),
    }
    assert {name: round(value, 4) for name, value in found.items()} == {name: known[name] for name in found}


@pytest.mark.slow
def test_tags_share_out_the_frames_and_failures_of_vot2018(golden):
    _, sequences, run = golden
    found = score_tags(run("NanoTrackV3"), sequences)
    assert list(found) == [*TAGS, "empty"]
    flags = {tag: np.concatenate([s.tags.get(tag, np.zeros(len(s.polygons), bool)) for s in sequences]) for tag in TAGS}
    regions = [region for sequence in sequences for region in run("NanoTrackV3")[sequence.name][0]]
    failed = np.array([region == FAILED for region in regions])
    flags["empty"] = ~np.logical_or.reduce(list(flags.values()))
    for tag, scores in found.items():
        assert scores.frames == flags[tag].sum()
        assert scores.lost == (failed & flags[tag]).sum()
        assert scores.robustness == pytest.approx(scores.lost / scores.frames)
    # Occlusion is what trackers find hardest in VOT-2018.
    assert min(found, key=lambda tag: found[tag].accuracy) == "occlusion"


TRUTH = (20.0, 20.0, 10.0, 10.0)
HALF = (20.0, 20.0, 10.0, 5.0)  # 11 x 6 of 11 x 11 pixels


def make_sequence(count, name="a", tags=None, truth=None):
    polygons = corners([TRUTH] * count if truth is None else truth)
    return VotSequence(name, (), enclosing_boxes(polygons), polygons=polygons, size=(100, 80), tags=tags or {})


def test_measures_are_those_of_the_definition():
    sequence = make_sequence(30)
    regions = [INITIALISED, *[HALF] * 12, FAILED, *[UNKNOWN] * 4, INITIALISED, *[TRUTH] * 11]
    found = score({"a": [regions]}, [sequence], interval=(2, 30))
    # Frames 10, 11 and 12 at 6/11, and the last two, from 28 on, at 1.
    assert found.accuracy == pytest.approx((3 * 6 / 11 + 2) / 5)
    assert (found.frames, found.lost, found.robustness) == (30, 1, 1 / 30)
    curve = expected_overlap_curve({"a": [regions]}, [sequence])
    assert len(curve) == 30 and np.isnan(curve[0])
    for length in range(2, 31):
        failed = min(length - 1, 12) * 6 / 11 / (length - 1)
        # The second fragment has 12 frames, and did not fail.
        assert curve[length - 1] == pytest.approx((failed + 1) / 2 if length <= 12 else failed)
    assert found.eao == pytest.approx(np.mean(curve[1:]))


def test_there_is_no_eao_where_all_sequences_are_short():
    found = score({"a": [[INITIALISED, *[TRUTH] * 29]]}, [make_sequence(30)])
    assert np.isnan(found.eao) and found.accuracy == 1


def test_repetitions_are_averaged_and_missing_ends_unknown():
    perfect, failing = [INITIALISED, *[TRUTH] * 19], [INITIALISED, *[HALF] * 13, FAILED]
    found = score({"a": [perfect, failing], "b": [perfect]}, [make_sequence(20), make_sequence(20, "b")])
    assert found.lost == 0.5
    # Sequence a: four frames with two repetitions, six with one; b: ten frames.
    assert found.accuracy == pytest.approx((4 * (1 + 6 / 11) / 2 + 6 + 10) / 20)
    curve = expected_overlap_curve(
        {"a": [perfect, failing], "b": [perfect]}, [make_sequence(20), make_sequence(20, "b")]
    )
    assert curve[10] == pytest.approx((0.5 + 0.5 * 6 / 11 + 1) / 2)


def test_tags_look_at_their_own_frames():
    tag = np.zeros(30, bool)
    tag[5:20] = True
    sequence = make_sequence(30, tags={"occlusion": tag, "size_change": np.zeros(30, bool)})
    regions = [INITIALISED, *[HALF] * 12, FAILED, *[UNKNOWN] * 4, INITIALISED, *[TRUTH] * 11]
    found = score_tags({"a": [regions]}, [sequence])
    # The start on frame 18 has the tag, that on frame 0 has not: frames 5 to 12 count.
    assert found["occlusion"].accuracy == pytest.approx(6 / 11)
    assert (found["occlusion"].frames, found["occlusion"].lost) == (15, 1)
    # Frames 0-4 and 20-29, of which the first ten are burn-in.
    assert (found["empty"].frames, found["empty"].lost, found["empty"].accuracy) == (15, 0, 1)
    assert found["size_change"].frames == 0 and np.isnan(found["size_change"].accuracy)


def test_runs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="no run of sequence a"):
        score({}, [make_sequence(3)])
    with pytest.raises(ValueError, match="5 regions, but the sequence 3"):
        score({"a": [[INITIALISED] + [TRUTH] * 4]}, [make_sequence(3)])


def test_average_overlap_without_resets():
    unknown = [TRUTH] * 19 + [UNKNOWN]
    sequences = [make_sequence(20), make_sequence(20, "b", truth=unknown)]
    boxes = {"a": [TRUTH] * 20, "b": [*[HALF] * 15, *[(np.nan,) * 4] * 5]}
    assert average_overlap(boxes, sequences) == pytest.approx((19 / 20 + 14 * 6 / 11 / 19) / 2)
    assert average_overlap(boxes, sequences, burn_in=10) == pytest.approx((1 + 5 * 6 / 11 / 9) / 2)
    with pytest.raises(ValueError, match="no boxes of sequence b"):
        average_overlap({"a": [TRUTH] * 20}, sequences)
    with pytest.raises(ValueError, match=r"boxes of a are \(2, 4\)"):
        average_overlap({"a": [TRUTH] * 2}, sequences)


# The data set and runs ------------------------------------------------------------------------------------------------


def write_data_set(root: Path, name: str, lines: list[str], folder: str = "color") -> Path:
    images = root / name / folder
    images.mkdir(parents=True)
    for number in range(len(lines)):
        cv2.imwrite(str(images / f"{number + 1:08d}.jpg"), np.full((80, 100, 3), number, np.uint8))
    (root / name / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    with (root / "list.txt").open("a") as index:
        index.write(f"{name}\n")
    return root / name


def test_a_data_set_in_vots_layout_is_read(tmp_path):
    turned = write_data_set(tmp_path, "turned", ["20,10,30,20,20,30,10,20"] * 3)
    (turned / "occlusion.tag").write_text("0\n1\n1\n")
    upright = write_data_set(tmp_path, "ball", ["1,2,3,4", "nan,nan,nan,nan"], folder=".")
    (upright / "camera_motion.label").write_text("1\n")
    first, second = read_vot_sequences(tmp_path)
    assert (first.name, len(first), first.size) == ("turned", 3, (100, 80))
    assert first.polygons[0].tolist() == [20, 10, 30, 20, 20, 30, 10, 20]
    assert first.boxes[0].tolist() == [10, 10, 20, 20]
    assert {name: flags.tolist() for name, flags in first.tags.items()} == {"occlusion": [False, True, True]}
    assert first.attributes == ("occlusion",)
    assert [int(frame[0, 0, 0]) for frame in first.frames()] == [0, 1, 2]
    assert second.boxes[0].tolist() == [1, 2, 3, 4] and np.isnan(second.boxes[1]).all()
    assert second.tags["camera_motion"].tolist() == [True, False]
    assert [sequence.name for sequence in read_vot_sequences(tmp_path, ["ball"])] == ["ball"]
    # Images beyond the truth do not belong to a sequence.
    (turned / "groundtruth.txt").write_text("1,2,3,4\n")
    (turned / "occlusion.tag").unlink()
    assert len(read_vot_sequence(turned)) == 1


def test_what_is_missing_or_wrong_in_a_data_set_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"list\.txt.*NAME/color/00000001\.jpg"):
        read_vot_sequences(tmp_path)
    folder = write_data_set(tmp_path, "ball", ["1,2,3,4"] * 2)
    with pytest.raises(FileNotFoundError, match="no sequence 'dog'"):
        read_vot_sequences(tmp_path, ["dog"])
    (folder / "occlusion.tag").write_text("0\n1\n0\n")
    with pytest.raises(ValueError, match=r"occlusion\.tag"):
        read_vot_sequence(folder)
    (folder / "occlusion.tag").unlink()
    (folder / "groundtruth.txt").write_text("nan,nan,nan,nan\n1,2,3,4\n")
    with pytest.raises(ValueError, match="line 1"):
        read_vot_sequence(folder)
    (folder / "groundtruth.txt").write_text("1,2,3,4\n" * 3)
    with pytest.raises(ValueError, match="2 images but 3 true regions"):
        read_vot_sequence(folder)
    with pytest.raises(FileNotFoundError, match=r"none is no VOT sequence.*groundtruth\.txt"):
        read_vot_sequence(tmp_path / "none")


class Replayed:
    """Gives prepared boxes, one per frame (the images are numbered by their grey value)."""

    def __init__(self, boxes):
        self.boxes, self.starts = boxes, []

    def init(self, image, box):
        self.starts.append((int(image[0, 0, 0]), box))

    def update(self, image):
        return self.boxes[int(image[0, 0, 0])]


def test_resets_come_five_frames_after_a_failure(tmp_path):
    lines = ["20,10,30,20,20,30,10,20"] * 30
    lines[12] = lines[13] = lines[24] = "nan,nan,nan,nan,nan,nan,nan,nan"
    sequence = read_vot_sequence(write_data_set(tmp_path, "turned", lines))
    near, away = (12.0, 12.0, 10.0, 10.0), (60.0, 60.0, 10.0, 10.0)
    boxes = [near] * 30
    boxes[7] = away
    boxes[13] = away  # before the restart: its frame, 12, and the next have no true region
    boxes[19] = None
    boxes[25] = (np.float32(12), *near[1:])
    boxes[27] = away
    tracker = Replayed(boxes)
    run = run_supervised(tracker, sequence)
    codes = {index: region for index, region in enumerate(run.regions) if isinstance(region, int)}
    waiting = dict.fromkeys([8, 9, 10, 11, 12, 13, 20, 21, 22, 23, 24, 28, 29], UNKNOWN)
    assert codes == {0: INITIALISED, 7: FAILED, 14: INITIALISED, 19: FAILED, 25: INITIALISED, 27: FAILED, **waiting}
    assert run.regions[1] == near and run.regions[26] == near
    # A tracker of rectangles is given the one around the polygon.
    assert tracker.starts == [(0, (10, 10, 20, 20)), (14, (10, 10, 20, 20)), (25, (10, 10, 20, 20))]
    asked = np.isfinite(run.seconds)
    assert [index for index in range(30) if not asked[index]] == sorted(waiting)


@pytest.mark.slow
def test_the_protocol_makes_the_known_runs_again(golden, tmp_path):
    """A tracker that gives the boxes of a known run fails and is started anew where that run was."""
    _, sequences, run = golden
    image = tmp_path / "00000001.png"
    cv2.imwrite(str(image), np.zeros((16, 16, 3), np.uint8))
    restarted = 0
    for sequence in sequences:
        regions = run("SiamCAR")[sequence.name][0]
        if FAILED not in regions or len(regions) > 400:
            continue
        with_images = VotSequence(
            sequence.name,
            (image,) * len(regions),
            sequence.boxes,
            polygons=sequence.polygons,
            size=sequence.size,
        )
        # Neither starts nor frames between are asked for; a failure is stored without the box that was given.
        answers = iter([region for region in regions if region not in (UNKNOWN, INITIALISED)])
        tracker = Replayed([])
        tracker.update = lambda _, answers=answers: None if (answer := next(answers)) == FAILED else answer
        again = run_supervised(tracker, with_images).regions
        assert again == regions, sequence.name
        assert len(tracker.starts) == regions.count(INITIALISED)
        restarted += regions.count(FAILED)
    assert restarted > 10


def test_runs_are_written_where_the_toolkits_look_for_them(tmp_path):
    folder = tmp_path / "results" / "SNSCF"
    first = SupervisedRun([INITIALISED, TRUTH, FAILED, UNKNOWN], np.array([0.5, 0.25, 0.125, np.nan]))
    second = SupervisedRun([INITIALISED, TRUTH, TRUTH, TRUTH], np.array([0.5, 0.25, 0.25, 0.25]))
    write_runs(folder, "ball", [first, second])
    write_runs(folder, "ball", [second], "unsupervised")
    place = folder / "baseline" / "ball"
    assert (place / "ball_001.txt").read_text() == "1\n20.0000,20.0000,10.0000,10.0000\n2\n0\n"
    assert (place / "ball_001_time.value").read_text() == "0.500000\n0.250000\n0.125000\n\n"
    assert (place / "ball_time.txt").read_text().splitlines()[::3] == ["0.500000,0.500000", "nan,0.250000"]
    assert read_runs(folder, ["ball"]) == {"ball": [first.regions, second.regions]}
    assert read_runs(folder, ["ball"], "unsupervised") == {"ball": [second.regions]}
    with pytest.raises(FileNotFoundError, match=r"no results of dog: expected .*baseline/dog/dog_001\.txt"):
        read_runs(folder, ["ball", "dog"])
