"""What a solve returns, and how it says that it failed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._numerics import log_softmax
from .._parameters import describe
from .._provenance import provenance
from ..diagnostics import Measure, Series, Variable

if TYPE_CHECKING:
    import xarray as xr


class RESULTS(eqx.Enumeration):
    """How a solve ended; the empty message is success."""

    successful = ""
    nonfinite = (
        "a round produced a value that is not finite; use a larger beta or smaller alpha, or check the round map"
    )
    unsolved = (
        "the round is not defined there: the objective has no finite optimum (P has entries 0 or 1; smooth P, or use IPO), "
        "or alpha, lam, beta or P is out of range"
    )
    step_limit = "the solver used up its steps before t1; pass another solver, looser tolerances or a smaller t1"


# Codes as they stand in a Dataset's ``result`` variable, and what they mean.
RESULT_NAMES = ("successful", "nonfinite", "unsolved", "step_limit")
RESULT_MESSAGES = tuple(RESULTS[getattr(RESULTS, name)] for name in RESULT_NAMES)


class State(eqx.Module):
    """Where a run stands: enough to go on as if it had never stopped. Measures start anew when a run goes on."""

    logits: Float[Array, "*batch K"]
    memory: Any
    round: Int[Array, "*batch"]

    @property
    def log_policy(self) -> Float[Array, "*batch K"]:
        """log pi, in nats."""
        return log_softmax(self.logits)


class Solution(eqx.Module):
    """A trajectory: rows at ``coordinate``, statistics over all rounds, the state it ended in, and whether it succeeded.

    Attributes:
        coordinate: rounds (or times, in units of tau) of the saved rows, ``(saved,)``.
        values: by name, one row per saved coordinate: ``log_policy`` ``(saved, K)`` in nats, and the per-round measures.
        statistics: by name, what each measure says of the whole run.
        final: the state at the end; pass it as ``initial=`` to go on.
        result: ``RESULTS.successful`` or what went wrong; rows after a failure repeat the last good state, and the
            statistics are blank (NaN, or -1 for integers).
        stats: of rounds, how many were asked for and ``failed_round`` (-1: none); of a flow, the solver's ``steps`` and
            ``rejected`` steps (0 where it was solved exactly), the time it ``ended`` and whether by an ``event``.

    ``sol.name`` is ``sol.values[name]`` or, where there is no such row, ``sol.statistics[name]``.
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

    def to_dataset(self) -> xr.Dataset:
        """The rows and statistics as an ``xarray.Dataset``; a statistic that shares a row's name ends in ``_final``."""
        import xarray as xr

        if self.coordinate.ndim != 1:
            raise ValueError("this Solution is a batch; use dyn.sweep for a Dataset, or index the batch first.")
        if isinstance(self.final, State):
            data, coords = self._of_rounds()
        else:
            data, coords = self._of_flow()
        attrs = {"config": json.dumps(describe(self.process)), "result": result_name(self.result), **provenance()}
        return xr.Dataset(data, {self.dim: np.asarray(self.coordinate), **coords}, attrs)

    def _of_rounds(self) -> tuple[dict[str, Any], dict[str, Any]]:
        size = self.final.logits.shape[-1]
        known = variables_of(self.measures, size)
        data: dict[str, Any] = {"log_policy": ((self.dim, "response"), np.asarray(self.log_policy), {"units": "nats"})}
        for measure in self.measures:
            if isinstance(measure, Series):
                variable = known[measure.name]
                data[measure.name] = (
                    (self.dim, *variable.dims),
                    np.asarray(self.values[measure.name]),
                    attrs_of(variable),
                )
        for name, value in self.statistics.items():
            label = f"{name}_final" if name in data else name
            data[label] = (known[name].dims, np.asarray(value), attrs_of(known[name]))
        return data, {"response": np.arange(size)} | pair_labels(data.values(), size)

    def _of_flow(self) -> tuple[dict[str, Any], dict[str, Any]]:
        known = self.process.variables()  # pyright: ignore[reportAttributeAccessIssue]
        if not set(self.values) <= set(known):
            raise ValueError("this Solution holds what a SaveAt with fn= returned, which has no names; use sol.saved.")
        data = {
            name: ((self.dim, *known[name].dims), np.asarray(rows), attrs_of(known[name]))
            for name, rows in self.values.items()
        }
        return data, {}


def result_code(result: RESULTS) -> Int[Array, "*batch"]:
    """The result as an integer, an index into ``RESULT_NAMES``."""
    code = jnp.zeros((), int)
    for index, name in enumerate(RESULT_NAMES):
        code = jnp.where(result == getattr(RESULTS, name), index, code)
    return code


def result_name(result: RESULTS) -> str:
    """The result in one word."""
    return RESULT_NAMES[int(result_code(result))]


def variables_of(measures: tuple[Measure, ...], num_responses: int) -> dict[str, Variable]:
    """All variables of some measures by name."""
    return {name: v for measure in measures for name, v in measure.variables(num_responses).items()}


def attrs_of(variable: Variable) -> dict[str, Any]:
    """CF-style attributes of a variable."""
    attrs: dict[str, Any] = {"units": variable.unit, "long_name": variable.long_name}
    if variable.flags:
        attrs |= {"flag_values": list(range(len(variable.flags))), "flag_meanings": list(variable.flags)}
    return attrs


def pair_labels(data: Any, num_responses: int) -> dict[str, Any]:
    """Labels "i>j" where some variable has the dim ``pair``."""
    if not any("pair" in entry[0] for entry in data):
        return {}
    first, second = np.triu_indices(num_responses, 1)
    return {"pair": [f"{i}>{j}" for i, j in zip(first, second, strict=True)]}
