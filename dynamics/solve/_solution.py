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


# Codes as they stand in a Dataset's ``result`` variable, and what they mean.
RESULT_NAMES = ("successful", "nonfinite", "unsolved")
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
        final: the state after the last round; pass it as ``initial=`` to go on.
        result: ``RESULTS.successful`` or what went wrong; rows after a failure repeat the last good state, and the
            statistics are blank (NaN, or -1 for integers).
        stats: ``rounds`` asked for and ``failed_round`` (-1: none).

    ``sol.name`` is ``sol.values[name]`` or, where there is no such row, ``sol.statistics[name]``.
    """

    coordinate: Array
    values: dict[str, Array]
    statistics: dict[str, Array]
    final: State
    result: RESULTS
    stats: dict[str, Array]
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
        coords: dict[str, Any] = {self.dim: np.asarray(self.coordinate), "response": np.arange(size)}
        coords |= pair_labels(data.values(), size)
        attrs = {"config": json.dumps(describe(self.process)), "result": result_name(self.result), **provenance()}
        return xr.Dataset(data, coords, attrs)


def result_code(result: RESULTS) -> Int[Array, "*batch"]:
    """The result as an integer, an index into ``RESULT_NAMES``."""
    return jnp.where(result == RESULTS.successful, 0, jnp.where(result == RESULTS.nonfinite, 1, 2))


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
