"""The report of an analysis: plain values, which can be printed or written as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from .._cards import Card, Table, naming
from ..preferences import Names
from ..schema import shared_names
from ._basis import card
from ._certificate import ContractionRate
from ._fixed_points import FixedPoint

NEUTRAL = 5e-7  # an exponent that is printed as 0
TURNING = 5e-5  # a rotation number that is printed as 0, as that of a double real eigenvalue to rounding
BOUNDED = 2.0  # nats by which a displacement along a closed orbit may have grown or shrunk when the run ends


@dataclasses.dataclass(frozen=True)
class Report(Card):
    """The result of ``analyze``.

    Attributes:
        fixed_points: interior ones by spectral radius, then (at alpha = 1) the vertices.
        contraction_rate: the best proven rate and the statement that gives it; None where no theorem applies.
        lyapunov_exponent: mean logarithmic growth of a small displacement along the orbit, per round.
        period: rounds per turn of the orbit, or None.
        verdict: on the orbit from ``log_initial``: "collapsed", "converged", "oscillating" or "undecided". A chaotic orbit
            (exponent above 0.01 per round, steps that do not die out) counts as oscillating, without a period.
        reason: one sentence with what was observed, the thresholds, and what the fixed points say.
        basins: by verdict, the share of spread starts that have it after the ``rounds`` with which ``analyze`` was called.
        certificate: "proven stable", "proven unstable", "unstable at every fixed point found" or "none".
        certificate_reason: what the certificate rests on.
        numbers: the statistics behind the verdict.
        log_initial: log pi at the start of the orbit, in nats, ``(K,)``, or ``(X, K)`` for X prompts.
        rounds: length of the orbit.
        verdicts: for several prompts, the verdict on each; ``verdict`` is the worst of them, in the order oscillating,
            undecided, collapsed, converged, and ``numbers`` are those of a prompt with that verdict.
        prompts: for independent prompts, the report on each.
        names: of the responses, those of the process.
    """

    card_title: ClassVar[str] = "Stability of the rounds"

    fixed_points: tuple[FixedPoint, ...]
    contraction_rate: ContractionRate | None
    lyapunov_exponent: float
    period: float | None
    verdict: str
    reason: str
    basins: dict[str, float]
    certificate: str
    certificate_reason: str
    numbers: dict[str, float]
    log_initial: np.ndarray
    rounds: int
    verdicts: tuple[str, ...] | None = None
    prompts: tuple[Report, ...] = ()
    names: Names | None = None

    @property
    def spectral_radius(self) -> float | None:
        """The smallest spectral radius of the fixed points found; None if none was found."""
        return min((point.spectral_radius for point in self.fixed_points), default=None)

    def lines(self, name: Callable[[int], str] | None = None) -> list[tuple[str, str]]:
        """The report as labels and their text.

        Args:
            name: the name of each response; that of ``names``, or else its number, unless given.
        """
        name = self._naming(None) if name is None else name
        rate, growth = self.contraction_rate, self.lyapunov_exponent
        found = [("verdict", self.verdict)]
        if self.verdicts is not None:
            counts = {label: self.verdicts.count(label) for label in dict.fromkeys(self.verdicts)}
            found.append(("prompts", ", ".join(f"{count} {label}" for label, count in counts.items())))
        found += [
            ("reason", self.reason),
            ("certificate", f"{self.certificate} ({self.certificate_reason})"),
            (
                "contraction",
                "no theorem applies" if rate is None else f"{rate.rate:.6f} per round, {rate.statement}",
            ),
            ("nearby runs", _told(growth, self._resolved())),
            ("other starts", ", ".join(f"{share:.0%} {verdict}" for verdict, share in self.basins.items())),
        ]
        points = [("fixed point", _describe(point, name)) for point in self.fixed_points]
        return found + (points or [("fixed point", "none found")])

    def _resolved(self) -> float:
        """The exponent that the mean over a run which keeps moving tells from 0; one at rest is followed to rounding."""
        followed = self.numbers.get("lyapunov_rounds", 0.0)
        return (
            max(NEUTRAL, BOUNDED / followed) if followed and self.verdict in ("oscillating", "undecided") else NEUTRAL
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values; numbers that do not exist are null."""
        points = [
            {f.name: getattr(p, f.name) for f in dataclasses.fields(p) if f.name != "state"} for p in self.fixed_points
        ]
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return _plain(fields | {"fixed_points": points, "prompts": [report.to_dict() for report in self.prompts]})

    def _card(self, names: Sequence[str] | None) -> tuple[list[tuple[str, str]], list[Table]]:
        name = self._naming(names)
        if not self.prompts:
            return self.lines(name), []
        columns = ("prompt", "verdict", "smallest spectral radius", "certificate")
        rows = [(str(x), r.verdict, _radius(r), r.certificate) for x, r in enumerate(self.prompts)]
        return self.lines(name), [Table(columns, rows)]

    def _naming(self, names: Sequence[str] | None) -> Callable[[int], str]:
        return naming(shared_names(self.names) if names is None else names, self.log_initial.shape[-1])

    def __str__(self) -> str:
        return card(self.lines())


def named(report: Report, names: Names) -> Report:
    """A report whose responses have names, and those of its prompts."""
    each = [names if isinstance(names[0], str) else names[x] for x in range(len(report.prompts))]
    prompts = tuple(dataclasses.replace(one, names=own) for one, own in zip(report.prompts, each, strict=True))
    return dataclasses.replace(report, prompts=prompts, names=names)


def _radius(report: Report) -> str:
    return "none found" if report.spectral_radius is None else f"{report.spectral_radius:.6g}"


def _describe(point: FixedPoint, name: Callable[[int], str]) -> str:
    number = point.rotation_number
    turn = f", one turn in {1 / number:.4g} rounds (rotation number {number:.4f})" if number > TURNING else ""
    if point.log_policy is None:
        assert point.vertex is not None
        return f"only {name(point.vertex)}, largest transversal multiplier {point.spectral_radius:.6g}"
    if point.log_policy.ndim > 1 and len(point.log_policy) > 1:
        return f"policies of {len(point.log_policy)} prompts, spectral radius {point.spectral_radius:.6f}{turn}"
    log_policy = np.ravel(point.log_policy)
    top = np.argsort(-log_policy)[:4]
    share = ", ".join(f"{name(int(i))}: {math.exp(log_policy[i]):.3g}" for i in top)
    return f"pi = {{{share}{', …' if len(log_policy) > 4 else ''}}}, spectral radius {point.spectral_radius:.6f}{turn}"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return (
            {"re": _plain(value.real.tolist()), "im": _plain(value.imag.tolist())}
            if np.iscomplexobj(value)
            else _plain(value.tolist())
        )
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _told(growth: float, resolved: float) -> str:
    """Whether nearby runs part; NaN where the orbit is at a vertex or, in float32, too far from 1 to be followed."""
    if not np.isfinite(growth):
        return "not determined: the Lyapunov exponent could not be computed in this precision"
    word = "part" if growth > resolved else "approach" if growth < -resolved else "keep their distance"
    within = ", 0 to what this run resolves" if NEUTRAL < abs(growth) <= resolved else ""
    return f"{word}: Lyapunov exponent {growth:+.6f} per round{within}"
