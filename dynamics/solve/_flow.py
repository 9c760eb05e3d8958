"""``gradient_flow``: flows integrated by diffrax, or solved exactly where they are (piecewise) linear."""

from __future__ import annotations

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._numerics import concrete
from .._progress import progress
from ..engine import RESULTS, result_code
from ..flows import Flow, MarginFlow
from ..schema import RESULT_NAMES
from ._flow_inputs import check_saveat, check_times, check_tools, is_plain, own_initial
from ._meter import Meter, metered
from ._solution import Solution

DEFAULT_ROWS = 101  # saved unless the caller passes ``saveat``
MAX_STEPS = 200_000
MAX_BATCH_NUMBERS = 2**27  # floats in the states and Gram matrices of flows that are solved side by side


def gradient_flow(
    flow: Flow,
    t1: float,
    *,
    t0: float = 0.0,
    initial: Any = None,
    solver: diffrax.AbstractSolver | None = None,
    saveat: diffrax.SaveAt | None = None,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    event: diffrax.Event | None = None,
    throw: bool = True,
) -> Solution:
    """tau dy/dt = v(y) from t0 to t1, tau = 1.

    Args:
        flow: ``MarginFlow`` or ``PreferenceFlow``.
        t1, t0: times, in units of tau, t1 > t0.
        initial: the ``final`` of an earlier flow (for a ``PreferenceFlow``, also of a descent), or coefficients ``(N,)`` of a
            ``MarginFlow``, or parameters of a ``PreferenceFlow``. By default the reference.
        solver: a diffrax solver that estimates its error. By default Tsit5, but the exact solution for SLiC and for the
            squared losses of a ``MarginFlow``.
        saveat: a ``diffrax.SaveAt``; 101 equally spaced times unless given. The values of a ``fn(t, y, args)``, y the flow's
            state, are saved as ``sol.saved`` instead of the rows. ``dense=True`` gives ``sol.stats["interpolation"]``.
        rtol, atol: relative and absolute tolerance per step, of margins and coefficients or of parameters, > 0.
        event: a ``diffrax.Event``, whose ``cond_fn`` is called with the flow's state.
        throw: raise where the solve fails; otherwise ``sol.result`` says so and the rows before the failure are kept (in a
            batch, the last of them is repeated).

    Returns:
        Solution with rows at ``coordinate`` (``dim`` "time"), ``(T, …)``; for a batch of flows ``(B, T, …)``.

    Raises:
        ValueError: a bad argument.
        RuntimeError: the solver used up its steps, or its values became infinite or NaN.

    >>> flow = dyn.MarginFlow(np.array([[1.0]]), np.array([0]), np.array([1]), dyn.SquaredMargin(beta=1.0))
    >>> dyn.gradient_flow(flow, t1=1.0).reward_margin.shape
    (101, 1)
    """
    t0, t1 = check_times(flow, t0, t1, rtol, atol)
    check_tools(solver, event)
    saveat = diffrax.SaveAt(ts=jnp.linspace(t0, t1, DEFAULT_ROWS)) if saveat is None else saveat
    check_saveat(saveat, t0, t1)
    standard = is_plain(saveat)
    state = flow.start(own_initial(flow, initial))
    # Arrays, because plain numbers would be compiled in, and every new t1 would be compiled anew.
    interval, tolerances = jnp.array([t0, t1]), jnp.array([rtol, atol])
    if isinstance(flow, MarginFlow) and flow.is_batch:
        return _batch(flow, interval, state, solver, saveat, tolerances, event, standard, throw)
    if standard and solver is None and event is None and not saveat.dense:
        exact = _exactly(flow, interval, state, saveat)
        if exact is not None:
            return exact
    flow.check_flow()
    with metered("flow time, per mille") as watched:
        watched = watched and concrete(flow, state)
        out = _solve(flow, state, interval, solver or diffrax.Tsit5(), saveat, tolerances, event, standard, watched)
        jax.block_until_ready(out.ts)
    solution = _as_solution(flow, out, standard)
    if throw and concrete(out.ts):
        _raise_on_failure(flow, solution)
    return solution


def _times(saveat: diffrax.SaveAt, interval: Float[Array, 2]) -> Array:
    """The times at which a SaveAt without ``steps`` saves, ascending."""
    sub = saveat.subs
    inner = jnp.empty(0) if sub.ts is None else sub.ts  # pyright: ignore
    return jnp.concatenate([interval[: bool(sub.t0)], inner, interval[2 - bool(sub.t1) :]])  # pyright: ignore


def _exactly(flow: Flow, interval: Float[Array, 2], state: Any, saveat: diffrax.SaveAt) -> Solution | None:
    if saveat.subs.steps:  # pyright: ignore[reportOptionalMemberAccess]
        return None
    ts = _times(saveat, interval)
    solved = flow.solve_exactly(state, ts - interval[0], interval[1] - interval[0])
    if solved is None:
        return None
    stats = {"steps": jnp.array(0), "rejected": jnp.array(0), "ended": interval[1], "event": jnp.array(False)}
    return Solution(ts, solved[0], {}, solved[1], RESULTS.successful, stats, flow, (), "time")


@eqx.filter_jit
def _solve(
    flow: Flow,
    state: Any,
    interval: Float[Array, 2],
    solver: diffrax.AbstractSolver,
    saveat: diffrax.SaveAt,
    tolerances: Float[Array, 2],
    event: diffrax.Event | None,
    standard: bool,
    watched: bool = False,
) -> diffrax.Solution:
    prepared = flow.prepare()
    subs: Any = {"final": diffrax.SubSaveAt(t1=True)}
    if saveat.subs is not None:
        rows = lambda t, y, args: flow.rows(y)
        subs["rows"] = eqx.tree_at(lambda s: s.fn, saveat.subs, rows) if standard else saveat.subs
    steps = any(s.steps for s in jax.tree.leaves(saveat.subs, is_leaf=lambda x: isinstance(x, diffrax.SubSaveAt)))
    return diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: flow.velocity(y, prepared)),
        solver,
        interval[0],
        interval[1],
        None,
        state,
        stepsize_controller=diffrax.PIDController(rtol=tolerances[0], atol=tolerances[1]),
        saveat=diffrax.SaveAt(subs=subs, dense=saveat.dense),
        # To save every step, or an interpolation, diffrax allocates memory for the maximal number of steps.
        max_steps=4096 if steps or saveat.dense else MAX_STEPS,
        event=event,
        throw=False,
        progress_meter=Meter() if watched else diffrax.NoProgressMeter(),
    )


def _result(out: diffrax.Solution, finite: Array) -> RESULTS:
    okay = (out.result == diffrax.RESULTS.successful) | (out.result == diffrax.RESULTS.event_occurred)
    failure = RESULTS.where(finite, RESULTS.step_limit, RESULTS.nonfinite)
    return RESULTS.where(okay, RESULTS.where(finite, RESULTS.successful, RESULTS.nonfinite), failure)


def _as_solution(flow: Flow, out: diffrax.Solution, standard: bool) -> Solution:
    final = jax.tree.map(lambda x: x[0], out.ys["final"])  # pyright: ignore[reportOptionalSubscript]
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(final)]))
    times = out.ts.get("rows", out.ts["final"])  # pyright: ignore
    saved: Any = out.ys.get("rows", {})  # pyright: ignore[reportOptionalMemberAccess]
    values: Any = saved if standard else {"saved": saved}
    if standard and concrete(times):
        # Rows beyond an event or a failure hold infinities.
        kept = np.isfinite(np.asarray(times))
        times, values = times[kept], jax.tree.map(lambda x: x[kept], values)
    stats = {
        "steps": out.stats["num_accepted_steps"],
        "rejected": out.stats["num_rejected_steps"],
        "ended": out.ts["final"][0],  # pyright: ignore[reportOptionalSubscript]
        "event": out.result == diffrax.RESULTS.event_occurred,
    }
    if out.interpolation is not None:
        stats["interpolation"] = out.interpolation
    return Solution(times, values, {}, final, _result(out, finite), stats, flow, (), "time")


def _raise_on_failure(flow: Flow, solution: Solution) -> None:
    codes = np.atleast_1d(np.asarray(result_code(solution.result)))
    if not codes.any():
        return
    which = f"flow {int(np.argmax(codes > 0))}: " if len(codes) > 1 else ""
    if (codes == RESULT_NAMES.index("nonfinite")).any():
        reason = "the flow gave values that are not finite; use smaller features or a larger beta"
    else:
        ended = float(np.min(np.asarray(solution.stats["ended"])))
        taken = int(jnp.max(solution.stats["steps"] + solution.stats["rejected"]))
        reason = f"the solver used up its {taken} steps at t = {ended:.3g}; {flow.advice()}"
    raise RuntimeError(f"{which}{reason}. Pass throw=False to keep the rows before it.")


def _batch(
    flow: MarginFlow,
    interval: Float[Array, 2],
    state: Any,
    solver: diffrax.AbstractSolver | None,
    saveat: diffrax.SaveAt,
    tolerances: Float[Array, 2],
    event: diffrax.Event | None,
    standard: bool,
    throw: bool,
) -> Solution:
    """All flows of a batch, as many of them side by side as memory allows."""
    if event is not None or not standard or saveat.dense or saveat.subs.steps:  # pyright: ignore
        raise ValueError("a batch of flows saves rows at given times only; use saveat=SaveAt(ts=...), without event=.")
    count = flow.features.shape[0]
    side = max(1, min(count, MAX_BATCH_NUMBERS // flow.numbers()))
    # Kinks are followed on the host, one flow at a time.
    alone = flow.follows_kinks and solver is None
    parts = []
    with progress("flows", count) as advance:
        for start in range(0, count, side):
            cut = lambda tree, at=slice(start, start + side): jax.tree.map(lambda x: x[at], tree)
            some = flow.with_parts(cut(flow.parts()))
            part = _one_by_one(some, cut(state), interval, saveat) if alone else None
            if part is None:
                part = _side_by_side(some, cut(state), interval, solver, saveat, tolerances)
            parts.append(part)
            jax.block_until_ready(parts[-1])
            advance(side)
    values, final, result, stats = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
    times = _times(saveat, interval)
    if bool(jnp.any(result_code(result))):
        values = _held(values, flow.over_batch(MarginFlow.rows, state), times, stats["ended"])
    solution = Solution(times, values, {}, final, result, stats, flow, (), "time")
    if throw:
        _raise_on_failure(flow, solution)
    return solution


def _held(values: dict[str, Array], first: dict[str, Array], times: Array, ended: Array) -> dict[str, Array]:
    """Rows ``(B, T, …)`` in which those after a failure, which are infinite, are replaced by the last one before it."""
    reached = np.asarray(times)[None, :] <= np.asarray(ended)[:, None]
    last = reached.sum(axis=1) - 1
    row = np.minimum(np.arange(len(times)), np.maximum(last, 0)[:, None])

    def hold(rows: Array, start: Array) -> Array:
        kept = rows[np.arange(len(row))[:, None], row]
        none = (last < 0).reshape(-1, *(1,) * (kept.ndim - 1))
        return jnp.where(none, start[:, None], kept)

    return {name: hold(rows, first[name]) for name, rows in values.items()}


def _one_by_one(
    flow: MarginFlow, state: Any, interval: Float[Array, 2], saveat: diffrax.SaveAt
) -> tuple[Any, Any, RESULTS, dict[str, Array]] | None:
    """Each flow solved exactly; None where one of them cannot be."""
    solved = []
    for i in range(flow.features.shape[0]):
        at = lambda tree, i=i: jax.tree.map(lambda x: x[i], tree)
        exact = _exactly(flow.with_parts(at(flow.parts())), interval, at(state), saveat)
        if exact is None:
            return None
        solved.append((exact.values, exact.final, exact.result, exact.stats))
    return jax.tree.map(lambda *x: jnp.stack([jnp.asarray(y) for y in x]), *solved)


@eqx.filter_jit
def _side_by_side(
    flow: MarginFlow,
    state: Any,
    interval: Float[Array, 2],
    solver: diffrax.AbstractSolver | None,
    saveat: diffrax.SaveAt,
    tolerances: Float[Array, 2],
) -> tuple[Any, Any, RESULTS, dict[str, Array]]:
    def one(flow: MarginFlow, state: Any) -> tuple[Any, Any, RESULTS, dict[str, Array]]:
        exact = None if solver is not None else _exactly(flow, interval, state, saveat)
        if exact is None:
            out = _solve(flow, state, interval, solver or diffrax.Tsit5(), saveat, tolerances, None, True)
            exact = _as_solution(flow, out, True)
        return exact.values, exact.final, exact.result, exact.stats

    return flow.over_batch(one, state)
