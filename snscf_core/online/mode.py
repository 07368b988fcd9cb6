# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Defines the tracker's modes: which parts of the method each of them uses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    """The parts of the method that one mode uses; made by `mode_named`.

    name: one of ``MODES``.
    uses_proposals: whether the region-proposal heads propose boxes; else the peak of the filters' response is the box.
    uses_filters: whether the response of the correlation filters is used.
    adapts: whether the filters learn from the frames in which the target is tracked (eq 8).
    ranks_by_response: whether proposals are ranked by the response at their centres alone, as in the paper (eq 9).
    corrects_boxes: whether that response corrects the centres of proposals and the size of the target.
    renews_template: whether the heads' template takes a share of what the target looks like now.
    response_share: share of that response in a proposal's rank, from 0 to 1; None takes it from the configuration.
    """

    name: str
    uses_proposals: bool = True
    uses_filters: bool = True
    adapts: bool = True
    ranks_by_response: bool = False
    corrects_boxes: bool = False
    renews_template: bool = False
    response_share: float | None = None


_ALL = {
    mode.name: mode
    for mode in (
        Mode("snscf", corrects_boxes=True, renews_template=True),
        Mode("paper", ranks_by_response=True),
        Mode("siamese", uses_filters=False, adapts=False),
        Mode("correlation_filter", uses_proposals=False),
        Mode("naive_fusion", adapts=False, response_share=0.5),
    )
}
MODES = tuple(_ALL)


def mode_named(name: str, *, trained: bool, source: object = "the model") -> Mode:
    """Returns a mode by name; ``auto`` is ``snscf`` for weights with trained heads, else ``correlation_filter``.

    source: names the weights in messages.

    Raises ValueError for an unknown name, and for a mode that needs trained heads if the weights have none.
    """
    if name == "auto":
        name = "snscf" if trained else "correlation_filter"
    if name not in _ALL:
        raise ValueError(f"unknown mode {name!r}; there are auto, {', '.join(MODES)}")
    if _ALL[name].uses_proposals and not trained:
        raise ValueError(
            f"mode {name!r} needs trained heads, and {source} holds only an ImageNet backbone: "
            "use mode 'correlation_filter' or other weights"
        )
    return _ALL[name]
