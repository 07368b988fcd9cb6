# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Times one frame of tracking: with every available engine, one to many targets, and OpenCV's trackers for comparison.

    python benchmarks/tracking_speed.py                            # all that is installed: many minutes on a CPU
    python benchmarks/tracking_speed.py --models snscf_nano --targets 1 --peers csrt,kcf,mil \\
        --peer-python CONTRIB/bin/python --json speed.json         # another interpreter, with opencv-contrib
    python benchmarks/tracking_speed.py --models snscf_nano --engines openvino --targets 1 --threads 1 \\
        --peers fear:TEMPLATE.onnx:TRACK.onnx,nanotrack3:BACKBONE.onnx:HEAD.onnx

In every round each contestant tracks one frame, so that other load on the machine affects all alike. On a shared
machine, compare the figure ``best``. The scene is generated: textured squares that move over a texture. Each frame
starts from the true boxes, and every target counts as found, so that all of the work is done for each. Our filters
learn only in some frames, so our ``best`` and ``p50`` are of means over one such interval. A model written
``NAME@191`` has search crops of 191 pixels. ``NAME:heads`` or ``NAME:heads@191`` has random heads, for networks without
trained weights. Peers follow one target each. The engine ``plain`` runs the same network in plain eager code, as pysot
runs SiamRPN++, without filters.

Idle threads of one runtime may spin and disturb another in the same process, so every peer has its own process. Our
trackers share one process. To compare them with peers, name a single engine, or use ``speed.py``.

In every round, crops and the network also run alone, as in an update. The rest of an update's time is that of the
filters and everything else. It can be negative only by chance, on a busy machine. On a GPU, ``--peak-tflops`` and
``--bandwidth`` (GB/s) set the floor for network and update; an update should take at most twice as long as its network.
Peak memory is that of a process that only tracks; on a GPU, torch's allocation there is listed too.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

# A peer's interpreter may have only these, so our modules are imported where they are used.
import cv2
import numpy as np

if TYPE_CHECKING:
    from snscf_core import Tracker, TrackerConfig
    from snscf_core.engines import NetworkSpec

ROOT = Path(__file__).resolve().parents[1]
FRAMES = 60
PEERS = {"mil": "TrackerMIL", "kcf": "TrackerKCF", "csrt": "TrackerCSRT", "nano": "TrackerNano"}  # of OpenCV
ONNX_PEERS = ("fear", "nanotrack2", "nanotrack3")  # from the evaluation, run by ONNX Runtime
OWN = "own"  # kind of a source own:ENGINE:MODEL: one of our trackers in its own process
# Dense TensorFloat-32 (TFLOPS) and memory bandwidth (GB/s), as NVIDIA publishes them.
GPUS = {"H100": (494.7, 3350.0), "H200": (494.7, 4800.0), "A100": (156.0, 1935.0), "Orin": (42.5, 204.8)}
Box = tuple[float, float, float, float]
Contestant = tuple[str, str, int]  # model, engine, number of targets


class Scene:
    """Renders ``FRAMES`` pictures with the true boxes (x, y, w, h) of each target."""

    def __init__(self, width: int, height: int, targets: int) -> None:
        rng = np.random.default_rng(0)
        ground = _texture(rng, width, height)
        columns = math.ceil(math.sqrt(targets * width / height))
        rows = math.ceil(targets / columns)
        side = int(min(72, width / columns / 2, height / rows / 2))
        things = [_texture(rng, side, side) for _ in range(targets)]
        self.frames, self.boxes = [], []
        for step in range(FRAMES):
            frame, boxes = ground.copy(), []
            for index, thing in enumerate(things):
                angle = 2 * math.pi * step / FRAMES + index
                x = round((index % columns + 0.5) * width / columns - side / 2 + side / 3 * math.cos(angle))
                y = round((index // columns + 0.5) * height / rows - side / 2 + side / 3 * math.sin(angle))
                frame[y : y + side, x : x + side] = thing
                boxes.append((float(x), float(y), float(side), float(side)))
            self.frames.append(frame)
            self.boxes.append(boxes)


def _texture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    cells = rng.integers(0, 256, (max(2, height // 9), max(2, width // 9), 3), np.uint8)
    return np.asarray(cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


# Contestants ----------------------------------------------------------------------------------------------------------


class Plain:
    """Runs the same network in plain eager code, as pysot runs SiamRPN++.

    The network is not folded, targets follow one after the other, and all but the network is NumPy. As in pysot there
    are no filters (mode ``siamese``), and only the best proposal counts. The class has the parts of ``Tracker`` that
    are measured. Raises ValueError for weights without trained heads.
    """

    engine, mode = "plain", "siamese"

    def __init__(self, source: str | Path, device: str, config: TrackerConfig) -> None:
        from snscf_core.devices import device_named
        from snscf_core.engines import NetworkSpec
        from snscf_core.model.checkpoints import load
        from snscf_core.model.geometry import LEVELS

        network, weights = load(source)
        if not weights.trained:
            raise ValueError(f"plain needs trained heads, and {weights.files[0]} holds only an ImageNet backbone")
        self.config, own = config, device_named(device)
        self.device = own.torch
        self.network = network.to(self.device)
        self.spec = NetworkSpec(weights, LEVELS, True, own, config.search_size, network)
        self.anchors = self.spec.anchors
        hann = np.hanning(self.anchors.shape[-1])
        self.window = np.outer(hann, hann) * config.window_influence

    def init(self, frame: np.ndarray, box: Box) -> SimpleNamespace:
        import torch

        from snscf_core.crops import TEMPLATE_SIZE

        x, y, w, h = box
        target = SimpleNamespace(centre=(x + w / 2, y + h / 2), size=(w, h))
        with torch.inference_mode():
            features = self.network.reduce(self.network.extract(self._cut(frame, target, TEMPLATE_SIZE)))
            target.template = self.network.template(features)
        return target

    def searched(self, frame: np.ndarray, targets: Sequence[SimpleNamespace]) -> tuple[list[Any], list[Any]]:
        """Returns crops and templates of each target, for ``search``."""
        size = self.config.search_size
        return [self._cut(frame, target, size) for target in targets], [target.template for target in targets]

    def search(self, crops: Sequence[Any], templates: Sequence[Any]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns scores and deltas of each target."""
        found = []
        for one, template in zip(crops, templates, strict=True):
            proposals = self.network.propose(template, self.network.reduce(self.network.extract(one)))
            found.append((proposals.scores[0].cpu().numpy(), proposals.deltas[0].cpu().numpy()))
        return found

    def update(self, frame: np.ndarray, targets: Sequence[SimpleNamespace]) -> None:
        import torch

        with torch.inference_mode():
            for target in targets:
                ((scores, deltas),) = self.search(*self.searched(frame, [target]))
                self._move(target, scores, deltas, frame.shape[1::-1])

    def _cut(self, frame: np.ndarray, target: SimpleNamespace, size: int) -> Any:
        import torch

        from snscf_core.crops import TEMPLATE_SIZE, context_side, crop

        picture = crop(frame, target.centre, context_side(*target.size) * size / TEMPLATE_SIZE, size)
        return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)).to(self.device)

    def _move(self, target: SimpleNamespace, scores: np.ndarray, deltas: np.ndarray, limits: tuple[int, ...]) -> None:
        from snscf_core.crops import TEMPLATE_SIZE, context_side

        config, old = self.config, np.array(target.size)
        scores = 1 / (1 + np.exp(-scores))
        centres = deltas[:, :2] * self.anchors[:, 2:] + self.anchors[:, :2]
        sizes = np.exp(deltas[:, 2:]) * self.anchors[:, 2:]
        widths, heights = sizes[:, 0], sizes[:, 1]
        context = (widths + heights) / 2
        extent = np.sqrt((widths + context) * (heights + context)) / TEMPLATE_SIZE
        ratio = widths / heights / (old[0] / old[1])
        change = np.maximum(extent, 1 / extent) * np.maximum(ratio, 1 / ratio)
        ranked = np.exp((1 - change) * config.anchor_penalty) * scores
        total = (1 - config.window_influence) * ranked + self.window
        anchor, row, column = np.unravel_index(total.argmax(), total.shape)
        scale, rate = context_side(*old) / TEMPLATE_SIZE, ranked[anchor, row, column] * config.size_rate
        centre = np.array(target.centre) + centres[anchor, :, row, column] * scale
        size = (1 - rate) * old + rate * sizes[anchor, :, row, column] * scale
        target.centre = tuple(np.clip(centre, 0, limits).tolist())
        target.size = tuple(np.clip(size, config.min_side, limits).tolist())


class Ours:
    """Runs one of our trackers on several targets.

    times: seconds of each update, and of its crops and network alone
    """

    def __init__(self, tracker: Tracker | Plain, scene: Scene) -> None:
        self.tracker: Any = tracker
        self.scene, self.engine = scene, tracker.engine
        self.targets = [self.tracker.init(scene.frames[0], box) for box in scene.boxes[0]]
        self.threads: Any = nullcontext
        if isinstance(tracker, Plain):
            self.search: Any = tracker.search
        else:
            self.search, self.threads = tracker.runtime.recorded(tracker.runtime.search), tracker._threads
        self.times: list[tuple[float, float, float]] = []

    def ready(self) -> None:
        """Waits for what the engine builds in the background once there are several targets."""
        if (pairs := getattr(getattr(self.tracker, "runtime", None), "_pairs", None)) is not None:
            pairs.result()

    def update(self, step: int) -> None:
        self.tracker.update(self._placed(step), self.targets)

    def track(self, step: int) -> None:
        """Times an update, and then its crops and its network alone."""
        import torch

        frame = self._placed(step)
        with torch.inference_mode(), self.threads():
            crop, inputs = self._timed(self.tracker.searched, frame, self.targets)
            whole, _ = self._timed(self.tracker.update, frame, self.targets)
            network, _ = self._timed(self.search, *inputs)
        self.times.append((whole, crop, network))

    def _placed(self, step: int) -> np.ndarray:
        """Returns the frame, after moving the targets to their true boxes."""
        for target, (x, y, w, h) in zip(self.targets, self.scene.boxes[step], strict=True):
            target.centre, target.size = (x + w / 2, y + h / 2), (w, h)
        return self.scene.frames[step]

    def _timed(self, work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
        """Returns the seconds that the work takes, and its result."""
        began = self._now()
        result = work(*arguments)
        return self._now() - began, result

    def _now(self) -> float:
        if self.tracker.device.type == "cuda":
            import torch

            torch.cuda.synchronize(torch.device(str(self.tracker.device)))
        return time.perf_counter()


class Peer:
    """Runs a tracker in its own process, on the first target. OpenCV's may run in another interpreter.

    times: seconds of each update
    missing: why the tracker is unavailable, else empty
    interval: neighbouring frames to average, because our filters learn in only one of them
    """

    def __init__(self, source: str, options: argparse.Namespace) -> None:
        self.source = source
        python = options.peer_python if options.peer_python and _kind(source) in PEERS else sys.executable
        command = [str(python), str(Path(__file__).resolve()), "--serve-peer", source]
        command += ["--size", options.size, "--threads", str(options.threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        hello = self._ask(None)
        self.title, self.missing, self.interval = hello["title"], hello["missing"], hello["interval"]
        self.times: list[float] = []

    def track(self, step: int) -> None:
        self.times.append(self._ask(step))

    def _ask(self, step: int | None) -> Any:
        assert self._process.stdin and self._process.stdout
        if step is not None:
            print(step, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a peer's process ended with exit code {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def serve_peer(options: argparse.Namespace) -> None:
    """Reads steps, one a line, from standard input and prints the seconds that the peer takes for each frame."""
    cv2.setNumThreads(options.threads)
    scene = Scene(*_size(options.size), 1)
    with tempfile.TemporaryDirectory() as folder:
        title, missing, tracker = "", "", None
        try:
            if _kind(options.serve_peer) == OWN:
                title, tracker = _own(options.serve_peer, options, Path(folder), scene)
            else:
                title, tracker = _peer(options.serve_peer)
                tracker.init(scene.frames[0], tuple(int(value) for value in scene.boxes[0][0]))
        except (ValueError, FileNotFoundError) as error:
            missing = str(error)
    interval = tracker.tracker.config.learning_interval if isinstance(tracker, Ours) else 1
    hello = {"title": title or options.serve_peer, "missing": missing, "interval": interval}
    print(json.dumps(hello), flush=True)
    for line in sys.stdin:
        step = int(line)
        frame, work = scene.frames[step], tracker.update
        began = time.perf_counter()
        work(step if isinstance(tracker, Ours) else frame)
        print(json.dumps(time.perf_counter() - began), flush=True)


def _own(source: str, options: argparse.Namespace, folder: Path, scene: Scene) -> tuple[str, Ours]:
    """Makes one of our trackers with its target; returns its name in tables, and it.

    Raises ValueError or FileNotFoundError.
    """
    import torch

    from snscf_core.engines.open_vino import core

    torch.set_num_threads(options.threads)
    _, engine, model = source.split(":", 2)
    if engine == "openvino-bf16" and "BF16" not in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ValueError("this CPU has no bfloat16")
    tracker = _working_tracker(model, engine, options.device, folder)
    return f"{Path(model).name}, {tracker.engine}", Ours(tracker, scene)


def _peer(source: str) -> tuple[str, Any]:
    """Makes a peer; returns its name in tables, and it. Raises ValueError or FileNotFoundError if that fails."""
    kind, *files = source.split(":")
    if kind in ONNX_PEERS:
        from snscf_core.evaluation import peers

        tracker = peers.make(kind, [Path(file) for file in files])
        return f"{peers.TITLES[kind]}, ONNX Runtime {peers.version()}", tracker
    place = next((m for m in (cv2, getattr(cv2, "legacy", None)) if hasattr(m, PEERS[kind])), None)
    if place is None:
        raise ValueError(
            f"OpenCV {cv2.__version__} has no {kind.upper()}: use --peer-python with opencv-contrib-python"
        )
    arguments = []
    if files:
        parameters = getattr(place, f"{PEERS[kind]}_Params")()
        parameters.backbone, parameters.neckhead = files
        arguments = [parameters]
    return f"OpenCV {cv2.__version__} {kind.upper()}", getattr(place, PEERS[kind]).create(*arguments)


def _kind(source: str) -> str:
    return source.partition(":")[0]


# Measuring ------------------------------------------------------------------------------------------------------------


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measures all figures of one run."""
    import torch

    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    contestants, networks, left_out = _contestants(options)
    others = [Peer(source, options) for source in options.peers.split(",") if source]
    left_out |= {one.title: one.missing for one in others if one.missing}
    peers = [one for one in others if not one.missing]
    _take_turns(contestants, peers, options)
    for peer in others:
        peer.close()
    floors = _floors(networks, options)
    memory = {} if options.no_memory else _memory(options, list(contestants))
    unknown = {"peak_memory_mib": None, "peak_gpu_memory_mib": None}
    rows = [
        {**_row(*key, one, options.warm_up, floors.get(key[0])), **memory.get(key, unknown)}
        for key, one in contestants.items()
    ]
    return {
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": options.threads,
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() and options.device != "cpu" else "cpu",
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        "size": options.size,
        "rounds": options.rounds,
        "ours": rows,
        "peers": [_statistics(peer.title, peer.times[options.warm_up :]) for peer in peers],
        "left_out": left_out,
        "networks": networks,
        "floor": floors,
    }


def _contestants(
    options: argparse.Namespace,
) -> tuple[dict[Contestant, Ours], dict[str, dict[str, float]], dict[str, str]]:
    """Makes our trackers with their targets; returns them, the cost of each network, and the reasons for gaps."""
    counts = [int(text) for text in options.targets.split(",")]
    scenes = {count: Scene(*_size(options.size), count) for count in counts}
    contestants: dict[Contestant, Ours] = {}
    networks: dict[str, dict[str, float]] = {}
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, engine in itertools.product(options.models.split(","), _engines(options)):
            try:
                tracker = _working_tracker(name, engine, options.device, Path(folder))
            except (ValueError, FileNotFoundError) as error:
                left_out[f"{name} {engine}"] = str(error)
                continue
            networks[name] = network_cost(tracker.spec)
            for count in counts:
                contestants[name, engine, count] = Ours(tracker, scenes[count])
    return contestants, networks, left_out


def _take_turns(contestants: dict[Contestant, Ours], peers: Sequence[Peer], options: argparse.Namespace) -> None:
    """Runs all trackers frame by frame beside each other, so that they share the machine's changes in speed.

    One of ours stops early once it has had ``--seconds`` and at least 3 frames after the warm-up.
    """
    seconds = dict.fromkeys(contestants, 0.0)
    for turn in range(options.rounds + options.warm_up):
        step = 1 + turn % (FRAMES - 1)
        for key, one in contestants.items():
            if turn >= options.warm_up + 3 and seconds[key] > options.seconds:
                continue
            one.track(step)
            if one.tracker.engine != one.engine:
                raise SystemExit(f"{key[0]} {key[1]} failed with {key[2]} targets: see the warning, and leave it out")
            if turn == 0:
                one.ready()
            seconds[key] += sum(one.times[-1])
        for peer in peers:
            peer.track(step)


def _engines(options: argparse.Namespace) -> list[str]:
    if options.engines:
        return [text.strip() for text in options.engines.split(",")]
    if options.device.startswith("cuda"):
        return ["torch", "plain", "cuda_graphs", "tensorrt"]
    return ["torch", "plain", "onnxruntime", "openvino", "openvino-bf16", "onnxruntime-int8", "openvino-int8"]


def _working_tracker(name: str, engine: str, device: str, folder: Path) -> Tracker | Plain:
    """Makes a tracker as `_tracker` does. Raises ValueError or FileNotFoundError if it can't run on that engine."""
    tracker = _tracker(name, engine, device, folder)
    if engine not in ("auto", tracker.engine) and not Path(engine).is_dir():
        raise ValueError("it failed, see the warning")
    return tracker


def _tracker(name: str, engine: str, device: str, folder: Path) -> Tracker | Plain:
    from snscf_core import Tracker, TrackerConfig
    from snscf_core.model.checkpoints import save
    from snscf_core.model.network import create
    from snscf_core.online.confidence import ConfidenceConfig

    always = ConfidenceConfig(tracked_above=0.0, uncertain_below=0.0, coast_below=0.0)
    name, _, search_size = name.partition("@")
    config = TrackerConfig(confidence=always)
    if search_size:
        config = dataclasses.replace(config, search_size=int(search_size))
    model, _, heads = name.partition(":")
    source: str | Path = model
    if heads == "heads":
        import torch

        source = folder / model
        if not source.is_dir():
            torch.manual_seed(0)
            save(create(model).eval(), source)
    if engine == Plain.engine:
        return Plain(source, device, config)
    return Tracker(source, device=device, engine=engine, config=config)


def network_cost(spec: NetworkSpec) -> dict[str, float]:
    """Counts billions of floating-point operations, and millions of bytes that convolutions move, for one crop."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    graph, moved = spec.graph(), [0]

    def count(module: Any, inputs: Any, result: Any) -> None:
        moved[0] += 4 * (inputs[0].numel() + result.numel() + module.weight.numel())

    for module in graph.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    crops, kernels = spec.example()
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        graph(crops) if kernels is None else graph(crops, kernels)
    return {"gflop": flops.get_total_flops() / 1e9, "mbyte": moved[0] / 1e6}


def _floors(networks: dict[str, dict[str, float]], options: argparse.Namespace) -> dict[str, float]:
    """Returns the least seconds that the device's arithmetic or memory needs for a crop; empty if unknown."""
    import torch

    tflops, bandwidth = options.peak_tflops, options.bandwidth
    if options.device.startswith("cuda"):
        gpu = next((value for name, value in GPUS.items() if name in torch.cuda.get_device_name()), None)
        tflops, bandwidth = tflops or (gpu and gpu[0]), bandwidth or (gpu and gpu[1])
    if not tflops or not bandwidth:
        return {}
    return {name: max(cost["gflop"] / 1e3 / tflops, cost["mbyte"] / 1e3 / bandwidth) for name, cost in networks.items()}


def _row(model: str, engine: str, targets: int, one: Ours, warm_up: int, floor: float | None) -> dict[str, Any]:
    times, interval = np.array(one.times[warm_up:]), one.tracker.config.learning_interval
    columns = [1000 * _means(values, interval) for values in times.T]
    best, p50 = (_stages(*(float(figure(values)) for values in columns)) for figure in (np.min, np.median))
    update, network = sum(best.values()), best["network"]
    return {
        "model": model,
        "mode": one.tracker.mode,
        "engine": engine,
        "runs": one.tracker.engine,
        "targets": targets,
        **_statistics("", times[:, 0], interval),
        "stages_best_ms": best,
        "stages_p50_ms": p50,
        "update_over_network": update / network,
        "network_over_floor": network / 1000 / floor / targets if floor else None,
        "update_over_floor": update / 1000 / floor / targets if floor else None,
    }


def _stages(whole: float, crop: float, network: float) -> dict[str, float]:
    return {"crop": crop, "network": network, "filters": whole - crop - network}


def _means(values: np.ndarray, frames: int) -> np.ndarray:
    """Returns means of ``frames`` neighbouring values each."""
    whole = len(values) // frames * frames
    return values[:whole].reshape(-1, frames).mean(1) if whole else values


def _statistics(name: str, seconds: Any, interval: int = 1) -> dict[str, Any]:
    values = 1000 * np.asarray(seconds)
    p95, p99 = (float(value) for value in np.percentile(values, (95, 99)))
    means = _means(values, interval)
    best, p50 = float(means.min()), float(np.median(means))
    figures = {"best_ms": best, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "fps_best": 1000 / best, "fps": 1000 / p50}
    return {**({"name": name} if name else {}), "frames": len(values), **figures}


def _memory(options: argparse.Namespace, keys: list[tuple[str, str, int]]) -> dict[tuple[str, str, int], Any]:
    """Measures peak memory (resident; torch's on a GPU) in MiB, in a process that tracks with one contestant only."""
    found = {}
    for model, engine, count in keys:
        command = [sys.executable, str(Path(__file__).resolve()), "--serve-memory", "--device", options.device]
        command += ["--models", model, "--engines", engine, "--targets", str(count), "--size", options.size]
        command += ["--threads", str(options.threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found[model, engine, count] = json.loads(done.stdout.splitlines()[-1])
    return found


def serve_memory(options: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        tracker = _tracker(options.models, options.engines, options.device, Path(folder))
    one = Ours(tracker, Scene(*_size(options.size), int(options.targets)))
    for step in range(1, 4):
        one.update(step)
        one.ready()
    gpu = (
        torch.cuda.max_memory_allocated(torch.device(str(tracker.device))) / 2**20
        if tracker.device.type == "cuda"
        else None
    )
    # getrusage would start at the peak of the parent process.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    resident = next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)
    print(json.dumps({"peak_memory_mib": resident, "peak_gpu_memory_mib": gpu}))


def _processor() -> str:
    from snscf_core.processor import processor

    return processor()


def _cores() -> int:
    from snscf_core.cores import available_cores

    return available_cores()


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


# Reporting ------------------------------------------------------------------------------------------------------------


def table(result: dict[str, Any]) -> str:
    """Formats the result as Markdown."""
    machine = result["machine"]
    head = ["model, mode", "engine", "targets", "best ms", "p50", "p95", "p99", "fps (best)", "fps (p50)"]
    head += ["crop, network, filters and rest (best ms)", "(p50)", "best over network", "network, update over floor"]
    head += ["x one target", "peak MiB", "peak GPU MiB"]
    lines = [
        f"{machine['processor']}, {machine['threads']} threads, {machine['device']}, torch {machine['torch']}; "
        f"{result['size']}, {result['rounds']} rounds in turns",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    single = {(row["model"], row["engine"]): row["best_ms"] for row in result["ours"] if row["targets"] == 1}
    for row in result["ours"]:
        one = single.get((row["model"], row["engine"]))
        cells = [f"{Path(row['model']).name}, {row['mode']}", row["engine"], str(row["targets"])]
        cells += [f"{row[key]:.1f}" for key in ("best_ms", "p50_ms", "p95_ms", "p99_ms", "fps_best", "fps")]
        for key in ("stages_best_ms", "stages_p50_ms"):
            cells.append(", ".join(f"{row[key][name]:.2f}" for name in ("crop", "network", "filters")))
        cells += [f"{row['update_over_network']:.2f}"]
        cells += [", ".join(_text(row[f"{name}_over_floor"], 1) for name in ("network", "update"))]
        cells += [_text(row["best_ms"] / one if one else None, 2)]
        cells += [_text(row[key], 0) for key in ("peak_memory_mib", "peak_gpu_memory_mib")]
        lines.append("| " + " | ".join(cells) + " |")
    for row in result["peers"]:
        cells = [row["name"], "", "1"]
        cells += [f"{row[key]:.1f}" for key in ("best_ms", "p50_ms", "p95_ms", "p99_ms", "fps_best", "fps")]
        cells += [""] * (len(head) - len(cells))
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    for name, cost in result["networks"].items():
        text = f"{Path(name).name}: {cost['gflop']:.2f} GFLOP and {cost['mbyte']:.0f} MB a crop"
        if name in result["floor"]:
            text += f"; floor {1e6 * result['floor'][name]:.0f} us"
        lines.append(f"- {text}")
    lines += [f"- left out: {name}: {reason}" for name, reason in result["left_out"].items()]
    return "\n".join(lines)


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--models",
        default="snscf_nano,snscf_r50",
        help="separated by commas; NAME@191: with search crops of that size; NAME:heads: with random heads",
    )
    parser.add_argument("--engines", help="separated by commas, also folders and plain (default: all available)")
    parser.add_argument("--targets", default="1,2,4,8,16,32", help="numbers of targets, separated by commas")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="default: the cores that this process may use")
    parser.add_argument("--size", default="640x480", help="size of the frames")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--warm-up", type=int, default=3, help="rounds that do not count")
    parser.add_argument("--seconds", type=float, default=30.0, help="limit per contestant, beyond three rounds")
    parser.add_argument(
        "--peers",
        default="mil,kcf,csrt",
        help="OpenCV's mil, kcf, csrt, nano:BACKBONE.onnx:HEAD.onnx; by ONNX Runtime fear:TEMPLATE.onnx:TRACK.onnx, "
        "nanotrack2: or nanotrack3:BACKBONE.onnx:HEAD.onnx; or none",
    )
    parser.add_argument("--peer-python", type=Path, help="interpreter for OpenCV's peers (default: this one)")
    parser.add_argument("--peak-tflops", type=float, help="peak of the device, for the floor")
    parser.add_argument("--bandwidth", type=float, help="of the device's memory in GB/s, for the floor")
    parser.add_argument("--no-memory", action="store_true", help="skip memory, which takes one process per contestant")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--markdown", type=Path, help="file for the table")
    parser.add_argument("--serve-peer", help=argparse.SUPPRESS)
    parser.add_argument("--serve-memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.threads = options.threads or _cores()
    options.peers = "" if options.peers == "none" else options.peers
    kinds = (*PEERS, *ONNX_PEERS)
    if unknown := [text for text in options.peers.split(",") if text and _kind(text) not in kinds]:
        parser.error(f"unknown peer {unknown[0]!r}; there are {', '.join(kinds)}")
    if options.device == "auto":
        import torch

        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.serve_peer:
        return serve_peer(options)
    if options.serve_memory:
        return serve_memory(options)
    result = measure(options)
    text = table(result)
    from snscf_core.files import write_file

    for path, content in ((options.json, json.dumps(result, indent=1)), (options.markdown, text)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, content + "\n")
    print(text)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
