# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Defines what a bag is made of: topics, stored messages, and the files that they are read from."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from snscf_ros.bags import message_types

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_ZSTD_FRAME = b"\x28\xb5\x2f\xfd"


class UnreadableMessage(ValueError):
    """A message whose bytes do not fit its type."""


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    type: name of its type, such as `sensor_msgs/msg/Image`.
    definition: the bag's definition of the type; empty where it has none.
    ros1: whether the bag is one of ROS 1.
    """

    name: str
    type: str
    definition: str = ""
    ros1: bool = False


@dataclass(frozen=True)
class Stored:
    """A message as it is stored. log_time: when it was recorded (ns)."""

    topic: Topic
    log_time: int
    data: bytes

    def message(self) -> Any:
        """Read the message as an object with the fields of the type. Raises UnreadableMessage."""
        topic, data = self.topic, self.data
        try:
            if not topic.ros1 and data[:4] == _ZSTD_FRAME:
                # compressed by message; without metadata.yaml only these bytes say so, and no CDR begins like this
                data = zstd.decompress(data)
            types = message_types.store_for(topic.type, topic.definition, topic.ros1)
            read = types.deserialize_ros1 if topic.ros1 else types.deserialize_cdr
            return read(data, topic.type)
        except Exception as error:  # garbled bytes may raise anything in the library and in NumPy
            reason = str(error) or type(error).__name__
            raise UnreadableMessage(f"{len(data)} bytes are no {topic.type}: {reason}") from error


class BagFile(Protocol):
    """One file of a bag.

    topics: what it holds.
    problems: what cannot be read.
    """

    topics: list[Topic]
    problems: list[str]

    def messages(self, names: Collection[str], start: int | None = None, stop: int | None = None) -> Iterator[Stored]:
        """Yield messages of some topics, logged from `start` to before `stop` (ns), always in the same order."""
        ...

    def close(self) -> None: ...
