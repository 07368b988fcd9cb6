# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Starts the tracker node and brings it to active: a thin adapter over `snscf_ros.bringup`."""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

from snscf_ros import bringup, middleware

ARGUMENTS = {
    "image_topic": (bringup.IMAGE_TOPIC, "topic of the images of a camera without a name; if compressed, its base"),
    "params_file": (str(bringup.params_file()), "YAML file of the node's parameters"),
    "namespace": ("", "namespace of the node"),
    "autostart": ("true", "whether to configure and activate the node, or leave it to 'ros2 lifecycle set'"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "model": ("", "network or path of its weights, in place of the parameter file's"),
    "device": ("", "auto, cpu, cuda, cuda:1, ..., in place of the parameter file's"),
}


def generate_launch_description() -> LaunchDescription:
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    # for all that is launched from here on, because an image goes through the memory of the camera that publishes it
    profile = [SetEnvironmentVariable(name, value) for name, value in bringup.profile_environment().items()]
    return LaunchDescription([*declared, *profile, OpaqueFunction(function=_tracker)])


def _tracker(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    # an argument left empty must not hide what the parameter file says
    chosen = {name: ParameterValue(given[name], value_type=str) for name in ("model", "device") if given[name]}
    node = LifecycleNode(
        package=bringup.PACKAGE,
        executable=bringup.EXECUTABLE,
        name=bringup.NODE_NAME,
        namespace=given["namespace"],
        parameters=[given["params_file"], *([chosen] if chosen else [])],
        remappings=bringup.image_remappings(given["image_topic"]),
        ros_arguments=["--log-level", given["log_level"]],
        additional_env=middleware.allocator_environment(),
        output="screen",
        emulate_tty=True,
    )

    def change_state(transition: int) -> EmitEvent:
        return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition))

    autostart = IfCondition(given["autostart"])
    on_start = OnProcessStart(target_action=node, on_start=[change_state(Transition.TRANSITION_CONFIGURE)])
    on_configured = OnStateTransition(
        target_lifecycle_node=node,
        # not from 'deactivating': a user who deactivates the node wants it inactive
        start_state="configuring",
        goal_state="inactive",
        entities=[change_state(Transition.TRANSITION_ACTIVATE)],
    )
    return [
        RegisterEventHandler(on_start, condition=autostart),
        RegisterEventHandler(on_configured, condition=autostart),
        node,
    ]
