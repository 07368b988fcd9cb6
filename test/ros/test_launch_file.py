# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What `ros2 launch snscf_ros tracker.launch.py` would do, where launch is installed."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from snscf_ros import bringup

LAUNCH_FILE = Path(__file__).resolve().parents[2] / "launch" / "tracker.launch.py"

try:
    import launch_ros.actions  # noqa: F401
except ImportError as missing:
    pytest.skip(f"launch_ros is not installed: {missing}", allow_module_level=True)


@pytest.fixture
def module():
    spec = importlib.util.spec_from_file_location("tracker_launch", LAUNCH_FILE)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def visit(module, **given):
    """The launch description, and the actions that it comes to with these arguments."""
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    description = module.generate_launch_description()
    context = LaunchContext()
    context.launch_configurations.update(given)
    actions = []
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.execute(context)
        elif isinstance(entity, OpaqueFunction):
            actions += entity.execute(context)
        else:
            actions.append(entity)
    return description, actions, context


def the_node(actions):
    from launch_ros.actions import LifecycleNode

    (node,) = [action for action in actions if isinstance(action, LifecycleNode)]
    return node


def parameters_of(node, context) -> list:
    from launch_ros.utilities import evaluate_parameters

    return list(evaluate_parameters(context, node._Node__parameters))


def test_every_argument_is_described(module):
    description, _, _ = visit(module)
    arguments = {argument.name: argument for argument in description.get_launch_arguments()}
    names = {"image_topic", "params_file", "namespace", "autostart", "log_level", "model", "device"}
    assert set(arguments) == names
    for argument in arguments.values():
        assert argument.description != "no description given"


def test_node_is_the_one_of_bringup(module):
    from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions

    _, actions, context = visit(module)
    node = the_node(actions)
    for told, expected in ((node.node_package, bringup.PACKAGE), (node.node_executable, bringup.EXECUTABLE)):
        assert perform_substitutions(context, normalize_to_list_of_substitutions(told)) == expected


def test_arguments_left_alone_do_not_hide_the_parameter_file(module):
    _, actions, context = visit(module)
    (only,) = parameters_of(the_node(actions), context)
    assert Path(only) == bringup.params_file()


def test_arguments_given_come_after_the_parameter_file(module, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("/**:\n  ros__parameters:\n    model: from_file\n", encoding="utf-8")
    _, actions, context = visit(module, params_file=str(mine), model="0815", device="cpu")
    file, chosen = parameters_of(the_node(actions), context)
    assert Path(file) == mine
    assert chosen == {"model": "0815", "device": "cpu"}


def test_autostart_configures_and_activates_and_can_be_left_out(module):
    from launch.actions import RegisterEventHandler

    for autostart in (True, False):
        _, actions, context = visit(module, autostart=str(autostart).lower())
        handlers = [action for action in actions if isinstance(action, RegisterEventHandler)]
        assert len(handlers) == 2
        assert all(handler.condition.evaluate(context) is autostart for handler in handlers)


def test_images_get_their_shared_memory_unless_the_user_has_a_profile(module, monkeypatch):
    from launch.actions import SetEnvironmentVariable
    from launch.utilities import perform_substitutions

    def variables() -> set[str]:
        _, actions, context = visit(module)
        return {perform_substitutions(context, a.name) for a in actions if isinstance(a, SetEnvironmentVariable)}

    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert variables() == set(bringup.profile_environment(os.environ))
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/theirs.xml")
    assert variables() == set()
