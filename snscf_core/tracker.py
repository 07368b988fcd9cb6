"""The tracker: what happens from frame to frame. All that changes lives in a ``Target``, none in the ``Tracker``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from . import acf
from .backbones import STRIDE
from .boxes import check_box
from .checkpoints import load
from .confidence import Confidence, ConfidenceConfig, TrackState
from .crops import SEARCH_SIZE, TEMPLATE_SIZE, Frame, check_frame, context_side, crop
from .network import LEVELS
from .ssf import spatially_semantic_features

MODES = ("snscf", "paper", "siamese", "correlation_filter", "naive_fusion")
ENGINES = ("torch",)
SEARCH_CELLS = 31
_MOST_CORRECTION = 1.5  # of a proposal's width and height, before the exponent

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class TrackerConfig:
    """Hyper-parameters of the online tracker. Lengths are relative to the target, so they hold for any resolution."""

    grid: int = SEARCH_CELLS  # cells a side of the spatially semantic features
    level_weights: tuple[float, ...] = (0.3, 1.0, 0.0)  # of the responses, conv3 to conv5, without trained weights
    learning_rate: float = 0.01  # of the filters' running averages
    regularisation: float = 1e-4  # lambda of eq 7, relative to the mean power of the features
    label_sigma: float = 0.1  # of eq 6, relative to the target's size
    learning_window: float = 0.7  # sigma of the Gaussian window that learning sees, relative to width and height
    scale_steps: tuple[float, ...] = (0.96, 1.0, 1.04)  # scales searched around the last one
    scale_change_penalty: float = 0.995  # factor on the peak of a scale other than 1
    anchor_penalty: float = 0.08  # SiamRPN's penalty on changes of size and ratio
    window_influence: float = 0.5  # SiamRPN's cosine window on the proposals' scores
    merge_overlap: float = 0.8  # proposals that overlap the best one by more are averaged into it; 1 takes it alone
    size_rate: float = 0.2  # how fast the size follows the proposal
    size_correction: float = 0.5  # exponent on (given size / proposed size) of the first frame, a factor on later ones
    response_share: float = 0.4  # of the filters in the fused score of mode snscf
    min_side: float = 4.0  # pixels; a target does not shrink below
    confidence: ConfidenceConfig = field(default_factory=ConfidenceConfig)  # of modes correlation_filter and paper
    proposal_confidence: ConfidenceConfig = field(  # of the others: on the chosen proposal's classification score
        default_factory=lambda: ConfidenceConfig(0.7, 0.3, slope=8.0)
    )


@dataclass(frozen=True)
class Track:
    """Where a target is in one frame.

    box: (x, y, w, h), top-left corner, in pixels of the frame. score: in [0, 1]. peak_quality: peak-to-sidelobe ratio
    of the map that decided, >= 0: the filters' response, or the best score of each cell in modes that use scores (there
    ``score`` and ``state`` follow the classification score of the chosen proposal instead).
    """

    box: Box
    score: float
    state: TrackState
    peak_quality: float


@dataclass
class Target:
    """All that is remembered of one target; made by ``Tracker.init``, changed by ``Tracker.update``.

    centre and size: pixels of a frame of ``frame_size`` (width, height). filters: one per level. gains: factor per
    level that brings its features to unit mean power. template: reduced features per level, None without trained heads.
    size_factors: on width and height of proposals, so that they mean what the given box does.
    """

    centre: tuple[float, float]
    size: tuple[float, float]
    frame_size: tuple[int, int]
    filters: list[acf.CorrelationFilter]
    gains: list[float]
    template: list[Tensor] | None
    confidence: Confidence
    size_factors: tuple[float, float] = (1.0, 1.0)

    @property
    def box(self) -> Box:
        """(x, y, w, h), top-left corner."""
        (cx, cy), (w, h) = self.centre, self.size
        return (cx - w / 2, cy - h / 2, w, h)

    def save(self, path: str | Path) -> None:
        """Writes the target to a safetensors file; ``load`` gives an equal one, on any machine."""
        tensors: dict[str, Tensor] = {}
        for level, filter_ in enumerate(self.filters):
            tensors[f"filters.{level}.numerator"] = torch.view_as_real(filter_.numerator).contiguous().cpu()
            tensors[f"filters.{level}.denominator"] = filter_.denominator.contiguous().cpu()
        for level, features in enumerate(self.template or ()):
            tensors[f"template.{level}"] = features.contiguous().cpu()
        values = {
            "centre": self.centre,
            "size": self.size,
            "frame_size": self.frame_size,
            "gains": self.gains,
            "regularisation": [filter_.regularisation for filter_ in self.filters],
            "confidence": asdict(self.confidence),
            "size_factors": self.size_factors,
        }
        save_file(tensors, str(path), metadata={"target": json.dumps(values)})

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> Target:
        """A target written by ``save``. Raises ValueError if the file is none."""
        try:
            with safe_open(str(path), framework="pt", device=str(device)) as opened:
                values = json.loads((opened.metadata() or {})["target"])
                tensors = {key: opened.get_tensor(key) for key in opened.keys()}
            filters = [
                acf.CorrelationFilter(
                    torch.view_as_complex(tensors[f"filters.{level}.numerator"]),
                    tensors[f"filters.{level}.denominator"],
                    regularisation,
                )
                for level, regularisation in enumerate(values["regularisation"])
            ]
            confidence = Confidence(**values["confidence"])
            confidence.state = TrackState(confidence.state)
            template = [tensors[key] for key in sorted(tensors) if key.startswith("template.")]
            return cls(
                tuple(values["centre"]),
                tuple(values["size"]),
                tuple(values["frame_size"]),
                filters,
                values["gains"],
                template or None,
                confidence,
                tuple(values.get("size_factors", (1.0, 1.0))),
            )
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no saved target: {error}") from error


class _Choice(NamedTuple):
    """A proposal. offset of the centre and size: frame pixels. rate: how far the size follows. certainty: what the
    state is decided by. quality: peak-to-sidelobe ratio of the map that decided."""

    offset: tuple[float, float]
    size: tuple[float, float]
    rate: float
    certainty: float
    quality: float


class Tracker:
    """Follows any number of targets with one network.

    model: a name (``snscf_mobilenetv2``, ``snscf_r50``) or the path of weights. device: ``auto`` (a GPU if there is
    one), or what torch understands (``cpu``, ``cuda:0``). mode: ``auto`` (``snscf`` with trained heads, else
    ``correlation_filter``) or one of ``MODES``. engine: ``auto`` or one of ``ENGINES``.

    Raises WeightsError if the weights can't be used, ValueError for an unknown mode, device or engine, or for a mode
    that needs trained heads when there are none. Use one tracker from one thread at a time.
    """

    def __init__(
        self,
        model: str | Path = "snscf_mobilenetv2",
        *,
        device: str = "auto",
        mode: str = "auto",
        engine: str = "auto",
        config: TrackerConfig | None = None,
    ) -> None:
        if mode != "auto" and mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}; there are auto, {', '.join(MODES)}")
        if engine != "auto" and engine not in ENGINES:
            raise ValueError(f"unknown engine {engine!r}; there are auto, {', '.join(ENGINES)}")
        self.engine = ENGINES[0]
        self.device = _device(device)
        network, self.weights = load(model)
        if mode == "auto":
            mode = "snscf" if self.weights.trained else "correlation_filter"
        if mode != "correlation_filter" and not self.weights.trained:
            raise ValueError(
                f"mode {mode!r} needs trained heads, and {self.weights.files[0]} holds only an ImageNet backbone: "
                "use mode 'correlation_filter' or other weights"
            )
        self.mode = mode
        self.model = self.weights.model
        self.config = config or TrackerConfig()
        self.network = network.to(self.device)
        if self.device.type == "cpu":
            self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weighted = tuple(level for level in self.weights.levels if self.config.level_weights[level] > 0)
        self._levels = LEVELS if self.weights.trained else weighted
        self._window = acf.hann_window(self.config.grid).to(self.device)
        self._level_weights = self._response_weights()

    def warm_up(self) -> None:
        """Runs everything once, so that the first real frame is not slower than the others."""
        frame = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
        target = self.init(frame, (130, 90, 60, 60))
        for _ in range(2):
            self.update(frame, target)

    def init(self, frame: Frame, box: npt.ArrayLike) -> Target:
        """Starts following what is in the box.

        frame: H x W x 3 uint8 BGR. box: (x, y, w, h), top-left corner, pixels, may be fractional and may reach over
        the frame's border. Raises ValueError, naming the number that is wrong (see ``check_box``, ``check_frame``).
        """
        frame = check_frame(frame)
        height, width = frame.shape[:2]
        x, y, w, h = check_box(box, width, height)
        centre, size = (x + w / 2, y + h / 2), (w, h)
        with torch.inference_mode():
            side = context_side(w, h)
            taps = self._extract([crop(frame, centre, side * SEARCH_SIZE / TEMPLATE_SIZE, SEARCH_SIZE)])
            features = self._filter_features(taps)
            gains = [float(level.square().sum(1).mean().clamp(min=1e-12).rsqrt()) for level in features]
            template = None
            if self._uses_proposals:
                exemplar = self._extract([crop(frame, centre, side, TEMPLATE_SIZE)])
                template = self.network.template(self.network.reduce(exemplar))
            target = Target(centre, size, (width, height), [], gains, template, Confidence())
            target.filters = self._learn(target, features)
            if self._uses_proposals:
                target.size_factors = self._size_factors(target, taps, features)
        return target

    @overload
    def update(self, frame: Frame, targets: Target) -> Track: ...

    @overload
    def update(self, frame: Frame, targets: Sequence[Target]) -> list[Track]: ...

    def update(self, frame: Frame, targets: Target | Sequence[Target]) -> Track | list[Track]:
        """Finds the target, or all of several in one forward pass, in the next frame, and changes them accordingly.

        If the frame's size differs from the one before, the target is taken to have been scaled with the picture.
        Raises ValueError for a frame that can't be used; then no target has changed.
        """
        frame = check_frame(frame)
        several = [targets] if isinstance(targets, Target) else list(targets)
        if not several:
            return []
        for target in several:
            _rescale(target, frame.shape[1], frame.shape[0])
        with torch.inference_mode():
            sides = [context_side(*target.size) * SEARCH_SIZE / TEMPLATE_SIZE for target in several]
            crops = [crop(frame, t.centre, side, SEARCH_SIZE) for t, side in zip(several, sides, strict=True)]
            taps = self._extract(crops)
            tracks = []
            for index, (target, side) in enumerate(zip(several, sides, strict=True)):
                own = [tap[index : index + 1] for tap in taps]
                tracks.append(self._follow(target, own, side))
        return tracks[0] if isinstance(targets, Target) else tracks

    # One target, one frame ------------------------------------------------------------------------------------------

    def _follow(self, target: Target, taps: list[Tensor], side: float) -> Track:
        features = self._filter_features(taps)
        if self._uses_proposals:
            choice = self._choose(target, taps, features, side)
            offset, quality, certainty = choice.offset, choice.quality, choice.certainty
            (w, h), (fw, fh) = target.size, target.size_factors
            size = (w + choice.rate * (choice.size[0] * fw - w), h + choice.rate * (choice.size[1] * fh - h))
        else:
            offset, factor, quality = self._best_scale(target, features, side)
            size = (target.size[0] * factor, target.size[1] * factor)
            certainty = quality
        config = self.config.proposal_confidence if self._uses_scores else self.config.confidence
        score, state = target.confidence.observe(certainty, config)

        width, height = target.frame_size
        old_size = target.size
        if state != TrackState.LOST:
            target.centre = (
                min(max(target.centre[0] + offset[0], 0.0), float(width)),
                min(max(target.centre[1] + offset[1], 0.0), float(height)),
            )
        if state == TrackState.TRACKED:
            target.size = _limited(size, old_size, self.config.min_side, width, height)
            if self.mode not in ("siamese", "naive_fusion"):
                zoom = context_side(*target.size) / context_side(*old_size)
                self._adapt(target, features, offset, zoom, side)
        return Track(target.box, score, state, quality)

    def _best_scale(
        self, target: Target, features: list[Tensor], side: float
    ) -> tuple[tuple[float, float], float, float]:
        """Mode correlation_filter: the offset (frame pixels), the factor on the size, and the peak quality."""
        steps = self.config.scale_steps
        pyramid = [_resample(level.expand(len(steps), -1, -1, -1), list(steps)) for level in features]
        responses = self._respond(target, pyramid)
        peaks = responses.flatten(1).max(1).values.cpu().numpy()
        penalised = [
            p if step == 1 else p * self.config.scale_change_penalty for p, step in zip(peaks, steps, strict=True)
        ]
        best = int(np.argmax(penalised))
        quality = float(acf.peak_to_sidelobe_ratio(responses[best : best + 1]))
        row, column = _sub_cell_peak(responses[best, 0].cpu().numpy())
        pixels = side * steps[best] / self.config.grid
        return (column * pixels, row * pixels), steps[best], quality

    def _choose(self, target: Target, taps: list[Tensor], features: list[Tensor], side: float) -> _Choice:
        """Modes with heads: the best proposal."""
        assert target.template is not None
        proposals = self.network.propose(target.template, self.network.reduce(taps))
        boxes = self.network.boxes(proposals)[0].permute(1, 0, 2, 3).flatten(1)  # 4 x M, crop pixels
        scores = proposals.scores[0].sigmoid().flatten()  # M
        ranking = scores
        cells = proposals.scores.shape[-1]
        anchors = proposals.scores.shape[1]
        quality_map = proposals.scores.sigmoid().amax(1, keepdim=True)
        if self.mode != "siamese":
            response = self._respond(target, features)
            # Eq 9's response is cross-correlated with the boxes of eq 3: read off at the proposals' centres.
            at = (boxes[:2] * 2 / (STRIDE * SEARCH_CELLS)).T[None, None]
            sampled = F.grid_sample(response, at, align_corners=False, padding_mode="zeros").flatten().clamp(0, 1)
            if self.mode == "paper":
                ranking, quality_map = sampled, response
            else:
                share = 0.5 if self.mode == "naive_fusion" else self.config.response_share
                ranking = (1 - share) * ranking + share * sampled
                quality_map = ranking.view(1, anchors, cells, cells).amax(1, keepdim=True)
        quality = float(acf.peak_to_sidelobe_ratio(quality_map))

        scale = side / SEARCH_SIZE
        # The size that would be proposed for a target that has not changed.
        w, h = (side / (factor * scale) for side, factor in zip(target.size, target.size_factors, strict=True))
        extent = ((boxes[2] + (boxes[2] + boxes[3]) / 2) * (boxes[3] + (boxes[2] + boxes[3]) / 2)).sqrt()
        change = _at_least_one(extent / context_side(w, h)) * _at_least_one((boxes[2] / boxes[3]) / (w / h))
        penalty = torch.exp(-(change - 1) * self.config.anchor_penalty)
        window = acf.hann_window(cells).to(ranking.device).flatten().repeat(anchors)
        influence = self.config.window_influence
        best = int((penalty * ranking * (1 - influence) + window * influence).argmax())
        weights = penalty * (ranking if self.mode == "paper" else scores)
        cx, cy, bw, bh = (float(v) * scale for v in _merged(boxes, weights.square(), best, self.config.merge_overlap))
        certainty = float(scores[best]) if self._uses_scores else quality
        rate = float(penalty[best] * ranking[best]) * self.config.size_rate
        return _Choice((cx, cy), (bw, bh), rate, certainty, quality)

    def _size_factors(self, target: Target, taps: list[Tensor], features: list[Tensor]) -> tuple[float, float]:
        """What brings the size that is proposed on the first frame towards the given one.

        Boxes are drawn tightly or loosely, with or without the legs; the heads know only what they were trained on.
        """
        side = context_side(*target.size) * SEARCH_SIZE / TEMPLATE_SIZE
        proposed = self._choose(target, taps, features, side).size
        w, h = (
            min(max(given / size, 1 / _MOST_CORRECTION), _MOST_CORRECTION) ** self.config.size_correction
            for given, size in zip(target.size, proposed, strict=True)
        )
        return w, h

    # Filters --------------------------------------------------------------------------------------------------------

    def _learn(self, target: Target, features: list[Tensor]) -> list[acf.CorrelationFilter]:
        """Filters for features centred on the target (eq 8).

        Besides the Hann window, learning sees the features through a Gaussian window of the target's shape: a filter
        that learns all of the search region follows a still background as soon as the target moves before it.
        """
        grid = self.config.grid
        cells_per_pixel = grid / (context_side(*target.size) * SEARCH_SIZE / TEMPLATE_SIZE)
        w, h = (side * cells_per_pixel for side in target.size)
        sigma = self.config.label_sigma * math.sqrt(w * h)
        label = acf.gaussian_label(grid, acf.fft_size(grid), torch.full((1, 2), sigma, device=self.device))
        extent = torch.tensor([[h, w]], device=self.device) * self.config.learning_window
        window = acf.gaussian_label(grid, grid, extent)
        regularisation = self.config.regularisation * grid**2
        return [acf.learn(level * window, label, regularisation) for level in self._windowed(target, features)]

    def _adapt(
        self, target: Target, features: list[Tensor], offset: tuple[float, float], zoom: float, side: float
    ) -> None:
        """Moves the filters towards what they would be on the target as found.

        The search features are resampled to be centred there, instead of a second pass through the network.
        """
        shift = (2 * offset[0] / side, 2 * offset[1] / side)
        centred = [_resample(level, [zoom], shift) for level in features]
        new = self._learn(target, centred)
        rate = self.config.learning_rate
        target.filters = [old.updated(fresh, rate) for old, fresh in zip(target.filters, new, strict=True)]

    def _respond(self, target: Target, features: list[Tensor]) -> Tensor:
        """The weighted sum of the levels' responses (eq 9), N x 1 x grid x grid."""
        windowed = self._windowed(target, features)
        responses = [acf.respond(f, level) for f, level in zip(target.filters, windowed, strict=True)]
        return torch.stack([r * w for r, w in zip(responses, self._level_weights, strict=True)]).sum(0)

    def _windowed(self, target: Target, features: list[Tensor]) -> list[Tensor]:
        return [level * (self._window * gain) for level, gain in zip(features, target.gains, strict=True)]

    # Network --------------------------------------------------------------------------------------------------------

    @property
    def _uses_proposals(self) -> bool:
        return self.mode != "correlation_filter"

    @property
    def _uses_scores(self) -> bool:
        return self.mode not in ("correlation_filter", "paper")

    def _extract(self, crops: list[Frame]) -> list[Tensor]:
        images = torch.from_numpy(np.stack(crops)).to(self.device).permute(0, 3, 1, 2)
        # Crops are interleaved, so this is already channels-last.
        return self.network.extract(images.float(), self._levels)

    def _filter_features(self, taps: list[Tensor]) -> list[Tensor]:
        """What the filters work on: the reduced features with trained weights, else the backbone's taps."""
        levels = self.network.reduce(taps) if self.weights.trained else taps
        return spatially_semantic_features([level.contiguous() for level in levels], self.config.grid)

    def _response_weights(self) -> list[float]:
        if self.weights.trained:
            return [float(w) for w in self.network.response_weights.softmax(0)]
        weights = [self.config.level_weights[level] for level in self._levels]
        return [w / sum(weights) for w in weights]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"device {name!r} is not there: torch finds {torch.cuda.device_count()} GPUs")
    return device


def _rescale(target: Target, width: int, height: int) -> None:
    if target.frame_size == (width, height):
        return
    sx, sy = width / target.frame_size[0], height / target.frame_size[1]
    target.centre = (target.centre[0] * sx, target.centre[1] * sy)
    target.size = (target.size[0] * sx, target.size[1] * sy)
    target.frame_size = (width, height)


def _limited(
    size: tuple[float, float], old: tuple[float, float], min_side: float, width: int, height: int
) -> tuple[float, float]:
    """The new size, unless it leaves what can be tracked and the old one was nearer to it."""
    too_small = min(size) < min_side and min(size) < min(old)
    too_large = (size[0] > 1.5 * width or size[1] > 1.5 * height) and size[0] * size[1] > old[0] * old[1]
    return old if too_small or too_large else size


def _resample(features: Tensor, zooms: list[float], shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Features as if the crop's side had been ``zoom`` times as long and its centre moved by ``shift``.

    features: N x C x G x G with one zoom per map. shift: (x, y) in halves of the crop's side.
    """
    theta = torch.zeros(len(zooms), 2, 3, dtype=features.dtype, device=features.device)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.tensor(zooms, dtype=features.dtype, device=features.device)
    theta[:, 0, 2], theta[:, 1, 2] = shift
    grid = F.affine_grid(theta, [len(zooms), 1, *features.shape[-2:]], align_corners=False)
    return F.grid_sample(features, grid, padding_mode="border", align_corners=False)


def _sub_cell_peak(response: npt.NDArray[np.float32]) -> tuple[float, float]:
    """(row, column) of the peak relative to the middle cell, refined by a parabola through its neighbours."""
    row, column = (int(i) for i in np.unravel_index(int(response.argmax()), response.shape))

    def vertex(before: float, at: float, after: float) -> float:
        curvature = before - 2 * at + after
        return 0.5 * (before - after) / curvature if curvature < 0 else 0.0

    rows, columns = response.shape
    up = vertex(*response[row - 1 : row + 2, column]) if 0 < row < rows - 1 else 0.0
    across = vertex(*response[row, column - 1 : column + 2]) if 0 < column < columns - 1 else 0.0
    return float(row + up - (rows - 1) / 2), float(column + across - (columns - 1) / 2)


def _merged(boxes: Tensor, weights: Tensor, best: int, overlap: float) -> Tensor:
    """The weighted mean of the boxes (4 x M: cx, cy, w, h) whose IoU with the best one is larger than ``overlap``."""
    low, high = boxes[:2] - boxes[2:] / 2, boxes[:2] + boxes[2:] / 2
    sides = torch.minimum(high, high[:, best, None]) - torch.maximum(low, low[:, best, None])
    intersection = sides.clamp(min=0).prod(0)
    areas = boxes[2:].prod(0)
    near = intersection > overlap * (areas + areas[best] - intersection)
    near[best] = True
    weights = (weights * near).clamp(min=1e-12) * near
    return (boxes * weights).sum(1) / weights.sum()


def _at_least_one(ratio: Tensor) -> Tensor:
    return torch.maximum(ratio, 1 / ratio)
