"""Values of a parameter at which a fixed point gains or loses stability."""

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
from ._ends import NoFixedPoint
from ._fixed_points import interior, points_of, polish, settled
from ._known import onset
from ._local import check_analysable
from ._normal_form import first_lyapunov_coefficient
from ._space import Space, log_policy_at, space_of

SHARE_NAMES = ("alpha", "lam", "rate")
# At alpha = 1 and at rate = 0 (a reference that never moves) fixed points are in general not isolated.
DEFAULT_BOUNDS = {"alpha": (0.0, 1.0 - 1e-6), "rate": (1e-6, 1.0)}


@dataclasses.dataclass(frozen=True)
class Crossing:
    """A value of a parameter at which the spectral radius of the followed fixed point passes 1.

    Attributes:
        parameter: full path of the parameter.
        value: the parameter's value there.
        kind: "Neimark–Sacker" (a complex pair), "flip" (at -1), "fold" (at +1, the branch turns back) or "branch point".
        direction: "loses stability" or "gains stability" as the parameter grows; at a fold, two fixed points meet, and the
            attracting one disappears ("loses") or appears ("gains").
        rotation_number: |arg|/2pi of the crossing eigenvalue, turns per round in [0, 1/2].
        criticality: "supercritical" or "subcritical"; None where it is not defined (a strong resonance, or another kind) or
            was not computed.
        criticality_source: the statement that gives it, or how it was computed; None where it was not computed.
        log_policy: the fixed point there, in nats, ``(K,)``; ``(X, K)`` for prompts that share features.
        prompt: index of the prompt, for independent prompts; otherwise None.
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
    """Whether a parameter is, by its name, a share in [0, 1]."""
    return path.rsplit(".", 1)[-1] in SHARE_NAMES


def default_bounds(process: Process[Any], path: str) -> tuple[float, float]:
    """The range that is searched by default: [0, 1] for shares, except ends where fixed points are not isolated, and eight
    decades around its value for any other parameter.
    """
    value = float(parameters(process)[path])
    if is_share(path):
        return DEFAULT_BOUNDS.get(path.rsplit(".", 1)[-1], (0.0, 1.0))
    if value <= 0:
        raise ValueError(f"{path} = {value:g} is not positive, so it has no default range; pass bounds=(low, high).")
    return value / 1e4, value * 1e4


def critical(process: Process[Any], parameter: str, bounds: tuple[float, float] | None = None) -> tuple[Crossing, ...]:
    """All s with rho(J(z*(s), s)) = 1 along the branch of fixed points z*(s) of a process, where s is a parameter.

    Args:
        process: a deterministic ``Process``; its fixed point at the parameter's present value is followed.
        parameter: name or dotted path of a scalar parameter, such as "alpha", "lam" or "beta".
        bounds: (low, high), the range of s; by default [0, 1) for shares and 1e-4 to 1e4 times the present value for others.

    Returns:
        Crossings in ascending order of value, for independent prompts those of all; empty where stability does not change.

    Raises:
        ValueError: an unknown or non-scalar parameter, or bounds that are not low < high or not in its range.
        RuntimeError: no fixed point was found that could be followed.

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
    """The first s with rho = 1 on the branch that starts at ``bounds[0]`` (if ``downward``, at ``bounds[1]``), or None.

    Followed downward from a large beta, at which rounds contract, it is the beta at which they lose stability. The search ends
    there and does not compute ``criticality``, so it is cheaper than ``critical``.

    Args:
        process: a deterministic ``Process``.
        parameter: name or dotted path of a scalar parameter.
        bounds: (low, high), the range of s.
        downward: follow the branch from ``high`` to smaller values.

    Raises:
        ValueError: as ``critical``.
        RuntimeError: no fixed point was found at the first end.

    Source: [derived].
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
        raise ValueError(f"{parameter!r} is not a single number; pass a scalar parameter, such as alpha, lam or beta.")
    if is_whole(parameters(process)[path]):
        raise ValueError(f"{parameter!r} takes whole numbers, so it cannot be followed continuously; sweep it instead.")
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
    """Crossings between points on different sides of 1; those within rounding of it are on neither."""
    previous, rounding = start, 64 * float(jnp.finfo(jnp.zeros(()).dtype).eps)
    for point in branch.walk(start, direction, branch.scale.inward(low), branch.scale.inward(high)):
        if abs(point.radius - 1) <= rounding:
            continue
        if abs(previous.radius - 1) > rounding and (previous.radius > 1) != (point.radius > 1):
            yield _crossing(branch, previous, point, normal_form)
        previous = point


def fixed_point_near_start(process: Process[Any]) -> np.ndarray | None:
    """The fixed point, as a point, that Newton's method reaches from the process's start, or else another that is found."""
    space = space_of(process)
    try:
        start = np.asarray(points_of(process, space, process.log_start()[None])[0])
        y, converged = polish(process, space, start)
    except ValueError:  # a run cannot start from an offline sampler with zeros
        converged, y = False, np.empty(0)
    if converged:
        return y
    followed = _through_sampling(process)  # costs a few hundred rounds, less than the search from many starts below
    if followed is not None:
        return followed
    found = interior(process, space, 32)
    return found[0] if found else None


def _through_sampling(process: Process[Any]) -> np.ndarray | None:
    """The fixed point on the branch that starts at lam = 0, where the fixed point has a closed form."""
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
        )  # a walk that ends early is discarded, so a warning about crossings beyond its end would mislead
        *_, last = [point, *branch.walk(point, 1, 0.0, target)]
    return last.x[:-1] if last.s == target else None


def _start(branch: Branch, low: float, high: float) -> Point:
    process, path = branch.process, branch.path
    now = float(np.clip(float(parameters(process)[path]), low, high))
    # If no fixed point is found at the present value, one may be found where rounds contract: large beta, small shares.
    for value in (now, high if branch.scale.log else low, (low + high) / 2):
        y = fixed_point_near_start(replace(process, {path: jnp.asarray(value)}))
        point = None if y is None else branch.at(y, value)
        if point is not None:
            return point
    raise NoFixedPoint(path, low, high)


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
    # At a fold the parameter reaches an extreme and turns back: if it was growing, the attracting point disappears there.
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
    """Super- or subcritical, and by which source: the closed form on the uniform 3-cycle, or else the first Lyapunov
    coefficient.
    """
    closed = onset(process)
    if closed is not None:
        return closed, "statement 7.5 [derived]"
    coefficient = first_lyapunov_coefficient(process, space, point)
    if coefficient is None:
        return None, "strong resonance: the normal form does not decide"
    return (
        "supercritical" if coefficient < 0 else "subcritical"
    ), f"first Lyapunov coefficient {coefficient:.3g}, computed"
