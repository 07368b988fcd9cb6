# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The wheels that the private environment is made from are in the ranges they were chosen from."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement

ENVIRONMENT = Path(__file__).resolve().parents[2] / "environment"


def requirements(path: Path) -> list[Requirement]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("ranges", sorted(ENVIRONMENT.glob("wheels-*.in")), ids=lambda path: path.stem)
def test_locked_wheels_are_in_their_ranges(ranges):
    locked = requirements(ranges.with_suffix(".txt"))
    wanted = requirements(ranges)
    assert [(one.name, one.extras) for one in locked] == [(one.name, one.extras) for one in wanted]
    for one, allowed in zip(locked, wanted, strict=True):
        (pin,) = one.specifier
        assert pin.operator == "==" and pin.version in allowed.specifier, f"{one}: make wheels"
