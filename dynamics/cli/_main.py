"""The command ``dynamics``: classification and stability of a file of preferences, policies from votes, the ledger,
stored sweeps, language models.

Heavy packages are imported inside the commands, so that ``dynamics --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import tyro

from .. import __version__
from ._advise import Advise, probability
from ._files import Reading, check_suffix, check_writable, choose, heading, read_file
from ._fit import Fit
from ._llm import Llm
from ._results import Results
from ._verify import Verify

if TYPE_CHECKING:
    from ..preferences import PreferenceSet
    from ..rounds import SelfSampling
    from ._study import Study

MAX_ORBIT = 10_000  # rounds drawn by --plot

DESCRIPTION = "Learning dynamics of preference alignment. `dynamics --version` prints the version."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classify(Reading):
    """What kind of preferences a file holds: winners, cycles, transitivity, distance from Bradley–Terry."""

    json: bool = False
    """Print JSON instead of tables."""

    def run(self) -> None:
        from .._progress import progress
        from ..preferences import classify
        from . import _prompts_table, _tables

        matrices = read_file(self)
        first, back = matrices.distinct()
        found = []
        with progress("matrices", len(first)) as advance:
            for m in first:
                found.append(classify(matrices[m]))
                advance(1)
        found = [found[k] for k in back]
        if self.json:
            rows = [heading(matrices, m) | dataclasses.asdict(c) for m, c in enumerate(found)]
            _tables.print_json({"source": matrices.source, "matrices": rows})
        elif len(found) == 1:
            _tables.classification_card(matrices, found[0])
        elif len(found) > _prompts_table.MANY:
            _prompts_table.classification_prompts(matrices, found)
        else:
            _tables.classification_table(matrices, found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stability(Reading):
    """Whether iterated alignment on a file's preferences settles, collapses or oscillates, and what changes that."""

    alpha: Annotated[float, tyro.conf.arg(metavar="A")]
    """Share of the policy in the next reference, 0 to 1."""
    lam: Annotated[float, tyro.conf.arg(metavar="L")]
    """Share of the policy in the next sampler, 0 to 1."""
    beta: Annotated[float, tyro.conf.arg(metavar="B")]
    """KL coefficient, above 0."""
    objective: Literal["ipo", "dpo"] = "ipo"
    """What each round minimises."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="OUT.png")] = None
    """Draw one matrix's orbit, spectrum and verdict to a .png, .pdf or .svg file."""
    json: bool = False
    """Print JSON instead of tables."""
    rounds: Annotated[int, tyro.conf.arg(metavar="N")] = 3000
    """Rounds before the first verdict, at least 10."""
    index: Annotated[int | None, tyro.conf.arg(metavar="I")] = None
    """Use only this matrix of the file, counted from 0."""

    def run(self) -> None:
        from .._progress import progress
        from . import _prompts_table, _tables
        from ._remedy import remedy
        from ._study import STEPS, study

        self._check()
        matrices = read_file(self)
        chosen = choose(matrices, self.index, self.file, self.plot)
        if self.plot is not None:
            check_writable(self.plot)
        single = len(chosen) == 1
        # Equal matrices, of which many prompts with one vote each have only two, are studied once.
        first, back = (chosen, [0]) if single else matrices.distinct()
        with progress("analysis", STEPS * len(first)) as advance:
            study_one = partial(study, rounds=self.rounds, advance=advance, throw=single)
            studies = [study_one(m, len(matrices[m]), partial(self._loop, matrices, m)) for m in first]
        studies = [dataclasses.replace(studies[k], index=m) for m, k in zip(chosen, back, strict=True)]
        if single:
            setting = (self._objective(), self.alpha, self.lam, self.rounds)
            told = probability(matrices, chosen[0], *setting)
            assert studies[0].report is not None
            collapsed = "collapsed" in (studies[0].report.verdict, None if told is None else told.likeliest)
            kind, values = type(self._objective()), (self.alpha, self.lam, self.beta)
            what = remedy(matrices, chosen[0], kind, *values, collapsed=collapsed)
            studies = [dataclasses.replace(studies[0], probability=told, remedy=what)]
        if self.plot is not None:
            self._draw(matrices, studies[0])
        setting = {"objective": self.objective, "alpha": self.alpha, "lam": self.lam, "beta": self.beta}
        if self.json:
            rows = [heading(matrices, s.index) | s.to_dict() for s in studies]
            _tables.print_json({"source": matrices.source, **setting, "matrices": rows})
        elif single:
            _tables.stability_card(matrices, studies[0], self._title(matrices, studies[0].index))
        elif len(studies) > _prompts_table.MANY:
            _prompts_table.stability_prompts(matrices, studies, self._title(matrices, None))
        else:
            _tables.stability_table(studies, self._title(matrices, None))

    def _check(self) -> None:
        """Checks the options, before a file is read."""
        from .._checks import check_count, check_scalar

        self._objective()
        check_scalar(self.alpha, "alpha", 0.0, 1.0)
        check_scalar(self.lam, "lam", 0.0, 1.0)
        check_count(self.rounds, "rounds", 10)
        check_suffix(self.plot)

    def _objective(self) -> Any:
        from .._checks import check_scalar
        from ..objectives import DPO, IPO

        beta = check_scalar(self.beta, "beta", 0.0, math.inf, open_low=True)
        return IPO(beta) if self.objective == "ipo" else DPO(beta)

    def _loop(self, matrices: PreferenceSet, m: int) -> SelfSampling:
        from ..rounds import SelfSampling

        return SelfSampling(matrices[m], self._objective(), self.alpha, self.lam)

    def _draw(self, matrices: PreferenceSet, study: Study) -> None:
        from .. import plot
        from ..solve import iterate

        assert self.plot is not None
        assert study.report is not None
        loop, report = self._loop(matrices, study.index), study.report
        run = iterate(loop, min(report.rounds, MAX_ORBIT), initial=report.log_initial)
        figure = plot.report(report, run, names=matrices.names[study.index], title=self._title(matrices, study.index))
        with plot.style():
            figure.savefig(self.plot)

    def _title(self, matrices: PreferenceSet, m: int | None) -> str:
        name = Path(self.file).name
        source = name if m is None or len(matrices) == 1 else f"{name}, matrix {m}"
        return f"{source}: {self.objective.upper()}, α = {self.alpha:g}, λ = {self.lam:g}, β = {self.beta:g}"


def _prepare() -> None:
    """Sets float64 and a compilation cache, which the library itself does not touch. The cache is a convenience: without a
    home folder, or with one that cannot be written to, there is none.
    """
    import jax

    jax.config.update("jax_enable_x64", True)
    if getattr(jax.config, "jax_compilation_cache_dir", None):  # set by the user
        return
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: no home folder
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alignment-dynamics" / "xla"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            jax.config.update("jax_compilation_cache_dir", str(folder))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _fail(message: str, code: int = 2) -> NoReturn:
    print(f"dynamics: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)


def _parse(args: Sequence[str]) -> Classify | Stability | Advise | Fit | Verify | Results | Llm:
    """The parsed command; tyro's boxed error messages become one sentence."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(
                Classify | Stability | Advise | Fit | Verify | Results | Llm,  # pyright: ignore[reportArgumentType]
                prog="dynamics",
                description=DESCRIPTION,
                args=args,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        _fail(_sentence(told.getvalue()))


def _sentence(box: str) -> str:
    """The sections of one of tyro's boxes joined, without the title and the repeated help text."""
    sections = [""]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]:
        # A terminal without UTF-8 gets the box without sides, and with - for ─.
        inner = re.sub(r"^[│ ] |\s*│?$", "", line)
        if re.fullmatch(r"\W*[-─]{3,}\W*", inner):
            sections.append("")
        elif not inner.startswith(8 * " "):
            sections[-1] += f" {inner.removesuffix('(required)')}"
    kept = [" ".join(s.split()) for s in sections if not re.match(r"\s*(Argument helptext|For full helptext)", s)]
    kept = [(s[0].lower() + s[1:] if n else s).removesuffix(".") for n, s in enumerate(filter(None, kept))]
    return "; ".join([*kept, "see dynamics --help."])


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line; bad input ends in one sentence on stderr and exit code 2, a failed run in 1."""
    args = sys.argv[1:] if args is None else list(args)
    if args[:1] == ["--version"]:
        print(f"dynamics {__version__}")
        return
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 gets "?" for a dash, not an error
    command = _parse(args)
    try:
        _prepare()
        command.run()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader closed the pipe; redirecting stdout keeps the interpreter from failing again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (ValueError, OSError) as error:
        _fail(str(error))
    except RuntimeError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted.", 130)
