# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Plans how long a run is, and how its learning rates change.

There are two phases as in the paper (section 4): the heads alone, then end to end with an exponentially falling rate.
Rates depend only on the completed fraction of the run, so a run cut into slices follows the same plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class ScheduleConfig:
    """Sets the schedule. Fractions are of the run's time if it was planned by time, else of its steps."""

    heads_share: float = field(default=0.25, metadata={"help": "fraction of the run that trains the heads alone"})
    warmup_share: float = field(default=0.02, metadata={"help": "fraction over which the rate rises linearly"})
    warmup_from: float = field(default=0.1, metadata={"help": "the rate at its start, relative to heads_rate"})
    heads_rate: float = field(default=0.005, metadata={"help": "rate of the heads alone (the paper: 0.001)"})
    peak_rate: float = field(default=0.005, metadata={"help": "rate at the start of end to end (the paper: 0.004)"})
    final_rate: float = field(default=0.00005, metadata={"help": "rate at the end (the paper: 0.0004)"})
    backbone_factor: float = field(default=0.1, metadata={"help": "the backbone's rate relative to the heads'"})
    conv5_factor: float = field(default=1.0, metadata={"help": "the same, for a conv5 without ImageNet weights"})

    def __post_init__(self) -> None:
        for name in ("heads_share", "warmup_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a fraction from 0 to 1, got {getattr(self, name)}")
        for name in ("heads_rate", "peak_rate", "final_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


PAPER = ScheduleConfig(heads_rate=0.001, peak_rate=0.004, final_rate=0.0004)  # 5 of 20 epochs, then the other 15


@dataclass(frozen=True)
class Rates:
    """Holds the learning rates at one step; 0 for parts that do not train."""

    heads: float
    backbone: float
    conv5: float


def rates(progress: float, end_to_end: bool, config: ScheduleConfig) -> Rates:
    """Returns the rates when the fraction ``progress`` of the run is done."""
    if end_to_end or config.heads_share == 1:  # without a second phase, the rate falls in the first
        first = config.peak_rate if end_to_end else config.heads_rate
        begun = config.heads_share if end_to_end else 0.0
        done = (progress - begun) / (1 - begun) if begun < 1 else 1.0
        rate = first * (config.final_rate / first) ** min(max(done, 0.0), 1.0)
    else:
        rate = config.heads_rate
    if progress < config.warmup_share:
        rate *= config.warmup_from + (1 - config.warmup_from) * progress / config.warmup_share
    return Rates(rate, rate * config.backbone_factor if end_to_end else 0.0, rate * config.conv5_factor)


@dataclass(frozen=True)
class Plan:
    """Holds the steps of each phase; None if a run planned by time has not yet timed that phase's steps."""

    heads_share: float
    heads_steps: int | None = None
    end_to_end_steps: int | None = None

    @classmethod
    def of_steps(cls, steps: int, heads_share: float) -> Plan:
        """Plans a fixed number of steps. Raises ValueError if it is below 1."""
        if steps < 1:
            raise ValueError(f"a run needs at least one step, got {steps}")
        heads = round(steps * heads_share)
        return cls(heads_share, heads, steps - heads)

    @classmethod
    def of_time(cls, heads_share: float) -> Plan:
        """Plans a run by time; its steps are yet to be measured."""
        return cls(heads_share, 0 if heads_share == 0 else None, 0 if heads_share == 1 else None)

    def measured(self, step: int, step_seconds: float, spent: float, total: float) -> Plan:
        """Returns the plan after timing a step of the current phase, with ``spent`` of ``total`` seconds over.

        The first phase gets its share of the time, the second the rest. Neither gets fewer steps than it has already
        made.
        """
        if self.heads_steps is None:
            left = total * self.heads_share - spent
            return replace(self, heads_steps=step + max(0, round(left / step_seconds)))
        left = total - spent
        return replace(self, end_to_end_steps=max(1, step - self.heads_steps + max(0, round(left / step_seconds))))

    def end_to_end(self, step: int) -> bool:
        """Returns whether the step (counted from 0) belongs to the second phase."""
        return self.heads_steps is not None and step >= self.heads_steps

    def known(self, step: int) -> bool:
        """Returns whether the length of the step's phase is known."""
        return (self.end_to_end_steps if self.end_to_end(step) else self.heads_steps) is not None

    def progress(self, step: int) -> float:
        """Returns the fraction of the run that is done before the step, in [0, 1]."""
        if self.heads_steps is None:
            return 0.0
        if step < self.heads_steps:
            return self.heads_share * step / self.heads_steps
        if self.end_to_end_steps is None:
            return self.heads_share
        if self.end_to_end_steps == 0:
            return 1.0
        done = min((step - self.heads_steps) / self.end_to_end_steps, 1.0)
        return self.heads_share + (1 - self.heads_share) * done

    @property
    def steps(self) -> int | None:
        """Returns the steps of the whole run, or None until they are known."""
        if self.heads_steps is None or self.end_to_end_steps is None:
            return None
        return self.heads_steps + self.end_to_end_steps
