# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads recordings: rosbag2 (mcap or sqlite3, compressed by file, by message or not at all) and rosbag1.

A bag is a folder, with or without its metadata.yaml, or one of its files. `rosbags` reads intact files. A file that it
cannot read to the end is read record by record instead (`salvage`), and `Bag.problems` names what is lost.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2

from snscf_ros.bags.records import BagFile, Stored, Topic
from snscf_ros.bags.salvage import salvage

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_STORAGES = (".mcap", ".db3", ".bag")
T = TypeVar("T")


class _IndexedFile:
    """A file that `rosbags` reads."""

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self._reader = Reader1(path) if path.suffix == ".bag" else Reader2(path)
        self._reader.open()
        ros1 = path.suffix == ".bag"
        self._topics = {c.id: Topic(c.topic, c.msgtype, c.msgdef.data, ros1) for c in self._reader.connections}
        self.topics = list(dict.fromkeys(self._topics.values()))

    def messages(self, names: Collection[str], start: int | None = None, stop: int | None = None) -> Iterator[Stored]:
        if connections := [c for c in self._reader.connections if c.topic in names]:
            for connection, log_time, data in self._reader.messages(connections, start, stop):
                yield Stored(self._topics[connection.id], log_time, bytes(data))

    def close(self) -> None:
        self._reader.close()


class _UnreadableFile:
    """A file that cannot be read at all."""

    def __init__(self, problem: str) -> None:
        self.topics: list[Topic] = []
        self.problems = [problem]

    def messages(self, names: Collection[str], start: int | None = None, stop: int | None = None) -> Iterator[Stored]:
        return iter(())

    def close(self) -> None:
        pass


class _Damage(Exception):
    """Reading a file raised `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class Entry(Generic[T]):
    """Where a message lies in a bag.

    file: number of the file.
    number: its place among the messages that are read from the file.
    topic: name of its topic.
    log_time: when it was recorded (ns).
    among_equals: its place among the messages of the same `log_time`.
    value: what `Bag.index` made of the message.
    """

    file: int
    number: int
    topic: str
    log_time: int
    among_equals: int
    value: T


class Bag:
    """An open bag; used as a context manager. Raises FileNotFoundError, or ValueError where there is no bag at all.

    problems: what cannot be read, as far as the bag has been read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []
        self._names: frozenset[str] = frozenset()
        self._stack = contextlib.ExitStack()
        try:
            self._paths = [self._ready(file) for file in _storage_files(path, self.problems)]
            self._sources = [self._open(file) for file in self._paths]
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def name(self) -> str:
        """Name of the bag: that of its folder, or of its file without the endings."""
        return _stem(self.path.resolve())

    @property
    def topics(self) -> dict[str, Topic]:
        """The topics by name."""
        found: dict[str, Topic] = {}
        for source in self._sources:
            for topic in source.topics:
                found.setdefault(topic.name, topic)
        return dict(sorted(found.items()))

    def index(self, names: Collection[str], look: Callable[[Stored], T]) -> list[Entry[T]]:
        """Read all messages of some topics once, before anything else. Each entry's value is what `look` returns."""
        self._names = frozenset(names)
        entries: list[Entry[T]] = []
        for number in range(len(self._sources)):
            try:
                entries += self._index_file(number, look)
            except _Damage as damage:
                self._salvage(number, damage.error)
                entries += self._index_file(number, look)
        return entries

    def in_order(self, entries: Sequence[Entry[T]]) -> Iterator[tuple[Entry[T], Stored]]:
        """Yield the messages of these entries in their order. Messages that are stored too early wait in memory."""
        rank = {(entry.file, entry.number): index for index, entry in enumerate(entries)}
        waiting: dict[int, Stored] = {}
        due = 0
        for file, source in enumerate(self._sources):
            for number, stored in enumerate(source.messages(self._names)):
                if (index := rank.get((file, number))) is not None:
                    waiting[index] = stored
                while due in waiting:
                    yield entries[due], waiting.pop(due)
                    due += 1

    def read(self, entry: Entry[T]) -> Stored:
        """Read one message."""
        source = self._sources[entry.file]
        found = source.messages(self._names, entry.log_time, entry.log_time + 1)
        for number, stored in enumerate(found):
            if number == entry.among_equals:
                return stored
        raise ValueError(f"{self._paths[entry.file]} has changed while it was being read")

    def _index_file(self, number: int, look: Callable[[Stored], T]) -> list[Entry[T]]:
        equals: Counter[int] = Counter()
        entries = []
        for position, stored in enumerate(self._read_file(number)):
            time = stored.log_time
            entries.append(Entry(number, position, stored.topic.name, time, equals[time], look(stored)))
            equals[time] += 1
        return entries

    def _read_file(self, number: int) -> Iterator[Stored]:
        try:
            yield from self._sources[number].messages(self._names)
        except Exception as error:  # the library raises many kinds, and so do those that it uses
            raise _Damage(error) from error

    def _open(self, path: Path) -> BagFile:
        try:
            source: BagFile = _IndexedFile(path)
        except Exception as error:
            source = self._salvaged(path, error)
        self._stack.callback(source.close)
        return source

    def _salvage(self, number: int, error: Exception) -> None:
        self._sources[number] = self._salvaged(self._paths[number], error)
        self._stack.callback(self._sources[number].close)

    def _salvaged(self, path: Path, error: Exception) -> BagFile:
        try:
            source = salvage(path)
        except Exception:  # damage may raise anything; the library's error says as much
            source = None
        if source is None and len(self._paths) == 1:
            raise ValueError(f"{path} is no bag: {error}") from error
        source = source or _UnreadableFile(f"can't be read: {error}")
        self.problems += [f"{path.name}: {problem}" for problem in source.problems]
        return source

    def _ready(self, path: Path) -> Path:
        """Return the file itself, or a readable copy where it has to be unpacked or completed first."""
        log = path.with_name(path.name + "-wal")
        if path.suffix == ".db3" and log.is_file() and log.stat().st_size:
            # a recording was cut off: SQLite moves the last messages into the file when it opens it for writing
            copy = self._temporary() / path.name
            shutil.copyfile(path, copy)
            shutil.copyfile(log, copy.with_name(log.name))
            with contextlib.closing(sqlite3.connect(copy)) as database, contextlib.suppress(sqlite3.Error):
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return copy
        if path.suffix == ".zstd":
            copy = self._temporary() / path.stem
            with path.open("rb") as compressed, copy.open("wb") as output:
                try:
                    with zstd.open(compressed, "rb") as content:
                        shutil.copyfileobj(content, output)
                except (zstd.ZstdError, EOFError) as error:
                    self.problems.append(f"{path.name}: can be uncompressed only in part: {error}")
            return copy
        return path

    def _temporary(self) -> Path:
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="snscf_bag_")))


def _storage_files(path: Path, problems: list[str]) -> list[Path]:
    """Return the files of a bag in their order."""
    if path.is_file():
        if _suffix(path) not in _STORAGES:
            raise ValueError(f"{path} is no bag: expected a folder, or a file that ends in {', '.join(_STORAGES)}")
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist")
    there = sorted((file for file in path.iterdir() if _suffix(file) in _STORAGES), key=_natural)
    listed = _listed(path / "metadata.yaml", problems)
    missing = [name for name in listed if not (path / name).is_file()]
    problems += [f"{name} is missing, which metadata.yaml lists" for name in missing]
    files = [path / name for name in listed if name not in missing] or there
    if not files:
        expected = "metadata.yaml, NAME_0.mcap or NAME_0.db3, ..."
        raise ValueError(f"{path} is no bag: it has none of its files (expected {expected})")
    return files


def _listed(metadata: Path, problems: list[str]) -> list[str]:
    """Return the files that metadata.yaml names. A recording that was cut off has no metadata.yaml."""
    if not metadata.is_file():
        return []
    try:
        content = yaml.safe_load(metadata.read_text(encoding="utf-8"))
        return [Path(name).name for name in content["rosbag2_bagfile_information"]["relative_file_paths"]]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        problems.append("metadata.yaml can't be read; the files are taken in order of their names")
        return []


def _suffix(path: Path) -> str:
    return path.with_suffix("").suffix if path.suffix == ".zstd" else path.suffix


def _stem(path: Path) -> str:
    name = path.name
    while Path(name).suffix in (*_STORAGES, ".zstd"):
        name = Path(name).stem
    return name


def _natural(path: Path) -> list[Any]:
    """Return a key that sorts name_2 before name_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]
