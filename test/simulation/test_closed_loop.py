# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The real tracker keeps the target in the view of a simulated robot, and what must never happen is counted."""

from __future__ import annotations

import dataclasses
import json
import math

import cv2
import numpy as np
import pytest

from snscf_core import Track, TrackState
from snscf_ros.follow.follower import Mode, Order, Velocity
from snscf_ros.follow.settings import default_settings
from snscf_ros.simulation import Occlusion, Pinhole, Pose, View
from snscf_ros.simulation.closed_loop import Moment, sighting, turned
from snscf_ros.simulation.command import main
from snscf_ros.simulation.measures import measure
from snscf_ros.simulation.robots import set_up

SIZE = (320, 240)
SETTINGS = default_settings(output="gimbal")


def moment(
    time: float, centre=(160.0, 120.0), visible=1.0, track="true", state=TrackState.TRACKED, orders=()
) -> Moment:
    """What happened with an image whose target is 40 pixels wide and high."""
    box = (centre[0] - 20, centre[1] - 20, 40.0, 40.0)
    pose = Pose.looking((0, 0, 0), 0.0)
    empty = np.zeros((0, 0, 3), np.uint8), np.zeros((0, 0), np.float32)
    view = View(time, *empty, box, visible, pose, np.zeros(3), np.zeros(3))
    found = {"true": box, "off": (0.0, 0.0, 20.0, 20.0)}.get(track)
    return Moment(view, Track(found, 0.9, state, 9.0) if found else None, tuple(orders))


def order(turn: float, mode: Mode = Mode.FOLLOWING) -> Order:
    return Order(Velocity(turn=turn), mode, (), (), "cup", 0.1, 0.0, 0.0, math.nan)


def counted(run, occlusions=()):
    return measure(run, SETTINGS, occlusions, SIZE)


def test_target_outside_the_picture_counts_against_the_robot_but_a_hidden_one_does_not():
    run = [moment(0.0), moment(0.1, (250.0, 120.0)), moment(0.2, (160.0, 190.0)), moment(0.3, visible=0.1)]
    run += [moment(0.4, (math.nan, math.nan), 0.0)]
    measures = counted(run)
    assert (measures.counted, measures.in_view) == (4, 1)
    hidden = counted([moment(5.0, (math.nan, math.nan), 0.0)], [Occlusion(4.5)])
    assert hidden.counted == 0


def test_found_again_is_tracked_on_the_target_within_five_seconds():
    def found(*run):
        return counted(run, [Occlusion(1.0, 2.0)]).found_again

    assert found(moment(4.0)) == 1
    assert found(moment(4.0, track="off"), moment(4.1, state=TrackState.UNCERTAIN), moment(9.0)) == 0
    assert counted([moment(4.0)], [Occlusion(1.0, 2.0)]).seconds_to_find == (1.0,)
    assert counted([moment(4.0, track="off"), moment(4.1)]).wrong == 1


def test_movement_without_a_tracked_target_is_counted():
    tracked, lost = moment(0.0).track, moment(0.0, state=TrackState.LOST).track
    orders = [(0.0, order(0.0), None), (0.05, order(0.1), tracked), (0.1, order(0.1), lost), (0.15, order(0.1), None)]
    orders += [(0.2, order(0.1, Mode.SCANNING), lost)]
    measures = counted([moment(0.0, orders=orders)])
    assert (measures.moved_untracked, measures.looked_around) == (2, 1)


def test_commands_beyond_limits_are_counted_but_a_stop_is_not():
    def over(*turns):
        return counted(
            [moment(0.0, orders=[(0.05 * n, order(*turn), None) for n, turn in enumerate(turns)])]
        ).over_limits

    assert over((0.0,), (0.05,), (0.15,), (0.25,)) == 0
    assert over((0.0,), (0.5,)) == 1, "acceleration"
    assert over((1.2,)) == 1, "speed"
    assert over((0.0,), (0.0,), (0.16,)) == 1, "jerk"
    assert over((0.8,), (0.0, Mode.WAITING)) == 0
    assert over((1.2, Mode.STOPPING)) == 1


def test_sighting_has_the_directions_of_the_box():
    lens = Pinhole.with_view(SIZE, math.pi / 2)
    seen = sighting(Track((0.0, 40.0, 320.0, 160.0), 0.8, TrackState.TRACKED, 9.0), lens, 3.0)
    assert seen.direction == pytest.approx((0.0, 0.0, 1.0)) and seen.stamp == 3.0
    assert seen.width == pytest.approx(math.pi / 2) and seen.height == pytest.approx(2 * math.atan(0.5))


def test_turn_of_the_camera_moves_far_points_as_it_sees_them():
    lens = Pinhole.with_view(SIZE, 1.2)
    before, after = Pose.looking((0, 0, 1), 0.1, 0.2), Pose.looking((0, 0, 1), 0.3, 0.1, 0.05)
    far = np.array([900.0, 150.0, -80.0])

    def place(pose):
        x, y, z = lens.corner_matrix @ pose.to_camera(far)
        return x / z, y / z

    assert turned(lens, before, after)(place(before)) == pytest.approx(place(after), abs=1e-6)
    behind = Pose.looking((0, 0, 1), 3.0)
    assert turned(lens, before, behind)((160.0, 120.0)) == (160.0, 120.0)


def test_wrong_robot_is_named():
    with pytest.raises(ValueError, match="robot is 'boat'"):
        set_up("boat", 0, SIZE, 5.0, ())


@pytest.mark.slow
def test_robots_follow_and_leave_video_picture_and_measures(weights, tmp_path):
    arguments = ["--seconds", "5", "--size", "320x240", "--output", str(tmp_path)]
    assert main(arguments) == 0
    results = json.loads((tmp_path / "follow.json").read_text())["robots"]
    assert set(results) == {"ground", "multirotor", "gimbal"}
    for robot, result in results.items():
        assert result["in_view"] > 0.9, robot
        assert result["moved_untracked"] == result["over_limits"] == 0, robot
        assert result["commands"] == 100
        video = cv2.VideoCapture(str(tmp_path / f"{robot}.mp4"))
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 50
    assert cv2.imread(str(tmp_path / "errors.png")) is not None


@pytest.mark.slow
def test_a_robot_that_is_not_enabled_loses_its_target(weights):
    """The measure notices that nobody follows."""
    from snscf_core import Tracker
    from snscf_ros.simulation.closed_loop import follow

    setup = set_up("ground", 1, SIZE, 10.0, ())
    idle = dataclasses.replace(setup, settings=dataclasses.replace(setup.settings, enabled=False))
    run = list(follow(idle, Tracker("snscf_nano"), 10.0, 1))
    measures = measure(run, idle.settings, (), SIZE)
    assert measures.in_view / measures.counted < 0.8
    assert all(not any(one.velocity) for moment in run for _, one, _ in moment.orders)


def test_wrong_arguments_end_it_in_one_sentence(capsys, tmp_path):
    assert main(["--runs", "0", "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "follow: runs must be at least 1, and seconds at least 2\n"
    with pytest.raises(SystemExit):
        main(["--size", "12"])
