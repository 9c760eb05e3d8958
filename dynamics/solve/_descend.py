"""``descend``: the steps of an optimizer on a flow, the discrete counterpart of ``gradient_flow``."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from .._checks import check_count, check_key
from .._interned import interned
from .._numerics import concrete
from .._progress import progress
from ..engine import RESULTS
from ..flows import Flow
from ._solution import Solution

STEPS_PER_CALL = 1000  # of the compiled loop; the progress bar advances by as many


class DescentState(eqx.Module):
    """The state of a descent: the weights, the optimizer's own state, and the number of steps taken."""

    weights: Any
    optimizer_state: Any
    step: Int[Array, ""]


class _Run(eqx.Module):
    state: DescentState
    alive: Bool[Array, ""]
    failed_step: Int[Array, ""]


def descend(
    flow: Flow,
    optimizer: optax.GradientTransformation,
    steps: int,
    *,
    key: PRNGKeyArray | None = None,
    batch: int | None = None,
    initial: Any = None,
    reset_state: bool | None = None,
    every: int = 1,
    throw: bool = True,
) -> Solution:
    """theta_{s+1} = theta_s + u(∂ loss/∂theta), u the optimizer; n steps of SGD at rate eta approach the flow at time n eta.

    For a ``MarginFlow`` theta are the rows of W - W(0) of its tokens (weight decay pulls towards the reference W(0)), for a
    ``PreferenceFlow`` the parameters of its policy. The sampler is not differentiated.

    Args:
        flow: the flow whose loss is minimised.
        optimizer: an optax transformation that needs gradients only, such as ``optax.sgd(0.1)`` or ``optax.adam(1e-3)``; one
            that needs the loss as well, such as ``optax.lbfgs()``, is refused.
        steps: int ≥ 0.
        key: a key of ``jax.random``, needed with ``batch``.
        batch: samples per step, int ≥ 1, drawn with replacement: examples by their weights, or contexts, pairs from the
            sampler and labels from P. None: the exact gradient.
        initial: as in ``gradient_flow``, or the ``final`` of an earlier descent.
        reset_state: if ``initial`` is such a ``final``, True starts the optimizer's state (moments, schedules) anew and False
            keeps it.
        every: steps between saved rows, int ≥ 1; step 0 and the last are always saved.
        throw: raise where a step is not finite; otherwise ``sol.result`` says so.

    Returns:
        Solution with rows at ``coordinate`` (``dim`` "step"): those of the flow, with ``head`` ``(T, R, d)`` in place of
        ``coefficient`` for a ``MarginFlow``.

    Raises:
        ValueError: a bad argument, or a ``final`` without ``reset_state``.
        RuntimeError: a step was not finite.

    >>> import optax
    >>> P = dyn.preferences.cyclic(3, 0.4)
    >>> flow = dyn.PreferenceFlow(dyn.Tabular(3), P, dyn.IPO(0.3), dyn.samplers.OnPolicy())
    >>> dyn.descend(flow, optax.sgd(0.1), 2).log_policy.shape
    (3, 3)
    """
    _check(flow, optimizer, key, batch)
    optimizer = interned(optimizer)
    steps, every = check_count(steps, "steps", 0), check_count(every, "every", 1)
    state = _begin(flow, optimizer, initial, reset_state)
    _check_update(optimizer, state)
    key = None if batch is None else key
    run = _Run(state, jnp.array(True), jnp.array(-1))
    rows = [jax.tree.map(lambda x: x[None], _row(flow, state.weights))]
    saves, rest = divmod(steps, every)
    grain = max(1, STEPS_PER_CALL // every) if concrete(flow, state, key) else max(saves, 1)
    with progress("steps", steps, enabled=concrete(flow, state, key)) as advance:
        for count, each in _pieces(saves, grain, every, rest):
            run, saved = _go(flow, optimizer, run, key, batch, count, each)
            rows.append(saved)
            advance(count * each)
    marks = np.append(np.arange(0, steps + 1, every), [steps] if rest else [])
    values = jax.tree.map(lambda *parts: jnp.concatenate(parts), *rows)
    coordinate = state.step + jnp.asarray(marks, dtype=state.step.dtype)
    result = RESULTS.where(run.alive, RESULTS.successful, RESULTS.nonfinite)
    stats = {"steps": jnp.asarray(steps), "failed_step": run.failed_step}
    solution = Solution(coordinate, values, {}, run.state, result, stats, flow, (), "step")
    if throw and concrete(run.alive) and not bool(run.alive):
        raise RuntimeError(
            f"step {int(run.failed_step)} gave values that are not finite; use a smaller learning rate, or pass throw=False to "
            f"keep the rows before it."
        )
    return solution


def _check(flow: Flow, optimizer: Any, key: Any, batch: Any) -> None:
    if not isinstance(flow, Flow):
        raise ValueError(f"flow is a {type(flow).__name__}; pass a dyn.MarginFlow or dyn.PreferenceFlow.")
    if getattr(flow, "is_batch", False):
        raise ValueError("this flow is a batch; descend along one flow at a time.")
    if not isinstance(optimizer, optax.GradientTransformation):
        raise ValueError(f"optimizer is {optimizer!r}; pass an optax transformation, e.g. optax.sgd(0.1).")
    if batch is not None:
        check_count(batch, "batch", 1)
        if key is None:
            raise ValueError(f"batch = {batch} draws samples; pass key=jax.random.key(seed).")
    if key is not None:
        check_key(key)


def _check_update(optimizer: optax.GradientTransformation, state: DescentState) -> None:
    """Raises ``ValueError`` for an optimizer whose ``update`` needs more than gradient, state and weights."""
    try:
        jax.eval_shape(optimizer.update, state.weights, state.optimizer_state, state.weights)
    except TypeError as error:
        raise ValueError(
            f"optimizer needs more than gradients ({error}); pass one that needs gradients only, e.g. optax.sgd(0.1)."
        ) from None


def _begin(flow: Flow, optimizer: optax.GradientTransformation, initial: Any, reset_state: bool | None) -> DescentState:
    if not isinstance(initial, DescentState):
        if reset_state is not None:
            raise ValueError(
                "reset_state is for going on from an earlier descent; pass its final as initial, or leave reset_state out."
            )
        weights = flow.trainable(flow.start(initial))
        return DescentState(weights, optimizer.init(weights), jnp.array(0))
    if reset_state is None:
        raise ValueError(
            "initial holds an optimizer's state; pass reset_state=True to start it anew, or False to keep it."
        )
    blank = flow.trainable(flow.start(None))
    if jnp.shape(initial.weights) != blank.shape:
        raise ValueError(
            f"initial has weights of shape {jnp.shape(initial.weights)}, the flow has {blank.shape}; pass the final of a "
            f"descent on a flow of the same size."
        )
    if reset_state:
        return DescentState(initial.weights, optimizer.init(initial.weights), initial.step)
    wanted = jax.eval_shape(optimizer.init, initial.weights)
    if jax.tree.structure(wanted) != jax.tree.structure(initial.optimizer_state):
        raise ValueError("initial holds the state of another optimizer; pass reset_state=True, or the same optimizer.")
    return initial


def _pieces(saves: int, grain: int, every: int, rest: int) -> list[tuple[int, int]]:
    whole, tail = divmod(saves, grain)
    return [(grain, every)] * whole + [(tail, every)] * bool(tail) + [(1, rest)] * bool(rest)


@eqx.filter_jit
def _row(flow: Flow, weights: Any) -> dict[str, Array]:
    return flow.trained_rows(weights)


@eqx.filter_jit
def _go(
    flow: Flow,
    optimizer: optax.GradientTransformation,
    run: _Run,
    key: PRNGKeyArray | None,
    batch: int | None,
    saves: int,
    every: int,
) -> tuple[_Run, dict[str, Array]]:
    def step(_: Any, run: _Run) -> _Run:
        old = run.state
        # A step's key depends only on its number, so that a restarted descent draws what an uninterrupted one would have drawn.
        draw = None if key is None else jax.random.fold_in(key, old.step)
        gradient = flow.gradient(old.weights, draw, batch)
        updates, optimizer_state = optimizer.update(gradient, old.optimizer_state, old.weights)
        weights = optax.apply_updates(old.weights, updates)
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(weights)]))
        good = run.alive & finite
        keep = lambda new, stay: jnp.where(good, new, stay)
        kept = jax.tree.map(keep, (weights, optimizer_state), (old.weights, old.optimizer_state))
        failed = jnp.where(run.alive & ~finite, old.step, run.failed_step)
        return _Run(DescentState(kept[0], kept[1], old.step + 1), good, failed)

    def save(run: _Run, _: None) -> tuple[_Run, dict[str, Array]]:
        run = jax.lax.fori_loop(0, every, step, run)
        return run, flow.trained_rows(run.state.weights)

    return jax.lax.scan(save, run, None, length=saves)
