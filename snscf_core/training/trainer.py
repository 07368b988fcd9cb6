# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The training loop: from pairs to weights that ship.

Nothing in a step waits for the device: losses are summed there and read every ``log_every`` steps. Everything that
decides the next step (weights, momentum, averages, step, plan, random state, sums) is in the checkpoint, so a run that
was cut off anywhere goes on as if it had not been.
"""

from __future__ import annotations

import copy
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from ..crops import SEARCH_SIZE
from ..data.draws import Draws
from ..data.pairs import PairBatch, PairConfig
from ..data.readers import Clip
from ..model import checkpoints
from ..model.checkpoints import WeightsError
from ..model.network import MODELS, SNSCF, SNSCFNano, create
from ..online.config import TrackerConfig
from .cache import TapBatch
from .checkpoint import Checkpoints, TrainingError, optimiser_state, part, prefixed, read, restore_optimiser
from .labels import LabelConfig, assign, assign_cells
from .losses import LossConfig, Losses, best_overlap, pair_losses
from .processes import Processes, share_batch_norms
from .record import Description, Record, card, commit
from .schedule import Plan, ScheduleConfig, rates
from .siamese import Images, Outputs, PairNetwork
from .start import CONV5_STARTS, enter_phase, groups, start, statistics
from .validation import validate

OPTIMISERS = ("sgd", "adamw")
PRECISIONS = ("auto", "bf16", "float32")
MEASURED = ("loss", "classification", "box", "ridge", "overlap", "gradient")
_SETTLING = 5  # steps of a phase before its time is measured: compilation, choice of kernels, memory


_NO_DESCRIPTION, _ALONE, _CPU = Description(), Processes(), torch.device("cpu")


class Source(Protocol):
    """Where pairs come from: the same ones for the same step, whenever it is asked."""

    def batch(self, step: int, size: int) -> PairBatch | TapBatch: ...


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run; exactly one of minutes, epochs and steps says how long it is.

    Settings marked ``free`` may change from slice to slice of a run, the others not.
    """

    model: str = field(default=MODELS[0], metadata={"help": f"{', '.join(MODELS)}, or the path of weights to start at"})
    minutes: float | None = field(default=None, metadata={"help": "plan the run for so much time in training steps"})
    epochs: int | None = field(default=None, metadata={"help": "plan the run for so many epochs (the paper: 20)"})
    steps: int | None = field(default=None, metadata={"help": "plan the run for so many steps"})
    pairs_per_epoch: int = field(default=600_000, metadata={"help": "pairs in an epoch"})
    batch: int = field(default=128, metadata={"help": "pairs in a step, over all processes"})
    channels: int = field(default=256, metadata={"help": "width of reductions and heads"})
    seed: int = field(default=0, metadata={"help": "decides initial heads, pairs and sampled anchors"})
    optimiser: str = field(default="sgd", metadata={"help": "what makes the steps", "choices": OPTIMISERS})
    momentum: float = field(default=0.9, metadata={"help": "of SGD, or beta 1 of AdamW"})
    weight_decay: float = field(default=1e-4, metadata={"help": "of matrices and kernels"})
    clip: float = field(default=10.0, metadata={"help": "longest gradient"})
    average_share: float = field(default=0.02, metadata={"help": "fraction of the run the shipped average looks back"})
    train_stem: bool = field(default=False, metadata={"help": "end to end includes the layers before stride 8"})
    only: tuple[str, ...] = field(
        default=(),
        metadata={"help": "train only what has one of these words in its name, like regression,beta; all else stays"},
    )
    cache_pairs: int = field(
        default=0,
        metadata={"help": "so many pairs go once through the layers before the first tap, which never train; 0: none"},
    )
    conv5: str = field(default="copy", metadata={"help": "start of a conv5 without weights", "choices": CONV5_STARTS})
    teacher: str = field(
        default="",
        metadata={"help": "fear:TEMPLATE.onnx:TRACK.onnx; learn from FEAR's scores and boxes too (nano, on CPUs)"},
    )
    losses: LossConfig = field(default_factory=LossConfig)
    labels: LabelConfig = field(default_factory=LabelConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    # What the tracker does online is what the filters' loss does.
    filters: TrackerConfig = field(default_factory=TrackerConfig, metadata={"free": True})
    pairs: PairConfig = field(default_factory=PairConfig)  # what ``source`` was made with, for the record

    precision: str = field(
        default="auto",
        metadata={"help": "of the network; auto is bf16 on a GPU", "choices": PRECISIONS, "free": True},
    )
    compile: bool = field(default=False, metadata={"help": "torch.compile the network", "free": True})
    compile_pairs: bool = field(
        default=False, metadata={"help": "torch.compile what is done to the pairs' pixels", "free": True}
    )
    stop_after_minutes: float | None = field(
        default=None,
        metadata={"help": "write a checkpoint and end after so long; the same command goes on", "free": True},
    )
    checkpoint_seconds: float = field(default=60.0, metadata={"help": "between checkpoints", "free": True})
    log_every: int = field(default=20, metadata={"help": "steps between lines in the log", "free": True})
    intervals: int = field(default=10, metadata={"help": "validations of a run not planned by epochs", "free": True})
    validation_modes: tuple[str, ...] = field(
        default=("snscf",), metadata={"help": "modes that validation tracks in", "free": True}
    )
    validation_frames: int = field(default=120, metadata={"help": "of each validation clip, at most", "free": True})
    measured_steps: int = field(
        default=30, metadata={"help": "from which a run planned by time is planned", "free": True}
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
            raise ValueError("a cache holds at least 0 pairs, and stands for the stem, which then can't train")
        if self.filters.search_size != SEARCH_SIZE:
            raise ValueError(f"training searches crops of {SEARCH_SIZE} pixels, not of {self.filters.search_size}")
        for name, known in (("optimiser", OPTIMISERS), ("precision", PRECISIONS), ("conv5", CONV5_STARTS)):
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; there are {', '.join(known)}")

    def decisive(self) -> dict[str, Any]:
        """The settings that a run keeps, as JSON knows them."""
        free = {f.name for f in fields(self) if f.metadata.get("free")}
        return {key: value for key, value in _plain(asdict(self)).items() if key not in free}


@dataclass(frozen=True)
class Summary:
    """How a call of ``train`` ended. finished: the whole plan is done. weights: the folder, if finished."""

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
    """Trains, or goes on training, the run in the folder ``out``, and writes its weights to ``out / "weights"``.

    source: pairs for this process. clips: kept out of training, tracked for validation. network: start from this one
    instead of ``config.model``'s weights. started: ``time.monotonic()`` from which ``stop_after_minutes`` counts.

    SIGTERM and SIGINT end it with a checkpoint. Raises WeightsError if the weights or the run can't be used, ValueError
    if the run was started with other settings, TrainingError if it diverges.
    """
    started = time.monotonic() if started is None else started
    if config.batch % processes.count:
        raise ValueError(f"a batch of {config.batch} can't be shared by {processes.count} processes")
    run = _Run(config, source, out, clips, description, processes, device, network)
    with _signals() as signals:
        try:
            return run.train(signals, started)
        except torch.OutOfMemoryError as error:
            raise TrainingError(f"{device} has too little memory for a batch of {config.batch} pairs") from error


class _Run:
    """One run in one process: its weights, optimiser and place in the plan."""

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
            self._check_same(saved[1]["config"])
            self.conv5_new = saved[1]["conv5_new"]
            network = network or create(saved[1]["model"], saved[1]["channels"])
        elif network is None:
            network, self.conv5_new = start(config.model, config.channels, config.seed, config.conv5)
        if processes.count > 1:
            share_batch_norms(network)
        self.network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.names: dict[Tensor, str] = {p: name for name, p in self.network.named_parameters()}
        self.optimiser = self._optimiser()
        # Scales nothing: it has the optimiser leave out a step whose gradient is not finite, without waiting to know.
        self.scaler = torch.amp.GradScaler(device.type, init_scale=1.0)
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and device.type == "cuda")

        self.step = 0
        self.plan = self._first_plan()
        self.spent = 0.0  # seconds in training steps, over all slices
        self.line_seconds = 0.0  # the same since the last line in the log, but with all of them
        self.averaged = 0  # steps in the average
        self.interval = 0  # intervals that are over
        self.skipped = 0  # steps without a finite gradient since the last line without any
        self.validation: dict[str, dict[str, float]] = {}
        # Sums of MEASURED, and numbers of finite and of all steps, since the last line (0) and the last interval (1).
        self.sums = torch.zeros(2, len(MEASURED) + 2, device=device)
        if saved is not None:
            self._restore(*saved)

        self.checkpoints = Checkpoints(out)
        self.record = Record(out, self.step) if processes.first else None
        self.draws = Draws(device)
        self.phase: bool | None = None
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # shapes never change
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True

    # The loop ---------------------------------------------------------------------------------------------------------

    def train(self, signals: _Signals, started: float) -> Summary:
        if not self._done:
            bar = tqdm(initial=self.step, unit="step", file=sys.stderr, disable=None if self.processes.first else True)
            with bar:
                self._loop(signals, started, bar)
            self._write_checkpoint()
            if self.record is not None and not self._done:
                self._write_weights()  # a run that is not gone on with leaves something, too
        self.checkpoints.wait()
        if self.record is not None:
            self.record.close()
        return Summary(self._done, self.step, self.plan.steps, self.out / "weights", self.validation)

    def _loop(self, signals: _Signals, started: float, bar: Any) -> None:
        config = self.config
        clock = _Clock(self.device)
        written = time.monotonic()
        while not self._done:
            self._enter_phase(clock)
            self._train_step()
            bar.update()
            self._plan_by_time(clock)
            at_line = self.step % config.log_every == 0 or self._done
            if at_line:
                self._log(clock, bar)
            if self._interval_is_over():
                with self._not_training(clock):
                    self._finish_interval(bar)
            # Several processes have to agree, and wait for each other to do so; one can look at every step.
            if at_line or self.processes.count == 1:
                now = time.monotonic()
                late = config.stop_after_minutes is not None and now - started >= 60 * config.stop_after_minutes
                flags = [float(signals.received or late), float(now - written >= config.checkpoint_seconds)]
                stop, write = self.processes.agree(flags, self.device)
                if stop:
                    break
                if write:
                    with self._not_training(clock):
                        self._write_checkpoint()
                    written = time.monotonic()
        self._count_time(clock)

    def _train_step(self) -> None:
        now = rates(self.plan.progress(self.step), self.plan.end_to_end(self.step), self.config.schedule)
        for group in self.optimiser.param_groups:
            group["lr"] = getattr(now, group["kind"])
        statistics_before = torch.cat(self.statistics) if self.statistics else None
        self.optimiser.zero_grad(set_to_none=True)
        batch = self.source.batch(self.step, self.config.batch // self.processes.count)
        outputs, losses = self._losses(batch)
        self.scaler.scale(losses.total).backward()
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.trained, self.config.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update(1.0)
        self.step += 1
        with torch.no_grad():
            finite = torch.isfinite(norm) & torch.isfinite(losses.total)
            if statistics_before is not None:
                kept = torch.where(finite, torch.cat(self.statistics), statistics_before)
                torch._foreach_copy_(self.statistics, kept.split([len(value) for value in self.statistics]))
            self._follow()
            overlap = best_overlap(outputs.fused, batch.box, batch.positive, self.network.anchors)
            values = torch.stack([*losses, overlap, norm, torch.ones_like(norm)])
            values = torch.where(finite, values, 0.0)
            self.sums += torch.cat([values, torch.ones_like(values[:1])])

    def _losses(self, batch: PairBatch | TapBatch) -> tuple[Outputs, Losses]:
        config, pairs = self.config, len(batch.box)
        template, search, context, size = self._inputs(batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            outputs = self.forward(template, search, context, config.losses.ridge_every)
        anchors = self.network.anchors
        # Those of all processes, so that it makes no difference how many share a batch.
        self.draws.restart(~config.seed & 0xFFFFFFFFFFFF, self.step)
        keys = self.draws.uniform(0.0, 1.0, pairs * self.processes.count, *anchors.shape[:1], *anchors.shape[2:])
        keys = keys[pairs * self.processes.rank :][:pairs]
        if isinstance(self.network, SNSCFNano):
            labels = assign_cells(batch.box, batch.positive, anchors, config.labels)
        else:
            labels = assign(batch.box, batch.positive, anchors, keys, config.labels)
        losses = pair_losses(
            outputs,
            labels,
            batch.box,
            batch.positive,
            size,
            anchors,
            config.losses,
            config.filters,
            self.processes.mean,
            _taught(batch),
        )
        return outputs, losses

    def _inputs(self, batch: PairBatch | TapBatch) -> tuple[Images, Images, Images | None, Tensor | None]:
        """What the network sees: template, search and context crops or taps, and the targets' sizes in the context."""
        every, filters = self.config.losses.ridge_every, self.config.losses.ridge_weight > 0
        context = batch.context if isinstance(batch, TapBatch) else batch.template_context
        if filters and (context is None or batch.template_box is None):
            raise ValueError("the filters' loss needs pairs with a context: set PairConfig.context, or no ridge_weight")
        size = batch.template_box[:, 2:] if filters and batch.template_box is not None else None
        if isinstance(batch, TapBatch):
            # End to end, what is behind the first tap is no longer what it was.
            frozen = slice(1 if self.phase else 3)
            return batch.template[frozen], batch.search[frozen], batch.context[frozen] if batch.context else None, size
        wide = None if size is None or batch.template_context is None else batch.template_context[::every]
        template, search = (crops.to(memory_format=torch.channels_last) for crops in (batch.template, batch.search))
        return template, search, None if wide is None else wide.to(memory_format=torch.channels_last), size

    def _follow(self) -> None:
        """Moves the average towards the weights."""
        self.averaged += 1
        steps = self.plan.steps
        if steps is None and self.plan.heads_steps and self.plan.heads_share:
            steps = round(self.plan.heads_steps / self.plan.heads_share)
        weight = 1 / self.averaged
        if steps is not None:
            weight = max(weight, 1 / max(1.0, self.config.average_share * steps))
        torch._foreach_lerp_(self.averages, self.currents, weight)

    # Phases and the plan ----------------------------------------------------------------------------------------------

    @property
    def _done(self) -> bool:
        return self.plan.steps is not None and self.step >= self.plan.steps

    def _first_plan(self) -> Plan:
        config = self.config
        share = config.schedule.heads_share
        if config.minutes is not None:
            return Plan.of_time(share)
        steps = config.steps or max(1, (config.epochs or 0) * config.pairs_per_epoch // config.batch)
        return Plan.of_steps(steps, share)

    def _enter_phase(self, clock: _Clock) -> None:
        end_to_end = self.plan.end_to_end(self.step)
        if end_to_end == self.phase:
            return
        self.phase = end_to_end
        config = self.config
        enter_phase(
            self.network,
            end_to_end,
            conv5_new=self.conv5_new,
            train_stem=config.train_stem,
            train_filters=config.losses.ridge_weight > 0,
            behind_first_tap=config.cache_pairs > 0,
            only=config.only,
        )
        self.trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.statistics = list(statistics(self.network))
        own, average = self.network.state_dict(), self.average.state_dict()
        names = [name for name, value in own.items() if value.is_floating_point()]
        self.currents, self.averages = [own[name] for name in names], [average[name] for name in names]
        module: nn.Module = PairNetwork(self.network)
        if self.processes.count > 1:
            devices = [self.device] if self.device.type == "cuda" else None
            module = DistributedDataParallel(module, devices, broadcast_buffers=False, gradient_as_bucket_view=True)
        self.forward: Any = torch.compile(module, dynamic=False) if config.compile else module
        self.settled = self.step + _SETTLING
        self._count_time(clock)
        self.entered = self.spent
        self.measured_from: float | None = None

    def _plan_by_time(self, clock: _Clock) -> None:
        """Decides how many steps the phase has, once it is known how long one takes."""
        if self.step == self.settled:
            clock.synchronise()
            self._count_time(clock)
            self.measured_from = self.spent
            if self.config.minutes is not None:
                # Compilation and the like do not count.
                self.spent = self.measured_from = self.entered
        known = self.config.minutes is None or self.plan.known(self.step - 1)
        if known or self.measured_from is None or self.step < self.settled + self.config.measured_steps:
            return
        clock.synchronise()
        self._count_time(clock)
        seconds = (self.spent - self.measured_from) / (self.step - self.settled)
        # All processes must come to the same plan.
        seconds, spent = self.processes.agree([seconds, self.spent], self.device)
        self.plan = self.plan.measured(self.step, seconds, spent, 60 * (self.config.minutes or 0))

    def _count_time(self, clock: _Clock) -> None:
        seconds = clock.lap()
        self.spent += seconds
        self.line_seconds += seconds

    @contextmanager
    def _not_training(self, clock: _Clock) -> Iterator[None]:
        clock.synchronise()
        self._count_time(clock)
        yield
        clock.lap()

    # What is written --------------------------------------------------------------------------------------------------

    def _log(self, clock: _Clock, bar: Any) -> None:
        means = self._means(0)
        self.sums[0] = 0
        finite, steps = means.pop("finite"), means.pop("steps")
        self._count_time(clock)
        seconds, self.line_seconds = self.line_seconds, 0.0
        self.skipped = self.skipped + round(steps - finite) if finite < steps else 0
        if self.record is not None:
            progress = self.plan.progress(self.step)
            now = rates(self.plan.progress(self.step - 1), self.plan.end_to_end(self.step - 1), self.config.schedule)
            speed = self.config.batch * steps / seconds if seconds > 0 else None
            extra = {
                "rate": now.heads,
                "progress": round(progress, 4),
                "pairs_per_second": speed and round(speed, 2),
                "seconds": round(self.spent, 1),
            }
            self.record.add("steps", self.step, {**means, **extra, "skipped": round(steps - finite)})
            bar.set_description("end to end" if self.phase else "heads", refresh=False)
            bar.total = self.plan.steps
            bar.set_postfix(loss=f"{means['loss']:.3f}", IoU=f"{means['overlap']:.2f}", refresh=False)
        if self.skipped > self.config.max_skipped:
            raise TrainingError(
                f"the loss was not finite in {self.skipped} of the last steps, up to step {self.step}: "
                f"lower the learning rate; {self.checkpoints.path} has the run as it was before"
            )

    def _means(self, row: int) -> dict[str, float]:
        """Means over the finite steps, and how many these (``finite``) and all (``steps``) were. Waits for the
        device, and for the other processes."""
        *sums, finite, steps = self.processes.mean(self.sums[row]).tolist()
        means = {name: value / finite if finite else float("nan") for name, value in zip(MEASURED, sums, strict=True)}
        return {**means, "finite": finite, "steps": steps}

    def _interval_is_over(self) -> bool:
        over = int(self.plan.progress(self.step) * self._intervals + 1e-9)
        if over <= self.interval:
            return False
        self.interval = over
        return True

    @property
    def _intervals(self) -> int:
        return self.config.epochs or self.config.intervals

    def _finish_interval(self, bar: Any) -> None:
        means = self._means(1)
        self.sums[1] = 0
        if self.record is None:
            return
        self._write_weights()
        if self.clips and self.config.validation_modes:
            self.validation = validate(
                self.out / "weights",
                self.clips,
                self.config.validation_modes,
                str(self.device),
                self.config.validation_frames,
            )
            self._write_weights()  # again: the card tells the scores
            scores = ", ".join(f"{mode} {aucs['mean']:.3f}" for mode, aucs in self.validation.items())
            bar.write(f"step {self.step}: loss {means['loss']:.3f}, validation AUC {scores}", file=sys.stderr)
        values = {**means, "seconds": round(self.spent, 1), "progress": round(self.plan.progress(self.step), 4)}
        self.record.add("interval", self.step, {"interval": self.interval, **values, "validation": self.validation})
        self.record.plot()

    def _write_weights(self) -> None:
        """The average as it ships, with its card."""
        config, plan = self.config, self.plan
        length = {"minutes": config.minutes, "epochs": config.epochs, "steps": config.steps}
        facts = {
            "network": f"{self.network.name}, {self.network.channels} channels",
            "started from": config.model,
            "planned for": ", ".join(f"{value:g} {name}" for name, value in length.items() if value is not None),
            "trained": f"{self.step} of {plan.steps or 'not yet known'} steps of {config.batch} pairs",
            "schedule": f"heads alone {plan.heads_steps}, end to end {plan.end_to_end_steps} steps",
            "time": f"{self.spent / 60:.1f} minutes in training steps",
            "device": _device_name(self.device, self.processes.count),
            "precision": "bf16 autocast" if self.bf16 else "float32",
            "commit": commit(),
            "validation (held-out clips), mean AUC": ", ".join(
                f"{mode} {scores['mean']:.3f} ({len(scores) - 1} clips)" for mode, scores in self.validation.items()
            ),
        }
        metadata = {"steps": str(self.step), "commit": facts["commit"], "data": "; ".join(self.description.data)}
        folder = self.out / "weights"
        checkpoints.save(self.average, folder, metadata)
        text = card(self.network.name, facts, config.decisive(), self.description)
        (folder / f"{self.network.name}.md").write_text(text)

    def _write_checkpoint(self) -> None:
        if not self.processes.first:
            return
        tensors = {
            **prefixed("network", self.network.state_dict()),
            **prefixed("average", self.average.state_dict()),
            **prefixed("optimiser", optimiser_state(self.optimiser, self.names)),
            "sums": self.sums,
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
            **{name: getattr(self, name) for name in _STATE},
        }
        self.checkpoints.write(tensors, state)

    def _restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        try:
            self.network.load_state_dict(part("network", tensors))
            self.average.load_state_dict(part("average", tensors))
            restore_optimiser(self.optimiser, self.names, part("optimiser", tensors))
            self.sums.copy_(tensors["sums"])
            torch.set_rng_state(tensors["random.cpu"])
            if self.device.type == "cuda" and "random.cuda" in tensors:
                torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
            self.plan = Plan(**state["plan"])
            for name in _STATE:
                setattr(self, name, state[name])
        except (KeyError, TypeError, RuntimeError) as error:
            raise WeightsError(f"the run in {self.out} can't be continued: {str(error).splitlines()[0]}") from error

    def _check_same(self, before: dict[str, Any]) -> None:
        now, before = _flat(self.config.decisive()), _flat(before)
        # A run of before there was a setting was one with its default.
        before = {**_flat(TrainConfig(steps=1, filters=self.config.filters).decisive()), **before}
        changed = [
            f"{key} {before.get(key)!r}, now {now.get(key)!r}"
            for key in sorted(now.keys() | before.keys())
            if now.get(key) != before.get(key)
        ]
        if changed:
            raise ValueError(
                f"{self.out} holds a run with other settings ({'; '.join(changed)}): use the same, or another folder"
            )

    def _optimiser(self) -> torch.optim.Optimizer:
        config = self.config
        kinds: dict[tuple[str, bool], list[nn.Parameter]] = {}
        group = groups(self.network, self.conv5_new)
        for name, parameter in self.network.named_parameters():
            kinds.setdefault((group[name], parameter.dim() > 1), []).append(parameter)
        parameters = [
            {"params": members, "kind": kind, "weight_decay": config.weight_decay if decays else 0.0}
            for (kind, decays), members in kinds.items()
        ]
        if config.optimiser == "adamw":
            return torch.optim.AdamW(parameters, lr=0.0, betas=(config.momentum, 0.999), fused=True)
        return torch.optim.SGD(parameters, lr=0.0, momentum=config.momentum, fused=True)


_STATE = ("step", "spent", "averaged", "interval", "skipped", "validation")


def _taught(batch: PairBatch | TapBatch) -> tuple[Tensor, Tensor] | None:
    """What the batch holds of a teacher, as ``losses.pair_losses`` takes it."""
    if isinstance(batch, TapBatch) or batch.teacher_scores is None or batch.teacher_boxes is None:
        return None
    return batch.teacher_scores, batch.teacher_boxes


class _Clock:
    """Wall time. The device may be a few steps behind; over many that evens out."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._from = time.monotonic()

    def lap(self) -> float:
        """Since the last lap."""
        now = time.monotonic()
        seconds, self._from = now - self._from, now
        return seconds

    def synchronise(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


class _Signals:
    """Whether SIGTERM or SIGINT came."""

    received = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.received = True


@contextmanager
def _signals() -> Iterator[_Signals]:
    signals = _Signals()
    # Only the main thread may, and only there do signals end the program.
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {number: signal.signal(number, signals) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _device_name(device: torch.device, count: int) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return f"{name}, torch {torch.__version__}" + (f", {count} processes" if count > 1 else "")


def _plain(value: Any) -> Any:
    """With lists for tuples, as JSON gives them back."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        out.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return out
