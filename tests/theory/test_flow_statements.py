"""Statements 3.1, 3.3, 3.7 and 3.8 of docs/theory/flow.md, where no theorem object states them."""

from __future__ import annotations

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from scipy.special import expit

import dynamics as dyn

SLOPES = {
    "DPO": lambda r, beta: -expit(-r),
    "SquaredMargin": lambda r, beta: 2 * (r - 1),
    "IPO": lambda r, beta: 2 * (r - 0.5) / beta**2,
}


def at(ts):
    return diffrax.SaveAt(ts=jnp.asarray(ts, float))


def run(objective, g, chosen, rejected, ts, weights=None):
    flow = dyn.MarginFlow(g, chosen, rejected, objective, weights=weights)
    return np.asarray(dyn.gradient_flow(flow, ts[-1], saveat=at(ts)).reward_margin)


@pytest.mark.parametrize("beta", [1e-2, 0.3, 5.0])
def test_losses_and_slopes_of_the_four(beta):
    h = np.concatenate([np.random.default_rng(0).normal(size=20) / beta, [0.0, -700.0 / beta, 700.0 / beta]])
    r = beta * h
    losses = {
        dyn.DPO: (np.logaddexp(0.0, -r), -expit(-r)),
        dyn.SquaredMargin: ((r - 1) ** 2, 2 * (r - 1)),
        dyn.IPO: ((h - 1 / (2 * beta)) ** 2, 2 / beta * (h - 1 / (2 * beta))),
        dyn.SLiC: (np.maximum(0.0, 1 - r), -(r < 1).astype(float)),
    }
    for kind, (loss, slope) in losses.items():
        np.testing.assert_allclose(kind(beta).loss(jnp.asarray(r)), loss, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(kind(beta).slope(jnp.asarray(r)), slope, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("beta", [0.1, 1.0, 3.0])
def test_squared_margin_is_ipo_at_half_beta_on_another_clock(beta):
    rng = np.random.default_rng(1)
    g, chosen = rng.normal(size=(12, 3)), rng.integers(0, 3, 12)
    pairs = g, chosen, (chosen + rng.integers(1, 3, 12)) % 3
    ts = np.array([0.3, 2.0, 30.0]) / beta**2
    ours = dyn.gradient_flow(dyn.MarginFlow(*pairs, dyn.SquaredMargin(beta)), ts[-1], saveat=at(ts))
    clock = beta**2 * ts
    other = dyn.gradient_flow(dyn.MarginFlow(*pairs, dyn.IPO(beta / 2)), clock[-1], saveat=at(clock))
    np.testing.assert_allclose(ours.head_change, other.head_change, rtol=1e-9)
    np.testing.assert_allclose(ours.reward_margin, 2 * other.reward_margin, rtol=1e-9, atol=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("shared", [False, True], ids=["own tokens", "shared tokens"])
@pytest.mark.parametrize("l_b", [0.0, 2.0])
def test_noiseless_clusters_move_as_one_at_two_beta_squared_over_K(l_b, shared):
    K, Q, beta = 3, 2, 0.7
    sign, pair = np.tile([1, 1, -1, -1], K), np.repeat(np.arange(K), 2 * Q)
    g = sign[:, None] * np.eye(K + 1)[pair] + l_b * np.eye(K + 1)[K]
    token = np.zeros(len(pair), int) if shared else 2 * pair
    pairs = g, token + (sign < 0), token + (sign > 0)
    ts = np.array([0.2, 1.0, 3.0, 100.0])
    x = 2 * beta**2 / K * ts
    expected = {
        dyn.DPO: np.log(scipy.special.lambertw(np.exp(1 + x)).real),
        dyn.SquaredMargin: 1 - np.exp(-2 * x),
        dyn.IPO: (1 - np.exp(-2 * x / beta**2)) / 2,
        dyn.SLiC: np.minimum(x, 1.0),
    }
    for kind, r in expected.items():
        np.testing.assert_allclose(run(kind(beta), *pairs, ts), np.tile(r[:, None], len(g)), rtol=1e-7, atol=1e-9)


def gaussian_behaviour(length, v, nodes=240):
    """One behaviour on a line, classes N(±length, v²) as the nodes of a rule, with flipped labels; and the true answer."""
    z, weights = np.polynomial.hermite_e.hermegauss(nodes)
    kept = weights > 1e-30 * weights.max()
    sign = np.repeat([1, -1], kept.sum())
    g = sign * length + v * np.tile(z[kept], 2)
    return g[:, None], (sign > 0).astype(int), (sign < 0).astype(int), np.tile(weights[kept], 2)


@pytest.mark.thorough
@pytest.mark.parametrize("delta", [0.3, 1.0, 4.0])
def test_flipped_labels_undo_margins_at_the_square_of_delta(delta):
    beta, b = 0.4, 3.0
    sign = np.array([1, 1, -1, -1])
    g = np.stack([sign * delta / 2, np.full(4, b)], axis=1)
    flow = dyn.MarginFlow(g, (sign > 0).astype(int), (sign < 0).astype(int), dyn.DPO(beta))
    R = np.array([1e-3, 0.5, 2.0, 7.0])
    ts = 2 * (R + np.expm1(R)) / (beta * delta) ** 2
    sol = dyn.gradient_flow(flow, ts[-1], saveat=at(ts))
    # Row 0 is "yes", so these are the margins of the flipped labels: minus those of the true ones.
    np.testing.assert_allclose(sol.reward_margin, np.tile(R[:, None], 4), rtol=1e-6)
    velocity = np.asarray(flow.velocity(flow.start(None), flow.prepare()).margin)
    assert velocity.mean() == pytest.approx(beta**2 * delta**2 / 4, rel=1e-12)
    early = dyn.gradient_flow(flow, 1e-9, saveat=at([1e-9]))
    assert float(early.head_change[0]) == pytest.approx(np.sqrt(2) / 4 * beta * delta * 1e-9, rel=1e-6)


def test_with_noise_a_more_distinguishable_behaviour_begins_faster_and_may_end_slower():
    beta, times = 1.0, {}
    for length, early, late in ((1.0, 1.3868515, 17613.2), (1.3, 0.8138373, 32500.7)):
        g, chosen, rejected, weights = gaussian_behaviour(length, 0.25)
        r = run(dyn.DPO(beta), g, chosen, rejected, [early, late], weights)
        mean = r @ (weights / weights.sum())
        # The equation of 3.7 C, integrated by quadrature, puts these times at margins 1 and 14.
        np.testing.assert_allclose(mean, [1.0, 14.0], rtol=1e-4)
        times[length] = early, late
    assert times[1.3][0] < times[1.0][0]
    assert times[1.3][1] > times[1.0][1]


def test_aligned_heads_are_undone_in_the_time_they_took():
    rng = np.random.default_rng(2)
    g, chosen = rng.normal(size=(10, 3)), rng.integers(0, 2, 10)
    there = dyn.gradient_flow(dyn.MarginFlow(g, chosen, 1 - chosen, dyn.DPO(0.5)), 7.0, saveat=at([7.0]))
    back = dyn.gradient_flow(dyn.MarginFlow(g, 1 - chosen, chosen, dyn.DPO(0.5)), 7.0, saveat=at([7.0]))
    np.testing.assert_allclose(there.coefficient, back.coefficient, rtol=1e-12)


def jacobian(force, z, step=1e-4):
    shifts = step * np.eye(len(z))
    return (
        np.array([(8 * (force(z + e) - force(z - e)) - force(z + 2 * e) + force(z - 2 * e)) / 12 for e in shifts]).T
        / step
    )


@pytest.mark.thorough
@pytest.mark.parametrize("kind", SLOPES)
@pytest.mark.parametrize("beta", [0.05, 0.5])
@pytest.mark.parametrize("K", [2, 3, 5])
def test_fixed_points_attract_on_policy(kind, beta, K):
    """Statements 3.8 D and E, at policies made fixed by the choice of the reference."""
    rng = np.random.default_rng(10 * K + int(100 * beta))
    objective, f = getattr(dyn, kind)(beta), SLOPES[kind]
    for size in (0.3, 1.0, 4.0):
        p = scipy.special.softmax(rng.normal(size=K))
        raw = size * rng.normal(size=(K, K))
        P = expit(raw - raw.T)
        reward = np.asarray(objective.implicit_reward(P, np.log(p)))
        ref = scipy.special.log_softmax(np.log(p) - reward / beta)
        flow = dyn.PreferenceFlow(dyn.Tabular(K), P, objective, dyn.samplers.OnPolicy(), log_reference=ref)
        force = lambda x, flow=flow: np.asarray(flow.velocity(flow.start(x)).parameters)
        np.testing.assert_allclose(force(np.log(p)), 0.0, atol=1e-9)
        J = jacobian(force, np.log(p))
        # -2 beta (B + beta L): B_kj = p_k (P_kj f'(r_kj) - P_jk f'(r_jk)) p_j, L of p_k (P_kj f''(r_kj) + P_jk f''(r_jk)) p_j.
        r, step = reward[:, None] - reward, 1e-5
        curve = (f(r + step, beta) - f(r - step, beta)) / (2 * step)
        pairs = p[:, None] * p
        B = pairs * (P * f(r, beta) - P.T * f(-r, beta))
        weights = pairs * (P * curve + P.T * curve.T)
        L = np.diag(weights.sum(axis=1)) - weights
        scale = np.abs(J).max()
        np.testing.assert_allclose(J, -2 * beta * (B + beta * L), atol=1e-6 * scale)
        if kind == "IPO":
            sigma = np.diag(p) - np.outer(p, p)
            np.testing.assert_allclose(J, -4 * (sigma - sigma @ (P - 0.5) @ sigma / beta), atol=1e-6 * scale)
        loop = dyn.SelfSampling(P, objective, alpha=0.0, lam=1.0, log_reference=ref)
        rho = float(dyn.stability.spectral_radius(loop, np.log(p)))
        values = np.linalg.eigvals(J)
        values = values[np.argsort(np.abs(values))[1:]]  # without the constant direction
        assert (values.real < 0).all()
        assert (np.abs(values.imag) <= rho * np.abs(values.real) * (1 + 1e-5) + 1e-7 * scale).all()


@pytest.mark.parametrize("kind", SLOPES)
def test_the_sector_of_the_on_policy_flow_is_attained_at_uniform(kind):
    P, objective = dyn.preferences.cyclic(3, advantage=0.4), getattr(dyn, kind)(0.3)
    flow = dyn.PreferenceFlow(dyn.Tabular(3), P, objective, dyn.samplers.OnPolicy())
    values = np.linalg.eigvals(jacobian(lambda z: np.asarray(flow.velocity(flow.start(z)).parameters), np.zeros(3)))
    values = values[np.argsort(np.abs(values))[1:]]
    rho = float(
        dyn.stability.spectral_radius(dyn.SelfSampling(P, objective, alpha=0.0, lam=1.0), np.full(3, -np.log(3)))
    )
    np.testing.assert_allclose(np.abs(values.imag), rho * np.abs(values.real), rtol=1e-7)
