# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The entry point, the parameter file, the node and what starts it agree on names."""

from __future__ import annotations

import configparser
import dataclasses
import importlib
import os
import re
from pathlib import Path

import pytest
import yaml
from rcl_interfaces.msg import ParameterDescriptor

from snscf_ros import bringup, encodings, middleware
from snscf_ros.node import parameters

ROOT = Path(__file__).resolve().parents[2]


def test_entry_point_is_the_node():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    scripts = dict(
        (part.strip() for part in line.split("=", 1))
        for line in setup["options.entry_points"]["console_scripts"].strip().splitlines()
    )
    module, _, function = scripts[bringup.EXECUTABLE].partition(":")
    assert module == bringup.MODULE
    assert callable(getattr(importlib.import_module(module), function))


def test_documents_list_the_encodings():
    page = (ROOT / "docs" / "ros_interface.md").read_text(encoding="utf-8")
    table = page.partition("| kind | `encoding` |\n|---|---|\n")[2].partition("\n\n")[0]
    listed = re.findall(r"`(\w+)`", table.replace("`height`", ""))
    assert sorted(listed) == sorted(encodings.ENCODINGS)
    assert f" {len(listed)} encodings " in page


def test_parameter_file_declarations_and_settings_have_the_same_names():
    content = yaml.safe_load((ROOT / "config" / "tracker.yaml").read_text(encoding="utf-8"))
    assert list(content) == ["/**"], "the file must hold for any node name and namespace"
    written = content["/**"]["ros__parameters"]
    assert set(written) == set(parameters.DECLARATIONS)
    assert set(written) == {field.name for field in dataclasses.fields(parameters.Settings)}


@pytest.mark.slow
def test_node_declares_exactly_the_parameters_of_the_file(tracker):
    from rcl_interfaces.srv import ListParameters

    listed = set(
        tracker.peer.call(ListParameters, f"{tracker.name}/list_parameters", ListParameters.Request()).result.names
    )
    own = {name for name in listed if not name.startswith(("qos_overrides.", "start_type_description_service"))}
    assert own - {"use_sim_time"} == set(bringup.default_parameters())
    for name, value in bringup.default_parameters().items():
        assert tracker.get_parameter(name) == value, name


def test_defaults_are_valid_and_of_the_types_of_the_settings():
    kinds = {"str": str, "int": int, "float": float, "bool": bool, "tuple[str, ...]": list}
    values = bringup.default_parameters()
    for field in dataclasses.fields(parameters.Settings):
        value = values[field.name]
        assert type(value) is kinds[field.type], field.name
        assert parameters.problem(field.name, value) is None
        descriptor: ParameterDescriptor = parameters.DECLARATIONS[field.name].descriptor(value)
        for limits in (*descriptor.integer_range, *descriptor.floating_point_range):
            assert limits.from_value <= value <= limits.to_value, field.name


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("image_transport", "theora", "theora"),
        ("cameras", ["front", "front"], "twice"),
        ("cameras", ["two words"], "two words"),
        *(("cameras", [name], f"'{name}' cannot begin a topic") for name in ("front/", "a//b", "2cam", "/", "~front")),
        ("model", " ", "model is empty"),
        ("camera_timeout", float("nan"), "nan"),
    ],
)
def test_wrong_values_are_named(name, value, told):
    assert told in parameters.problem(name, value)


def test_share_directory_is_this_tree_or_installed_from_it():
    share = bringup.share_directory()
    if ROOT in Path(bringup.__file__).parents:
        assert share == ROOT
    assert bringup.params_file() == share / "config" / "tracker.yaml"
    assert bringup.params_file().read_bytes() == (ROOT / "config" / "tracker.yaml").read_bytes()


def test_profile_is_set_for_the_installed_generation_of_fast_dds(monkeypatch, tmp_path):
    if not middleware.shared_memory_suffices():
        pytest.skip("/dev/shm has no room for the profile")
    monkeypatch.setattr("sys.prefix", str(tmp_path / "python"))
    profile = Path("/somewhere/profile.xml")

    def variables(*installed: str) -> set[str]:
        for folder in installed:
            (tmp_path / "+".join(installed) / "share" / folder).mkdir(parents=True)
        environment = {"AMENT_PREFIX_PATH": str(tmp_path / ("+".join(installed) or "none"))}
        chosen = middleware.profile_environment(profile, environment)
        assert set(chosen.values()) == {str(profile)}
        return set(chosen)

    old, new = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
    assert variables("fastrtps") == {old}
    assert variables("fastdds") == {new}
    assert variables() == {old, new}


def test_users_own_middleware_settings_are_left_alone():
    profile = Path("/somewhere/profile.xml")
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS"):
        assert middleware.profile_environment(profile, {name: "theirs"}) == {}
    assert middleware.allocator_environment({"MALLOC_TRIM_THRESHOLD_": "1"}) == {}
    assert middleware.allocator_environment({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1"}) == {}
    assert set(middleware.allocator_environment({})) == {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}


def test_profile_is_left_out_where_shared_memory_is_too_small(monkeypatch):
    profile = Path("/somewhere/profile.xml")
    small = os.statvfs_result((4096, 4096, 16384, 16384, 16384, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    assert middleware.profile_environment(profile, {}) == {}
    assert "--shm-size" in middleware.advice(profile, "rmw_fastrtps_cpp", {})


def test_user_is_advised_only_where_images_get_lost(monkeypatch):
    profile = Path("/somewhere/profile.xml")
    monkeypatch.setattr(middleware, "shared_memory_suffices", lambda: True)
    assert str(profile) in middleware.advice(profile, "rmw_fastrtps_cpp", {})
    assert middleware.advice(profile, "rmw_cyclonedds_cpp", {}) is None
    assert middleware.advice(profile, "rmw_fastrtps_cpp", {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}) is None
    chosen = middleware.profile_environment(profile, {})
    assert middleware.advice(profile, "rmw_fastrtps_cpp", chosen) is None


def test_command_carries_everything_that_it_is_given():
    command = bringup.tracker_command(
        "/my.yaml",
        {"max_targets": 3, "model": "/a b.safetensors"},
        {"image_raw": "/cam/image"},
        "robot",
        "eye",
        "debug",
    )
    text = " ".join(command)
    assert f"-m {bringup.MODULE} --ros-args" in text
    for part in ("__node:=eye", "__ns:=/robot", "image_raw:=/cam/image", "--params-file /my.yaml", "max_targets:=3"):
        assert part in text
    assert 'model:="/a b.safetensors"' in command
    assert command[-2:] == ["--log-level", "debug"]


def test_remapped_image_topic_holds_for_both_transports():
    assert bringup.image_remappings(bringup.IMAGE_TOPIC) == []
    assert dict(bringup.image_remappings("/cam/image")) == {
        "image_raw": "/cam/image",
        "image_raw/compressed": "/cam/image/compressed",
    }


def test_depth_topic_is_read_where_it_is_given():
    given = {"model": "", "device": "", "use_sim_time": "", "autostart": "true"}
    assert bringup.launch_parameters({**given, "depth_topic": ""}) == {"autostart_node": True}
    assert bringup.depth_remappings("") == []
    assert bringup.launch_parameters({**given, "depth_topic": "/cam/depth"})["use_depth"] is True
    assert bringup.depth_remappings("/cam/depth") == [("depth/image_raw", "/cam/depth")]
