# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Is the MAVLink camera: answers what ground stations ask, and tells them where the target is."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from pymavlink.dialects.v20 import common as dialect

from snscf_ros.mavlink import answers
from snscf_ros.mavlink.commands import Command
from snscf_ros.mavlink.links import Address
from snscf_ros.mavlink.packets import Packets
from snscf_ros.mavlink.settings import CameraSettings
from snscf_ros.mavlink.stations import Action, Bucket, Done, Peers, Station, Stations
from snscf_ros.mavlink.target_actions import Outcome, TargetActions
from snscf_ros.mavlink.view import TrackedView
from snscf_ros.tracker_client import TrackerClient

if TYPE_CHECKING:
    from rclpy.node import Node
    from snscf_msgs.msg import TrackStatusArray

_HEARTBEAT = 1.0  # s
_LOOK = 1.0  # s between two looks after the tracker
_PROGRESS_AFTER = 0.5  # s until a station hears that its command is under way
_PROGRESS_EVERY = 1.0  # s
_TEXTS = 2.0  # texts a second, at most
_TRACKING = dialect.MAVLINK_MSG_ID_CAMERA_TRACKING_IMAGE_STATUS
_STARTS = (dialect.MAV_CMD_CAMERA_TRACK_POINT, dialect.MAV_CMD_CAMERA_TRACK_RECTANGLE)
# the commands that ask for one message each, from before MAV_CMD_REQUEST_MESSAGE, and what they ask for
_OLD_REQUESTS = {
    dialect.MAV_CMD_REQUEST_CAMERA_INFORMATION: dialect.MAVLINK_MSG_ID_CAMERA_INFORMATION,
    dialect.MAV_CMD_REQUEST_CAMERA_SETTINGS: dialect.MAVLINK_MSG_ID_CAMERA_SETTINGS,
    dialect.MAV_CMD_REQUEST_VIDEO_STREAM_INFORMATION: dialect.MAVLINK_MSG_ID_VIDEO_STREAM_INFORMATION,
    dialect.MAV_CMD_REQUEST_VIDEO_STREAM_STATUS: dialect.MAVLINK_MSG_ID_VIDEO_STREAM_STATUS,
}


class Camera:
    """Answers ground stations. Methods are called in the event loop's thread."""

    def __init__(self, node: Node, settings: CameraSettings, kind: str, send: Callable[[bytes, Address], None]) -> None:
        """Prepare the camera; the event loop runs.

        kind: of the link: udpout, udpin or serial.
        send: sends a packet to an address.
        """
        self._loop = asyncio.get_running_loop()
        self._settings, self._send_bytes = settings, send
        self._stream = kind == "serial"  # packets may be split over what is received
        self._serves = kind == "udpin"  # there are several other ends, known only when they have sent something
        self._logger = node.get_logger()
        self._packets = Packets(settings.system_id, settings.component_id)
        self._peers = Peers(settings.max_message_rate, settings.station_timeout)
        self._stations = Stations(settings.station_timeout)
        self._view = TrackedView(settings.coasting, settings.video_delay + 1.0)
        self._tracker = TrackerClient(node, settings.tracker, self._loop, self._on_status)
        self._actions = TargetActions(settings, self._tracker, self._view)
        self._camera: str | None = settings.camera or None  # None until the tracker has said what its first one is
        self._began = time.monotonic()
        self._news = asyncio.Event()
        self._seen = self._view.seen(self._began)
        self._fresh = False  # a start has succeeded: the next status is awaited
        self._sent: dict[Address, float] = {}  # when each address was last sent a status
        self._texts, self._text_number = Bucket(_TEXTS, self._began), 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send heartbeats and statuses, and look after the tracker, until cancelled."""
        self._tracker.listen(True)
        await asyncio.gather(self._send_heartbeats(), self._report(), self._look())

    def receive(self, data: bytes, address: Address) -> None:
        """Take what has come from an address. Whatever it is, nothing is raised."""
        now = time.monotonic()
        # a serial line limits by itself, and a gap would cut packets
        if not self._stream and not self._peers.admit(address, now):
            return
        try:
            read = self._packets.read_stream if self._stream else self._packets.read_datagram
            for message in read(data):
                self._handle(message, address, now)
        except Exception:
            self._logger.error(f"a MAVLink message failed:\n{traceback.format_exc()}", throttle_duration_sec=5.0)

    # --- what comes ---

    def _handle(self, message: Any, address: Address, now: float) -> None:
        system, component = message.get_srcSystem(), message.get_srcComponent()
        if (system, component) == (self._settings.system_id, self._settings.component_id):
            return  # our own, sent back by a router
        if not self._peers.heard(address, now):
            return
        station = self._stations.find(address, system, component)
        if station is not None:
            station.heard = now
            if station.silent:
                station.silent = False
                self._logger.info(f"{station} is back")
                self._news.set()
        kind = message.get_type()
        if kind == "HEARTBEAT" and message.type == dialect.MAV_TYPE_GCS:
            self._enter(address, system, component, now)
        elif kind in ("COMMAND_LONG", "COMMAND_INT"):
            command = Command.read(message)
            if command.is_for(self._settings.system_id, self._settings.component_id):
                self._obey(command, address, now)

    def _enter(self, address: Address, system: int, component: int, now: float) -> Station | None:
        known = self._stations.find(address, system, component)
        station = self._stations.enter(address, system, component, now)
        if station is not None and known is None:
            self._logger.info(f"{station} is there")
        return station

    def _obey(self, command: Command, address: Address, now: float) -> None:
        station = self._enter(address, command.system, command.component, now)
        if station is None:
            return
        if command.number in _STARTS or command.number == dialect.MAV_CMD_CAMERA_STOP_TRACKING:
            self._act(station, command, now)
            return
        if command.number == dialect.MAV_CMD_REQUEST_MESSAGE:
            outcome, message = self._message(command.whole(0), command.params[1])
        elif command.number in _OLD_REQUESTS:
            outcome, message = self._old_request(command)
        elif command.number == dialect.MAV_CMD_SET_MESSAGE_INTERVAL:
            outcome, message = self._set_interval(station, command), None
        elif command.number == dialect.MAV_CMD_GET_MESSAGE_INTERVAL:
            outcome, message = self._interval(station, command)
        elif command.broadcast:
            return  # it is for others
        else:
            outcome, message = dialect.MAV_RESULT_UNSUPPORTED, None
        self._acknowledge(station, command.number, outcome)
        if message is not None:
            self._send(message, address)

    # --- what is asked for ---

    def _message(self, number: int | None, index: float) -> tuple[int, Any]:
        """Return the result of asking for a message, and the message."""
        boot_ms = int((time.monotonic() - self._began) * 1e3) & 0xFFFFFFFF
        size, settings = self._view.size, self._settings
        if number == dialect.MAVLINK_MSG_ID_CAMERA_INFORMATION:
            return dialect.MAV_RESULT_ACCEPTED, answers.information(settings, size, boot_ms)
        if number == dialect.MAVLINK_MSG_ID_CAMERA_SETTINGS:
            return dialect.MAV_RESULT_ACCEPTED, answers.camera_settings(boot_ms)
        if number == _TRACKING:
            return dialect.MAV_RESULT_ACCEPTED, answers.tracking(self._view.seen(time.monotonic()))
        if number == dialect.MAVLINK_MSG_ID_HEARTBEAT:
            return dialect.MAV_RESULT_ACCEPTED, answers.heartbeat(self._view.reporting(time.monotonic()))
        if settings.video_uri and (math.isnan(index) or index in (0, 1)):  # 0: all streams
            if number == dialect.MAVLINK_MSG_ID_VIDEO_STREAM_INFORMATION:
                return dialect.MAV_RESULT_ACCEPTED, answers.video_stream(settings, size)
            if number == dialect.MAVLINK_MSG_ID_VIDEO_STREAM_STATUS:
                return dialect.MAV_RESULT_ACCEPTED, answers.video_stream_status(size)
        return dialect.MAV_RESULT_DENIED, None

    def _old_request(self, command: Command) -> tuple[int, Any]:
        number = _OLD_REQUESTS[command.number]
        streams = (dialect.MAVLINK_MSG_ID_VIDEO_STREAM_INFORMATION, dialect.MAVLINK_MSG_ID_VIDEO_STREAM_STATUS)
        if number in streams:
            return self._message(number, command.params[0])
        if command.params[0] == 0:  # nothing is asked for
            return dialect.MAV_RESULT_ACCEPTED, None
        return self._message(number, 0)

    def _set_interval(self, station: Station, command: Command) -> int:
        microseconds = command.params[1]
        if command.whole(0) != _TRACKING or not (microseconds == -1 or 0 <= microseconds < math.inf):
            return int(dialect.MAV_RESULT_DENIED)
        if microseconds < 0:
            station.interval = None
        else:
            asked = microseconds * 1e-6 if microseconds else self._settings.status_interval
            station.interval = max(asked, self._settings.shortest_interval)
            self._sent.pop(station.address, None)  # the first one now
            self._news.set()
        return int(dialect.MAV_RESULT_ACCEPTED)

    def _interval(self, station: Station, command: Command) -> tuple[int, Any]:
        if command.whole(0) != _TRACKING:
            return dialect.MAV_RESULT_DENIED, None
        microseconds = -1 if station.interval is None else min(round(station.interval * 1e6), 2**31 - 1)
        return dialect.MAV_RESULT_ACCEPTED, dialect.MAVLink_message_interval_message(_TRACKING, microseconds)

    # --- what is to be done ---

    def _act(self, station: Station, command: Command, now: float) -> None:
        """Carry out a command that changes what is tracked, unless it is one that has come before."""
        done, new = station.begin(Action(command.sequence, command.number, repr(command.params)), now)
        if not new:
            result = dialect.MAV_RESULT_IN_PROGRESS if done.result is None else done.result
            self._acknowledge(station, command.number, result)
            return
        if not command.names_camera(self._settings.component_id):
            self._finish(station, done, Outcome(dialect.MAV_RESULT_DENIED, "the command names another camera"))
            return
        starts = command.number in _STARTS
        work = self._actions.start(command.number, command.params) if starts else self._actions.stop()
        task = self._loop.create_task(self._carry_out(station, done, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, station: Station, done: Done, work: Coroutine[Any, Any, Outcome]) -> None:
        running = asyncio.ensure_future(work)
        patience = _PROGRESS_AFTER
        while not (await asyncio.wait({running}, timeout=patience))[0]:
            self._acknowledge(station, done.action.command, dialect.MAV_RESULT_IN_PROGRESS)
            patience = _PROGRESS_EVERY
        try:
            outcome = running.result()
        except Exception as error:  # an answer is owed
            self._logger.error(f"a command failed:\n{traceback.format_exc()}")
            outcome = Outcome(dialect.MAV_RESULT_FAILED, f"internal error: {error!r}")
        self._finish(station, done, outcome)

    def _finish(self, station: Station, done: Done, outcome: Outcome) -> None:
        done.result = outcome.result
        self._acknowledge(station, done.action.command, outcome.result)
        if outcome.result == dialect.MAV_RESULT_ACCEPTED:
            self._fresh = done.action.command in _STARTS
            self._look_for_changes()
        if outcome.reason and self._texts.take(time.monotonic()):
            self._logger.warning(f"refused {station}: {outcome.reason}")
            self._text_number = self._text_number % 0xFFFF + 1
            for text in answers.texts(f"Tracking: {outcome.reason}", self._text_number):
                self._send(text, station.address)

    # --- what is sent ---

    def _send(self, message: Any, address: Address) -> None:
        self._send_bytes(self._packets.write(message), address)

    def _acknowledge(self, station: Station, command: int, result: int) -> None:
        message = answers.acknowledgement(command, result, station.system, station.component)
        self._send(message, station.address)

    async def _send_heartbeats(self) -> None:
        while True:
            now = time.monotonic()
            for station in self._stations.fallen_silent(now):
                self._logger.warning(f"{station} has been silent for {self._settings.station_timeout:g} s")
            for address in self._peers.awake(now) if self._serves else [()]:
                self._send(answers.heartbeat(self._view.reporting(now)), address)
            await asyncio.sleep(_HEARTBEAT)

    async def _report(self) -> None:
        """Send each address the status at its interval, and at once when the state changes or a start has succeeded."""
        while True:
            now = time.monotonic()
            seen = self._view.seen(now)
            changed = seen[::2] != self._seen[::2]  # status and target
            self._seen = seen
            intervals = self._stations.intervals(now)
            self._sent = {address: at for address, at in self._sent.items() if address in intervals}
            wait = _LOOK  # the tracker may have fallen silent by then
            for address, interval in intervals.items():
                left = self._sent.get(address, -math.inf) + interval - now
                if changed or left <= 0:
                    self._send(answers.tracking(seen), address)
                    # in step, unless it is late by more than an interval
                    self._sent[address] = now if changed or left < -interval else now + left
                    left = self._sent[address] + interval - now
                wait = min(wait, left)
            self._news.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), max(wait, 0.001))

    # --- the tracker ---

    async def _look(self) -> None:
        """Ask the tracker which cameras it has, when it is new."""
        while True:
            if not self._tracker.parameters or not self._view.heard(time.monotonic()):
                if await self._tracker.greet():
                    self._take_parameters()
            await asyncio.sleep(_LOOK)

    def _take_parameters(self) -> None:
        cameras = [str(name) for name in self._tracker.parameters.get("cameras") or [""]]
        if self._settings.camera and self._settings.camera not in cameras:
            known = ", ".join(cameras) if any(cameras) else "there is one without a name"
            self._logger.error(f"the tracker has no camera '{self._settings.camera}': {known}", once=True)
        self._camera = self._actions.camera = self._settings.camera or cameras[0]
        kept = float(self._tracker.parameters.get("buffer_seconds") or 0.0)
        if self._settings.video_delay > kept:
            self._logger.warning(
                f"video_delay is {self._settings.video_delay:g} s, but the tracker's buffer_seconds is {kept:g} s: it"
                " will refuse targets on images that it has forgotten",
                once=True,
            )

    def _on_status(self, message: TrackStatusArray) -> None:
        """Take a status, in the executor's thread."""
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._take_status, message)

    def _take_status(self, message: TrackStatusArray) -> None:
        if message.camera != self._camera:
            return
        self._view.update(message, time.monotonic())
        if self._fresh and self._view.confirmed:
            self._fresh = False
            self._sent.clear()  # where the new target is, at once
            self._news.set()
        else:
            self._look_for_changes()

    def _look_for_changes(self) -> None:
        if self._view.seen(time.monotonic())[::2] != self._seen[::2]:
            self._news.set()
