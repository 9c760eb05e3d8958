"""Statements on Nash learning from the same preferences (statements 8.1 and 8.2, and the table of section 8)."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _algebra as al
from ._bound import Claim, theorem
from ._inputs import METHODS, normalise
from .source import INTERIOR, Source, log_policy, matrix, positive


def _step(source: Source) -> dict[str, Any]:
    K = source.integer(2, 6)
    return {
        "P": matrix(source, K, INTERIOR),
        "alpha": source.number(0.0, 1.0),
        "beta": positive(source, 1e-2, 1e2),
        "log_reference": log_policy(source, K, (0.0, 1.0, 30.0)),
        "log_initial": log_policy(source, K, (0.0, 1.0, 30.0)),
    }


@theorem(
    number="8.1",
    source="[derived] statement 8.1",
    statement="A round of IPO on the policy's own pairs, alpha > 0, is a step of magnetic mirror descent, z' = "
    "(z + eta tau log ref + eta "
    "P p)/(1 + eta tau), with eta = 1/(alpha beta) and tau = (1-alpha) beta.",
    quantity="C log pi after one round from log_initial at lam = 1, shape (K,)",
    strength="tight",
    build=_step,
    about="ipo",
)
def magnetic_step(
    P: np.ndarray, alpha: float, beta: float, log_reference: np.ndarray, log_initial: np.ndarray
) -> Claim:
    """z' = (z/eta + tau log ref + P p)/(1/eta + tau) with 1/eta = alpha beta, which is 0 at alpha = 0."""
    slowness, tau = alpha * beta, (1 - alpha) * beta
    pull = slowness * log_initial + tau * log_reference
    z = al.centre(pull + P @ np.exp(log_initial)) / (slowness + tau)
    return Claim(z, z)


def _mixed(source: Source) -> dict[str, Any]:
    K = source.integer(2, 5)
    tau = positive(source, 0.3, 1e1)
    return {
        "P": matrix(source, K, INTERIOR),
        "eta": source.number(0.05, 0.9) / tau,
        "tau": tau,
        "log_reference": log_policy(source, K, (0.0, 1.0, 10.0)),
    }


@theorem(
    number="8.2",
    source="[derived] statement 8.2",
    statement="Nash-MD's fixed point at a constant step eta is not the equilibrium regularised at tau: its mixture m is the "
    "one at temperature tau/(1 - eta tau), and z is log ref + P softmax(m)/tau. They agree in special cases, "
    "such as K = 2, C A C = 0 or A ref constant.",
    quantity="C z of the fixed point of Nash-MD, z' = m + eta P softmax(m), m = (1 - eta tau) z + eta tau log ref, shape (K,)",
    strength="tight",
    build=_mixed,
)
def nash_md_limit(P: np.ndarray, eta: float, tau: float, log_reference: np.ndarray) -> Claim:
    """z = m + eta P p(m) in m gives m = log ref + (1 - eta tau) P p(m)/tau, of which there is one solution (7.1)."""
    if eta * tau >= 1 - al.ROUNDING:
        return Claim(np.full(len(P), -np.inf), np.inf, {"eta tau < 1": False})
    p = np.exp(equilibrium(P, tau / (1 - eta * tau), log_reference))
    z = al.centre(log_reference + al.skew(P) @ p / tau)
    return Claim(z, z, {"eta tau < 1": True})


def equilibrium(P: np.ndarray, tau: float, log_reference: np.ndarray) -> np.ndarray:
    """log p of the only solution of z = log ref + A p/tau (7.1), by Newton's method down from high temperatures.

    Raises ``ArithmeticError`` where it is not found.
    """
    A, z = al.skew(P), al.centre(log_reference)
    if tau == np.inf:
        return normalise(z)
    I, before = np.eye(len(P)), np.inf

    def left(z: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The residual of the equation, A p, and minus the residual's slope."""
        p = np.exp(normalise(z))
        slope = I - al.centred(A) @ al.covariance(p) / temperature
        return al.centre(log_reference + A @ p / temperature - z), al.centre(A @ p), slope

    for temperature in np.append(np.geomspace(max(1.0, tau), tau, 1 + _stages(tau)), tau):
        # Along the tangent in 1/tau, then Newton's steps, halved while they do not help.
        _, rates, slope = left(z, before)
        z = al.centre(z + (1 / temperature - 1 / before) * np.linalg.solve(slope, rates))
        before = temperature
        for _ in range(NEWTON):
            residual, _, slope = left(z, temperature)
            step = np.linalg.solve(slope, residual)
            size = np.abs(residual).max()
            better = (
                s for s in 0.5 ** np.arange(8) if np.abs(left(al.centre(z + s * step), temperature)[0]).max() < size
            )
            length = next(better, 0.0)
            z = al.centre(z + length * step)
            if length == 0 or np.abs(step).max() < 1e-14 * (1 + np.abs(z).max()):
                break
    if not np.abs(left(z, tau)[0]).max() <= 1e-10 * (1 + np.abs(z).max()):
        raise ArithmeticError(f"the equilibrium at tau = {tau:g} was not found")
    return normalise(z)


def _stages(tau: float) -> int:
    """Temperatures from 1 down to tau, a factor of 1.2 apart."""
    return max(1, int(np.ceil(np.log(max(1.0, tau) / tau) / np.log(1.2))))


def frequencies(P: np.ndarray, log_pi: np.ndarray) -> np.ndarray:
    """omega_k ≥ 0, ``(K - 1,)``, descending: ± i omega are the eigenvalues of C A Sigma at pi, the gauge's left out."""
    root = np.exp(0.5 * log_pi)
    R = root[:, None] * np.eye(len(P)) - np.exp(log_pi)[:, None] * root[None, :]
    return np.linalg.svd(R.T @ al.skew(P) @ R, compute_uv=False)[: len(P) - 1]


def method_radius(method: str, omega: np.ndarray, eta: float, tau: float) -> float:
    """The spectral radius of a round of ``method`` at its fixed point, where the frequencies are ``omega``, ``(n,)``.

    >>> round(method_radius("mirror", np.array([0.4 / np.sqrt(3)]), 1.0, 0.1) ** 2, 6)
    0.863333
    """
    step, q, pull = 1j * eta * np.asarray(omega), 1 - eta * tau, 1 + eta * tau
    moduli = {
        "mirror": lambda: np.abs(q + step),
        "magnetic": lambda: np.abs(1 + step) / pull,
        "sppo": lambda: np.abs(1 + step),
        "nash-md": lambda: np.abs(q * (1 + step)),
        "extragradient": lambda: np.abs(q + step * (q + step)),
        "mirror-prox": lambda: np.abs(1 + step * (1 + step) / pull) / pull,
        "proximal-point": lambda: 1 / np.abs(1 - 1j * np.asarray(omega) / tau),
        "optimistic": lambda: _optimistic(q + 2 * step, step),
    }[method]
    return float(np.max(moduli()))


def _optimistic(trace: np.ndarray, product: np.ndarray) -> np.ndarray:
    """The larger modulus of the roots of x² - (q + 2ie) x + ie."""
    root = np.sqrt(trace**2 - 4 * product)
    return np.maximum(np.abs(trace + root), np.abs(trace - root)) / 2


def rest_frequencies(method: str, P: np.ndarray, eta: float, tau: float, log_reference: np.ndarray) -> np.ndarray:
    """The frequencies at the fixed point of a method with a magnet; Nash-MD's is that of temperature tau/(1 - eta tau) (8.2).

    Raises ``ArithmeticError`` where it is not found, and for Nash-MD beyond eta tau = 1.
    """
    if method == "nash-md":
        if eta * tau > 1:
            raise ArithmeticError(f"Nash-MD at eta tau = {eta * tau:g} steps beyond the magnet")
        tau = tau / (1 - eta * tau) if eta * tau < 1 else np.inf
    return frequencies(P, equilibrium(P, tau, log_reference))


def critical_step(method: str, P: np.ndarray, tau: float, log_reference: np.ndarray, steps: np.ndarray) -> float:
    """The first eta at which the spectral radius of a method with a magnet is 1, bracketed on ascending ``steps`` and bisected:
    0 where the first of them is unstable already, inf where none is. Raises ``ArithmeticError`` as ``rest_frequencies``.
    """
    # Where A ref is constant every temperature has the same equilibrium, which is then Nash-MD's too, at every step.
    moves = method == "nash-md" and np.ptp(al.skew(P) @ np.exp(log_reference)) > al.ROUNDING
    fixed = None if moves else frequencies(P, equilibrium(P, tau, log_reference))

    def unstable(eta: float) -> bool:
        omega = rest_frequencies(method, P, eta, tau, log_reference) if fixed is None else fixed
        return method_radius(method, omega, eta, tau) >= 1

    tried = steps[steps * tau <= 1] if moves else steps
    above = next((k for k, eta in enumerate(tried) if unstable(float(eta))), None)
    if above is None:
        return np.inf
    if above == 0:
        return 0.0
    low, high = np.log(tried[above - 1 : above + 1])
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if unstable(float(np.exp(middle))) else (middle, high)
    return float(np.exp((low + high) / 2))


NEWTON = 60  # steps at each temperature
BISECTIONS = 60
EXPLICIT = ("mirror", "nash-md", "extragradient", "optimistic")  # which need eta tau ≤ 1
WITHOUT_MAGNET = ("sppo", "proximal-point")  # whose fixed points are those with A p constant


def _of_method(source: Source) -> dict[str, Any]:
    method, K = source.choice(METHODS), source.choice((3, 4))
    fixed = method in WITHOUT_MAGNET
    tau = positive(source, 1e-2, 1e1)
    eta = source.number(0.01, 0.99) / tau if method in EXPLICIT else positive(source, 1e-2, 1e2)
    reference = np.full(K, -np.log(K)) if fixed else log_policy(source, K, (0.0, 1.0, 10.0))
    P = matrix(source, K, ("regular",) if fixed else INTERIOR)
    return {"P": P, "eta": eta, "tau": tau, "log_reference": reference, "method": method}


@theorem(
    number="8",
    source="[derived] section 8",
    statement="At the fixed point a round has spectral radius |q + ie| (mirror descent), |1 + ie|/(1 + eta tau) (magnetic), "
    "|1 + ie| (SPPO), q|1 + ie| (Nash-MD), |q + ie(q + ie)| (extragradient), |1 + ie(1 + ie)/(1 + eta tau)|/(1 + eta tau) "
    "(mirror prox), 1/|1 - i omega/tau| (proximal point), or is the larger root of x² - (q + 2ie) x + ie (optimistic), the "
    "largest over ± i omega in the spectrum of C A Sigma; e = eta omega, q = 1 - eta tau. C A Sigma is taken at "
    "the fixed point, for Nash-MD at its mixture.",
    quantity="spectral radius of a round of ``method`` at its fixed point",
    strength="tight",
    build=_of_method,
)
def roster_radius(P: np.ndarray, eta: float, tau: float, log_reference: np.ndarray, method: str) -> Claim:
    """Every round is affine in z and P softmax(z), whose derivative on centred logits is C A Sigma. SPPO and the proximal point
    rest where A p is constant: here at the uniform policy, if A1 = 0.
    """
    assumptions = {"eta tau ≤ 1": bool(method not in EXPLICIT or eta * tau <= 1)}
    if method in WITHOUT_MAGNET:
        assumptions["A1 = 0"] = bool(np.abs(al.skew(P).sum(axis=1)).max() <= al.ROUNDING)
    if not all(assumptions.values()):
        return Claim(0.0, np.inf, assumptions)
    if method in WITHOUT_MAGNET:
        omega = frequencies(P, np.full(len(P), -np.log(len(P))))
    else:
        omega = rest_frequencies(method, P, eta, tau, log_reference)
    radius = method_radius(method, omega, eta, tau)
    return Claim(radius, radius, assumptions)
