# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads what is left in a damaged bag: its records one after the other, without an index.

A recording that was cut off (power failure, full disk, killed recorder) has no summary or index, and `rosbags` refuses
it. The formats are public: https://mcap.dev/spec, https://wiki.ros.org/Bags/Format/2.0 and SQLite's tables of rosbag2.
"""

from __future__ import annotations

import bz2
import mmap
import re
import sqlite3
import struct
import sys
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import lz4.frame  # type: ignore[import-untyped]
from rosbags.typesys.msg import normalize_msgtype

from snscf_ros.bags.records import BagFile, Stored, Topic
from snscf_ros.stamps import seconds_text

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_MCAP_MAGIC = b"\x89MCAP0\r\n"
_BAG_MAGIC = b"#ROSBAG V2.0\n"
_SQLITE_MAGIC = b"SQLite format 3\0"


def salvage(path: Path) -> BagFile | None:
    """Open what is left in a file; None if it does not even begin like a file of a bag."""
    with path.open("rb") as file:
        beginning = file.read(16)
    if path.suffix == ".db3" and beginning == _SQLITE_MAGIC:
        return SalvagedSqlite(path)
    if path.suffix == ".mcap" and beginning.startswith(_MCAP_MAGIC):
        return SalvagedMcap(path)
    if path.suffix == ".bag" and beginning.startswith(_BAG_MAGIC):
        return SalvagedRosbag1(path)
    return None


class _Scanned:
    """A file that is read from beginning to end each time."""

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self.topics: list[Topic] = []
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        for _ in self._scan(self.problems.append):
            pass

    def messages(self, names: Collection[str], start: int | None = None, stop: int | None = None) -> Iterator[Stored]:
        for stored in self._scan(lambda _: None):
            early = start is not None and stored.log_time < start
            late = stop is not None and stored.log_time >= stop
            if stored.topic.name in names and not early and not late:
                yield stored

    def close(self) -> None:
        self._data.close()

    def _scan(self, complain: Callable[[str], None]) -> Iterator[Stored]:
        raise NotImplementedError


def _opened(compression: str, data: bytes) -> bytes:
    """Uncompress a chunk, or as much of its beginning as there is. Raises where it is damaged."""
    if compression in ("", "none"):
        return data
    if compression == "lz4":
        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data))
    if compression == "zstd":
        return zstd.ZstdDecompressor().decompress(data)
    if compression == "bz2":
        return bz2.BZ2Decompressor().decompress(data)
    raise ValueError(f"unknown compression '{compression}'")


class SalvagedMcap(_Scanned):
    """Reads the records of an MCAP file. Skips a damaged chunk, and after damage between chunks finds the next one."""

    _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _LAST = 0x03, 0x04, 0x05, 0x06, 0x0F
    # Matches a chunk's record up to its data: length, times, sizes and checksum, and the name of the compression.
    _CHUNK_PATTERN = re.compile(rb"\x06.{8}.{28}(?:\x00{4}|\x03\x00{3}lz4|\x04\x00{3}zstd)", re.DOTALL)

    def __init__(self, path: Path) -> None:
        self._schemas: dict[int, tuple[str, str]] = {}
        self._channels: dict[int, Topic] = {}
        super().__init__(path)
        self.topics = list(dict.fromkeys(self._channels.values()))

    def _scan(self, complain: Callable[[str], None]) -> Iterator[Stored]:
        data, position = self._data, len(_MCAP_MAGIC)
        while data[position : position + len(_MCAP_MAGIC)] != _MCAP_MAGIC:
            if position + 9 > len(data):
                complain(f"is cut off after {len(data)} bytes, without its summary")
                return
            opcode, length = struct.unpack_from("<BQ", data, position)
            end = position + 9 + length
            sound = 1 <= opcode <= self._LAST and end <= len(data)
            following = None if sound else self._next_chunk(position + 1)
            if following is not None:
                complain(f"is damaged from byte {position} to {following}; what lies between is lost")
                position = following
                continue
            if not 1 <= opcode <= self._LAST:
                complain(f"can't be read from byte {position} of {len(data)} on")
                return
            if not sound:
                complain(f"is cut off after {len(data)} bytes, in the middle of a record and without its summary")
            content = data[position + 9 : end]
            if opcode == self._CHUNK:
                yield from self._chunk(content, complete=sound, complain=complain)
            elif sound and (stored := self._record(opcode, content)):
                yield stored
            position = end
            if not sound:
                return

    def _next_chunk(self, position: int) -> int | None:
        """Return where the next chunk whose sizes agree begins."""
        for found in self._CHUNK_PATTERN.finditer(self._data, position):
            (length,) = struct.unpack_from("<Q", self._data, found.start() + 1)
            held = self._data[found.end() : found.end() + 8]
            if len(held) == 8 and length == found.end() - found.start() - 9 + 8 + struct.unpack("<Q", held)[0]:
                return found.start()
        return None

    def _chunk(self, content: bytes, complete: bool, complain: Callable[[str], None]) -> Iterator[Stored]:
        if len(content) < 40:
            return
        first, last, size, checksum, name_length = struct.unpack_from("<QQQII", content)
        compression = content[32 : 32 + name_length].decode(errors="replace")
        span = f"the messages logged from {seconds_text(first)} to {seconds_text(last)}"
        try:
            records = _opened(compression, content[40 + name_length :])
        except Exception as error:  # each compression has its own
            complain(f"a chunk is damaged ({error}); {span} are lost")
            return
        if complete and (len(records) != size or (checksum and zlib.crc32(records) != checksum)):
            complain(f"a chunk is not what its checksum says; {span} are lost")
            return
        position = 0
        while position + 9 <= len(records):
            opcode, length = struct.unpack_from("<BQ", records, position)
            end = position + 9 + length
            if end > len(records):
                if complete:
                    complain(f"a chunk has a record of wrong length; some of {span} are lost")
                return
            if stored := self._record(opcode, records[position + 9 : end]):
                yield stored
            position = end

    def _record(self, opcode: int, content: bytes) -> Stored | None:
        if len(content) < 4:
            return None
        if opcode == self._SCHEMA:
            (number,) = struct.unpack_from("<H", content)
            name, encoding, definition = _strings(content, 2, 3)
            self._schemas[number] = (name, definition if encoding in ("ros2msg", "ros2idl") else "")
        elif opcode == self._CHANNEL:
            number, schema = struct.unpack_from("<HH", content)
            topic, encoding = _strings(content, 4, 2)
            name, definition = self._schemas.get(schema, ("", ""))
            kind = normalize_msgtype(name) if name else ""
            self._channels[number] = Topic(topic, kind, definition, encoding == "ros1")
        elif opcode == self._MESSAGE and len(content) >= 22:
            number, _, log_time, _ = struct.unpack_from("<HIQQ", content)
            if (channel := self._channels.get(number)) is not None:
                return Stored(channel, log_time, content[22:])
        return None


def _strings(content: bytes, position: int, count: int) -> list[str]:
    """Read texts with their lengths before them; empty where the record ends too early."""
    found = []
    for _ in range(count):
        length = int.from_bytes(content[position : position + 4], "little")
        found.append(content[position + 4 : position + 4 + length].decode(errors="replace"))
        position += 4 + length
    return found


class SalvagedRosbag1(_Scanned):
    """Reads the records of a ROS 1 bag, even of a bag that was never indexed."""

    _MESSAGE, _CHUNK, _CONNECTION = b"\2", b"\5", b"\7"

    def __init__(self, path: Path) -> None:
        self._connections: dict[int, Topic] = {}
        super().__init__(path)
        self.topics = list(dict.fromkeys(self._connections.values()))

    def _scan(self, complain: Callable[[str], None]) -> Iterator[Stored]:
        position, indexed = len(_BAG_MAGIC), False
        while position < len(self._data):
            record = self._next(self._data, position)
            whole = record is not None and record[2] <= len(self._data)
            if not whole:
                complain(f"is cut off or damaged at byte {position} of {len(self._data)}; what follows is lost")
            if record is None:
                return
            header, content, position = record
            operation = header.get("op", b"\0")[:1]
            indexed = indexed or operation == self._CONNECTION
            if operation == self._CHUNK:
                # the last chunk may be cut off; read as much as there is
                yield from self._chunk(header, content, complain if whole else lambda _: None)
            elif whole and (stored := self._record(header, content)):
                yield stored
            if not whole:
                return
        if not indexed:
            complain("has no index: its recording was not ended")

    def _chunk(self, header: dict[str, bytes], content: bytes, complain: Callable[[str], None]) -> Iterator[Stored]:
        try:
            records = _opened(header.get("compression", b"none").decode(), content)
        except Exception as error:  # each compression has its own
            complain(f"a chunk of {len(content)} bytes is damaged ({error}) and lost")
            return
        position = 0
        while position < len(records):
            record = self._next(records, position)
            if record is None or record[2] > len(records):
                complain(f"a chunk is damaged; {len(records) - position} bytes of it are lost")
                return
            inner, data, position = record
            if stored := self._record(inner, data):
                yield stored

    def _record(self, header: dict[str, bytes], content: bytes) -> Stored | None:
        operation = header.get("op", b"\0")[:1]
        if operation == self._CONNECTION and len(header.get("conn", b"")) == 4:
            fields = _fields(content)
            number = struct.unpack("<I", header["conn"])[0]
            if fields is not None and {"type", "message_definition"} <= fields.keys():
                written = header.get("topic", b"").decode(errors="replace")
                # without empty parts, as `rosbags` names it
                name = "/" * written.startswith("/") + "/".join(filter(None, written.split("/")))
                kind = normalize_msgtype(fields["type"].decode(errors="replace"))
                definition = fields["message_definition"].decode(errors="replace")
                self._connections[number] = Topic(name, kind, definition, True)
        elif operation == self._MESSAGE and len(header.get("time", b"")) == 8 and len(header.get("conn", b"")) == 4:
            seconds, nanoseconds = struct.unpack("<II", header["time"])
            if (topic := self._connections.get(struct.unpack("<I", header["conn"])[0])) is not None:
                return Stored(topic, seconds * 1_000_000_000 + nanoseconds, content)
        return None

    @staticmethod
    def _next(data: mmap.mmap | bytes, position: int) -> tuple[dict[str, bytes], bytes, int] | None:
        """Return the header of the record at a position, its content as far as it is there, and where it ends.

        Returns None if the header is not whole.
        """
        blocks = []
        for _ in range(2):
            if position + 4 > len(data):
                return None
            (length,) = struct.unpack_from("<I", data, position)
            blocks.append(bytes(data[position + 4 : position + 4 + length]))
            position += 4 + length
        header = _fields(blocks[0])
        return None if header is None else (header, blocks[1], position)


def _fields(data: bytes) -> dict[str, bytes] | None:
    """Read the fields `name=value` of a ROS 1 record's header; None if the bytes are no fields."""
    fields, position = {}, 0
    while position < len(data):
        if position + 4 > len(data):
            return None
        (length,) = struct.unpack_from("<I", data, position)
        name, equals, value = data[position + 4 : position + 4 + length].partition(b"=")
        position += 4 + length
        if not equals or position > len(data):
            return None
        fields[name.decode(errors="replace")] = value
    return fields


class SalvagedSqlite:
    """Reads the rows of an SQLite file: forwards up to the damage, backwards down to it, and one by one in between."""

    _MOST_MISSES = 2000  # missing rows in a row after which to stop, where the last row's number is not known
    _SMALLEST_ROW = 8  # bytes; bounds the row numbers, as damage may yield numbers that no file of this size can hold

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self._database = sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True, check_same_thread=False)
        self._database.text_factory = lambda text: text.decode(errors="replace")
        # otherwise SQLite refuses a file that has lost its end
        self._database.execute("PRAGMA writable_schema=ON")
        self._most_rows = path.stat().st_size // self._SMALLEST_ROW
        self._topics = self._read_topics()
        self.topics = list(self._topics.values())
        self._rows = self._readable_rows()

    def messages(self, names: Collection[str], start: int | None = None, stop: int | None = None) -> Iterator[Stored]:
        for row in self._rows:
            found = self._row(row)
            if found is None:
                continue
            topic_number, time, data = found
            early, late = start is not None and time < start, stop is not None and time >= stop
            if (topic := self._topics.get(topic_number)) and topic.name in names and not early and not late:
                yield Stored(topic, time, bytes(data))

    def close(self) -> None:
        self._database.close()

    def _read_topics(self) -> dict[int, Topic]:
        try:
            rows = self._database.execute("SELECT id, name, type FROM topics ORDER BY id").fetchall()
        except sqlite3.Error as error:
            self.problems.append(f"its table of topics can't be read ({error}); all is lost")
            return {}
        definitions: dict[str, str] = {}
        try:
            found = self._database.execute("SELECT topic_type, encoded_message_definition FROM message_definitions")
            definitions = dict(found.fetchall())
        except sqlite3.Error:
            pass  # older bags have no definitions, and images need none
        return {number: Topic(name, kind, definitions.get(kind, "")) for number, name, kind in rows}

    def _readable_rows(self) -> list[int]:
        if not self._topics:
            return []
        forwards, whole, damage = self._until_damage("ASC")
        if whole:
            self.problems.append("its index is damaged; every row could be read")
            return forwards
        backwards, _, _ = self._until_damage("DESC")
        first = forwards[-1] + 1 if forwards else 1
        last = min(backwards[-1] if backwards else first + self._most_rows, first + self._most_rows)
        between, misses = [], 0
        for row in range(first, last):
            if self._row(row) is not None:
                between.append(row)
                misses = 0
            elif (misses := misses + 1) > self._MOST_MISSES and not backwards:
                break
        rows = forwards + between + backwards[::-1]
        if backwards:
            lost = f"{backwards[-1] - first - len(between)} messages are lost"
        else:
            lost = f"what came after {len(rows)} readable ones is lost"
        self.problems.append(f"is damaged ({damage}); of its messages, {lost}")
        return rows

    def _until_damage(self, order: str) -> tuple[list[int], bool, str]:
        """Return the numbers of the rows from one end on, whether these are all, and the complaint if not."""
        rows: list[int] = []
        try:
            for row, _, _ in self._database.execute(
                f"SELECT id, length(data), timestamp FROM messages NOT INDEXED ORDER BY id {order}"
            ):
                if self._row(row) is None:
                    return rows, False, "database disk image is malformed"
                rows.append(row)
        except sqlite3.Error as error:
            return rows, False, str(error)
        return rows, True, ""

    def _row(self, number: int) -> tuple[int, int, bytes] | None:
        try:
            row: tuple[int, int, bytes] | None = self._database.execute(
                "SELECT topic_id, timestamp, data FROM messages NOT INDEXED WHERE id = ?", (number,)
            ).fetchone()
        except sqlite3.Error:
            return None
        sound = row is not None and isinstance(row[0], int) and isinstance(row[1], int) and isinstance(row[2], bytes)
        return row if sound else None
