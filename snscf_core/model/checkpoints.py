# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds, verifies, loads and saves weights.

There are two kinds of files, both safetensors (never pickles):

- trained weights of a whole network, ``<model>.safetensors`` or shards ``<model>-00001-of-00003.safetensors``;
- ImageNet weights of a backbone alone, for the mode ``correlation_filter`` and as a start for training.

A file's sha256 is compared with the ``SHA256SUMS`` of its folder, if that lists the file, or with the digests known
here. Weights are stored as float16 (matrices and kernels) and float32 (vectors). Computations use float32.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..files import write_file
from ..tensor_files import TensorFileError, read_arrays, read_shapes, read_tensors, write_tensors
from ..user_folders import expanded, user_cache
from .geometry import MODELS, Geometry

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .network import SNSCF

WEIGHTS_VARIABLE = "SNSCF_WEIGHTS"
CHECKSUMS = "SHA256SUMS"
IMAGENET_FILES = {
    "snscf_r50": "resnet50_v1_imagenet_conv1-conv4.safetensors",
    "snscf_nano": "fbnet_c_tracking.safetensors",
}
KNOWN_SHA256 = {
    "resnet50_v1_imagenet_conv1-conv4.safetensors": "cc15f6c06a8a099128b8f44ca721fd620b7a5f008c9fc079c7dd6e24608b5d67",
    "fbnet_c_tracking.safetensors": "8ba443edb397ca139c6db739ebdbd34d14c1b7f4b65e122e9d246b8660b55109",
}
REPLACED = {"snscf_mobilenetv2": "snscf_nano"}  # networks of earlier versions, and what replaced each
SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")


class WeightsError(RuntimeError):
    """Reports weights that are missing, damaged or of another network; the message says which in one sentence."""


@dataclass(frozen=True)
class Weights:
    """Describes the weights found on disk for a network.

    files: all shards.
    trained: whether they include the heads; else they are an ImageNet backbone alone.
    levels: the backbone levels (0 = conv3, 1 = conv4, 2 = conv5) that have weights.
    metadata: the strings stored in the first file.
    """

    model: str
    files: tuple[Path, ...]
    trained: bool
    levels: tuple[int, ...]
    metadata: Mapping[str, str]

    @property
    def geometry(self) -> Geometry:
        """The shapes of the network, if the weights include the heads."""
        return Geometry(self.model, _channels(self.files[0], self.metadata))

    def array(self, name: str) -> npt.NDArray[Any]:
        """Reads the tensor with this name, as float32. Raises KeyError if no file has it."""
        for file in self.files:
            arrays, _ = read_arrays(file)
            if name in arrays:
                return arrays[name].astype(np.float32)
        raise KeyError(name)


def search_folders() -> list[Path]:
    """Lists the folders searched for a model's name, in order: SNSCF_WEIGHTS, the package's own, the user's cache."""
    folders = []
    if named := os.environ.get(WEIGHTS_VARIABLE):
        folders.append(expanded(named))
    folders.append(Path(__file__).parents[1] / "weights")
    if (cache := user_cache()) is not None:
        folders.append(cache)
    return folders


def find(model: str | Path, *, untrained: bool = False) -> tuple[Path, ...]:
    """Finds the files of a model given by name, by a file (any shard) or by a folder that holds just one network.

    For a name, trained weights in any folder come before ImageNet backbones in any folder. With ``untrained``, only
    ImageNet backbones are considered. Raises WeightsError.
    """
    if str(model) in MODELS:
        return _find_by_name(str(model), untrained)
    if successor := REPLACED.get(str(model)):
        raise WeightsError(f"there is no {model} any more: {successor} has replaced it, give that as the model")
    path = expanded(model)
    if path.is_file():
        return _shards(path)
    if path.is_dir():
        return _find_in_folder(path)
    raise WeightsError(f"{str(model)!r} is neither a model ({', '.join(MODELS)}) nor an existing file or folder")


def _find_by_name(model: str, untrained: bool) -> tuple[Path, ...]:
    folders = search_folders()
    named = os.environ.get(WEIGHTS_VARIABLE)
    if named and not folders[0].exists():
        raise WeightsError(f"{WEIGHTS_VARIABLE} names {named!r}, which does not exist")
    for names in (_imagenet_files,) if untrained else (_trained_files, _imagenet_files):
        for folder in folders:
            # The variable may also name the file itself.
            fits = folder.name == IMAGENET_FILES[model] if untrained else _name_of(folder) == model
            if folder.is_file() and fits:
                return _shards(folder)
            if files := names(folder, model):
                return files
    places = ", ".join(str(folder) for folder in folders)
    kind, wanted = ("ImageNet weights", "") if untrained else ("weights", f"{model}.safetensors or ")
    raise WeightsError(
        f"no {kind} of {model} in {places}: set {WEIGHTS_VARIABLE} to the folder that has "
        f"{wanted}{IMAGENET_FILES[model]}, or give the file's path as the model"
    )


def _find_in_folder(folder: Path) -> tuple[Path, ...]:
    for names in (_trained_files, _imagenet_files):
        found = [files for name in MODELS if (files := names(folder, name))]
        if len(found) > 1:
            raise WeightsError(f"{folder} holds weights of {len(found)} networks: name one of the files")
        if found:
            return found[0]
    raise WeightsError(f"there are no weights in {folder}")


def load(model: str | Path, channels: int | None = None, *, untrained: bool = False) -> tuple[SNSCF, Weights]:
    """Loads the weights that ``find(model, untrained=untrained)`` finds into a network in evaluation mode.

    ``channels`` sets the width of the heads if the weights have none (see `network.create`); otherwise the weights
    determine it. Returns the network and a description of the weights. Raises WeightsError if the weights are missing,
    truncated, differ from their checksum, or do not fit the network.
    """
    weights = describe(model, untrained=untrained)
    return network_of(weights, channels), weights


def describe(model: str | Path, *, untrained: bool = False) -> Weights:
    """Describes the weights that ``find(model, untrained=untrained)`` finds, without loading them. Raises WeightsError.

    Does not need torch. Whether the weights fit the network is checked by `network_of`.
    """
    files = find(model, untrained=untrained)
    shapes: dict[str, tuple[int, ...]] = {}
    metadata: dict[str, str] = {}
    for file in files:
        _verify(file)
        try:
            stored, described = read_shapes(file)
        except (TensorFileError, OSError) as error:
            raise _unreadable(file, error) from error
        metadata = metadata or described
        shapes.update(stored)
    name = _name_of(files[0], shapes, metadata)
    if name is None:
        raise WeightsError(f"{files[0]} holds no network known here ({', '.join(MODELS)})")
    trained = any(key.startswith("heads.") for key in shapes)
    # ResNet-50's ImageNet file lacks conv5.
    shallow = name == "snscf_r50" and not trained and not any(key.startswith("layer4.") for key in shapes)
    weights = Weights(name, files, trained, (0, 1) if shallow else (0, 1, 2), metadata)
    if trained:
        _channels(files[0], metadata)
    return weights


def network_of(weights: Weights, channels: int | None = None) -> SNSCF:
    """Loads the weights into a network in evaluation mode; see `load`. Raises WeightsError."""
    from .network import create

    tensors: dict[str, Tensor] = {}
    for file in weights.files:
        try:
            stored, _ = read_tensors(file)
        except (TensorFileError, OSError) as error:
            raise _unreadable(file, error) from error
        tensors.update({key: tensor.float() for key, tensor in stored.items()})
    if weights.trained:
        network = create(weights.model, weights.geometry.channels)
        _fit(network, tensors, weights.files[0], set())
    else:
        # ImageNet files carry a classifier that the tracker does not use.
        network = create(weights.model, channels)
        backbone = {k: v for k, v in tensors.items() if k in network.backbone.state_dict()}
        missing = set()
        if weights.levels != (0, 1, 2):
            missing = {key for key in network.backbone.state_dict() if key.startswith("layer4.")}
        _fit(network.backbone, backbone, weights.files[0], missing)
    return network.eval().requires_grad_(False)


def _unreadable(file: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{file} can't be read as safetensors: {error}")


def save(
    network: SNSCF, folder: Path, metadata: Mapping[str, str] | None = None, shard_bytes: int = 15_000_000
) -> Weights:
    """Writes all weights of a network as ``<model>.safetensors``, or as shards of at most ``shard_bytes``.

    Adds the files to the folder's SHA256SUMS. Matrices and kernels are stored as float16, vectors as float32, because
    some batch-norm variances do not fit float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        key: (value.half() if value.dim() > 1 else value.float()).contiguous().cpu()
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for key, value in state.items():
        size += value.nbytes
        if size > shard_bytes and shards[-1]:
            shards.append({})
            size = value.nbytes
        shards[-1][key] = value
    for old in folder.glob(f"{network.name}*.safetensors"):  # also shards that a killed process left behind
        if SHARD.sub("", old.stem) == network.name:
            old.unlink()
    described = {**(metadata or {}), "model": network.name, "channels": str(network.channels)}
    files = []
    for index, shard in enumerate(shards, 1):
        suffix = "" if len(shards) == 1 else f"-{index:05d}-of-{len(shards):05d}"
        file = folder / f"{network.name}{suffix}.safetensors"
        write_tensors(file, shard, described)
        files.append(file)
    sums = {name: digest for name, digest in _checksums(folder).items() if not name.startswith(network.name)}
    sums.update({file.name: sha256(file) for file in files})
    write_file(folder / CHECKSUMS, "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())))
    return Weights(network.name, tuple(files), True, (0, 1, 2), described)


def _channels(file: Path, metadata: Mapping[str, str]) -> int:
    text = metadata.get("channels", "256")
    if not text.isdecimal() or not 0 < int(text) <= 4096:
        raise WeightsError(f"{file} says that its heads have {text[:20]!r} channels")
    return int(text)


def _trained_files(folder: Path, model: str) -> tuple[Path, ...]:
    whole = folder / f"{model}.safetensors"
    if whole.is_file():
        return (whole,)
    first = sorted(folder.glob(f"{model}-00001-of-*.safetensors"))
    return _shards(first[0]) if first else ()


def _imagenet_files(folder: Path, model: str) -> tuple[Path, ...]:
    file = folder / IMAGENET_FILES[model]
    return (file,) if file.is_file() else ()


def _shards(file: Path) -> tuple[Path, ...]:
    match = SHARD.search(file.stem)
    if not match:
        return (file,)
    stem, count = file.stem[: match.start()], int(match[2])
    files = tuple(file.with_name(f"{stem}-{index:05d}-of-{count:05d}.safetensors") for index in range(1, count + 1))
    if absent := [shard.name for shard in files if not shard.is_file()]:
        raise WeightsError(f"of the {count} files of {file.with_name(stem)}, {', '.join(absent)} is missing")
    return files


def _name_of(
    file: Path, tensors: Mapping[str, object] | None = None, metadata: Mapping[str, str] | None = None
) -> str | None:
    if metadata and metadata.get("model") in MODELS:
        return metadata["model"]
    for name in MODELS:
        if file.name == IMAGENET_FILES[name] or SHARD.sub("", file.stem) == name:
            return name
    if tensors and "layer1.0.conv1.weight" in tensors:
        return "snscf_r50"
    if tensors and "conv45.weight" in tensors:
        return "snscf_nano"
    return None


def _fit(module: nn.Module, tensors: Mapping[str, Tensor], file: Path, may_miss: set[str]) -> None:
    own = {key: value for key, value in module.state_dict().items() if not key.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - tensors.keys() - may_miss)
    unknown = sorted(tensors.keys() - own.keys())
    if missing or unknown:
        what = f"lacks {missing[0]}" if missing else f"has the unknown {unknown[0]}"
        raise WeightsError(
            f"{file} does not fit the network: it {what} ({len(missing)} missing, {len(unknown)} unknown)"
        )
    for key, value in tensors.items():
        if value.shape != own[key].shape:
            raise WeightsError(
                f"{file} does not fit the network: {key} has shape {tuple(value.shape)} "
                f"instead of {tuple(own[key].shape)}"
            )
    module.load_state_dict(dict(tensors), strict=False)


def _checksums(folder: Path) -> dict[str, str]:
    file = folder / CHECKSUMS
    if not file.is_file():
        return {}
    pairs = (line.split(maxsplit=1) for line in file.read_text().splitlines() if line.strip())
    return {name.strip().lstrip("*"): digest.lower() for digest, name in pairs}


def sha256(file: Path) -> str:
    """Returns the sha256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _verify(file: Path) -> None:
    expected = _checksums(file.parent).get(file.name) or KNOWN_SHA256.get(file.name)
    if expected and (found := sha256(file)) != expected:
        raise WeightsError(f"{file} is damaged or not what it says: its sha256 is {found}, expected {expected}")
