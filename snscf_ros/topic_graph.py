# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds out who publishes on a camera's topic: by the ROS graph, and by images of two cameras that come in turn."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.subscription import Subscription

_RAW, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_TRANSPORTS = {_RAW: "raw", _COMPRESSED: "compressed"}
_SUFFIX = "/compressed"
_PERIOD = 3.0  # s; a value that has not been seen for that long is gone
_MOST = 8  # values that are remembered
_MOST_NAMED = 4  # topics in one sentence
# a process that was killed stays in the graph until its lease ends
_PERHAPS_DEAD = "one may have been killed, and then vanishes within half a minute"

Value = TypeVar("Value", bound=Hashable)


class Publisher(NamedTuple):
    """Describes a publisher of a topic: its node, the type of its messages, and its quality of service."""

    node: str
    kind: str
    qos: QoSProfile


class Topics(NamedTuple):
    """Holds what is published: the publishers of the topic in question, and the types of all topics."""

    publishers: Sequence[Publisher]
    types: Mapping[str, Sequence[str]]


def look(node: Node, topic: str) -> Topics:
    """Ask the graph. Leaves out what the node publishes itself."""
    own = f"{node.get_fully_qualified_name()}/"
    published = {
        name: types
        for name, types in node.get_topic_names_and_types()
        if not name.startswith(own) and node.count_publishers(name)
    }
    return Topics(_publishers(node, topic), published)


def _publishers(node: Node, topic: str) -> list[Publisher]:
    return [
        Publisher(f"{info.node_namespace.rstrip('/')}/{info.node_name}", info.topic_type, info.qos_profile)
        for info in node.get_publishers_info_by_topic(topic)
    ]


def why_silent(node: Node, subscription: Subscription) -> str:
    """Return in one sentence what the graph tells about a subscription to images that receives none."""
    kind = next(kind for kind in _TRANSPORTS if kind.endswith(f"/{subscription.msg_type.__name__}"))
    topic = subscription.topic_name
    return explain(topic, kind, subscription.qos_profile, look(node, topic))


def explain(topic: str, kind: str, qos: QoSProfile, topics: Topics) -> str:
    """Return why nothing comes on a topic, as far as the graph tells, and which setting helps.

    topic: its resolved name.
    kind: type of the messages that the node reads there.
    qos: what the node asks for.
    """
    if not topics.publishers:
        return f"nobody publishes {topic}{_elsewhere(topic, kind, topics.types)}"
    fitting = [publisher for publisher in topics.publishers if publisher.kind == kind]
    if not fitting:
        return _of_another_type(topic, topics.publishers[0])
    for publisher in fitting:
        compatibility, reason = qos_check_compatible(publisher.qos, qos)
        if compatibility != QoSCompatibility.ERROR:
            names = ", ".join(sorted({one.node for one in fitting}))
            return f"{names} has a publisher of {topic}, but sends nothing or nothing arrives"
    reason = reason.removeprefix("ERROR: ").strip().rstrip(";").lower()
    return (
        f"the quality of service of {fitting[-1].node} on {topic} does not fit ({reason}): change"
        f" qos_overrides.{topic}.subscription.*"
    )


def _of_another_type(topic: str, publisher: Publisher) -> str:
    text = f"{publisher.node} publishes {topic} as {publisher.kind}"
    if (transport := _TRANSPORTS.get(publisher.kind)) is None:
        return f"{text}, which is no image"
    text += f": set image_transport to '{transport}'"
    if transport == "compressed" and topic.endswith(_SUFFIX):
        return f"{text} and remap image_raw to {topic.removesuffix(_SUFFIX)}"
    return text


def _elsewhere(topic: str, kind: str, types: Mapping[str, Sequence[str]]) -> str:
    """Return which topic is probably meant."""
    if kind == _COMPRESSED:
        base = topic.removesuffix(_SUFFIX)
        if base.endswith(_SUFFIX) and _COMPRESSED in types.get(base, ()):
            return f", but {base} is there: remap image_raw without {_SUFFIX}, which the node appends"
        if _RAW in types.get(base, ()):
            return f", but {base} carries raw images: set image_transport to 'raw'"
    elif _COMPRESSED in types.get(topic + _SUFFIX, ()):
        return f", but {topic}{_SUFFIX} is there: set image_transport to 'compressed'"
    images = [name for name, kinds in types.items() if {_RAW, _COMPRESSED} & set(kinds)]
    near = difflib.get_close_matches(topic, images, n=_MOST_NAMED, cutoff=0.5)
    last = topic.removesuffix(_SUFFIX).rpartition("/")[2]
    near += [name for name in images if name not in near and last in name.split("/")]
    named = (near or sorted(images))[:_MOST_NAMED]
    return f"; images are published on {', '.join(named)}" if named else "; nobody publishes images at all"


def several_publishers(node: Node, topic: str) -> str:
    """Return in one sentence that several publishers share a camera's topic; empty if none do."""
    names = [publisher.node for publisher in _publishers(node, topic)]
    if len(names) < 2:
        return ""
    return f"{len(names)} publishers share {topic}: {', '.join(sorted(names))} ({_PERHAPS_DEAD})"


def several_nodes(node: Node) -> str:
    """Return in one sentence that another node has this node's name; empty if none has."""
    own = (node.get_name(), node.get_namespace())
    count = sum((name, namespace) == own for name, namespace in node.get_node_names_and_namespaces())
    if count < 2:
        return ""
    return (
        f"{count} nodes are called {node.get_fully_qualified_name()}, and share services and topics ({_PERHAPS_DEAD})"
    )


class Alternation(Generic[Value]):
    """Remembers when each value of a property was seen last.

    A change from one value to another is no alternation, because a camera may be started again with other settings.
    """

    def __init__(self) -> None:
        self._seen: dict[Value, float] = {}  # the last one is the current one
        self._returned: float | None = None

    def observe(self, value: Value, now: float) -> None:
        """Note the value of one image. now: monotonic seconds."""
        if self._seen and value != next(reversed(self._seen)) and now - self._seen.get(value, now - _PERIOD) < _PERIOD:
            self._returned = now
        self._seen.pop(value, None)
        self._seen[value] = now
        while len(self._seen) > _MOST:
            del self._seen[next(iter(self._seen))]

    def values(self, now: float) -> tuple[Value, ...]:
        """Return the values that alternate, in the order of their text; empty if none do."""
        if self._returned is None or now - self._returned >= _PERIOD:
            return ()
        return tuple(sorted((value for value, seen in self._seen.items() if now - seen < _PERIOD), key=str))


def frame_ids_text(frame_ids: tuple[str, ...]) -> str:
    """Say that images of these frame_ids come in turn."""
    named = ", ".join(f"'{name}'" for name in frame_ids)
    return (
        f"several cameras publish on one topic: its images are of the frame_ids {named} in turn; each target is"
        " followed only in those of the frame_id that it was started in"
    )


def sizes_text(sizes: tuple[tuple[int, int], ...]) -> str:
    """Say that images of these sizes (width, height) come in turn."""
    named = ", ".join(f"{width}x{height}" for width, height in sizes)
    return (
        f"several cameras publish on one topic: its images are of the sizes {named} in turn; each target is followed"
        " only in those of the size that it was started in"
    )
