# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The tracker on moving pictures: what a user of the library notices."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from plain_tracker import PlainStep

from snscf_core import MODES, Target, Tracker, TrackerConfig, TrackState
from snscf_core.boxes import iou
from snscf_core.crops import TEMPLATE_SIZE, context_side, cut_crops, sample_crops
from snscf_core.model import acf
from snscf_core.model.checkpoints import IMAGENET_FILES, save
from snscf_core.model.network import create
from snscf_core.online.adaptation import FilterUpdate
from snscf_core.online.association import associate
from snscf_core.online.config import changed
from snscf_core.online.inference import Candidate
from snscf_core.online.mode import mode_named
from snscf_core.online.motion import Distractor, Motion
from snscf_core.online.scale_search import scale_balances
from snscf_core.online.search_regions import plan
from snscf_core.online.tensor_selection import merged
from snscf_core.scenes import Scene


def texture(height: int, width: int, seed: int, grain: float = 3.0) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), grain)
    return cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


BACKGROUND, OBJECT = texture(240, 320, 0), texture(50, 40, 1, 4.0)


def picture(x: int, y: int, scale: float = 1.0) -> tuple[np.ndarray, tuple[float, ...]]:
    patch = cv2.resize(OBJECT, None, fx=scale, fy=scale)
    frame = BACKGROUND.copy()
    frame[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
    return frame, (x, y, patch.shape[1], patch.shape[0])


@pytest.fixture(scope="module", params=["shipped", "imagenet"])
def tracker(request) -> Tracker:
    """As it comes; and the filters alone on ImageNet features, which need no training."""
    if request.param == "shipped":
        return Tracker("snscf_nano", device="cpu")
    folder = request.getfixturevalue("imagenet")
    return Tracker(folder / IMAGENET_FILES["snscf_nano"], device="cpu")


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Weights with heads, untrained: enough to run every mode, not to track well."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("heads")
    save(create("snscf_nano", 32), folder)
    return folder


@pytest.mark.slow
def test_it_follows_a_moving_and_growing_object(tracker):
    frame, box = picture(60, 60)
    target = tracker.init(frame, box)
    overlaps = []
    for step in range(1, 25):
        frame, truth = picture(60 + 5 * step, 60 + 2 * step, 1 + 0.02 * step)
        track = tracker.update(frame, target)
        overlaps.append(iou(track.box, truth))
        assert track.state == TrackState.TRACKED
        assert 0.5 < track.score <= 1
    assert np.mean(overlaps) > 0.7 and min(overlaps) > 0.55


@pytest.mark.slow
def test_boxes_drawn_loosely_stay_loose():
    """What the heads would call the box is brought towards what the user drew."""
    tracker = Tracker("snscf_nano", device="cpu")
    frame, (x, y, w, h) = picture(100, 90)
    tight, loose = tracker.init(frame, (x, y, w, h)), tracker.init(frame, (x - 6, y - 8, w + 12, h + 16))
    assert loose.size_factors[0] > tight.size_factors[0] and loose.size_factors[1] > tight.size_factors[1]
    for step in range(1, 11):
        frame, _ = picture(100 + 3 * step, 90)
        tracks = [tracker.update(frame, target) for target in (tight, loose)]
    assert tracks[1].box[2] > tracks[0].box[2] + 3 and tracks[1].box[3] > tracks[0].box[3] + 3
    plain = Tracker("snscf_nano", device="cpu", config=TrackerConfig(size_correction=0.0))
    assert plain.init(frame, (x, y, w, h)).size_factors == (1.0, 1.0)


def test_the_best_proposal_is_averaged_with_those_that_nearly_agree():
    boxes = torch.tensor([[10.0, 10, 20, 20], [12, 10, 20, 20], [40, 10, 20, 20], [10, 10, 40, 40]]).T

    def of(weights: list[float], best: int, overlap: float) -> list[float]:
        return merged(boxes[None], torch.tensor([weights]), torch.tensor([[best]]), overlap)[0].tolist()

    assert of([3.0, 1.0, 5.0, 5.0], 0, 0.8) == pytest.approx([10.5, 10, 20, 20])
    assert of([3.0, 1.0, 5.0, 5.0], 0, 1.0) == pytest.approx([10, 10, 20, 20])
    assert of([0.0] * 4, 1, 0.99) == pytest.approx([12, 10, 20, 20])


def lost(tracker, empty=BACKGROUND):
    """A target that was seen at (100, 90) and then no more."""
    frame, box = picture(100, 90)
    target = tracker.init(frame, box)
    for _ in range(3):
        tracker.update(frame, target)
    states = [tracker.update(empty, target).state for _ in range(20)]
    assert TrackState.TRACKED not in states and states[-1] == TrackState.LOST
    return target


@pytest.mark.slow
def test_nothing_there_is_an_answer_and_it_finds_the_object_again(tracker):
    # Filters alone know a still background so well that its being there is enough for them.
    empty = BACKGROUND if tracker.weights.trained else np.zeros_like(BACKGROUND)
    target = lost(tracker, empty)
    tracks = [tracker.update(empty, target) for _ in range(20)]
    assert all(track.state == TrackState.LOST and track.score <= 0.05 for track in tracks)
    frame, truth = picture(104, 92)
    tracks = [tracker.update(frame, target) for _ in range(10)]
    assert tracks[-1].state == TrackState.TRACKED and iou(tracks[-1].box, truth) > 0.7 and tracks[-1].score > 0.5


@pytest.fixture(scope="module")
def shipped() -> Tracker:
    return Tracker("snscf_nano", device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("place", [(10, 20), (270, 180), (20, 185)])
def test_a_lost_target_is_found_wherever_it_comes_back(shipped, place):
    target = lost(shipped)
    frame, truth = picture(*place)
    tracks = [shipped.update(frame, target) for _ in range(30)]
    first = next(index for index, track in enumerate(tracks) if track.state == TrackState.TRACKED)
    assert all(iou(track.box, truth) > 0.6 for track in tracks[first:])
    fresh = shipped.init(frame, truth)
    assert shipped.update(frame, [target, fresh])[0].state == TrackState.TRACKED, "as any other from here on"


@pytest.mark.slow
@pytest.mark.parametrize("zoom", [0.55, 1.8])
def test_a_lost_target_is_found_in_another_size(shipped, zoom):
    target = lost(shipped)
    frame, truth = picture(102, 110, zoom)
    tracks = [shipped.update(frame, target) for _ in range(30)]
    assert tracks[-1].state == TrackState.TRACKED and iou(tracks[-1].box, truth) > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("light", [0.78, 1.3])
def test_a_lost_target_is_found_in_other_light(shipped, light):
    target = lost(shipped)
    frame, truth = picture(230, 60)
    frame = (frame * light).clip(0, 255).astype(np.uint8)
    tracks = [shipped.update(frame, target) for _ in range(30)]
    assert tracks[-1].state == TrackState.TRACKED and iou(tracks[-1].box, truth) > 0.6


@pytest.mark.slow
def test_something_else_does_not_keep_a_lost_target_from_being_found(shipped):
    """What looks like it stays in view where it was lost; the target comes back elsewhere."""
    target = lost(shipped)
    frame, (x, y, w, h) = picture(100, 90)
    twin = frame[int(y) : int(y + h), int(x) : int(x + w)]
    twin[:] = (twin * (0.2, 0.6, 1.0)).astype(np.uint8)  # of other colours
    for _ in range(6):
        assert shipped.update(frame, target).state != TrackState.TRACKED
    both, truth = picture(250, 150)
    both[int(y) : int(y + h), int(x) : int(x + w)] = twin
    tracks = [shipped.update(both, target) for _ in range(30)]
    assert tracks[-1].state == TrackState.TRACKED and iou(tracks[-1].box, truth) > 0.6


@pytest.mark.slow
def test_what_was_found_for_a_moment_only_is_given_up_again(shipped):
    target = lost(shipped)
    before = target.box
    frame, truth = picture(102, 110)
    seen = shipped.update(frame, target)
    assert seen.state == TrackState.UNCERTAIN and iou(seen.box, truth) > 0.5
    gone = [shipped.update(BACKGROUND, target) for _ in range(3)]
    assert [track.state for track in gone] == [TrackState.LOST] * 3
    assert iou(gone[-1].box, before) > 0.9


@pytest.mark.slow
def test_without_places_to_search_a_lost_target_is_waited_for_where_it_was():
    tracker = Tracker("snscf_nano", device="cpu", config=TrackerConfig(search_places=0))
    target = lost(tracker)
    far, _ = picture(270, 20)
    assert {tracker.update(far, target).state for _ in range(20)} == {TrackState.LOST}
    near, truth = picture(106, 94)
    assert iou([tracker.update(near, target) for _ in range(8)][-1].box, truth) > 0.7


@pytest.mark.slow
def test_a_lost_target_is_waited_for_where_a_turn_of_the_camera_has_carried_it():
    tracker = Tracker("snscf_nano", device="cpu", config=TrackerConfig(search_places=0))
    target = lost(tracker)
    target.carry(lambda place: (place[0] + 150, place[1] - 60))
    elsewhere, truth = picture(250, 30)
    assert iou([tracker.update(elsewhere, target) for _ in range(8)][-1].box, truth) > 0.7


def test_a_turn_of_the_camera_moves_every_place_that_a_lost_target_remembers(tmp_path):
    target = Tracker("snscf_nano", device="cpu").init(*picture(100, 90))
    target.distractors = [Distractor((10.0, 20.0), Motion((1.0, 0.0)))]
    target.last_known, target.lost_at = ((30.0, 40.0), (5.0, 6.0)), ((50.0, 60.0), (7.0, 8.0))
    target.seen = False
    centre, size = target.centre, target.size
    target.carry(lambda place: (place[0] + 3, place[1] - 2))
    assert target.centre == (centre[0] + 3, centre[1] - 2) and target.size == size
    assert target.distractors[0].centre == (13.0, 18.0)
    assert target.last_known == ((33.0, 38.0), (5.0, 6.0)) and target.lost_at == ((53.0, 58.0), (7.0, 8.0))
    target.save(tmp_path / "target")
    again = Target.load(tmp_path / "target")
    assert (again.camera_velocity, again.carried, again.seen) == (target.camera_velocity, True, False)
    assert again.light == target.light is not None


def test_a_camera_that_turns_with_a_target_does_not_push_it_away_but_its_surroundings():
    """The picture moves by 6 pixels a frame to the left, as the target walks to the right and stays in the middle."""
    target = Tracker("snscf_nano", device="cpu").init(*picture(100, 90))
    centre, config = target.centre, TrackerConfig()
    for _ in range(40):
        target.carry(lambda place: (place[0] - 6, place[1]))
        target.motion.update((0.0, 0.0), config.motion)
    assert target.centre == centre and target.motion.velocity == (0.0, 0.0)
    target.seen = False
    target.carry(lambda place: (place[0] - 6, place[1]))
    assert target.centre == (centre[0] - 6, centre[1])
    assert target.motion.velocity == pytest.approx((6.0, 0.0), abs=0.01)  # its own
    target.seen = True
    target.carry(lambda place: (place[0] - 6, place[1]))
    assert target.motion.velocity == pytest.approx((0.0, 0.0), abs=0.01)


@pytest.mark.slow
def test_lost_and_other_targets_are_followed_in_one_pass(shipped):
    target = lost(shipped)
    frame, box = picture(60, 60)
    other = shipped.init(frame, box)
    alone = copy.deepcopy(other)
    for step in range(1, 5):
        frame, _ = picture(60 + 4 * step, 60)
        together = shipped.update(frame, [target, other])[1]
        assert np.allclose(together.box, shipped.update(frame, alone).box, atol=2e-2)


@pytest.mark.slow
def test_a_twin_that_passes_is_not_taken_for_a_target_that_is_hidden(shipped):
    def twins(x: int, hidden: bool = False) -> np.ndarray:
        frame = BACKGROUND.copy() if hidden else picture(140, 40)[0]
        frame[110:160, x : x + 40] = OBJECT
        return frame

    # The network likes the twin less than most look-alikes that are remembered.
    tracker = Tracker("snscf_nano", device="cpu", config=changed(shipped.config, {"distractor_above": 0.1}))
    target = tracker.init(twins(20), (140, 40, 40, 50))
    for x in range(24, 140, 4):
        track = tracker.update(twins(x), target)
        assert track.state == TrackState.TRACKED and iou(track.box, (140, 40, 40, 50)) > 0.6
    assert target.distractors
    for x in range(140, 200, 4):
        track = tracker.update(twins(x, hidden=True), target)
        assert track.state != TrackState.TRACKED or iou(track.box, (x, 110, 40, 50)) < 0.1


@pytest.mark.slow
def test_what_passed_where_the_target_was_hidden_does_not_own_it_when_it_comes_back(shipped):
    scene = Scene(240)
    target = shipped.init(scene[120].image, scene[120].box)
    tracks = [shipped.update(scene[number].image, target) for number in range(121, 200)]
    assert any(track.state == TrackState.LOST for track in tracks), "the beam hides it"
    for number, track in enumerate(tracks[-10:], 190):
        assert track.state == TrackState.TRACKED and iou(track.box, scene[number].box) > 0.4


def test_where_the_best_proposal_is_hardly_the_target_the_likeliest_is_taken(shipped):
    frame, box = picture(60, 60)
    target = shipped.init(frame, box)
    mode = mode_named("snscf", trained=True)
    (region,) = plan(frame, target, shipped.config, mode)

    def candidate(right: float, classification: float, response: float) -> Candidate:
        numbers = 0.1, classification, response, 1.0, 10.0
        return Candidate(region, (right, 0.0), target.size, *numbers, target.embedding.given)

    def taken(*candidates: Candidate) -> tuple[Candidate, bool]:
        match = associate(target, candidates, shipped.config, mode, shipped.calibrations)
        return match.candidate, match.unverified

    jump, stay, near = candidate(100.0, 0.7, 0.01), candidate(0.0, 0.6, 0.3), candidate(4.0, 0.99, 0.2)
    assert taken(jump)[0] is jump
    match = taken(jump, stay)
    assert match[0] is stay and match[1], "it has to be verified"
    assert taken(near, stay)[0] is near, "what is well matched is not compared with what is ranked lower"


def test_a_target_that_is_not_trusted_yet_is_followed_in_size_but_teaches_nothing(shipped):
    frame, box = picture(60, 60)
    target = shipped.init(frame, box)
    learned = target.filters.numerator.copy()
    for step in range(1, 16):
        frame, truth = picture(60 + 2 * step, 60, 1 + 0.03 * step)
        target.confidence.go_astray()
        track = shipped.update(frame, target)
        assert track.state == TrackState.UNCERTAIN
        assert iou(track.box, truth) > 0.6
    assert track.box[2] * track.box[3] > 1.3 * box[2] * box[3]
    assert np.array_equal(target.filters.numerator, learned)


@pytest.mark.slow
def test_targets_are_independent_and_a_batch_is_its_members(tracker):
    frame, a = picture(60, 60)
    b = (200.0, 100.0, 50.0, 60.0)
    alone = [tracker.init(frame, a), tracker.init(frame, b)]
    together = [tracker.init(frame, a), tracker.init(frame, b)]
    for step in range(1, 4):
        frame, _ = picture(60 + 4 * step, 60)
        one_by_one = [tracker.update(frame, target) for target in alone]
        batch = tracker.update(frame, together)
        for x, y in zip(one_by_one, batch, strict=True):
            assert np.allclose(x.box, y.box, atol=1e-2)
            assert x.score == pytest.approx(y.score, abs=1e-2)
    assert tracker.update(frame, []) == []


@pytest.mark.parametrize(
    ("model", "mode", "search_size"),
    [
        *(("snscf_nano", mode, 255) for mode in MODES),
        *(("snscf_nano", mode, 191) for mode in ("snscf", "correlation_filter")),
        *(pytest.param("snscf_r50", mode, 255, marks=pytest.mark.slow) for mode in ("snscf", "paper")),
    ],
)
def test_every_step_is_that_of_the_method_written_plainly(model, mode, search_size):
    config = TrackerConfig(search_size=search_size, learning_interval=1, centre_correction=0.2, shown_size_rate=0.3)
    tracker = Tracker(model, device="cpu", mode=mode, engine="torch", config=config)
    frame, a = picture(60, 60)
    targets = [tracker.init(frame, a), tracker.init(frame, (200.0, 100.0, 50.0, 60.0))]
    for step in range(1, 7):
        frame, _ = picture(60 + 5 * step, 60 + 2 * step, 1 + 0.03 * step)
        before = copy.deepcopy(targets)
        tracks = tracker.update(frame, targets)
        for old, target, track in zip(before, targets, tracks, strict=True):
            plain = PlainStep(tracker, old, frame)
            assert np.allclose(np.subtract(target.centre, old.centre), plain.offset, atol=1e-2)
            assert track.peak_quality == pytest.approx(plain.quality, rel=1e-2)
            if track.state != TrackState.TRACKED:
                continue
            expected = np.add(old.size, plain.rate * np.subtract(plain.size, old.size))
            assert np.allclose(target.size, expected, atol=1e-2)
            shown = np.add(target.size, config.shown_size_rate * np.subtract(plain.size, target.size))
            assert np.allclose(track.box, [*(target.centre - shown / 2), *shown], atol=1e-2)
            if mode in ("siamese", "naive_fusion"):
                continue
            numerators = acf.levels_of(target.filters.numerator, target.filters.sections)
            for numerator, filter_ in zip(numerators, plain.filters(target.size), strict=True):
                wanted = filter_.numerator.numpy()
                assert np.abs(numerator - wanted).max() < 1e-3 * np.abs(wanted).max()


@pytest.mark.parametrize("mode", ["snscf", "paper"])
def test_filters_bring_a_wrong_size_back(mode):
    # The size follows no proposal, and the filters do not learn. So nothing but their responses can change it.
    config = TrackerConfig(learning_interval=1, learning_rate=0.0, size_rate=0.0, scale_correction=0.35)
    tracker = Tracker("snscf_nano", device="cpu", mode=mode, config=config)
    frame, box = picture(60, 60)
    for factor in (0.8, 1.25):
        target = tracker.init(frame, box)
        width, height = target.size
        target.size = (factor * width, factor * height)
        for _ in range(8):
            assert tracker.update(frame, target).state == TrackState.TRACKED
        assert target.size[0] / target.size[1] == pytest.approx(width / height)
        left = math.log(target.size[0] / width) / math.log(factor)
        assert left == pytest.approx(1.0) if mode == "paper" else -0.3 < left < 0.7


def test_a_filter_responds_more_at_the_scale_of_its_target():
    tracker = Tracker("snscf_nano", device="cpu", engine="torch")
    frame, box = picture(60, 60)
    target = tracker.init(frame, box)
    features = tracker.inference.look(tracker.searched(frame, [target])[0], target.kernels)[1]
    given = tracker.config, tracker.inference.selector
    rest = features, target.filters, np.array([target.gains], np.float32), tracker.device
    smaller, same, larger = (float(scale_balances(*given, [zoom], [(0.0, 0.0)], *rest)[0]) for zoom in (1.25, 1.0, 0.8))
    assert -1 < smaller < same < larger < 1 and smaller < 0 < larger


@pytest.mark.slow
def test_filters_learn_in_every_third_frame_as_much_as_in_three(tmp_path):
    tracker = Tracker("snscf_nano", device="cpu", config=TrackerConfig(learning_rate=0.1))
    at_once = TrackerConfig(learning_rate=1 - 0.9**3, learning_interval=1)
    other = Tracker("snscf_nano", device="cpu", config=at_once)
    frame, box = picture(60, 60)
    target = tracker.init(frame, box)
    for number in range(1, 10):
        before, copied = target.filters.numerator, copy.deepcopy(target)
        assert tracker.update(frame, target).state == TrackState.TRACKED
        other.update(frame, copied)
        learns = number % 3 == 0
        assert np.array_equal(target.filters.numerator, copied.filters.numerator if learns else before)
        target.save(tmp_path / "target")
        target = Target.load(tmp_path / "target")


@pytest.mark.slow
@pytest.mark.parametrize("search_size", [159, 191, 319])
def test_search_crops_of_other_sizes_follow_too(search_size):
    tracker = Tracker("snscf_nano", device="cpu", config=TrackerConfig(search_size=search_size))
    frame, box = picture(60, 60)
    target = tracker.init(frame, box)
    for step in range(1, 11):
        frame, box = picture(60 + 4 * step, 60 + 2 * step)
        track = tracker.update(frame, target)
    assert track.state == TrackState.TRACKED and iou(track.box, box) > 0.6
    for size in {175, 191, 255} - {search_size}:
        other = Tracker("snscf_nano", device="cpu", config=TrackerConfig(search_size=size))
        with pytest.raises(ValueError, match="another search_size"):
            other.update(frame, target)


@pytest.mark.parametrize("search_size", [159, 255])
def test_a_cell_of_the_filters_is_eight_pixels_of_the_crop(search_size, imagenet):
    config = TrackerConfig(search_size=search_size, scale_steps=(1.0,), learning_rate=1.0, learning_interval=1)
    tracker = Tracker(imagenet / IMAGENET_FILES["snscf_nano"], device="cpu", config=config)
    selector = tracker.inference.selector
    selector.windowing[:] = np.eye(len(selector.windowing))  # the window pulls a little towards the middle
    side = TEMPLATE_SIZE / 2  # of a square whose crops are taken pixel for pixel
    assert context_side(side, side) == TEMPLATE_SIZE
    frame = texture(600, 600, 5, 6.0)
    target = tracker.init(frame, (300 - side / 2, 300 - side / 2, side, side))
    moved = np.roll(frame, (16, -24), (0, 1))
    for what in ("three cells away are 24 pixels", "and what is learned is in the middle"):
        box = tracker.update(moved, target).box
        # The padding at the borders of a small crop costs most of a pixel.
        assert np.allclose(np.add(box[:2], side / 2), (276, 316), atol=0.45 if search_size == 255 else 1.0), what


@pytest.mark.parametrize("search_size", [127, 143, 192, 254, 527])
def test_search_crops_without_a_cell_in_the_middle_are_refused(search_size):
    with pytest.raises(ValueError, match=rf"16 n \+ 15 pixels in \[159, 511\].* got {search_size}"):
        TrackerConfig(search_size=search_size)


def test_filters_that_would_never_learn_are_refused():
    with pytest.raises(ValueError, match="learning_interval must be at least 1 frame, got 0"):
        TrackerConfig(learning_interval=0)


@pytest.mark.parametrize(("name", "value"), [("learning_interval", 1.5), ("search_size", 191.0)])
def test_settings_that_count_are_whole_numbers(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number, got {value}"):
        TrackerConfig(**{name: value})


def test_filters_that_learn_nothing_more_cost_no_more_to_warm_up(heads, monkeypatch):
    tracker = Tracker(heads, device="cpu", engine="torch", config=TrackerConfig(learning_interval=10**9))
    learned = []
    monkeypatch.setattr(FilterUpdate, "__call__", lambda _, lessons, features: learned.append(lessons))
    tracker.warm_up()
    assert len(learned) <= 1


@pytest.mark.slow
def test_frames_of_several_cameras_go_in_one_pass(tracker):
    (front, a), (down, b) = picture(60, 60), picture(150, 100)
    alone = [tracker.init(front, a), tracker.init(front, (200.0, 100.0, 50.0, 60.0)), tracker.init(down, b)]
    together = copy.deepcopy(alone)
    for step in range(1, 4):
        front, down = picture(60 + 4 * step, 60)[0], picture(150, 100 - 3 * step)[0]
        first, none, second = tracker.update_views([(front, together[:2]), (front, []), (down, together[2:])])
        assert none == [] and len(first) == 2 and len(second) == 1
        expected = [*tracker.update(front, alone[:2]), tracker.update(down, alone[2])]
        for x, y in zip(expected, [*first, *second], strict=True):
            assert np.allclose(x.box, y.box, atol=1e-2)
    assert tracker.update_views([]) == []


@pytest.mark.slow
def test_crops_made_on_a_device_give_the_same_boxes(tracker, monkeypatch):
    # Averaging over overlapping proposals has a threshold, at which a box more or less makes a jump.
    alone = changed(tracker.config, {"merge_overlap": 1.0})
    tracker = Tracker(tracker.weights.files[0], device="cpu", engine="torch", config=alone)
    (front, a), (down, b) = picture(60, 60), picture(150, 100)
    boxes, scores = [], []
    for cut in (cut_crops, lambda *given: sample_crops(*given).numpy()):
        for module in ("tracker", "inference"):
            monkeypatch.setattr(f"snscf_core.online.{module}.cut_crops", cut)
        targets = [tracker.init(front, a), tracker.init(front, (200.0, 100.0, 50.0, 60.0)), tracker.init(down, b)]
        tracks = []
        for step in range(1, 7):
            views = picture(60 + 4 * step, 60)[0], picture(150, 100 - 3 * step)[0]
            two, one = tracker.update_views([(views[0], targets[:2]), (views[1], targets[2:])])
            tracks += [*two, *one]
        boxes.append([track.box for track in tracks])
        scores.append([track.score for track in tracks])
    assert np.allclose(*boxes, atol=0.2) and np.allclose(*scores, atol=0.005)


@pytest.mark.slow
def test_targets_may_come_and_go_between_frames(tracker):
    """Targets that are followed together share memory; whoever leaves takes its own along."""
    frame, a = picture(60, 60)
    boxes = (a, (200.0, 100.0, 50.0, 60.0), (20.0, 150.0, 40.0, 40.0))
    alone, together = ([tracker.init(frame, box) for box in boxes] for _ in range(2))
    for members in ((0, 1, 2), (2, 0), (1,), (0, 1, 2), (1, 2)):
        frame, _ = picture(60 + 2 * len(members), 60)
        batch = tracker.update(frame, [together[index] for index in members])
        for index, track in zip(members, batch, strict=True):
            assert np.allclose(tracker.update(frame, alone[index]).box, track.box, atol=2e-2)


@pytest.mark.slow
def test_targets_that_do_not_fit_are_refused_and_nothing_changes(tracker, heads, imagenet):
    frame, box = picture(60, 60)
    another = imagenet / IMAGENET_FILES["snscf_nano"] if tracker.weights.trained else heads
    target, other = tracker.init(frame, box), Tracker(another, device="cpu").init(frame, box)
    before = target.box
    with pytest.raises(ValueError, match="another model"):
        tracker.update(frame[:120, :160], [target, other])
    with pytest.raises(ValueError, match="more than once"):
        tracker.update(frame[:120, :160], [target, target])
    assert target.box == before and target.frame_size == (320, 240)
    filters_only = Tracker("snscf_nano", device="cpu", mode="correlation_filter").init(frame, box)
    with pytest.raises(ValueError, match="no template"):
        Tracker("snscf_nano", device="cpu", mode="snscf").update(frame, filters_only)


def test_the_tracker_is_deterministic(tracker):
    def run():
        frame, box = picture(60, 60)
        target = tracker.init(frame, box)
        return [tracker.update(picture(60 + 5 * step, 60)[0], target) for step in range(5)]

    assert run() == run()


@pytest.mark.slow
def test_a_saved_target_goes_on_as_if_never_saved(tracker, tmp_path):
    frame, box = picture(60, 60)
    target = tracker.init(frame, box)
    tracker.update(picture(63, 60)[0], target)
    target.save(tmp_path / "target")
    restored = Target.load(tmp_path / "target")
    for frame in (picture(68, 62)[0], *[BACKGROUND] * 10, *[picture(80, 70)[0]] * 3):
        assert tracker.update(frame, target) == tracker.update(frame, restored)
        target.save(tmp_path / "target")
        restored = Target.load(tmp_path / "target")


def test_a_target_made_with_other_weights_is_refused(heads, tmp_path):
    torch.manual_seed(1)
    save(create("snscf_nano", 32), tmp_path)
    one, other = (Tracker(folder, device="cpu", engine="torch") for folder in (heads, tmp_path))
    frame, box = picture(60, 60)
    target = one.init(frame, box)
    target.save(tmp_path / "target")
    restored = Target.load(tmp_path / "target")
    one.update(frame, restored)
    with pytest.raises(ValueError, match="other weights"):
        other.update(frame, restored)
    restored.weights = ""  # as saved before they were remembered
    other.update(frame, restored)


def test_a_target_that_is_mostly_outside_stands_still_there(shipped):
    frame = BACKGROUND.copy()
    patch = cv2.resize(OBJECT, (80, 100))
    frame[60:160, :32] = patch[:, 48:]
    target = shipped.init(frame, (-48.0, 60.0, 80.0, 100.0))
    for _ in range(12):
        track = shipped.update(frame, target)
    assert track.state == TrackState.TRACKED
    assert math.hypot(*target.motion.velocity) < 1.0, "it does not move"
    x, y, w, h = track.box
    seen = (max(x, 0.0), y, min(x + w, 320.0) - max(x, 0.0), h)
    assert iou(seen, (0.0, 60.0, 32.0, 100.0)) > 0.8


@pytest.mark.slow
def test_what_is_searched_for_a_lost_target_is_decided_when_it_is_lost(shipped):
    target = lost(shipped)
    place, size = target.lost_at
    for _ in range(5):
        shipped.update(BACKGROUND, target)
    assert target.confidence.searching and target.lost_at == (place, size)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Torch has two threads, whatever it has in other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_trackers_in_several_threads_leave_torch_its_threads(shipped, two_threads):
    frames = [picture(60 + 3 * step, 60)[0] for step in range(6)]
    others = [shipped, Tracker("snscf_nano", device="cpu")]
    if not shipped.runtime.threads:
        pytest.skip("no threads to be left")

    def follow(one: Tracker) -> None:
        target = one.init(frames[0], (60, 60, 40, 50))
        for frame in frames * 3:
            one.update(frame, target)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(follow, others))
    with ThreadPoolExecutor(1) as fresh:
        assert fresh.submit(torch.get_num_threads).result() == torch.get_num_threads() == 2


def test_a_file_that_is_no_target_is_refused(tmp_path):
    (tmp_path / "target").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="holds no saved target"):
        Target.load(tmp_path / "target")


def test_another_frame_size_scales_the_target(tracker):
    frame, box = picture(100, 80)
    target = tracker.init(frame, box)
    tracker.update(frame, target)
    half = cv2.resize(frame, (160, 120), interpolation=cv2.INTER_AREA)
    track = tracker.update(half, target)
    assert iou(track.box, np.array(box) / 2) > 0.7


def test_a_refused_frame_changes_nothing(tracker):
    frame, box = picture(100, 80)
    target = tracker.init(frame, box)
    before = target.box
    with pytest.raises(ValueError, match="1 x 1"):
        tracker.update(np.zeros((1, 1, 3), np.uint8), target)
    assert target.box == before and target.frame_size == (320, 240)
    assert iou(tracker.update(frame, target).box, box) > 0.8


def test_boxes_at_the_border_and_as_large_as_the_frame_are_followed(tracker):
    frame, _ = picture(0, 0)
    for box in ((-10, -10, 50, 60), (0, 0, 320, 240), (310, 230, 9.5, 9.5)):
        target = tracker.init(frame, box)
        for _ in range(2):
            track = tracker.update(frame, target)
        assert np.isfinite(track.box).all()
        assert iou(track.box, box) > 0.6


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_runs_with_heads(mode, heads):
    tracker = Tracker(heads, mode=mode, device="cpu", config=TrackerConfig(learning_interval=1))
    assert tracker.mode == mode
    frame, box = picture(60, 60)
    target = tracker.init(frame, box)
    tracks = [tracker.update(frame, target) for _ in range(3)]
    assert all(np.isfinite(track.box).all() and 0 <= track.score <= 1 for track in tracks)
    # Only the adaptive modes change their filters (Table 3: the naive fusion does not).
    fresh = tracker.init(frame, box)
    changed = not np.array_equal(target.filters.numerator, fresh.filters.numerator)
    adapted = any(track.state == TrackState.TRACKED for track in tracks) and mode not in ("siamese", "naive_fusion")
    assert changed == adapted


def test_the_default_mode_with_heads_is_the_full_tracker(heads):
    assert Tracker(heads).mode == "snscf"


@pytest.mark.parametrize(
    ("options", "text"),
    [({"mode": "magic"}, "magic"), ({"device": "quantum"}, "quantum"), ({"engine": "steam"}, "steam")],
)
def test_unknown_options_are_refused(options, text, heads):
    with pytest.raises(ValueError, match=text):
        Tracker(heads, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(heads):
    with pytest.raises(ValueError, match="cuda"):
        Tracker(heads, device="cuda:0")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_boxes_of_the_cpu(tracker):
    gpu = Tracker(tracker.weights.files[0], device="cuda")
    frame, box = picture(60, 60)
    targets = [used.init(frame, box) for used in (tracker, gpu)]
    for step in range(1, 6):
        frame, _ = picture(60 + 4 * step, 60)
        a, b = (used.update(frame, target) for used, target in zip((tracker, gpu), targets, strict=True))
        assert np.allclose(a.box, b.box, atol=0.5)


@pytest.mark.slow
def test_an_object_is_followed_when_the_light_goes_down_at_once():
    tracker = Tracker("snscf_nano", device="cpu")
    frame, box = picture(100, 90)
    target = tracker.init(frame, box)
    for step in range(1, 13):
        frame, truth = picture(100 + 3 * step, 90)
        dark = (frame * (1.0 if step < 4 else 0.25)).astype(np.uint8)
        seen, _ = tracker.searched(dark, [target])
        track = tracker.update(dark, target)
        assert iou(track.box, truth) > 0.6 and track.state == TrackState.TRACKED
        assert np.asarray(seen).mean() > 70


@pytest.mark.slow
def test_a_target_that_jumps_to_and_fro_is_not_doubted_for_it():
    def tracks(config: TrackerConfig | None) -> list[tuple[TrackState, bool]]:
        tracker = Tracker("snscf_nano", device="cpu", config=config)
        target, found = tracker.init(*picture(100, 90)), []
        for step in range(1, 14):
            frame, truth = picture(100 + 45 * (step % 2), 90)
            track = tracker.update(frame, target)
            found.append((track.state, bool(iou(track.box, truth) > 0.6)))
        return found

    assert tracks(None) == [(TrackState.TRACKED, True)] * 13
    usual = Tracker("snscf_nano", device="cpu").config
    doubted = tracks(replace(usual, motion=replace(usual.motion, steady=1e9)))
    assert TrackState.UNCERTAIN in [state for state, _ in doubted]
