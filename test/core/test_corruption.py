# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Random damage, a slice of what `benchmarks/corruption.py` does: no crash, nothing intact refused, little missed."""

from __future__ import annotations

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.slow
def test_damaged_files_are_refused_and_intact_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    if not BENCHMARKS.is_dir():
        pytest.skip("benchmarks are in the source tree only")
    pytest.importorskip("simplejpeg")
    pytest.importorskip("rosbags")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import corruption

    done = [corruption.try_file(number, seed=1) for number in range(80)]
    assert {trial.kind for trial in done} == set(corruption.MAKERS)
    assert sum(trial.intact_rejected for trial in done) == 0
    # some damage leaves no trace in the data
    for kind, most in (("jpeg", 3), ("png", 0), ("mcap", 1)):
        mine = [trial for trial in done if trial.kind == kind]
        assert sum(trial.visible for trial in mine) > 5
        assert sum(trial.missed for trial in mine) <= most
