# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Checks the parameters `qos_overrides.*` when a node starts. rclpy reads them when it subscribes, and raises then.

Their names are `qos_overrides.TOPIC.subscription.POLICY`, where TOPIC is the resolved name, with its leading slash.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

PREFIX = "qos_overrides."

_KINDS = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)
_VALUES: Mapping[str, type[Enum]] = {
    "history": HistoryPolicy,
    "reliability": ReliabilityPolicy,
    "durability": DurabilityPolicy,
}
_POLICIES = ("history", "depth", "reliability", "durability")
_NAME = re.compile(r"qos_overrides\.(?P<topic>/[^.]+)\.(?P<end>\w+)\.(?P<policy>\w+)")
# topics that rclpy itself subscribes to or publishes, with overrides of their own
_OF_RCLPY = ("/clock", "/parameter_events", "/rosout")


def options() -> QoSOverridingOptions:
    """Return what makes a subscription follow the overrides of all policies that this module knows."""
    return QoSOverridingOptions(_KINDS)


def refused(given: Mapping[str, Any], topics: Iterable[str]) -> str:
    """Return in one sentence why an override of a topic that the node reads cannot be used; empty if all can.

    given: values of all parameters that the node was given, by name.
    topics: resolved topics that the node reads.
    """
    for name, value in given.items():
        found = _NAME.fullmatch(name)
        if found is None or found["topic"] not in topics:
            continue
        if found["end"] != "subscription":
            return f"{name}: the node subscribes to {found['topic']}, so it must be {_named(found, 'subscription')}"
        if found["policy"] not in _POLICIES:
            return f"{name}: the policy must be one of {', '.join(_POLICIES)}{_meant(found['policy'], _POLICIES)}"
        if reason := _wrong(found["policy"], value):
            return f"{name} is {value!r}, must be {reason}"
    return ""


def without_effect(given: Iterable[str], topics: Iterable[str]) -> list[str]:
    """Return the warnings about overrides that concern no topic which the node reads.

    They are no errors, because a parameter file may be written for several nodes.
    """
    topics, warnings = list(topics), []
    for name in given:
        found = _NAME.fullmatch(name)
        if not name.startswith(PREFIX) or (found and found["topic"] in (*topics, *_OF_RCLPY)):
            continue
        reads = f"the node reads {', '.join(topics)}"
        if found is None:
            warnings.append(f"{name} has no effect: such names are {PREFIX}TOPIC.subscription.POLICY, and {reads}")
        else:
            warnings.append(f"{name} has no effect: {reads}{_meant(found['topic'], topics)}")
    return warnings


def _wrong(policy: str, value: Any) -> str:
    """Return what the value of a policy must be; empty if it is right."""
    if policy == "depth":
        return "" if type(value) is int and value > 0 else "a whole number greater than 0"
    members = [name.lower() for name in _VALUES[policy].__members__ if not name.startswith(("RMW_", "UNKNOWN"))]
    if isinstance(value, str) and value.lower() in members:
        return ""
    return f"one of {', '.join(members)}"


def _named(found: re.Match[str], end: str) -> str:
    return f"{PREFIX}{found['topic']}.{end}.{found['policy']}"


def _meant(text: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(text, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
