"""How the tracker is started: names, files and environment as plain data.

The launch file, the demo and the tests all start the node from here, so they cannot disagree.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snscf_ros import middleware

if TYPE_CHECKING:
    from rclpy.node import Node

PACKAGE = "snscf_ros"
EXECUTABLE = "tracker_node"
MODULE = "snscf_ros.tracker_node"
NODE_NAME = "tracker"
IMAGE_TOPIC = "image_raw"

_ASK_AGAIN = 10.0  # s


def share_directory() -> Path:
    """The folder that holds `config/` and `launch/`: this source tree, a ROS installation, or a pip installation.

    Raises FileNotFoundError naming the places looked at.
    """
    # the files that lie beside the running code come first: an older installation may be on the index
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
    """`config/tracker.yaml`, the one place of default parameter values."""
    return share_directory() / "config" / "tracker.yaml"


def profile_file() -> Path:
    """`config/fastdds_shm.xml`, the profile that gives images shared memory."""
    return share_directory() / "config" / "fastdds_shm.xml"


def profile_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables for every process that publishes or receives images; see `middleware`."""
    return middleware.profile_environment(profile_file(), environment)


def middleware_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables to add to the environment of the tracker: Fast DDS profile and allocator, unless the user has own."""
    return {**profile_environment(environment), **middleware.allocator_environment(environment)}


def image_remappings(image_topic: str) -> list[tuple[str, str]]:
    """Remappings that make the unnamed camera read `image_topic`, raw or compressed."""
    if not image_topic or image_topic == IMAGE_TOPIC:
        return []
    return [(IMAGE_TOPIC, image_topic), (f"{IMAGE_TOPIC}/compressed", f"{image_topic}/compressed")]


def tracker_command(
    params_file: str | Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    remappings: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    namespace: str = "",
    name: str = NODE_NAME,
    log_level: str = "",
) -> list[str]:
    """The argv that runs the real node with this Python.

    `parameters` override those of `params_file`, which override `config/tracker.yaml`.
    """
    command = [sys.executable, "-m", MODULE, "--ros-args", "-r", f"__node:={name}"]
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


def activate(node: Node, name: str = NODE_NAME, timeout: float = 60.0) -> None:
    """Bring the lifecycle node `name` (absolute, or relative to `node`'s namespace) to active over its services.

    Raises TimeoutError if it does not answer in `timeout` seconds, RuntimeError if it refuses a transition.
    """
    deadline = time.monotonic() + timeout
    if state(node, name, timeout) == "unconfigured":
        request_transition(node, "configure", name, deadline - time.monotonic())
    if state(node, name, deadline - time.monotonic()) == "inactive":
        request_transition(node, "activate", name, deadline - time.monotonic())
    reached = state(node, name, deadline - time.monotonic())
    if reached != "active":
        raise RuntimeError(f"{name} is {reached}, not active")


def state(node: Node, name: str = NODE_NAME, timeout: float = 10.0) -> str:
    """The lifecycle state of the node `name`: unconfigured, inactive, active or finalized.

    Raises TimeoutError if it does not answer in `timeout` seconds.
    """
    from lifecycle_msgs.srv import GetState

    deadline = time.monotonic() + timeout
    while True:
        # an answer to a client that the node has only just discovered can get lost: asking again does no harm
        patience = min(_ASK_AGAIN, deadline - time.monotonic())
        try:
            answer = _call(node, GetState, f"{name}/get_state", GetState.Request(), patience)
            return str(answer.current_state.label)
        except TimeoutError as error:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{error} ({timeout:.0f} s in all)") from None


def request_transition(node: Node, transition: str, name: str = NODE_NAME, timeout: float = 60.0) -> None:
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
    if not _call(node, ChangeState, f"{name}/change_state", request, timeout).success:
        raise RuntimeError(f"{name} refused to {transition}; its log says why")


def _call(node: Node, service: Any, name: str, request: Any, timeout: float) -> Any:
    """One service call from `node`; spins it, unless it has been added to an executor, which then must be spinning."""
    import rclpy

    deadline = time.monotonic() + timeout
    client = node.create_client(service, name)
    try:
        if not client.wait_for_service(timeout_sec=max(0.0, timeout)):
            raise TimeoutError(f"no service {name} within {timeout:.0f} s: is the tracker running?")
        future = client.call_async(request)
        # an executor that a node was once spun by stays its `executor`
        spun = node.executor is not None and node in node.executor.get_nodes()
        if not spun:
            rclpy.spin_until_future_complete(node, future, timeout_sec=max(0.0, deadline - time.monotonic()))
        else:
            answered = threading.Event()
            future.add_done_callback(lambda _: answered.set())
            answered.wait(max(0.0, deadline - time.monotonic()))
        if not future.done():
            raise TimeoutError(f"{name} did not answer within {timeout:.0f} s")
        return future.result()
    finally:
        node.destroy_client(client)
