# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The tree as a package: what pip, colcon and rosdep are told agrees with what is there."""

from __future__ import annotations

import ast
import configparser
import importlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("snscf_core", "snscf_ros")

# These hashes belong to the official definitions: vision_msgs 4.1.1, foxglove_msgs 3.4.3, and tf2_msgs, which is the
# same in every ROS 2 so far.
TYPE_HASHES = {
    "vision_msgs/msg/Detection2DArray": "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
    "vision_msgs/msg/Detection3DArray": "RIHS01_793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018",
    "tf2_msgs/msg/TFMessage": "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
    "foxglove_msgs/msg/ImageAnnotations": "RIHS01_bc4e578b1ef80953415d6f966a4cab305c8a44c8b64fc405312b6f06a08fc45e",
}

# What rosdep and pip call the modules that they do not call by their import name.
ROSDEP_KEYS = {
    "aiohttp": "python3-aiohttp",
    "cv2": "python3-opencv",
    "numpy": "python3-numpy",
    "serial": "python3-serial",
    "skimage": "python3-skimage",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
PIP_NAMES = {"cv2": "opencv-python-headless", "serial": "pyserial", "skimage": "scikit-image", "yaml": "pyyaml"}
# torch has one, which fails on Ubuntu 24.04; without simplejpeg, OpenCV decodes; pymavlink's installs with pip, which a
# released package may not ask for
NO_ROSDEP_KEY = {"torch", "simplejpeg", "pymavlink"}
COME_WITH_ROSBAGS = {"backports", "compression", "lz4"}
BUILT_HERE = {"snscf_msgs", *PACKAGES}
USED_WHERE_INSTALLED = {"cv_bridge", "foxglove_msgs", "matplotlib", "rosbags", "trax"}


def source_files() -> list[Path]:
    return sorted(path for name in (*PACKAGES, "launch") for path in (ROOT / name).rglob("*.py"))


def third_party_imports() -> set[str]:
    found = set()
    for path in source_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - BUILT_HERE - USED_WHERE_INSTALLED - COME_WITH_ROSBAGS


def manifest(path: str = "package.xml") -> ElementTree.Element:
    return ElementTree.parse(ROOT / path).getroot()


def commands() -> dict[str, str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["options.entry_points"]["console_scripts"].split("\n")
    return dict(re.split(r"\s*=\s*", line, maxsplit=1) for line in lines if line.strip())


def test_rosdep_is_told_of_every_library() -> None:
    told = {dependency.text for dependency in manifest() if dependency.tag in ("depend", "exec_depend")}
    needed = {ROSDEP_KEYS.get(name, name) for name in third_party_imports() - NO_ROSDEP_KEY}
    assert needed <= told


def test_pip_is_told_of_every_library() -> None:
    lists = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and node.targets[0].id in ("REQUIREMENTS", "EXTRAS")
    }
    extras = [*lists["EXTRAS"]["demo"], *lists["EXTRAS"]["operator"], *lists["EXTRAS"]["mavlink"]]
    told = {re.match(r"[\w.-]+", line).group() for line in [*lists["REQUIREMENTS"], *extras]}
    ros = {dependency.text for dependency in manifest() if dependency.tag in ("depend", "exec_depend")}
    assert {PIP_NAMES.get(name, name) for name in third_party_imports() - ros} <= told


def test_pip_can_install_all_but_torch() -> None:
    code = "from distutils.core import run_setup; print(*run_setup('setup.py', stop_after='init').install_requires)"

    def required(**environment: str) -> set[str]:
        command = [sys.executable, "-c", f"import setuptools; {code}"]
        kept = {name: value for name, value in os.environ.items() if name != "SNSCF_TORCH"}
        asked = subprocess.run(
            command, cwd=ROOT, env={**kept, **environment}, capture_output=True, text=True, check=True
        )
        return set(asked.stdout.split())

    assert required() - required(SNSCF_TORCH="none") == {"torch>=2.1"}
    assert required(SNSCF_TORCH="none") < required()


def test_what_the_messages_depend_on_is_there_where_they_are_built_as_part_of_this_package() -> None:
    def dependencies(root: ElementTree.Element) -> set[tuple[str, str | None]]:
        return {(child.tag, child.text) for child in root if child.tag.endswith("depend")}

    assert dependencies(manifest("msg/package.xml")) <= dependencies(manifest())


def test_every_source_file_names_its_copyright_and_licence() -> None:
    folders = [folder for folder in ROOT.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    files = [*ROOT.glob("*.py"), *(file for folder in folders for file in folder.rglob("*.py"))]
    header = re.compile(r"(#!.*\n)?# Copyright \d{4} .+\n# SPDX-License-Identifier: Apache-2.0\n")
    texts = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in files}
    assert len(texts) > 200
    assert [name for name, text in texts.items() if text and not header.match(text)] == []


def test_versions_agree() -> None:
    version = manifest().findtext("version")
    assert manifest("msg/package.xml").findtext("version") == version
    for changelog in (ROOT / "CHANGELOG.rst", ROOT / "msg" / "CHANGELOG.rst"):
        assert re.search(r"^(\d+\.\d+\.\d+)", changelog.read_text(), re.MULTILINE).group(1) == version
    assert importlib.import_module("snscf_core").__version__ == version
    command = [sys.executable, "setup.py", "--version"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert asked.stdout.split()[-1] == version


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_has_its_function(command: str) -> None:
    module, _, function = commands()[command].partition(":")
    if module.startswith("snscf_ros"):
        pytest.importorskip("rclpy")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.slow
def test_a_wheel_holds_the_packages_and_the_share_files(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="68")
    tree = tmp_path / "tree"
    tree.mkdir()
    names = ["setup.py", "setup.cfg", "pyproject.toml", "package.xml", "README.md", "LICENSE", "resource", "launch"]
    subprocess.run(["cp", "-r", *(ROOT / name for name in (*names, "config", *PACKAGES)), tree], check=True)
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", tmp_path, tree],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("snscf-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {re.sub(r"^snscf-[^/]+\.data/data/", "", name) for name in archive.namelist()}
    expected = {path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    for folder in ("snscf_core/weights", "snscf_ros/operator/page"):
        expected |= {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob("*")}
    expected |= {
        f"share/snscf_ros/{path.relative_to(ROOT).as_posix()}"
        for path in (*ROOT.glob("launch/*.launch.py"), *ROOT.glob("config/**/*"))
        if path.is_file()
    }
    expected |= {"share/snscf_ros/package.xml", "share/ament_index/resource_index/packages/snscf_ros"}
    assert "share/snscf_ros/launch/tracker.launch.py" in expected
    assert expected <= held
    assert not any(name.startswith(("test/", "environment/")) for name in held)


@pytest.mark.parametrize("name", TYPE_HASHES)
def test_messages_of_the_private_environment_are_the_official_ones(name: str) -> None:
    pytest.importorskip("rosbags")
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    package = name.partition("/")[0]
    store = get_typestore(Stores.ROS2_JAZZY)
    official = {known for known in store.fielddefs if known.startswith(f"{package}/")}
    for known in official:
        del store.fielddefs[known]
    for path in sorted((ROOT / "environment" / package / "msg").glob("*.msg")):
        store.register(get_types_from_msg(path.read_text(), f"{package}/msg/{path.stem}"))
    assert store.hash_rihs01(name) == TYPE_HASHES[name]


@pytest.mark.parametrize("name", TYPE_HASHES)
def test_messages_in_use_are_the_official_ones(name: str) -> None:
    package, _, message = name.split("/")
    prefix = Path(pytest.importorskip(package).__file__).parents[4]
    if package == "foxglove_msgs" and prefix != Path(sys.prefix):
        pytest.skip("ROS's own foxglove_msgs may be of another version")
    description = prefix / "share" / package / "msg" / f"{message}.json"
    hashes = {entry["type_name"]: entry["hash_string"] for entry in json.loads(description.read_text())["type_hashes"]}
    assert hashes[name] == TYPE_HASHES[name]


def test_every_message_definition_is_built() -> None:
    listed = set(re.findall(r'"((?:msg|srv)/\w+\.(?:msg|srv))"', (ROOT / "msg" / "CMakeLists.txt").read_text()))
    there = {path.relative_to(ROOT / "msg").as_posix() for path in (ROOT / "msg").glob("*/*.*") if path.suffix != ".py"}
    assert listed == there
