"""A fixed point followed along a parameter by pseudo-arclength continuation, which also goes around folds."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._parameters import replace
from ..rounds import Process
from ._ends import BranchEnd
from ._space import Space, space_of, step

MAX_CORRECTIONS = 12


@dataclasses.dataclass(frozen=True)
class Scale:
    """The coordinate of a parameter along a branch: its logarithm for positive parameters, the value itself for shares."""

    log: bool

    def inward(self, value: float) -> float:
        return float(np.log(value)) if self.log else float(value)

    def outward(self, s: float) -> float:
        return float(np.exp(s)) if self.log else float(s)


@dataclasses.dataclass(frozen=True)
class Point:
    """A fixed point on a branch: (point of the state, parameter), the tangent there, and the eigenvalues of the round."""

    x: np.ndarray
    tangent: np.ndarray
    eigenvalues: np.ndarray

    @property
    def s(self) -> float:
        return float(self.x[-1])

    @property
    def radius(self) -> float:
        return float(np.abs(self.eigenvalues).max())


@eqx.filter_jit
def _system(
    process: Process[Any], space: Space, path: str, log: bool, x: Float[Array, " n"]
) -> tuple[Array, Array, Array]:
    """F(y) - y, its derivative with respect to (point, parameter), and the Jacobian of the round."""

    def advance(x: Array) -> Array:
        value = jnp.exp(x[-1]) if log else x[-1]
        return step(replace(process, {path: value}), space, x[:-1])

    moved, slope = advance(x), jax.jacfwd(advance)(x)
    return moved - x[:-1], slope.at[:, :-1].add(-jnp.eye(x.shape[0] - 1)), slope[:, :-1]


class Branch:
    """The curve of fixed points of a process along a parameter.

    Args:
        process: a deterministic round map.
        path: full path of the parameter.
        log: whether the coordinate along the branch is the parameter's logarithm.
    """

    def __init__(self, process: Process[Any], path: str, log: bool):
        self.process, self.path, self.scale, self.space = process, path, Scale(log), space_of(process)
        self.eps = float(jnp.finfo(jnp.zeros(()).dtype).eps)

    def system(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return jax.tree.map(np.asarray, _system(self.process, self.space, self.path, self.scale.log, jnp.asarray(x)))

    def correct(self, x: np.ndarray, normal: np.ndarray) -> Point | None:
        """The fixed point near ``x`` in the plane through it with this normal; None where Newton's method does not converge."""
        plane = float(normal @ x)
        for _ in range(MAX_CORRECTIONS):
            g, slope, jacobian = self.system(x)
            full = np.vstack([slope, normal])
            rhs = np.append(-g, plane - normal @ x)
            if not np.isfinite(full).all() or not np.isfinite(rhs).all():
                return None
            try:
                change = np.linalg.solve(full, rhs)
            except np.linalg.LinAlgError:
                return None
            x = x + change
            if np.abs(change).max() <= max(1e-12, 64 * self.eps) * (1 + np.abs(x).max()):
                tangent = self._tangent(full, normal)
                return None if tangent is None else Point(x, tangent, np.linalg.eigvals(jacobian))
        return None

    @staticmethod
    def _tangent(full: np.ndarray, normal: np.ndarray) -> np.ndarray | None:
        try:
            tangent = np.linalg.solve(full, np.append(np.zeros(len(full) - 1), 1.0))
        except np.linalg.LinAlgError:
            return None
        return tangent / np.linalg.norm(tangent) * np.sign(tangent @ normal)

    def at(self, point: np.ndarray, value: float) -> Point | None:
        """The fixed point near ``point`` at this value of the parameter, with a tangent towards larger values."""
        x = np.append(point, self.scale.inward(value))
        return self.correct(x, np.eye(len(x))[-1])

    def walk(self, start: Point, direction: int, low: float, high: float, limit: int = 4000) -> Iterator[Point]:
        """Points along the branch from ``start`` (excluded) towards larger (+1) or smaller (-1) values, up to a bound.

        The last point lies on the bound. Where even the shortest steps do not converge, or after ``limit`` points, the walk
        ends early with a warning.
        """
        here = dataclasses.replace(start, tangent=start.tangent * direction * np.sign(start.tangent[-1] or 1.0))
        # Lengths are measured relative to the size of the state, since 1/(beta (1-alpha)) spans many decades.
        length = 0.02
        for _ in range(limit):
            while True:
                unit = np.append(np.full(len(here.x) - 1, 1.0 + np.abs(here.x[:-1]).max()), max(high - low, 1e-12))
                ahead = here.tangent / np.linalg.norm(here.tangent / unit)
                there = self._toward(here.x + length * ahead, here.tangent, low, high)
                if there is not None and self._smooth(here, there, unit, length):
                    break
                length /= 2
                if length < max(1e-9, 16 * self.eps):
                    self._warn(here)
                    return
            yield there
            if there.s in (low, high):
                return
            here, length = there, min(1.4 * length, 0.02)
        self._warn(here)

    def _warn(self, here: Point) -> None:
        warnings.warn(BranchEnd(self.path, self.scale.outward(here.s)), stacklevel=2)

    def _toward(self, x: np.ndarray, tangent: np.ndarray, low: float, high: float) -> Point | None:
        if low <= x[-1] <= high:
            there = self.correct(x, tangent)
            if there is None or low <= there.s <= high:
                return there
        bound = low if x[-1] < (low + high) / 2 else high
        edge = np.append(x[:-1], bound)
        there = self.correct(edge, np.eye(len(x))[-1])
        if there is None:
            return None
        # On the bound the plane is s = const; set the parameter to the bound exactly and keep the direction of the tangent.
        return dataclasses.replace(
            there, x=np.append(there.x[:-1], bound), tangent=there.tangent * np.sign(tangent @ there.tangent)
        )

    @staticmethod
    def _smooth(here: Point, there: Point, unit: np.ndarray, length: float) -> bool:
        a, b = here.tangent / unit, there.tangent / unit
        cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        far = np.linalg.norm((there.x - here.x) / unit)
        calm = abs(np.log(max(there.radius, 1e-3) / max(here.radius, 1e-3))) < 0.15
        return bool(cosine > 0.9 and far < 2.5 * length and (calm or length < 1e-6))
