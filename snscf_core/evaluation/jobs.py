# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs jobs in worker processes: a job that crashes its process loses only its own result."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Protocol, TypeVar

from ..signals import without_signals

_Job = TypeVar("_Job")


class Work(Protocol):
    """Does the jobs given to one process. A picklable factory makes it once in each process."""

    def __call__(self, job: Any, advance: Callable[[int], None]) -> Any:
        """Returns the job's result, picklable. Calls ``advance`` with the frames done since its last call."""
        ...


@dataclass(frozen=True)
class Failure:
    """Explains why a job has no result.

    error: one line.
    details: the traceback, empty if the process itself ended.
    """

    error: str
    details: str = ""


class _Worker:
    def __init__(self, factory: Callable[[], Work]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, factory), daemon=True)
        # A terminal sends SIGINT to all processes of a command; `run` ends the workers.
        with without_signals():
            self.process.start()
        theirs.close()

    def send(self, job: object) -> None:
        try:
            self.connection.send(job)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The process has ended: `receive` reports that as this job's failure.

    def receive(self) -> tuple[str, Any]:
        """Returns ``("advance", frames)``, ``("done", result)``, or ``("ended", Failure)`` if the process has ended."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.end()
            return "ended", Failure(f"its process ended with exit code {self.process.exitcode}")
        return kind, value

    def end(self) -> None:
        self.connection.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@dataclass(frozen=True)
class Done(Generic[_Job]):
    """Pairs a job with its result, or with a `Failure`."""

    job: _Job
    result: Any


def run(
    jobs: Iterable[_Job],
    factory: Callable[[], Work],
    workers: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[Done[_Job]]:
    """Does the jobs in ``workers`` processes and yields each when it is done.

    A job that raises or ends its process gives a `Failure`.
    """
    waiting = iter(jobs)
    at_work: dict[Connection, tuple[_Worker, _Job]] = {}

    def give(worker: _Worker | None) -> None:
        job = next(waiting, None)
        if job is not None:
            worker = worker or _Worker(factory)
            at_work[worker.connection] = worker, job
            worker.send(job)
        elif worker is not None:
            worker.end()

    try:
        for _ in range(max(1, workers)):
            give(None)
        while at_work:
            for connection in wait(list(at_work)):
                assert isinstance(connection, Connection)
                worker, job = at_work[connection]
                kind, value = worker.receive()
                if kind == "advance":
                    advance(value)
                    continue
                del at_work[connection]
                yield Done(job, value)
                give(worker if kind == "done" else None)
    finally:
        for worker, _ in at_work.values():
            worker.process.kill()
            worker.end()


def _serve(connection: Connection, factory: Callable[[], Work]) -> None:
    work: Work | None = None
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            work = work or factory()
            result = work(job, lambda frames: connection.send(("advance", frames)))
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            result = Failure(text, traceback.format_exc())
        connection.send(("done", result))
