"""``fit``: an objective fitted to comparisons that are given, which is one round with a fixed reference."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from .._checks import Numbers, as_numbers, check_count, check_log_distribution, in_short
from .._noun import assemble
from .._numerics import centre, concrete, log_softmax
from .._parts import uniform
from .._vectors import ravel
from ..feedback import Observed
from ..learners import Fit, Optimum
from ..objectives import Objective
from ..policies import Policy, Tabular
from ..preferences import prompt_shares
from ..references import Fixed as FixedReference
from ..samplers import Fixed as FixedSampler
from ._fit_many import SUCCESS, one_by_one
from ._fitting import check_agreement, check_optima
from ._rounds import Rounds
from ._starts import least_minima


class Fitted(eqx.Module):
    """What ``fit`` found.

    Attributes:
        log_policy: log pi, of the shape of the data without its last axis, in nats; NaN where ``result`` names a failure (with
            more leading axes, in the data sets that have no optimum).
        reward: Rhat, of the same shape, mean 0 over each group of linked responses; None for objectives without a reward.
        loss: the objective's value, the mean over prompts by ``weights``; one number for each leading axis beyond the prompts'.
        gradient_norm: 2-norm of the slope of ``loss`` in the policy's parameters; None for a list of policies.
        minima: how many different minima the starts reached, of each prompt (of all prompts together in a class that shares
            parameters); None where the optimum is known to be the only one, or is found by comparing a list.
        result: "successful", or one sentence on why there is no finite optimum.
    """

    log_policy: Float[Array, "*contexts K"]
    reward: Float[Array, "*contexts K"] | None
    loss: Float[Array, "*batch"]
    gradient_norm: Float[Array, "*batch"] | None
    minima: Int[np.ndarray, ...] | None
    result: str = eqx.field(static=True)


def fit(
    objective: Objective,
    data: Any,
    *,
    log_reference: Numbers,
    policy: Policy | None = None,
    weights: Numbers | None = None,
    smoothing: ArrayLike = 0.0,
    starts: int = 16,
    throw: bool = True,
) -> Fitted:
    """argmin of the objective's value on given comparisons: one round with ``Observed`` feedback and a fixed reference.

    The optimum is the closed form or convex solution of the class where there is one. Otherwise it is the least of the minima
    that Newton's method reaches from several starts, stationary to 1e-10, and ``minima`` says how many there were. Nothing is
    smoothed unless ``smoothing`` asks for it: an infinite estimate is refused, and the message names a group.

    Args:
        objective: ``dyn.DPO(beta)``, ``IPO``, ``PMLE``, ``PreferenceDistillation``, ``ReverseKL``, ``RLHF``, ``REBEL`` or your
            own.
        data: comparisons, an array ``(K, K)``, or ``(X, K, K)`` of X prompts, ≥ 0, zero diagonal, ``wins[i, j]`` how often i
            beat j; or an object with such ``wins``, whose diagonal holds pairs of equals: they count in the mean, at margin 0.
            With a tabular policy more leading axes are allowed, and every problem is fitted by itself.
        log_reference: log ref, ``(K,)``, or ``(X, K)`` as the data, finite, in nats.
        policy: the policy class, ``dyn.Tabular(K)`` unless given, ``dyn.LogLinear(phi)`` or ``dyn.policies.Finite(...)``. A
            log-linear class has to contain the reference.
        weights: the prompts' shares in the loss, ``(X,)``, ≥ 0; unless given, their shares of the comparisons.
        smoothing: pseudo-wins added both ways to each pair that was compared, scalar in [0, ∞), for objectives that rest on
            Bradley–Terry odds (all of those above but IPO).
        starts: how many starts of Newton's method, ≥ 1, where there may be several minima: the reference first, then the
            uniform policy, policies near vertices, and points spread over the simplex. With one, the minimum found may not be
            the least.
        throw: False: a failure is told in ``result`` instead of raised.

    Raises:
        ValueError: a bad argument; an estimate that is infinite, with the group of responses and the prompt.

    Source: [paper] Yun25; closed forms [derived], statement 5.2.

    >>> wins = [[0, 6, 9], [4, 0, 7], [1, 3, 0]]
    >>> uniform = jnp.full(3, -jnp.log(3.0))
    >>> a = dyn.fit(dyn.RLHF(beta=0.5), wins, log_reference=uniform)
    >>> b = dyn.fit(dyn.DPO(beta=0.5), wins, log_reference=uniform)
    >>> bool(jnp.allclose(a.log_policy, b.log_policy, atol=1e-12)), a.result
    (True, 'successful')
    """
    if not isinstance(objective, Objective):
        raise ValueError(f"objective is {in_short(objective)}; pass an objective, e.g. dyn.PMLE(gamma=0.5, beta=0.01).")
    wins = as_numbers(getattr(data, "wins", data), "data")
    if not concrete(wins, objective):
        raise ValueError(
            "data is traced; call dyn.fit outside jit, vmap and grad, with leading axes for many problems."
        )
    if wins.ndim < 2 or wins.shape[-1] != wins.shape[-2] or wins.shape[-1] < 2 or 0 in wins.shape:
        raise ValueError(f"data has shape {wins.shape}; pass counts of wins, (K, K), or (X, K, K) of X prompts, K ≥ 2.")
    batch, shape = wins.shape[:-3], wins.shape[:-1]
    if batch and not (policy is None or policy.is_free):
        raise ValueError(
            f"data has {len(batch) + 1} leading axes; with {type(policy).__name__} pass (K, K) or (X, K, K), one fit a call."
        )
    log_ref = _reference(log_reference, shape)
    if batch:
        if weights is not None:
            raise ValueError("weights are for the prompts of one fit; with more leading axes pass none.")
        wins, log_ref, policy = wins.reshape(-1, *wins.shape[-2:]), log_ref.reshape(-1, shape[-1]), None
    elif weights is None and len(shape) == 2:
        weights = jnp.sum(wins, axis=(-2, -1))
    loop = _loop(objective, wins, log_ref, policy, weights, _given(wins, smoothing, hasattr(data, "wins")))
    try:
        problem, logits, minima = _solve(loop, check_count(starts, "starts", 1))
    except _NoOptimumError as failure:
        if throw:
            raise ValueError(str(failure)) from None
        if batch:
            return one_by_one(
                partial(fit, objective, smoothing=smoothing, starts=starts, throw=False), data, log_ref, batch
            )
        return Fitted(jnp.full(shape, jnp.nan), None, jnp.full(batch, jnp.nan), None, None, str(failure))
    values, slopes = _measure(problem, logits)
    counts = jnp.sum(wins, axis=(-2, -1)) if batch or loop.weights is None else loop.weights
    share = counts.reshape(*batch, -1)
    share = share / jnp.sum(share, axis=-1, keepdims=True)
    norm = None
    if slopes is not None:
        squares = jnp.sum(slopes**2, axis=-1)
        norm = jnp.sqrt(jnp.sum(share**2 * squares.reshape(share.shape), axis=-1) if slopes.ndim == 2 else squares)
    if minima is not None and loop.policy.is_free:
        minima = minima.reshape(shape[:-1])
    reward = problem.seen.reward.reshape(shape) if objective.fits_reward else None  # pyright: ignore
    loss = jnp.sum(share * values.reshape(share.shape), axis=-1)
    return Fitted(log_softmax(logits).reshape(shape), reward, loss, norm, minima, SUCCESS)


class _NoOptimumError(Exception):
    """The objective has no finite optimum on the data; the message says why."""


def _reference(value: Any, shape: tuple[int, ...]) -> Float[Array, "*contexts K"]:
    log_ref = as_numbers(value, "log_reference")
    if log_ref.ndim == 1:
        return jnp.broadcast_to(check_log_distribution(log_ref, "log_reference", shape[-1]), shape)
    if log_ref.shape not in (shape, shape[-2:]):
        raise ValueError(
            f"log_reference has shape {log_ref.shape}, the data {shape}; pass shape {shape[-1:]} or {shape}."
        )
    rows = [
        check_log_distribution(row, f"log_reference[{x}]", shape[-1])
        for x, row in enumerate(log_ref.reshape(-1, shape[-1]))
    ]
    return jnp.broadcast_to(jnp.stack(rows).reshape(log_ref.shape), shape)


def _given(wins: Array, smoothing: ArrayLike, equals: bool) -> Observed:
    """The comparisons; pairs of equals, on the diagonal, count in the mean where the data say that they are such pairs."""
    if not equals:
        return Observed(wins, smoothing)
    checked = Observed(jnp.where(jnp.eye(wins.shape[-1], dtype=bool), 0.0, wins), smoothing)
    return assemble(Observed, wins=wins, smoothing=checked.smoothing)


def _loop(
    objective: Objective, wins: Array, log_ref: Array, policy: Policy | None, weights: Any, feedback: Observed
) -> Rounds:
    """The rounds of which the fit is the first; what is sampled does not matter, because the comparisons are given."""
    size, contexts = wins.shape[-1], wins.shape[:-2]
    shares = prompt_shares(weights, contexts, "data")
    chosen = Tabular(size) if policy is None else policy
    if not isinstance(chosen, Policy):
        raise ValueError(
            f"policy is {in_short(policy)}; pass dyn.Tabular(K), dyn.LogLinear(phi) or dyn.policies.Finite(...)."
        )
    loop = assemble(
        Rounds,
        preference=jnp.full(wins.shape, 0.5),
        objective=objective,
        sampler=FixedSampler(uniform(size)),
        reference=FixedReference(log_ref),
        feedback=feedback,
        learner=Optimum(),
        policy=chosen.in_contexts(wins.shape[:-1]),
        weights=shares,
    )
    check_agreement(loop)
    return loop


def _solve(loop: Rounds, starts: int) -> tuple[Fit, Float[Array, "*contexts K"], Int[np.ndarray, " problems"] | None]:
    """The problem, the logits of its optimum, and the number of minima where there may be several."""
    listed = loop.policy.candidates() is not None
    if not listed or loop.objective.fits_reward:
        try:
            check_optima(loop)
        except ValueError as error:
            raise _NoOptimumError(str(error)) from None
    start = jnp.zeros(loop.shape)
    problem = loop.fit(start, loop.reference.start(start), None).prepared()
    linear = not listed and loop.policy.basis() is not None
    if linear and not loop.objective.has_one_minimum(free=loop.policy.is_free):
        minima = least_minima(problem, starts)
        for x, found in enumerate(minima.found):
            if not found:
                raise _NoOptimumError(_lost(loop, x, minima.group[x]))
        logits = jnp.asarray(minima.logits)
        return problem, logits.reshape(loop.shape), minima.number
    logits, found = _learn(problem, start)
    if not bool(found):
        raise _NoOptimumError(
            f"{type(loop.objective).__name__} has no finite optimum that the solver reaches on this data."
        )
    return problem, logits, None


def _lost(loop: Rounds, x: int, group: Bool[np.ndarray, "*contexts K"]) -> str:
    where = f"prompt {x}: " if loop.weights is not None and loop.policy.is_free else ""
    if group.all():
        return (
            f"{where}no minimum of {type(loop.objective).__name__} was found from any start in {loop.preference.dtype}; "
            f"switch on float64, jax.config.update('jax_enable_x64', True), or scale the counts down."
        )
    on = f"responses {[int(i) for i in np.flatnonzero(group)]} alone" if group.ndim == 1 else "some responses alone"
    return (
        f"{where}{type(loop.objective).__name__} has no finite optimum: its value falls furthest where the policy is on {on}; "
        f"pass smoothing=, more comparisons, or a larger beta."
    )


@eqx.filter_jit
def _learn(problem: Fit, start: Float[Array, "*contexts K"]) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
    logits, _, found = Optimum().learn(problem, start, None)
    return logits, found


@eqx.filter_jit
def _measure(problem: Fit, logits: Float[Array, "*contexts K"]) -> tuple[Float[Array, " X"], Array | None]:
    """The value of every prompt, and the slope in the policy's parameters: by prompt where each has its own."""
    objective, log_policy = problem.objective, log_softmax(logits)
    one = problem.weights is None
    value = objective.value if one else jax.vmap(objective.value)
    values = jnp.atleast_1d(value(log_policy, problem.log_reference, problem.seen))
    if problem.policy.candidates() is not None:
        return values, None
    if problem.policy.is_free:
        gradient = objective.gradient if one else jax.vmap(objective.gradient)
        return values, jnp.atleast_2d(gradient(log_policy, problem.log_reference, problem.seen))
    return values, ravel(problem.gradient(problem.policy.parameters(centre(logits))))
