"""A progress bar that appears after two seconds, and only at a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_BEFORE_BAR = 2.0


@contextmanager
def progress(title: str, total: int, *, enabled: bool = True, rounds: int = 0) -> Iterator[Callable[[int], None]]:
    """Yields ``advance(steps)``; after ``SECONDS_BEFORE_BAR`` the bar shows steps and time left.

    With ``rounds``, the number of rounds in a step, it also shows rounds per second, without those of the first second.
    """
    if not (enabled and sys.stderr.isatty()):
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    columns += [TextColumn("{task.fields[rate]}")] if rounds else []
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(title, total=total, rate="")
    began, shown, counted = time.monotonic(), False, 0

    def advance(steps: int) -> None:
        nonlocal shown, counted
        passed = time.monotonic() - began
        # A resumed run reports at once what earlier runs computed, which must not count as its own speed.
        counted += steps if passed > 1.0 else 0
        bar.update(task, advance=steps, rate=f"{counted * rounds / passed:.3g} rounds/s" if counted and rounds else "")
        if not shown and passed > SECONDS_BEFORE_BAR:
            bar.start()
            shown = True

    try:
        yield advance
    finally:
        if shown:
            bar.stop()
