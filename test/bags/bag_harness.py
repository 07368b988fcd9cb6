# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the tests of bags share: a tiny sequence with a known target, and ways to rewrite bags."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer

from snscf_ros.bags import commands, message_types

FRAMES, WIDTH, HEIGHT = 24, 192, 144
ABSENT = 20  # the image in which the target has no true box
START = 1_000_000_000  # s
PERIOD = 50_000_000  # ns
STAMPS = [START * 1_000_000_000 + number * PERIOD for number in range(FRAMES)]
TOPIC, TRUTH = "/camera/image_raw", "/camera/ground_truth"


def true_box(number: int) -> tuple[float, float, float, float]:
    """Top-left (x, y, w, h) of the patch."""
    return (30.0 + 3 * number, 40.0 + number, 32.0, 32.0)


def picture(number: int) -> np.ndarray:
    """A textured patch over a textured background, H x W x 3 uint8 BGR."""
    random = np.random.default_rng(3)
    coarse = random.integers(60, 180, (HEIGHT // 24, WIDTH // 24, 3), np.uint8)
    frame = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    patch = cv2.resize(random.integers(0, 256, (6, 6, 3), np.uint8), (32, 32), interpolation=cv2.INTER_CUBIC)
    x, y, w, h = (int(value) for value in true_box(number))
    frame[y : y + h, x : x + w] = patch
    noise = np.random.default_rng(number).integers(0, 9, frame.shape)
    return np.clip(frame.astype(int) + noise, 0, 255).astype(np.uint8)


def run(*arguments: object) -> int:
    """The command line; the exit status."""
    return commands.main([str(argument) for argument in arguments])


def options(*arguments: object) -> argparse.Namespace:
    """Parsed arguments of an evaluation."""
    parser = argparse.ArgumentParser()
    commands.add_eval_arguments(parser)
    return parser.parse_args([str(argument) for argument in arguments])


def rewrite(
    source: Path,
    output: Path,
    *,
    storage: str = "mcap",
    compression: CompressionMode = CompressionMode.NONE,
    change: Callable[[list], list] = lambda messages: messages,
) -> Path:
    """A copy of a rosbag2; `change` gets and gives a list of (topic, type, log time, bytes)."""
    with Reader(source) as reader:
        messages = [(c.topic, c.msgtype, time, bytes(data)) for c, time, data in reader.messages()]
    writer = Writer(output, version=9, storage_plugin=StoragePlugin[storage.upper()])
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic, kind, time, data in change(messages):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=message_types.store())
            writer.write(connections[topic], time, data)
    return output


def restamped(data: bytes, kind: str, stamp: int) -> bytes:
    """A message with another stamp."""
    store = message_types.store()
    message = store.deserialize_cdr(data, kind)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    return bytes(store.serialize_cdr(message, kind))
