"""Checks of a run's arguments, made before anything is compiled, and the errors and warnings about a run."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .._checks import check_log_distribution
from .._noun import is_own
from .._numerics import concrete
from .._parts import distributions
from ..diagnostics import Measure, resolve
from ..rounds import Process, RoundMap
from ..schema import RESULT_MESSAGES
from ._loop import jit_start
from ._state import RESULTS, State, result_code, result_name


def as_measures(measure: str | Measure | Sequence[str | Measure]) -> tuple[Measure, ...]:
    """A tuple of measures from one name or measure, or a list of them; two measures of the same name are refused."""
    if not isinstance(measure, str | Measure | Sequence):
        raise ValueError(f"measure is {measure!r}; pass names or Measures, e.g. measure=['entropy'].")
    listed = [measure] if isinstance(measure, str | Measure) else list(measure)
    measures = tuple(resolve(m) for m in listed)
    names = [m.name for m in measures]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ValueError(f"measure lists {sorted(repeated)[0]!r} twice; give one of them another name.")
    _refuse_two_windows(measures)
    return measures


def _refuse_two_windows(measures: tuple[Measure, ...]) -> None:
    """Measures may share a variable (such as ``period_kind``) only if they compute it from the same window."""
    windows: dict[str, tuple[str, Any]] = {}
    for measure in measures:
        for name in measure.variables(2):
            other, window = windows.setdefault(name, (measure.name, getattr(measure, "window", None)))
            if window != getattr(measure, "window", None):
                raise ValueError(
                    f"measures {other!r} and {measure.name!r} both give {name!r}, but over different windows; give "
                    f"both the same window, or pass one of them."
                )


def check_process(process: Process[Any]) -> None:
    """Raises ``ValueError`` for a process that cannot be iterated."""
    if not isinstance(process, Process):
        raise ValueError(
            f"process is a {type(process).__name__}; pass dyn.SelfSampling(...), or your own dyn.RoundMap or dyn.Process."
        )
    if process.num_responses < 2:
        raise ValueError(f"process has {process.num_responses} response; preferences need at least 2.")
    if isinstance(process, RoundMap):
        _check_says_random(process)
        given = process.shape
        key = jax.random.key(0) if process.stochastic else None
        shape = jax.eval_shape(lambda z: process(z, key) if process.stochastic else process(z), jnp.zeros(given)).shape
        if shape != given:
            raise ValueError(f"{type(process).__name__} maps {given} logits to shape {shape}; return one logit each.")
    elif is_own(process):
        _check_state(process)


def _check_state(process: Process[Any]) -> None:
    """A state keeps its structure, shapes and dtypes from round to round, and holds one policy of K responses."""
    name = type(process).__name__
    key = jax.random.key(0) if process.stochastic else None
    first = eqx.filter_eval_shape(process.start, jnp.zeros(process.shape))
    shapes = lambda tree: (jax.tree.structure(tree), [(x.shape, x.dtype) for x in jax.tree.leaves(tree)])
    for what, state in (("start", first), ("centre", eqx.filter_eval_shape(process.centre, first))):
        try:
            returned = eqx.filter_eval_shape(process.advance, state, key)
            after, _ = returned
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name}.advance does not take a state of {name}.{what} and return the next state and whether the round "
                f"succeeded ({error})."
            ) from error
        if what == "start" and shapes(after) != shapes(first):
            raise ValueError(
                f"{name}.advance returns a state of another structure, shape or dtype than {name}.start: "
                f"{shapes(after)} instead of {shapes(first)}; let them agree."
            )
    shape = eqx.filter_eval_shape(process.log_policy, first).shape
    if shape != process.shape:
        raise ValueError(f"{name}.log_policy gave shape {shape}; return one log-probability each, {process.shape}.")


def _check_says_random(process: RoundMap) -> None:
    """A map that requires a key is random and has to declare it; otherwise it would never be given one."""
    asked = inspect.signature(process.__call__).parameters.get("key")
    if asked is not None and asked.default is inspect.Parameter.empty and not process.stochastic:
        name = type(process).__name__
        raise ValueError(
            f"{name}.__call__ needs a key, but {name} does not say that it is random; write stochastic = True in the class, or "
            f"give key a default."
        )


def check_process_key(process: Process[Any], key: PRNGKeyArray | None) -> None:
    """Raises ``ValueError`` where a stochastic process has no key, or where ``key`` is not a key."""
    if process.stochastic and key is None:
        raise ValueError(f"{type(process).__name__} is random; pass key=jax.random.key(seed).")
    if key is not None and not isinstance(key, jax.Array):
        raise ValueError(f"key = {key!r}; pass jax.random.key(seed).")


def as_state(process: Process[Any], initial: Float[ArrayLike, "*contexts K"] | State | None) -> State:
    """The state to start from: a log-policy, the ``final`` of an earlier run, or the process's own start."""
    if isinstance(initial, State):
        if initial.logits.shape != process.shape:
            raise ValueError(
                f"initial has logits of shape {initial.logits.shape}, the process has {process.shape}; pass a matching state."
            )
        if concrete(initial.logits):
            process.check_start(initial.log_policy)
        expected = eqx.filter_eval_shape(process.start, initial.logits)  # only the structure: nothing is solved
        shapes = lambda tree: (jax.tree.structure(tree), [np.shape(leaf) for leaf in jax.tree.leaves(tree)])
        if shapes(initial.carried) == shapes(expected):
            return initial
        # The state is of another kind of process: only its policy and its round are taken over.
        return eqx.tree_at(lambda s: s.round, jit_start(process, initial.logits), initial.round)
    return jit_start(process, process.log_start() if initial is None else check_initial(process, initial))


def check_initial(process: Process[Any], initial: Any, name: str = "initial") -> Float[Array, "*contexts K"]:
    """log pi at the start, checked; for several prompts one for each, ``(X, K)``, or one for all, ``(K,)``."""
    size = process.num_responses
    if len(process.shape) == 1:
        log_policy = check_log_distribution(initial, name, size)
    else:
        log_policy = distributions(initial, name)
        if log_policy.shape not in (process.shape, (size,)):
            raise ValueError(
                f"{name} has shape {log_policy.shape}; pass shape {process.shape}, or {(size,)} for all prompts."
            )
        log_policy = jnp.broadcast_to(log_policy, process.shape)
    if concrete(log_policy) and name == "initial":
        process.check_start(log_policy)
    return log_policy


def stands_still(before: Array, after: Array) -> Array:
    """Whether two log-policies or logits are the same to rounding."""
    scale = 1 + jnp.max(jnp.abs(before))
    return jnp.max(jnp.abs(after - before)) <= 64 * jnp.finfo(before.dtype).eps * scale


def warn_still(share: str = "") -> None:
    """Warns that a run began at a fixed point, from which only rounding can move it, even if the point is unstable."""
    warnings.warn(
        f"the default start is a fixed point of these rounds{share}, so only rounding moves the run, even where the point is "
        f"unstable; pass initial=, a log-policy away from it, to see the dynamics.",
        stacklevel=3,
    )


def raise_on_failure(result: RESULTS, failed_round: Array) -> None:
    """Raises ``RuntimeError`` with the round, the reason and the remedy, unless the run succeeded."""
    if int(result_code(result)):
        reason = RESULT_MESSAGES[result_name(result)]
        raise RuntimeError(
            f"stopped at round {int(failed_round)}: {reason}. Pass throw=False to keep the rounds before it."
        )
