"""The discrete twin of gradient flow: an optimizer's steps on the same objects."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from .._checks import check_count, check_key
from .._numerics import concrete
from .._progress import progress
from ..engine import RESULTS
from ..flows import Flow
from ._solution import Solution

CHUNK = 1000  # steps per call of the compiled loop: the grain of the progress bar


class DescentState(eqx.Module):
    """Where a descent stands: the weights, the optimizer's own state, and how many steps were taken."""

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

    A ``MarginFlow`` descends in the rows of W - W(0) of its tokens (weight decay pulls towards the reference W(0)), a
    ``PreferenceFlow`` in its policy's parameters; the gradient does not go through the sampler.

    Args:
        flow: what is trained.
        optimizer: an optax transformation that steps on gradients alone, such as ``optax.sgd(0.1)`` or ``optax.adam(1e-3)``;
            not one that asks for the loss too, such as ``optax.lbfgs()``.
        steps: int ≥ 0.
        key: for minibatches.
        batch: samples per step, drawn with replacement: examples by their weights, or contexts, pairs from the sampler and
            labels from P. None: the exact gradient.
        initial: as in ``gradient_flow``, or the ``final`` of an earlier descent.
        reset_state: with such a ``final``: True starts the optimizer's state (moments, schedules) anew, False keeps it.
        every: steps between saved rows; step 0 and the last are always saved.
        throw: raise where a step is not finite; otherwise ``sol.result`` says so.

    Returns:
        Solution with rows at ``coordinate`` (``dim`` "step"): those of the flow, with ``head`` ``(T, R, d)`` in place of
        ``coefficient`` for a ``MarginFlow``.

    Raises:
        ValueError: a bad argument, or a ``final`` without ``reset_state``.
        RuntimeError: a step left the finite numbers.
    """
    _check(flow, optimizer, key, batch)
    steps, every = check_count(steps, "steps", 0), check_count(every, "every", 1)
    state = _begin(flow, optimizer, initial, reset_state)
    _check_update(optimizer, state)
    key = None if batch is None else key
    run = _Run(state, jnp.array(True), jnp.array(-1))
    rows = [jax.tree.map(lambda x: x[None], _row(flow, state.weights))]
    saves, rest = divmod(steps, every)
    grain = max(1, CHUNK // every) if concrete(flow, state, key) else max(saves, 1)
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
            f"step {int(run.failed_step)} left the finite numbers; use a smaller learning rate. Pass throw=False to keep "
            f"the rows before it."
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
    """Refuses an optimizer whose ``update`` cannot be called with gradient, state and weights."""
    try:
        jax.eval_shape(optimizer.update, state.weights, state.optimizer_state, state.weights)
    except TypeError as error:
        raise ValueError(
            f"optimizer does not step on gradients alone ({error}); pass one that does, e.g. optax.sgd(0.1)."
        ) from None


def _begin(flow: Flow, optimizer: optax.GradientTransformation, initial: Any, reset_state: bool | None) -> DescentState:
    if not isinstance(initial, DescentState):
        if reset_state is not None:
            raise ValueError(
                "reset_state says what happens to an earlier descent's optimizer; pass its final as initial."
            )
        weights = flow.trainable(flow.start(initial))
        return DescentState(weights, optimizer.init(weights), jnp.array(0))
    if reset_state is None:
        raise ValueError(
            "initial carries an optimizer's state; pass reset_state=True to drop it or False to go on with it."
        )
    blank = flow.trainable(flow.start(None))
    if jnp.shape(initial.weights) != blank.shape:
        raise ValueError(f"initial has weights of shape {jnp.shape(initial.weights)}, the flow of {blank.shape}.")
    if reset_state:
        return DescentState(initial.weights, optimizer.init(initial.weights), initial.step)
    wanted = jax.eval_shape(optimizer.init, initial.weights)
    if jax.tree.structure(wanted) != jax.tree.structure(initial.optimizer_state):
        raise ValueError("initial carries the state of another optimizer; pass reset_state=True.")
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
        # A step's key depends on its number alone, so a descent that was interrupted draws what it would have.
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
