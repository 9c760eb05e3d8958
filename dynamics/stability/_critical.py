"""Where a fixed point gains or loses stability along a parameter."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from .._parameters import is_whole, parameters, replace, resolve
from .._progress import progress
from ..rounds import Process, canonical
from ._branch import Branch, Point
from ._fixed_points import interior, points_of, polish, settled
from ._known import onset
from ._local import check_analysable
from ._normal_form import first_lyapunov_coefficient
from ._space import Space, log_policy_at, space_of

SHARES = ("alpha", "lam", "rate")
# At alpha = 1 and at rate = 0 (a reference that never moves) there is no branch of isolated fixed points in general.
BOUNDS = {"alpha": (0.0, 1.0 - 1e-6), "rate": (1e-6, 1.0)}


@dataclasses.dataclass(frozen=True)
class Crossing:
    """A value of a parameter at which the spectral radius of the followed fixed point passes 1.

    Attributes:
        parameter: full path of the parameter.
        value: where.
        kind: "Neimark–Sacker" (a complex pair), "flip" (at -1), "fold" (at +1, the branch turns back) or "branch point".
        direction: "loses stability" or "gains stability", as the parameter grows; at a fold, whether the attracting one
            of the two points that meet there disappears or appears.
        rotation_number: |arg|/2pi of the crossing eigenvalue, turns per round in [0, 1/2].
        criticality: "supercritical", "subcritical", or None where not defined (resonances; other kinds).
        criticality_source: the statement that gives it, or how it was computed; None where it was not asked for.
        log_policy: the fixed point there, ``(K,)``, in nats; ``(X, K)`` of prompts that share features.
        prompt: the prompt that it is of, where no prompt bears on another; None elsewhere.
    """

    parameter: str
    value: float
    kind: str
    direction: str
    rotation_number: float
    criticality: str | None
    criticality_source: str | None
    log_policy: np.ndarray
    prompt: int | None = None


def is_share(path: str) -> bool:
    """Whether a parameter is a share by its name, in [0, 1]."""
    return path.rsplit(".", 1)[-1] in SHARES


def default_bounds(process: Process[Any], path: str) -> tuple[float, float]:
    """The range searched unless one is given: shares over [0, 1] without ends where fixed points are not isolated, beta over
    eight decades around its value.
    """
    value = float(parameters(process)[path])
    if is_share(path):
        return BOUNDS.get(path.rsplit(".", 1)[-1], (0.0, 1.0))
    if value <= 0:
        raise ValueError(f"{path} = {value:g} has no default range; pass bounds=(low, high).")
    return value / 1e4, value * 1e4


def critical(process: Process[Any], parameter: str, bounds: tuple[float, float] | None = None) -> tuple[Crossing, ...]:
    """All s with rho(J(z*(s), s)) = 1 along the branch of fixed points z*(s) through the process's own, ascending.

    Args:
        process: a deterministic ``Process``; its fixed point at the parameter's present value is followed.
        parameter: name or dotted path of a scalar parameter: "alpha", "lam", "beta".
        bounds: (low, high) to follow it over; default [0, 1) for shares and beta·[1e-4, 1e4].

    Returns:
        Crossings in ascending order of value, those of all prompts; empty where stability never changes.

    Raises:
        ValueError: an unknown or non-scalar parameter, bounds that are not low < high or leave its range.
        RuntimeError: no fixed point was found to follow.

    Source: [derived]; agrees with the closed thresholds at uniform to 1e-8 ([paper] Chen26 for IPO on the 3-cycle).
    """
    alone = process.prompts()
    if alone is not None:
        check_analysable(process)
        with progress("prompts", len(alone)) as advance:
            of_all = []
            for x, one in enumerate(alone):
                of_all += [dataclasses.replace(crossing, prompt=x) for crossing in critical(one, parameter, bounds)]
                advance(1)
        return tuple(sorted(of_all, key=lambda crossing: crossing.value))
    branch, low, high = _branch(process, parameter, bounds)
    found: dict[float, Crossing] = {}
    start = _start(branch, low, high)
    for direction in (1, -1):
        for crossing in _crossings(branch, start, direction, low, high, normal_form=True):
            found[round(crossing.value, 14)] = crossing
    return tuple(found[value] for value in sorted(found))


def first_crossing(
    process: Process[Any], parameter: str, bounds: tuple[float, float], *, downward: bool = False
) -> Crossing | None:
    """The first s with rho = 1 on the branch that starts at ``bounds[0]`` (``bounds[1]`` when ``downward``), or None.

    Coming down from a large beta, where rounds contract, this is the beta at which they lose stability. It stops there and
    leaves ``criticality`` out, so it is cheaper than ``critical``. Arguments and errors as there.
    """
    branch, low, high = _branch(process, parameter, bounds)
    end = high if downward else low
    y = fixed_point_near_start(replace(process, {branch.path: jnp.asarray(end)}))
    start = None if y is None else branch.at(y, end)
    if start is None:
        raise RuntimeError(f"no fixed point was found at {parameter} = {end:g}; pass other bounds.")
    return next(_crossings(branch, start, -1 if downward else 1, low, high, normal_form=False), None)


def _branch(process: Process[Any], parameter: str, bounds: tuple[float, float] | None) -> tuple[Branch, float, float]:
    check_analysable(process)
    path = resolve(process, parameter)
    if np.ndim(parameters(process)[path]) != 0:
        raise ValueError(f"{parameter!r} is not a single number; follow alpha, lam or beta.")
    if is_whole(parameters(process)[path]):
        raise ValueError(f"{parameter!r} takes whole numbers, along which no branch runs; sweep it instead.")
    if bounds is not None and np.shape(bounds) != (2,):
        raise ValueError(f"bounds = {bounds!r}; pass (low, high).")
    low, high = default_bounds(process, path) if bounds is None else (float(bounds[0]), float(bounds[1]))
    if not low < high:
        raise ValueError(f"bounds = ({low:g}, {high:g}); pass (low, high) with low < high.")
    process.check_parameter(path, np.array([low, high]))
    return Branch(process, path, log=not is_share(path) and low > 0), low, high


def _crossings(
    branch: Branch, start: Point, direction: int, low: float, high: float, *, normal_form: bool
) -> Iterator[Crossing]:
    previous = start
    for point in branch.walk(start, direction, branch.scale.inward(low), branch.scale.inward(high)):
        if (previous.radius > 1) != (point.radius > 1):
            yield _crossing(branch, previous, point, normal_form)
        previous = point


def fixed_point_near_start(process: Process[Any]) -> np.ndarray | None:
    """The fixed point that Newton's method reaches from the process's start, else one found otherwise, as a point."""
    space = space_of(process)
    try:
        start = np.asarray(points_of(process, space, process.log_start()[None])[0])
        y, converged = polish(process, space, start)
    except ValueError:  # an offline sampler with zeros is no start
        converged, y = False, np.empty(0)
    if converged:
        return y
    followed = _through_sampling(process)  # a walk of some hundred rounds; the search tries as many starts to the end
    if followed is not None:
        return followed
    found = interior(process, space, 32)
    return found[0] if found else None


def _through_sampling(process: Process[Any]) -> np.ndarray | None:
    """The fixed point on the branch that starts at lam = 0, where it is explicit."""
    loop = canonical(process)
    if loop is None or float(loop.alpha) >= 1:
        return None
    offline = loop._replace(lam=jnp.asarray(0.0)).rounds()
    z = np.asarray(settled(loop._replace(lam=jnp.asarray(0.0)), loop.log_reference[None])[0])
    branch = Branch(offline, "sampler.lam", log=False)
    y = np.asarray(branch.space.basis).T @ z
    point = branch.at(y, 0.0)
    target = float(loop.lam)
    if point is None or target == 0.0:
        return y if target == 0.0 else None
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # a walk that ends early is not an answer here, and nobody asked for its crossings
        *_, last = [point, *branch.walk(point, 1, 0.0, target)]
    return last.x[:-1] if last.s == target else None


def _start(branch: Branch, low: float, high: float) -> Point:
    process, path = branch.process, branch.path
    now = float(np.clip(float(parameters(process)[path]), low, high))
    # Where the present value has no fixed point, an end of the range may: rounds contract at large beta and small shares.
    for value in (now, high if branch.scale.log else low, (low + high) / 2):
        y = fixed_point_near_start(replace(process, {path: jnp.asarray(value)}))
        point = None if y is None else branch.at(y, value)
        if point is not None:
            return point
    raise RuntimeError(f"no fixed point was found for {path} in [{low:g}, {high:g}]; pass narrower bounds.")


def _crossing(branch: Branch, a: Point, b: Point, normal_form: bool) -> Crossing:
    process, path = branch.process, branch.path
    chord = b.x - a.x
    normal = chord / np.linalg.norm(chord)

    def at(t: float) -> Point:
        point = branch.correct(a.x + t * chord, normal)
        return (a if t < 0.5 else b) if point is None else point

    ends = {0.0: a, 1.0: b}
    t = brentq(lambda t: (ends[t] if t in ends else at(t)).radius - 1.0, 0.0, 1.0, xtol=1e-15)
    point = at(float(t))  # pyright: ignore[reportArgumentType]
    value = branch.scale.outward(point.s)
    lead = complex(point.eigenvalues[np.argmax(np.abs(point.eigenvalues))])
    turned = bool((a.tangent[-1] > 0) != (b.tangent[-1] > 0))
    kind = _kind(lead, turned)
    # At a fold one attracting point is born or dies: along the walk the parameter turns back there from its extreme.
    loses = a.tangent[-1] > 0 if kind == "fold" else (b.radius > a.radius) == (b.s > a.s)
    y = point.x[:-1]
    there = replace(process, {path: jnp.asarray(value)})
    criticality, source = (
        criticality_of(there, branch.space, y) if normal_form and kind == "Neimark–Sacker" else (None, None)
    )
    return Crossing(
        parameter=path,
        value=value,
        kind=kind,
        direction="loses stability" if loses else "gains stability",
        rotation_number=float(abs(np.angle(lead)) / (2 * np.pi)),
        criticality=criticality,
        criticality_source=source,
        log_policy=np.asarray(log_policy_at(there, branch.space, jnp.asarray(y))),
    )


def _kind(lead: complex, turned: bool) -> str:
    if abs(lead.imag) > 1e-7:
        return "Neimark–Sacker"
    if lead.real < 0:
        return "flip"
    return "fold" if turned else "branch point"


def criticality_of(process: Process[Any], space: Space, point: np.ndarray) -> tuple[str | None, str | None]:
    """Super- or subcritical, from the closed form on the uniform 3-cycle, else from the first Lyapunov coefficient."""
    closed = onset(process)
    if closed is not None:
        return closed, "statement 7.5 [derived]"
    coefficient = first_lyapunov_coefficient(process, space, point)
    if coefficient is None:
        return None, "strong resonance: the normal form does not decide"
    return (
        "supercritical" if coefficient < 0 else "subcritical"
    ), f"first Lyapunov coefficient {coefficient:.3g}, computed"
