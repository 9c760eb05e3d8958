"""Spectral radii and critical betas of many preference matrices of one size at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from .._checks import Numbers, check_log_distribution, check_number, host_array, host_numbers, in_short
from .._numerics import as_array
from .._progress import progress as progress_bar
from ..objectives import Objective, kl_coefficient
from ..preferences import check_shape, host_matrix
from ._equations import EQUATIONS, Line
from ._follow import Curve, follow

Values: TypeAlias = float | Sequence[float | int] | Float[ArrayLike, " _"]

MATRICES_PER_BLOCK = 128  # followed together, so that each waits for the slowest of few
DEFAULT_FLOOR = 1e-3

FOLLOWED, LOST, NOT_BEGUN = range(3)
STATUS = ("followed", "lost on the way", "no finite optimum")


class Radii(NamedTuple):
    """Spectral radii of M matrices at one alpha, lam and beta.

    Attributes:
        radius: rho at the followed fixed point, ``(M,)``; NaN where ``status`` is not 0.
        log_policy: that fixed point, in nats, ``(M, K)``; NaN where ``status`` is not 0.
        status: index into ("followed", "lost on the way", "no finite optimum"), ``(M,)``.
    """

    radius: np.ndarray
    log_policy: np.ndarray
    status: np.ndarray


class CriticalBetas(NamedTuple):
    """The largest beta at which stability is lost, for M matrices, A values of alpha and L of lam.

    Attributes:
        beta: ``(M, A, L)``; 0 where rounds stay stable down to ``floor``; ``inf`` where there is no finite optimum. Where the
            curve was lost on the way, the beta at which that happened: rounds are stable above it, and nothing is known below.
        status: as in ``Radii``, ``(M, L)``.
        floor: the smallest beta that was examined.
    """

    beta: np.ndarray
    status: np.ndarray
    floor: float


def spectral_radii(
    preferences: Numbers,
    objective: Objective,
    alpha: float,
    lam: float,
    *,
    log_reference: Float[ArrayLike, " K"] | None = None,
    log_offline: Float[ArrayLike, " K"] | None = None,
    progress: bool = True,
) -> Radii:
    """rho(J(z*)) for M matrices at once, where z* is the fixed point reached from that at beta = ∞ as beta decreases.

    For alpha < 1 it is the only fixed point of IPO, and of DPO at lam = 1 (statement 7.1). The numbers are those of
    ``spectral_radius``.

    Args:
        preferences: P, ``(M, K, K)``.
        objective: ``dyn.IPO(beta)`` or ``dyn.DPO(beta)``.
        alpha: alpha, in [0, 1); at 1 fixed points do not depend on the reference, and none can be followed.
        lam: lambda, in [0, 1].
        log_reference: log ref, ``(K,)``; uniform unless given.
        log_offline: log pi_0 in the sampler, ``(K,)``; uniform unless given.
        progress: show a bar at a terminal when it takes longer than two seconds.

    Raises:
        ValueError: a bad argument.

    Source: [derived], statements 2.2 and 7.1.
    """
    kind = check_kind(type(objective))
    alpha = check_alphas(alpha, scalar=True)[0]
    lam = check_lams(lam, scalar=True)[0]
    lines = make_lines(preferences, log_reference, log_offline)
    end = -np.log(float(kl_coefficient(objective)) * (1 - alpha))
    with progress_bar("fixed points", len(lines.P), enabled=progress) as advance:
        curve = _run(kind, lines, np.array([lam]), np.array([alpha]), np.array([end]), True, advance)
    status = _status(curve)[:, 0]
    good = status == FOLLOWED
    return Radii(
        np.where(good, curve.radii[:, 0, 0], np.nan),
        np.where(good[:, None], curve.log_policy[:, 0], np.nan),
        status,
    )


def critical_betas(
    preferences: Numbers,
    objective: type[Objective],
    alpha: Values,
    lam: Values,
    *,
    floor: float = DEFAULT_FLOOR,
    log_reference: Float[ArrayLike, " K"] | None = None,
    log_offline: Float[ArrayLike, " K"] | None = None,
    progress: bool = True,
) -> CriticalBetas:
    """The largest beta with rho(J(z*)) = 1, for every matrix, alpha and lam; above it rounds are locally stable.

    The fixed point z* is followed downward from beta = ∞, where rounds contract, as by ``first_crossing(..., downward=True)``
    for a single matrix. If z* disappears at a fold, the result is the beta of the fold.

    Args:
        preferences: P, ``(M, K, K)``.
        objective: the class, ``dyn.IPO`` or ``dyn.DPO``, without a beta.
        alpha: values of alpha, ``(A,)``, in [0, 1).
        lam: values of lambda, ``(L,)``, in [0, 1].
        floor: the smallest beta that is examined, in units of f, > 0.
        log_reference, log_offline, progress: as in ``spectral_radii``.

    Raises:
        ValueError: a bad argument.

    Source: [derived], statements 2.2 and 7.1.
    """
    kind = check_kind(objective)
    alphas, lams = check_alphas(alpha), check_lams(lam)
    floor = float(check_number(floor, "floor", 0.0, np.inf, open_low=True))
    lines = make_lines(preferences, log_reference, log_offline)
    ends = -np.log(floor * (1 - alphas))
    with progress_bar("matrices × lam", len(lines.P) * len(lams), enabled=progress) as advance:
        curve = _run(kind, lines, lams, alphas, ends, False, advance)
    status = _status(curve)
    at = np.swapaxes(np.asarray(curve.log_crossing), 1, 2)  # (M, A, L)
    crossed = np.swapaxes(np.asarray(curve.crossed), 1, 2) & (at <= ends[:, None])
    lost = (status == LOST)[:, None, :] & ~crossed & (curve.log_s[:, None, :] < ends[:, None])
    beta = np.where(crossed | lost, np.exp(-np.where(lost, curve.log_s[:, None, :], at)), 0.0) / (1 - alphas)[:, None]
    return CriticalBetas(np.where((status == NOT_BEGUN)[:, None, :], np.inf, beta), status, floor)


def _status(curve: Curve) -> np.ndarray:
    return np.where(~curve.begun, NOT_BEGUN, np.where(curve.lost, LOST, FOLLOWED))


def _run(
    kind: type[Objective],
    lines: Line,
    lams: np.ndarray,
    alphas: np.ndarray,
    ends: np.ndarray,
    to_the_end: bool,
    advance: Callable[[int], None],
) -> Curve:
    """The curves of every matrix (first axis) at every lam (second), on the host."""
    total = len(lines.P)
    lanes = min(MATRICES_PER_BLOCK, total)

    def block(part: tuple[int, np.ndarray]) -> Curve:
        n, rows = part
        # The last block is filled up with its last row, so that all blocks share one shape and one compilation.
        full = np.concatenate([rows, np.full(lanes - len(rows), rows[-1])])
        batch = Line(*(x[full] for x in lines))._replace(lam=jnp.full(lanes, lams[n]))
        found = follow(kind, batch, jnp.asarray(alphas), jnp.asarray(ends), to_the_end)
        out = jax.tree.map(lambda x: np.asarray(x)[: len(rows)], found)
        advance(len(rows))
        return out

    def parts() -> Iterator[tuple[int, np.ndarray]]:
        for n in range(len(lams)):
            for first in range(0, total, lanes):
                yield n, np.arange(first, min(first + lanes, total))

    # One block at a time: batched LAPACK calls share one pool of threads, and two of them at once can deadlock.
    done = [block(job) for job in parts()]
    per_lam = [done[i : i + len(done) // len(lams)] for i in range(0, len(done), len(done) // len(lams))]
    columns = [jax.tree.map(lambda *x: np.concatenate(x), *blocks) for blocks in per_lam]
    return jax.tree.map(lambda *x: np.stack(x, axis=1), *columns)


def make_lines(preferences: Any, log_reference: Any, log_offline: Any) -> Line:
    """Checked matrices and distributions as a batch; the caller sets its lam."""
    stack = host_array(preferences, "preferences")
    if stack.ndim != 3 or stack.shape[0] == 0:
        raise ValueError(f"preferences has shape {stack.shape}; pass a stack of matrices of one size, shape (M, K, K).")
    check_shape(stack.shape[1:], "preferences[0]")
    # Checked together; one by one, by ``host_matrix``, only where an entry is wrong or P + Pᵀ = 1 holds less than exactly.
    if not ((stack >= 0) & (stack <= 1) & (np.abs(stack + np.swapaxes(stack, 1, 2) - 1) < 1e-12)).all():
        for m, matrix in enumerate(stack):
            host_matrix(matrix, f"preferences[{m}]")
    P = as_array(stack)
    size = P.shape[1]

    def row(value: Any, name: str, zero_mass: bool) -> jax.Array:
        uniform = jnp.full(size, -jnp.log(as_array(size)))
        given = uniform if value is None else check_log_distribution(value, name, size, zero_mass=zero_mass)
        return jnp.broadcast_to(given, (len(P), size))

    return Line(P, jnp.zeros(len(P)), row(log_reference, "log_reference", False), row(log_offline, "log_offline", True))


def check_kind(kind: Any) -> type[Objective]:
    """The class, if its fixed points can be followed for many matrices at once; otherwise raises ``ValueError``."""
    if not isinstance(kind, type) or kind not in EQUATIONS:
        raise ValueError(f"objective is {getattr(kind, '__name__', in_short(kind))}; pass dyn.IPO or dyn.DPO.")
    return kind


def check_alphas(value: Any, *, scalar: bool = False) -> np.ndarray:
    """Values of alpha in [0, 1) as a vector.

    Args:
        value: one number, or a list of numbers unless ``scalar``.
        scalar: accept one number only.

    Raises:
        ValueError: a value outside [0, 1), or another shape.

    >>> check_alphas([0.0, 0.5]).tolist()
    [0.0, 0.5]
    """
    alphas = _shares(value, "alpha", scalar)
    if (alphas == 1).any():
        raise ValueError(
            "alpha = 1 has no fixed point that could be followed from beta = ∞ (the eigenvalues of IPO's rounds at interior "
            "fixed points are 1 ± i c w, so no beta makes them stable); pass alpha < 1."
        )
    return alphas


def check_lams(value: Any, *, scalar: bool = False) -> np.ndarray:
    """Values of lam in [0, 1] as a vector.

    Args:
        value: one number, or a list of numbers unless ``scalar``.
        scalar: accept one number only.

    Raises:
        ValueError: a value outside [0, 1], or another shape.

    >>> check_lams(1.0).tolist()
    [1.0]
    """
    return _shares(value, "lam", scalar)


def _shares(value: Any, name: str, scalar: bool) -> np.ndarray:
    array = host_numbers(value, name)
    if array.ndim > (0 if scalar else 1) or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; pass {'one number' if scalar else 'a list of numbers'}.")
    array = np.atleast_1d(array)
    bad = ~((array >= 0) & (array <= 1))
    if bad.any():
        raise ValueError(f"{name} = {array[bad][0]:g} is outside [0, 1]; pass a value inside.")
    return array
