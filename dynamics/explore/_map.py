"""The map that a setting is a point of: where the fixed point loses stability, and what is proven."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from .. import oracle
from ._setting import EXPLICIT, Constants, Setting, corrected, effective

LEAST, MOST = 0.1, 300.0  # of lam/beta on the map of IPO and DPO
ALPHAS = 1 - np.geomspace(1.0, 0.005, 60)
FIRST, LAST = 0.05, 2e3  # of s on the curve, the last over lam
STEP, COARSE = 0.06, 0.2  # in log s, near a boundary and far from it
CORRECTIONS, NEAR, MOST_MOVED = 8, 1e-9, 0.15  # of a point; the last of a probability from one point to the next
FINE = np.linspace(0, 0.995, 200)  # of formulas
TAUS = np.geomspace(1e-3, 1.0, 40)
WARM = np.geomspace(1e-3, 30.0, 80)  # temperatures of equilibria
ETAS = np.geomspace(0.03, 100.0, 200)
NOTHING = np.array([])
NO_BOUNDARY = "no boundary: where an equilibrium of full support exists, every start converges [derived section 8]"


class Map(NamedTuple):
    """The result of ``stability_map``: where the fixed point loses stability.

    Attributes:
        kind: "rounds" (x = alpha, y = lam/beta), "game" (x = tau, y = eta) or "none".
        note: what else there is to say; may be empty.
        x, edge: the boundary; stable below ``edge``, where stability is first lost: it may come back beyond.
        fine: x of the formulas below; empty for DPO and games.
        everyone: below it every start converges for every P (7.15).
        matrix: below it every start converges for this P (7.2 and 7.15).
        local: below it the fixed point attracts for every P (7.14).
    """

    kind: Literal["rounds", "game", "none"]
    note: str
    x: np.ndarray = NOTHING
    edge: np.ndarray = NOTHING
    fine: np.ndarray = NOTHING
    everyone: np.ndarray = NOTHING
    matrix: np.ndarray = NOTHING
    local: np.ndarray = NOTHING


def proven_beta(P: np.ndarray, alpha: np.ndarray, lam: float) -> np.ndarray:
    """lam · min(‖CAC‖₂/(2 √(1 - alpha²)), D/(4 √(1 - alpha))), above which IPO's rounds converge for this P; inf at alpha = 1.

    Source: [derived] statements 7.2 and 7.15.

    >>> proven_beta(np.asarray(dyn.preferences.cyclic(3, 0.4)), np.array([0.0]), 1.0).round(6).tolist()
    [0.3]
    """
    A, alpha = np.asarray(P, np.float64) - 0.5, np.asarray(alpha, np.float64)
    norm = np.linalg.norm(A - A.mean(axis=0) - A.mean(axis=1)[:, None] + A.mean(), 2)
    span = np.ptp(A[:, None] - A[None], axis=2).max()
    with np.errstate(divide="ignore", invalid="ignore"):
        found = lam * np.minimum(norm / (2 * np.sqrt((1 - alpha) * (1 + alpha))), span / (4 * np.sqrt(1 - alpha)))
    return np.where(alpha == 1, np.inf, found)


def frequencies(P: np.ndarray, temperatures: np.ndarray) -> np.ndarray:
    """The largest omega at the regularised equilibrium of each temperature, ``(N,)``; NaN where that was not found."""
    found, z = np.full(len(temperatures), np.nan), np.zeros(len(P))
    for n in np.argsort(-temperatures):
        here = Constants("ipo", 0.0, 1.0, float(temperatures[n]))
        root = corrected(P, here, z)
        if root is not None:
            loop, z = oracle.Rounds(P[None], *here), root
            found[n] = np.abs(np.linalg.eigvals(loop.slope(z[None])[0])).max() * temperatures[n]
    return found


def squared_radius(method: str, eta: np.ndarray, T: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """The squared radius of section 8; T is the temperature of the equilibrium, for Nash-MD that of its mixture."""
    e, pull = eta * omega, eta * T
    if method == "nash_md":
        return (1 + e**2) / (1 + pull) ** 2
    if method == "egpo":
        return np.where(pull > 1, np.inf, (1 - pull - e**2) ** 2 + ((1 - pull) * e) ** 2)
    return np.abs(1 + 1j * e * (1 + 1j * e) / (1 + pull)) ** 2 / (1 + pull) ** 2


def stability_map(setting: Setting) -> Map:
    """The boundary of stability in the plane of alpha and lam/beta, or of tau and eta, with what is proven for IPO.

    It depends on the matrix, the method and lam only; an entropy weight or a step of mirror descent moves the point.

    >>> cyclic = dyn.explore.Setting(np.asarray(dyn.preferences.cyclic(3, 0.2)))
    >>> found = dyn.explore.stability_map(cyclic)
    >>> found.kind, round(float(found.edge[0]), 2)  # lam/beta at alpha = 0: 3/(a √3)
    ('rounds', 8.66)
    """
    here = effective(setting)
    if here is None:
        if setting.method == "proximal_point":
            return Map("none", NO_BOUNDARY)
        return _game_map(setting)
    if here.lam == 0:
        return Map("none", "lam = 0: rounds are linear and settle if alpha < 1")
    edge, lost = _edge(setting.P, here.objective, here.lam)
    note = "the curve of fixed points was lost on the way; above the boundary nothing is known" if lost else ""
    if here.objective == "dpo":
        return Map("rounds", note, ALPHAS, edge)
    one = np.array(1.0)
    with np.errstate(divide="ignore"):
        everyone, local = 1 / oracle.proven_everywhere(FINE, one), 1 / oracle.stable_everywhere(FINE, one)
        matrix = np.maximum(1 / proven_beta(setting.P, FINE, 1.0), everyone)
    return Map("rounds", note, ALPHAS, edge, FINE, everyone, np.minimum(matrix, MOST), local)


def _edge(P: np.ndarray, objective: oracle.Objective, lam: float) -> tuple[np.ndarray, bool]:
    """lam/beta at which each of ``ALPHAS`` first loses stability, and whether the curve of fixed points was lost on the way.

    At s = 1/(beta (1 - alpha)) the eigenvalues are alpha + (1 - alpha) m, those of s ∂f/∂z being m, so that the moduli are
    below 1 for 1 - alpha < min 2 (1 - Re m)/|1 - m|² [derived, from 7.1]: one curve over s serves every alpha.
    """
    loop, K = oracle.Rounds(P[None], objective, 0.0, lam, 1.0), len(P)
    basis = np.linalg.qr(np.eye(K) - 1.0 / K)[0][:, : K - 1]
    z, f, log_s, share = np.zeros((1, K)), None, math.log(FIRST), np.inf
    known, shares, lost = [], [], False
    while log_s < math.log(LAST / lam) and share > 1 - ALPHAS[-1]:
        s, before = math.exp(log_s), np.exp(z - z.max())
        for _ in range(CORRECTIONS):
            f = loop.reward(z, f)
            slope = s * loop.reward_slope(z, f)
            change = np.linalg.solve(np.eye(K) - slope[0], (s * f - z)[0])
            z = z + change
            if not np.isfinite(change).all() or np.abs(change).max() <= NEAR * (1 + np.abs(z).max()):
                break
        after = np.exp(z - z.max())
        moved = np.abs(after / after.sum() - before / before.sum()).max()
        lost = bool(not np.abs(change).max() <= NEAR * (1 + np.abs(z).max()) or (known and moved > MOST_MOVED))
        if lost:
            break
        m = np.linalg.eigvals(basis.T @ slope[0] @ basis)
        share = float((2 * (1 - m.real) / np.abs(1 - m) ** 2).min())
        known.append(log_s)
        shares.append(share)
        log_s += COARSE if share > 1.5 else STEP
    # The first s at which the share is down to 1 - alpha, between two points of the curve.
    lowest = np.minimum.accumulate(shares)
    at = np.interp(-(1 - ALPHAS), -lowest, known, right=np.inf, left=-np.inf)
    end = math.exp(known[-1]) if lost else np.inf
    return np.clip(lam * np.minimum(np.exp(at), end) * (1 - ALPHAS), 0.0, MOST), lost


def _game_map(setting: Setting) -> Map:
    """eta at which the radius of section 8 reaches 1, for temperatures of the equilibrium."""
    steps, T = ETAS[None], TAUS[:, None]
    if setting.method == "nash_md":
        with np.errstate(divide="ignore"):
            T = np.where(steps * T < 1, T / (1 - steps * T), np.inf)
    # From the warmest on the equilibrium is next to uniform, and omega is constant.
    omega = np.interp(np.log(T), np.log(WARM), frequencies(setting.P, WARM))
    with np.errstate(invalid="ignore", over="ignore"):
        size = squared_radius(setting.method, steps, T, omega)
    size = np.where(steps * TAUS[:, None] < 1, size, np.inf) if setting.method in EXPLICIT else size
    first = np.where((size >= 1).any(axis=1), (size >= 1).argmax(axis=1), len(ETAS) - 1)
    first = np.maximum(first, 1)
    rows = np.arange(len(TAUS))
    # Between two steps the logarithm of the radius is taken as linear in that of the step.
    low, high = np.log(size[rows, first - 1]), np.log(np.minimum(size[rows, first], 1e9))
    share = np.where(high > 0, np.clip(-low / (high - low), 0, 1), 1.0)
    edge = ETAS[first - 1] * (ETAS[first] / ETAS[first - 1]) ** share
    note = "next to eta tau = 1 it is stable again, in a strip that is not drawn" if setting.method == "nash_md" else ""
    return Map("game", note, TAUS, edge)
