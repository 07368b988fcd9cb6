# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The losses: against plain definitions, against what the tracker does online, and where their gradients go."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from squares import Squares, small_network

from snscf_core import Tracker, TrackerConfig
from snscf_core.crops import SEARCH_SIZE, TEMPLATE_SIZE, context_side, crop
from snscf_core.model.network import SNSCF, SNSCFNano, create
from snscf_core.model.rpn import Proposals, anchors, decode
from snscf_core.training.labels import AnchorLabels, assign, assign_cells
from snscf_core.training.losses import (
    LossConfig,
    best_overlap,
    box_loss,
    classification_loss,
    focal_loss,
    pair_losses,
    response_label,
    responses,
    ridge_loss,
)
from snscf_core.training.siamese import Outputs, PairNetwork
from snscf_core.training.start import enter_phase

ANCHORS = anchors(25)


def labelled(n: int = 4, seed: int = 0) -> tuple[AnchorLabels, torch.Tensor, torch.Tensor]:
    batch = Squares(seed).batch(0, n)
    keys = torch.rand(n, 5, 25, 25, generator=torch.Generator().manual_seed(seed))
    return assign(batch.box, batch.positive, ANCHORS, keys), batch.box, batch.positive


def test_the_focal_loss_is_that_of_its_definition():
    scores = torch.randn(3, 1, 15, 15, generator=torch.Generator().manual_seed(0))
    classes = torch.randint(-1, 2, scores.shape, generator=torch.Generator().manual_seed(1))
    p = 1 / (1 + np.exp(-scores.numpy().astype(np.float64)))
    there, gone = classes.numpy() == 1, classes.numpy() == 0
    total = -(0.25 * (1 - p) ** 2 * np.log(p))[there].sum() - (0.75 * p**2 * np.log(1 - p))[gone].sum()
    assert float(focal_loss(scores, classes)) == pytest.approx(total / there.sum(), rel=1e-5)
    assert torch.isfinite(focal_loss(scores, torch.zeros_like(classes)))


def test_targets_and_background_count_the_same_however_many_they_are():
    scores = torch.randn(3, 5, 25, 25, generator=torch.Generator().manual_seed(0))
    classes = labelled(3)[0].classes
    p = 1 / (1 + np.exp(-scores.numpy().astype(np.float64)))
    expected = -0.5 * np.log(p[classes == 1]).mean() - 0.5 * np.log(1 - p[classes == 0]).mean()
    assert float(classification_loss(scores, classes)) == pytest.approx(expected, rel=1e-5)
    assert float(classification_loss(scores, torch.full_like(classes, -1))) == 0.0


def test_boxes_count_the_same_in_every_pair_however_many_anchors_they_have():
    labels, _, positive = labelled(6)
    deltas = labels.deltas + 0.3 * torch.randn(labels.deltas.shape, generator=torch.Generator().manual_seed(1))
    loss = float(box_loss(deltas, labels, ANCHORS, LossConfig(smooth_l1_beta=0.5)))
    per_pair = []
    for pair in range(6):
        chosen = labels.classes[pair] == 1
        if chosen.any():
            error = (deltas - labels.deltas)[pair].permute(0, 2, 3, 1)[chosen].abs().numpy()
            smooth = np.where(error < 0.5, error**2, error - 0.25)
            per_pair.append(smooth.sum(1).mean())
    assert 0 < len(per_pair) <= int(positive.sum())
    assert loss == pytest.approx(np.mean(per_pair), rel=1e-5)


@pytest.mark.parametrize("form", ["giou", "diou"])
def test_overlap_losses_are_those_of_the_definition(form):
    truth, guess = [10.0, -5.0, 40.0, 60.0], [25.0, 15.0, 50.0, 30.0]
    labels, deltas = one_anchor(truth, guess)
    # By hand: edges x -10..30 and 0..50, y -35..25 and 0..30.
    intersection, union, hull = 30 * 25, 40 * 60 + 50 * 30 - 30 * 25, 60 * 65
    if form == "giou":
        expected = 1 - intersection / union + (hull - union) / hull
    else:
        expected = 1 - intersection / union + (15**2 + 20**2) / (60**2 + 65**2)
    assert float(box_loss(deltas, labels, ANCHORS, LossConfig(box_loss=form))) == pytest.approx(expected, rel=1e-4)
    assert float(box_loss(labels.deltas, labels, ANCHORS, LossConfig(box_loss=form))) == pytest.approx(0, abs=1e-5)


def one_anchor(truth: list[float], guess: list[float]) -> tuple[AnchorLabels, torch.Tensor]:
    def at(box: list[float]) -> torch.Tensor:
        keys = torch.zeros(1, 5, 25, 25)
        return assign(torch.tensor([box]), torch.tensor([True]), ANCHORS, keys).deltas

    weights = torch.zeros(1, 5, 25, 25)
    weights[0, 2, 12, 13] = 1.0
    deltas = at(guess)
    deltas[0, 0, 2, 0, 0] = 1e9  # what no anchor is asked for must not matter, even if it overflows
    return AnchorLabels(weights.to(torch.int8), at(truth), weights), deltas


def test_processes_that_share_a_batch_have_its_loss_in_the_mean():
    labels, _, _ = labelled(8)
    random = torch.Generator().manual_seed(2)
    scores = torch.randn(8, 5, 25, 25, generator=random)
    deltas = labels.deltas + torch.randn(labels.deltas.shape, generator=random)
    # The first "process" has two pairs' worth of labels removed, so that the shares differ.
    labels.classes[:2] = -1
    labels.weights[:2] = 0
    whole = classification_loss(scores, labels.classes), box_loss(deltas, labels, ANCHORS, LossConfig())
    halves = [slice(0, 4), slice(4, 8)]
    shares = [[(labels.classes[h] == 1).sum(), (labels.classes[h] == 0).sum()] for h in halves]
    counts = torch.tensor(shares).float().mean(0)
    pairs = torch.tensor([(labels.weights[h].sum((1, 2, 3)) > 0).sum() for h in halves]).float().mean()
    parts = [
        (
            classification_loss(scores[h], labels.classes[h], lambda _: counts),
            box_loss(
                deltas[h],
                AnchorLabels(labels.classes[h], labels.deltas[h], labels.weights[h]),
                ANCHORS,
                LossConfig(),
                lambda _: pairs,
            ),
        )
        for h in halves
    ]
    for index in range(2):
        assert float(sum(part[index] for part in parts)) / 2 == pytest.approx(float(whole[index]), rel=1e-5)


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    return Tracker("snscf_nano", device="cpu", engine="torch")


@pytest.mark.slow
def test_filters_are_learned_and_respond_as_they_do_online(tracker):
    frame = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    x, y, w, h = 100.0, 70.0, 72.0, 44.0
    target = tracker.init(frame, (x, y, w, h))
    side = context_side(w, h) * SEARCH_SIZE / TEMPLATE_SIZE
    crops = [crop(frame, (x + w / 2 + dx, y + h / 2 + dy), side, SEARCH_SIZE) for dx, dy in ((0, 0), (-13, 9))]
    with torch.no_grad():
        images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float()
        taps = tracker.network.extract(images)
        features = tracker.network.filter_features(taps, tracker.network.reduce(taps))
        size = torch.tensor([[w, h]]) * SEARCH_SIZE / side
        found, sigma = responses([f[:1] for f in features], [f[1:] for f in features], size, TrackerConfig())
        selection = tracker.inference.selector
        whole = np.concatenate([f[1:].numpy() for f in features], 1)
        expected = torch.from_numpy(selection.response(whole, target.filters, np.array([target.gains], np.float32)))
    weighted = sum(r * w for r, w in zip(found, selection.level_weights, strict=True))
    assert float(expected.abs().max()) > 0.01
    assert torch.allclose(weighted, expected, atol=1e-4 * float(expected.abs().max()))

    label = response_label(torch.tensor([[13.0, -9.0, w, h]]) * SEARCH_SIZE / side, torch.tensor([True]), sigma, 31)
    row, column = divmod(int(label.argmax()), 31)
    assert (row - 15, column - 15) == (round(-9 * SEARCH_SIZE / side / 8), round(13 * SEARCH_SIZE / side / 8))


# Element by element on small maps, which are resampled (eq 4); along random directions on maps as they are in training.
@pytest.mark.parametrize(("search_size", "maps", "fast"), [(159, [(1, 4), (2, 3)], False), (255, [(8, 31)] * 3, True)])
@pytest.mark.usefixtures("one_thread")
def test_the_filters_loss_has_the_right_gradient(search_size, maps, fast):
    random = torch.Generator().manual_seed(0)
    shapes = [(2, channels, cells, cells) for channels, cells in maps]
    features = [torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_() for shape in 2 * shapes]
    shares = torch.rand(len(maps), generator=random, dtype=torch.float64).requires_grad_()
    box, positive = torch.tensor([[12.0, -7, 44, 60], [0, 0, 50, 50]]), torch.tensor([True, False])
    nothing = Proposals(torch.zeros(2, 5, 25, 25), torch.zeros(2, 5, 4, 25, 25))
    labels = assign(box, positive, ANCHORS, torch.rand(2, 5, 25, 25, generator=random))
    config = LossConfig(class_weight=0, box_weight=0, ridge_weight=1, level_weight=0.5, ridge_every=1)
    size, filters = torch.tensor([[48.0, 56], [70, 40]]), TrackerConfig(search_size=search_size)

    def loss(shares, *features):
        context, search = features[: len(maps)], features[len(maps) :]
        outputs = Outputs(nothing, [nothing] * len(maps), list(context), list(search), shares)
        return pair_losses(outputs, labels, box, positive, size, ANCHORS, config, filters).total

    assert torch.autograd.gradcheck(loss, (shares, *features), atol=1e-7, rtol=1e-4, fast_mode=fast)


@pytest.mark.parametrize(
    ("given", "used"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_filters_are_learned_in_float32_unless_features_are_more_precise(given, used):
    features = [torch.rand(1, 2, 31, 31).to(given)]
    assert responses(features, features, torch.tensor([[50.0, 60]]), TrackerConfig())[0][0].dtype == used


def test_a_response_of_nothing_costs_one_and_the_label_itself_nothing():
    sigma = torch.tensor([0.8, 1.3, 1.0])
    box = torch.tensor([[20.0, -30, 60, 60], [0, 0, 90, 70], [0, 0, 50, 50]])
    label = response_label(box, torch.tensor([True, True, False]), sigma, 31)
    assert label[2].eq(0).all()
    assert float(ridge_loss(label, label, sigma)) == 0.0
    assert float(ridge_loss(torch.zeros_like(label), label, sigma)) == pytest.approx(2 / 3, rel=5e-3)


def test_best_overlap_is_that_of_the_best_scored_proposal():
    box, positive = Squares().batch(0, 3).box, torch.tensor([True, True, False])
    labels = assign(box, torch.ones(3, dtype=torch.bool), ANCHORS, torch.rand(3, 5, 25, 25))
    scores = torch.zeros(3, 5, 25, 25)
    scores[:, 2, 12, 12] = 1.0
    boxes = decode(labels.deltas, ANCHORS)
    exact = Proposals(scores, torch.where(positive.view(-1, 1, 1, 1, 1), labels.deltas, 0))
    assert float(best_overlap(exact, box, positive, ANCHORS)) == pytest.approx(1.0, abs=1e-3)
    moved = labels.deltas.clone()
    moved[0, 2, 0, 12, 12] += boxes[0, 2, 2, 12, 12] / ANCHORS[2, 2, 12, 12]  # by its whole width
    half = best_overlap(Proposals(scores, moved), box, positive, ANCHORS)
    assert float(half) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("end_to_end", [False, True])
@pytest.mark.parametrize(
    "config", [LossConfig(), LossConfig(box_loss="giou", level_weight=0.5), LossConfig(ridge_weight=0)]
)
def test_gradients_reach_all_that_trains_and_nothing_else(end_to_end, config):
    network = small_network()
    filters = config.ridge_weight > 0
    trained = enter_phase(network, end_to_end, conv5_new=False, train_stem=False, train_filters=filters)
    check_gradients(network, config, trained)
    backbone = {name for name in trained if name.startswith("backbone.")}
    assert bool(backbone) == end_to_end
    assert ("response_weights" in trained) == filters


@pytest.mark.slow
@pytest.mark.parametrize("end_to_end", [False, True])
def test_gradients_of_the_network_with_light_heads(end_to_end):
    torch.manual_seed(0)
    network = create("snscf_nano", 16)
    trained = enter_phase(network, end_to_end, conv5_new=False, train_stem=False, train_filters=True)
    check_gradients(network, LossConfig(), trained, scale=3.0)
    assert not any(name.startswith(("backbone.conv00.", "backbone.conv09.")) for name in trained)
    assert ("backbone.conv10.weight" in trained) == end_to_end


def check_gradients(network: SNSCF, config: LossConfig, trained: list[str], scale: float = 1.0) -> None:
    if scale != 1.0:
        for name, parameter in network.backbone.named_parameters():
            if name.endswith("weight"):
                parameter.data *= scale  # untrained weights give next to nothing behind so many layers
    batch = Squares().batch(0, 2)
    context = batch.template_context[:: config.ridge_every] if config.ridge_weight > 0 else None
    outputs = PairNetwork(network)(batch.template, batch.search, context, config.ridge_every)
    if isinstance(network, SNSCFNano):
        labels = assign_cells(batch.box, batch.positive, network.anchors)
    else:
        labels = assign(batch.box, batch.positive, network.anchors, torch.rand(2, 5, 25, 25))
    size = batch.template_box[:, 2:]
    losses = pair_losses(outputs, labels, batch.box, batch.positive, size, network.anchors, config, TrackerConfig())
    losses.total.backward()
    for name, parameter in network.named_parameters():
        if name in trained:
            assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
            assert math.isfinite(float(parameter.grad.abs().sum())) and bool(parameter.grad.any()), name
        else:
            assert parameter.grad is None, name


def test_the_pair_network_is_the_network():
    network = small_network(5).eval()
    batch = Squares(1).batch(0, 4)
    with torch.no_grad():
        expected = network(batch.template, batch.search)
        outputs = PairNetwork(network)(batch.template, batch.search, batch.template_context[::2], 2)
        reduced = network.reduce(network.extract(batch.template_context[::2]))
        searched = network.reduce(network.extract(batch.search[::2]))
    assert torch.allclose(outputs.fused.scores, expected.scores, atol=1e-5)
    assert torch.allclose(outputs.fused.deltas, expected.deltas, atol=1e-5)
    for level, other in zip(outputs.context + outputs.search, reduced + searched, strict=True):
        assert torch.allclose(level, other, atol=1e-5), "the filters see the crops of the same pairs"


def test_features_of_all_crops_are_normalised_by_the_same_statistics():
    network = small_network(6)
    enter_phase(network, False, conv5_new=False, train_stem=False, train_filters=True)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # keep exactly what this batch had
    batch = Squares(1).batch(0, 4)
    with torch.no_grad():
        training = PairNetwork(network)(batch.template, batch.search, batch.template_context)
        network.eval()
        tracking = PairNetwork(network)(batch.template, batch.search, batch.template_context)
    # Statistics of two passes, each with its own, could not both be in the running ones. (Variances differ by n/(n-1).)
    for level, other in zip(training.search + training.context, tracking.search + tracking.context, strict=True):
        assert torch.allclose(level, other, atol=2e-3)
    assert torch.allclose(training.fused.scores, tracking.fused.scores, atol=2e-2)
