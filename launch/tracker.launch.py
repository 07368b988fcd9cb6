# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Starts the tracker node, which brings itself to active: a thin adapter over `snscf_ros.bringup`."""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, RegisterEventHandler, SetEnvironmentVariable
from launch.event_handlers import OnProcessExit, OnProcessIO, OnProcessStart
from launch.events.process import ProcessExited, ProcessIO, ProcessStarted
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from snscf_ros import bringup, supervision

ARGUMENTS = {
    "image_topic": (bringup.IMAGE_TOPIC, "topic of the images of a camera without a name; if compressed, its base"),
    "depth_topic": ("", "topic of depth images that show the same view; where it is given, the node reads them"),
    "params_file": (str(bringup.params_file()), "YAML file of the node's parameters"),
    "namespace": ("", "namespace of the node"),
    "autostart": ("true", "whether to configure and activate the node, or leave it to 'ros2 lifecycle set'"),
    "respawn": ("false", "whether to start the node again when it ends; otherwise its death ends the launch"),
    "respawn_delay": ("2.0", "seconds after which it is started again"),
    "required": ("true", "whether the launch ends, with status 1, when the node dies and is not started again"),
    "log_level": ("info", "severity from which on messages are logged"),
    "use_sim_time": ("", "whether the time is that of /clock, in place of the parameter file's"),
    "model": ("", "network or path of its weights, in place of the parameter file's"),
    "device": ("", "auto, cpu, cuda, cuda:1, ..., in place of the parameter file's"),
    "operator": ("false", "whether to serve the operator's page too, in which targets are chosen in a browser"),
    "operator_params_file": (str(bringup.operator_params_file()), "YAML file of the page's parameters"),
    "operator_host": ("", "address on which the page is served, in place of its parameter file's"),
    "operator_port": ("", "port on which the page is served, in place of its parameter file's"),
    "mavlink": ("false", "whether to be a MAVLink camera too, whose targets a drone's ground station chooses"),
    "mavlink_params_file": (str(bringup.mavlink_params_file()), "YAML file of the MAVLink camera's parameters"),
    "mavlink_connection": ("", "link of the MAVLink camera, in place of its parameter file's"),
    "follow": ("false", "whether to start the follower too, which steers a robot after the target once it is enabled"),
    "follow_params_file": (str(bringup.follow_params_file()), "YAML file of the follower's parameters"),
    "follow_output": ("", "ground, multirotor or gimbal, in place of its parameter file's"),
}
CHOICES = {"log_level": list(bringup.LOG_LEVELS)}


def generate_launch_description() -> LaunchDescription:
    supervision.leave_interrupts_to_launch()
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=CHOICES.get(name))
        for name, (default, text) in ARGUMENTS.items()
    ]
    # set for everything that is launched after it, because an image goes through the memory of the camera's process
    profile = [SetEnvironmentVariable(name, value) for name, value in bringup.profile_environment().items()]
    return LaunchDescription([*declared, *profile, OpaqueFunction(function=_tracker)])


def _tracker(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    # with their types from here: launch would read the text of a model's name as YAML
    parameters = {
        name: ParameterValue(value, value_type=type(value)) for name, value in bringup.launch_parameters(given).items()
    }
    respawn = bringup.truth("respawn", given["respawn"])
    node = Node(
        package=bringup.PACKAGE,
        executable=bringup.EXECUTABLE,
        name=bringup.NODE_NAME,
        namespace=given["namespace"],
        parameters=[bringup.existing_params_file(given["params_file"]), parameters],
        remappings=[
            *bringup.image_remappings(given["image_topic"]),
            *bringup.depth_remappings(given["depth_topic"]),
        ],
        ros_arguments=["--log-level", given["log_level"]],
        additional_env=bringup.launch_environment(),
        respawn=respawn,
        respawn_delay=bringup.seconds("respawn_delay", given["respawn_delay"]),
        output="screen",
        emulate_tty=True,
    )
    ends_launch = bringup.truth("required", given["required"]) and not respawn
    page = [_operator_page(given)] if bringup.truth("operator", given["operator"]) else []
    camera = [_mavlink_camera(given)] if bringup.truth("mavlink", given["mavlink"]) else []
    follower = [_follower(given)] if bringup.truth("follow", given["follow"]) else []
    return [*_handlers(node, ends_launch), node, *page, *camera, *follower]


def _operator_page(given: dict[str, str]) -> Node:
    """Make the page's node. It goes on when the tracker is started again, and the tracker goes on without it."""
    parameters = bringup.operator_launch_parameters(given)
    return Node(
        package=bringup.PACKAGE,
        executable=bringup.OPERATOR_EXECUTABLE,
        name=bringup.OPERATOR_NAME,
        namespace=given["namespace"],
        parameters=[bringup.existing_params_file(given["operator_params_file"], "operator_params_file"), parameters],
        remappings=bringup.image_remappings(given["image_topic"]),
        ros_arguments=["--log-level", given["log_level"]],
        additional_env=bringup.launch_environment(),
        output="screen",
        emulate_tty=True,
    )


def _mavlink_camera(given: dict[str, str]) -> Node:
    """Make the MAVLink camera's node. It goes on when the tracker is started again, and the tracker without it."""
    parameters = bringup.mavlink_launch_parameters(given)
    return Node(
        package=bringup.PACKAGE,
        executable=bringup.MAVLINK_EXECUTABLE,
        name=bringup.MAVLINK_NAME,
        namespace=given["namespace"],
        parameters=[bringup.existing_params_file(given["mavlink_params_file"], "mavlink_params_file"), parameters],
        ros_arguments=["--log-level", given["log_level"]],
        additional_env=bringup.launch_environment(),
        output="screen",
        emulate_tty=True,
    )


def _follower(given: dict[str, str]) -> Node:
    """Make the follower's node. It stops the robot while there is no tracker, and the tracker goes on without it."""
    parameters = bringup.follow_launch_parameters(given)
    return Node(
        package=bringup.PACKAGE,
        executable=bringup.FOLLOW_EXECUTABLE,
        name=bringup.FOLLOW_NAME,
        namespace=given["namespace"],
        parameters=[bringup.existing_params_file(given["follow_params_file"], "follow_params_file"), parameters],
        ros_arguments=["--log-level", given["log_level"]],
        additional_env=bringup.launch_environment(),
        output="screen",
        emulate_tty=True,
    )


def _handlers(node: Node, ends_launch: bool) -> list[LaunchDescriptionEntity]:
    """Make the handlers of the node's start, output and end.

    They come before the node in the launch description: launch calls the last registered handlers first, and a handler
    that raises keeps the others from being called.
    """
    error = ""

    def started(event: ProcessStarted, context: LaunchContext) -> None:
        supervision.count_start(event.env)

    def printed(event: ProcessIO) -> None:
        nonlocal error
        error = supervision.last_error(event.text.decode(errors="replace")) or error

    def ended(event: ProcessExited, context: LaunchContext) -> None:
        reason = supervision.death(event.returncode, error)
        if ends_launch and reason and not context.is_shutdown:
            # an exception, unlike a shutdown event, gives 'ros2 launch' a status other than 0
            raise RuntimeError(reason)

    handlers = [
        OnProcessStart(target_action=node, on_start=started),
        OnProcessIO(target_action=node, on_stdout=printed, on_stderr=printed),
        OnProcessExit(target_action=node, on_exit=ended),
    ]
    return [RegisterEventHandler(handler) for handler in handlers]
