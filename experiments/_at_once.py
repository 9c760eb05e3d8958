"""Several experiments at once, each in a process of its own: compiling, most of their time, uses one core."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from ._framework import Tick
from ._store import UserError

ENDED = "its process ended before it was done (perhaps for want of memory); run it by itself, or with --at-once 1."
PATIENCE = 10.0  # seconds for a process without work to tidy up
MOST = 4  # processes unless more are asked for; each grows to about two gigabytes

Work = Callable[[Any, Tick, Callable[[str], None]], Any]
"""What a process does with a job, given where to report its share and its lines; it has to be importable by name."""


@dataclasses.dataclass
class _Worker:
    process: Any
    pipe: Connection
    job: str | None = None


def run(
    work: Work, jobs: Sequence[tuple[str, Any]], at_once: int, tick: Tick, say: Callable[[str], None]
) -> dict[str, Any]:
    """``work(job, tick, say)`` of every (name, job), ``at_once`` of them at a time; the results by name, in the given order.

    Raises:
        UserError: one of them found bad input, or its process ended.
        RuntimeError: one of them failed otherwise; the message holds its traceback.
    """
    context = multiprocessing.get_context("spawn")
    waiting, shares, results = deque(jobs), {name: 0.0 for name, _ in jobs}, {}
    workers: list[_Worker] = []
    try:
        for _ in range(min(at_once, len(jobs))):
            pipe, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(work, theirs), daemon=True)
            with _without_interrupts():
                process.start()
            theirs.close()
            workers.append(_Worker(process, pipe))
            _next(workers[-1], waiting)
        while len(results) < len(jobs):
            ready = wait([worker.pipe for worker in workers if worker.job is not None])
            for worker in [worker for worker in workers if worker.pipe in ready]:
                name = str(worker.job)
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError):
                    raise UserError(f"{name}: {ENDED}") from None
                if kind == "tick":
                    shares[name], what = value
                    tick(sum(shares.values()), f"{name}: {what}")
                elif kind == "say":
                    say(value)
                elif kind == "wrong":
                    raise UserError(value)
                elif kind == "failed":
                    raise RuntimeError(f"{name} failed:\n{value}")
                else:
                    shares[name], results[name] = 1.0, value
                    _next(worker, waiting)
    finally:
        for worker in workers:
            worker.pipe.close()  # which ends a process that waits for work
            if worker.job is not None:
                worker.process.terminate()
        for worker in workers:
            worker.process.join(PATIENCE)
            worker.process.terminate()
            worker.process.join()
    return {name: results[name] for name, _ in jobs}


def _next(worker: _Worker, waiting: deque[tuple[str, Any]]) -> None:
    if not waiting:
        worker.job = None
        return
    worker.job, job = waiting.popleft()
    try:
        worker.pipe.send(job)
    except OSError:
        raise UserError(f"{worker.job}: {ENDED}") from None


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that are started within it leave an interrupt at the terminal to the parent, also while they begin."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread, where signals are not handled either
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(work: Work, pipe: Connection) -> None:
    """Works until the process is ended; an interrupt at the terminal is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else the first would take most of a GPU's memory
    while True:
        try:
            job = pipe.recv()
        except EOFError:  # the parent is gone
            return
        try:
            result = work(
                job, lambda share, what: pipe.send(("tick", (share, what))), lambda text: pipe.send(("say", text))
            )
            pipe.send(("done", result))
        except UserError as error:
            pipe.send(("wrong", str(error)))
        except BaseException:
            pipe.send(("failed", traceback.format_exc()))
