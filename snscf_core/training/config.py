# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Holds the settings of a training run, and compares them with those of a run that is to continue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..crops import SEARCH_SIZE
from ..data.pairs import PairConfig
from ..model.network import MODELS
from ..online.config import TrackerConfig
from .labels import LabelConfig
from .losses import LossConfig
from .schedule import ScheduleConfig
from .start import CONV5_STARTS

OPTIMISERS = ("sgd", "adamw")
PRECISIONS = ("auto", "bf16", "float32")


@dataclass(frozen=True)
class TrainConfig:
    """Holds the settings of a run; exactly one of minutes, epochs and steps sets its length.

    Settings marked ``free`` may change between the slices of a run. The others decide its result and may not.
    """

    model: str = field(default=MODELS[0], metadata={"help": f"{', '.join(MODELS)}, or the path of weights to start at"})
    minutes: float | None = field(default=None, metadata={"help": "length of the run: minutes in training steps"})
    epochs: int | None = field(default=None, metadata={"help": "length of the run: epochs (the paper: 20)"})
    steps: int | None = field(default=None, metadata={"help": "length of the run: steps"})
    pairs_per_epoch: int = field(default=600_000, metadata={"help": "pairs in an epoch"})
    batch: int = field(default=128, metadata={"help": "pairs in a step, over all processes"})
    channels: int = field(default=256, metadata={"help": "width of reductions and heads"})
    seed: int = field(default=0, metadata={"help": "seed of initial heads, pairs and sampled anchors"})
    optimiser: str = field(default="sgd", metadata={"help": "method of the steps", "choices": OPTIMISERS})
    momentum: float = field(default=0.9, metadata={"help": "momentum of SGD, or beta 1 of AdamW"})
    weight_decay: float = field(default=1e-4, metadata={"help": "weight decay of matrices and kernels"})
    clip: float = field(default=10.0, metadata={"help": "largest norm of the gradient; a longer one is scaled down"})
    average_share: float = field(default=0.02, metadata={"help": "fraction of the run the shipped average looks back"})
    train_stem: bool = field(default=False, metadata={"help": "end to end includes the layers before stride 8"})
    only: tuple[str, ...] = field(
        default=(),
        metadata={"help": "train only parameters with one of these words in their name, like regression,beta"},
    )
    cache_pairs: int = field(
        default=0,
        metadata={"help": "pairs whose features at the first tap are kept; layers before it never train; 0: none"},
    )
    conv5: str = field(default="copy", metadata={"help": "start of a conv5 without weights", "choices": CONV5_STARTS})
    teacher: str = field(
        default="",
        metadata={"help": "fear:TEMPLATE.onnx:TRACK.onnx; learn from FEAR's scores and boxes too (nano, on CPUs)"},
    )
    losses: LossConfig = field(default_factory=LossConfig)
    labels: LabelConfig = field(default_factory=LabelConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    # The filters' loss solves for filters as the tracker does online.
    filters: TrackerConfig = field(default_factory=TrackerConfig, metadata={"free": True})
    pairs: PairConfig = field(default_factory=PairConfig)  # settings of ``source``, for the record

    precision: str = field(
        default="auto",
        metadata={"help": "precision of the network; auto is bf16 on a GPU", "choices": PRECISIONS, "free": True},
    )
    compile: bool = field(default=False, metadata={"help": "torch.compile the network", "free": True})
    compile_pairs: bool = field(
        default=False, metadata={"help": "torch.compile the augmentation of the pairs' pixels", "free": True}
    )
    stop_after_minutes: float | None = field(
        default=None,
        metadata={"help": "write a checkpoint and end after so many minutes; the same command continues", "free": True},
    )
    checkpoint_seconds: float = field(default=60.0, metadata={"help": "seconds between checkpoints", "free": True})
    log_every: int = field(default=20, metadata={"help": "steps between lines in the log", "free": True})
    intervals: int = field(default=10, metadata={"help": "validations of a run not planned by epochs", "free": True})
    validation_modes: tuple[str, ...] = field(
        default=("snscf",), metadata={"help": "modes that validation tracks in", "free": True}
    )
    validation_frames: int = field(default=120, metadata={"help": "most frames of a validation clip", "free": True})
    measured_steps: int = field(
        default=30, metadata={"help": "steps that are timed to plan a run by time", "free": True}
    )
    max_skipped: int = field(
        default=50, metadata={"help": "steps without a finite gradient before giving up", "free": True}
    )

    def __post_init__(self) -> None:
        lengths = {"minutes": self.minutes, "epochs": self.epochs, "steps": self.steps}
        given = [name for name, value in lengths.items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"say how long to train with one of minutes, epochs and steps, not {len(given)} of them")
        for name in (*given, "pairs_per_epoch", "batch", "channels", "log_every", "intervals", "measured_steps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.cache_pairs < 0 or (self.cache_pairs and self.train_stem):
            raise ValueError("cache_pairs must not be negative, and train_stem needs it to be 0")
        if self.filters.search_size != SEARCH_SIZE:
            raise ValueError(f"training searches crops of {SEARCH_SIZE} pixels, not of {self.filters.search_size}")
        for name, known in (("optimiser", OPTIMISERS), ("precision", PRECISIONS), ("conv5", CONV5_STARTS)):
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; there are {', '.join(known)}")

    def decisive(self) -> dict[str, Any]:
        """Returns the settings that may not change in a run, as JSON would give them back."""
        free = {f.name for f in fields(self) if f.metadata.get("free")}
        return {key: value for key, value in _plain(asdict(self)).items() if key not in free}


def check_same(config: TrainConfig, before: Mapping[str, Any], out: Path) -> None:
    """Raises ValueError if the run in the folder ``out`` was started with other decisive settings than these."""
    now, then = _flat(config.decisive()), _flat(before)
    # A run from before a setting existed behaved like its default.
    then = {**_flat(TrainConfig(steps=1, filters=config.filters).decisive()), **then}
    changed = [
        f"{key} {then.get(key)!r}, now {now.get(key)!r}"
        for key in sorted(now.keys() | then.keys())
        if now.get(key) != then.get(key)
    ]
    if changed:
        raise ValueError(
            f"{out} holds a run with other settings ({'; '.join(changed)}): use the same, or another folder"
        )


def _plain(value: Any) -> Any:
    """Replaces tuples by lists, as JSON does."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        out.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return out
