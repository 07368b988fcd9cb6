# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keeps all training images, decoded once, on one device and cuts crops from them in batches."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from ..boxes import Array, iou
from ..cores import available_cores
from ..tensor_files import read_tensors, write_tensors
from .images import read_image, read_mask
from .readers import Clip

BLOCKS = (1, 2, 3, 4, 5, 6, 7, 8)  # pixels a side whose means are kept too: half more memory than the images alone
MIN_MASK_OVERLAP = 0.5  # IoU of a box and the box around its mask; below it, one of the two is wrong
PART_BYTES = 1 << 28  # of decoded images moved to the device at a time
FORMAT = "snscf image pool 1"

_Bytes = npt.NDArray[np.uint8]
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(eq=False)
class ImagePool:
    """Holds F images, C clips and their V object views. A view is an image, a box and a mask, one per frame of a clip.

    Boxes are (cx, cy, w, h) in continuous pixels of the image as kept (``longest_side`` at most). All views of a clip
    are consecutive. An image shared by several clips is kept once. The images of a clip without a visible view serve
    only as backgrounds.
    """

    pixels: Tensor  # P x 3 uint8 BGR: per image its means over BLOCKS, each row by row; one pixel more at either end
    starts: Tensor  # F int64, the first pixel
    sizes: Tensor  # F x 2 int64 (h, w)
    means: Tensor  # F x 3 float32, the mean colour
    boxes: Tensor  # V x 4 float32, NaN where absent
    view_image: Tensor  # V int64
    view_clip: Tensor  # V int64
    view_has_mask: Tensor  # V bool
    mask_pixels: Tensor  # M x 1 uint8, 0 or 255: as pixels, but of the rectangle around each view's mask only
    mask_starts: Tensor  # V int64
    mask_rectangles: Tensor  # V x 4 int64 (x, y, w, h) in pixels of the image; w = h = 0 without mask
    clip_start: Tensor  # C int64, the first view
    clip_length: Tensor  # C int64, views
    clip_source: Tensor  # C int64, index in sources
    clip_names: list[str]
    sources: list[str]
    longest_side: int
    left_out: list[str] = field(default_factory=list)  # what was broken at decoding, with the reason
    clip_fingerprints: list[str] = field(default_factory=list)  # see Clip.fingerprint; older files lack them
    block_starts: Tensor = field(init=False, repr=False)  # F x BLOCKS int64, the first pixel of each
    _mask_block_starts: Tensor = field(init=False, repr=False)  # V x BLOCKS int64

    def __post_init__(self) -> None:
        self.block_starts = _block_starts(self.starts, self.sizes)
        self._mask_block_starts = _block_starts(self.mask_starts, self.mask_rectangles[:, [3, 2]])

    @property
    def frames(self) -> int:
        """Returns the number of images."""
        return len(self.sizes)

    @property
    def device(self) -> torch.device:
        return self.pixels.device

    @property
    def nbytes(self) -> int:
        """Returns the memory of all tensors, in bytes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors().values())

    @classmethod
    def build(
        cls,
        clips: Sequence[Clip],
        *,
        device: str | torch.device,
        longest_side: int = 480,
        frames_per_clip: int | None = None,
        progress: bool = True,
        threads: int | None = None,
    ) -> tuple[ImagePool, list[str]]:
        """Decodes the images of all clips, by default in as many threads as there are processors.

        Larger images, their boxes and masks are shrunk to ``longest_side`` by area averaging. With ``frames_per_clip``,
        longer clips keep that many evenly spaced frames. Returns the pool and a list of what was broken and left out,
        by name and with the reason:
        - an unreadable image: its views are left out;
        - a box outside its image: the target counts as absent;
        - a mask that can't be read or does not fit its box: the view is kept without it.
        The pool keeps that list, also in its file.

        Raises ValueError if no image is left, or if the images need more memory than there is.
        """
        if longest_side < 1 or (frames_per_clip is not None and frames_per_clip < 1):
            raise ValueError(f"longest_side {longest_side} and frames_per_clip {frames_per_clip} must be at least 1")
        device = torch.device(device)
        views = _Views(clips, frames_per_clip)
        problems: list[str] = []
        memory = _memory(device)
        pixels, mask_pixels = _PixelStore(3, memory), _PixelStore(1, memory)
        jobs = ((file, views.of_image(file, clips)) for file in views.images)
        with tqdm(total=len(views.images), desc="decoding", unit="image", disable=None if progress else True) as bar:
            for image in _in_threads(lambda job: _prepare(*job, longest_side), jobs, threads):
                problems += image.problems
                bar.update()
                if image.blocks:
                    views.keep(image, pixels, mask_pixels)
        if not views.starts:
            raise ValueError(f"none of the {len(views.images)} images of {len(clips)} clips can be read")
        return views.pool(cls, pixels, mask_pixels, clips, device, longest_side, problems), problems

    def crop(self, images: Tensor, affine: Tensor, size: int) -> Tensor:
        """Cuts crops of ``size`` x ``size`` pixels for any affine map, in the way ``crops.crop`` does.

        images: N indices of images
        affine: N x 2 x 3, from continuous crop coordinates (x, y, 1) to continuous coordinates of the image

        Returns N x 3 x size x size float32 BGR, 0 to 255, in channels-last memory. Pixels outside the image get its
        mean colour. A crop that shrinks by two or more samples the means over blocks.
        """
        images, affine = images.long(), affine.float()
        x, y = _sample_points(affine, size)
        block = _block(affine)
        start = self.block_starts[images, block - 1]
        value, inside = _bilinear(self.pixels, start, self.sizes[images], block, x, y)
        return (value + (1 - inside) * self.means[images][:, None, None, :]).permute(0, 3, 1, 2)

    def crop_mask(self, views: Tensor, affine: Tensor, size: int) -> Tensor:
        """Returns how much of each crop pixel (see ``crop``) a view's object covers.

        views: N indices of views. Returns N x 1 x size x size float32 in [0, 1]; 0 for views without a mask.
        """
        views, affine = views.long(), affine.float()
        x, y = _sample_points(affine, size)
        left, top, width, height = self.mask_rectangles[views].unbind(1)
        block = _block(affine)
        start = self._mask_block_starts[views, block - 1]
        sizes = torch.stack([height, width], 1)
        value, _ = _bilinear(self.mask_pixels, start, sizes, block, x - left[:, None, None], y - top[:, None, None])
        return value.permute(0, 3, 1, 2) / 255

    def to(self, device: str | torch.device) -> ImagePool:
        """Returns the same pool on another device."""
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in self._tensors().items()}
        return replace(self, **moved)

    def save(self, path: str | Path) -> None:
        """Writes one safetensors file atomically. ``load`` reads it faster than images are decoded."""
        text = {
            "names": self.clip_names,
            "sources": self.sources,
            "longest_side": self.longest_side,
            "left_out": self.left_out,
            "fingerprints": self.clip_fingerprints,
        }
        write_tensors(path, self._tensors(), {"format": FORMAT, "pool": json.dumps(text)})

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> ImagePool:
        """Loads a pool written by ``save``. Raises ValueError if the file holds no pool."""
        try:
            stored, metadata = read_tensors(path)
            if metadata.get("format") != FORMAT:
                raise ValueError(f"its format is {metadata.get('format')!r} instead of {FORMAT!r}")
            text = json.loads(metadata["pool"])
            return cls(
                **{name: tensor.to(device) for name, tensor in stored.items()},
                clip_names=text["names"],
                sources=text["sources"],
                longest_side=int(text["longest_side"]),
                left_out=text.get("left_out", []),  # older files lack these two
                clip_fingerprints=text.get("fingerprints", []),
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no image pool: {error}") from error

    def _tensors(self) -> dict[str, Tensor]:
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.init}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


# Sampling -------------------------------------------------------------------------------------------------------------


def _in_blocks(pixels: Tensor, block: Tensor) -> Tensor:
    """Returns the number of blocks along a side of ``pixels`` pixels; the last may be partial."""
    return (pixels + block - 1).div(block, rounding_mode="floor")


def _block_starts(starts: Tensor, sizes: Tensor) -> Tensor:
    """Returns N x BLOCKS: where each block size's means start, for N pictures of sizes N x 2 (h, w) and N starts."""
    blocks = torch.tensor(BLOCKS, device=sizes.device)
    areas = _in_blocks(sizes[:, :1], blocks) * _in_blocks(sizes[:, 1:], blocks)
    return starts[:, None] + areas.cumsum(1) - areas


def _block(affine: Tensor) -> Tensor:
    """Returns N block sizes for maps N x 2 x 3: the image pixels per crop pixel, rounded down."""
    shrinking = (affine[:, 0, 0] * affine[:, 1, 1] - affine[:, 0, 1] * affine[:, 1, 0]).abs().sqrt()
    return (shrinking + 1e-5).long().clamp(1, len(BLOCKS))  # in this order NaN becomes a valid block size too


def _sample_points(affine: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Returns x and y, N x size x size each: the image coordinates of the crop's pixel centres.

    The product is written out because autocast would round a matrix product to bfloat16.
    """
    at = torch.arange(size, device=affine.device, dtype=torch.float32) + 0.5
    a = affine[:, :, :, None, None]
    x, y = (a[:, axis, 0] * at + a[:, axis, 1] * at[:, None] + a[:, axis, 2] for axis in (0, 1))
    return x, y


def _bilinear(
    store: Tensor, start: Tensor, sizes: Tensor, block: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Samples N pictures of C channels from a flat store.

    store: P x C uint8
    start: N, the first pixel
    sizes: N x 2 (h, w) in pixels before averaging over blocks
    block: N, the blocks' sides in such pixels
    x, y: N x S x S in such pixels

    Returns N x S x S x C, where pixels outside count as 0, and N x S x S x 1, the weight of those inside.
    """
    block, start = block[:, None, None], start[:, None, None]
    height, width = (_in_blocks(side[:, None, None], block) for side in sizes.unbind(1))
    x, y = x / block - 0.5, y / block - 0.5
    column, row = x.floor(), y.floor()
    right, below = x - column, y - row
    column, row = column.long(), row.long()
    weights = [weight[..., None] for weight in (*_weights(column, right, width), *_weights(row, below, height))]
    left_weight, right_weight, top_weight, low_weight = weights
    column = column.clamp(min=-1).minimum((width - 1).clamp(min=0))
    last = (height - 1).clamp(min=0)
    # One read fetches a pixel and its right neighbour in memory. If that is no neighbour in the picture, its weight is
    # 0.
    channels = store.shape[1]
    pairs = store.as_strided((len(store) - 1, 2 * channels), (channels, 1))

    def line(row: Tensor, weight: Tensor) -> Tensor:
        index = start + row.clamp(min=0).minimum(last) * width + column
        pair = pairs.index_select(0, index.flatten()).float().view(*index.shape, 2, channels)
        return torch.addcmul(pair[..., 0, :] * (left_weight * weight), pair[..., 1, :], right_weight * weight)

    value = line(row, top_weight) + line(row + 1, low_weight)
    return value, (left_weight + right_weight) * (top_weight + low_weight)


def _weights(first: Tensor, share: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Returns weights of pixel ``first`` and of the next, 0 for those outside 0 ... length - 1."""
    second = first + 1
    return (1 - share) * ((first >= 0) & (first < length)), share * ((second >= 0) & (second < length))


# Building -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _View:
    """Describes one frame of a clip, to be prepared together with its image."""

    number: int
    name: str
    box: Array  # (x, y, w, h) in the stored image
    mask: Any


@dataclass
class _Prepared:
    """Holds one shrunk image with the boxes and masks of its views; without blocks if it can't be read."""

    blocks: list[_Bytes] = field(default_factory=list)
    mean: Array = field(default_factory=lambda: np.zeros(3))
    boxes: dict[int, Array] = field(default_factory=dict)  # view: (cx, cy, w, h)
    masks: dict[int, tuple[tuple[int, int, int, int], list[_Bytes]]] = field(default_factory=dict)  # view: (x, y, w, h)
    problems: list[str] = field(default_factory=list)


def _prepare(file: Path, views: list[_View], longest_side: int) -> _Prepared:
    try:
        stored = read_image(file)
    except ValueError as error:
        return _Prepared(problems=[str(error)])
    height, width = stored.shape[:2]
    factor = min(1.0, longest_side / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    scale = np.array([size[0] / width, size[1] / height] * 2)
    image: Any = stored if factor == 1 else cv2.resize(stored, size, interpolation=cv2.INTER_AREA)
    prepared = _Prepared(_means_over_blocks(image, cv2.BORDER_REPLICATE), image.mean((0, 1)))
    for view in views:
        x, y, w, h = view.box
        box = view.box
        if np.isfinite(box).all() and (x >= width or y >= height or x + w <= 0 or y + h <= 0):
            prepared.problems.append(f"{view.name}: box ({x:g}, {y:g}, {w:g}, {h:g}) outside {width} x {height} pixels")
            box = np.full(4, np.nan)
        if view.mask is not None and np.isfinite(box).all():
            try:
                _add_mask(prepared, view, (height, width), size)
            except ValueError as error:
                prepared.problems.append(f"{view.name}: {error}")
        box = box * scale
        prepared.boxes[view.number] = np.concatenate([box[:2] + box[2:] / 2, box[2:]])
    return prepared


def _add_mask(prepared: _Prepared, view: _View, stored_size: tuple[int, int], size: tuple[int, int]) -> None:
    mask: Any = read_mask(view.mask, *stored_size).astype(np.uint8) * 255
    overlap = float(iou(view.box, cv2.boundingRect(mask)))
    if overlap < MIN_MASK_OVERLAP:
        raise ValueError(f"its box and the box around its mask overlap by only {overlap:.2f}; the mask is left out")
    if size != stored_size[::-1]:
        mask = np.where(cv2.resize(mask, size, interpolation=cv2.INTER_AREA) >= 128, 255, 0).astype(np.uint8)
    x, y, w, h = cv2.boundingRect(mask)
    if w:  # else the mask was so thin that it vanished at this scale
        prepared.masks[view.number] = (
            (x, y, w, h),
            _means_over_blocks(mask[y : y + h, x : x + w], cv2.BORDER_CONSTANT),
        )


def _means_over_blocks(image: Any, border: int) -> list[_Bytes]:
    """Returns the image and its means over all other BLOCKS; partial blocks are filled from the border."""
    height, width = image.shape[:2]
    means = []
    for block in BLOCKS:
        rows, columns = -(-height // block), -(-width // block)
        whole = cv2.copyMakeBorder(image, 0, rows * block - height, 0, columns * block - width, border)
        means.append(whole if block == 1 else cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA))
    return means


class _PixelStore:
    """Stores pixels in blocks that are freed one by one on the way to the device, so that all never exist twice."""

    def __init__(self, channels: int, limit: int) -> None:
        self._channels = channels
        self._limit = limit
        self._parts: list[_Bytes] = []
        self._used = 0  # of the last part
        self._total = 0

    def add(self, pictures: list[_Bytes]) -> int:
        """Appends pictures in order and returns the first pixel's number. Raises ValueError if memory is exhausted."""
        size = sum(picture.size for picture in pictures)
        if self._total + size > self._limit:
            raise ValueError(
                f"{self._total / 1e9:.1f} GB of images fill the memory, and more remain: "
                "keep fewer frames per clip, or a smaller longest side"
            )
        if not self._parts or self._used + size > self._parts[-1].size:
            self._close()
            self._parts.append(np.empty(max(PART_BYTES, size), np.uint8))
            self._used = 0
        start = 1 + self._total // self._channels
        for picture in pictures:
            self._parts[-1][self._used : self._used + picture.size] = picture.reshape(-1)
            self._used += picture.size
        self._total += size
        return start

    def to(self, device: torch.device) -> Tensor:
        """Moves all to P x channels uint8, with one extra pixel before and two after. The store is empty afterwards."""
        self._close()
        pixels = torch.empty(self._total // self._channels + 3, self._channels, dtype=torch.uint8, device=device)
        pixels[0] = pixels[-2:] = 0
        flat, at = pixels.view(-1), self._channels
        self._parts.reverse()
        while self._parts:
            part = self._parts.pop()
            flat[at : at + part.size].copy_(torch.from_numpy(part))
            at += part.size
        return pixels

    def _close(self) -> None:
        if self._parts:
            self._parts[-1] = self._parts[-1][: self._used]


class _Views:
    """Lists all views, and collects their data as images are decoded."""

    def __init__(self, clips: Sequence[Clip], frames_per_clip: int | None) -> None:
        self._frames: list[tuple[int, int]] = []  # clip and frame of each view
        self.images: dict[Path, list[int]] = {}  # file: its views
        for number, clip in enumerate(clips):
            frames = np.arange(len(clip))
            if frames_per_clip is not None and len(clip) > frames_per_clip:
                frames = np.linspace(0, len(clip) - 1, frames_per_clip).round().astype(int)
            for frame in frames.tolist():
                self.images.setdefault(clip.files[frame], []).append(len(self._frames))
                self._frames.append((number, frame))
        self._image = np.full(len(self._frames), -1)
        self._boxes = np.full((len(self._frames), 4), np.nan, np.float32)
        self._mask_starts = np.ones(len(self._frames), np.int64)
        self._rectangles = np.zeros((len(self._frames), 4), np.int64)
        self.starts: list[int] = []  # of each image that could be read
        self._sizes: list[tuple[int, ...]] = []
        self._means: list[Array] = []

    def of_image(self, file: Path, clips: Sequence[Clip]) -> list[_View]:
        views = []
        for number in self.images[file]:
            clip, frame = clips[self._frames[number][0]], self._frames[number][1]
            mask = clip.masks[frame] if clip.masks is not None else None
            views.append(_View(number, f"{clip.source} {clip.name} frame {frame + 1}", clip.boxes[frame], mask))
        return views

    def keep(self, image: _Prepared, pixels: _PixelStore, mask_pixels: _PixelStore) -> None:
        for number, box in image.boxes.items():
            self._image[number] = len(self.starts)
            self._boxes[number] = box
        for number, (rectangle, blocks) in image.masks.items():
            self._rectangles[number] = rectangle
            self._mask_starts[number] = mask_pixels.add(blocks)
        self.starts.append(pixels.add(image.blocks))
        self._sizes.append(image.blocks[0].shape[:2])
        self._means.append(image.mean)

    def pool(
        self,
        cls: type[ImagePool],
        pixels: _PixelStore,
        mask_pixels: _PixelStore,
        clips: Sequence[Clip],
        device: torch.device,
        longest_side: int,
        problems: list[str],
    ) -> ImagePool:
        """Builds the pool of the views whose images could be read."""
        kept = np.flatnonzero(self._image >= 0)
        clip_of_view = np.array(self._frames)[kept, 0]
        used, view_clip, lengths = np.unique(clip_of_view, return_inverse=True, return_counts=True)
        sources = list(dict.fromkeys(clips[number].source for number in used))

        def on_device(values: Any, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.as_tensor(np.asarray(values), dtype=dtype, device=device)

        return cls(
            pixels=pixels.to(device),
            starts=on_device(self.starts),
            sizes=on_device(self._sizes),
            means=on_device(self._means, torch.float32),
            boxes=on_device(self._boxes[kept], torch.float32),
            view_image=on_device(self._image[kept]),
            view_clip=on_device(view_clip),
            view_has_mask=on_device(self._rectangles[kept, 2] > 0, torch.bool),
            mask_pixels=mask_pixels.to(device),
            mask_starts=on_device(self._mask_starts[kept]),
            mask_rectangles=on_device(self._rectangles[kept]),
            clip_start=on_device(np.cumsum(lengths) - lengths),
            clip_length=on_device(lengths),
            clip_source=on_device([sources.index(clips[number].source) for number in used]),
            clip_names=[clips[number].name for number in used],
            sources=sources,
            longest_side=longest_side,
            left_out=problems,
            clip_fingerprints=[clips[number].fingerprint() for number in used],
        )


def _in_threads(work: Callable[[_In], _Out], items: Iterator[_In], threads: int | None = None) -> Iterator[_Out]:
    """Yields ``work`` of each item, in order, only a few items ahead, so that results don't pile up."""
    threads = threads or available_cores()
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[_Out]] = deque(pool.submit(work, item) for item in islice(items, 4 * threads))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(work, item) for item in islice(items, 1))
            yield result


def _memory(device: torch.device) -> int:
    """Returns the bytes of images that both this machine and the device can hold."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if device.type == "cuda":
        memory = min(memory, torch.cuda.mem_get_info(device)[0])
    return int(0.9 * memory)
