"""Gradient flow of policies, against the loss itself, closed forms and the discrete twin."""

import diffrax
import jax
import jax.numpy as jnp
import margin_oracles as oracles
import numpy as np
import optax
import pytest
import scipy.linalg
import scipy.special

import dynamics as dyn
from dynamics import samplers

OBJECTIVES = {"DPO": dyn.DPO, "IPO": dyn.IPO, "SquaredMargin": dyn.SquaredMargin}
P4 = np.array([[0.5, 0.8, 0.3, 0.6], [0.2, 0.5, 0.9, 0.7], [0.7, 0.1, 0.5, 0.55], [0.4, 0.3, 0.45, 0.5]])
PHI = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.5], [0.3, -2.0]])


def logs(*weights):
    return np.log(np.array(weights) / np.sum(weights))


def at(*ts):
    return diffrax.SaveAt(ts=jnp.asarray(ts, float))


SAMPLERS = {
    "fixed": samplers.Fixed(logs(4, 3, 2, 1)),
    "on-policy": samplers.OnPolicy(),
    "mixture": samplers.Mixture(0.3, logs(1, 1, 2, 4)),
}


@pytest.mark.thorough
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize("policy", [dyn.Tabular(4), dyn.LogLinear(PHI)], ids=["tabular", "log-linear"])
def test_velocity_is_the_negative_gradient_by_loops_and_by_autodiff(policy, kind, sampler):
    ref = logs(1, 2, 3, 4)
    flow = dyn.PreferenceFlow(policy, P4, OBJECTIVES[kind](0.3), SAMPLERS[sampler], log_reference=ref)
    theta = np.random.default_rng(0).normal(size=policy.start().shape)
    z = theta if isinstance(policy, dyn.Tabular) else PHI @ theta
    log_pi = scipy.special.log_softmax(z)
    mu = {
        "fixed": np.array([0.4, 0.3, 0.2, 0.1]),
        "on-policy": np.exp(log_pi),
        "mixture": 0.3 * np.exp(log_pi) + 0.7 * np.array([1, 1, 2, 4]) / 8,
    }[sampler]
    force = oracles.policy_force(kind, P4, log_pi - ref, mu, 0.3)
    expected = force if isinstance(policy, dyn.Tabular) else PHI.T @ force
    state = flow.start(theta)
    np.testing.assert_allclose(flow.velocity(state).parameters, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(-jax.grad(flow.loss)(jnp.asarray(theta)), expected, rtol=1e-11, atol=1e-12)


def test_tabular_velocities_are_statement_3_8():
    mu, beta = np.array([0.4, 0.3, 0.2, 0.1]), 0.3
    z = np.random.default_rng(1).normal(size=4)
    h = z - z.mean()  # the reference is uniform
    ipo = -4 * mu * (h - mu @ h - (P4 @ mu - 0.5) / beta)
    dpo = 2 * beta * mu * (P4 @ mu - scipy.special.expit(beta * (h[:, None] - h[None, :])) @ mu)
    for objective, expected in ((dyn.IPO(beta), ipo), (dyn.DPO(beta), dpo)):
        flow = dyn.PreferenceFlow(dyn.Tabular(4), P4, objective, samplers.Fixed(np.log(mu)))
        np.testing.assert_allclose(flow.velocity(flow.start(z)).parameters, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.thorough
def test_tabular_ipo_flow_is_its_closed_form_with_its_constant():
    mu, beta, ref = np.array([0.4, 0.3, 0.2, 0.1]), 0.3, logs(1, 2, 3, 4)
    flow = dyn.PreferenceFlow(dyn.Tabular(4), P4, dyn.IPO(beta), samplers.Fixed(np.log(mu)), log_reference=ref)
    start = np.array([0.2, -1.0, 0.5, 1.3])
    ts = [0.0, 0.1, 1.0, 10.0, 1000.0]
    sol = dyn.gradient_flow(flow, ts[-1], initial=start, saveat=at(*ts))
    M = 4 * (np.diag(mu) - np.outer(mu, mu))
    b = 4 * mu * (P4 @ mu - 0.5) / beta
    # z' = -M (z - ref) + b; the augmented matrix carries the constant direction, along which nothing moves.
    augmented = np.zeros((5, 5))
    augmented[:4, :4], augmented[:4, 4] = -M, M @ ref + b
    for t, z in zip(ts, np.asarray(sol.parameters), strict=True):
        expected = (scipy.linalg.expm(augmented * t) @ np.append(start, 1.0))[:4]
        np.testing.assert_allclose(z, expected, rtol=1e-7, atol=1e-7)
        assert z.sum() == pytest.approx(start.sum(), abs=1e-12)
    optimum = dyn.IPO(beta).optimum(P4, np.log(mu), ref)
    np.testing.assert_allclose(sol.log_policy[-1], optimum, atol=1e-7)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["DPO", "IPO"])
def test_fixed_sampler_flows_end_at_the_optimum(kind):
    log_mu = logs(4, 3, 2, 1)
    objective = OBJECTIVES[kind](0.5)
    flow = dyn.PreferenceFlow(dyn.Tabular(4), P4, objective, samplers.Fixed(log_mu))
    sol = dyn.gradient_flow(flow, 2000.0, saveat=at(2000.0))
    np.testing.assert_allclose(sol.log_policy[-1], objective.optimum(P4, log_mu, np.full(4, -np.log(4))), atol=1e-7)
    half = dyn.gradient_flow(flow, 3.0)
    rest = dyn.gradient_flow(flow, 7.0, t0=3.0, initial=half.final, saveat=at(7.0))
    whole = dyn.gradient_flow(flow, 7.0, saveat=at(7.0))
    np.testing.assert_allclose(rest.log_policy, whole.log_policy, atol=1e-7)


def test_squared_margin_has_the_optimum_of_ipo_at_half_beta():
    log_mu, uniform = logs(4, 3, 2, 1), np.full(4, -np.log(4))
    flow = dyn.PreferenceFlow(dyn.Tabular(4), P4, dyn.SquaredMargin(0.8), samplers.Fixed(log_mu))
    sol = dyn.gradient_flow(flow, 500.0, saveat=at(500.0))
    np.testing.assert_allclose(sol.log_policy[-1], dyn.IPO(0.4).optimum(P4, log_mu, uniform), atol=1e-7)


@pytest.mark.thorough
def test_contexts_are_weighted_and_share_theta():
    rng = np.random.default_rng(2)
    phi, P = rng.normal(size=(3, 4, 2)), np.stack([P4, P4.T, P4])
    weights = np.array([1.0, 2.0, 5.0])
    theta = rng.normal(size=2)
    flow = dyn.PreferenceFlow(dyn.LogLinear(phi), P, dyn.DPO(0.3), samplers.OnPolicy(), weights=weights)
    total = np.zeros(2)
    for x in range(3):
        one = dyn.PreferenceFlow(dyn.LogLinear(phi[x]), P[x], dyn.DPO(0.3), samplers.OnPolicy())
        total += weights[x] / 8 * np.asarray(one.velocity(one.start(theta)).parameters)
    np.testing.assert_allclose(flow.velocity(flow.start(theta)).parameters, total, rtol=1e-12)
    tabular = dyn.PreferenceFlow(dyn.Tabular(4), P, dyn.DPO(0.3), samplers.OnPolicy(), weights=weights)
    sol = dyn.gradient_flow(tabular, 2.0)
    assert sol.log_policy.shape == (101, 3, 4)
    alone = dyn.PreferenceFlow(dyn.Tabular(4), P4, dyn.DPO(0.3), samplers.OnPolicy())
    slower = dyn.gradient_flow(alone, 2.0 * 5 / 8, saveat=at(2.0 * 5 / 8))
    np.testing.assert_allclose(sol.log_policy[-1, 2], slower.log_policy[-1], atol=1e-7)
    ds = sol.to_dataset()
    assert ds["log_policy"].dims == ("time", "context", "response")


def test_contexts_in_single_precision_are_judged_in_it():
    P = np.stack([P4, P4.T]).astype(np.float32)
    flow = dyn.PreferenceFlow(dyn.Tabular(4), P, dyn.DPO(0.3), samplers.OnPolicy())
    np.testing.assert_array_equal(flow.preference, P)


@pytest.mark.thorough
def test_log_linear_with_identity_features_is_tabular():
    for sampler in SAMPLERS.values():
        pair = [
            dyn.gradient_flow(dyn.PreferenceFlow(policy, P4, dyn.DPO(0.5), sampler), 20.0).log_policy
            for policy in (dyn.Tabular(4), dyn.LogLinear(np.eye(4)))
        ]
        np.testing.assert_allclose(*pair, atol=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("policy", [dyn.Tabular(4), dyn.LogLinear(PHI)], ids=["tabular", "log-linear"])
def test_sgd_approaches_the_flow_at_first_order_and_samples_are_unbiased(policy):
    flow = dyn.PreferenceFlow(policy, P4, dyn.DPO(0.5), SAMPLERS["mixture"], log_reference=logs(1, 1, 1, 1))
    exact = dyn.gradient_flow(flow, 20.0, saveat=at(20.0)).parameters[-1]
    errors = [
        float(jnp.abs(dyn.descend(flow, optax.sgd(20.0 / n), steps=n, every=n).parameters[-1] - exact).max())
        for n in (100, 200)
    ]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.1)
    theta = jnp.asarray(np.random.default_rng(3).normal(size=policy.start().shape))
    draws = jax.vmap(lambda k: flow.gradient(theta, k, 16))(jax.random.split(jax.random.key(0), 4000))
    error = np.abs(draws.mean(0) - flow.gradient(theta, None, None)) / (draws.std(0) / np.sqrt(4000))
    assert error.max() < 4.5


def test_theta_of_a_policy_and_policies_off_the_class():
    policy = dyn.LogLinear(PHI)
    theta = np.array([0.7, -1.2])
    np.testing.assert_allclose(policy.theta(policy.log_policy(jnp.asarray(theta))), theta, rtol=1e-12)
    with pytest.raises(ValueError, match="nats off the log-linear policies"):
        policy.theta(logs(1, 2, 3, 4))
    with pytest.warns(UserWarning, match="rank 1 of 2"):
        doubled = dyn.LogLinear(PHI[:, [0, 0]])
    np.testing.assert_allclose(doubled.theta(doubled.log_policy(jnp.asarray([0.3, 0.5]))), [0.4, 0.4], rtol=1e-12)
    flow = dyn.PreferenceFlow(
        policy, P4, dyn.IPO(0.5), samplers.OnPolicy(), log_reference=policy.log_policy(jnp.asarray(theta))
    )
    np.testing.assert_allclose(flow.start(None).parameters, theta, rtol=1e-12)
