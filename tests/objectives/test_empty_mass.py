"""Derivatives where a response has no mass in the sampler, and where P has entries 0 and 1, against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn

P = jnp.array([[0.5, 0.7, 0.4], [0.3, 0.5, 0.8], [0.6, 0.2, 0.5]])
PHI = jnp.array([[1.0, 0.0], [0.2, 1.0], [-0.5, 0.3]])


def _empty() -> jax.Array:
    with np.errstate(divide="ignore"):
        return jnp.asarray(np.log([0.6, 0.4, 0.0]))


@pytest.mark.parametrize(
    ("objective", "policy"),
    [
        (dyn.DPO(0.5), None),
        (dyn.IPO(0.5), None),
        (dyn.DPO(0.5), dyn.LogLinear(PHI)),
        (dyn.IPO(0.5), dyn.LogLinear(PHI)),
        (dyn.PMLE(0.5, 0.1), None),
        (dyn.ReverseKL(0.5, 0.1), None),
    ],
    ids=["DPO", "IPO", "DPO log-linear", "IPO log-linear", "PMLE", "reverse KL"],
)
def test_a_response_that_gains_mass_is_seen_by_the_derivative(objective, policy):
    log_offline = _empty()
    z = PHI @ jnp.array([0.3, -0.2])
    z = z - z.mean()
    after = jax.jit(lambda lam: dyn.SelfSampling(P, objective, 0.3, lam, log_offline=log_offline, policy=policy)(z))
    slope = jax.jvp(after, (jnp.asarray(0.0),), (jnp.asarray(1.0),))[1]
    one = lambda h: (after(jnp.asarray(h)) - after(jnp.asarray(0.0))) / h
    difference = 2 * one(5e-6) - one(1e-5)
    assert np.abs(difference).max() > 0.05
    np.testing.assert_allclose(slope, difference, atol=3e-8)


@pytest.mark.thorough
def test_a_loss_without_that_derivative_says_nan_and_not_zero():
    log_offline = _empty()
    after = lambda lam: dyn.SelfSampling(P, dyn.objectives.Link(0.5, "probit"), 0.3, lam, log_offline=log_offline)(
        jnp.zeros(3)
    )
    slope = jax.jvp(after, (jnp.asarray(0.0),), (jnp.asarray(1.0),))[1]
    assert np.isnan(slope).all()


@pytest.mark.thorough
@pytest.mark.parametrize("objective", [dyn.DPO(0.5), dyn.IPO(0.5), dyn.objectives.Link(0.5, "probit")], ids=str)
@pytest.mark.parametrize("lam", [0.0, 0.3])
def test_reverse_mode_agrees_with_forward_mode(objective, lam):
    log_offline = _empty()
    after = lambda z: dyn.SelfSampling(P, objective, 0.3, lam, log_offline=log_offline)(z)
    z = jnp.array([0.1, 0.2, -0.3])
    np.testing.assert_allclose(jax.jacrev(after)(z), jax.jacfwd(after)(z), atol=1e-12)
    share = lambda lam: dyn.SelfSampling(P, objective, 0.3, lam, log_offline=log_offline)(z)
    slope, backward = (mode(share)(jnp.asarray(lam)) for mode in (jax.jacfwd, jax.jacrev))
    if lam > 0 or isinstance(objective, dyn.DPO | dyn.IPO):
        assert np.isfinite(slope).all()
        np.testing.assert_allclose(backward, slope, atol=1e-12)
    else:
        assert not np.isfinite(backward).any()


@pytest.mark.parametrize("rounds", [1, 4, 8])
def test_gradients_by_certain_preferences_are_those_of_differences(rounds):
    certain = jnp.array([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]])
    one_round = jax.jit(lambda P, z: dyn.SelfSampling(P, dyn.DPO(0.5), 0.3, 0.7)(z))

    def run(P):
        z = jnp.array([0.1, 0.0, -0.1])
        for _ in range(rounds):
            z = one_round(P, z)
        return z

    inward = jnp.array([[0.0, -1.0, 0.4], [1.0, 0.0, -0.7], [-0.4, 0.7, 0.0]])
    slope = jax.jvp(run, (certain,), (inward,))[1]
    one = lambda h: (run(certain + h * inward) - run(certain)) / h
    np.testing.assert_allclose(slope, 2 * one(5e-7) - one(1e-6), rtol=1e-5, atol=1e-6)
    gradient = jax.vjp(run, certain)[1](jnp.array([1.0, 0.0, 0.0]))[0]
    np.testing.assert_allclose(jnp.sum(gradient * inward), slope[0], rtol=1e-9)
