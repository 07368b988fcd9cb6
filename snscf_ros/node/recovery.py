# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""From a device or engine that has failed to the CPU: the tracker is made anew there, and the targets go with it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from snscf_core import Target, Tracker
from snscf_ros.received_image import ReceivedImage


def on_cpu(tracker: Tracker) -> Tracker:
    """The same network and mode with torch on the CPU, which needs nothing else. Raises what Tracker raises."""
    spare = Tracker(tracker.weights.files[0], device="cpu", mode=tracker.mode, engine="torch", config=tracker.config)
    spare.warm_up()
    return spare


def moved(targets: Mapping[str, Target], spare: Tracker, newest: ReceivedImage | None) -> dict[str, Target | None]:
    """One camera's targets as `spare` can follow them.

    What a device that is lost held cannot be read any more: such a target is started anew where it was last seen, in
    the newest image; None if that is not possible either.
    """
    return {name: _moved(target, spare, newest) for name, target in targets.items()}


def _moved(target: Target, spare: Tracker, newest: ReceivedImage | None) -> Target | None:
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "target.safetensors")
            target.save(file)
            return Target.load(file, "cpu")
    except (OSError, RuntimeError, ValueError):
        pass
    if newest is None:
        return None
    try:
        return spare.init(newest.frame(), target.box)
    except ValueError:
        return None
