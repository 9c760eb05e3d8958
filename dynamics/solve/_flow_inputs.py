"""Checks of the arguments of ``gradient_flow``, made before anything is compiled."""

from __future__ import annotations

import math
from typing import Any

import diffrax
import equinox as eqx
import jax
import numpy as np

from .._numerics import concrete
from ..flows import Flow, MarginFlow, MarginState, PreferenceState
from ._descend import DescentState


def check_times(flow: Flow, t0: float, t1: float, rtol: float, atol: float) -> tuple[float, float]:
    if not isinstance(flow, Flow):
        raise ValueError(f"flow is a {type(flow).__name__}; pass a dyn.MarginFlow or dyn.PreferenceFlow.")
    for name, value in (("t0", t0), ("t1", t1), ("rtol", rtol), ("atol", atol)):
        real = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf"
        if not real or not math.isfinite(float(value)):
            raise ValueError(f"{name} = {value!r}; pass one finite number.")
    if not t1 > t0:
        raise ValueError(f"t1 = {float(t1):g} is not after t0 = {float(t0):g}; pass t1 > t0.")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not value > 0:
            raise ValueError(f"{name} = {float(value):g}; pass a tolerance above 0, such as 1e-8.")
    return float(t0), float(t1)


def check_tools(solver: Any, event: Any) -> None:
    if solver is not None and not isinstance(solver, diffrax.AbstractSolver):
        raise ValueError(f"solver is {solver!r}; pass an instance, such as diffrax.Tsit5() or diffrax.Kvaerno5().")
    if solver is not None and not isinstance(solver, diffrax.AbstractAdaptiveSolver):
        raise ValueError(
            f"solver={type(solver).__name__}() does not estimate its error, so it cannot adapt its steps; pass one that does, "
            f"such as diffrax.Tsit5(), or take fixed steps with dyn.descend(flow, optax.sgd(step), ...)."
        )
    if event is not None and not isinstance(event, diffrax.Event):
        raise ValueError(f"event is a {type(event).__name__}; pass diffrax.Event(cond_fn).")


def own_initial(flow: Flow, initial: Any) -> Any:
    """``initial`` in the form that this kind of flow takes; ``ValueError`` where it comes from another kind of run."""
    if isinstance(initial, DescentState) and not isinstance(flow, MarginFlow):
        return initial.weights
    kind = MarginState if isinstance(flow, MarginFlow) else PreferenceState
    if isinstance(initial, eqx.Module) and not isinstance(initial, kind):
        what = "coefficients (N,)" if kind is MarginState else "parameters of the policy"
        raise ValueError(
            f"initial is a {type(initial).__name__}, the final of another kind of run; pass the final of a gradient_flow of a "
            f"{type(flow).__name__}, or {what}."
        )
    return initial


def is_plain(saveat: diffrax.SaveAt) -> bool:
    """Whether this SaveAt saves the flow's own rows: it has neither a ``fn`` of the caller nor several ``subs``."""
    return isinstance(saveat.subs, diffrax.SubSaveAt) and saveat.subs.fn is diffrax.SubSaveAt(t1=True).fn


def check_saveat(saveat: diffrax.SaveAt, t0: float, t1: float) -> None:
    if not isinstance(saveat, diffrax.SaveAt):
        raise ValueError(f"saveat is a {type(saveat).__name__}; pass diffrax.SaveAt(ts=...).")
    for sub in jax.tree.leaves(saveat.subs, is_leaf=lambda x: isinstance(x, diffrax.SubSaveAt)):
        if sub.ts is None or not concrete(sub.ts):
            continue
        ts = np.asarray(sub.ts)
        if ts.ndim != 1 or len(ts) == 0:
            raise ValueError(
                f"saveat has times of shape {ts.shape}; pass a vector of times, such as jnp.linspace(0, 10, 101)."
            )
        if not np.isfinite(ts).all() or (np.diff(ts) < 0).any() or ts.min() < t0 or ts.max() > t1:
            raise ValueError(f"saveat has times outside [{t0:g}, {t1:g}] or out of order; pass ascending ts within it.")
    if saveat.subs is None and not saveat.dense:
        raise ValueError("saveat saves nothing; pass diffrax.SaveAt(ts=...) or SaveAt(t1=True).")
