# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Tensors on disk: the format of the safetensors library, and no damaged file is believed."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snscf_core.model.checkpoints import find
from snscf_core.tensor_files import TensorFileError, read_tensors, write_tensors

TENSORS = {
    "double": torch.arange(6, dtype=torch.float64).reshape(2, 3).T,
    "float": torch.randn(3, 4, 5),
    "half": torch.randn(7).half(),
    "brain": torch.randn(1, 3).bfloat16(),
    **{str(kind): torch.arange(-3, 2).to(kind) for kind in (torch.int64, torch.int32, torch.int16, torch.int8)},
    "bytes": torch.arange(5, dtype=torch.uint8),
    "flags": torch.tensor([[True], [False]]),
    "number": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
    "ünïcode": torch.ones(1),
}
METADATA = {"model": "none", "text": '{"a": [1, 2]}'}


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        found[key].dtype == value.dtype and found[key].shape == value.shape and torch.equal(found[key], value)
        for key, value in expected.items()
    )


@pytest.fixture
def file(tmp_path):
    write_tensors(tmp_path / "a.safetensors", TENSORS, METADATA)
    return tmp_path / "a.safetensors"


def test_what_was_written_is_read(file):
    tensors, metadata = read_tensors(file)
    assert same(tensors, TENSORS)
    assert metadata == METADATA
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_files_are_those_of_the_library(file, tmp_path):
    """Either reads what the other wrote, and the weights that ship are read alike."""
    library = pytest.importorskip("safetensors")
    from safetensors.torch import load_file, save_file

    assert same(load_file(file), TENSORS)
    with library.safe_open(str(file), framework="pt") as opened:
        assert opened.metadata() == METADATA
    contiguous = {key: value.contiguous() for key, value in TENSORS.items()}
    save_file(contiguous, tmp_path / "theirs.safetensors", metadata=METADATA)
    tensors, metadata = read_tensors(tmp_path / "theirs.safetensors")
    assert same(tensors, TENSORS) and metadata == METADATA
    save_file(contiguous, tmp_path / "bare.safetensors")
    assert read_tensors(tmp_path / "bare.safetensors")[1] == {}
    for shipped in (*find("snscf_nano"), *find("snscf_r50")):
        assert same(read_tensors(shipped)[0], load_file(shipped))


def test_a_file_may_be_replaced_by_what_was_read_from_it(file):
    tensors, metadata = read_tensors(file)
    tensors["float"] += 1  # is not written through to the file
    assert same(read_tensors(file)[0], TENSORS)
    write_tensors(file, tensors, metadata)
    assert same(read_tensors(file)[0], {**TENSORS, "float": TENSORS["float"] + 1})


def test_a_file_that_cannot_be_written_leaves_the_one_before(file):
    before = file.read_bytes()
    with pytest.raises(TensorFileError, match=r"wave is of torch\.complex64"):
        write_tensors(file, {"wave": torch.zeros(2, dtype=torch.complex64)}, {})
    with pytest.raises(RuntimeError):  # a tensor without data is found when the file is half written
        write_tensors(file, {"a": torch.zeros(2), "meta": torch.zeros(2, device="meta")}, {})
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def with_header(header: object, data: bytes = bytes(24)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: object = "F32", shape: object = (2, 3), offsets: object = (0, 24)) -> dict[str, object]:
    return {"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


UNUSABLE = {
    "nothing": (b"", "0 bytes are too few"),
    "a short length": (b"\x05\0\0", "3 bytes are too few"),
    "a length beyond the file": ((1000).to_bytes(8, "little") + b"{}", "not the size of a header"),
    "an absurd length": (b"\xff" * 8 + b"{}", "not the size of a header"),
    "no JSON": (with_header(b"{x"), "no JSON"),
    "no text": (with_header(b"\xff\xfe"), "no JSON"),
    "endless nesting": (with_header(b"[" * 100_000), "no JSON"),
    "a list": (with_header([1]), "no JSON object"),
    "a name twice": (with_header(b'{"x": 1, "x": 1}'), "a name twice"),
    "metadata of numbers": (with_header({"__metadata__": {"a": 1}}), "metadata are not strings"),
    "an entry that is none": (with_header({"x": 3}), "entry of x"),
    "an unknown dtype": (with_header(entry(dtype="F8_E4M3")), "F8_E4M3"),
    "no offsets": (with_header({"x": {"dtype": "F32", "shape": [6]}}), "data_offsets"),
    "three offsets": (with_header(entry(offsets=(0, 12, 24))), "entry of x"),
    "a negative side": (with_header(entry(shape=(-2, -3))), "not whole numbers"),
    "half a side": (with_header(entry(shape=(2.0, 3))), "not whole numbers"),
    "a side that is true": (with_header(entry(shape=(True, 6))), "not whole numbers"),
    "another size": (with_header(entry(shape=(2, 4))), r"24 bytes, but shape \(2, 4\) takes 32"),
    "bytes beyond the end": (with_header(entry(shape=(2, 4), offsets=(0, 32))), "24 bytes of data instead of 32"),
    "bytes before the start": (with_header(entry(offsets=(-24, 0))), "not whole numbers"),
    "bytes left over": (with_header(entry(), bytes(25)), "25 bytes of data instead of 24"),
    "a gap": (with_header(entry(shape=(5,), offsets=(4, 24))), "begins at byte 4 of the data instead of 0"),
    "an overlap": (
        with_header({**entry(), "y": {"dtype": "U8", "shape": [4], "data_offsets": [20, 24]}}),
        "y begins at byte 20 of the data instead of 24",
    ),
    "empty and too wide": (with_header(entry(shape=(0, 2**61, 2**61), offsets=(0, 0)), b""), "can't have shape"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_files_are_refused_with_the_reason(name, tmp_path):
    content, told = UNUSABLE[name]
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(TensorFileError, match=told):
        read_tensors(tmp_path / "x")


def test_tensors_that_are_not_aligned_are_read(tmp_path):
    (tmp_path / "x").write_bytes(with_header(json.dumps(entry()).encode() + b" ", torch.arange(6.0).numpy().tobytes()))
    assert (8 + int.from_bytes((tmp_path / "x").read_bytes()[:8], "little")) % 4 != 0
    assert torch.equal(read_tensors(tmp_path / "x")[0]["x"], torch.arange(6.0).reshape(2, 3))


@settings(max_examples=300, deadline=None)
@given(
    cut=st.integers(0, 1200) | st.just(10**6),
    changes=st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), max_size=6),
)
def test_any_damage_is_refused_or_gives_tensors_of_the_file(cut, changes, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    whole = path.with_name("whole.safetensors")
    if not whole.exists():
        write_tensors(whole, TENSORS, METADATA)
    content = bytearray(whole.read_bytes()[:cut])
    for at, value in changes:
        if at < len(content):
            content[at] = value
    path.write_bytes(content)
    try:
        tensors, _ = read_tensors(path)
    except TensorFileError as refused:
        assert str(refused)
    else:
        length = int.from_bytes(content[:8], "little")
        assert sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) == len(content) - 8 - length
        assert all(tensor.double().sum() is not None for tensor in tensors.values()), "all bytes can be read"
