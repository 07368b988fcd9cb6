# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes the messages that the camera sends."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from pymavlink.dialects.v20 import common as dialect

import snscf_core
from snscf_ros.mavlink.settings import CameraSettings
from snscf_ros.mavlink.view import Seen

_VENDOR = "snscf"
_TEXT = 50  # characters of one STATUSTEXT
_TEXTS = 5  # pieces of one text, at most


def heartbeat(tracking: bool) -> Any:
    """Make the heartbeat. tracking: whether the tracker reports on images."""
    state = dialect.MAV_STATE_ACTIVE if tracking else dialect.MAV_STATE_STANDBY
    return dialect.MAVLink_heartbeat_message(dialect.MAV_TYPE_CAMERA, dialect.MAV_AUTOPILOT_INVALID, 0, 0, state, 3)


def information(settings: CameraSettings, size: tuple[int, int], boot_ms: int) -> Any:
    """Make CAMERA_INFORMATION. size: width and height of the image in pixels; 0 where they are not known."""
    flags = dialect.CAMERA_CAP_FLAGS_HAS_TRACKING_POINT | dialect.CAMERA_CAP_FLAGS_HAS_TRACKING_RECTANGLE
    if settings.video_uri:
        flags |= dialect.CAMERA_CAP_FLAGS_HAS_VIDEO_STREAM
    return dialect.MAVLink_camera_information_message(
        time_boot_ms=boot_ms,
        vendor_name=_bytes_of(_VENDOR, 32),
        model_name=_bytes_of(settings.model_name, 32),
        firmware_version=_version(snscf_core.__version__),
        focal_length=math.nan,
        sensor_size_h=math.nan,
        sensor_size_v=math.nan,
        resolution_h=min(size[0], 0xFFFF),
        resolution_v=min(size[1], 0xFFFF),
        lens_id=0,
        flags=flags,
        cam_definition_version=0,
        cam_definition_uri=b"",
    )


def camera_settings(boot_ms: int) -> Any:
    """Make CAMERA_SETTINGS: a camera that has only video."""
    return dialect.MAVLink_camera_settings_message(boot_ms, dialect.CAMERA_MODE_VIDEO, math.nan, math.nan)


def video_stream(settings: CameraSettings, size: tuple[int, int]) -> Any:
    """Make VIDEO_STREAM_INFORMATION of the only stream."""
    kind = {
        "rtsp": dialect.VIDEO_STREAM_TYPE_RTSP,
        "tcp": dialect.VIDEO_STREAM_TYPE_TCP_MPEG,
        "mpegts": dialect.VIDEO_STREAM_TYPE_MPEG_TS,
    }.get(settings.video_uri.partition("://")[0], dialect.VIDEO_STREAM_TYPE_RTPUDP)
    return dialect.MAVLink_video_stream_information_message(
        stream_id=1,
        count=1,
        type=kind,
        flags=dialect.VIDEO_STREAM_STATUS_FLAGS_RUNNING,
        framerate=0.0,
        resolution_h=min(size[0], 0xFFFF),
        resolution_v=min(size[1], 0xFFFF),
        bitrate=0,
        rotation=0,
        hfov=0,
        name=settings.model_name.encode()[:31],
        uri=settings.video_uri.encode()[:159],
    )


def video_stream_status(size: tuple[int, int]) -> Any:
    """Make VIDEO_STREAM_STATUS of the only stream."""
    return dialect.MAVLink_video_stream_status_message(
        1, dialect.VIDEO_STREAM_STATUS_FLAGS_RUNNING, 0.0, min(size[0], 0xFFFF), min(size[1], 0xFFFF), 0, 0, 0
    )


def tracking(seen: Seen) -> Any:
    """Make CAMERA_TRACKING_IMAGE_STATUS."""
    left, top, right, bottom = seen.corners or (math.nan,) * 4
    idle = seen.status == dialect.CAMERA_TRACKING_STATUS_FLAGS_IDLE
    return dialect.MAVLink_camera_tracking_image_status_message(
        tracking_status=seen.status,
        tracking_mode=dialect.CAMERA_TRACKING_MODE_NONE if idle else dialect.CAMERA_TRACKING_MODE_RECTANGLE,
        target_data=dialect.CAMERA_TRACKING_TARGET_DATA_IN_STATUS,
        point_x=math.nan,
        point_y=math.nan,
        radius=math.nan,
        rec_top_x=left,
        rec_top_y=top,
        rec_bottom_x=right,
        rec_bottom_y=bottom,
    )


def acknowledgement(command: int, result: int, system: int, component: int) -> Any:
    """Make COMMAND_ACK for a station."""
    # 255: how far it has got is not known
    progress = 255 if result == dialect.MAV_RESULT_IN_PROGRESS else 0
    return dialect.MAVLink_command_ack_message(command, result, progress, 0, system, component)


def texts(text: str, number: int) -> Iterator[Any]:
    """Make the STATUSTEXT messages of a text, in pieces. number: that is given to each text, from 1 to 65535."""
    data = text.encode("ascii", "replace")[: _TEXT * _TEXTS]
    for piece, begin in enumerate(range(0, len(data), _TEXT)):
        yield dialect.MAVLink_statustext_message(
            dialect.MAV_SEVERITY_WARNING, data[begin : begin + _TEXT], number if len(data) > _TEXT else 0, piece
        )


def _bytes_of(text: str, length: int) -> list[int]:
    data = text.encode()[: length - 1]
    return [*data, *bytes(length - len(data))]


def _version(text: str) -> int:
    """Return a version such as 1.2.3 as CAMERA_INFORMATION has it."""
    numbers = [min(int(number), 255) for number in re.findall(r"\d+", text)[:3]]
    return sum(number << 8 * place for place, number in enumerate(numbers))
