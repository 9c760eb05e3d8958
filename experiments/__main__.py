"""``python -m experiments``: a tour of the experiments, or those that are named, with figures and findings."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import importlib.util
import io
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dynamics._options import repeated

from . import ON_MODELS, TITLES, TOUR, _at_once, _jobs, experiment
from ._framework import Tick
from ._store import UserError, writable

USAGE = """\
python -m experiments                       the tour: some experiments at quick scale, with figures and findings
python -m experiments --all                 every experiment at quick scale
python -m experiments list                  the names of all experiments; those of the tour are marked
python -m experiments run NAME… [options]   the named experiments; with one NAME also the options of its Config

The tour is the shortest way through the story: rounds oscillate or collapse (evolution, phases), what decides between
stability and oscillation (stability_map), how continuous training differs (continuous, margins), and how many comparisons
make a verdict certain (advice).

options:
  --all                  every experiment, not only the tour
  --full                 the larger configuration
  --preferences PATH…    files (as `dynamics classify` takes) or folders of them, for experiments that read preferences
  --workers N            sweeps are computed by N worker processes (dask; install '.[cluster]')
  --at-once N            N experiments at a time, in processes of their own (default: one for each core, at most 4)
  --width INCHES         figures for a column of that width, 3.25 to 7.4, such as 5.5 or 3.25, with text of at least 7 points
  --out DIR              where results go (default: results)
  --help                 this text; after one NAME also the options of its Config

Figures are DIR/figures/NAME.pdf, without a caption, NAME.txt, its caption for LaTeX, and NAME.png, with the caption. With
options other than the defaults their names carry the key of the stored result, NAME-KEY, so that no run overwrites the figure
of another.

Exit status: 0 every finding holds or is not decided, 1 some finding fails, 2 bad input."""


def main(argv: list[str]) -> int:
    """Runs the command line and returns the exit status."""
    try:
        return _command(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the output, such as head, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted; finished experiments are stored.", file=sys.stderr)
        return 130


def _command(argv: list[str]) -> int:
    command, rest = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else ("run", argv)
    if command not in ("run", "list"):
        hint = "python -m experiments run " + " ".join(argv) if command in TITLES | ON_MODELS else "known: run, list"
        raise UserError(f"unknown command {command!r}; {hint}.")
    if command == "list":
        mark = lambda name: "tour" if name in TOUR else "llm" if name in ON_MODELS else ""
        known = TITLES | ON_MODELS
        width = max(map(len, known))
        print("\n".join(f"{name:<{width}}  {mark(name):<4}  {title}" for name, title in known.items()))
        return 0
    names = list(itertools.takewhile(lambda word: not word.startswith("-"), rest))
    options = rest[len(names) :]
    for name in names:
        _check_name(name)
    if {"--help", "-h"} & set(options) and len(names) != 1:
        print(USAGE)
        return 0
    configs, common = _configure(names, options)
    return _run_all(configs, writable(common.out), common)


def _check_name(name: str) -> None:
    known = TITLES | ON_MODELS
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"unknown experiment {name!r}; {hint}Known: {', '.join(known)}.")
    if name in ON_MODELS and any(importlib.util.find_spec(package) is None for package in ("torch", "transformers")):
        raise UserError(f"{name} needs torch and transformers; pip install '.[llm]'.")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UserError(f"{message}; see python -m experiments --help.")


def _configure(names: list[str], options: list[str]) -> tuple[dict[str, Any], argparse.Namespace]:
    """The configuration of every experiment to run, and the options that they share."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--preferences", nargs="+", metavar="PATH")
    parser.add_argument("--workers", type=int, metavar="N")
    parser.add_argument("--at-once", type=int, metavar="N")
    parser.add_argument("--width", type=float, metavar="INCHES")
    parser.add_argument("--out", type=Path, default=Path("results"))
    if twice := repeated(options):
        raise UserError(twice)
    common, own = parser.parse_known_args(options)
    if common.all and names:
        raise UserError("--all runs every experiment; leave out --all, or the names.")
    chosen = names or (TITLES if common.all else TOUR)
    if own and len(names) != 1:
        raise UserError(f"option {own[0]} belongs to one experiment's Config; name that one: run NAME {' '.join(own)}.")
    configs = {name: _config(name, common.full, own) for name in chosen}
    if common.preferences:
        readers = [name for name in chosen if hasattr(configs[name], "preferences")]
        unsuitable = [name for name in names if name not in readers]
        if unsuitable:
            raise UserError(
                f"{unsuitable[0]} reads no preferences; leave out --preferences, or run one that does, such as critical_beta."
            )
        for name in readers:
            with _jobs.one_sentence():
                configs[name] = dataclasses.replace(configs[name], preferences=tuple(common.preferences))
    if common.workers is not None and common.workers < 1:
        raise UserError(f"--workers {common.workers} is below 1; pass a whole number of at least 1, or leave it out.")
    if common.workers is not None and importlib.util.find_spec("distributed") is None:
        raise UserError("--workers needs dask.distributed; pip install '.[cluster]', or leave it out.")
    if common.at_once is not None and common.at_once < 1:
        raise UserError(f"--at-once {common.at_once} is below 1; pass a whole number of at least 1, or leave it out.")
    if common.workers is not None and (common.at_once or 1) > 1:
        raise UserError("--workers shares each experiment among processes; leave out --at-once, or --workers.")
    if common.width is not None and not 3.25 <= common.width <= 7.4:
        raise UserError(
            f"--width {common.width:g} is outside [3.25, 7.4] inches; pass the width of a column, such as 5.5."
        )
    return configs, common


def _config(name: str, full: bool, options: list[str]) -> Any:
    import tyro

    module = experiment(name)
    default = module.Config.full() if full else module.Config()
    prog = f"python -m experiments run {name}"
    if {"--help", "-h"} & set(options):
        print(USAGE + "\n")
        tyro.cli(module.Config, args=["--help"], default=default, prog=prog, description=module.__doc__)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            config, unknown = tyro.cli(
                module.Config, args=options, default=default, prog=prog, return_unknown_args=True
            )
    except SystemExit:
        raise UserError(f"{name}: {_sentence(said.getvalue())}") from None
    if unknown:
        known = [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(module.Config)]
        near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"{name} has no option {unknown[0]}; {hint}Known: {', '.join(known)}.")
    return config


def _sentence(boxed: str) -> str:
    """tyro's message without its title and the box drawn around it, whose characters depend on the terminal's encoding."""
    inside = [line.strip("╭╮╰╯│─-| ") for line in boxed.splitlines()[1:]]
    words = itertools.takewhile(bool, itertools.dropwhile(lambda line: not line, inside))
    text = " ".join(words).removeprefix("Error parsing Config: ")
    return text or "the options cannot be read; see --help."


def _run_all(configs: dict[str, Any], out: Path, common: argparse.Namespace) -> int:
    from dynamics.sweeps import available_cores

    from ._report import show, write
    from ._sweeps import workers

    (out / "figures").mkdir(exist_ok=True)
    count, quick, asked = common.workers, not common.full, common.at_once
    jobs = [(name, _jobs.Job(name, config, out, quick, common.width)) for name, config in configs.items()]
    number = 1 if count is not None else min(_at_once.MOST, available_cores()) if asked is None else asked
    if min(number, len(jobs)) > 1 and all(map(_jobs.is_stored, (job for _, job in jobs))):
        number = 1  # reading takes less time than starting a process
    with _bar(len(configs)) as (tick, say):
        if min(number, len(jobs)) > 1:
            findings = _at_once.run(_jobs.work, jobs, number, tick, say)
        else:
            _jobs.set_up_jax(out, quick=quick)
            with workers(count) as client:
                findings = {}
                for n, (name, job) in enumerate(jobs):
                    findings[name] = _jobs.one(
                        job, lambda share, what, n=n, name=name: tick(n + share, f"{name}: {what}"), say, client
                    )
    show(findings)
    write(findings, out, {name: job.stem for name, job in jobs})
    print(f"Figures in {out / 'figures'}, findings in {out / 'findings.md'} and {out / 'findings.json'}.")
    return int(any(f.status == "fails" for group in findings.values() for f in group))


@contextlib.contextmanager
def _bar(total: int) -> Iterator[tuple[Tick, Any]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=total)
        yield (
            lambda done, what: bar.update(task, completed=done, description=what),
            lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True),
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
