"""The command ``dynamics advise``: the smallest beta that keeps rounds stable, at a stated confidence."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ._files import Reading, check_suffix, check_writable, choose, heading, read_file

if TYPE_CHECKING:
    from ..preferences import PreferenceSet
    from ..stability import SafeBeta

ALPHAS, LAMS = (0.0, 0.25, 0.5, 0.75, 0.9), (0.25, 0.5, 0.75, 1.0)
ONE_ALPHA, ONE_LAM = (0.5,), (1.0,)  # for a table with one row per matrix
ROUNDING = 1e-12  # of a bound that is 0
DRAWS, DRAWS_EACH = 1000, 200  # for one matrix, and for each of many
NUMBERS = {
    "matrix",
    "K",
    "comparisons",
    "alpha",
    "lam",
    "safe above",
    "IPO safe above",
    "DPO safe above",
    "at the mean",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Advise(Reading):
    """Safe regions: for each alpha and lam, the smallest beta that keeps rounds stable, for IPO and DPO."""

    confidence: Annotated[float, tyro.conf.arg(metavar="C")] = 0.95
    """Probability, given the counts, that rounds are stable above the printed beta; between 0 and 1."""
    alpha: Annotated[tuple[float, ...], tyro.conf.arg(metavar="A")] = ()
    """Shares of the policy in the next reference, 0 to below 1; several for one matrix, one for many."""
    lam: Annotated[tuple[float, ...], tyro.conf.arg(metavar="L")] = ()
    """Shares of the policy in the next sampler, 0 to 1; several for one matrix, one for many."""
    index: Annotated[int | None, tyro.conf.arg(metavar="I")] = None
    """Use only this matrix of the file, counted from 0; by default a file of many gets a row for each."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="OUT.png")] = None
    """Draw one matrix's safe regions to a .png, .pdf or .svg file."""
    json: bool = False
    """Print JSON instead of tables."""
    draws: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Draws of the posterior: 1000 for one matrix, 200 for each of many unless given."""
    seed: Annotated[int, tyro.conf.arg(metavar="S")] = 0
    """Seed of the draws."""

    def run(self) -> None:
        from .._progress import progress
        from . import _tables
        from ._stability_words import two_answers, without_optimum

        self._check()
        matrices = read_file(self)
        chosen = choose(matrices, self.index, self.file, self.plot)
        single = len(chosen) == 1
        alphas, lams = self._grid(single)
        if self.plot is not None:
            check_writable(self.plot)
        found = []
        with progress("matrices", len(chosen), enabled=not single) as advance:
            for m in chosen:
                found.append(self._limits(matrices, m, alphas, lams, single))
                advance(1)
        if self.plot is not None:
            self._draw(matrices, chosen[0], found[0])
        if self.json:
            rows = [
                heading(matrices, m)
                | {"dpo": None, "dpo_error": without_optimum(matrices, m) if len(both) == 1 else None}
                | {limits.objective.lower(): limits.to_dict() for limits in both}
                for m, both in zip(chosen, found, strict=True)
            ]
            setting = {"confidence": self.confidence, "alpha": list(alphas), "lam": list(lams), "seed": self.seed}
            _tables.print_json({"source": matrices.source, **setting, "matrices": rows})
        elif single:
            _print_one(self._title(matrices, chosen[0]), found[0], without_optimum(matrices, chosen[0]))
        else:
            title = f"{len(chosen)} matrices, {Path(self.file).name}"
            _print_many(title, chosen, found, two_answers(matrices, chosen, "dpo"))

    def _check(self) -> None:
        """Checks the options, before a file is read."""
        from .._checks import check_count
        from ..stability import check_alphas, check_confidence, check_lams

        check_confidence(self.confidence)
        if self.alpha:
            check_alphas(self.alpha)
        if self.lam:
            check_lams(self.lam)
        if self.draws is not None:
            check_count(self.draws, "draws", 1)
        check_suffix(self.plot)

    def _grid(self, single: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if single:
            return self.alpha or ALPHAS, self.lam or LAMS
        for name, values in (("alpha", self.alpha), ("lam", self.lam)):
            if len(values) > 1:
                raise ValueError(
                    f"--{name} has {len(values)} values but {self.file} has several matrices, which get one row each; "
                    f"pass one value, or choose a matrix with --index."
                )
        return self.alpha or ONE_ALPHA, self.lam or ONE_LAM

    def _limits(
        self, matrices: PreferenceSet, m: int, alphas: Sequence[float], lams: Sequence[float], single: bool
    ) -> tuple[SafeBeta, ...]:
        """The safe betas of one matrix, for IPO and, where it has an optimum, for DPO."""
        import jax
        import numpy as np

        from ..objectives import DPO, IPO
        from ..stability import known_beta, safe_beta
        from ._stability_words import without_optimum

        grid = np.asarray(alphas), np.asarray(lams)
        kinds = (IPO, DPO) if without_optimum(matrices, m) is None else (IPO,)
        if matrices.counts[m] is None:
            return tuple(known_beta(matrices[m], kind, *grid, progress=single) for kind in kinds)
        draws = self.draws or (DRAWS if single else DRAWS_EACH)
        options: Any = {"confidence": self.confidence, "draws": draws, "progress": single}
        key = jax.random.fold_in(jax.random.key(self.seed), m)
        return tuple(safe_beta(matrices.wins(m), kind, *grid, key=key, one_sided=True, **options) for kind in kinds)

    def _draw(self, matrices: PreferenceSet, m: int, both: tuple[SafeBeta, ...]) -> None:
        from .. import plot

        assert self.plot is not None
        figure = plot.advice(both, title=self._title(matrices, m))
        with plot.style():
            figure.savefig(self.plot)

    def _title(self, matrices: PreferenceSet, m: int) -> str:
        name = Path(self.file).name if len(matrices) == 1 else f"{Path(self.file).name}, matrix {m}"
        return f"{name}: K = {len(matrices[m])}"


def _print_one(title: str, both: Sequence[SafeBeta], no_optimum: str | None) -> None:
    from . import _tables

    first = both[0]
    lines: list[Any] = [_tables.text(title), _tables.text(_basis(first))]
    for limits in both:
        lines += ["", _tables.text(limits.objective), _table(limits)]
        if limits.lost:
            lines.append(
                f"{limits.lost:.1%} of the draws were lost at some beta on the way down and count as unstable below it"
            )
        if limits.without_optimum:
            share = "P has" if limits.confidence is None else f"{limits.without_optimum:.1%} of the draws have"
            lines.append(f"{share} no finite optimum, which counts as unstable at every beta")
    if no_optimum is not None:
        lines += ["", _tables.text("DPO"), _tables.text(f"no optimum: {no_optimum}")]
    lines.append(
        "alpha = 1 is left out: there the reference does not restrain the policy, and IPO's rounds have eigenvalues"
    )
    lines.append("1 ± i c w at interior fixed points (7.1), so no beta makes them stable.")
    _tables.print_parts(*lines)


def _basis(limits: SafeBeta, *, single: bool = True) -> str:
    """The assumptions behind the numbers, in a sentence."""
    stable = "locally stable at every beta above the printed one"
    if limits.confidence is None:
        return f"Rounds are {stable} if P is exactly that of the file, which has no counts, so no confidence can be stated."
    given = (
        f"{limits.comparisons:g} comparison{'' if limits.comparisons == 1 else 's'}"
        if single
        else "a matrix's comparisons"
    )
    bands = ", with 95% Monte Carlo intervals in brackets" if single else ""
    return (
        f"Rounds are {stable} with posterior probability {limits.confidence:g}, given {given}, by the larger beta of "
        f"the models {' and '.join(limits.models)}; {limits.draws} draws of each model{bands}; ≤ {limits.floor:g} means stable "
        "down to the smallest beta examined."
    )


def _table(limits: SafeBeta) -> Any:
    from . import _tables

    known = limits.confidence is None
    columns = ["alpha", "lam", "stable above" if known else "safe above"]
    columns += [] if known else ["at the mean"]
    if limits.proven is not None:
        columns += ["proven to converge above" + ("" if known else f" ({limits.confidence:.0%})"), "for every P"]
    table = _tables.new_table(columns, numbers=set(columns))
    for a, alpha in enumerate(limits.alpha):
        for n, lam in enumerate(limits.lam):
            show = _shower(limits.floor)
            safe = show(limits.beta[a, n])
            if not known and math.isfinite(limits.beta[a, n]):
                safe += f" ({show(limits.low[a, n])} – {show(limits.high[a, n])})"
            cells = [f"{alpha:g}", f"{lam:g}", safe] + ([] if known else [show(limits.mean[a, n])])
            if limits.proven is not None and limits.proven_everywhere is not None:
                cells += [_proven(limits.proven[a, n]), f"{limits.proven_everywhere[a, n]:.4g}"]
            table.add_row(*map(_tables.text, cells))
    return table


def _shower(floor: float) -> Callable[[float], str]:
    def show(beta: float) -> str:
        if not math.isfinite(beta):
            return "none"
        return f"≤ {floor:g}" if beta <= floor else f"{beta:.4g}"

    return show


def _proven(beta: float) -> str:
    """A bound within rounding of 0 holds at every beta."""
    return "every beta" if beta <= ROUNDING else f"{beta:.4g}"


def _print_many(
    title: str, chosen: Sequence[int], found: Sequence[tuple[SafeBeta, ...]], words: Sequence[tuple[str, str]]
) -> None:
    from . import _tables
    from ._stability_words import NO_OPTIMUM

    first = found[0][0]
    columns = ["matrix", "comparisons"]
    columns += [f"{objective} {what}" for objective in ("IPO", "DPO") for what in ("safe above", "at the mean")]
    columns += ["IPO proven above"]
    table = _tables.new_table(columns, numbers=set(columns))
    for m, both in zip(chosen, found, strict=True):
        ipo = both[0]
        cells: list[Any] = [m, "unknown" if ipo.comparisons is None else f"{ipo.comparisons:g}"]
        for limits in both:
            show = _shower(limits.floor)
            cells += ["" if limits.confidence is None else show(limits.beta[0, 0]), show(limits.mean[0, 0])]
        cells += [NO_OPTIMUM, NO_OPTIMUM] if len(both) == 1 else []
        cells.append("" if ipo.proven is None else _proven(float(ipo.proven[0, 0])))
        table.add_row(*map(_tables.text, cells))
    counted = next((both[0] for both in found if both[0].confidence is not None), first)
    lines = [f"alpha = {first.alpha[0]:g}, lam = {first.lam[0]:g}. {_basis(counted, single=False)}"]
    if any(both[0].confidence is None for both in found) and counted.confidence is not None:
        lines.append(
            "Matrices without counts are taken as exact; the beta at which they lose stability is in the columns 'at the mean'."
        )
    lines += [f"{label}: {said}" for label, said in words]
    _tables.print_parts(table, _tables.text(title), *map(_tables.text, lines))
