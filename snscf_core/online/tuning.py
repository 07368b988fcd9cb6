# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads the tracker's hyper-parameters and calibrations that were fitted to particular weights.

They are stored in ``<model>.json`` beside ``<model>.safetensors``, with the sha256 of each file of weights that they
were fitted to. Weights without such a file use the defaults of `TrackerConfig` and `CALIBRATIONS`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..model.checkpoints import SHARD, find, sha256
from .confidence import CALIBRATIONS, Calibration, Logistic
from .config import TrackerConfig, changed

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tuning:
    """The settings and calibrations that belong to weights.

    settings: of `TrackerConfig`, by names as in `config.changed`.
    calibrations: by mode, and "searching".
    """

    settings: Mapping[str, Any]
    calibrations: Mapping[str, Calibration]


DEFAULT = Tuning({}, CALIBRATIONS)


def tuning_file(files: tuple[Path, ...]) -> Path:
    """Returns the path of the weights' tuning, whether it exists or not."""
    return files[0].with_name(SHARD.sub("", files[0].stem) + ".json")


def tuning_of(files: tuple[Path, ...]) -> Tuning:
    """Reads the tuning of the weights in these files.

    Returns the defaults if the file is missing, and logs that once. Returns them with a warning if the file can't be
    read, or if it belongs to other weights.
    """
    file = tuning_file(files)
    if not file.is_file():
        _log_defaults(file)
        return DEFAULT
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["weights"] != [sha256(one) for one in files]:
            raise ValueError("it was fitted to other weights")
        calibrations = {mode: _calibration(parts) for mode, parts in content["calibrations"].items()}
        settings = dict(content["config"])
        changed(TrackerConfig(), settings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _LOG.warning("%s is not used, the defaults are: %s", file, error)
        return DEFAULT
    return Tuning(settings, {**CALIBRATIONS, **calibrations})


@cache
def _log_defaults(file: Path) -> None:
    _LOG.info("%s does not exist: settings and calibrations are the defaults", file)


def tuned_config(model: str | Path, **given: Any) -> TrackerConfig:
    """Returns the configuration for a model's weights, with the fields in ``given`` replaced.

    Raises WeightsError if the weights are missing, and ValueError for an unusable value.
    """
    config: TrackerConfig = changed(changed(TrackerConfig(), tuning_of(find(model)).settings), given)
    return config


def _calibration(parts: Mapping[str, Mapping[str, Any]]) -> Calibration:
    weights = {name: tuple(float(value) for value in parts[name]["weights"]) for name in ("accuracy", "presence")}
    if any(len(one) != 7 for one in weights.values()):
        raise ValueError("a calibration has 7 weights")
    return Calibration(**{name: Logistic(one, float(parts[name]["bias"])) for name, one in weights.items()})
