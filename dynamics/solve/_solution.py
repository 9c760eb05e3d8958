"""The Solution that every solve returns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from .._numerics import concrete
from .._parameters import describe
from .._provenance import provenance
from ..diagnostics import Measure, Series, variables_of
from ..engine import RESULTS, State, result_name
from ..rounds import Process
from ..schema import LAST, VARIABLES, Variable, dataset, prompt_labels, response_labels

if TYPE_CHECKING:
    import xarray as xr


class Solution(eqx.Module):
    """A trajectory: rows at ``coordinate``, statistics of the whole run, its final state, and whether it succeeded.

    ``sol.name`` is ``sol.values[name]`` or, where there is no such row, ``sol.statistics[name]``.

    Attributes:
        coordinate: rounds, steps, or times in units of tau, at which rows were saved, ``(saved,)``.
        values: by name, one row for each coordinate: ``log_policy`` ``(saved, K)`` in nats, and the per-round measures.
        statistics: by name, the statistics of the measures over the whole run.
        final: the final state; pass it as ``initial=`` to go on from there.
        result: ``RESULTS.successful``, or why the solve failed. Rows after a failure repeat the last good state, and the
            statistics are NaN (-1 for integers).
        stats: for rounds, ``rounds``, the number asked for, and ``failed_round`` (-1: none); for a flow, the solver's
            ``steps`` and ``rejected`` steps (0 where it was solved exactly), the time ``ended`` and whether an ``event``
            ended it.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.3), alpha=0.5, lam=1.0)
    >>> sol = dyn.iterate(loop, 4, initial=jnp.log(jnp.array([0.5, 0.3, 0.2])), every=2)
    >>> sol.coordinate.tolist(), sol.log_policy.shape
    ([0, 2, 4], (3, 3))
    >>> sol
    Solution: successful, to round 4, 3 saved
      rows: log_policy (3, 3)
    """

    coordinate: Array
    values: dict[str, Array]
    statistics: dict[str, Array]
    final: Any
    result: RESULTS
    stats: dict[str, Any]
    process: eqx.Module
    measures: tuple[Measure, ...]
    dim: str = eqx.field(static=True, default="round")

    def __getattr__(self, name: str) -> Array:
        if not name.startswith("_"):
            for table in ("values", "statistics"):
                found = self.__dict__.get(table, {})
                if name in found:
                    return found[name]
        raise AttributeError(
            f"this Solution has no {name!r}; rows: {sorted(self.__dict__.get('values', ()))}, "
            f"statistics: {sorted(self.__dict__.get('statistics', ()))}."
        )

    def __repr__(self) -> str:
        """How the run ended, how long it was, and what was saved and measured, with the numbers that can be read."""
        if not all(isinstance(x, jax.Array | np.ndarray) for x in (self.coordinate, *jax.tree.leaves(self.values))):
            return f"{type(self).__name__}(coordinate={self.coordinate!r})"  # a tree of something else, such as axes
        lines = [f"{type(self).__name__}: {self._ended()}"]
        for label, table in (("rows", self.values), ("statistics", self.statistics)):
            told = ", ".join(f"{name} {_told(name, value, label == 'rows')}" for name, value in table.items())
            lines += [f"  {label}: {told}"] if told else []
        entropy = self.values.get("entropy")
        if entropy is not None and entropy.ndim == 1 and entropy.size and concrete(entropy):
            lines.append(f"  final entropy: {float(entropy[-1]):.4g} nats")
        return "\n".join(lines)

    def _ended(self) -> str:
        if self.coordinate.ndim != 1:
            return f"a batch of {self.coordinate.shape[:-1]}, {self.coordinate.shape[-1]} saved"
        saved = f"{len(self.coordinate)} saved"
        if not concrete(self.coordinate, self.result) or not len(self.coordinate):
            return saved
        last = float(self.coordinate[-1])
        end = f"{self.dim} {last:g}" if self.dim == "time" else f"{self.dim} {int(last)}"
        return f"{result_name(self.result)}, to {end}, {saved}"

    @property
    def note(self) -> str | None:
        """Where the search for each round's optimum started, if there may be several minima; otherwise None."""
        return self.process.note() if isinstance(self.process, Process) else None

    def to_dataset(self) -> xr.Dataset:
        """The rows and statistics as an ``xarray.Dataset``; a statistic with the name of a row gets the suffix ``_final``."""
        if self.coordinate.ndim != 1:
            raise ValueError("this Solution is a batch; use dyn.sweep for a Dataset, or index the batch first.")
        if isinstance(self.final, State):
            arrays, variables, coords = self._of_rounds()
        else:
            arrays, variables, coords = self._of_flow()
        attrs = {"config": json.dumps(describe(self.process)), "result": result_name(self.result), **provenance()}
        attrs |= {} if self.note is None else {"note": self.note}
        coords = {self.dim: np.asarray(self.coordinate), **coords}
        return dataset(arrays, variables, coords=coords, attrs=attrs)

    def _of_rounds(self) -> tuple[dict[str, Any], dict[str, Variable], dict[str, Any]]:
        *prompts, size = self.final.logits.shape
        known = variables_of(self.measures, size)
        known["log_policy"] = VARIABLES["log_policy"].over("context") if prompts else VARIABLES["log_policy"]
        rows = ["log_policy", *(measure.name for measure in self.measures if isinstance(measure, Series))]
        arrays: dict[str, Any] = {name: self.values[name] for name in rows}
        variables = {name: known[name].over(self.dim) for name in rows}
        for name, value in self.statistics.items():
            label = f"{name}{LAST}" if name in arrays else name
            arrays[label], variables[label] = value, known[name]
        labels = response_labels(variables.values(), size, self.process.response_names())  # pyright: ignore
        return arrays, variables, labels | prompt_labels(self.process.prompt_weights)  # pyright: ignore

    def _of_flow(self) -> tuple[dict[str, Any], dict[str, Variable], dict[str, Any]]:
        known = self.process.variables()  # pyright: ignore[reportAttributeAccessIssue]
        if not set(self.values) <= set(known):
            raise ValueError("this Solution holds the values of a SaveAt with fn=, which have no names; use sol.saved.")
        return self.values, {name: known[name].over(self.dim) for name in self.values}, {}


def _told(name: str, value: Any, shaped: bool) -> str:
    """A statistic's value, or the word of its flag; otherwise the shape."""
    if shaped or np.shape(value) != () or not concrete(value):
        return str(tuple(getattr(value, "shape", ())))
    number, flags = np.asarray(value).item(), VARIABLES.get(name, Variable()).flags
    return flags[number] if flags and 0 <= number < len(flags) else f"{number:.4g}"
