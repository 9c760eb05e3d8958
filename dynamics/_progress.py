"""A progress bar for whatever takes longer than a couple of seconds, silent when nobody is at a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 2.0  # seconds before a bar appears


@contextmanager
def progress(title: str, total: int, *, enabled: bool = True, rounds: int = 0) -> Iterator[Callable[[int], None]]:
    """Yields ``advance(steps)``; the bar shows steps and time left once ``PATIENCE`` has passed.

    With ``rounds``, how many rounds a step is, also rounds per second; steps before the first second are not counted in.
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
        # What a resumed run finds done is there at once and was not computed in this one.
        counted += steps if passed > 1.0 else 0
        bar.update(task, advance=steps, rate=f"{counted * rounds / passed:.3g} rounds/s" if counted and rounds else "")
        if not shown and passed > PATIENCE:
            bar.start()
            shown = True

    try:
        yield advance
    finally:
        if shown:
            bar.stop()
