"""Measures of several prompts: each prompt by itself, averages over them, and the verdict of all."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..schema import AVERAGED, MEAN, OF_ALL, SEVERITY, VARIABLES, Variable, mean_of
from ._measure import Measure, Series, Snapshot, statistics_of


def of_prompts(measures: tuple[Measure, ...], weights: Float[Array, " X"] | None) -> tuple[Measure, ...]:
    """The measures of a process of several prompts; themselves where ``weights`` is None, of one prompt."""
    if weights is None:
        return measures
    out: list[Measure] = []
    for measure in measures:
        if not isinstance(measure, Series):
            out.append(_ByPrompt(measure, weights, name=measure.name))
            continue
        kind = _SeriesByPrompt if measure.last_only else _RunningByPrompt
        out.append(kind(measure, name=measure.name))
        if measure.last_only and _is_averaged(measure.name, measure.variables(2)[measure.name]):
            out.append(_Mean(measure, weights, name=f"{MEAN}{measure.name}"))
    return tuple(out)


def _is_averaged(name: str, variable: Variable) -> bool:
    """Whether the mean of a variable over prompts means something: a pair of responses is another one in each prompt."""
    return name in AVERAGED and not variable.dims


def _each(measure: Measure, function: Any, snapshot: Snapshot, *states: Any) -> Any:
    """``function(measure, *states, snapshot)`` of every prompt, with the rows that the measure holds of it."""

    def one(measure: Measure, states: Any, logits: Array, log_policy: Array, log_reference: Array) -> Any:
        return function(measure, *states, Snapshot(snapshot.round, logits, log_policy, log_reference, snapshot.beta))

    log_reference = jnp.broadcast_to(snapshot.log_reference, snapshot.logits.shape)
    axes = (measure.prompt_axes(len(snapshot.logits)), 0, 0, 0, 0)
    return jax.vmap(one, in_axes=axes)(measure, states, snapshot.logits, snapshot.log_policy, log_reference)


class _SeriesByPrompt(Series):
    """A series of every prompt, along the dim ``context``."""

    measure: Series

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {name: v.over("context") for name, v in self.measure.variables(num_responses).items()}

    def for_rounds(self, rounds: int) -> Measure:
        return dataclasses.replace(self, measure=self.measure.for_rounds(rounds))

    def observe(self, snapshot: Snapshot) -> Array:
        return _each(self.measure, lambda m, s: m.observe(s), snapshot)


class _RunningByPrompt(_SeriesByPrompt):
    """A series of every prompt whose statistic rests on more than the last round."""

    def init(self, snapshot: Snapshot, rounds: Int[Array, ""]) -> Any:
        return _each(self.measure, lambda m, s: m.init(s, rounds), snapshot)

    def update(self, state: Any, snapshot: Snapshot) -> Any:
        return _each(self.measure, lambda m, state, s: m.update(state, s), snapshot, state)

    def finalize(self, state: Any) -> Any:
        return jax.vmap(self.measure.finalize)(state)


class _Mean(Series):
    """The weighted mean of a series over prompts."""

    measure: Series
    weights: Float[Array, " X"]

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {self.name: mean_of(self.measure.variables(num_responses)[self.measure.name])}

    def observe(self, snapshot: Snapshot) -> Array:
        return self.weights @ _each(self.measure, lambda m, s: m.observe(s), snapshot)


class _ByPrompt(Measure):
    """A measure of every prompt, along the dim ``context``, with means and the worst verdict."""

    measure: Measure
    weights: Float[Array, " X"]

    @property
    def last_only(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.measure.last_only

    def variables(self, num_responses: int) -> dict[str, Variable]:
        out = {}
        for name, variable in self.measure.variables(num_responses).items():
            out[name] = variable.over("context")
            if _is_averaged(name, variable):
                out[f"{MEAN}{name}"] = mean_of(variable)
            if name == "verdict":
                out[f"{name}{OF_ALL}"] = VARIABLES[f"{name}{OF_ALL}"]
        return out

    def for_rounds(self, rounds: int) -> Measure:
        return dataclasses.replace(self, measure=self.measure.for_rounds(rounds))

    def init(self, snapshot: Snapshot, rounds: Int[Array, ""]) -> Any:
        return _each(self.measure, lambda m, s: m.init(s, rounds), snapshot)

    def update(self, state: Any, snapshot: Snapshot) -> Any:
        return _each(self.measure, lambda m, state, s: m.update(state, s), snapshot, state)

    def finalize(self, state: Any) -> dict[str, Array]:
        found = jax.vmap(lambda s: statistics_of(self.measure, s))(state)
        out = dict(found)
        for name, variable in self.measure.variables(2).items():
            if _is_averaged(name, variable):
                out[f"{MEAN}{name}"] = self.weights @ found[name]
            if name == "verdict":
                out[f"{name}{OF_ALL}"] = worst_verdict(found[name])
        return out


def worst_verdict(verdicts: Int[Array, " X"]) -> Int[Array, ""]:
    """The verdict of all prompts: the worst of oscillating, undecided, collapsed, converged, in this order."""
    rank = jnp.asarray(SEVERITY)
    return verdicts[jnp.argmax(rank[verdicts])]
