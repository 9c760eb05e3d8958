"""The command ``dynamics stability``: what rounds on a file's preferences do, and what changes that."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro

from ._files import Reading, check_suffix, check_writable, choose, heading, read_file

if TYPE_CHECKING:
    from ..preferences import PreferenceSet
    from ..rounds import SelfSampling
    from ._study import Study

MAX_FIRST = 10  # responses of a matrix that gets a first answer
MAX_ORBIT = 10_000  # rounds drawn by --plot


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stability(Reading):
    """Whether iterated alignment on a file's preferences settles, collapses or oscillates, and what changes that."""

    alpha: Annotated[float, tyro.conf.arg(metavar="A")]
    """Share of the policy in the next reference, 0 to 1."""
    lam: Annotated[float, tyro.conf.arg(metavar="L")]
    """Share of the policy in the next sampler, 0 to 1."""
    beta: Annotated[float, tyro.conf.arg(metavar="B")]
    """KL coefficient, above 0."""
    objective: Annotated[Literal["ipo", "dpo"] | None, tyro.conf.arg(metavar="ipo|dpo")] = None
    """What each round minimises; ipo unless given."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="OUT.png")] = None
    """Draw one matrix's orbit, spectrum and verdict to a .png, .pdf or .svg file."""
    json: bool = False
    """Print JSON instead of tables."""
    rounds: Annotated[int, tyro.conf.arg(metavar="N")] = 3000
    """Rounds before the first verdict, at least 10."""
    index: Annotated[int | None, tyro.conf.arg(metavar="I")] = None
    """Use only this matrix of the file, counted from 0."""

    def run(self) -> None:
        from . import _prompts_table, _tables
        from ._stability_words import two_answers

        self._check()
        matrices = read_file(self)
        chosen = choose(matrices, self.index, self.file, self.plot)
        if self.plot is not None:
            check_writable(self.plot)
        single = len(chosen) == 1
        studies = [self._one(matrices, chosen[0])] if single else self._many(matrices, chosen)
        if self.json:
            setting = {"objective": self._kind, "alpha": self.alpha, "lam": self.lam, "beta": self.beta}
            rows = [heading(matrices, s.index) | s.to_dict() for s in studies]
            _tables.print_json({"source": matrices.source, **setting, "matrices": rows})
        elif not single:
            title, words = self._title(matrices, None, told=True), two_answers(matrices, chosen, self._kind)
            if len(studies) > _prompts_table.MANY:
                _prompts_table.stability_prompts(matrices, studies, title, words)
            else:
                _tables.stability_table(studies, title, words)

    def _one(self, matrices: PreferenceSet, m: int) -> Study:
        """The study of one matrix, whose parts are printed as they are found, unless JSON is asked for."""
        from .._progress import progress
        from . import _tables

        P = np.asarray(matrices[m], np.float64)
        counted, size = matrices.counts[m] is not None, len(matrices[m])
        tell = (lambda rows: None) if self.json else _tables.print_rows
        setting = (self._kind, self.alpha, self.lam, self.beta)
        first = self._first_answer(P, counted)  # before the heavy packages are imported
        if first is None:
            self._loop(matrices, m)  # where there is no optimum, this says so before anything is printed
        tell(_tables.heading_rows(matrices, m, self._title(matrices, m, told=True)))
        tell([("first answer", first)] if first else [])
        from ._draws import for_remedy, probability
        from ._main import compiled_quickly
        from ._remedy import remedy
        from ._study import STEPS, study

        told = probability(matrices, m, *setting, self.rounds)
        if told is not None:
            tell(_tables.probability_rows(told))
        with progress("analysis", STEPS) as advance, compiled_quickly():
            options = {"rounds": self.rounds, "advance": advance, "throw": True, "advised": self.json or not counted}
            found = study(m, size, partial(self._loop, matrices, m), **options)
        assert found.report is not None
        tell(_tables.report_rows(matrices, found, None if told is None else told.likeliest))
        collapsed = "collapsed" in (found.report.verdict, None if told is None else told.likeliest)
        what = remedy(P, for_remedy(matrices, m), *setting, collapsed=collapsed)
        tell([("Do", str(what))])
        found = dataclasses.replace(found, probability=told, remedy=what)
        if self.plot is not None:
            self._draw(matrices, found)
        return found

    def _first_answer(self, P: np.ndarray, counted: bool) -> str | None:
        """What the rounds do if the rates are exact, in a sentence; None for large matrices and where DPO has no optimum."""
        from ..oracle import answer

        extreme = self._kind == "dpo" and ((P <= 0) | (P >= 1)).any()
        if len(P) > MAX_FIRST or extreme:
            return None
        told = str(answer(P, self._kind, self.alpha, self.lam, self.beta, rounds=self.rounds))
        return f"if P were exactly that of the file: {told}" if counted else told

    def _many(self, matrices: PreferenceSet, chosen: Sequence[int]) -> list[Study]:
        from .._progress import progress
        from ._stability_words import NO_OPTIMUM, why_none
        from ._study import STEPS, study

        # Equal matrices, of which many prompts with one vote each have only two, are studied once.
        first, back = matrices.distinct()
        with progress("analysis", STEPS * len(first)) as advance:
            study_one = partial(study, rounds=self.rounds, advance=advance, throw=False)
            studies = [study_one(m, len(matrices[m]), partial(self._loop, matrices, m)) for m in first]
        found = [dataclasses.replace(studies[k], index=m) for m, k in zip(chosen, back, strict=True)]
        # The names of responses are each matrix's own.
        return [dataclasses.replace(s, error=why_none(matrices, s.index)) if s.word == NO_OPTIMUM else s for s in found]

    def _check(self) -> None:
        """Checks the options, before a file is read."""
        from .._checks import check_count, check_scalar

        check_scalar(self.beta, "beta", 0.0, math.inf, open_low=True)
        check_scalar(self.alpha, "alpha", 0.0, 1.0)
        check_scalar(self.lam, "lam", 0.0, 1.0)
        check_count(self.rounds, "rounds", 10)
        check_suffix(self.plot)

    @property
    def _kind(self) -> Literal["ipo", "dpo"]:
        return self.objective or "ipo"

    def _objective(self) -> Any:
        from ..objectives import DPO, IPO

        return IPO(self.beta) if self._kind == "ipo" else DPO(self.beta)

    def _loop(self, matrices: PreferenceSet, m: int) -> SelfSampling:
        from ..rounds import SelfSampling
        from ._stability_words import without_optimum

        if self._kind == "dpo" and (why := without_optimum(matrices, m)):
            raise ValueError(why)
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

    def _title(self, matrices: PreferenceSet, m: int | None, *, told: bool = False) -> str:
        """The file and the setting; ``told``: with a word where the objective is the default."""
        name = Path(self.file).name
        source = name if m is None or len(matrices) == 1 else f"{name}, matrix {m}"
        default = " (the default; --objective dpo for DPO)" if told and self.objective is None else ""
        return f"{source}: {self._kind.upper()}{default}, α = {self.alpha:g}, λ = {self.lam:g}, β = {self.beta:g}"
