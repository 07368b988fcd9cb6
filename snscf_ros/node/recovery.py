# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Goes on with the CPU where a device or engine has failed: rebuilds the tracker there and moves the targets to it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from snscf_core import Target, Tracker
from snscf_core.requirements import torch_missing
from snscf_ros.node.intake.recent_images import ReceivedImage
from snscf_ros.target_registry import TargetRegistry


def can_fall_back(tracker: Tracker) -> bool:
    """Return whether there is anything safer than what the tracker runs on: torch on the CPU is the last resort."""
    return (tracker.device.type, tracker.engine) != ("cpu", "torch") and not torch_missing()


def fall_back(
    tracker: Tracker, targets: TargetRegistry, newest: Callable[[], Mapping[str, ReceivedImage | None]]
) -> tuple[Tracker, list[str]]:
    """Rebuild the tracker on the CPU and move all targets to it.

    newest: gives each camera's newest image, once the new tracker is ready.
    Returns the new tracker and the names of the targets that could not be moved, which are forgotten. Raises what
    Tracker raises.
    """
    spare = on_cpu(tracker)
    replacements: dict[str, Target | None] = {}
    for camera, image in newest().items():
        for one in targets.of_camera(camera):
            # an image of another frame_id does not show the target
            fits = image is not None and image.header.frame_id == one.frame_id
            replacements.update(moved({one.target_id: one.target}, spare, image if fits else None))
    targets.exchange(replacements)
    return spare, [name for name, target in replacements.items() if target is None]


def on_cpu(tracker: Tracker) -> Tracker:
    """Build the same network and mode with torch on the CPU, which needs nothing else. Raises what Tracker raises."""
    spare = Tracker(tracker.weights.files[0], device="cpu", mode=tracker.mode, engine="torch", config=tracker.config)
    spare.warm_up()
    return spare


def moved(targets: Mapping[str, Target], spare: Tracker, newest: ReceivedImage | None) -> dict[str, Target | None]:
    """Return one camera's targets in a form that `spare` can follow.

    What a lost device held cannot be read any more. Such a target is started again in the newest image, at its last
    box; it is None where that is not possible either.
    """
    return {name: _moved(target, spare, newest) for name, target in targets.items()}


def _moved(target: Target, spare: Tracker, newest: ReceivedImage | None) -> Target | None:
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "target.safetensors")
            target.save(file)
            return Target.load(file)
    except (OSError, RuntimeError, ValueError):
        pass
    if newest is None:
        return None
    try:
        return spare.init(newest.decode(), target.box)
    except ValueError:
        return None
