"""``check``: one theorem against the simulators, at inputs of the user's own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .. import theorems
from .._parameters import nearest
from ..theorems import Bound, Theorem
from ._mutants import judged
from ._trial import Trial
from ._verify import TRIALS, needs_float64


@dataclasses.dataclass(frozen=True)
class Checked:
    """A theorem at one set of inputs.

    Attributes:
        theorem: the theorem.
        inputs: all of them, with the defaults of those left out.
        bound: lower ≤ quantity ≤ upper, and which assumptions hold.
        value: the quantity, measured by the simulators; None where an assumption fails or it cannot be measured.
        holds: whether the value lies within the bound, to the rounding that ``tolerance`` names; None without a value.
        tolerance: in words.
        reason: why there is no value, or "".
    """

    theorem: Theorem
    inputs: dict[str, Any]
    bound: Bound
    value: np.ndarray | None
    holds: bool | None
    tolerance: str
    reason: str

    def __str__(self) -> str:
        """The inputs, the bound with its assumptions, and the verdict, a line each."""
        shown = self.bound.shown
        inputs = [f"{n} {shown(v) if n != 'P' else f'({len(v)} responses)'}" for n, v in self.inputs.items()]
        return "\n".join([f"{self.theorem.name} at {', '.join(inputs)}", str(self.bound), self.verdict])

    @property
    def verdict(self) -> str:
        """The measured value and whether it lies within the bound, or why there is none."""
        if self.value is None:
            return f"not measured: {self.reason}"
        within = f"within the bound (tolerance: {self.tolerance})" if self.holds else "OUTSIDE the bound"
        return f"measured: {self.bound.shown(self.value)}, {within}"


def check(theorem: Theorem | str, trial: Trial | None = None, /, **inputs: Any) -> Checked:
    """lower ≤ quantity ≤ upper at ``inputs``: the bound, and the quantity as the simulators measure it.

    Args:
        theorem: one of ``dyn.theorems.all()`` or its name, the number of a statement with one theorem, or your own.
        trial: how its quantity is measured; the library's own unless given.
        inputs: those of the theorem, by name.

    Raises:
        ValueError: a malformed input, an unknown name or number, a theorem without a trial, or JAX in float32.
        TypeError: an input is missing or unknown.

    >>> P = dyn.preferences.cyclic(3, advantage=0.4)
    >>> dyn.ledger.check(dyn.theorems.universal_convergence, P=P, alpha=0.5, lam=1.0, beta=1.0).holds
    True
    """
    needs_float64()
    theorem = _named(theorem) if isinstance(theorem, str) else theorem
    trial = TRIALS.get(theorem.name) if trial is None else trial
    if trial is None:
        raise ValueError(f"{theorem.name} has no trial that measures its quantity; pass one as the second argument.")
    inputs = theorem.complete(**inputs)
    bound = theorem(**inputs)
    nothing = Checked(theorem, inputs, bound, None, None, trial.reason, "")
    if not bound.applicable:
        failed = [words for words, holds in bound.assumptions.items() if not holds]
        return dataclasses.replace(nothing, reason=f"it does not apply: not {'; not '.join(failed)}")
    try:
        (found,) = judged(theorem, trial, [inputs], ["given"])
    except (RuntimeError, ArithmeticError, np.linalg.LinAlgError) as error:
        return dataclasses.replace(nothing, reason=f"it could not be measured: {error}")
    if np.isnan(found.value).any():
        return dataclasses.replace(
            nothing, reason="the simulators found no value: the fit does not exist, or did not converge"
        )
    return dataclasses.replace(nothing, value=found.value, holds=found.within(bound))


def _named(asked: str) -> Theorem:
    """The theorem of that name, or the only one of the statement with that number."""
    known, found = theorems.all(), theorems.statements()
    if asked in known:
        return known[asked]
    if asked not in found:
        raise ValueError(f"theorem {asked!r} does not exist; {nearest(asked, list(known))}")
    held = [one.name for one in found[asked].theorems]
    if not held:
        raise ValueError(f"statement {asked} has no theorem to check; read docs/theory/{found[asked].page}.")
    if len(held) > 1:
        raise ValueError(f"statement {asked} has {len(held)} theorems; pass one of {', '.join(held)}.")
    return known[held[0]]
