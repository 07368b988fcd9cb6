# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The policy that ships with the node allows what the node does, and no more."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from ros_harness import wait_for

from snscf_ros import bringup

POLICY = bringup.share_directory() / "config" / "security" / "policy.xml"


def allowed(enclave: str, kind: str, how: str) -> set[str]:
    """Names, absolute, that an enclave may `how` (publish, subscribe, reply, request)."""
    (profile,) = ElementTree.parse(POLICY).findall(f"enclaves/enclave[@path='/{enclave}']/profiles/profile")
    namespace, node = profile.get("ns"), profile.get("node")
    names = {
        entry.text
        for group in profile.findall(f"{kind}s")
        if group.get(how) == "ALLOW"
        for entry in group.findall(kind)
    }
    private = {name.replace("~", f"{namespace}{node}") for name in names}
    return {name if name.startswith("/") else f"{namespace}{name}" for name in private}


def test_the_tracker_may_do_exactly_what_it_does(tracker):
    node = tracker.peer.node

    def used(names_and_types) -> set[str]:
        return {name for name, _ in names_and_types("tracker", "/")}

    publishes = allowed("tracker", "topic", "publish")
    # without foxglove_msgs there are no annotations, and targets are frames of /tf only where that is asked for
    optional = {"/tracker/annotations", "/tf"}
    wait_for(
        lambda: used(node.get_publisher_names_and_types_by_node) | optional == publishes,
        f"publishers of {sorted(publishes)}",
    )
    # raw or compressed, simulated time, depth, transforms, and topics that start targets are a matter of parameters
    starts = ("roi", "point", "pixel", "detection", "detections")
    places = ("/depth/image_raw", "/tf", "/tf_static")
    by_choice = {"/image_raw/compressed", "/clock", *places, *(f"/tracker/init_from_{name}" for name in starts)}
    assert used(node.get_subscriber_names_and_types_by_node) == allowed("tracker", "topic", "subscribe") - by_choice
    assert used(node.get_service_names_and_types_by_node) == allowed("tracker", "service", "reply")
    assert used(node.get_client_names_and_types_by_node) == set()


def test_what_others_may_ask_of_the_tracker_exists_and_an_operator_may_not_reconfigure_it():
    offered = allowed("tracker", "service", "reply")
    for enclave in ("operator", "launcher"):
        assert allowed(enclave, "service", "request") <= offered
    private = {name for name in allowed("operator", "topic", "subscribe") if name.startswith("/tracker/")}
    assert private <= allowed("tracker", "topic", "publish")
    assert allowed("camera", "topic", "publish") >= {"/image_raw", "/image_raw/compressed", "/camera_info"}
    for name in ("change_state", "set_parameters", "set_parameters_atomically"):
        assert f"/tracker/{name}" not in allowed("operator", "service", "request")


@pytest.mark.slow
def test_security_that_cannot_be_had_is_refused_in_one_sentence(start, tmp_path):
    """With no keys where they should be: enforced means that nothing runs in the open instead."""
    environment = {
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
        "ROS_SECURITY_KEYSTORE": str(tmp_path),
    }
    tracker = start(namespace="secure", environment=environment)
    assert tracker.process.process.wait(60) == 1
    log = tracker.process.log()
    assert str(tmp_path) in log
    assert "Traceback" not in log
