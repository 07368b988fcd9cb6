# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What `ros2 launch snscf_ros tracker.launch.py` would do, where launch is installed."""

from __future__ import annotations

import importlib.util
import os
import re
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
    from launch_ros.actions import Node

    node, *_ = [action for action in actions if isinstance(action, Node)]
    return node


def parameters_of(node, context) -> list:
    from launch_ros.utilities import evaluate_parameters

    return list(evaluate_parameters(context, node._Node__parameters))


def test_every_argument_is_described(module):
    description, _, _ = visit(module)
    arguments = {argument.name: argument for argument in description.get_launch_arguments()}
    started = {"image_topic", "params_file", "namespace", "autostart", "log_level", "use_sim_time", "model", "device"}
    page = {"operator", "operator_params_file", "operator_host", "operator_port"}
    mavlink = {"mavlink", "mavlink_params_file", "mavlink_connection"}
    follow = {"follow", "follow_params_file", "follow_output"}
    assert set(arguments) == started | page | mavlink | follow | {"respawn", "respawn_delay", "required"}
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
    file, chosen = parameters_of(the_node(actions), context)
    assert Path(file) == bringup.params_file()
    assert chosen == {"autostart_node": True}


def test_arguments_given_come_after_the_parameter_file(module, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("/**:\n  ros__parameters:\n    model: from_file\n", encoding="utf-8")
    given = {"params_file": str(mine), "model": "0815", "device": "cpu", "use_sim_time": "True", "autostart": "false"}
    _, actions, context = visit(module, **given)
    file, chosen = parameters_of(the_node(actions), context)
    assert Path(file) == mine
    assert chosen == {"model": "0815", "device": "cpu", "use_sim_time": True, "autostart_node": False}


def test_the_page_is_served_only_where_it_is_wanted(module):
    from launch_ros.actions import Node

    assert len([action for action in visit(module)[1] if isinstance(action, Node)]) == 1
    _, actions, context = visit(module, operator="true", operator_port="8123", image_topic="/camera/image_raw")
    _, page = [action for action in actions if isinstance(action, Node)]
    file, chosen = parameters_of(page, context)
    assert Path(file) == bringup.operator_params_file()
    assert chosen == {"port": 8123}


def test_there_is_a_mavlink_camera_only_where_it_is_wanted(module):
    from launch_ros.actions import Node

    _, actions, context = visit(module, mavlink="true", mavlink_connection="udpin:0.0.0.0:14550")
    _, camera = [action for action in actions if isinstance(action, Node)]
    file, chosen = parameters_of(camera, context)
    assert Path(file) == bringup.mavlink_params_file()
    assert chosen == {"connection": "udpin:0.0.0.0:14550"}


def test_there_is_a_follower_only_where_it_is_wanted(module):
    from launch_ros.actions import Node

    _, actions, context = visit(module, follow="true", follow_output="gimbal")
    _, follower = [action for action in actions if isinstance(action, Node)]
    file, chosen = parameters_of(follower, context)
    assert Path(file) == bringup.follow_params_file()
    assert chosen == {"output": "gimbal"}


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("params_file", "/nowhere/mine.yaml", "params_file: there is no file '/nowhere/mine.yaml'"),
        ("log_level", "loud", '"loud" is not valid'),
        ("use_sim_time", "perhaps", "use_sim_time is 'perhaps', must be true or false"),
        ("autostart", "", "autostart is '', must be true or false"),
        ("operator", "perhaps", "operator is 'perhaps', must be true or false"),
        ("respawn", "always", "respawn is 'always'"),
        ("respawn_delay", "-1", "respawn_delay is '-1', must be a number of seconds"),
    ],
)
def test_wrong_arguments_are_refused_by_name(module, name, value, told):
    with pytest.raises((ValueError, FileNotFoundError, RuntimeError), match=re.escape(told)):
        visit(module, **{name: value})


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
