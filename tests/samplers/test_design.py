"""Which comparisons to buy: the best laws of pairs and samplers, their gaps, and the inequalities of 7.10."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dynamics as dyn
from dynamics.samplers import _design

FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def model(seed, K, spread, gamma=0.5, X=None, sampler=None):
    rng = np.random.default_rng(seed)
    shape = (K,) if X is None else (X, K)
    log_target = jax.nn.log_softmax(jnp.asarray(rng.normal(0, spread, shape)))
    mu = jnp.full(shape, -jnp.log(float(K))) if sampler is None else sampler
    return dyn.PreferenceModel(log_target, gamma, log_sampler=mu)


def with_pairs(m, log_pairs):
    return dyn.PreferenceModel(m.log_target, m.gamma, log_pairs=log_pairs)


@FEW
@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0.05, 3.0), st.floats(0.05, 3.0), st.floats(0.0, 2.0))
def test_the_bounds_of_7_10_hold_for_every_sampler(seed, K, spread, gamma, tilt):
    mu = jax.nn.log_softmax(jnp.asarray(np.random.default_rng(seed + 1).normal(0, tilt, K)))
    m = model(seed, K, spread, gamma, sampler=mu)
    pi = np.exp(np.asarray(m.log_target))
    below = np.sum(pi * (1 - pi) / np.exp(np.asarray(mu))) / gamma**2
    lowest = np.sum(np.sqrt(pi * (1 - pi))) ** 2 / gamma**2
    assert m.error_constant() >= below * (1 - 1e-11)
    assert below >= lowest * (1 - 1e-11)


def test_the_bounds_are_met_as_gamma_goes_to_0():
    gamma = 1e-4
    m = model(4, 5, 1.0, gamma)
    pi, found = np.exp(np.asarray(m.log_target)), dyn.samplers.design(m)
    assert m.error_constant() == pytest.approx(5 * (1 - np.sum(pi**2)) / gamma**2, rel=1e-6)
    assert found.root_rule == pytest.approx(np.sum(np.sqrt(pi * (1 - pi))) ** 2 / gamma**2, rel=1e-6)
    np.testing.assert_allclose(found.log_sampler, found.log_root_rule, atol=1e-4)
    on_policy = dyn.PreferenceModel(m.log_target, gamma, log_sampler=m.log_target)
    assert on_policy.error_constant() == pytest.approx(4 / gamma**2, rel=1e-6)


@pytest.mark.parametrize("spread", [0.3, 2.0])
def test_designs_are_what_they_say_and_no_neighbour_is_better(spread):
    m = model(1, 4, spread, X=2)
    rng = np.random.default_rng(0)
    one, two = dyn.samplers.design(m), dyn.samplers.design(m, pairs=True)
    assert one.log_pairs is None
    assert two.log_sampler is None
    sampled = dyn.PreferenceModel(m.log_target, m.gamma, log_sampler=one.log_sampler)
    bought = with_pairs(m, two.log_pairs)
    np.testing.assert_allclose(sampled.error_constants(), one.after, rtol=1e-10)
    np.testing.assert_allclose(bought.error_constants(), two.after, rtol=1e-10)
    np.testing.assert_allclose(one.before, m.error_constants(), rtol=1e-13)
    assert (two.gap <= 1.1e-5).all()
    assert (two.after <= one.after).all()
    assert (one.after <= np.minimum(one.uniform, one.root_rule) * (1 + 1e-12)).all()
    for _ in range(30):
        mu = jax.nn.log_softmax(jnp.asarray(one.log_sampler) + 0.03 * rng.normal(size=(2, 4)))
        other = dyn.PreferenceModel(m.log_target, m.gamma, log_sampler=mu).error_constants()
        assert (other >= one.after * (1 - 1e-9)).all()
        pairs = rng.dirichlet(np.ones(16), 2).reshape(2, 4, 4)
        mixed = np.log(0.9 * np.exp(two.log_pairs) + 0.1 * pairs)
        assert (with_pairs(m, mixed).error_constants() >= two.after / (1 + two.gap) * (1 - 1e-12)).all()


def test_two_responses_buy_their_only_pair():
    found = dyn.samplers.design(model(0, 2, 1.0), pairs=True)
    np.testing.assert_allclose(np.exp(found.log_pairs), [[0.0, 0.5], [0.5, 0.0]], atol=1e-15)
    assert found.after == pytest.approx(found.before / 2, rel=1e-12)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="tolerance = 0 is outside"):
        dyn.samplers.design(model(0, 2, 1.0), tolerance=0.0)


def test_sharp_preferences_keep_their_designs():
    """Weights of comparisons that span nine orders of magnitude, in one batch with easier contexts."""
    m = model(0, 5, 1.0, gamma=3.0, X=24)
    pairs, sampler = dyn.samplers.design(m, pairs=True, tolerance=1e-3), dyn.samplers.design(m, tolerance=1e-3)
    assert (pairs.gap <= 1.1e-3).all()
    np.testing.assert_allclose(with_pairs(m, pairs.log_pairs).error_constants(), pairs.after, rtol=1e-9)
    assert (pairs.after < sampler.after).all()
    assert (sampler.after <= np.minimum(sampler.uniform, sampler.root_rule) * (1 + 1e-12)).all()


def test_slopes_agree_with_and_without_memory_for_differences(monkeypatch):
    m = model(2, 5, 1.0)
    by_differences = dyn.samplers.design(m, pairs=True)
    monkeypatch.setattr(_design, "MOST_BY_DIFFERENCES", 2)
    np.testing.assert_allclose(dyn.samplers.design(m, pairs=True).log_pairs, by_differences.log_pairs, atol=1e-6)


def test_a_response_too_rare_to_weigh_is_named_at_once():
    logs = np.array([0.0, -80.0, -104.0])
    model = dyn.PreferenceModel(logs - np.logaddexp.reduce(logs), 1.0, log_sampler=np.full(3, -np.log(3)))
    for pairs in (True, False):
        with pytest.raises(RuntimeError, match=r"response 2 has probability e\^-104, too rare"):
            dyn.samplers.design(model, pairs=pairs, tolerance=1e-3)
