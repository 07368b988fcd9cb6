# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes Tables 1 to 4 and Figure 4 of the paper (Sensors 2020), our figures beside the printed ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..results import Evaluation, Table, TrackerResult
from ..vot import TagScores, VotScores

MODES = ("snscf", "correlation_filter", "siamese", "naive_fusion")

# Table 1: OTB-2015. DP at 20 pixels and OS at 0.5 in per cent, CLE in pixels, frames per second.
_TABLE_1 = {
    "SNS-CF": ("84.0", "65.7", "20.2", "35.1"),
    "CF2": ("83.7", "65.5", "22.8", "10.4"),
    "KCF": ("69.2", "54.8", "45.0", "243"),
    "Struck": ("63.5", "51.6", "47.1", "9.84"),
    "DLT": ("52.6", "43.0", "66.5", "8.43"),
    "STC": ("50.7", "31.4", "86.2", "653"),
    "TLD": ("59.2", "49.7", "60.0", "23.3"),
    "MIL": ("43.9", "33.1", "72.1", "28.0"),
    "CT": ("35.9", "27.8", "80.1", "44.4"),
}
# Table 2: VOT-2018. EAO, accuracy, robustness, AO.
_TABLE_2 = {
    "SNS-CF": ("0.423", "0.587", "0.223", "0.487"),
    "SiamRPN++": ("0.414", "0.600", "0.234", "0.498"),
    "LADCF": ("0.389", "0.503", "0.159", "0.421"),
    "MFT": ("0.385", "0.505", "0.140", "0.393"),
    "SiamRPN": ("0.383", "0.586", "0.276", "0.472"),
    "UPDT": ("0.378", "0.536", "0.184", "0.454"),
    "SA_Siam_R": ("0.337", "0.566", "0.258", "0.429"),
    "DRT": ("0.356", "0.519", "0.201", "0.426"),
}
# Table 3: DP, OS, CLE; EAO, accuracy, robustness; speed; AO. "6.00" is copied as printed.
_TABLE_3 = {
    "snscf": ("84.0", "65.7", "20.2", "0.423", "0.587", "0.223", "35.1", "0.487"),
    "correlation_filter": ("83.7", "65.5", "22.8", "-", "-", "-", "10.4", "-"),
    "siamese": ("-", "-", "-", "0.414", "6.00", "0.234", "-", "0.489"),
    "naive_fusion": ("83.3", "65.0", "21.3", "0.420", "0.557", "0.228", "34.2", "0.393"),
}
_OTB = ("DP rate (%)", "OS rate (%)", "CLE (pixel)", "Speed (fps)")
_VOT = ("EAO", "Accuracy", "Robustness", "AO")
# Table 4: robustness. VOT-2018 tags frames with two of the table's four scenarios; the others have no annotation.
_TABLE_4 = {
    "Background clutter": (None, ("0.228", "0.225", "0.230")),
    "Intra-class variations": (None, ("0.198", "0.302", "0.227")),
    "Occlusions": ("occlusion", ("0.312", "0.226", "0.232")),
    "Illumination variations": ("illum_change", ("0.154", "0.159", "0.247")),
    "Average robustness": ("", ("0.223", "0.228", "0.234")),
}
_NONE = "-"


@dataclass(frozen=True)
class VotResult:
    """Holds one tracker's results on a VOT data set: with resets, and AO without. robustness: failures per frame."""

    scores: VotScores
    tags: Mapping[str, TagScores]
    average_overlap: float


@dataclass(frozen=True)
class Measured:
    """Holds our figures by mode, for the available data. otb, lasot: None without the data set."""

    otb: Evaluation | None = None
    lasot: Evaluation | None = None
    vot: Mapping[str, VotResult] | None = None  # by mode
    vot_speed: Mapping[str, float] | None = None
    coverage: Sequence[str] = ()  # a sentence for each data set


def tables(measured: Measured) -> list[Table]:
    """Makes Tables 1 to 4 and Figure 4. A dash stands for a figure that is not printed or whose data is missing."""
    note = " ".join(measured.coverage)
    otb, lasot, vot = _by_mode(measured.otb), _by_mode(measured.lasot), measured.vot or {}
    speeds = measured.vot_speed or {}
    table_3 = [
        (f"{mode}, {whose}", *cells)
        for mode in MODES
        for whose, cells in (
            ("measured", _table_3_cells(otb.get(mode), vot.get(mode), speeds.get(mode))),
            ("paper", _TABLE_3[mode]),
        )
    ]
    table_4 = [
        (
            f"{mode}, {whose}",
            *(
                printed[row] if whose == "paper" else _robustness(vot.get(mode), tag)
                for tag, printed in _TABLE_4.values()
            ),
        )
        for row, mode in enumerate(MODES[:3])
        for whose in ("measured", "paper")
    ]
    untagged = "VOT-2018 has no tag for background clutter and intra-class variations."
    unprinted = "The paper prints this figure without numbers; compare its plots with those of the report on LaSOT."
    return [
        Table("Table 1: OTB-2015", ("tracker", *_OTB), _beside(_otb_cells(otb.get("snscf")), _TABLE_1), note),
        Table("Table 2: VOT-2018", ("tracker", *_VOT), _beside(_vot_cells(vot.get("snscf")), _TABLE_2), note),
        Table("Table 3: fusion", ("mode", *_OTB[:3], *_VOT[:3], _OTB[3], _VOT[3]), tuple(table_3), note),
        Table("Table 4: robustness, VOT-2018", ("mode", *_TABLE_4), tuple(table_4), f"{untagged} {note}".strip()),
        Table(
            "Figure 4: LaSOT",
            ("mode", "precision at 20 pixels", "overlap success at 0.5", "success AUC"),
            tuple((mode, *_lasot_cells(lasot.get(mode))) for mode in MODES),
            f"{unprinted} {note}".strip(),
        ),
    ]


def _beside(ours: tuple[str, ...], printed: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    return (("SNS-CF, measured", *ours), *((f"{name}, paper", *cells) for name, cells in printed.items()))


def _lasot_cells(tracker: TrackerResult | None) -> tuple[str, ...]:
    mean = tracker.mean() if tracker else None
    if mean is None:
        return (_NONE,) * 3
    return f"{mean.precision:.3f}", f"{mean.overlap_success:.3f}", f"{mean.success_auc:.3f}"


def _by_mode(evaluation: Evaluation | None) -> dict[str, TrackerResult]:
    if evaluation is None:
        return {}
    return {str(tracker.description.get("mode", tracker.name)): tracker for tracker in evaluation.trackers}


def _otb_cells(tracker: TrackerResult | None) -> tuple[str, ...]:
    mean = tracker.mean() if tracker else None
    if tracker is None or mean is None:
        return (_NONE,) * 4
    speed = _NONE if tracker.fps != tracker.fps else f"{tracker.fps:.1f}"
    return f"{100 * mean.precision:.1f}", f"{100 * mean.overlap_success:.1f}", f"{mean.centre_error:.1f}", speed


def _vot_cells(result: VotResult | None) -> tuple[str, ...]:
    if result is None:
        return (_NONE,) * 4
    scores = result.scores
    return tuple(
        _NONE if value != value else f"{value:.3f}"
        for value in (scores.eao, scores.accuracy, 100 * scores.robustness, result.average_overlap)
    )


def _table_3_cells(otb: TrackerResult | None, vot: VotResult | None, vot_speed: float | None) -> tuple[str, ...]:
    precision, overlap, error, speed = _otb_cells(otb)
    eao, accuracy, robustness, average = _vot_cells(vot)
    if speed == _NONE and vot_speed is not None and vot_speed == vot_speed:
        speed = f"{vot_speed:.1f}"
    return precision, overlap, error, eao, accuracy, robustness, speed, average


def _robustness(result: VotResult | None, tag: str | None) -> str:
    if result is None or tag is None:
        return _NONE
    if not tag:
        return f"{100 * result.scores.robustness:.3f}"
    return f"{100 * result.tags[tag].robustness:.3f}" if tag in result.tags else _NONE
