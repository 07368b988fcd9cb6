# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Private names of rclpy, which any release may change, are used in one file only, and that one notices a change."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from ros_harness import wait_for

from snscf_ros.node import lifecycle, rclpy_private

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder in ("snscf_core", "snscf_ros", "launch")
    for path in (ROOT / folder).rglob("*.py")
    if path != Path(rclpy_private.__file__)
)
UNKNOWN = r"^this rclpy \(.+\) is not one that snscf knows: "


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def own_names(tree: ast.AST) -> set[str]:
    """All that a file itself defines: methods, classes, class attributes, and what it sets on `self`."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case (
                ast.Name(id=name, ctx=ast.Store())
                | ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store())
            ):
                names.add(name)
    return names


def foreign_private_names(source: str) -> Iterator[str]:
    """Every use of a private name that the file did not define, or that it reads from anything but `self`."""
    tree = ast.parse(source)
    own = own_names(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name) if name in own:
                pass
            case ast.Attribute(value=ast.Name(id="os"), attr="_exit"):
                pass
            case ast.Attribute(attr=name) if is_private(name):
                yield ast.unparse(node)
            case ast.Call(func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(str(name)), *_]):
                if is_private(name):
                    yield ast.unparse(node)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] == "rclpy":
                parts = [*module.split("."), *(alias.name for alias in node.names)]
                if "impl" in parts or any(map(is_private, parts)):
                    yield ast.unparse(node)
            case ast.Import() if any("rclpy.impl" in alias.name or "._" in alias.name for alias in node.names):
                yield ast.unparse(node)


@pytest.mark.parametrize(
    "source",
    [
        "class Node:\n    def state(self): return self._state_machine.current_state",
        "node._services",
        "class Node:\n    _services = []\n    def f(self, node): return node._services",
        "getattr(node, '_state_machine', None)",
        "from rclpy.impl.implementation_singleton import rclpy_implementation",
        "from rclpy import _rclpy_pybind11",
        "import rclpy._rclpy_pybind11",
    ],
)
def test_a_private_name_is_found(source):
    assert list(foreign_private_names(source))


@pytest.mark.parametrize("path", [p for p in SOURCES if "rclpy" in p.read_text()], ids=lambda p: p.stem)
def test_no_private_name_of_rclpy_is_used(path):
    assert list(foreign_private_names(path.read_text())) == []


def test_the_node_has_no_name_that_rclpy_has_too(peer):
    """It would replace what rclpy keeps under that name."""
    node = LifecycleNode("plain")
    (definition,) = (
        found
        for found in ast.parse(inspect.getsource(lifecycle)).body
        if isinstance(found, ast.ClassDef) and found.name == "TrackerNode"
    )
    names = set(filter(is_private, own_names(definition)))
    assert names & set(dir(node)) == set()
    node.destroy_node()
    rclpy_private.destroy_state_machine(node)


def test_a_service_that_is_missing_is_told_in_one_sentence(peer):
    node = LifecycleNode("silent", enable_communication_interface=False)
    with pytest.raises(RuntimeError, match=UNKNOWN + "LifecycleNode has no service ChangeState$"):
        rclpy_private.service(node, ChangeState)
    node.destroy_node()
    rclpy_private.destroy_state_machine(node)


def test_an_executor_without_what_ours_needs_is_told_in_one_sentence(peer, monkeypatch):
    node = LifecycleNode("refused")
    rclpy_private.check(node)
    for base in SingleThreadedExecutor.__mro__:
        if "wait_for_ready_callbacks" in vars(base):
            monkeypatch.delattr(base, "wait_for_ready_callbacks")
    with pytest.raises(RuntimeError, match=UNKNOWN + "its executors have no wait_for_ready_callbacks$"):
        rclpy_private.check(node)
    node.destroy_node()
    rclpy_private.destroy_state_machine(node)


def test_a_state_machine_elsewhere_is_a_warning(peer, capfd):
    node = LifecycleNode("elsewhere")
    machine = node.__dict__.pop("_state_machine")
    rclpy_private.check(node)
    assert "is not one that snscf knows" in capfd.readouterr().err
    node.destroy_node()
    rclpy_private.destroy_state_machine(node)
    machine.destroy_when_not_in_use()


def test_a_destroyed_node_leaves_the_graph(peer):
    """It is what the private name is for."""
    node = LifecycleNode("gone")
    wait_for(lambda: "gone" in peer.node.get_node_names(), "the node")
    node.destroy_node()
    rclpy_private.destroy_state_machine(node)
    wait_for(lambda: "gone" not in peer.node.get_node_names(), "its end")
