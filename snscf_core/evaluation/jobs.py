# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Work in processes of its own: what crashes takes nothing with it but itself."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Protocol, TypeVar

_Job = TypeVar("_Job")


class Work(Protocol):
    """What a process does with each job: made once in each process, from a picklable factory."""

    def __call__(self, job: Any, advance: Callable[[int], None]) -> Any:
        """The result of a job, picklable; ``advance`` tells how many frames have been done since the last time."""
        ...


@dataclass(frozen=True)
class Failure:
    """Why there is no result. error: one line. details: the traceback, empty if the process itself ended."""

    error: str
    details: str = ""


class _Worker:
    def __init__(self, factory: Callable[[], Work]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, factory), daemon=True)
        self.process.start()
        theirs.close()

    def end(self) -> None:
        self.connection.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@dataclass(frozen=True)
class Done(Generic[_Job]):
    """A job and its result, or why there is none."""

    job: _Job
    result: Any


def run(
    jobs: Iterable[_Job],
    factory: Callable[[], Work],
    workers: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[Done[_Job]]:
    """Every job as it is done, by ``workers`` processes; a job that raises or ends its process gives a `Failure`."""
    waiting = iter(jobs)
    at_work: dict[Connection, tuple[_Worker, _Job]] = {}

    def give(worker: _Worker | None) -> None:
        job = next(waiting, None)
        if job is None:
            if worker is not None:
                worker.end()
            return
        worker = worker or _Worker(factory)
        at_work[worker.connection] = worker, job
        try:
            worker.connection.send(job)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has ended already: seen below

    try:
        for _ in range(max(1, workers)):
            give(None)
        while at_work:
            for connection in wait(list(at_work)):
                assert isinstance(connection, Connection)
                worker, job = at_work[connection]
                try:
                    kind, value = connection.recv()
                except (EOFError, ConnectionResetError):
                    del at_work[connection]
                    worker.end()
                    yield Done(job, Failure(f"its process ended with exit code {worker.process.exitcode}"))
                    give(None)
                    continue
                if kind == "advance":
                    advance(value)
                else:
                    del at_work[connection]
                    yield Done(job, value)
                    give(worker)
    finally:
        for worker, _ in at_work.values():
            worker.process.kill()
            worker.end()


def _serve(connection: Connection, factory: Callable[[], Work]) -> None:
    work: Work | None = None
    while True:
        try:
            job = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            work = work or factory()
            result = work(job, lambda frames: connection.send(("advance", frames)))
        except KeyboardInterrupt:
            return
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            result = Failure(text, traceback.format_exc())
        connection.send(("done", result))
