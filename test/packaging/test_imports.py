# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Arrows between folders point one way: what each folder may import. No circle, no crowded folder, no long class."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# For each folder, the other folders whose modules its own may import. A folder may always import its own modules.
_CORE = {"snscf_core", "snscf_core/model", "snscf_core/engines", "snscf_core/online"}
ALLOWED: Mapping[str, set[str]] = {
    "snscf_core": set(),
    "snscf_core/model": {"snscf_core"},
    "snscf_core/engines": {"snscf_core", "snscf_core/model"},
    "snscf_core/online": {"snscf_core", "snscf_core/model", "snscf_core/engines"},
    "snscf_core/pictures": {"snscf_core"},
    "snscf_core/scenes": set(),
    "snscf_core/evaluation": _CORE | {"snscf_core/pictures"},
    "snscf_core/evaluation/reports": {"snscf_core", "snscf_core/evaluation"},
    "snscf_core/data": {"snscf_core", "snscf_core/model", "snscf_core/pictures"},
    "snscf_core/training": _CORE | {"snscf_core/data", "snscf_core/evaluation"},
    "snscf_core/commands": _CORE
    | {
        "snscf_core/data",
        "snscf_core/pictures",
        "snscf_core/evaluation",
        "snscf_core/evaluation/reports",
        "snscf_core/training",
    },
    "snscf_ros": {"snscf_core", "snscf_core/evaluation", "snscf_core/pictures"},
    "snscf_ros/position": {"snscf_ros"},
    "snscf_ros/node": {
        "snscf_core",
        "snscf_core/engines",
        "snscf_core/online",
        "snscf_ros",
        "snscf_ros/node/intake",
        "snscf_ros/node/position",
    },
    "snscf_ros/node/intake": {"snscf_core", "snscf_ros"},
    "snscf_ros/node/position": {"snscf_core", "snscf_ros", "snscf_ros/position"},
    "snscf_ros/bags": {
        "snscf_core",
        "snscf_core/commands",
        "snscf_core/evaluation",
        "snscf_core/evaluation/reports",
        "snscf_core/online",
        "snscf_core/pictures",
        "snscf_ros",
    },
    "snscf_ros/mavlink": {"snscf_core", "snscf_ros"},
    "snscf_ros/operator": {"snscf_core", "snscf_ros"},
    "snscf_ros/picking": {
        "snscf_core",
        "snscf_core/evaluation",
        "snscf_core/pictures",
        "snscf_ros",
        "snscf_ros/bags",
        "snscf_ros/operator",
    },
    "snscf_ros/follow": {"snscf_core", "snscf_ros"},
    "snscf_ros/simulation": {"snscf_core", "snscf_core/scenes", "snscf_ros", "snscf_ros/follow"},
    "snscf_ros/demo": {"snscf_core", "snscf_core/pictures", "snscf_core/scenes", "snscf_core/evaluation", "snscf_ros"},
}
# What users import and call. They gather what is below them, so the rules do not hold for them.
FACES = {"snscf_core", "snscf_core.__main__"}
MOST_MODULES = 20
MOST_LINES = 300  # of a class


def module_name(file: Path) -> str:
    """Return the dotted name of a source file, that of its folder for an `__init__.py`."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_name(file): file for name in ("snscf_core", "snscf_ros") for file in sorted((ROOT / name).rglob("*.py"))
}


def folder(module: str) -> str:
    return FILES[module].parent.relative_to(ROOT).as_posix()


def imported(module: str, source: str) -> Iterator[str]:
    """Yield the modules of ours that a module imports anywhere: at its top, in a function, or for its types only."""
    package = module.split(".") if FILES[module].name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in FILES else base for alias in node.names]
        else:
            continue
        yield from (name for name in names if name in FILES and name != module)


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
from ..target_registry import Targets
from . import bearings
import snscf_core.boxes
def f():
    from snscf_ros import bringup, messages as m
if TYPE_CHECKING:
    from snscf_core import Tracker
    from rclpy.node import Node
"""
    assert list(imported("snscf_ros.node.lifecycle", source)) == [
        "snscf_ros.target_registry",
        "snscf_ros.node.bearings",
        "snscf_core.boxes",
        "snscf_ros.bringup",
        "snscf_ros.messages",
        "snscf_core",
    ]


IMPORTS = {module: set(imported(module, file.read_text(encoding="utf-8"))) for module, file in FILES.items()}
FOLDERS = sorted({folder(module) for module in FILES})


def test_every_folder_has_its_rule() -> None:
    assert sorted(ALLOWED) == FOLDERS


def test_rules_have_no_circle() -> None:
    TopologicalSorter(ALLOWED).prepare()


@pytest.mark.parametrize("name", FOLDERS)
def test_folder_imports_only_what_it_may(name: str) -> None:
    refused = sorted(
        f"{module} imports {other}"
        for module in FILES
        if folder(module) == name and module not in FACES
        for other in IMPORTS[module]
        if folder(other) not in {name, *ALLOWED[name]}
    )
    assert refused == []


def test_no_circle_of_modules() -> None:
    try:
        list(TopologicalSorter(IMPORTS).static_order())
    except CycleError as error:
        pytest.fail(f"modules import each other: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("name", FOLDERS)
def test_folder_is_not_crowded(name: str) -> None:
    modules = [module for module, file in FILES.items() if folder(module) == name and file.name != "__init__.py"]
    assert len(modules) <= MOST_MODULES


def test_no_class_is_long() -> None:
    long = [
        f"{module}.{node.name}"
        for module, file in FILES.items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.end_lineno - node.lineno + 1 > MOST_LINES
    ]
    assert long == []
