# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes one training step: a batch of pairs in, changed weights and measured values out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..data.draws import Draws
from ..data.pairs import PairBatch
from ..model.network import SNSCF, SNSCFNano
from .cache import TapBatch
from .config import TrainConfig
from .labels import assign, assign_cells
from .losses import LossConfig, Losses, best_overlap, pair_losses
from .processes import Processes
from .schedule import Plan, Rates
from .siamese import Images, Outputs, PairNetwork
from .start import enter_phase, groups, statistics


@dataclass(frozen=True)
class Phase:
    """Holds what a step needs of the phase that it is in: the heads alone, or end to end.

    forward: the network on pairs, compiled and distributed as the settings ask.
    trained: the parameters that train.
    statistics: means and variances of the batch norms that learn theirs.
    """

    end_to_end: bool
    forward: Callable[..., Outputs]
    trained: list[nn.Parameter]
    statistics: list[Tensor]


@dataclass(frozen=True)
class Learner:
    """Trains a network, a step at a time.

    optimiser: made by `make_optimiser`.
    scaler: scales nothing. It has the optimiser leave out a step whose gradient is not finite, without waiting for the
        device to know.
    bf16: whether the network runs in autocast to bfloat16.
    """

    config: TrainConfig
    network: SNSCF
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    draws: Draws
    processes: Processes
    device: torch.device
    bf16: bool

    def enter(self, end_to_end: bool, conv5_new: bool) -> Phase:
        """Sets which parts of the network train in a phase. Raises ValueError if nothing would."""
        config, network = self.config, self.network
        enter_phase(
            network,
            end_to_end,
            conv5_new=conv5_new,
            train_stem=config.train_stem,
            train_filters=config.losses.ridge_weight > 0,
            behind_first_tap=config.cache_pairs > 0,
            only=config.only,
        )
        module: nn.Module = PairNetwork(network)
        if self.processes.count > 1:
            devices = [self.device] if self.device.type == "cuda" else None
            module = DistributedDataParallel(module, devices, broadcast_buffers=False, gradient_as_bucket_view=True)
        return Phase(
            end_to_end,
            torch.compile(module, dynamic=False) if config.compile else module,
            [parameter for parameter in network.parameters() if parameter.requires_grad],
            list(statistics(network)),
        )

    def step(self, phase: Phase, batch: PairBatch | TapBatch, step: int, rates: Rates) -> Tensor:
        """Changes the weights by one step, unless its gradient is not finite. ``step`` counts from 0.

        Returns on the device the 6 values that `measurements.MEASURED` names, whether the step was finite (1 or 0),
        and 1. The 6 are 0 if it was not.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = getattr(rates, group["kind"])
        statistics_before = torch.cat(phase.statistics) if phase.statistics else None
        self.optimiser.zero_grad(set_to_none=True)
        outputs, losses = self._losses(phase, batch, step)
        self.scaler.scale(losses.total).backward()
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(phase.trained, self.config.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update(1.0)
        with torch.no_grad():
            finite = torch.isfinite(norm) & torch.isfinite(losses.total)
            if statistics_before is not None:
                kept = torch.where(finite, torch.cat(phase.statistics), statistics_before)
                torch._foreach_copy_(phase.statistics, kept.split([len(value) for value in phase.statistics]))
            overlap = best_overlap(outputs.fused, batch.box, batch.positive, self.network.anchors)
            values = torch.stack([*losses, overlap, norm, torch.ones_like(norm)])
            values = torch.where(finite, values, 0.0)
            return torch.cat([values, torch.ones_like(values[:1])])

    def _losses(self, phase: Phase, batch: PairBatch | TapBatch, step: int) -> tuple[Outputs, Losses]:
        config, pairs = self.config, len(batch.box)
        template, search, context, size = network_inputs(batch, config.losses, phase.end_to_end)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            outputs = phase.forward(template, search, context, config.losses.ridge_every)
        anchors = self.network.anchors
        # Draw for all processes and take our part, so that their number makes no difference.
        self.draws.restart(~config.seed & 0xFFFFFFFFFFFF, step)
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
            _teacher_answers(batch),
        )
        return outputs, losses


def make_optimiser(network: SNSCF, config: TrainConfig, conv5_new: bool) -> torch.optim.Optimizer:
    """Makes an optimiser with a group for each rate of `schedule.Rates`, with and without weight decay."""
    kinds: dict[tuple[str, bool], list[nn.Parameter]] = {}
    group = groups(network, conv5_new)
    for name, parameter in network.named_parameters():
        kinds.setdefault((group[name], parameter.dim() > 1), []).append(parameter)
    parameters = [
        {"params": members, "kind": kind, "weight_decay": config.weight_decay if decays else 0.0}
        for (kind, decays), members in kinds.items()
    ]
    if config.optimiser == "adamw":
        return torch.optim.AdamW(parameters, lr=0.0, betas=(config.momentum, 0.999), fused=True)
    return torch.optim.SGD(parameters, lr=0.0, momentum=config.momentum, fused=True)


def network_inputs(
    batch: PairBatch | TapBatch, losses: LossConfig, end_to_end: bool
) -> tuple[Images, Images, Images | None, Tensor | None]:
    """Returns the template, search and context crops or taps, and the targets' sizes in the context.

    Raises ValueError if the filters' loss is on and the pairs have no context.
    """
    every, filters = losses.ridge_every, losses.ridge_weight > 0
    context = batch.context if isinstance(batch, TapBatch) else batch.template_context
    if filters and (context is None or batch.template_box is None):
        raise ValueError("the filters' loss needs pairs with a context: set PairConfig.context, or no ridge_weight")
    size = batch.template_box[:, 2:] if filters and batch.template_box is not None else None
    if isinstance(batch, TapBatch):
        # End to end, the layers behind the first tap train, so that deeper taps in the cache are outdated.
        frozen = slice(1 if end_to_end else 3)
        return batch.template[frozen], batch.search[frozen], batch.context[frozen] if batch.context else None, size
    wide = None if size is None or batch.template_context is None else batch.template_context[::every]
    template, search = (crops.to(memory_format=torch.channels_last) for crops in (batch.template, batch.search))
    return template, search, None if wide is None else wide.to(memory_format=torch.channels_last), size


def _teacher_answers(batch: PairBatch | TapBatch) -> tuple[Tensor, Tensor] | None:
    """Returns the teacher's scores and boxes in the batch, as ``losses.pair_losses`` takes them, or None."""
    if isinstance(batch, TapBatch) or batch.teacher_scores is None or batch.teacher_boxes is None:
        return None
    return batch.teacher_scores, batch.teacher_boxes


@dataclass(frozen=True)
class Average:
    """Keeps a running average of a network's weights.

    network: the network with the averaged weights.
    tensors: floating-point tensors of that network, and those of the trained one.
    """

    network: SNSCF
    tensors: tuple[list[Tensor], list[Tensor]]

    @classmethod
    def of(cls, trained: SNSCF) -> Average:
        """Starts with a copy of the network."""
        network = copy.deepcopy(trained).eval().requires_grad_(False)
        own, current = network.state_dict(), trained.state_dict()
        names = [name for name, value in current.items() if value.is_floating_point()]
        return cls(network, ([own[name] for name in names], [current[name] for name in names]))

    @torch.no_grad()
    def follow(self, averaged: int, plan: Plan, share: float) -> None:
        """Moves the average towards the trained weights.

        averaged: steps in the average with this one.
        share: fraction of the run that the average looks back over.
        """
        steps = plan.steps
        if steps is None and plan.heads_steps and plan.heads_share:
            steps = round(plan.heads_steps / plan.heads_share)
        weight = 1 / averaged
        if steps is not None:
            weight = max(weight, 1 / max(1.0, share * steps))
        torch._foreach_lerp_(*self.tensors, weight)
