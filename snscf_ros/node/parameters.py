# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Declares the node's parameters: their meaning, their ranges, and when they may change.

Their default values are in `config/tracker.yaml` and nowhere else.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import NameValidationException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.parameter import Parameter
from rclpy.validate_full_topic_name import validate_full_topic_name
from rclpy.validate_topic_name import validate_topic_name

from snscf_core.online.config import SEARCH_SIZES
from snscf_ros import bringup

if TYPE_CHECKING:
    from rclpy.node import Node


@dataclass(frozen=True)
class Settings:
    """The values of all parameters at one moment; the fields are the parameters."""

    model: str
    mode: str
    device: str
    engine: str
    search_size: int
    coast_frames: int
    search_places: int
    search_interval: int
    cameras: tuple[str, ...]
    image_transport: str
    max_image_pixels: int
    max_targets: int
    init_timeout: float
    init_topics: bool
    click_target_id: str
    detection_id: str
    rectified: bool
    buffer_seconds: float
    buffer_bytes: int
    catch_up_time: float
    max_latency: float
    targets_on_time_jump: str
    class_id: str
    publish_lost: bool
    clip_boxes: bool
    overlay_jpeg_quality: int
    position_source: str
    use_depth: bool
    target_width: float
    target_height: float
    target_size_error: float
    plane_frame: str
    plane_contact: str
    position_frame: str
    position_hold: float
    box_error: float
    direction_error: float
    depth_error: float
    target_acceleration: float
    target_frames: bool
    compensate_turns: bool
    prediction_rate: float
    prediction_lead: float
    diagnostics_rate: float
    camera_timeout: float
    autostart_node: bool


@dataclass(frozen=True)
class Declaration:
    """The description of one parameter, for `ros2 param describe` and for the check when it is set.

    text: what it means.
    minimum, maximum: its range; None for no limit.
    step: step of whole numbers.
    choices: the texts that it may be; empty for any.
    read_only: whether it is fixed when the node starts.
    read_at_configure: whether it may change only while the node is unconfigured.
    """

    text: str
    minimum: float | None = None
    maximum: float | None = None
    step: int = 1
    choices: tuple[str, ...] = ()
    read_only: bool = False
    read_at_configure: bool = False

    def descriptor(self, value: object) -> ParameterDescriptor:
        """Make the descriptor of a parameter whose default is `value`."""
        descriptor = ParameterDescriptor(description=self.text, read_only=self.read_only)
        if self.choices:
            descriptor.additional_constraints = "one of " + ", ".join(self.choices)
        elif self.read_at_configure:
            descriptor.additional_constraints = "may be set only while the node is unconfigured"
        if self.minimum is None or self.maximum is None:
            return descriptor
        if isinstance(value, int):
            limits = IntegerRange(from_value=int(self.minimum), to_value=int(self.maximum), step=self.step)
            descriptor.integer_range = [limits]
        else:
            limits = FloatingPointRange(from_value=float(self.minimum), to_value=float(self.maximum), step=0.0)
            descriptor.floating_point_range = [limits]
        return descriptor


DECLARATIONS: Mapping[str, Declaration] = {
    "model": Declaration(
        "Network: snscf_nano or snscf_r50, or the path of a weights file. Read at configure.",
        read_at_configure=True,
    ),
    "mode": Declaration(
        "How the tracker decides: snscf, paper, siamese, correlation_filter or naive_fusion; auto takes the best that"
        " the weights allow. Read at configure.",
        read_at_configure=True,
    ),
    "device": Declaration(
        "Where the network runs: auto, cpu, cuda, cuda:1, ... Read at configure.", read_at_configure=True
    ),
    "engine": Declaration(
        "What runs the network: torch, cuda_graphs, onnxruntime, openvino, tensorrt, openvino-int8 and the like once"
        " exported, or a folder of snscf export; auto takes the fastest that agrees with torch. Read at configure.",
        read_at_configure=True,
    ),
    "search_size": Declaration(
        "Side in pixels of the crop that the network searches for each target; 127 of them show the target and its"
        " surroundings. It is 16 n + 15. 191 takes 0.6 of the time of 255, but loses fast targets. Read at configure.",
        minimum=SEARCH_SIZES[0],
        maximum=SEARCH_SIZES[1],
        step=16,
        read_at_configure=True,
    ),
    "coast_frames": Declaration(
        "Images for which a hidden target is assumed to keep moving, ever slower. Read at configure.",
        minimum=0,
        maximum=1000,
        read_at_configure=True,
    ),
    "search_places": Declaration(
        "Places that are searched at once for each lost target, besides the one where it was lost. Each costs as much"
        " as a target. 0 searches only where it was lost. Read at configure.",
        minimum=0,
        maximum=100,
        read_at_configure=True,
    ),
    "search_interval": Declaration(
        "Images from one search in search_places places to the next: 2 spreads the cost over two images. Read at"
        " configure.",
        minimum=1,
        maximum=100,
        read_at_configure=True,
    ),
    "cameras": Declaration(
        "Names of the cameras: 'front' is read from front/image_raw; the empty name from image_raw.", read_only=True
    ),
    "image_transport": Declaration(
        "raw reads sensor_msgs/Image from image_raw, compressed reads sensor_msgs/CompressedImage (JPEG or PNG) from"
        " image_raw/compressed.",
        choices=("raw", "compressed"),
        read_only=True,
    ),
    "max_image_pixels": Declaration(
        "Images of more pixels (width x height) are rejected before anything is allocated for them.",
        minimum=256,
        maximum=2**30,
    ),
    "max_targets": Declaration("Targets that may be followed at the same time.", minimum=1, maximum=1000),
    "init_timeout": Declaration(
        "Seconds that init_target waits for the tracker before it gives up.", minimum=0.1, maximum=600.0
    ),
    "init_topics": Declaration(
        "Whether targets are started from the topics init_from_roi, init_from_point, init_from_pixel,"
        " init_from_detection and init_from_detections, too.",
        read_only=True,
    ),
    "click_target_id": Declaration(
        "Name of the target that each region, each point and each detection without an id starts anew; empty: each"
        " starts a target of its own."
    ),
    "detection_id": Declaration(
        "Id of the detection in init_from_detections that is followed, and found again where it is lost; empty: each"
        " array of a single detection starts its target."
    ),
    "rectified": Declaration(
        "Whether the images are rectified: bearings follow from P of the CameraInfo instead of K and the distortion."
    ),
    "buffer_seconds": Declaration(
        "Seconds of images that are kept of each camera, so that init_target can start on an earlier one.",
        minimum=0.0,
        maximum=60.0,
    ),
    "buffer_bytes": Declaration(
        "Bytes of images that are kept of each camera; the newest is kept in any case.", minimum=0, maximum=2**36
    ),
    "catch_up_time": Declaration(
        "Seconds within which a target that was started on an earlier image is brought to the newest image. It is"
        " followed through all images that are kept if that is fast enough, else through evenly spread ones. What comes"
        " meanwhile is tracked in between.",
        minimum=0.0,
        maximum=60.0,
    ),
    "max_latency": Declaration(
        "Seconds from the arrival of an image to its detections. Where they would be exceeded, the search for lost"
        " targets, the learning and the renewal of templates wait for a later image, for 30 images at most; the"
        " diagnostics count how often. 0 sets no limit.",
        minimum=0.0,
        maximum=60.0,
    ),
    "targets_on_time_jump": Declaration(
        "What to do with a camera's targets when its stamps go back by more than half a second: keep follows them from"
        " their last boxes, drop forgets them. The images that were kept are forgotten in both cases.",
        choices=("keep", "drop"),
    ),
    "class_id": Declaration("class_id of each detection whose target took over none from a detector."),
    "publish_lost": Declaration("Whether lost targets stay in the detections, with the box where they may be."),
    "clip_boxes": Declaration(
        "Whether the boxes that are published end at the image's edges. A tracked box covers the whole target, also the"
        " part that is outside the image."
    ),
    "overlay_jpeg_quality": Declaration("JPEG quality of overlay/compressed.", minimum=1, maximum=100),
    "position_source": Declaration(
        "What the positions of targets are computed from: depth images, the known size, or a plane; auto takes the"
        " first of these that gives a position.",
        choices=("auto", "depth", "size", "plane"),
    ),
    "use_depth": Declaration(
        "Whether depth images are read from depth/image_raw beside the camera's images ('front': from"
        " front/depth/image_raw). They must show the same view.",
        read_only=True,
    ),
    "target_width": Declaration("Width of the target in metres; 0: not known.", minimum=0.0, maximum=1000.0),
    "target_height": Declaration("Height of the target in metres; 0: not known.", minimum=0.0, maximum=1000.0),
    "target_size_error": Declaration(
        "Standard deviation of the target's known width and height, as a share of them.", minimum=0.0, maximum=1.0
    ),
    "plane_frame": Declaration(
        "TF frame whose x and y axes lie in the plane, mostly the ground, that targets are on; empty: none.",
        read_only=True,
    ),
    "plane_contact": Declaration(
        "What of the box is in the plane: bottom for a target that stands on it, or centre.",
        choices=("bottom", "centre"),
    ),
    "position_frame": Declaration(
        "TF frame in which positions are published and targets move evenly, such as odom; z must be up. Empty: the"
        " frame of the camera.",
        read_only=True,
    ),
    "position_hold": Declaration(
        "Seconds for which the position of a target that is not found is continued, and predictions are made.",
        minimum=0.0,
        maximum=60.0,
    ),
    "box_error": Declaration(
        "Factor on the errors of boxes that were measured on many videos; less than 1 suits rigid targets.",
        minimum=0.01,
        maximum=100.0,
    ),
    "direction_error": Declaration(
        "Standard deviation in rad of all directions: of the camera's calibration, its mount and its transform.",
        minimum=0.0,
        maximum=1.0,
    ),
    "depth_error": Declaration(
        "Standard deviation in metres of a depth of 1 m. It grows with the square of the depth.",
        minimum=0.0,
        maximum=1.0,
    ),
    "target_acceleration": Declaration(
        "By how many m/s the velocity of a target changes within a second, as standard deviation.",
        minimum=0.001,
        maximum=1000.0,
    ),
    "target_frames": Declaration(
        "Whether each target whose position is known is a TF frame too: tracker/ID, with the node's name.",
        read_only=True,
    ),
    "compensate_turns": Declaration(
        "Whether targets that are not seen are looked for where the camera's own turning has moved them in the"
        " image. It needs position_frame and camera_info."
    ),
    "prediction_rate": Declaration(
        "Predictions a second on ~/prediction, made while somebody is subscribed; 0: none.", minimum=0.0, maximum=1000.0
    ),
    "prediction_lead": Declaration(
        "Seconds after the moment of publishing for which predictions are made: how long the robot takes to react.",
        minimum=0.0,
        maximum=5.0,
    ),
    "diagnostics_rate": Declaration("Messages on /diagnostics a second.", minimum=0.01, maximum=100.0),
    "camera_timeout": Declaration(
        "Seconds without a usable image after which the status and the diagnostics say that the camera is silent.",
        minimum=0.05,
        maximum=3600.0,
    ),
    "autostart_node": Declaration(
        "Whether the node configures and activates itself when it starts, and ends with status 1 if it cannot.",
        read_only=True,
    ),
}

# parameters that rclpy itself declares
_OF_RCLPY = ("use_sim_time", "start_type_description_service")
_PREFIXES_OF_RCLPY = ("qos_overrides.",)


def problem(name: str, value: Any) -> str | None:
    """Return in one sentence what is wrong with a value beyond its type and range; None if it is right."""
    declaration = DECLARATIONS.get(name)
    if declaration is None:
        return None
    if declaration.choices and value not in declaration.choices:
        return f"{name} is '{value}', must be one of {', '.join(declaration.choices)}"
    if declaration.read_at_configure and not str(value).strip():
        return f"{name} is empty"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{name} is {value}, must be a finite number"
    if name == "cameras":
        names = tuple(value or ("",))
        for camera in names:
            if reason := _no_topic(f"{camera}/{bringup.IMAGE_TOPIC}" if camera else bringup.IMAGE_TOPIC):
                return f"cameras: '{camera}' cannot begin a topic: {reason}"
        if len(set(names)) < len(names):
            return f"cameras: a name occurs twice in {list(names)}"
    return None


def _no_topic(name: str) -> str:
    """Return why this is no name of a topic; empty if it is."""
    try:
        validate_topic_name(name)
        validate_full_topic_name(expand_topic_name(name, bringup.NODE_NAME, "/"))
        return ""
    except (NameValidationException, ValueError) as error:
        # the reason, without the lines that point at the character
        return (str(error).partition(": ")[2] or str(error)).splitlines()[0].rstrip(":")


def unknown(given: Iterable[str]) -> list[str]:
    """Return the warnings about names, among those that a node was given, that it does not have.

    ROS ignores an unknown name without a word. A name close to a known one is a slip and gets a sentence of its own.
    All others share one, because a parameter file may be written for several nodes.
    """
    others = []
    warnings = []
    for name in given:
        if name in DECLARATIONS or name in _OF_RCLPY or name.startswith(_PREFIXES_OF_RCLPY):
            continue
        if near := difflib.get_close_matches(name, [*DECLARATIONS, *_OF_RCLPY], n=2, cutoff=0.7):
            meant = " or ".join(f"'{known}'" for known in near)
            warnings.append(f"this node has no parameter {name}: did you mean {meant}?")
        else:
            others.append(name)
    if others:
        warnings.append(f"this node has no parameter {', '.join(sorted(others))}")
    return warnings


class Parameters:
    """Declares the parameters on a node and keeps `settings` equal to them.

    settings: the values of the moment.
    """

    def __init__(self, node: Node, configured: Callable[[], bool], changed: Callable[[Settings], None]) -> None:
        """Declare the parameters.

        configured: whether the node holds a tracker; what is read at configure must not change then.
        changed: called with the new settings after a successful change.
        Raises rclpy's ParameterException where the user's initial values are of the wrong type or out of range.
        """
        self._configured = configured
        self._changed = changed
        self._declared = False
        node.add_on_set_parameters_callback(self._check)
        values = {}
        for name, default in bringup.default_parameters().items():
            declaration = DECLARATIONS[name]
            values[name] = node.declare_parameter(name, default, declaration.descriptor(default)).value
        self.settings = settings_of(values)
        self._declared = True
        # Humble has no post-set callback. Nobody else can refuse a change there, so it can be applied in the check.
        self._applies_in_check = not hasattr(node, "add_post_set_parameters_callback")
        if not self._applies_in_check:
            node.add_post_set_parameters_callback(self._apply)

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            reason = problem(parameter.name, parameter.value)
            declaration = DECLARATIONS.get(parameter.name)
            if reason is None and self._declared and declaration and declaration.read_at_configure:
                unchanged = getattr(self.settings, parameter.name) == parameter.value
                if self._configured() and not unchanged:
                    reason = f"{parameter.name} is read at configure: deactivate and clean up the node, then set it"
            if reason is not None:
                return SetParametersResult(successful=False, reason=reason)
        if self._declared and self._applies_in_check:
            self._apply(parameters)
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Parameter]) -> None:
        known = {p.name: p.value for p in parameters if p.name in DECLARATIONS}
        if known:
            self.settings = settings_of({**dataclasses.asdict(self.settings), **known})
            self._changed(self.settings)


def settings_of(values: Mapping[str, Any]) -> Settings:
    """Make settings from parameter values by name, as rclpy holds them."""
    # an empty list in YAML has no type, so rclpy makes it None
    return Settings(**{**values, "cameras": tuple(values["cameras"] or ("",))})
