# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Fits the calibrations that turn evidence into probabilities, and reports how well they hold.

    python benchmarks/calibration.py --root DIR --scored DIR --model WEIGHTS --write    # into WEIGHTS' tuning file

``--root`` holds clips in OTB's or GOT-10k's layout. Each clip is tracked unchanged, and again with a stretch in which
the camera looks elsewhere (``benchmarks/trust.py``). Generated scenes are tracked too, from seeds that nothing else
uses. These videos decide the probabilities that a target is present, which control the tracker. The score, which
controls nothing, is also fitted on the clips of ``--scored``. Each kind of each folder counts as much as the others.

Expected calibration errors come from five-fold cross-validation; a video is never on both sides. They are printed
beside the errors of the calibration in use on the same frames.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trust
from scipy.optimize import minimize
from tqdm import tqdm

from snscf_core import MODES, Tracker
from snscf_core.cores import available_cores
from snscf_core.evaluation import jobs, long_term
from snscf_core.files import write_file
from snscf_core.model.checkpoints import find, sha256
from snscf_core.online.association import Match
from snscf_core.online.confidence import Evidence, Logistic
from snscf_core.online.tracker import Target
from snscf_core.online.tuning import tuning_file, tuning_of

FIRST_SEED = 1000
FEATURES = ("classification", "response", "agreement", "motion", "colour", "embedding", "peak")
# Signs of the weights: motion, colour and embedding measure oddity, so they must never speak for a box.
_SIGNS = (1, 1, 1, -1, -1, -1, 1)


class Seen(NamedTuple):
    """Holds the evidence of each match.

    features: N x 7
    overlaps: N, IoU of the box with the true one
    searching: N, whether the target was lost
    """

    features: np.ndarray
    overlaps: np.ndarray
    searching: np.ndarray


class Watching(Tracker):
    """Tracks and remembers each match."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.matches: list[tuple[Evidence, Sequence[float], bool]] = []
        self.on_match = self._remember

    def _remember(self, target: Target, match: Match) -> None:
        lost, looking = target.confidence.searching, target.confidence.looking > 0
        searching = lost and not (looking and not match.elsewhere)
        (w, h), (x, y) = match.size if target.confidence.searching else target.size, match.candidate.centre
        self.matches.append((match.evidence, (x - w / 2, y - h / 2, w, h), searching))


class Watcher(trust.Follower):
    """Follows a video and keeps the evidence."""

    def kind(self) -> type[Watching]:
        return Watching

    def __call__(self, video: trust.Video, advance: Callable[[int], None]) -> Seen:
        self._tracker.matches = matches = []
        _, truth = trust.frames_of(video, Path(self._options["root"]))
        super().__call__(video, advance)
        overlaps = [trust.overlap(box, true) for (_, box, _), true in zip(matches, truth[1:], strict=True)]
        return Seen(
            np.array([evidence.features() for evidence, _, _ in matches]),
            np.nan_to_num(overlaps),
            np.array([searching for _, _, searching in matches]),
        )


def fit(features: np.ndarray, hits: np.ndarray, weights: np.ndarray, used: Sequence[int]) -> tuple[np.ndarray, float]:
    """Fits a slightly regularised logistic regression; returns weights (0 for unused features) and bias."""
    x = np.concatenate([features[:, used], np.ones((len(features), 1))], 1)
    signs = np.where(hits, 1.0, -1.0)
    share = weights / weights.sum()

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        margin = signs * (x @ theta)
        gradient = x.T @ (share * -signs / (1 + np.exp(margin)))
        penalty = np.append(theta[:-1], 0.0)
        return float(share @ np.logaddexp(0, -margin) + 1e-4 * penalty @ penalty), gradient + 2e-4 * penalty

    bounds = [(0, None) if _SIGNS[index] > 0 else (None, 0) for index in used] + [(None, None)]
    theta = minimize(loss, np.zeros(len(bounds)), jac=True, bounds=bounds, method="L-BFGS-B").x
    whole = np.zeros(features.shape[1])
    whole[list(used)] = theta[:-1]
    return whole, float(theta[-1])


def probabilities(features: np.ndarray, fitted: tuple[np.ndarray, float]) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(features @ fitted[0] + fitted[1], -12, 12)))


def auroc(scores: np.ndarray, hits: np.ndarray) -> float:
    """Returns how likely a right box scores higher than a wrong one."""
    if hits.all() or not hits.any():
        return math.nan
    ranks = np.argsort(np.argsort(scores)) + 1
    right = hits.sum()
    return float((ranks[hits].sum() - right * (right + 1) / 2) / (right * (~hits).sum()))


def judged(seen: dict[trust.Video, Seen], searching: bool, more: float, in_use: Logistic) -> tuple[dict[str, Any], str]:
    """Fits a logistic regression to "the overlap is above ``more``".

    Returns the regression, and a text that compares it with the one in use.
    """
    used = (0, 4, 5) if searching else range(len(FEATURES))
    videos = [video for video, one in seen.items() if (one.searching == searching).any()]
    parts = [seen[video].searching == searching for video in videos]

    def each(value: Callable[[trust.Video], Any]) -> np.ndarray:
        """Numbers a value of each video, repeated for each of its frames."""
        values = [value(video) for video in videos]
        order = sorted(set(values))
        return np.concatenate([np.full(part.sum(), order.index(one)) for part, one in zip(parts, values, strict=True)])

    features = np.concatenate([seen[video].features[part] for video, part in zip(videos, parts, strict=True)])
    hits = np.concatenate([seen[video].overlaps[part] for video, part in zip(videos, parts, strict=True)]) > more
    kinds = each(lambda video: (video.kind, Path(video.name).parent))
    weights = 1 / np.bincount(kinds)[kinds]
    folds = each(lambda video: (video.kind == "scenes", video.name)) % 5
    held_out = np.zeros(len(hits))
    for fold in range(5):
        here = folds == fold
        if here.any():
            held_out[here] = probabilities(features[here], fit(features[~here], hits[~here], weights[~here], used))
    fitted = fit(features, hits, weights, used)
    alone = ", ".join(
        f"{name} {auroc(values * sign, hits):.3f}"
        for name, values, sign in zip(FEATURES, features.T, _SIGNS, strict=True)
        if np.ptp(values) > 0
    )
    errors = ", ".join(
        f"{long_term.reliability(held_out[folder == one], hits[folder == one]).error:.3f}"
        for folder in [each(lambda video: Path(video.name).parent)]
        for one in np.unique(folder)
    )
    used_now = probabilities(features, (np.array(in_use.weights), in_use.bias))
    return {"weights": [round(float(value), 3) for value in fitted[0]], "bias": round(fitted[1], 3)}, (
        f"{len(hits)} frames of {len(videos)} videos, {hits.mean():.0%} so; ECE "
        f"{long_term.reliability(held_out, hits).error:.3f} (by folder {errors}), AUROC {auroc(held_out, hits):.3f}; "
        f"in use: ECE {long_term.reliability(used_now, hits).error:.3f}, AUROC {auroc(used_now, hits):.3f}; "
        f"each alone: {alone}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of clips")
    parser.add_argument("--scored", type=Path, help="folder of clips for the score only")
    parser.add_argument("--kinds", nargs="*", default=["sequences", "cuts"], help="how clips are tracked")
    parser.add_argument("--seeds", type=int, default=20, help="number of scenes")
    parser.add_argument("--modes", nargs="*", default=["snscf"], choices=MODES)
    parser.add_argument("--model", default="snscf_nano")
    parser.add_argument("--engine", default="torch")
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], metavar="NAME=VALUE", help="settings of the TrackerConfig"
    )
    parser.add_argument("--jobs", type=int, default=available_cores(), help="processes")
    parser.add_argument("--write", action="store_true", help="write the result into the tuning file of the weights")
    parser.add_argument("--keep", type=Path, help="folder for the evidence of each video")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    folders = [folder.resolve() for folder in (options.root, options.scored) if folder is not None]
    videos = [
        trust.Video(kind, str(folder / name))
        for folder in folders
        for kind in options.kinds
        for name in trust.names_in(folder)
    ]
    videos += [trust.Video("scenes", str(FIRST_SEED + seed)) for seed in range(options.seeds)]
    in_use = tuning_of(find(options.model)).calibrations
    fitted: dict[str, Any] = {}
    for mode in options.modes:
        settings = {"model": options.model, "mode": mode, "engine": options.engine, "set": options.set}
        settings["root"] = ""
        seen = {}
        for done in tqdm(jobs.run(videos, functools.partial(Watcher, settings), options.jobs), total=len(videos)):
            if isinstance(done.result, jobs.Failure):
                raise RuntimeError(f"{done.job}: {done.result.error}\n{done.result.details}")
            seen[done.job] = done.result
        seen = {video: seen[video] for video in videos}
        if options.keep is not None:
            options.keep.mkdir(parents=True, exist_ok=True)
            for video, one in seen.items():
                np.savez(options.keep / f"{mode}_{video.kind}_{Path(video.name).name}.npz", **one._asdict())
        # Presence decides the tracker's behaviour, so it is fitted only on videos that no figure is reported on.
        deciding = {video: one for video, one in seen.items() if Path(video.name).parent != folders[-1]}
        deciding = deciding if options.scored is not None else seen
        for searching in (False, True):
            key = "searching" if searching else mode
            for name, more, ones in (("accuracy", 0.5, seen), ("presence", 0.5 if searching else 0.1, deciding)):
                logistic, words = judged(ones, searching, more, getattr(in_use[key], name))
                fitted.setdefault(key, {})[name] = logistic
                print(f"{key}, {name}: {logistic}\n    {words}", flush=True)
    if options.write:
        write(find(options.model), fitted)
    return 0


def write(files: tuple[Path, ...], calibrations: dict[str, Any]) -> None:
    """Writes calibrations into the weights' tuning file. Settings and other calibrations for the same weights stay."""
    file = tuning_file(files)
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    digests = [sha256(one) for one in files]
    if content.get("weights") != digests:
        content = {"weights": digests, "config": content.get("config", {}), "calibrations": {}}
    content["calibrations"].update(calibrations)
    write_file(file, json.dumps(content, indent=1) + "\n")
    print(f"written to {file}")


if __name__ == "__main__":
    sys.exit(main())
