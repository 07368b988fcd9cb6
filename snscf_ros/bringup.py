# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Holds what starts the tracker, as plain data: names, files and environment; and brings its node to active.

The launch file, the demo and the tests all start the node from here, so they cannot disagree.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from snscf_ros import middleware, supervision

if TYPE_CHECKING:
    from rclpy.node import Node

PACKAGE = "snscf_ros"
EXECUTABLE = "tracker_node"
MODULE = "snscf_ros.node.tracker_node"
NODE_NAME = "tracker"
OPERATOR_EXECUTABLE = "operator_page"
OPERATOR_MODULE = "snscf_ros.operator.command"
OPERATOR_NAME = "operator"
MAVLINK_EXECUTABLE = "mavlink_camera"
MAVLINK_MODULE = "snscf_ros.mavlink.command"
MAVLINK_NAME = "mavlink_camera"
FOLLOW_EXECUTABLE = "follow"
FOLLOW_MODULE = "snscf_ros.follow.command"
FOLLOW_NAME = "follow"
IMAGE_TOPIC = "image_raw"
DEPTH_TOPIC = "depth/image_raw"
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")

_GREET_AGAIN = 2.0  # s
_POLL = 0.01  # s


def share_directory() -> Path:
    """Find the folder with `config/` and `launch/`: in this source tree, a ROS installation, or a pip installation.

    Raises FileNotFoundError naming the places looked at.
    """
    # the files beside the running code come first, because the index may know an older installation
    places = [Path(__file__).resolve().parent.parent]
    try:
        from ament_index_python.packages import get_package_share_directory

        places.append(Path(get_package_share_directory(PACKAGE)))
    except (ImportError, LookupError, OSError):
        pass
    places.append(Path(sys.prefix) / "share" / PACKAGE)
    for place in places:
        if (place / "config" / "tracker.yaml").is_file():
            return place
    raise FileNotFoundError(f"no config/tracker.yaml in {', '.join(map(str, places))}")


def params_file() -> Path:
    """Return the path of `config/tracker.yaml`, the one place of default parameter values."""
    return share_directory() / "config" / "tracker.yaml"


def operator_params_file() -> Path:
    """Return the path of `config/operator.yaml`, the one place of the operator's page's default parameter values."""
    return share_directory() / "config" / "operator.yaml"


def mavlink_params_file() -> Path:
    """Return the path of `config/mavlink.yaml`, the one place of the MAVLink camera's default parameter values."""
    return share_directory() / "config" / "mavlink.yaml"


def follow_params_file() -> Path:
    """Return the path of `config/follow.yaml`, the one place of the follower's default parameter values."""
    return share_directory() / "config" / "follow.yaml"


def profile_file() -> Path:
    """Return the path of `config/fastdds_shm.xml`, the profile that gives images shared memory."""
    return share_directory() / "config" / "fastdds_shm.xml"


def profile_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables for every process that publishes or receives images; see `middleware`."""
    return middleware.profile_environment(profile_file(), environment)


def middleware_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables to add for the tracker: Fast DDS profile and allocator, unless the user set their own."""
    return {**profile_environment(environment), **middleware.allocator_environment(environment)}


def isolate() -> None:
    """Keep the traffic of this process and its children on this machine and away from other ROS nodes.

    Leaves alone what the user has set.
    """
    if not os.environ.get("ROS_DOMAIN_ID"):
        os.environ["ROS_DOMAIN_ID"] = str(random.randint(10, 100))
    if not os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE"):
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        if os.environ.get("ROS_DISTRO") == "humble":
            os.environ.setdefault("ROS_LOCALHOST_ONLY", "1")
    os.environ.update(middleware_environment())


def default_parameters() -> dict[str, Any]:
    """Read the values in `config/tracker.yaml`, by parameter name."""
    content = yaml.safe_load(params_file().read_text(encoding="utf-8"))
    return dict(content["/**"]["ros__parameters"])


def existing_params_file(path: str, argument: str = "params_file") -> Path:
    """Return the parameter file at `path`. Raises FileNotFoundError, naming the argument, if it does not exist."""
    file = Path(os.path.expanduser(path))
    if not file.is_file():
        raise FileNotFoundError(f"{argument}: there is no file '{path}'")
    return file


def launch_parameters(given: Mapping[str, str]) -> dict[str, str | bool]:
    """Return the parameters that launch arguments set, by name. They override the parameter file.

    An empty argument sets nothing, so that the parameter file's value holds. Raises ValueError for an argument that
    should be true or false and is neither.
    """
    parameters: dict[str, str | bool] = {name: given[name] for name in ("model", "device") if given[name]}
    if given["use_sim_time"]:
        parameters["use_sim_time"] = truth("use_sim_time", given["use_sim_time"])
    if given["depth_topic"]:
        parameters["use_depth"] = True
    parameters["autostart_node"] = truth("autostart", given["autostart"])
    return parameters


def operator_launch_parameters(given: Mapping[str, str]) -> dict[str, str | int | bool]:
    """Return the page's parameters that launch arguments set, by name. They override its parameter file.

    Raises ValueError for a port that is no number, or an argument that should be true or false and is neither.
    """
    parameters: dict[str, str | int | bool] = {}
    if given["operator_host"]:
        parameters["host"] = given["operator_host"]
    if given["operator_port"]:
        if not given["operator_port"].isdecimal():
            raise ValueError(f"operator_port is '{given['operator_port']}', must be a number")
        parameters["port"] = int(given["operator_port"])
    if given["use_sim_time"]:
        parameters["use_sim_time"] = truth("use_sim_time", given["use_sim_time"])
    return parameters


def mavlink_launch_parameters(given: Mapping[str, str]) -> dict[str, str | bool]:
    """Return the MAVLink camera's parameters that launch arguments set, by name. They override its parameter file.

    Raises ValueError for an argument that should be true or false and is neither.
    """
    parameters: dict[str, str | bool] = {}
    if given["mavlink_connection"]:
        parameters["connection"] = given["mavlink_connection"]
    if given["use_sim_time"]:
        parameters["use_sim_time"] = truth("use_sim_time", given["use_sim_time"])
    return parameters


def follow_launch_parameters(given: Mapping[str, str]) -> dict[str, str | bool]:
    """Return the follower's parameters that launch arguments set, by name. They override its parameter file.

    Raises ValueError for an argument that should be true or false and is neither.
    """
    parameters: dict[str, str | bool] = {}
    if given["follow_output"]:
        parameters["output"] = given["follow_output"]
    if given["use_sim_time"]:
        parameters["use_sim_time"] = truth("use_sim_time", given["use_sim_time"])
    return parameters


def truth(name: str, text: str) -> bool:
    """Read a launch argument as true or false. Raises ValueError if it is neither."""
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(f"{name} is '{text}', must be true or false")
    return text.lower() in ("true", "1")


def seconds(name: str, text: str) -> float:
    """Read a launch argument as seconds. Raises ValueError if it is not a time."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < float("inf"):
        raise ValueError(f"{name} is '{text}', must be a number of seconds")
    return value


def launch_environment() -> dict[str, str]:
    """Return the node's variables under `ros2 launch`, besides the profile; they make it end when this process ends."""
    return {**middleware.allocator_environment(), **supervision.environment_of_child(os.getpid())}


def image_remappings(image_topic: str) -> list[tuple[str, str]]:
    """Return the remappings that make the unnamed camera read `image_topic`, raw or compressed."""
    if not image_topic or image_topic == IMAGE_TOPIC:
        return []
    return [(IMAGE_TOPIC, image_topic), (f"{IMAGE_TOPIC}/compressed", f"{image_topic}/compressed")]


def depth_remappings(depth_topic: str) -> list[tuple[str, str]]:
    """Return the remappings that make the unnamed camera's depth images come from `depth_topic`; empty for none."""
    return [(DEPTH_TOPIC, depth_topic)] if depth_topic else []


def tracker_command(
    params_file: str | Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    remappings: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    namespace: str = "",
    name: str = NODE_NAME,
    log_level: str = "",
) -> list[str]:
    """Return the command line that runs the real node with this Python.

    `parameters` override those of `params_file`, which override `config/tracker.yaml`.
    """
    return _node_command(MODULE, name, params_file, parameters, remappings, namespace, log_level)


def operator_command(
    params_file: str | Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    remappings: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    namespace: str = "",
    log_level: str = "",
) -> list[str]:
    """Return the command line that runs the operator's page with this Python, for the tracker in `namespace`.

    `parameters` override those of `params_file`, which override `config/operator.yaml`.
    """
    return _node_command(OPERATOR_MODULE, OPERATOR_NAME, params_file, parameters, remappings, namespace, log_level)


def mavlink_command(
    params_file: str | Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    namespace: str = "",
    log_level: str = "",
) -> list[str]:
    """Return the command line that runs the MAVLink camera with this Python, for the tracker in `namespace`.

    `parameters` override those of `params_file`, which override `config/mavlink.yaml`.
    """
    return _node_command(MAVLINK_MODULE, MAVLINK_NAME, params_file, parameters, (), namespace, log_level)


def follow_command(
    params_file: str | Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    remappings: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    namespace: str = "",
    log_level: str = "",
) -> list[str]:
    """Return the command line that runs the follower with this Python, for the tracker in `namespace`.

    `parameters` override those of `params_file`, which override `config/follow.yaml`.
    """
    return _node_command(FOLLOW_MODULE, FOLLOW_NAME, params_file, parameters, remappings, namespace, log_level)


def _node_command(
    module: str,
    name: str,
    params_file: str | Path | None,
    parameters: Mapping[str, Any] | None,
    remappings: Mapping[str, str] | Sequence[tuple[str, str]],
    namespace: str,
    log_level: str,
) -> list[str]:
    command = [sys.executable, "-m", module, "--ros-args", "-r", f"__node:={name}"]
    if namespace:
        command += ["-r", f"__ns:=/{namespace.strip('/')}"]
    pairs = remappings.items() if isinstance(remappings, Mapping) else remappings
    for source, target in pairs:
        command += ["-r", f"{source}:={target}"]
    if params_file is not None:
        command += ["--params-file", str(params_file)]
    for key, value in (parameters or {}).items():
        command += ["-p", f"{key}:={json.dumps(value)}"]
    if log_level:
        command += ["--log-level", log_level]
    return command


def _nothing() -> None:
    pass


def activate(
    node: Node, name: str = NODE_NAME, timeout: float = 60.0, meanwhile: Callable[[], None] = _nothing
) -> None:
    """Bring the lifecycle node `name` (absolute, or relative to `node`'s namespace) to active over its services.

    meanwhile: as in `call`.
    Raises TimeoutError if it does not answer in `timeout` seconds, RuntimeError if it refuses a transition.
    """
    deadline = time.monotonic() + timeout
    for transition, start in (("configure", "unconfigured"), ("activate", "inactive")):
        if state(node, name, deadline - time.monotonic(), meanwhile) == start:
            request_transition(node, transition, name, deadline - time.monotonic(), meanwhile)
    reached = state(node, name, deadline - time.monotonic(), meanwhile)
    if reached != "active":
        raise RuntimeError(f"{name} is {reached}, not active")


def state(node: Node, name: str = NODE_NAME, timeout: float = 10.0, meanwhile: Callable[[], None] = _nothing) -> str:
    """Return the lifecycle state of the node `name`: unconfigured, inactive, active or finalized.

    Raises TimeoutError if it does not answer in `timeout` seconds.
    """
    from lifecycle_msgs.srv import GetState

    answer = call(node, GetState, f"{name}/get_state", GetState.Request(), timeout, meanwhile)
    return str(answer.current_state.label)


def request_transition(
    node: Node,
    transition: str,
    name: str = NODE_NAME,
    timeout: float = 60.0,
    meanwhile: Callable[[], None] = _nothing,
) -> None:
    """Ask the node `name` for `transition` (configure, activate, deactivate, cleanup, shutdown).

    Raises RuntimeError if it refuses, TimeoutError if it does not answer.
    """
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    ids = {
        "configure": Transition.TRANSITION_CONFIGURE,
        "activate": Transition.TRANSITION_ACTIVATE,
        "deactivate": Transition.TRANSITION_DEACTIVATE,
        "cleanup": Transition.TRANSITION_CLEANUP,
    }
    request = ChangeState.Request()
    if transition == "shutdown":
        # its id depends on the state that it starts from
        request.transition.label = transition
    else:
        request.transition.id = ids[transition]
    if not call(node, ChangeState, f"{name}/change_state", request, timeout, meanwhile).success:
        raise RuntimeError(f"{name} refused to {transition}; its log says why")


def call(
    node: Node,
    service: Any,
    name: str,
    request: Any,
    timeout: float = 60.0,
    meanwhile: Callable[[], None] = _nothing,
) -> Any:
    """Send one request to the private service `name` (SERVER/SERVICE), exactly once, and return the response.

    Spins `node`, unless it has been added to an executor, which then must be spinning.
    meanwhile: called repeatedly while waiting; it may raise.
    Raises TimeoutError if there is no such service or no answer in `timeout` seconds.

    The middleware drops a response to a client that the server has not discovered yet, even where the client has
    discovered the server. So a second client first sends the server an empty request until it answers. The server
    discovers a participant's clients in the order of their creation, and so knows the first one by then.
    """
    from rcl_interfaces.srv import GetParameters

    deadline = time.monotonic() + timeout
    server = name.rpartition("/")[0]
    client = node.create_client(service, name)
    greeter = node.create_client(GetParameters, f"{server}/get_parameters")
    try:
        for each in (client, greeter):
            if not _wait(node, each.service_is_ready, deadline, meanwhile):
                raise TimeoutError(f"no service {each.srv_name} within {timeout:.0f} s: is {server} running?")
        while True:
            greeting = greeter.call_async(GetParameters.Request())
            if _wait(node, greeting.done, min(deadline, time.monotonic() + _GREET_AGAIN), meanwhile):
                break
            greeter.remove_pending_request(greeting)
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{server} did not answer within {timeout:.0f} s")
        response = client.call_async(request)
        if not _wait(node, response.done, deadline, meanwhile):
            raise TimeoutError(f"{name} did not answer within {timeout:.0f} s")
        return response.result()
    finally:
        node.destroy_client(greeter)
        node.destroy_client(client)


def _wait(node: Node, done: Callable[[], bool], deadline: float, meanwhile: Callable[[], None]) -> bool:
    """Wait for `done`; return whether it came true before the deadline (monotonic seconds)."""
    import rclpy

    # a node keeps its `executor` after it has been removed from it
    spun = node.executor is not None and node in node.executor.get_nodes()
    while not done():
        meanwhile()
        if time.monotonic() >= deadline:
            return False
        if spun:
            time.sleep(_POLL)
        else:
            rclpy.spin_once(node, timeout_sec=_POLL)
    return True
