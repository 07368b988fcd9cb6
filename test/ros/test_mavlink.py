# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A pymavlink ground station chooses targets over UDP: the real executable, the real tracker, the real middleware."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

pytest.importorskip("pymavlink")

from mavlink_harness import (
    COMPONENT,
    SYSTEM,
    TRACKING,
    CameraProcess,
    FaultyLink,
    GroundStation,
    active,
    box_of_status,
    camera_process,
    fractions,
    free_port,
)
from operator_harness import RunningCamera
from pymavlink.dialects.v20 import common as dialect
from ros_harness import iou, wait_for

pytestmark = pytest.mark.slow

SIZE = (320, 240)
ACCEPTED, DENIED = dialect.MAV_RESULT_ACCEPTED, dialect.MAV_RESULT_DENIED
RECTANGLE, POINT = dialect.MAV_CMD_CAMERA_TRACK_RECTANGLE, dialect.MAV_CMD_CAMERA_TRACK_POINT
STOP = dialect.MAV_CMD_CAMERA_STOP_TRACKING


@pytest.fixture(scope="module")
def link(running_tracker) -> Iterator[tuple[CameraProcess, int]]:
    """One camera process (a UDP server) and its port, for the tests that leave it as they found it."""
    port = free_port()
    with camera_process(f"udpin:127.0.0.1:{port}", station_timeout=2.0) as process:
        yield process, port


@pytest.fixture
def images(tracker) -> Iterator[RunningCamera]:
    camera = RunningCamera(tracker.peer)
    yield camera
    camera.close()


@pytest.fixture
def station(link, images) -> Iterator[GroundStation]:
    """A ground station that has heard the camera, which has images."""
    with GroundStation(link[1], listen=False) as station:
        wait_for_tracking(station)
        yield station


def wait_for_tracking(station: GroundStation) -> None:
    station.wait("HEARTBEAT", lambda m: m.system_status == dialect.MAV_STATE_ACTIVE, time.monotonic())


def draw_target(station: GroundStation, images: RunningCamera) -> None:
    """Draw a rectangle around the target until it is taken: the scene moves on between looking and drawing."""
    for _ in range(5):
        result = station.draw(images.truth(max(images.numbers)), SIZE)
        if result != dialect.MAV_RESULT_TEMPORARILY_REJECTED:
            break
        time.sleep(0.2)
    assert result == ACCEPTED, station.of_type("STATUSTEXT")


def wait_for_box(station: GroundStation, images: RunningCamera) -> Any:
    """The first status from now on whose box lies on the target, as it was in one of the last images."""

    def fits(status: Any) -> bool:
        recent = sorted(images.numbers)[-8:]
        box = box_of_status(status, SIZE)
        return active(status) and any(iou(box, images.truth(stamp)) > 0.6 for stamp in recent)

    return station.wait("CAMERA_TRACKING_IMAGE_STATUS", fits, time.monotonic())


def wait_for_status(station: GroundStation, flags: int) -> Any:
    found = station.wait("CAMERA_TRACKING_IMAGE_STATUS", lambda m: m.tracking_status == flags, time.monotonic())
    if flags in (0, 2):
        assert math.isnan(found.rec_top_x)
    return found


def test_the_camera_is_found_and_says_what_it_can(station):
    beat = station.of_type("HEARTBEAT")[-1]
    assert (beat.get_srcSystem(), beat.get_srcComponent()) == (SYSTEM, COMPONENT)
    assert (beat.type, beat.autopilot) == (dialect.MAV_TYPE_CAMERA, dialect.MAV_AUTOPILOT_INVALID)
    for request in (
        (dialect.MAV_CMD_REQUEST_MESSAGE, dialect.MAVLINK_MSG_ID_CAMERA_INFORMATION),
        (dialect.MAV_CMD_REQUEST_CAMERA_INFORMATION, 1),
    ):
        since = time.monotonic()
        assert station.ask(*request) == ACCEPTED
        told = station.wait("CAMERA_INFORMATION", since=since)
        assert told.flags == (
            dialect.CAMERA_CAP_FLAGS_HAS_TRACKING_POINT | dialect.CAMERA_CAP_FLAGS_HAS_TRACKING_RECTANGLE
        )
        assert (told.resolution_h, told.resolution_v) == SIZE
        assert bytes(told.model_name).rstrip(b"\0") == b"snscf tracker"
    assert station.ask(dialect.MAV_CMD_REQUEST_MESSAGE, dialect.MAVLINK_MSG_ID_CAMERA_SETTINGS) == ACCEPTED
    assert station.wait("CAMERA_SETTINGS").mode_id == dialect.CAMERA_MODE_VIDEO
    # there is no stream, and no position
    stream = (dialect.MAV_CMD_REQUEST_MESSAGE, dialect.MAVLINK_MSG_ID_VIDEO_STREAM_INFORMATION, 1)
    assert station.ask(*stream) == DENIED
    geo = dialect.MAVLINK_MSG_ID_CAMERA_TRACKING_GEO_STATUS
    assert station.ask(dialect.MAV_CMD_SET_MESSAGE_INTERVAL, geo, 1e6) == DENIED
    assert station.ask(dialect.MAV_CMD_IMAGE_START_CAPTURE, 0, 1, 1) == dialect.MAV_RESULT_UNSUPPORTED


def test_a_drawn_rectangle_is_followed_and_stopped(station, images, tracker):
    assert station.watch() == ACCEPTED
    wait_for_status(station, 0)
    draw_target(station, images)
    status = wait_for_box(station, images)
    assert status.tracking_mode == dialect.CAMERA_TRACKING_MODE_RECTANGLE
    assert status.target_data == dialect.CAMERA_TRACKING_TARGET_DATA_IN_STATUS
    assert station.ask(STOP) == ACCEPTED
    assert wait_for_status(station, 0).tracking_mode == dialect.CAMERA_TRACKING_MODE_NONE
    assert not tracker.remove().success  # nothing is followed
    assert station.ask(STOP) == ACCEPTED  # nor was there anything to stop


def test_a_clicked_point_is_followed(station, images):
    assert station.watch() == ACCEPTED
    x, y, w, h = images.truth(max(images.numbers))
    assert station.ask(POINT, (x + w / 2) / SIZE[0], (y + h / 2) / SIZE[1], 0.05) == ACCEPTED
    wait_for_box(station, images)


def test_a_hidden_target_is_an_error_until_it_is_found_again(station, images):
    assert station.watch() == ACCEPTED
    draw_target(station, images)
    wait_for_box(station, images)
    images.hidden = True
    wait_for_status(station, dialect.CAMERA_TRACKING_STATUS_FLAGS_ERROR)
    images.hidden = False
    wait_for_box(station, images)


def test_statuses_come_until_they_are_stopped(station):
    assert station.watch(0.4) == ACCEPTED
    first = len(station.of_type("CAMERA_TRACKING_IMAGE_STATUS"))
    wait_for(lambda: len(station.of_type("CAMERA_TRACKING_IMAGE_STATUS")) >= first + 3, "three statuses")
    assert station.ask(dialect.MAV_CMD_GET_MESSAGE_INTERVAL, TRACKING) == ACCEPTED
    assert station.wait("MESSAGE_INTERVAL").interval_us == 400_000
    assert station.watch(-1) == ACCEPTED
    station.wait("HEARTBEAT", since=time.monotonic() + 1.0)
    kinds = [message.get_type() for _, message in station.messages]
    assert "CAMERA_TRACKING_IMAGE_STATUS" not in kinds[len(kinds) - kinds[::-1].index("COMMAND_ACK") :]


@pytest.mark.parametrize(
    "params",
    [
        (math.nan, 0.1, 0.5, 0.5),
        (0.1, math.inf, 0.5, 0.5),
        (-0.1, 0.1, 0.5, 0.5),
        (0.1, 0.1, 1.5, 0.5),
        (0.3, 0.1, 0.3, 0.5),
        (0.1, 0.1, 0.5, 0.5, 101),  # another camera
    ],
)
def test_a_rectangle_that_is_none_is_denied_with_the_reason(station, tracker, params):
    since = time.monotonic()
    assert station.ask(RECTANGLE, *params) == DENIED
    assert station.wait("STATUSTEXT", since=since).text.startswith("Tracking: ")
    assert not tracker.remove().success


def test_what_the_tracker_refuses_has_failed_with_its_reason(station):
    since = time.monotonic()
    assert station.ask(RECTANGLE, 0.5, 0.5, 0.501, 0.501) == dialect.MAV_RESULT_FAILED
    assert "box area" in station.wait("STATUSTEXT", since=since).text


def test_a_command_of_the_other_kind_is_obeyed(station, images):
    assert station.watch() == ACCEPTED
    corners = fractions(images.truth(max(images.numbers)), SIZE)
    since = time.monotonic()
    station.send(dialect.MAVLink_command_int_message(SYSTEM, COMPONENT, 0, RECTANGLE, 0, 0, *corners, 0, 0, 0.0))
    ack = station.wait("COMMAND_ACK", lambda m: m.command == RECTANGLE and m.result == ACCEPTED, since)
    assert (ack.target_system, ack.target_component) == (255, 190)
    wait_for_box(station, images)


def test_a_start_that_takes_long_is_in_progress_and_keeps_others_out(station, link, images, tracker):
    with GroundStation(link[1], listen=False) as other:
        assert station.watch() == ACCEPTED
        wait_for_tracking(other)
        since = time.monotonic()
        tracker.process.process.send_signal(signal.SIGSTOP)
        try:
            station.send(station.command(RECTANGLE, *fractions(images.truth(max(images.numbers)), SIZE)))
            station.wait("COMMAND_ACK", lambda m: m.result == dialect.MAV_RESULT_IN_PROGRESS, since)
            assert other.ask(RECTANGLE, 0.1, 0.1, 0.2, 0.2) == dialect.MAV_RESULT_TEMPORARILY_REJECTED
            wait_for_status(station, dialect.CAMERA_TRACKING_STATUS_FLAGS_ERROR)
            # it was not handed to the tracker, and will not start later
            station.wait("COMMAND_ACK", lambda m: m.result == dialect.MAV_RESULT_TEMPORARILY_REJECTED, since)
        finally:
            tracker.process.process.send_signal(signal.SIGCONT)
        wait_for_status(station, 0)
        draw_target(station, images)
        wait_for_box(station, images)


def test_a_repeated_command_is_answered_again_and_carried_out_once(station, images, tracker):
    draw_target(station, images)
    box = images.truth(max(images.numbers))
    tracker.init(box, "other")
    since = time.monotonic()
    stop = station.command(STOP)
    packet = station.pack(stop)
    station.send_bytes(packet)
    station.wait("COMMAND_ACK", lambda m: m.command == STOP, since)
    again = time.monotonic()
    station.send_bytes(packet)  # doubled on the way
    station.send(station.command(STOP, confirmation=1))  # sent again, as if the acknowledgement had been lost
    wait_for(lambda: len([m for m in station.of_type("COMMAND_ACK", again) if m.command == STOP]) == 2, "both answers")
    assert {m.result for m in station.of_type("COMMAND_ACK", again)} == {ACCEPTED}
    assert tracker.remove("other").success


def test_messages_for_others_are_ignored_and_those_for_all_are_not(station):
    information = dialect.MAVLINK_MSG_ID_CAMERA_INFORMATION
    since = time.monotonic()
    for system, component in ((2, COMPONENT), (SYSTEM, 154), (0, 154)):
        command = station.command(dialect.MAV_CMD_REQUEST_MESSAGE, information, system=system, component=component)
        station.send(command)
    station.send(station.command(dialect.MAV_CMD_COMPONENT_ARM_DISARM, 1, component=0))  # for all, and not for a camera
    station.send(station.command(dialect.MAV_CMD_REQUEST_MESSAGE, information, system=0, component=0))
    station.wait("CAMERA_INFORMATION", since=since)
    station.wait("HEARTBEAT", since=time.monotonic() + 1.0)
    assert len(station.of_type("CAMERA_INFORMATION", since)) == 1
    assert [ack.command for ack in station.of_type("COMMAND_ACK", since)] == [dialect.MAV_CMD_REQUEST_MESSAGE]


def test_two_ground_stations_see_the_primary_target(station, link, images, tracker):
    """The second asks for other intervals, and sees what the first does; acknowledgements are for each alone."""
    with GroundStation(link[1], listen=False) as other:
        wait_for_tracking(other)
        assert station.watch(0.05) == ACCEPTED
        assert other.watch(0.5) == ACCEPTED
        draw_target(station, images)
        wait_for_box(station, images)
        wait_for_box(other, images)
        counts = [len(one.of_type("CAMERA_TRACKING_IMAGE_STATUS")) for one in (station, other)]
        wait_for(lambda: len(other.of_type("CAMERA_TRACKING_IMAGE_STATUS")) >= counts[1] + 3, "three statuses")
        assert len(station.of_type("CAMERA_TRACKING_IMAGE_STATUS")) - counts[0] > 6
        assert RECTANGLE not in {ack.command for ack in other.of_type("COMMAND_ACK")}
        assert other.ask(STOP) == ACCEPTED
        wait_for_status(station, 0)
        # a target that somebody else starts is seen too
        assert tracker.init(images.truth(max(images.numbers)), "from elsewhere").success
        wait_for_box(station, images)
        # it is no longer the primary one when a rectangle is drawn
        draw_target(other, images)
        assert other.ask(STOP) == ACCEPTED
        assert tracker.remove("from elsewhere").success


def test_a_silent_ground_station_is_sent_nothing_until_it_is_back(station, images):
    assert station.watch() == ACCEPTED
    station.heartbeats = False
    # its last message was at most half a second ago; its timeout is 2 s
    wait_for(lambda: time.monotonic() - station.messages[-1][0] > 1.5, "silence")
    station.heartbeats = True
    station.wait("CAMERA_TRACKING_IMAGE_STATUS", since=time.monotonic())


def test_ten_thousand_bad_packets_harm_nothing(station, link, images, tracker):
    """Random, cut, altered, misaddressed, with numbers that are none; and then more a second than are read."""
    process, port = link
    assert station.watch() == ACCEPTED
    draw_target(station, images)
    wait_for_box(station, images)
    chance = random.Random(23)
    numbers = (math.nan, math.inf, -math.inf, 0.0, -1.0, 0.5, 1.0, 3e38, 65535.0, 269.0, 275.0)
    commands = (RECTANGLE, POINT, dialect.MAV_CMD_REQUEST_MESSAGE, dialect.MAV_CMD_SET_MESSAGE_INTERVAL, 0, 65535)

    def packet() -> bytes:
        kind = chance.randrange(6)
        if kind == 0:
            return chance.randbytes(chance.randrange(1, 300))
        seven = [chance.choice(numbers) for _ in range(7)]
        if kind == 1:  # whole, for us, and senseless; never a rectangle or a point that could be meant
            seven[0] = chance.choice((math.nan, math.inf, -1.0, 269.0))
            return hostile.pack(hostile.command(chance.choice(commands), *seven))
        whole = hostile.pack(hostile.command(chance.choice(commands), *seven, system=chance.choice((0, 1, 7, 255))))
        if kind == 2:
            return whole[: chance.randrange(len(whole))]
        if kind == 3:
            place = chance.randrange(len(whole))
            return whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :]
        if kind == 4:  # a header of any message, with random contents and length
            return bytes([chance.choice((0xFD, 0xFE)), chance.randrange(256)]) + chance.randbytes(chance.randrange(280))
        return hostile.pack(dialect.MAVLink_statustext_message(0, chance.randbytes(50)))

    before = process.resident()
    with ExitStack() as stack:
        # each address sends less than it may, so that all is read
        crowd = [stack.enter_context(GroundStation(port, False, system=9 + n, component=9)) for n in range(5)]
        for number in range(10_000):
            hostile = crowd[number % len(crowd)]
            hostile.send_bytes(packet())
            if number % 50 == 0:
                time.sleep(0.02)
        wait_for_box(station, images)
        for _ in range(5_000):
            hostile.send_bytes(packet())
        wait_for_box(station, images)
        assert station.ask(STOP) == ACCEPTED
    assert process.resident() - before < 32 * 2**20
    assert process.process.poll() is None


def test_the_link_goes_on_when_tracker_and_ground_station_start_again(start, peer):
    port = free_port()
    first = start(namespace="again", parameters={"autostart_node": True})
    images = RunningCamera(peer, "again")
    # the camera is the client: it speaks first, to whoever listens
    with camera_process(f"udpout:127.0.0.1:{port}", "again", station_timeout=2.0):
        try:
            for number in range(2):
                with GroundStation(port, listen=True) as station:
                    wait_for_tracking(station)
                    assert station.watch() == ACCEPTED
                    draw_target(station, images)
                    wait_for_box(station, images)
                    if number == 0:
                        assert first.process.interrupt() == 0
                        wait_for_status(station, dialect.CAMERA_TRACKING_STATUS_FLAGS_ERROR)
                        since = time.monotonic()
                        refused = station.draw(images.truth(max(images.numbers)), SIZE)
                        assert refused == dialect.MAV_RESULT_TEMPORARILY_REJECTED
                        assert "does not answer" in "".join(m.text for m in station.of_type("STATUSTEXT", since))
                        start(namespace="again", parameters={"autostart_node": True})
                        wait_for_status(station, 0)
        finally:
            images.close()


def test_a_late_video_starts_on_the_image_that_was_on_the_screen(start, peer):
    port = free_port()
    start(namespace="late", parameters={"autostart_node": True})
    images = RunningCamera(peer, "late")
    delay = 1.0
    with (
        camera_process(f"udpin:127.0.0.1:{port}", "late", video_delay=delay),
        GroundStation(port, listen=False) as station,
    ):
        try:
            wait_for_tracking(station)
            wait_for(lambda: len(images.numbers) > 30, "images")
            assert station.watch() == ACCEPTED
            shown = max(stamp for stamp in images.numbers if stamp <= time.time_ns() - delay * 1e9)
            assert iou(images.truth(shown), images.truth(max(images.numbers))) < 0.5
            assert station.draw(images.truth(shown), SIZE) == ACCEPTED
            wait_for_box(station, images)
        finally:
            images.close()


def test_a_serial_line_is_opened_again(tracker, images):
    """A pseudo-terminal stands for the line; it goes away, and another one has its name."""
    from pymavlink import mavutil

    folder = os.path.realpath(os.environ.get("TMPDIR", "/tmp"))
    device = f"{folder}/snscf-serial-{os.getpid()}"

    def plug() -> tuple[int, int]:
        ours, theirs = os.openpty()
        if os.path.lexists(device):
            os.unlink(device)
        os.symlink(os.ttyname(theirs), device)
        return ours, theirs

    def beats(line: int) -> bool:
        data = b""
        reader = mavutil.mavlink.MAVLink(None)
        reader.robust_parsing = True
        end = time.monotonic() + 30
        while time.monotonic() < end:
            data = os.read(line, 4096)
            if any(m.get_type() == "HEARTBEAT" for m in reader.parse_buffer(data) or []):
                return True
        return False

    try:
        with camera_process(f"serial:{device}:115200") as process:  # not there yet
            wait_for(lambda: "cannot open" in process.log(), "the failure to open it")
            for _ in range(2):
                ours, theirs = plug()
                assert beats(ours)
                os.close(theirs)
                os.close(ours)
            wait_for(lambda: process.log().count("has gone away") >= 2, "both ends of the line")
    finally:
        if os.path.lexists(device):
            os.unlink(device)


@pytest.mark.parametrize(
    "parameters, told",
    [
        ({"connection": "tcp:1.2.3.4:5"}, "connection is 'tcp:1.2.3.4:5', must be udpout:HOST:PORT"),
        ({"connection": "udpin:127.0.0.1:0"}, "'0' is no port"),
        ({"component_id": 300}, "component_id"),
        ({"target_id": ""}, "target_id must not be empty"),
    ],
)
def test_wrong_parameters_end_it_with_one_sentence(parameters, told):
    process = CameraProcess(**{"connection": "udpin:127.0.0.1:14999", **parameters})
    assert process.process.wait(60) == 1
    assert told in process.log() and "Traceback" not in process.log()


def test_an_address_that_is_taken_ends_it_with_one_sentence(link):
    process = CameraProcess(f"udpin:127.0.0.1:{link[1]}")
    assert process.process.wait(60) == 1
    assert "cannot open udpin:127.0.0.1" in process.log() and "Traceback" not in process.log()


def test_without_pymavlink_it_ends_with_one_sentence():
    script = (
        "import sys; sys.modules['pymavlink'] = None\nfrom snscf_ros.mavlink.command import main; sys.exit(main([]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("mavlink_camera: pymavlink is not installed for ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.timeout(1800)
def test_operator_actions_over_a_faulty_link_leave_nothing_stuck(link, images, tracker, request):
    """Loses a fifth of the packets, doubles a tenth, delays a fifth by up to half a second, and is cut now and then.

    With --long as many rounds as an operator makes in an hour who draws and stops every ten seconds.
    """
    rounds = 360 if request.config.getoption("--long") else 15
    faults = FaultyLink(link[1], seed=5, loss=0.2, doubled=0.1, delayed=0.2)
    try:
        run_rounds(faults, images, rounds)
    finally:
        faults.close()
    print(f"{rounds} rounds, packets: {faults.counts}")
    assert min(faults.counts.values()) > 0


def run_rounds(faults: FaultyLink, images: RunningCamera, rounds: int) -> None:
    """Let an operator draw, watch and stop so many times, sending each command again until it is acknowledged."""
    chance = random.Random(11)
    with GroundStation(faults.port, listen=False) as station:
        wait_for_tracking(station)

        def insist(number: int, *params: Any) -> int:
            """As ground stations do: the same command again until an acknowledgement comes."""

            def answered() -> Any:
                return [
                    ack
                    for ack in station.of_type("COMMAND_ACK", since)
                    if ack.command == number and ack.result != dialect.MAV_RESULT_IN_PROGRESS
                ]

            since = time.monotonic()
            for attempt in range(40):
                station.send(station.command(number, *params, confirmation=min(attempt, 255)))
                again = time.monotonic() + 0.3
                while time.monotonic() < again:
                    if found := answered():
                        return int(found[0].result)
                    time.sleep(0.005)
            raise AssertionError(f"no acknowledgement of {number}")

        for number in range(rounds):
            print(f"round {number}")
            assert insist(dialect.MAV_CMD_SET_MESSAGE_INTERVAL, TRACKING, 5e4) == ACCEPTED
            place = images.truth(max(images.numbers))
            if chance.random() < 0.1:
                faults.cut = True
                time.sleep(chance.uniform(0.1, 4.0))  # after 2 s the ground station counts as silent
                faults.cut = False
                place = images.truth(max(images.numbers))
            assert insist(RECTANGLE, *fractions(place, SIZE)) == ACCEPTED
            station.wait("CAMERA_TRACKING_IMAGE_STATUS", lambda m: m.tracking_status != 0, time.monotonic())
            assert insist(STOP) == ACCEPTED
            # what was delayed on the way comes within half a second, and must not start the target again
            settled = time.monotonic() + 0.6
            station.wait("CAMERA_TRACKING_IMAGE_STATUS", lambda m: m.tracking_status == 0, settled)
            station.messages.clear()
