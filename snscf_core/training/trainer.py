# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the training loop: from pairs to weights that ship.

No step waits for the device: losses are summed there and read every ``log_every`` steps. The checkpoint holds
everything that decides the next step (weights, momentum, averages, step, plan, random state, sums). A run that was cut
off at any point therefore continues as if it had not been.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from ..data.draws import Draws
from ..data.pairs import PairBatch
from ..data.readers import Clip
from ..files import write_file
from ..model import checkpoints
from ..model.checkpoints import WeightsError
from ..model.network import SNSCF, create
from .cache import TapBatch
from .checkpoint import Checkpoints, optimiser_state, part, prefixed, read, restore_optimiser
from .config import TrainConfig, check_same
from .interruption import Signals, caught_signals
from .learner import Average, Learner, Phase, make_optimiser
from .measurements import INTERVAL, LINE, StepClock, Tally
from .processes import Processes, share_batch_norms
from .record import Description, Record, card, commit
from .schedule import Plan, rates
from .start import start
from .training_error import TrainingError
from .validation import validate

_SETTLING = 5  # steps of a phase before its time is measured: compilation, choice of kernels, memory
_NO_DESCRIPTION, _ALONE, _CPU = Description(), Processes(), torch.device("cpu")


class Source(Protocol):
    """Makes pairs: always the same ones for the same step."""

    def batch(self, step: int, size: int) -> PairBatch | TapBatch: ...


@dataclass(frozen=True)
class Summary:
    """Says how a call of ``train`` ended.

    finished: whether the whole plan is done.
    steps: length of the plan, None while it is not yet known.
    weights: their folder.
    validation: success AUC by mode and clip, with ``mean`` among the clips.
    """

    finished: bool
    step: int
    steps: int | None
    weights: Path | None
    validation: dict[str, dict[str, float]]


def train(
    config: TrainConfig,
    source: Source,
    out: Path,
    *,
    clips: Sequence[Clip] = (),
    description: Description = _NO_DESCRIPTION,
    processes: Processes = _ALONE,
    device: torch.device = _CPU,
    network: SNSCF | None = None,
    started: float | None = None,
) -> Summary:
    """Starts or continues the run in the folder ``out``, and writes its weights to ``out / "weights"``.

    source: makes the pairs of this process.
    clips: kept out of training, and tracked for validation.
    network: the network to start from, instead of ``config.model``'s weights.
    started: ``time.monotonic()`` from which ``stop_after_minutes`` counts.

    SIGTERM and SIGINT end it with a checkpoint. Raises WeightsError if the weights or the run can't be used, ValueError
    if the run was started with other settings, TrainingError if it diverges.
    """
    started = time.monotonic() if started is None else started
    if config.batch % processes.count:
        raise ValueError(f"a batch of {config.batch} can't be shared by {processes.count} processes")
    run = _Run(config, source, out, clips, description, processes, device, network)
    with caught_signals() as signals:
        try:
            return run.train(signals, started)
        except torch.OutOfMemoryError as error:
            raise TrainingError(f"{device} has too little memory for a batch of {config.batch} pairs") from error


@dataclass
class _Position:
    """Says where a run is in its plan; the checkpoint stores it.

    step: steps done.
    averaged: steps in the average.
    interval: intervals that are over.
    skipped: steps without a finite gradient since the last line of the log without any.
    """

    step: int = 0
    averaged: int = 0
    interval: int = 0
    skipped: int = 0
    validation: dict[str, dict[str, float]] = field(default_factory=dict)


class _Run:
    """Goes through the plan of one run, in one process."""

    def __init__(
        self,
        config: TrainConfig,
        source: Source,
        out: Path,
        clips: Sequence[Clip],
        description: Description,
        processes: Processes,
        device: torch.device,
        network: SNSCF | None,
    ) -> None:
        self.config, self.source, self.out, self.clips = config, source, out, clips
        self.description, self.processes, self.device = description, processes, device
        out.mkdir(parents=True, exist_ok=True)
        saved = read(out)
        self.conv5_new = False
        if saved is not None:
            check_same(config, saved[1]["config"], out)
            self.conv5_new = saved[1]["conv5_new"]
            network = network or create(saved[1]["model"], saved[1]["channels"])
        elif network is None:
            network, self.conv5_new = start(config.model, config.channels, config.seed, config.conv5)
        if processes.count > 1:
            share_batch_norms(network)
        self.network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Average.of(self.network)
        self.names: dict[Tensor, str] = {p: name for name, p in self.network.named_parameters()}
        self.learner = Learner(
            config,
            self.network,
            make_optimiser(self.network, config, self.conv5_new),
            torch.amp.GradScaler(device.type, init_scale=1.0),
            Draws(device),
            processes,
            device,
            bf16=config.precision == "bf16" or (config.precision == "auto" and device.type == "cuda"),
        )
        self.plan = _first_plan(config)
        self.clock, self.tally, self.at = StepClock(device), Tally(device), _Position()
        if saved is not None:
            self._restore(*saved)
        self.checkpoints = Checkpoints(out)
        self.record = Record(out, self.at.step) if processes.first else None
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # shapes never change
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True

    # The loop ---------------------------------------------------------------------------------------------------------

    def train(self, signals: Signals, started: float) -> Summary:
        if not self._done:
            bar = tqdm(
                initial=self.at.step, unit="step", file=sys.stderr, disable=None if self.processes.first else True
            )
            with bar:
                self._loop(signals, started, bar)
            self._write_checkpoint()
            if self.record is not None and not self._done:
                self._write_weights()  # so that a run that is never continued leaves weights, too
        self.checkpoints.wait()
        if self.record is not None:
            self.record.close()
        return Summary(self._done, self.at.step, self.plan.steps, self.out / "weights", self.at.validation)

    def _loop(self, signals: Signals, started: float, bar: Any) -> None:
        config = self.config
        self.clock.start()
        written = time.monotonic()
        phase: Phase | None = None
        while not self._done:
            end_to_end = self.plan.end_to_end(self.at.step)
            if phase is None or phase.end_to_end != end_to_end:
                phase = self.learner.enter(end_to_end, self.conv5_new)
                self.clock.count()
                timing = _PhaseTiming(self.at.step + _SETTLING, self.clock.spent)
            self._train_step(phase)
            bar.update()
            self._plan_by_time(timing)
            at_line = self.at.step % config.log_every == 0 or self._done
            if at_line:
                self._log(phase, bar)
            if self._interval_is_over():
                with self.clock.paused():
                    self._finish_interval(bar)
            # Several processes wait for each other to agree, so they do it only at lines; one can look at every step.
            if at_line or self.processes.count == 1:
                now = time.monotonic()
                late = config.stop_after_minutes is not None and now - started >= 60 * config.stop_after_minutes
                flags = [float(signals.received or late), float(now - written >= config.checkpoint_seconds)]
                stop, write = self.processes.agree(flags, self.device)
                if stop:
                    break
                if write:
                    with self.clock.paused():
                        self._write_checkpoint()
                    written = time.monotonic()
        self.clock.count()

    def _train_step(self, phase: Phase) -> None:
        step = self.at.step
        batch = self.source.batch(step, self.config.batch // self.processes.count)
        now = rates(self.plan.progress(step), phase.end_to_end, self.config.schedule)
        self.tally.add(self.learner.step(phase, batch, step, now))
        self.at.step += 1
        self.at.averaged += 1
        self.average.follow(self.at.averaged, self.plan, self.config.average_share)

    @property
    def _done(self) -> bool:
        return self.plan.steps is not None and self.at.step >= self.plan.steps

    def _plan_by_time(self, timing: _PhaseTiming) -> None:
        """Sets the number of steps of the phase, once it is known how long one takes."""
        minutes, step = self.config.minutes, self.at.step
        if step == timing.settled:
            self.clock.count_exactly()
            if minutes is not None:
                self.clock.spent = timing.entered  # leaves out compilation and the like
            timing.measured_from = self.clock.spent
        if minutes is None or self.plan.known(step - 1):
            return
        if timing.measured_from is None or step < timing.settled + self.config.measured_steps:
            return
        self.clock.count_exactly()
        seconds = (self.clock.spent - timing.measured_from) / (step - timing.settled)
        # All processes must come to the same plan.
        seconds, spent = self.processes.agree([seconds, self.clock.spent], self.device)
        self.plan = self.plan.measured(step, seconds, spent, 60 * minutes)

    # What is written --------------------------------------------------------------------------------------------------

    def _log(self, phase: Phase, bar: Any) -> None:
        at = self.at
        means = self.tally.take(LINE, self.processes)
        finite, steps = means.pop("finite"), means.pop("steps")
        seconds = self.clock.take_line()
        at.skipped = at.skipped + round(steps - finite) if finite < steps else 0
        if self.record is not None:
            now = rates(self.plan.progress(at.step - 1), self.plan.end_to_end(at.step - 1), self.config.schedule)
            speed = self.config.batch * steps / seconds if seconds > 0 else None
            extra = {
                "rate": now.heads,
                "progress": round(self.plan.progress(at.step), 4),
                "pairs_per_second": speed and round(speed, 2),
                "seconds": round(self.clock.spent, 1),
            }
            self.record.add("steps", at.step, {**means, **extra, "skipped": round(steps - finite)})
            bar.set_description("end to end" if phase.end_to_end else "heads", refresh=False)
            bar.total = self.plan.steps
            bar.set_postfix(loss=f"{means['loss']:.3f}", IoU=f"{means['overlap']:.2f}", refresh=False)
        if at.skipped > self.config.max_skipped:
            raise TrainingError(
                f"the loss was not finite in {at.skipped} of the last steps, up to step {at.step}: "
                f"lower the learning rate; {self.checkpoints.path} has the run as it was before"
            )

    def _interval_is_over(self) -> bool:
        intervals = self.config.epochs or self.config.intervals
        over = int(self.plan.progress(self.at.step) * intervals + 1e-9)
        if over <= self.at.interval:
            return False
        self.at.interval = over
        return True

    def _finish_interval(self, bar: Any) -> None:
        at, config = self.at, self.config
        means = self.tally.take(INTERVAL, self.processes)
        if self.record is None:
            return
        self._write_weights()
        if self.clips and config.validation_modes:
            at.validation = validate(
                self.out / "weights", self.clips, config.validation_modes, str(self.device), config.validation_frames
            )
            self._write_weights()  # again, with the scores in the card
            scores = ", ".join(f"{mode} {aucs['mean']:.3f}" for mode, aucs in at.validation.items())
            bar.write(f"step {at.step}: loss {means['loss']:.3f}, validation AUC {scores}", file=sys.stderr)
        values = {**means, "seconds": round(self.clock.spent, 1), "progress": round(self.plan.progress(at.step), 4)}
        self.record.add("interval", at.step, {"interval": at.interval, **values, "validation": at.validation})
        self.record.plot()

    def _write_weights(self) -> None:
        """Writes the average as it ships, with its card."""
        network, folder = self.average.network, self.out / "weights"
        facts = {
            "network": f"{network.name}, {network.channels} channels",
            **_plan_facts(self.config, self.plan, self.at.step),
            "time": f"{self.clock.spent / 60:.1f} minutes in training steps",
            "device": _device_name(self.device, self.processes.count),
            "precision": "bf16 autocast" if self.learner.bf16 else "float32",
            "commit": commit(),
            "validation (held-out clips), mean AUC": ", ".join(
                f"{mode} {scores['mean']:.3f} ({len(scores) - 1} clips)" for mode, scores in self.at.validation.items()
            ),
        }
        metadata = {"steps": str(self.at.step), "commit": facts["commit"], "data": "; ".join(self.description.data)}
        checkpoints.save(network, folder, metadata)
        text = card(network.name, facts, self.config.decisive(), self.description)
        write_file(folder / f"{network.name}.md", text)

    def _write_checkpoint(self) -> None:
        if not self.processes.first:
            return
        tensors = {
            **prefixed("network", self.network.state_dict()),
            **prefixed("average", self.average.network.state_dict()),
            **prefixed("optimiser", optimiser_state(self.learner.optimiser, self.names)),
            "sums": self.tally.sums,
            "random.cpu": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        state = {
            "model": self.network.name,
            "channels": self.network.channels,
            "conv5_new": self.conv5_new,
            "config": self.config.decisive(),
            "plan": asdict(self.plan),
            "spent": self.clock.spent,
            **asdict(self.at),
        }
        self.checkpoints.write(tensors, state)

    def _restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        try:
            self.network.load_state_dict(part("network", tensors))
            self.average.network.load_state_dict(part("average", tensors))
            restore_optimiser(self.learner.optimiser, self.names, part("optimiser", tensors))
            self.tally.sums.copy_(tensors["sums"])
            torch.set_rng_state(tensors["random.cpu"])
            if self.device.type == "cuda" and "random.cuda" in tensors:
                torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
            self.plan = Plan(**state["plan"])
            self.clock.spent = state["spent"]
            self.at = _Position(**{name: state[name] for name in asdict(self.at)})
        except (KeyError, TypeError, RuntimeError) as error:
            raise WeightsError(f"the run in {self.out} can't be continued: {str(error).splitlines()[0]}") from error


@dataclass
class _PhaseTiming:
    """Times the steps of a phase.

    settled: the step from which they are timed.
    entered, measured_from: `StepClock.spent` when the phase began and when timing began; None before that.
    """

    settled: int
    entered: float
    measured_from: float | None = None


def _first_plan(config: TrainConfig) -> Plan:
    share = config.schedule.heads_share
    if config.minutes is not None:
        return Plan.of_time(share)
    steps = config.steps or max(1, (config.epochs or 0) * config.pairs_per_epoch // config.batch)
    return Plan.of_steps(steps, share)


def _plan_facts(config: TrainConfig, plan: Plan, step: int) -> dict[str, str]:
    """Returns the rows of the card on how long the run is."""
    length = {"minutes": config.minutes, "epochs": config.epochs, "steps": config.steps}
    return {
        "started from": config.model,
        "planned for": ", ".join(f"{value:g} {name}" for name, value in length.items() if value is not None),
        "trained": f"{step} of {plan.steps or 'not yet known'} steps of {config.batch} pairs",
        "schedule": f"heads alone {plan.heads_steps}, end to end {plan.end_to_end_steps} steps",
    }


def _device_name(device: torch.device, count: int) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return f"{name}, torch {torch.__version__}" + (f", {count} processes" if count > 1 else "")
