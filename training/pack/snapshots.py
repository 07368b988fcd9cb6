# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads snapshots of repositories on this machine, which are git directories or plain folders, and their files."""

from __future__ import annotations

import fnmatch
import re
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory


class Snapshot(ABC):
    """Gives access to the files of one version of a repository. ``names`` lists their paths, with / as separator."""

    names: frozenset[str]

    @abstractmethod
    def file(self, name: str) -> Path:
        """Returns a file with the content of ``name``, which lasts until the next call.

        Raises FileNotFoundError if the snapshot has no such file, or lists it without its content.
        """

    def matching(self, pattern: str) -> list[str]:
        """Returns the names that match a pattern, in natural order (2 before 10); * and ? stay within one folder."""
        parts = pattern.split("/")
        found = [name for name in self.names if _fits(name.split("/"), parts)]
        return sorted(found, key=natural)


class Folder(Snapshot):
    """Reads a plain folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        files = (path for path in root.rglob("*") if path.is_file())
        self.names = frozenset(path.relative_to(root).as_posix() for path in files)

    def file(self, name: str) -> Path:
        if name not in self.names:
            raise FileNotFoundError(f"{name} is missing")
        return self._root / name


class GitDirectory(Snapshot):
    """Reads one commit of a git directory without a work tree. Files are copied to ``scratch`` one at a time."""

    def __init__(self, git_directory: Path, commit: str, scratch: Path) -> None:
        self._git = ["git", "-c", "safe.directory=*", "--git-dir", str(git_directory)]
        self._scratch = scratch
        listing = subprocess.run([*self._git, "ls-tree", "-r", "-z", commit], capture_output=True, check=False)
        if listing.returncode:
            raise FileNotFoundError(
                f"{git_directory} has no {commit}: {listing.stderr.decode(errors='replace').strip()}"
            )
        self._objects: dict[str, str] = {}
        for line in listing.stdout.decode("utf-8", "surrogateescape").split("\0"):
            if line:
                about, name = line.split("\t", 1)
                if about.split()[1] == "blob":
                    self._objects[name] = about.split()[2]
        self.names = frozenset(self._objects)
        # Use one process for all files: starting git costs more than reading a picture.
        self._reader = subprocess.Popen(
            [*self._git, "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def file(self, name: str) -> Path:
        if name not in self._objects:
            raise FileNotFoundError(f"{name} is missing")
        assert self._reader.stdin and self._reader.stdout
        self._reader.stdin.write(self._objects[name].encode() + b"\n")
        self._reader.stdin.flush()
        header = self._reader.stdout.readline().split()
        if len(header) != 3:
            raise FileNotFoundError(f"{name} is listed, but its content is not in the snapshot")
        content = self._reader.stdout.read(int(header[2]))
        self._reader.stdout.read(1)
        for old in self._scratch.iterdir():
            old.unlink()
        copy = self._scratch / PurePosixPath(name).name
        copy.write_bytes(content)
        return copy

    def close(self) -> None:
        """Ends the git process."""
        self._reader.communicate()


@contextmanager
def open_snapshot(root: Path, repository: str, commit: str = "HEAD") -> Iterator[Snapshot]:
    """Opens the snapshot of OWNER/NAME below ``root``.

    It is searched in ``OWNER+NAME/repo``, ``OWNER+NAME.git``, ``OWNER+NAME`` and ``OWNER/NAME``. It may be a git
    directory, a checkout with one in ``.git``, or a plain folder, which has only one version and so ignores ``commit``.

    Raises FileNotFoundError if there is no snapshot, or if the git directory has no such commit.
    """
    plus = repository.replace("/", "+")
    places = [root / plus / "repo", root / f"{plus}.git", root / plus, root / repository]
    place = next((place for place in places if place.is_dir()), None)
    if place is None:
        raise FileNotFoundError(f"{root} has no snapshot of {repository}, such as {places[0].relative_to(root)}")
    git_directory = next((folder for folder in (place / ".git", place) if (folder / "objects").is_dir()), None)
    if git_directory is None:
        yield Folder(place)
        return
    with TemporaryDirectory(prefix="pack-") as scratch:
        snapshot = GitDirectory(git_directory, commit, Path(scratch))
        try:
            yield snapshot
        finally:
            snapshot.close()


def natural(name: str) -> list[tuple[int, str]]:
    """Returns a key that sorts numbers within names by value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _fits(parts: list[str], patterns: list[str]) -> bool:
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))
