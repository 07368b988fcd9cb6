# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Trains on a machine that is available for a limited time: parts of a pack in, weights out, before a deadline.

    python training/gpu_run.py data --parts PARTS --work WORK
    python training/gpu_run.py train snscf_r50 --parts PARTS --work WORK --out OUT --seconds 580
    python training/gpu_run.py tests --out OUT --seconds 170

training/README.md, *On a machine for a limited time*, describes inputs and outputs. Arguments after `--` go to `snscf
train` and override the network's settings.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import IO, Any

import torch
from pack.parts import Arrived, unpack
from recipes import DATA_WEIGHTS, RECIPES
from slices import SLICES, Slices, newest_weights, read_lines

from snscf_core.data.pool import ImagePool
from snscf_core.data.readers import READERS, Clip
from snscf_core.model.checkpoints import WeightsError, find
from snscf_core.training.validation import hold_out

ROOT = Path(__file__).resolve().parents[1]
# Folder of a pack's data in each layout, and a file that exists only if it has data in that layout.
FOLDERS = {"got10k": ("clips", "*/groundtruth.txt"), "coco": ("stills", "instances.json")}
LONGEST_SIDE, VALIDATION_SHARE, VALIDATION_CLIPS = 480, 0.1, 4
TRAINING_SHARE = 0.9  # of the time of a run; the rest is for validation, checkpoints and copies
LAST_SECONDS = 3.0  # before the limit; a process that still runs then is killed


class RunError(RuntimeError):
    """Says why the run can't continue and what helps."""


@dataclass
class Call:
    """Enforces the time limit of one call; its messages go to the terminal and to ``out/log.txt``."""

    seconds: float
    out: Path
    started: float = field(default_factory=time.monotonic)
    stopped: bool = False
    child: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        self._log = (self.out / "log.txt").open("a", buffering=1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    @property
    def left(self) -> float:
        """Returns the seconds until the limit."""
        return self.started + self.seconds - time.monotonic()

    def say(self, text: str) -> None:
        text = f"[{self.seconds - self.left:5.1f} s] {text}"
        print(text, flush=True)
        print(text, file=self._log)

    def watch(
        self,
        command: Sequence[str],
        *,
        reserve: float = LAST_SECONDS,
        limit: float | None = None,
        look: Callable[[], None] = lambda: None,
        log: IO[str] | None = None,
    ) -> int:
        """Runs a command, calling ``look`` every second; asks it to end ``reserve`` seconds before the call does.

        limit: seconds that the command may take, if less
        log: gets the command's output, else ``out/log.txt`` does

        Kills a command that still runs shortly before the call's end, or ``reserve`` seconds after it was asked to end.
        Returns its status.
        """
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
        output = log or self._log
        end = time.monotonic() + (self.left - reserve if limit is None else min(limit, self.left - reserve))
        self.child = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        asked: float | None = None
        try:
            while (status := self.child.poll()) is None:
                try:
                    self.child.wait(timeout=1.0)
                except subprocess.TimeoutExpired:
                    pass
                look()
                if asked is None and (self.stopped or time.monotonic() > end):
                    asked = time.monotonic()
                    self.child.terminate()
                if asked is not None and (self.left < LAST_SECONDS or time.monotonic() - asked > reserve):
                    self.child.kill()
            look()
            return status
        finally:
            self.child = None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        if self.child is None:
            raise SystemExit(128 + number)


def train(options: argparse.Namespace, call: Call) -> int:
    """Trains one network until it is done or the time is over; returns 0 if it produced weights."""
    run, data = options.work / f"run-{options.network}", options.work / "data"
    arrived = _unpack(options, call)
    if not arrived.complete and not options.partial:
        raise RunError("the pack is not complete: add the missing parts, or train without them with --partial")
    sets = _sets(data)
    weights = [f"{layout}={folder}:{DATA_WEIGHTS[layout]:g}" for layout, folder in sets.items()]
    if not weights:
        raise RunError(f"{data} has neither clips nor stills")
    call.say(check_device(options.device))
    goes_on = (run / "checkpoint.safetensors").is_file()
    if goes_on and options.start is not None and any(line["finished"] for line in read_lines(run / SLICES)[-1:]):
        goes_on = False
    settings = [*RECIPES[options.network], "--device", options.device, "--longest-side", str(LONGEST_SIDE)]
    settings += ["--validation-clips", str(VALIDATION_CLIPS), "--validation-share", str(VALIDATION_SHARE)]
    if goes_on:
        plan = json.loads((run / "plan.json").read_text())
        call.say(f"the run in {run} continues with its own settings")
        _pool(options, arrived, call)
    else:
        start, rest = _start(options, call)
        settings += ["--model", str(start), *_rates(rest)]
        check(settings, options, call)
        plan = _plan(settings, weights, _pool(options, arrived, call), rest, options, call)
        shutil.rmtree(run, ignore_errors=True)  # a run without a checkpoint has nothing worth keeping
        run.mkdir(parents=True)
        (run / "plan.json").write_text(json.dumps(plan))
    facts = {"network": options.network, "planned_minutes": plan["minutes"], "device": _device_name(options.device)}
    slices = Slices(run, options.out, plan["batch"], facts)

    def look() -> None:
        line = slices.collect()
        if line and line["validation"]:
            call.say(json.dumps(line))

    status = call.watch(
        [*_snscf_train(), *plan["arguments"], "--out", str(run)], reserve=options.end_seconds, look=look
    )
    slices.copy_log()
    lines = read_lines(run / SLICES)
    if not goes_on and not lines and call.stopped:
        raise RunError("stopped before the first step")
    if status not in (0, -signal.SIGTERM, -signal.SIGKILL) or not lines:
        raise RunError(
            f"training ended with status {status}{'' if lines else ' and left no weights'}: {_tail(call.out)}"
        )
    call.say(json.dumps(lines[-1]))
    how = "the run is finished" if lines[-1]["finished"] else "the run is not finished: the same command continues it"
    call.say(f"{how}; {call.left:.0f} s of the call are left; weights: {options.out / lines[-1]['weights']}")
    return 0


def check_device(device: str) -> str:
    """Checks that the device computes, also in bfloat16; returns its description. Raises RunError."""
    try:
        a, b = torch.randn(2, 512, 512, device=device)
        exact = a.cpu().double() @ b.cpu().double()
        error = float(((a.bfloat16() @ b.bfloat16()).double().cpu() - exact).norm() / exact.norm())
    except (RuntimeError, AssertionError) as failed:
        raise RunError(f"{device} does not compute: {str(failed).splitlines()[0]}") from failed
    if not error < 0.02:
        raise RunError(f"{device} gets a product of bfloat16 matrices wrong: relative error {error:.3g}")
    return f"{_device_name(device)}, torch {torch.__version__}: bfloat16 product right within {error:.1g}"


def check(settings: Sequence[str], options: argparse.Namespace, call: Call) -> None:
    """Runs one step of each phase and one validation on a few pictures with the run's settings. Raises RunError."""
    few, out = options.work / "check", options.work / "check" / "run"
    shutil.rmtree(few, ignore_errors=True)
    data = _few(options.work / "data", few)
    steps = ["--steps", "2", "--batch", "2", "--intervals", "1", "--log-every", "1", "--validation-frames", "3"]
    steps += ["--validation-share", "0.5", "--validation-clips", "1", "--set", "schedule.heads_share=0.5"]
    with (few / "log.txt").open("w") as stream:
        arguments = [*settings, *_data(data), *options.extra, *steps, "--out", str(out)]
        status = call.watch([*_snscf_train(), *arguments], limit=options.check_seconds, log=stream)
    lines = [line for line in read_lines(out / "log.jsonl") if line["kind"] == "steps"]
    if call.stopped:
        raise RunError("stopped")
    if status or len(lines) != 2 or any(line["loss"] is None for line in lines):
        raise RunError(f"a step of each phase fails (status {status}), so training was not started: {_tail(few)}")
    losses = ", ".join(f"{line['loss']:.3f}" for line in lines)
    call.say(f"pairs are made, and a step of each phase works (losses {losses})")


def tests(options: argparse.Namespace, call: Call) -> int:
    """Runs the tests that need a GPU, and measures the speed of each network; returns 0 if both succeeded."""
    call.say(check_device(options.device))
    files = sorted(str(file) for file in (ROOT / "test").rglob("test_*.py") if "mark.gpu" in file.read_text())
    pytest = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    with (call.out / "tests.txt").open("w") as stream:
        failed = call.watch([*pytest, *files], limit=0.5 * call.seconds, log=stream)
    call.say(f"tests (status {failed}): {_tail(call.out, 'tests.txt', 1)}")
    speed = [sys.executable, str(ROOT / "benchmarks" / "tracking_speed.py"), "--device", options.device, "--no-memory"]
    speed += ["--targets", "1,8", "--peers", "none", "--seconds", f"{options.speed_seconds:g}"]
    if not options.device.startswith("cuda"):
        speed += ["--engines", "torch"]
    slow = 0
    for number, network in enumerate(RECIPES):  # one table each, so that a slow network loses only its own
        file = call.out / f"speed-{network}.txt"
        with file.open("w") as stream:
            arguments = ["--models", network, "--json", str(file.with_suffix(".json")), *options.extra]
            slow |= call.watch([*speed, *arguments], limit=call.left / (len(RECIPES) - number), log=stream)
        call.say(f"speed of {network}:\n{file.read_text()}")
    return 1 if failed or slow else 0


def _unpack(options: argparse.Namespace, call: Call) -> Arrived:
    arrived = unpack(options.parts, options.work / "data")
    call.say(str(arrived))
    return arrived


def _snscf_train() -> list[str]:
    return [sys.executable, "-m", "snscf_core.commands.cli", "train"]


def _data(weights: Sequence[str]) -> list[str]:
    return [argument for text in weights for argument in ("--data", text)]


def _start(options: argparse.Namespace, call: Call) -> tuple[Path, dict[str, Any]]:
    """Returns the weights to start from, and the last log line of their run if that run is not finished."""
    if options.start is None:
        try:
            file = find(options.network)[0]
        except WeightsError as error:
            raise RunError(str(error)) from error
        call.say(f"starts from {file}")
        return file, {}
    folder = newest_weights(options.start)
    lines = [line for line in read_lines(options.start / "log.jsonl") if line["kind"] == "slice"]
    # In its first steps a run's rate still rises, so such a run starts anew.
    last = lines[-1] if lines and not lines[-1]["finished"] and lines[-1]["progress"] > 0.05 else {}
    call.say(f"starts from {folder}" + (f", a run that was {last['progress']:.0%} done" if last else ""))
    return folder, last


def _rates(rest: dict[str, Any]) -> list[str]:
    """Returns the learning rates at which another run stopped, so that their exponential fall continues."""
    if rest.get("rate") is None:
        return []
    return [
        argument
        for text in ("heads_share=0", f"heads_rate={rest['rate']}", f"peak_rate={rest['rate']}")
        for argument in ("--set", f"schedule.{text}")
    ]


def _plan(
    settings: Sequence[str],
    weights: Sequence[str],
    pool: Path,
    rest: dict[str, Any],
    options: argparse.Namespace,
    call: Call,
) -> dict[str, Any]:
    """Plans the minutes: as the options say, as left of the continued run, or as fit into this call."""
    fitting = TRAINING_SHARE * (call.left - options.start_seconds - options.end_seconds) / 60
    minutes = options.minutes or (rest["planned_minutes"] * (1 - rest["progress"]) if rest else fitting)
    if fitting <= 0:
        raise RunError(f"{call.left:.0f} s are left, too few to start ({options.start_seconds:g} s) and to end")
    intervals = max(1, round(60 * minutes / options.slice_seconds))
    arguments = [*settings, *_data(weights), "--pool", str(pool), "--seed", str(options.seed)]
    arguments += ["--minutes", f"{minutes:.3f}", "--intervals", str(intervals), "--validation-frames", "40"]
    arguments += options.extra
    batch = int([value for flag, value in pairwise(arguments) if flag == "--batch"][-1])
    call.say(f"plans {minutes:.2f} minutes of training steps, of which {fitting:.2f} fit into this call")
    return {"minutes": round(minutes, 3), "batch": batch, "arguments": arguments}


def _pool(options: argparse.Namespace, arrived: Arrived, call: Call) -> Path:
    """Returns the file with the decoded pictures; creates it if needed."""
    name = hashlib.sha256("".join(arrived.digests).encode()).hexdigest()[:12]
    pool: Path = (options.pool or options.work) / f"pool-{name}.safetensors"
    if not pool.is_file():
        problems: list[str] = []
        clips: list[Clip] = []
        for layout, folder in _sets(options.work / "data").items():
            clips += READERS[layout](folder, problems)
        training, _ = hold_out(clips, VALIDATION_SHARE, 0, VALIDATION_CLIPS)
        built, _ = ImagePool.build(training, device="cpu", longest_side=LONGEST_SIDE, progress=False)
        pool.parent.mkdir(parents=True, exist_ok=True)
        built.save(pool)
        call.say(f"decoded {built.frames} pictures, {built.nbytes / 1e9:.1f} GB")
    return pool


def _sets(data: Path) -> dict[str, Path]:
    """Returns the folders of the pack that hold data, by layout."""
    return {layout: data / name for layout, (name, file) in FOLDERS.items() if any((data / name).glob(file))}


def _few(data: Path, few: Path) -> list[str]:
    """Links three clips and lists four stills of the data in another folder; returns the values for --data."""
    named = []
    clips = sorted(file.parent for file in data.glob("clips/*/groundtruth.txt"))[:3]
    for clip in clips:
        (few / "clips").mkdir(parents=True, exist_ok=True)
        (few / "clips" / clip.name).symlink_to(clip.resolve(), target_is_directory=True)
    if clips:
        named.append(f"got10k={few / 'clips'}")
    if (data / "stills" / "instances.json").is_file():
        content = json.loads((data / "stills" / "instances.json").read_text())
        images = [i for i in content["images"] if (data / "stills" / "images" / i["file_name"]).is_file()][:4]
        known = {image["id"] for image in images}
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] in known]
        content["images"] = images
        (few / "stills").mkdir(parents=True)
        (few / "stills" / "images").symlink_to((data / "stills" / "images").resolve(), target_is_directory=True)
        (few / "stills" / "instances.json").write_text(json.dumps(content))
        named.append(f"coco={few / 'stills'}")
    return named


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"


def _tail(folder: Path, name: str = "log.txt", lines: int = 5) -> str:
    return "\n".join((folder / name).read_text().splitlines()[-lines:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0, or 2 after an error message if something is missing or fails."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    split = given.index("--") if "--" in given else len(given)
    options = _parser().parse_args(given[:split])
    options.extra = given[split + 1 :]
    call = Call(getattr(options, "seconds", 600.0), getattr(options, "out", None) or options.work)
    try:
        if options.command == "data":
            return 0 if _unpack(options, call).complete else 2
        return train(options, call) if options.command == "train" else tests(options, call)
    except (RunError, OSError, ValueError) as error:
        call.say(f"error: {error}")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True)
    data = commands.add_parser("data", help="check and unpack the parts that have arrived, and list missing ones")
    training = commands.add_parser("train", help="train a network within the time")
    testing = commands.add_parser("tests", help="run the GPU's tests and measure speed")
    training.add_argument("network", choices=list(RECIPES))
    for one in (data, training):
        one.add_argument("--parts", type=Path, required=True, help="folder with part-*.tar and SHA256SUMS")
        one.add_argument("--work", type=Path, required=True, help="folder for the data and the run")
    for one, seconds in ((training, 580.0), (testing, 170.0)):
        one.add_argument("--out", type=Path, required=True, help="folder for the results")
        one.add_argument("--seconds", type=float, default=seconds, help=f"for the whole call (default {seconds:g})")
        one.add_argument("--device", default="cuda", help="default cuda")
    training.add_argument("--start", type=Path, metavar="DIR", help="--out of an earlier call, or a folder of weights")
    training.add_argument("--minutes", type=float, help="minutes of training steps, for a run that fills several calls")
    training.add_argument("--partial", action="store_true", help="train even though parts are missing")
    training.add_argument("--seed", type=int, default=71, help="random seed of the pairs (default 71)")
    training.add_argument("--pool", type=Path, metavar="DIR", help="folder for decoded pictures (default: --work)")
    training.add_argument("--slice-seconds", type=float, default=80.0, help="training seconds per slice (default 80)")
    training.add_argument(
        "--start-seconds", type=float, default=50.0, help="reserved for loading and the choice of kernels (default 50)"
    )
    training.add_argument(
        "--end-seconds", type=float, default=20.0, help="reserved for the last checkpoint and copies (default 20)"
    )
    training.add_argument("--check-seconds", type=float, default=120.0, help="limit of the check (default 120)")
    testing.add_argument("--speed-seconds", type=float, default=4.0, help="limit per contestant (default 4)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
