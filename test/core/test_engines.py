# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The network on other runtimes: the same results, and never silently other ones."""

from __future__ import annotations

import copy
import gc
import json
import os
import shutil
import subprocess
import sys
import threading
import weakref
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from snscf_core import ENGINES, MODELS, Target, Tracker, TrackerConfig, TrackState
from snscf_core.boxes import iou
from snscf_core.commands.cli import main
from snscf_core.commands.quantisation_data import collect, sources
from snscf_core.devices import CPU, Device
from snscf_core.engines import Engine, NetworkSpec, agreement, engine_cache, engine_selection, make
from snscf_core.engines.comparison import Comparison, compare
from snscf_core.engines.export import export
from snscf_core.engines.exported import MANIFEST, VERSION, DamagedExport
from snscf_core.engines.graph import LightProposalGraph, ProposalGraph, SearchGraph
from snscf_core.engines.recording import Recorded, RecordingError, Result, Step
from snscf_core.engines.search_output import SearchOutput, output
from snscf_core.engines.torch_engine import TorchEngine
from snscf_core.model import acf
from snscf_core.model.checkpoints import IMAGENET_FILES, Weights, save
from snscf_core.model.network import SNSCF, SNSCFNano, create
from snscf_core.model.rpn import anchors
from snscf_core.model.ssf import spatially_semantic_features
from snscf_core.online.adaptation import Learning, Lesson
from snscf_core.online.mode import mode_named
from snscf_core.online.tensor_selection import TensorSelector

FORMATS = {"onnxruntime": "onnx", "openvino": "openvino"}
# what a GPU does, on the CPU: with tensors
TENSORS = Device(uses_arrays=False)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """A cache of its own, that all tests here share."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(params=FORMATS)
def runtime(request) -> str:
    for library in (request.param, "onnx"):
        pytest.importorskip(library)
    return request.param


@pytest.fixture
def nothing_chosen(cache) -> None:
    """Forgets all choices, but keeps the exports."""
    (cache / "snscf" / "engines" / "choices.json").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Path:
    """Small weights with heads, untrained."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("heads")
    save(lively(create("snscf_nano", 32)), folder)
    return folder


def lively(network: SNSCF) -> SNSCF:
    """With statistics, biases and fusion weights that matter."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for values, low, high in (
                    (module.weight, 0.5, 1.5),
                    (module.bias, -0.5, 0.5),
                    (module.running_mean, -0.1, 0.1),
                    (module.running_var, 0.5, 1.5),
                ):
                    values.copy_(torch.rand(values.shape, generator=generator) * (high - low) + low)
        for values in (network.beta, network.gamma):
            values.copy_(torch.randn(3, generator=generator))
    return network.eval().requires_grad_(False)


def pictures(count: int) -> list[tuple[np.ndarray, tuple[float, float, float, float]]]:
    """A patch that moves over a background, and its box."""
    rng = np.random.default_rng(0)
    ground, thing = (
        cv2.resize(rng.integers(0, 256, (h // 8, w // 8, 3), np.uint8), (w, h), interpolation=cv2.INTER_CUBIC)
        for h, w in ((240, 320), (56, 48))
    )
    out = []
    for step in range(count):
        frame, x, y = ground.copy(), 60 + 5 * step, 60 + 2 * step
        frame[y : y + 56, x : x + 48] = thing
        out.append((frame, (float(x), float(y), 48.0, 56.0)))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_folded_graph_is_the_network(name):
    torch.manual_seed(0)
    network = lively(create(name, channels=64))
    images = torch.rand(2, 255, 255, 3).mul(255).byte()
    with torch.inference_mode():
        search = images.permute(0, 3, 1, 2).float()
        template = network.template(network.reduce(network.extract(search[:, :, 64:191, 64:191])))
        taps = network.extract(search)
        proposals = network.propose(template, network.reduce(taps))
        graph = LightProposalGraph if isinstance(network, SNSCFNano) else ProposalGraph
        found = output(*graph(network)(images, network.kernels(template)))
        some = SearchGraph(network, (0, 1), reduce=False)(images)
        interleaved = SearchGraph(network, (0, 1), reduce=False)
        interleaved.read_interleaved()
        assert torch.allclose(interleaved(images), some, rtol=1e-3, atol=1e-4 * float(some.abs().max()))
    features = network.filter_features(taps, network.reduce(taps))
    expected = (torch.cat(features, 1), proposals.scores, proposals.deltas)
    for a, b in zip(expected, found, strict=True):
        assert a.shape == b.shape
        assert float((a - b).norm() / a.norm()) < 1e-5
    on_one_grid = spatially_semantic_features(taps[:2], 31)
    assert torch.allclose(some, torch.cat(on_one_grid, 1), rtol=1e-3, atol=1e-4 * float(taps[1].abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "mode"), [("heads", "snscf"), ("heads", "correlation_filter"), ("snscf_r50", "snscf")]
)
def test_an_engine_says_what_torch_says(runtime, model, mode, heads):
    source = heads if model == "heads" else model
    reference = Tracker(source, device="cpu", mode=mode, engine="torch")
    tracker = Tracker(source, device="cpu", mode=mode, engine=runtime)
    assert tracker.engine == runtime
    crops, kernels = tracker.spec.example(3)
    with torch.inference_mode():
        expected, found = (one.runtime.search(crops, kernels) for one in (reference, tracker))
    for a, b in zip(expected, found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert float((a - b).norm() / a.norm()) < 1e-4


@pytest.mark.slow
def test_an_engine_finds_the_boxes_of_torch(runtime):
    reference, tracker = (Tracker("snscf_nano", device="cpu", engine=name) for name in ("torch", runtime))
    (frame, box), *rest = pictures(8)
    target = reference.init(frame, box)
    assert np.allclose(tracker.init(frame, box).size_factors, target.size_factors, atol=1e-4)
    for frame, truth in rest:
        twin = copy.deepcopy(target)
        a, b = reference.update(frame, target), tracker.update(frame, twin)
        assert np.allclose(a.box, b.box, atol=0.02) and a.score == pytest.approx(b.score, abs=1e-3)
        assert a.state == b.state == TrackState.TRACKED and iou(a.box, truth) > 0.6


def test_imagenet_features_run_on_every_engine(runtime, imagenet):
    file = imagenet / IMAGENET_FILES["snscf_nano"]
    reference, tracker = (Tracker(file, device="cpu", engine=name) for name in ("torch", runtime))
    (frame, box), *rest = pictures(6)
    targets = [reference.init(frame, box), tracker.init(frame, box)]
    for frame, _ in rest:
        a, b = (used.update(frame, one) for used, one in zip((reference, tracker), targets, strict=True))
        assert np.allclose(a.box, b.box, atol=0.02)
        assert a.peak_quality == pytest.approx(b.peak_quality, rel=1e-3)
    assert tracker.engine == runtime


@pytest.mark.slow
def test_more_targets_than_a_batch_are_run_in_several(runtime, heads, tmp_path):
    spec = Tracker(heads, device="cpu", engine="torch").spec
    export(spec, FORMATS[runtime], tmp_path / "two", batch=2)
    crops, kernels = spec.example(3)
    with torch.inference_mode():
        expected = TorchEngine(spec).search(crops, kernels)
        found = make(tmp_path / "two", spec).search(crops, kernels)
    assert found.features.shape == expected.features.shape
    for a, b in zip(expected, found, strict=True):
        assert float((a - b).norm() / a.norm()) < 1e-4


def with_two_threads(heads: Path) -> tuple[NetworkSpec, Engine]:
    pytest.importorskip("openvino")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        spec = Tracker(heads, device="cpu", engine="torch").spec
        return spec, make("openvino", spec)
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_openvino_runs_two_targets_side_by_side_to_the_same_bits(heads):
    spec, engine = with_two_threads(heads)
    crops, kernels = spec.example(5)
    alone = [engine.search(crops[n : n + 1], kernels[n : n + 1]) for n in range(5)]
    assert engine._pairs is None, "one target alone needs none"
    first = engine.search(crops, kernels)  # while they are made
    assert len(engine._pairs.result(timeout=120)) == 2
    second = engine.search(crops, kernels)
    for together in (first, second):
        for parts in zip(together, *alone, strict=True):
            assert torch.equal(parts[0], torch.cat(parts[1:]))


def test_an_export_of_other_weights_is_refused(runtime, heads, tmp_path):
    mine = Tracker(heads, device="cpu", engine="torch").spec
    export(mine, FORMATS[runtime], tmp_path / "mine")
    torch.manual_seed(5)
    save(lively(create("snscf_nano", 32)), tmp_path / "other")
    with pytest.raises(ValueError, match=f"exported from other weights .*{mine.digests[0][:12]}"):
        Tracker(tmp_path / "other", device="cpu", engine=tmp_path / "mine")


@pytest.mark.slow
def test_an_export_without_heads_is_refused_where_they_are_needed(runtime, heads, tmp_path):
    spec = Tracker(heads, device="cpu", mode="correlation_filter", engine="torch").spec
    export(spec, FORMATS[runtime], tmp_path / "filters")
    with pytest.raises(ValueError, match="without the heads"):
        Tracker(heads, device="cpu", mode="snscf", engine=tmp_path / "filters")
    whole = Tracker(heads, device="cpu", mode="snscf", engine="torch").spec
    export(whole, FORMATS[runtime], tmp_path / "whole")
    served = Tracker(heads, device="cpu", mode="correlation_filter", engine=tmp_path / "whole")
    assert served.engine == runtime
    crops, _ = served.spec.example(3)
    served.runtime.prepare()
    expected = TorchEngine(served.spec).search(crops, None)
    found = served.runtime.search(crops, None)
    assert found.scores is None
    assert float((expected.features - found.features).norm() / expected.features.norm()) < 1e-4


def test_an_export_of_another_version_is_refused(runtime, heads, tmp_path):
    export(Tracker(heads, device="cpu", engine="torch").spec, FORMATS[runtime], tmp_path)
    file = tmp_path / MANIFEST
    manifest = json.loads(file.read_text())
    del manifest["search_size"]
    file.write_text(json.dumps({**manifest, "version": 1}))
    with pytest.raises(ValueError, match=r"another version of snscf \(1\): export it again"):
        Tracker(heads, device="cpu", engine=tmp_path)


def test_openvino_that_gets_no_thread_runs_several_targets_one_after_the_other(heads, monkeypatch, caplog):
    spec, engine = with_two_threads(heads)
    expected = engine.search(*(part[:1] for part in spec.example(3)))

    def none(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    found = engine.search(*spec.example(3))
    assert torch.equal(found.features[:1], expected.features)
    assert "one after the other: can't start new thread" in caplog.text


def test_a_damaged_engine_that_was_named_is_refused(runtime, heads, tmp_path):
    spec = Tracker(heads, device="cpu", engine="torch").spec
    export(spec, FORMATS[runtime], tmp_path / "broken")
    for file in (tmp_path / "broken").iterdir():
        if file.name != MANIFEST:
            file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DamagedExport, match="is damaged: it has 200 of"):
        Tracker(heads, device="cpu", engine=tmp_path / "broken")


@pytest.mark.slow
def test_an_engine_that_computes_something_else_is_replaced_with_a_warning(runtime, heads, tmp_path, caplog):
    """Its graphs are those of other weights, which nobody has noticed."""
    torch.manual_seed(6)
    save(lively(create("snscf_nano", 32)), tmp_path / "other")
    for name, weights in (("engine", heads), ("another", tmp_path / "other")):
        export(Tracker(weights, device="cpu", engine="torch").spec, FORMATS[runtime], tmp_path / name)
    for file in (tmp_path / "another").glob("search.*"):
        shutil.copy(file, tmp_path / "engine")
    manifest = json.loads((tmp_path / "engine" / MANIFEST).read_text())
    (tmp_path / "engine" / MANIFEST).write_text(json.dumps({**manifest, "files": {}}))
    tracker = Tracker(heads, device="cpu", engine=tmp_path / "engine")
    assert tracker.engine == "torch"
    assert "differ from torch's" in caplog.text


@pytest.mark.parametrize("text", ["{}", "no json", f'{{"version": {VERSION}}}'])
def test_a_damaged_manifest_is_refused(text, heads, tmp_path):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=MANIFEST):
        Tracker(heads, device="cpu", engine=tmp_path)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(FileNotFoundError, match="holds no exported network"):
        Tracker(heads, device="cpu", engine=tmp_path)


@pytest.mark.parametrize("name", ["torch-int8", "cuda_graphs-bf16", "openvino-int4", "no/such/folder"])
def test_engines_that_can_not_be_are_refused(name, heads):
    with pytest.raises(ValueError, match="unknown engine"):
        Tracker(heads, device="cpu", engine=name)


def test_what_has_to_be_made_first_says_how(runtime, heads):
    with pytest.raises(ValueError, match=r"snscf export --format .* --precision int8"):
        Tracker(heads, device="cpu", engine=f"{runtime}-int8")


def test_engines_for_gpus_are_refused_on_a_cpu(heads):
    with pytest.raises(ValueError, match="needs a CUDA device"):
        Tracker(heads, device="cpu", engine="cuda_graphs")
    wanted = "needs tensorrt" if find_spec("tensorrt") is None else "has to be made first"
    with pytest.raises(ValueError, match=wanted):
        Tracker(heads, device="cpu", engine="tensorrt")


@pytest.mark.slow
def test_each_size_of_search_crops_has_its_own_export(runtime, heads, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    small = TrackerConfig(search_size=191)
    for config in (None, small):
        assert Tracker(heads, device="cpu", engine=runtime, config=config).engine == runtime
    folders = sorted((tmp_path / "snscf" / "engines").glob("*/engine.json"))
    assert sorted(json.loads(file.read_text())["search_size"] for file in folders) == [191, 255]
    spec = Tracker(heads, device="cpu", engine="torch", config=small).spec
    crops, kernels = spec.example(2)
    assert crops.shape == (2, 191, 191, 3)
    found = make(runtime, spec).search(crops, kernels)
    assert found.features.shape[-2:] == (23, 23) and found.scores.shape[-2:] == (11, 11)
    of_255 = next(file.parent for file in folders if json.loads(file.read_text())["search_size"] == 255)
    with pytest.raises(ValueError, match="for search crops of 255 pixels, the tracker's have 191"):
        Tracker(heads, device="cpu", engine=of_255, config=small)


def timed(monkeypatch, times: dict[str, float], clear: bool = True) -> list[tuple[str, ...]]:
    """Makes comparisons find these times; returns a list that gets the names of each comparison's engines."""
    compared: list[tuple[str, ...]] = []

    def found(engines, spec):
        compared.append(tuple(engines))
        return Comparison({name: times[name] for name in engines}, clear)

    monkeypatch.setattr(engine_selection, "compare", found)
    return compared


def disagreeing(monkeypatch, name: str) -> None:
    """Lets the engine of that name give something else than torch."""
    right = agreement.check

    def check(engine: Engine, *others: object) -> float:
        if engine.name == name:
            raise agreement.Disagreement("something else")
        return right(engine, *others)

    monkeypatch.setattr(engine_selection, "check", check)


@pytest.mark.slow
def test_auto_takes_the_fastest_that_agrees_and_remembers_it(runtime, heads, nothing_chosen, monkeypatch):
    spec = Tracker(heads, device="cpu", engine="torch").spec
    names = engine_selection.installed(spec)
    assert names[0] == "torch" and runtime in names
    compared = timed(monkeypatch, dict.fromkeys(names, 2.0) | {runtime: 1.0})
    assert Tracker(heads, device="cpu").engine == runtime
    with monkeypatch.context() as patch:
        patch.setattr(engine_selection, "_torch", lambda _: pytest.fail("torch is not needed"))
        assert Tracker(heads, device="cpu").engine == runtime
    assert len(compared) == 1, "nothing is timed again"
    # What does not give what torch gives any more is not used, even if it did when it was chosen.
    disagreeing(monkeypatch, runtime)
    assert Tracker(heads, device="cpu").engine != runtime
    assert len(compared) == 1


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "null", '{"here": {}}', '{"here": null}', "cut", "no torch", "a list", "a text", "\udcff"]
)
def test_a_choice_that_cannot_be_read_is_made_again(damage, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    choice = engine_cache.Choice("torch", True, 1, {"torch": 1.0, "openvino": 2.0}, {"torch": 0.0}, "now")
    for key in ("other", "here"):
        engine_cache.remember(key, choice)
        assert engine_cache.remembered(key) == choice
    file = engine_cache.choices_file()
    values = json.loads(file.read_text())
    changed = {"no torch": {"openvino": 1.0}, "a list": [1.0], "a text": {"torch": "fast"}}
    if damage in changed:
        values["here"]["seconds"] = changed[damage]
    whole = json.dumps(values)
    text = whole if damage in changed else whole[: len(whole) // 2] if damage == "cut" else damage
    file.write_text(text, errors="surrogateescape")
    assert engine_cache.remembered("here") is None
    engine_cache.remember("here", choice)
    assert engine_cache.remembered("here") == choice


def test_only_the_newest_choices_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    choice = engine_cache.Choice("torch", True, 1, {"torch": 1.0})
    for number in (*range(70), 20):
        engine_cache.remember(str(number), choice)
    assert list(json.loads(engine_cache.choices_file().read_text())) == [
        *map(str, (*range(6, 20), *range(21, 70))),
        "20",
    ]


@pytest.mark.slow
def test_a_disturbed_comparison_is_repeated_and_the_best_times_count(heads, nothing_chosen, monkeypatch):
    runtime = "onnxruntime"
    for library in (runtime, "onnx"):
        pytest.importorskip(library)
    spec = Tracker(heads, device="cpu", engine="torch").spec
    names = engine_selection.installed(spec)
    quiet = dict.fromkeys(names, 2.0) | {runtime: 1.0}
    timed(monkeypatch, dict.fromkeys(names, 5.0) | {"torch": 3.0}, clear=False)
    assert make("auto", spec).name == "torch"
    compared = timed(monkeypatch, quiet)
    assert make("auto", spec).name == runtime, "the first comparison was not remembered for good"
    assert make("auto", spec).name == runtime and len(compared) == 1
    # The machine is never quiet: the third comparison is the last, and none unmakes the best times.
    before = engine_selection.choose(spec, again=True).choice
    assert before.settled and before.comparisons == 1
    timed(monkeypatch, quiet, clear=False)
    first = engine_selection.choose(spec, again=True).choice
    compared = timed(monkeypatch, dict.fromkeys(names, 9.0) | {"torch": 4.0}, clear=False)
    choices = [engine_selection.choose(spec).choice for _ in range(3)]
    assert [one.comparisons for one in (first, *choices)] == [1, 2, 3, 3] and len(compared) == 2
    assert [one.settled for one in (first, *choices)] == [False, False, True, True]
    assert {one.engine for one in choices} == {runtime} and choices[-1].seconds == quiet


@pytest.mark.slow
def test_another_machine_compares_anew(heads, nothing_chosen, monkeypatch):
    runtime = "onnxruntime"
    for library in (runtime, "onnx"):
        pytest.importorskip(library)
    spec = Tracker(heads, device="cpu", engine="torch").spec
    monkeypatch.setattr(engine_selection, "extensions", lambda: ("avx2",))
    assert "openvino-bf16" not in engine_selection.installed(spec), "without instructions for it, it is slow"
    compared = timed(monkeypatch, dict.fromkeys([*engine_selection.installed(spec), "openvino-bf16"], 2.0))
    changes = [
        lambda: None,
        lambda: monkeypatch.setattr(engine_selection, "extensions", lambda: ("amx_bf16", "avx2")),
        lambda: monkeypatch.setattr(engine_selection, "processor", lambda: "Another"),
        lambda: monkeypatch.setattr(engine_selection, "available_cores", lambda: 77),
        lambda: monkeypatch.setattr(engine_selection.metadata, "version", lambda _: "77.0"),
    ]
    threads = torch.get_num_threads()
    try:
        for count, change in enumerate(changes, start=1):
            change()
            for _ in range(2):
                make("auto", spec)
            assert len(compared) == count
        torch.set_num_threads(threads + 1)
        make("auto", spec)
        assert len(compared) == len(changes) + 1
    finally:
        torch.set_num_threads(threads)
    if find_spec("openvino"):
        assert "openvino-bf16" not in compared[0] and "openvino-bf16" in compared[-1]


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({"torch": 1.0, "onnxruntime": 0.97}, "torch"),
        ({"torch": 1.0, "onnxruntime": 0.9}, "onnxruntime"),
        ({"torch": 1.0, "openvino": 0.5, "openvino-bf16": 0.47}, "openvino"),
        ({"torch": 1.0, "openvino": 0.5, "openvino-bf16": 0.3}, "openvino-bf16"),
        ({"torch": 1.0, "openvino": 1.2, "openvino-bf16": 0.93}, "torch"),
        ({"openvino": 1.0, "onnxruntime": 0.97}, "onnxruntime"),
        ({"openvino-bf16": 1.0}, "openvino-bf16"),
    ],
)
def test_another_library_and_rounding_must_be_worth_it(times, chosen):
    assert engine_selection.fastest(times) == chosen


@pytest.mark.slow
def test_engines_are_printed_with_times_and_reasons(heads, nothing_chosen, monkeypatch, capsys):
    command = ["engines", "--model", str(heads), "--device", "cpu"]
    runtime = "onnxruntime"
    for library in (runtime, "onnx"):
        pytest.importorskip(library)
    spec = Tracker(heads, device="cpu", engine="torch").spec
    names = engine_selection.installed(spec)
    compared = timed(monkeypatch, dict.fromkeys(names, 2e-3) | {runtime: 1e-3})
    assert main(command) == main(command) == 0
    said = capsys.readouterr().out
    assert said.count(f"chosen: {runtime}, 2.00 times as fast as ") == 2 and len(compared) == 1
    assert f"torch {torch.__version__}" in said and all(name in said for name in names)
    if "openvino" in names:
        file = heads / "snscf_nano.safetensors"
        assert f"snscf export --format openvino --precision int8 --model {file} --calibrate" in said
    assert Tracker(heads, device="cpu").engine == runtime and len(compared) == 1, "auto takes what was printed"
    timed(monkeypatch, dict.fromkeys(names, 1.95e-3) | {"torch": 2e-3}, clear=False)
    assert main([*command, "--again"]) == 0
    said = capsys.readouterr().out
    assert "chosen: torch, because" in said and "which another library or rounding is not worth" in said
    assert "not settled: other work disturbed the comparison" in said


@pytest.mark.slow
def test_damaged_exports_are_made_anew(runtime, heads, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spec = Tracker(heads, device="cpu", engine="torch").spec
    make(runtime, spec)
    (folder,) = (tmp_path / "snscf" / "engines").glob("*/")
    # The manifest holds the sizes and digests of all others, so a part of them will do.
    files = sorted([folder / MANIFEST, folder / agreement.EXAMPLE, *folder.glob("search.*")])
    whole = {file: file.read_bytes() for file in files}
    assert {file.suffix for file in files} >= {".json", ".onnx" if runtime == "onnxruntime" else ".bin"}
    for file in files:
        file.write_bytes(whole[file][: len(whole[file]) // 2])
        caplog.clear()
        assert make(runtime, spec).name == runtime
        assert f"the engine {runtime} has to be made again ({file}" in caplog.text
        caplog.clear()
        assert make(runtime, spec).name == runtime
        assert "made again" not in caplog.text, "it is whole again"
    # a folder that the user names is not touched
    damaged = bytearray(files[-1].read_bytes())
    damaged[len(damaged) // 2] ^= 1
    files[-1].write_bytes(damaged)
    with pytest.raises(ValueError, match="is damaged: its content is not what was written"):
        Tracker(heads, device="cpu", engine=folder)


@pytest.mark.slow
def test_an_engine_that_failed_is_tried_again_at_the_next_start(runtime, heads, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spec = Tracker(heads, device="cpu", engine="torch").spec
    compared = timed(monkeypatch, dict.fromkeys(engine_selection.installed(spec), 2.0) | {runtime: 1.0})
    right, state = engine_selection._engine, {"fails": True}

    def failing(wanted: str, spec: NetworkSpec) -> Engine:
        if wanted == runtime and state["fails"]:
            raise OSError("no space left")
        return right(wanted, spec)

    monkeypatch.setattr(engine_selection, "_engine", failing)
    assert Tracker(heads, device="cpu").engine == "torch"
    assert f"the engine {runtime} is left out" in caplog.text
    state["fails"] = False
    assert Tracker(heads, device="cpu").engine == runtime
    # The remembered engine fails. The next in speed takes its place until the first one works again.
    state["fails"] = True
    assert Tracker(heads, device="cpu").engine == "torch"
    state["fails"] = False
    assert Tracker(heads, device="cpu").engine == runtime
    assert len(compared) == 2, "the next in speed was remembered"


@pytest.mark.slow
def test_exports_of_weights_that_nobody_used_of_late_are_discarded(runtime, heads, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kind, engines = FORMATS[runtime], tmp_path / "snscf" / "engines"
    old = [engines / f"snscf_r50-{kind}-f32-{age:012d}" for age in range(20)]
    calibrated = engines / f"snscf_r50-{kind}-int8-{0:012d}"
    for age, folder in enumerate([*old, calibrated]):
        folder.mkdir(parents=True)
        os.utime(folder, (1e9 - age, 1e9 - age))
    spec = Tracker(heads, device="cpu", engine="torch").spec
    make(runtime, spec)
    left = {path for path in engines.iterdir() if path.is_dir()}
    (new,) = left - {*old, calibrated}
    assert left == {new, calibrated, *old[:7]}, "8 bits take a user's frames and minutes: they stay"
    os.utime(new, (1e8, 1e8))
    make(runtime, spec)
    assert new.stat().st_mtime > 1e9, "what is used is new"


@pytest.mark.slow
def test_the_real_clock_is_read(runtime, heads):
    spec = Tracker(heads, device="cpu", engine="torch").spec
    found = compare({"torch": TorchEngine(spec), runtime: make(runtime, spec)}, spec, rounds=(1, 2))
    assert list(found.seconds) == ["torch", runtime] and all(0 < took < 60 for took in found.seconds.values())
    assert not compare({"torch": TorchEngine(spec)}, spec, rounds=(1, 1)).clear, "one turn proves nothing"


@pytest.mark.slow
def test_without_a_cache_an_engine_is_made_for_once(runtime, heads, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    tracker = Tracker(heads, device="cpu", engine=runtime)
    ((frame, box),) = pictures(1)
    tracker.init(frame, box)  # reads the graphs of templates from the folder that it was made in
    assert tracker.engine == runtime
    assert Tracker(heads, device="cpu").engine.partition("-")[0] in ENGINES


@pytest.mark.slow
def test_signals_do_no_harm_after_an_engine_was_dropped_in_another_thread(heads):
    pytest.importorskip("openvino")
    program = """
import faulthandler, gc, os, signal, sys, threading
faulthandler.enable()  # gives the main thread a stack for signals, as pytest does
from snscf_core import Tracker
trackers = [Tracker(sys.argv[1], device="cpu", engine="openvino")]
assert trackers[0].engine == "openvino"
signal.signal(signal.SIGTERM, lambda *_: print("received"))
dropping = threading.Thread(target=lambda: (trackers.clear(), gc.collect()))
dropping.start()
dropping.join()
os.kill(os.getpid(), signal.SIGTERM)
"""
    ended = subprocess.run([sys.executable, "-c", program, str(heads)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "received\n"), ended.stderr


@pytest.mark.slow
def test_no_foreign_host_is_looked_up_and_no_id_is_kept(heads, tmp_path):
    for library in ("openvino", "onnxruntime", "onnx", "nncf"):
        pytest.importorskip(library)
    resolver = Path(__file__).with_name("resolver.py")
    tracker = """
import socket, sys, time
from contextlib import suppress
from snscf_core import Tracker
from snscf_core.optional_import import import_optional
with suppress(OSError):
    socket.getaddrinfo("looked.up.by.the.test", 80)
import_optional("nncf")
for engine in ("openvino", "onnxruntime", "auto"):
    Tracker(sys.argv[1], device="cpu", engine=engine)
time.sleep(5)  # reports are sent in the background
"""
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "XDG_CACHE_HOME")}
    ended = subprocess.run(
        [
            *("unshare", "--map-root-user", "--net", "--mount"),
            *(sys.executable, str(resolver), str(tmp_path / "names")),
            *(sys.executable, "-c", tracker, str(heads)),
        ],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode == 77 or "unshare failed" in ended.stderr:
        pytest.skip(f"there can be no network of its own here: {ended.stderr.strip()}")
    assert ended.returncode == 0, ended.stderr
    assert set((tmp_path / "names").read_text().split()) == {"looked.up.by.the.test"}
    kept = {path.name for path in (*tmp_path.iterdir(), *(tmp_path / ".cache").iterdir())}
    assert kept == {"names", "resolv.conf", ".cache", "snscf"}


def test_an_interrupted_export_leaves_nothing(heads, tmp_path, monkeypatch):
    spec = Tracker(heads, device="cpu", engine="torch").spec
    monkeypatch.setattr("snscf_core.engines.export.write_onnx", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(spec, "onnx", tmp_path / "engine")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def scene(tmp_path) -> list[tuple[np.ndarray, tuple[float, float, float, float]]]:
    """40 pictures and their boxes, also stored in the folder ``scene`` to calibrate on."""
    frames = pictures(40)
    (tmp_path / "scene" / "img").mkdir(parents=True)
    for index, (frame, _) in enumerate(frames):
        cv2.imwrite(str(tmp_path / "scene" / "img" / f"{index:04d}.png"), frame)
    rows = (",".join(map(str, box)) for _, box in frames)
    (tmp_path / "scene" / "groundtruth_rect.txt").write_text("\n".join(rows))
    return frames


@pytest.mark.slow
@pytest.mark.parametrize(("runtime", "mode"), [("openvino", "snscf"), ("onnxruntime", "correlation_filter")])
def test_eight_bits_are_made_from_frames_and_never_chosen_by_themselves(
    runtime, mode, scene, tmp_path, monkeypatch, capsys
):
    for library in (runtime, "onnx", *(["nncf"] if runtime == "openvino" else [])):
        pytest.importorskip(library)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    command = ["export", "--format", FORMATS[runtime], "--precision", "int8", "--calibrate", str(tmp_path / "scene")]
    assert main([*command, "--mode", mode, "--frames", "12"]) == 0
    assert f"use it with engine: {runtime}-int8" in capsys.readouterr().out

    tracker = Tracker("snscf_nano", device="cpu", mode=mode, engine=f"{runtime}-int8")
    assert tracker.engine == f"{runtime}-int8"
    manifest = json.loads(next(tmp_path.glob("snscf/engines/*int8*/engine.json")).read_text())
    assert manifest["made_with"]["calibrated on"] == "12 frames"
    if mode == "snscf":
        target = tracker.init(*scene[0])
        overlaps = [iou(tracker.update(frame, target).box, truth) for frame, truth in scene[1:]]
        assert np.mean(overlaps) > 0.7
    assert "int8" not in Tracker("snscf_nano", device="cpu", mode=mode).engine


@pytest.mark.slow
def test_eight_bits_that_are_too_far_from_torch_are_refused(scene, tmp_path, monkeypatch, capsys, caplog):
    for library in ("onnxruntime", "onnx"):
        pytest.importorskip(library)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(agreement.TOLERANCE, "int8", 0.05)
    command = ["export", "--format", "onnx", "--precision", "int8", "--calibrate", str(tmp_path / "scene")]
    assert main([*command, "--model", "snscf_nano", "--frames", "12"]) == 1
    said = capsys.readouterr()
    assert "does not work here, see the warning above" in said.err and "use it with engine" not in said.out
    assert "failed, torch runs the network instead: Disagreement" in caplog.text


def test_calibration_sees_what_the_tracker_sees(heads, tmp_path):
    tracker = Tracker(heads, device="cpu", engine="torch")
    (frame, box), *rest = pictures(8)
    items = collect(tracker, [([frame, *(frame for frame, _ in rest)], box)], 2)
    assert len(items) == 2
    seen: list[np.ndarray] = []
    target, search = tracker.init(frame, box), tracker.runtime.search
    tracker.runtime.search = lambda crops, kernels: (seen.append(crops), search(crops, kernels))[1]  # type: ignore[method-assign]
    for frame, _ in rest[:4]:
        tracker.update(frame, target)
    assert np.array_equal(items[0][0], seen[0]) and np.array_equal(items[1][0], seen[3])
    with pytest.raises(ValueError, match="nothing to calibrate on"):
        collect(tracker, [([frame], box)], 2)


def test_calibration_sources_that_can_not_be_read_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        sources(tmp_path / "none")
    (tmp_path / "video.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="--box"):
        sources(tmp_path / "video.mp4")
    with pytest.raises(ValueError, match="can't be opened"):
        sources(tmp_path / "video.mp4", (1, 2, 3, 4))
    with pytest.raises(FileNotFoundError, match="no sequences"):
        (tmp_path / "empty").mkdir()
        sources(tmp_path / "empty")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--format", "onnx", "--precision", "int8"], "--calibrate"),
        (["--format", "onnx", "--calibrate", "x"], "is for --precision int8"),
        (["--format", "onnx", "--precision", "bf16"], "bf16"),
        (["--format", "onnx", "--batch", "0"], "at least 1"),
        (["--format", "onnx", "--precision", "int8", "--calibrate", "x", "--box", "1,2"], "--box must be"),
        (["--format", "onnx", "--model", "nothing"], "nothing"),
    ],
)
def test_exports_that_can_not_be_made_say_why(options, text, tmp_path, capsys):
    assert main(["export", *options, "--output", str(tmp_path / "out")]) == 1
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_speed_benchmark_measures_what_is_there(heads, tmp_path):
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "tracking_speed.py"
    command = [sys.executable, str(script), "--models", str(heads), "--targets", "1,2", "--peers", "mil,csrt"]
    command += ["--engines", "torch,plain,steam", "--size", "160x120", "--rounds", "3", "--warm-up", "1", "--no-memory"]
    command += ["--threads", "1"]
    command += ["--json", str(tmp_path / "speed.json"), "--peak-tflops", "0.1", "--bandwidth", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "speed.json").read_text())
    ran = [(row["runs"], row["targets"], row["frames"]) for row in result["ours"]]
    assert ran == [("torch", 1, 3), ("torch", 2, 3), ("plain", 1, 3), ("plain", 2, 3)]
    assert [row["mode"] for row in result["ours"]] == ["snscf", "snscf", "siamese", "siamese"]
    for row in result["ours"]:
        assert 0 < row["best_ms"] <= row["p50_ms"] <= row["p99_ms"] and row["fps"] > 0
        for name in ("best", "p50"):
            assert sum(row[f"stages_{name}_ms"].values()) == pytest.approx(row[f"{name}_ms"])
    peers = " ".join((*result["left_out"], *(row["name"] for row in result["peers"])))
    assert "mil" in peers.lower() and "csrt" in peers.lower()
    assert "steam" in str(result["left_out"]) and 0.1 < result["networks"][str(heads)]["gflop"] < 2
    assert "network, update over floor" in done.stdout


@pytest.mark.slow
def test_the_speed_benchmark_times_a_recorded_network_alone(heads, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    import tracking_speed

    monkeypatch.setattr("snscf_core.online.tracker.device_named", lambda _: TENSORS)
    monkeypatch.setattr(TorchEngine, "recorded", lambda self, step: Replayed(step))
    tracker = Tracker(heads, device="cpu", engine="torch")
    one = tracking_speed.Ours(tracker, tracking_speed.Scene(160, 120, 2))
    one.update(1)
    assert isinstance(one.search, Replayed) and one.search.step == tracker.runtime.search
    assert not one.search.recordings, "an update needs none of its own"
    one.track(2)
    assert len(one.times) == 1 and min(one.times[0]) > 0
    assert {size for size, _ in one.search.recordings} == {2}
    one.times = [(0.010, 0.001, 0.004), (0.010, 0.003, 0.004), (0.010, 0.002, 0.004)]
    row = tracking_speed._row("model", "torch", 2, one, 0, 0.001)
    assert row["stages_best_ms"] == pytest.approx({"crop": 2, "network": 4, "filters": 4})
    over = [row[name] for name in ("update_over_network", "network_over_floor", "update_over_floor")]
    assert over == pytest.approx([2.5, 2, 5])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("engine", ["cuda_graphs", "tensorrt", "tensorrt-fp16"])
def test_a_gpu_engine_finds_the_boxes_of_torch(engine, tmp_path):
    if engine != "cuda_graphs":
        built(engine, tmp_path / "plan")
    reference = Tracker("snscf_nano", device="cuda", engine="torch")
    wanted = engine if engine == "cuda_graphs" else tmp_path / "plan"
    tracker = Tracker("snscf_nano", device="cuda", engine=wanted)
    assert tracker.engine == engine
    (frame, box), *rest = pictures(8)
    targets = [reference.init(frame, given) for given in (box, (200.0, 100.0, 50.0, 60.0), box)]
    for frame, _ in rest:
        for count in (3, 1):  # recordings of 4 and 1
            twins = copy.deepcopy(targets[:count])
            expected = reference.update(frame, copy.deepcopy(targets[:count]))
            for a, b in zip(expected, tracker.update(frame, twins), strict=True):
                assert np.allclose(a.box, b.box, atol=1.0 if "fp16" in engine else 0.5)
        reference.update(frame, targets)
    assert tracker.engine == engine
    if engine == "cuda_graphs":
        assert {size for size, _ in tracker.inference.step.recordings} == {1, 4}


def built(engine: str, folder: Path) -> None:
    """TensorRT's plan for targets two at a time."""
    pytest.importorskip("tensorrt")
    pytest.importorskip("onnx")
    spec = Tracker("snscf_nano", device="cuda", engine="torch").spec
    export(spec, "tensorrt", folder, "fp16" if "fp16" in engine else "f32", batch=2)


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_half_precision_follows_real_sequences_as_well_as_torch(data, tmp_path, capsys):
    built("tensorrt-fp16", tmp_path / "plan")
    engines = f"torch,{tmp_path / 'plan'}"
    command = ["eval", "--root", str(data / "sequences"), "--device", "cuda", "--engine", engines]
    assert main([*command, "--output", str(tmp_path / "report")]) == 0
    trackers = json.loads((tmp_path / "report" / "results.json").read_text())["trackers"].values()
    one, other = (tracker["mean"]["success_auc"] for tracker in trackers)
    assert abs(one - other) < 0.005


class Failing:
    """Fails from now on, as a runtime whose memory is gone."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.threads, self._engine = engine.name, engine.threads, engine

    def search(self, crops, kernels):
        raise MemoryError("no room for the network")


def test_an_engine_that_fails_later_is_replaced_with_a_warning(runtime, heads, caplog):
    plain, tracker = (Tracker(heads, device="cpu", engine=name) for name in ("torch", runtime))
    (frame, box), *rest = pictures(3)
    targets = [plain.init(frame, box), tracker.init(frame, box)]
    tracker.inference.step.runtime = Failing(tracker.runtime)
    for frame, _ in rest:
        a, b = (used.update(frame, one) for used, one in zip((plain, tracker), targets, strict=True))
        assert np.allclose(a.box, b.box, atol=0.02)
    assert tracker.engine == "torch"
    assert caplog.text.count(f"the engine {runtime} failed, torch runs the network instead: no room") == 1
    with pytest.raises(MemoryError):
        tracker.inference.step.runtime = Failing(tracker.runtime)
        tracker.update(frame, targets[1])


def test_an_engine_is_kept_where_torch_fails_too(runtime, heads, monkeypatch, caplog):
    tracker = Tracker(heads, device="cpu", engine=runtime)
    (frame, box), (later, _) = pictures(2)
    target = tracker.init(frame, box)
    search = tracker.inference.step
    monkeypatch.setattr("snscf_core.online.proposals.ProposalSelector.__call__", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tracker.update(later, target)
    assert tracker.engine == runtime and tracker.inference.step is search and not caplog.text


def test_an_engine_that_finds_another_box_is_replaced(heads, monkeypatch):
    spec = Tracker(heads, device="cpu", engine="torch").spec
    reference, other = TorchEngine(spec), TorchEngine(spec)
    search, crops = reference.search, [part.numpy() for part in spec.example()]
    place = int(search(*crops).scores[0].argmax())

    def moved(crops, kernels):
        found = search(crops, kernels)
        deltas = found.deltas.copy()
        anchor, row, column = np.unravel_index(place, found.scores.shape[1:])
        deltas[0, anchor, 0, row, column] += 0.07  # of the anchor's width: next to nothing among all numbers
        return found._replace(deltas=deltas)

    monkeypatch.setattr(other, "search", moved)
    other.name = "openvino-bf16"
    example = agreement.Example.of(reference, spec)
    assert agreement.check(reference, example, spec) == 0
    with pytest.raises(agreement.Disagreement, match="box overlaps torch's by"):
        agreement.check(other, example, spec)


def with_tensors(target: Target, folder: Path) -> Target:
    """The same target as a tracker on a GPU would have it."""
    target.save(folder / "target.safetensors")
    return Target.load(folder / "target.safetensors", TENSORS)


class Replayed(Recorded[Result]):
    """What a CUDA graph does, on the CPU: the step runs on memory of its own, into memory of its own."""

    def __init__(self, step: Step[Result], fault: str = "") -> None:
        super().__init__(step)
        self.fault = fault

    def record(self, inputs):
        if self.fault == "refused":
            raise RuntimeError("operation not permitted when stream is capturing")
        result = self.step(*inputs)
        result = result._make(None if part is None else part.clone() for part in result)
        used = [part.clone() for part in inputs] if self.fault == "copied" else inputs

        def replay() -> None:
            for own, new in zip(result, self.step(*used), strict=True):
                if own is not None and self.fault != "stale":
                    own.copy_(new.flip(0) if self.fault == "mixed" else new)

        return replay, result


@pytest.mark.parametrize(
    ("model", "mode"),
    [("heads", "snscf"), ("heads", "paper"), ("heads", "siamese"), ("imagenet", "correlation_filter")],
)
def test_a_recorded_step_gives_what_the_step_gives(model, mode, heads, imagenet, monkeypatch, tmp_path):
    file = heads if model == "heads" else imagenet / IMAGENET_FILES["snscf_nano"]
    plain = Tracker(file, device="cpu", engine="torch", mode=mode)
    monkeypatch.setattr("snscf_core.online.tracker.device_named", lambda _: TENSORS)
    monkeypatch.setattr(TorchEngine, "recorded", lambda self, step: Replayed(step))
    tracker = Tracker(file, device="cpu", engine="torch", mode=mode)
    tracker.warm_up()
    learning = {1, 2, 4} if mode != "siamese" else set()
    for step, sizes in ((tracker.inference.step, {1, 2, 4}), (tracker.filter_update.step, learning)):
        assert {size for size, _ in step.recordings} == sizes
    (frame, box), *rest = pictures(5)
    targets = [plain.init(frame, given) for given in (box, (200.0, 100.0, 50.0, 60.0), (90.0, 20.0, 30.0, 80.0))]
    for frame, _ in rest:
        for count in (3, 1):
            twins = copy.deepcopy(targets[:count]), [with_tensors(one, tmp_path) for one in targets[:count]]
            expected, found = plain.update(frame, twins[0]), tracker.update(frame, twins[1])
            for a, b, one, other in zip(expected, found, *twins, strict=True):
                assert np.allclose(a.box, b.box, atol=0.02) and a.score == pytest.approx(b.score, abs=1e-3)
                assert np.allclose(one.filters.numerator, other.filters.numerator.numpy(), rtol=1e-3, atol=1e-3)
        plain.update(frame, targets)


@pytest.mark.parametrize("fault", ["", "refused", "stale", "copied"])
def test_filters_that_learn_from_a_recording_keep_what_they_learned(fault, heads, monkeypatch, caplog):
    monkeypatch.setattr("snscf_core.online.tracker.device_named", lambda _: TENSORS)
    plain, recorded = (Tracker(heads, device="cpu", engine="torch") for _ in range(2))
    recorded.filter_update.step = Replayed(recorded.filter_update.learning, fault)
    ((frame, box),) = pictures(1)
    target = plain.init(frame, box)
    for count in (1, 2, 5):  # 5 are more than learn at once
        kept = []
        for seed in range(3):  # so that a recording is used again
            features = torch.randn(count, 96, 31, 31, generator=torch.Generator().manual_seed(seed))
            expected, found = ([copy.deepcopy(target) for _ in range(count)] for _ in range(2))
            for tracker, some in ((plain, expected), (recorded, found)):
                tracker.filter_update([Lesson(one, 1.1, (1.0, -2.0)) for one in some], features)
            kept += zip(expected, found, strict=True)
        for a, b in kept:
            assert torch.allclose(a.filters.numerator, b.filters.numerator, rtol=1e-4, atol=1e-4)
            assert torch.allclose(a.filters.denominator, b.filters.denominator, rtol=1e-4, atol=1e-4)
    assert caplog.text.count("the filters learn without a recording") == (fault != "")
    if not fault:
        assert {size for size, _ in recorded.filter_update.step.recordings} == {1, 2, 4}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["refused", "stale", "copied", "mixed"])
def test_what_cannot_be_recorded_is_left_to_torch_with_a_warning(fault, heads, monkeypatch, caplog):
    monkeypatch.setattr("snscf_core.online.tracker.device_named", lambda _: TENSORS)
    plain = Tracker(heads, device="cpu", engine="torch")
    monkeypatch.setattr(TorchEngine, "recorded", lambda self, step: Replayed(step, fault))
    tracker = Tracker(heads, device="cpu", engine="torch")
    if fault != "mixed":  # one crop can't be mixed up
        said = "failed: operation not" if fault == "refused" else r"replaying changes (features|scores) by up to"
        with pytest.raises(RecordingError, match=said):
            agreement.check(tracker.runtime, agreement.Example.of(plain.runtime, tracker.spec), tracker.spec)
    (frame, box), *rest = pictures(3)
    targets = [[plain.init(frame, given) for given in (box, (200.0, 100.0, 50.0, 60.0))] for _ in range(2)]
    for frame, _ in rest:
        for a, b in zip(plain.update(frame, targets[0]), tracker.update(frame, targets[1]), strict=True):
            assert a == b
    assert caplog.text.count("torch runs the network instead") == 1


def test_a_tracker_is_gone_as_soon_as_nobody_uses_it(heads):
    tracker = Tracker(heads, device="cpu", engine="torch")
    seen = weakref.ref(tracker)
    gc.disable()  # which would find it, some day
    try:
        del tracker
        assert seen() is None
    finally:
        gc.enable()


def test_learning_needs_no_values_on_the_host():
    meta = torch.device("meta")
    learning = Learning(TrackerConfig(), (32,) * 3, Device("meta", uses_arrays=False))
    views, labels = learning.views([(20.0, 30.0)] * 2, [1.0, 1.1], [(0.0, 0.0), (1.0, -1.0)])
    old = torch.empty(2, 96, 32, 17, dtype=torch.complex64, device=meta), torch.empty(2, 3, 32, 17, device=meta)
    features, gains = torch.empty(2, 96, 31, 31, device=meta), torch.empty(2, 3, device=meta)
    learned = learning(features, gains, views, labels, *old)
    assert [part.shape for part in learned] == [part.shape for part in old]
    learning.sections = (24, 72)
    learned = learning(features, gains[:, :2], views, labels)
    assert [part.shape for part in learned] == [(2, 96, 32, 17), (2, 2, 32, 17)]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["snscf", "paper", "siamese", "naive_fusion"])
def test_the_choice_needs_no_values_on_the_host(mode):
    # On the device "meta" tensors have no values: whatever would wait for one, or mix devices, fails.
    meta = torch.device("meta")
    config = TrackerConfig(centre_correction=0.2)
    given = config, mode_named(mode, trained=True), anchors(25).numpy(), (32,) * 3, [1.0] * 3
    selection = TensorSelector(*given, Device("meta", uses_arrays=False))
    found = SearchOutput(*(torch.empty(2, *s, device=meta) for s in ((96, 31, 31), (5, 25, 25), (5, 4, 25, 25))))
    parts = torch.empty(2, 96, 32, 17, dtype=torch.complex64, device=meta), torch.empty(2, 3, 32, 17, device=meta)
    filters = None if mode == "siamese" else acf.FilterBank(*parts, (32,) * 3, 0.1)
    rows = selection(found.features, found, filters, torch.empty(2, 3, device=meta), torch.empty(2, 2, device=meta))
    assert rows.shape == (2, 3, 9 + 96)


def test_only_what_is_needed_is_in_a_graph():
    network = SNSCF("snscf_r50", channels=16).eval().requires_grad_(False)
    weights = Weights("snscf_r50", (), False, (0, 1), {})
    spec = NetworkSpec(weights, (0, 1), False, CPU, loaded=network)
    graph = spec.graph()
    assert spec.sections == (512, 1024)
    with torch.inference_mode():
        assert graph(torch.zeros(1, 255, 255, 3, dtype=torch.uint8)).shape == (1, 1536, 31, 31)
