# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Who is followed, who is the primary target, and that a name is one object."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from snscf_core import Track, TrackState
from snscf_ros.target_registry import Refused, TargetRegistry

TRACK = Track(box=(1.0, 2.0, 3.0, 4.0), score=0.5, state=TrackState.TRACKED, peak_quality=9.0)
MOST = 4
names = st.sampled_from(["", "a", "b", "c", "d", "e", "target_1", "target_2", "target_3"])


class AgainstAList(RuleBasedStateMachine):
    """The registry against a plain list of names in order of age, and the name that was chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.targets = TargetRegistry()
        self.expected: list[str] = []
        self.chosen = ""
        self.given: set[str] = set()

    @rule(name=names, camera=st.sampled_from(["", "front"]))
    def add(self, name: str, camera: str) -> None:
        if name not in self.expected and len(self.expected) >= MOST:
            with pytest.raises(Refused, match=f"max_targets is {MOST}"):
                self.targets.add(name, camera, object(), MOST)
            return
        got = self.targets.add(name, camera, object(), MOST)
        if name:
            assert got == name
        else:
            assert got not in self.expected
            assert got not in self.given, "a chosen name was given twice"
            self.given.add(got)
        if got not in self.expected:
            self.expected.append(got)

    @rule(name=names)
    def remove(self, name: str) -> None:
        if not self.expected or (name and name not in self.expected):
            with pytest.raises(Refused):
                self.targets.remove(name)
            return
        gone = name or self.primary
        assert self.targets.remove(name) == gone
        self.expected.remove(gone)
        self.chosen = "" if self.chosen == gone else self.chosen

    @rule(camera=st.sampled_from(["", "front"]))
    def remove_of_camera(self, camera: str) -> None:
        gone = [followed.target_id for followed in self.targets.of_camera(camera)]
        assert self.targets.remove_of_camera(camera) == gone
        self.expected = [name for name in self.expected if name not in gone]
        self.chosen = "" if self.chosen in gone else self.chosen

    @rule(name=names)
    def choose(self, name: str) -> None:
        if name and name not in self.expected:
            with pytest.raises(Refused, match=f"'{name}'"):
                self.targets.choose(name)
            return
        self.chosen = name
        assert self.targets.choose(name) == self.primary

    @property
    def primary(self) -> str:
        return self.chosen or next(iter(self.expected), "")

    @rule()
    def clear(self) -> None:
        assert self.targets.clear() == len(self.expected)
        self.expected.clear()
        self.given.clear()
        self.chosen = ""

    @invariant()
    def all_are_there_and_one_is_primary(self) -> None:
        assert list(self.targets.latest()) == self.expected
        followed = [*self.targets.of_camera(""), *self.targets.of_camera("front")]
        assert sorted(f.target_id for f in followed) == sorted(self.expected)
        tracked = self.targets.record([(f, TRACK) for f in followed])
        assert [t.target_id for t in tracked if t.primary] == [self.primary][: len(self.expected)]


TestAgainstAList = AgainstAList.TestCase


def test_outcome_of_a_target_that_was_removed_or_restarted_meanwhile_is_dropped():
    targets = TargetRegistry()
    for name in ("a", "b", "c"):
        targets.add(name, "", object(), MOST)
    followed = targets.of_camera("")
    targets.remove("a")
    targets.add("b", "", object(), MOST)
    tracked = targets.record([(f, TRACK) for f in followed])
    assert [t.target_id for t in tracked] == ["c"]
    assert targets.latest() == {"b": None, "c": TRACK}


@pytest.mark.parametrize("name, told", [("x" * 129, "129 characters"), ("a\tb", "cannot be shown"), ("a", None)])
def test_names_for_targets(name, told):
    targets = TargetRegistry()
    if told is None:
        targets.check(name, MOST)
        return
    with pytest.raises(Refused, match=told):
        targets.check(name, MOST)
