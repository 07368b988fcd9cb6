# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Compares whole trackers on this machine: ``make speed``. Writes speed.json, speed.md and speed.svg into a folder.

    make speed                                                     # our engines here, and the node's latency
    make speed ARGS="--validation SEQUENCES --peer-python CONTRIB/bin/python \\
        --peers csrt,fear:TEMPLATE.onnx:TRACK.onnx,nanotrack3:BACKBONE.onnx:HEAD.onnx"

**Times**: each tracker has a process of its own, because idle threads of one runtime may spin and disturb another. They
take turns frame by frame, so that other load on the machine affects all alike. Each follows one target in the scene of
``tracking_speed.py``, which also tells what the parts of a frame cost. Our filters learn in one frame of three, so
``best`` and ``p50`` of ours are of means over three frames.

**Accuracy**: success AUC on the sequences of ``--validation`` (OTB's layout), for each engine. Runs are kept in the
folder and used again. Without ``--validation`` there is no picture.

**Latency**: from the stamp of an image, set right before it is published, to the arrival of the target's detection. The
real node runs with the engine ``auto`` in its own process, beside this one, which is camera and listener.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tracking_speed
from tracking_speed import FRAMES, ONNX_PEERS, OWN, PEERS, Peer

from snscf_core.cores import available_cores
from snscf_core.engines.engine_selection import installed, versions, with_eight_bits
from snscf_core.evaluation.trackers import candidates
from snscf_core.files import write_file
from snscf_core.online.tracker import Tracker
from snscf_core.processor import extensions, processor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind can tell apart: one for each of our engines, one for all peers.
COLOURS = {
    "torch": "#E69F00",
    "onnxruntime": "#56B4E9",
    "openvino": "#0072B2",
    "openvino-bf16": "#D55E00",
    "openvino-int8": "#009E73",
    "onnxruntime-int8": "#CC79A7",
    "": "#555555",
}
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # ms


def times(options: argparse.Namespace, sources: list[str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Times whole updates of one target; returns a row for each tracker, and the reasons for gaps."""
    contestants = [Peer(source, options) for source in sources]
    left_out = {one.title: one.missing for one in contestants if one.missing}
    running = [one for one in contestants if not one.missing]
    for turn in range(options.rounds + options.warm_up):
        for one in running:
            one.track(1 + turn % (FRAMES - 1))
    for one in contestants:
        one.close()
    rows = []
    for one in running:
        kind, engine, source = one.source.split(":", 2) if one.source.startswith(f"{OWN}:") else ("", "", one.source)
        figures = tracking_speed._statistics(one.title, one.times[options.warm_up :], one.interval)
        rows.append(
            {"model": source if kind else source.partition(":")[0], "engine": engine, "source": source, **figures}
        )
    return rows, left_out


def accuracy(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Adds the success AUC on the validation sequences to each row. Raises SystemExit if the evaluation fails.

    A peer of another interpreter's OpenCV gets none.
    """
    engines = list(dict.fromkeys(row["engine"] for row in rows if row["engine"]))
    entries = []
    for source in dict.fromkeys(row["source"] for row in rows):
        with suppress(ValueError):
            entries += candidates([source], device="cpu", engines=engines)
    command = [sys.executable, "-m", "snscf_core", "eval", "--root", str(options.validation), "--device", "cpu"]
    command += ["--tracker", ",".join(dict.fromkeys(entry.source for entry in entries)), "--engine", ",".join(engines)]
    folder = options.output / "accuracy"
    if subprocess.run([*command, "--output", str(folder)], check=False).returncode:
        raise SystemExit("the evaluation failed, see above")
    means = json.loads((folder / "results.json").read_text(encoding="utf-8"))["trackers"]
    named = {(entry.source, entry.engine): entry.name for entry in entries}
    for row in rows:
        name = named.get((row["source"], row["engine"] or "torch"))
        if name is not None:
            row["auc"] = means[name]["mean"]["success_auc"]


def latency(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures milliseconds from an image's stamp to its detection, for raw and JPEG images of two sizes."""
    import rig
    import transport

    from snscf_ros import bringup
    from snscf_ros.processes import Child

    rig.isolate()
    rows = []
    with tempfile.TemporaryDirectory() as folder, rig.peer() as node:
        for compressed in (False, True):
            parameters = {"image_transport": "compressed" if compressed else "raw", "device": "cpu"}
            command = rig.node_command("bench", parameters)
            log = Path(folder) / f"tracker_{compressed}.log"
            with Child("tracker", command, log) as child:
                bringup.activate(node, "/bench/tracker", 300)
                suffix = "/compressed" if compressed else ""
                line = transport.Line(node, f"/bench/image_raw{suffix}", "/bench/tracker/detections", compressed)
                for size in transport.SIZES:
                    rows.append(_latency(options, node, line, size, compressed, child.pid))
    return rows


def _latency(
    options: argparse.Namespace, node: Any, line: Any, size: tuple[int, int], compressed: bool, pid: int
) -> dict[str, Any]:
    import rig
    import transport

    scene = rig.Patches(*size, 4)
    there = [transport.message_of(scene.frame(number), compressed) for number in range(16)]
    messages = [*there, *there[-2:0:-1]]  # back and forth
    line.send(messages[0])
    name = f"target_{size[0]}"
    answer = rig.init_target(node, "/bench/tracker", scene.boxes(0)[0], name)
    if not answer.success:
        raise RuntimeError(f"init_target: {answer.message}")
    taken, followed = [], 0
    processor_before, began = rig.processor_seconds(pid), time.perf_counter()
    for number in range(options.warm_up + options.images):
        taken.append(line.send(messages[number % len(messages)]))
        followed += number >= options.warm_up and name in line.seen
        time.sleep(max(0.0, began + (number + 1) / options.rate - time.perf_counter()))
    share = (rig.processor_seconds(pid) - processor_before) / (time.perf_counter() - began)
    rig.remove_target(node, "/bench/tracker", name)
    milliseconds = 1000 * np.array(taken[options.warm_up :])
    p50, p95, p99 = (float(value) for value in np.nanpercentile(milliseconds, (50, 95, 99)))
    return {
        "size": f"{size[0]}x{size[1]}",
        "images": "JPEG" if compressed else "raw",
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "without_answer": int(np.isnan(milliseconds).sum()),
        "followed": followed / options.images,
        "node_share": share,
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measures all figures of one run."""
    models = options.models.split(",")
    spec = Tracker(models[0], device="cpu", engine="torch").spec
    engines = options.engines.split(",") if options.engines else [*installed(spec), *with_eight_bits(spec)]
    ours = [f"{OWN}:{engine}:{model}" for model in models for engine in engines]
    rows, left_out = times(options, [*ours, *filter(None, options.peers.split(","))])
    if options.validation:
        accuracy(options, rows)
    return {
        "machine": {
            "processor": processor(),
            "extensions": list(extensions()),
            "cores": os.cpu_count(),
            "threads": options.threads,
            "libraries": versions(spec),
            "python": platform.python_version(),
        },
        "size": options.size,
        "rounds": options.rounds,
        "trackers": rows,
        "latency": latency(options) if options.images else [],
        "rate": options.rate,
        "left_out": left_out,
    }


def table(result: dict[str, Any]) -> str:
    """Formats the result as Markdown."""
    machine = result["machine"]
    lines = [
        f"{machine['processor']} ({' '.join(machine['extensions'])}), {machine['threads']} threads on "
        f"{machine['cores']} cores; {', '.join(machine['libraries'])}; {result['size']}, one target, "
        f"{result['rounds']} rounds in turns, each in a process of its own",
        "",
        "| tracker | best, ms | p50 | p95 | p99 | frames / s (p50) | success AUC |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(result["trackers"], key=lambda row: row["p50_ms"]):
        cells = [
            row["name"],
            *(f"{row[f'{key}_ms']:.1f}" for key in ("best", "p50", "p95", "p99")),
            f"{row['fps']:.0f}",
        ]
        cells.append(f"{row['auc']:.3f}" if "auc" in row else "-")
        lines.append(f"| {' | '.join(cells)} |")
    if result["latency"]:
        lines += [
            "",
            f"Latency of the node from the stamp of an image to its detection, at {result['rate']:g} images / s:",
            "",
            "| images | p50, ms | p95 | p99 | without an answer | target followed | node's share of a core |",
            "|---|---|---|---|---|---|---|",
        ]
    for row in result["latency"]:
        cells = [f"{row['size']} {row['images']}", *(f"{row[f'{key}_ms']:.1f}" for key in ("p50", "p95", "p99"))]
        cells += [str(row["without_answer"]), f"{row['followed']:.0%}", f"{row['node_share']:.0%}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- left out: {name}: {reason}" for name, reason in result["left_out"].items())]
    return "\n".join(lines).rstrip()


def picture(result: dict[str, Any]) -> Figure:
    """Draws one point for each tracker and engine: milliseconds of a frame, and success AUC."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.8, 4.4))
    markers = itertools.cycle("sD^vP")  # of peers
    rows = [row for row in result["trackers"] if "auc" in row]
    for row in rows:
        colour, marker = COLOURS.get(row["engine"], "#000000"), "o" if row["engine"] else next(markers)
        axes.plot([row["best_ms"], row["p95_ms"]], [row["auc"]] * 2, color=colour, linewidth=0.8)
        axes.plot(row["p50_ms"], row["auc"], marker, color=colour, markersize=8, label=row["name"])
    middle = sum(row["auc"] for row in rows) / len(rows)
    reach = max(0.05, *(1.2 * abs(row["auc"] - middle) for row in rows))  # so that small differences look small
    axes.set_xscale("log")
    ticks = [tick for tick in TICKS if 0.5 * axes.get_xlim()[0] < tick < 2 * axes.get_xlim()[1]]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(color="#e4e4e4")
    axes.set(
        ylim=(middle - reach, middle + reach),
        xlabel=f"ms of a frame: p50, with a line from the best to p95; {result['machine']['threads']} threads",
        ylabel="success AUC on validation",
        title=f"{result['machine']['processor']}: upper left is better",
    )
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="snscf_nano", help="separated by commas (default snscf_nano)")
    parser.add_argument("--engines", help="separated by commas (default: those that auto compares, and 8 bits if made)")
    parser.add_argument(
        "--peers",
        default="",
        help="OpenCV's mil, kcf, csrt; by ONNX Runtime fear:TEMPLATE.onnx:TRACK.onnx, nanotrack2: or "
        "nanotrack3:BACKBONE.onnx:HEAD.onnx; separated by commas",
    )
    parser.add_argument("--peer-python", type=Path, help="interpreter whose OpenCV has the peers (default: this one)")
    parser.add_argument("--validation", type=Path, metavar="FOLDER", help="sequences for the success AUC")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--size", default="640x480", help="size of the frames")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--warm-up", type=int, default=10, help="rounds, and images of the node, that do not count")
    parser.add_argument("--images", type=int, default=300, help="images of each kind for the latency; 0: no latency")
    parser.add_argument("--rate", type=float, default=30.0, help="images / s for the latency")
    parser.add_argument("--output", type=Path, default=Path("speed_output"), help="folder (default speed_output)")
    options = parser.parse_args()
    kinds = (*PEERS, *ONNX_PEERS)
    for text in filter(None, options.peers.split(",")):
        if text.partition(":")[0] not in kinds:
            parser.error(f"unknown peer {text!r}; there are {', '.join(kinds)}")
    if options.rounds < 3 or options.images < 0:
        parser.error("--rounds must be at least 3, and --images not negative")
    options.device = "cpu"
    result = measure(options)
    text = table(result)
    options.output.mkdir(parents=True, exist_ok=True)
    write_file(options.output / "speed.json", json.dumps(result, indent=1) + "\n")
    write_file(options.output / "speed.md", text + "\n")
    print(text)
    if options.validation:
        import matplotlib

        matplotlib.use("agg")
        figure = picture(result)
        figure.savefig(options.output / "speed.svg", bbox_inches="tight", metadata={"Date": None}, facecolor="white")
    print(f"\n{options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
