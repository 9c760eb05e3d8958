"""The command ``dynamics compare``: every method on a file's preferences."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from ..schema import VERDICTS
from ._files import Reading, check_suffix, check_writable, choose, heading, read_file

if TYPE_CHECKING:
    from ..methods import Comparison, Row
    from ..preferences import PreferenceSet

MANY = 3  # matrices, above which there is no table for each
SHOWN = 3  # responses of a policy in the table
LEAST = 0.005  # a response of a smaller share is not shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare(Reading):
    """Every method on a file's preferences: does it settle, where, and what would make it stable."""

    method: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="NAME", prefix_name=False)] = None
    """Only these methods; `dynamics methods` lists them."""
    temperature: Annotated[float | None, tyro.conf.arg(metavar="TAU")] = None
    """Temperature of every game, and entropy weight of reverse KL, above 0; 0.1 unless given."""
    step: Annotated[float | None, tyro.conf.arg(metavar="ETA")] = None
    """Step of every game, above 0; each method's own unless given."""
    beta: Annotated[float | None, tyro.conf.arg(metavar="B")] = None
    """KL coefficient of every loop, above 0; 0.1 unless given."""
    rounds: Annotated[int, tyro.conf.arg(metavar="N")] = 3000
    """Length of each run, at least 100."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="OUT.png")] = None
    """Draw one matrix's comparison to a .png, .pdf or .svg file."""
    json: bool = False
    """Print JSON instead of tables."""
    index: Annotated[int | None, tyro.conf.arg(metavar="I")] = None
    """Use only this matrix of the file, counted from 0."""

    def run(self) -> None:
        from .._progress import progress
        from ..methods import compare
        from . import _tables

        check_suffix(self.plot)
        matrices = read_file(self)
        chosen = choose(matrices, self.index, self.file, self.plot)
        if self.plot is not None:
            check_writable(self.plot)
        options: dict[str, Any] = {"temperature": self.temperature, "step": self.step, "beta": self.beta}
        names = None if self.method is None else list(self.method)
        options |= {"rounds": self.rounds, "show_progress": len(chosen) <= MANY}
        found = []
        with progress("matrices", len(chosen), enabled=len(chosen) > MANY) as advance:
            for m in chosen:
                found.append(compare(np.asarray(matrices[m]), names, **options))
                advance(1)
        if self.plot is not None:
            self._draw(matrices, chosen[0], found[0])
        if self.json:
            rows = [heading(matrices, m) | c.to_dict() for m, c in zip(chosen, found, strict=True)]
            _tables.print_json({"source": matrices.source, "matrices": rows})
            return
        if len(chosen) > MANY:
            self._print_many(matrices, found)
            return
        for m, comparison in zip(chosen, found, strict=True):
            self._print(matrices, m, comparison)

    def _print(self, matrices: PreferenceSet, m: int, found: Comparison) -> None:
        from . import _tables

        name = _tables.namer(matrices.names[m])
        table = _tables.new_table(("method", "run", "radius", "ends at", "gap", "to make it stable"), {"radius", "gap"})
        for row in found.rows:
            if row.log_policy is None:
                table.add_row(*map(_tables.text, (row.method.name, row.verdict, "", row.reason, "", "")))
                continue
            radius = "" if row.spectral_radius is None else f"{row.spectral_radius:.4g}"
            cells = (
                row.method.name,
                _verdict(row),
                radius,
                _policy(row.log_policy, name),
                f"{row.gap:.2g}",
                row.change,
            )
            table.add_row(*map(_tables.text, cells))
        size = len(matrices[m])
        nash = _policy(np.log(np.maximum(found.lottery, 1e-300)), name)
        _tables.print_parts(
            _tables.text(
                f"{Path(self.file).name}: K = {size}, {found.rounds} rounds from beside the uniform policy, exact rounds"
            ),
            *_estimated(matrices, m),
            _tables.text(f"Nash equilibrium without temperature: {nash}"),
            table,
            _tables.note(f"settings: {_settings(found)}"),
            _tables.note(
                "radius: of a round at the method's fixed point, below 1 it attracts [derived 7.1, 7.16, 8]. ends at: the last "
                "policy, of an oscillating run its average. gap: what best replies win against it. Runs are observed."
            ),
        )

    def _print_many(self, matrices: PreferenceSet, found: list[Comparison]) -> None:
        """A row for each method, with what it does on how many matrices."""
        from ..methods import FAILED
        from . import _tables

        words = (*VERDICTS, FAILED)
        numbers = (*words, "radius ≥ 1", "largest radius", "median gap")
        table = _tables.new_table(("method", *numbers), set(numbers))
        for rows in zip(*(comparison.rows for comparison in found), strict=True):
            said = [row.verdict for row in rows]
            radii = np.array([row.spectral_radius for row in rows if row.spectral_radius is not None])
            gaps = [row.gap for row in rows if row.gap is not None]
            cells = (
                rows[0].method.name,
                *(said.count(word) or "" for word in words),
                f"{int((radii >= 1).sum())} of {len(radii)}" if len(radii) else "",
                f"{radii.max():.4g}" if len(radii) else "",
                f"{np.median(gaps):.2g}" if gaps else "",
            )
            table.add_row(*map(_tables.text, cells))
        sizes = sorted({len(c.lottery) for c in found})
        span = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        several = sum(int((c.lottery > LEAST).sum() > 1) for c in found)
        _tables.print_parts(
            _tables.text(
                f"{Path(self.file).name}: {len(found)} matrices, K = {span}, {found[0].rounds} rounds from beside the uniform "
                "policy, exact rounds"
            ),
            _tables.text(f"Nash equilibria without temperature: {several} of {len(found)} hold more than one response"),
            table,
            _tables.note(f"settings: {_settings(found[0])}"),
            _tables.note(
                "radius: of a round at the method's fixed point, where one is known; below 1 it attracts [derived 7.1, 7.16, "
                "8]. gap: what best replies win against the last policy, of an oscillating run its average. Runs are observed. "
                "--index I shows one matrix, --json all of them."
            ),
        )

    def _draw(self, matrices: PreferenceSet, m: int, found: Comparison) -> None:
        from .. import plot

        assert self.plot is not None
        title = f"{Path(self.file).name}: K = {len(matrices[m])}, {found.rounds} rounds"
        figure = plot.compared(
            [row.method.name for row in found.rows],
            [row.verdict for row in found.rows],
            [row.spectral_radius for row in found.rows],
            [row.log_policy for row in found.rows],
            names=matrices.names[m],
            title=title,
        )
        with plot.style():
            figure.savefig(self.plot)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Methods:
    """The methods that `dynamics compare` knows, with their settings and sources."""

    json: bool = False
    """Print JSON instead of text."""

    def run(self) -> None:
        from ..methods import METHODS
        from . import _tables

        if self.json:
            rows = [{f.name: getattr(m, f.name) for f in dataclasses.fields(m) if f.name != "make"} for m in METHODS]
            _tables.print_json({"methods": [row | {"setting": dict(row["setting"])} for row in rows]})
            return
        for method in METHODS:
            setting = ", ".join(f"{name} {value:g}" for name, value in method.setting.items())
            rows = [("what", method.title), ("round", method.round), ("source", method.source)]
            rows.append(("setting", f"{setting} ({method.setting_source})"))
            _tables.print_parts(_tables.text(method.name))
            _tables.print_rows([(f"  {key}", value) for key, value in rows])


def _estimated(matrices: PreferenceSet, m: int) -> list[Any]:
    """Where P is an estimate from counts, a sentence that says so."""
    from . import _tables

    counts = matrices.counts[m]
    if counts is None:
        return []
    total = float(np.asarray(counts).sum()) / 2  # symmetric
    return [
        _tables.text(f"P is the point estimate from {total:g} comparisons; `dynamics stability` tells probabilities")
    ]


def _settings(found: Comparison) -> str:
    """The parameters of each group of methods that share them."""
    groups: dict[str, list[str]] = {}
    for row in found.rows:
        shown = ", ".join(f"{name} {value:g}" for name, value in row.method.setting.items())
        groups.setdefault(shown, []).append(row.method.name)
    return "; ".join(f"{', '.join(names)}: {shown}" for shown, names in groups.items())


def _verdict(row: Row) -> str:
    return f"{row.verdict} in {row.rounds}" if row.rounds else row.verdict


def _policy(log_policy: np.ndarray, name: Any) -> str:
    """The largest shares, largest first."""
    p = np.exp(log_policy)
    best = [i for i in np.argsort(-p.round(3), kind="stable")[:SHOWN] if p[i] >= LEAST]  # equals in their own order
    told = ", ".join(f"{name(int(i))} {p[i]:.3g}" for i in best)
    return told + (", …" if (p >= LEAST).sum() > SHOWN else "")
