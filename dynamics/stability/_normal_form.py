"""Whether a Neimark–Sacker bifurcation is super- or subcritical: the first Lyapunov coefficient of a round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from ..rounds import Process
from ._local import slope_at
from ._space import Space, step


@eqx.filter_jit
def _second(process: Process[Any], space: Space, y: Array, u: Array, v: Array) -> Array:
    f = lambda x: step(process, space, x)
    along = lambda x: jax.jvp(f, (x,), (u,))[1]
    return jax.jvp(along, (y,), (v,))[1]


@eqx.filter_jit
def _third(process: Process[Any], space: Space, y: Array, u: Array, v: Array, w: Array) -> Array:
    f = lambda x: step(process, space, x)
    along = lambda x: jax.jvp(lambda s: jax.jvp(f, (s,), (u,))[1], (x,), (v,))[1]
    return jax.jvp(along, (y,), (w,))[1]


def _multilinear(form: Callable[..., Array], *vectors: Complex[np.ndarray, " n"]) -> Complex[np.ndarray, " n"]:
    """A real multilinear form at complex vectors, by expanding each in its real and imaginary part."""
    total = np.zeros(len(vectors[0]), dtype=complex)
    for bits in np.ndindex(*([2] * len(vectors))):
        parts = [np.imag(v) if bit else np.real(v) for v, bit in zip(vectors, bits, strict=True)]
        if all(np.any(part) for part in parts):
            total += 1j ** sum(bits) * np.asarray(form(*map(jnp.asarray, parts)))
    return total


def first_lyapunov_coefficient(process: Process[Any], space: Space, point: Float[np.ndarray, " m"]) -> float | None:
    """½ Re e^{-iθ}[⟨p,C(q,q,q̄)⟩ + 2⟨p,B(q,(I-A)⁻¹B(q,q̄))⟩ + ⟨p,B(q̄,(e^{2iθ}I-A)⁻¹B(q,q))⟩] for |q| = ⟨p,q⟩ = 1.

    A, B and C are the first three derivatives of one round at the fixed point, e^{iθ} its leading eigenvalue, q and p the
    right and left eigenvectors. If it is negative, the bifurcation is supercritical (a small attracting orbit appears beyond
    it); if positive, subcritical (a jump with hysteresis). None at a strong resonance (θ a multiple of pi/2 or 2pi/3), where
    the sign does not decide.
    """
    y = jnp.asarray(point)
    A = np.asarray(slope_at(process, space, y))
    values, right = np.linalg.eig(A)
    lead = int(np.argmax(np.abs(values) * (np.imag(values) > 0)))
    eigenvalue = values[lead] / abs(values[lead])
    if min(abs(eigenvalue**n - 1) for n in (1, 2, 3, 4)) < 1e-6:
        return None
    q = right[:, lead] / np.linalg.norm(right[:, lead])
    left_values, left = np.linalg.eig(A.T)
    p = left[:, int(np.argmin(np.abs(left_values - values[lead].conj())))]
    p = p / np.vdot(p, q).conj()
    B = lambda u, v: _multilinear(lambda a, b: _second(process, space, y, a, b), u, v)
    C = lambda u, v, w: _multilinear(lambda a, b, c: _third(process, space, y, a, b, c), u, v, w)
    identity = np.eye(len(A))
    mean = np.linalg.solve(identity - A, B(q, q.conj()))
    double = np.linalg.solve(eigenvalue**2 * identity - A, B(q, q))
    inner = np.vdot(p, C(q, q, q.conj()) + 2 * B(q, mean) + B(q.conj(), double))
    return float(0.5 * (np.conj(eigenvalue) * inner).real)
