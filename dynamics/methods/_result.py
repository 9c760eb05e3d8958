"""What ``compare`` returns, and how it is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from .._cards import Card, Table, naming
from ._roster import Method

SHOWN = 4  # responses of a policy in a card
LEAST = 0.005  # a response of a smaller share is not shown
FAILED = "failed"
"""The verdict on a method that cannot run."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What one method does.

    Attributes:
        method: the method, with the setting that was run.
        verdict: of the run from the reference: "converged", "oscillating", "collapsed", "undecided", or "failed".
        rounds: from which round on the policy stays within 1e-2 of its last one in total variation; None unless it converged or
            collapsed.
        spectral_radius: at the method's fixed point; None where it has no interior one that is followed.
        log_policy: the last policy, ``(K,)``, in nats; of an oscillating run the average policy of its second half.
        entropy: of that policy, in nats.
        gap: its duality gap without temperature: what best replies win against it; 0 at a Nash equilibrium.
        to_nash: total variation from the equilibrium at the method's temperature; None without a temperature.
        change: what makes the fixed point stable: "eta below 1.79", "beta above 0.62", …; "" where it is stable.
        reason: why a run failed, or "".
    """

    method: Method
    verdict: str
    rounds: int | None = None
    spectral_radius: float | None = None
    log_policy: np.ndarray | None = None
    entropy: float | None = None
    gap: float | None = None
    to_nash: float | None = None
    change: str = ""
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        plain = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("method", "log_policy")
        }
        policy = None if self.log_policy is None else np.exp(self.log_policy).tolist()
        return {
            "method": self.method.name,
            "setting": dict(self.method.setting),
            "setting_source": self.method.setting_source,
            "source": self.method.source,
            **plain,
            "policy": policy,
        }


@dataclasses.dataclass(frozen=True)
class Comparison(Card):
    """The rows of ``compare`` in the order of the roster; ``lottery`` is the Nash equilibrium without temperature, ``(K,)``."""

    card_title: ClassVar[str] = "Methods compared"

    rows: tuple[Row, ...]
    lottery: np.ndarray
    rounds: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {"rounds": self.rounds, "nash": self.lottery.tolist(), "methods": [row.to_dict() for row in self.rows]}

    def _card(self, names: Sequence[str] | None) -> tuple[list[tuple[str, str]], list[Table]]:
        name = naming(names, len(self.lottery))
        lines = [
            ("runs", f"{self.rounds} rounds of each method, observed"),
            ("Nash equilibrium without temperature", _shares(self.lottery, name)),
            ("spectral radius", "of a round at the method's fixed point, computed; below 1 it attracts"),
            ("gap", "what best replies win against the last policy, of an oscillating run its average"),
        ]
        columns = ("method", "setting", "run", "spectral radius", "ends at", "gap", "what would make it stable")
        return lines, [Table(columns, [_cells(row, name) for row in self.rows])]

    def __str__(self) -> str:
        wide = max(len(row.method.name) for row in self.rows)
        radius = lambda row: "" if row.spectral_radius is None else f"radius {row.spectral_radius:.4f}"
        return "\n".join(
            f"{row.method.name:{wide}}  {row.verdict:11}  {radius(row):14}  {row.change or row.reason}".rstrip()
            for row in self.rows
        )


def _shares(policy: np.ndarray, name: Callable[[int], str]) -> str:
    """The largest shares, largest first."""
    best = [int(i) for i in np.argsort(-policy.round(3), kind="stable") if policy[i] >= LEAST]
    told = ", ".join(f"{name(i)}: {policy[i]:.3g}" for i in best[:SHOWN])
    return told + (", …" if len(best) > SHOWN else "")


def _cells(row: Row, name: Callable[[int], str]) -> tuple[str, ...]:
    number = lambda value: "" if value is None else f"{value:.4g}"
    return (
        row.method.name,
        ", ".join(f"{key} {value:g}" for key, value in row.method.setting.items()),
        row.verdict if row.rounds is None else f"{row.verdict} in {row.rounds} rounds",
        number(row.spectral_radius),
        "" if row.log_policy is None else _shares(np.exp(row.log_policy), name),
        number(row.gap),
        row.change or row.reason,
    )
