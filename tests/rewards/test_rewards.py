"""Rewards from comparisons: against SciPy, Ford's condition, features, and what the certificate refuses and covers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

import dynamics as dyn
from dynamics.rewards import Outcome, bradley_terry


def counts(seed, *shape, most=9):
    wins = np.random.default_rng(seed).integers(1, most, size=shape).astype(float)
    return wins * (1 - np.eye(shape[-1]))


def stationarity(wins, reward, ridge=0.0):
    """Won minus expected wins, response by response, computed apart from the library."""
    met, gap = wins + np.swapaxes(wins, -1, -2), reward[..., :, None] - reward[..., None, :]
    return wins.sum(-1) - (met / (1.0 + np.exp(-gap))).sum(-1) - ridge * reward


def by_scipy(wins, ridge=0.0, phi=None):
    phi = np.eye(len(wins)) if phi is None else phi

    def value(w):
        gap = (phi @ w)[:, None] - (phi @ w)[None, :]
        missed = wins * scipy.special.expit(-gap)
        slope = phi.T @ (missed - missed.T).sum(1) - ridge * w
        return np.sum(wins * np.logaddexp(0.0, -gap)) + 0.5 * ridge * w @ w, -slope

    found = scipy.optimize.minimize(value, np.zeros(phi.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-10})
    return found.x


@pytest.mark.thorough
@pytest.mark.parametrize("K", [2, 5, 10])
def test_many_data_sets_are_stationary_in_one_call(K):
    wins = counts(K, 7, 50, K, K)
    fit = bradley_terry(wins)
    assert fit.reward.shape == (7, 50, K)
    assert fit.result.shape == (7, 50)
    assert not np.asarray(fit.result).any()
    assert np.abs(stationarity(wins, np.asarray(fit.reward))).max() < 1e-10
    assert np.abs(np.asarray(fit.reward).sum(-1)).max() < 1e-12
    expected = by_scipy(wins[3, 4])
    np.testing.assert_allclose(fit.reward[3, 4], expected - expected.mean(), atol=1e-7)


def test_two_responses_in_closed_form_and_pairs_of_equals_tell_nothing():
    wins = np.array([[50.0, 30.0], [10.0, 7.0]])
    reward = np.asarray(bradley_terry(dyn.Comparisons(wins)).reward)
    np.testing.assert_allclose(reward, [0.5 * np.log(3), -0.5 * np.log(3)], rtol=1e-14)


def test_far_apart_scores_keep_their_precision():
    s = np.array([12.0, 4.0, 0.0, -4.0, -12.0])
    wins = 1e6 / (1 + np.exp(-(s[:, None] - s[None, :]))) * (1 - np.eye(5))
    np.testing.assert_allclose(bradley_terry(wins).reward, s, atol=1e-10)


def test_a_ridge_gives_every_data_set_a_maximum_and_is_broadcast():
    wins = counts(3, 2, 4, 4)
    wins[0, :, 0] = 0.0  # never beaten
    for ridge in (0.3, np.array([0.3, 2.0])):
        fit = bradley_terry(wins, ridge=ridge)
        assert not np.asarray(fit.result).any()
        each = np.broadcast_to(ridge, 2)[:, None]
        assert np.abs(stationarity(wins, np.asarray(fit.reward), each)).max() < 1e-10
    with pytest.raises(ValueError, match="ridge is 0 for some"):
        bradley_terry(wins, ridge=np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="ridge has shape"):
        bradley_terry(wins, ridge=np.ones(3))


def broken():
    """Four contexts: one well, one with an unbeaten group, one in two halves, one never sampled."""
    wins = counts(5, 4, 4, 4)
    wins[1, 2:, :2] = 0.0
    wins[2, 2:, :2] = wins[2, :2, 2:] = 0.0
    wins[3] = np.diag([3.0, 0, 0, 1.0])
    return wins


def test_what_has_no_finite_maximum_is_named_and_never_a_large_number():
    wins = broken()
    fit = bradley_terry(wins, throw=False)
    assert [Outcome(int(r)) for r in fit.result] == [
        Outcome.SUCCESSFUL,
        Outcome.INFINITE,
        Outcome.DISCONNECTED,
        Outcome.NEVER_SAMPLED,
    ]
    assert np.isfinite(np.asarray(fit.reward[0])).all()
    assert np.isnan(np.asarray(fit.reward[1:])).all()
    with pytest.raises(ValueError, match=r"context 1: the rewards are infinite: responses \[0, 1\] lost no.*3 of 4"):
        bradley_terry(wins)
    with pytest.raises(ValueError, match=r"context 1: responses \[0, 1\] were never compared with the others"):
        bradley_terry(wins[[0, 2]])
    with pytest.raises(ValueError, match="no two different responses were ever compared"):
        bradley_terry(wins[3])
    with pytest.raises(ValueError, match=r"data set \[0, 1\]: the rewards are infinite"):
        bradley_terry(wins[None])


def test_traced_wins_give_the_result_as_a_code():
    fit = jax.jit(lambda wins: bradley_terry(wins))(broken())
    np.testing.assert_array_equal(fit.result, bradley_terry(broken(), throw=False).result)


def test_linear_rewards_are_the_optimum_and_share_weights_between_contexts():
    rng = np.random.default_rng(2)
    wins, phi = counts(7, 3, 5, 5), rng.normal(size=(5, 2))
    fit = bradley_terry(wins, features=phi)
    for x in range(3):
        np.testing.assert_allclose(fit.weights[x], by_scipy(wins[x], phi=phi), atol=1e-7)
        assert np.abs(phi.T @ stationarity(wins[x], np.asarray(fit.reward[x]))).max() < 1e-10
    phi = rng.normal(size=(3, 5, 2))
    fit = bradley_terry(wins, features=phi, ridge=0.4)
    assert fit.weights.shape == (2,)
    left = np.einsum("xkd,xk->d", phi, stationarity(wins, np.asarray(fit.reward))) - 0.4 * np.asarray(fit.weights)
    assert np.abs(left).max() < 1e-10
    # All gauge directions give the tabular fit.
    whole = bradley_terry(wins, features=np.eye(5)[:, 1:])
    np.testing.assert_allclose(whole.reward, bradley_terry(wins).reward, atol=1e-11)


def test_features_that_separate_or_are_undetermined_are_named():
    wins = np.zeros((2, 3, 3))
    wins[0, 0, 1] = wins[0, 1, 2] = 4.0  # along a feature that falls with the index nothing is contradicted
    wins[1, 0, 1] = wins[1, 1, 0] = 4.0
    slope = np.array([[1.0], [0.0], [-1.0]])
    with pytest.raises(ValueError, match=r"data set \[0\]: the weights are infinite"):
        bradley_terry(wins, features=slope)
    two = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert np.asarray(bradley_terry(wins, features=two, throw=False).result).tolist() == [1, 2]
    with pytest.raises(ValueError, match="undetermined"):
        bradley_terry(wins[1], features=two)
    with pytest.raises(ValueError, match=r"features have shape \(4, 1\)"):
        bradley_terry(wins, features=np.ones((4, 1)))
    with pytest.raises(ValueError, match="only 0 independent ones"):
        bradley_terry(wins, features=np.ones((3, 1)))


def test_the_certificate_is_its_formula():
    wins, gamma, delta, s = counts(1, 4, 4, most=60), 0.7, 0.1, 1.5
    made = dyn.certify(wins, gamma=gamma, delta=delta, scale=s)
    R = by_scipy(wins)
    R -= R.mean()
    met = wins + wins.T
    lap = lambda c: np.diag(c.sum(1)) - c
    sigma = 1 / (1 + np.exp(-(R[:, None] - R[None, :])))
    H, Hbar = lap(met * sigma * (1 - sigma)), lap(met / 4)
    C = np.eye(4) - 0.25
    quadratic = R @ np.linalg.pinv(C @ (s**2 * np.eye(4) + np.linalg.pinv(Hbar)) @ C) @ R
    tau = np.log(1 / delta) + 0.5 * np.linalg.slogdet(np.eye(4) + s**2 * Hbar)[1] + 0.5 * quadratic
    G = np.linalg.pinv(H)
    r = max(G[a, a] + G[b, b] - 2 * G[a, b] for a in range(4) for b in range(4))
    M = scipy.optimize.brentq(lambda M: np.exp(-M) + M - 1 - r * tau, 1e-9, 100, xtol=1e-15)
    m, pi = M / gamma, np.exp(R / gamma) / np.exp(R / gamma).sum()
    top = np.linalg.eigvals(G @ (np.diag(pi) - np.outer(pi, pi))).real.max()
    bound = tau / gamma**2 * top * M**2 / (np.exp(-M) + M - 1) * ((m - 1) * np.exp(m) + 1) / m**2
    np.testing.assert_allclose([made.tau, made.M, made.m, made.bound], [tau, M, m, bound], rtol=1e-8)


def test_the_certificate_refuses_by_name():
    good = counts(1, 3, 3)
    ask = lambda wins=good, gamma=0.5, delta=0.05, scale=1.0: dyn.certify(wins, gamma=gamma, delta=delta, scale=scale)
    for message, given in {
        r"context 1: the rewards are infinite: responses \[0, 1\]": {"wins": broken()},
        r"context 1: responses \[0, 1\] were never compared": {"wins": broken()[[0, 2]]},
        "scale = 0 is outside": {"scale": 0.0},
        "scale = -1 is outside": {"scale": -1.0},
        "gamma = 0 is outside": {"gamma": 0.0},
        r"delta = 1 is outside \(0, 1\)": {"delta": 1.0},
        "is not whole": {"wins": good + 0.5 * (1 - np.eye(3))},
        "one data set at a time": {"wins": counts(1, 2, 2, 3, 3)},
    }.items():
        with pytest.raises(ValueError, match=message):
            ask(**given)


@pytest.mark.thorough
def test_the_certificate_covers_as_often_as_it_says():
    """Over 400 data sets of two contexts the bound fails no more often than delta, by a binomial test at 1e-3."""
    logs = jnp.asarray(np.random.default_rng(3).normal(0.0, 0.5, (2, 3)))
    target = jax.nn.log_softmax(logs)
    model = dyn.PreferenceModel(target, 0.5, log_sampler=jnp.full(3, -jnp.log(3.0)))
    delta, failed, ratios = 0.2, 0, []
    for wins in np.asarray(model.sample(1200, key=jax.random.key(8), data_sets=400).wins):
        made = dyn.certify(wins, gamma=0.5, delta=delta, scale=1.0)
        error = np.sum(np.exp(target) * (np.asarray(target) - made.log_policy), axis=-1)
        failed += error.mean() > made.bound or (error > made.per_context).any()
        ratios.append(made.bound / error.mean())
    assert scipy.stats.binomtest(int(failed), 400, delta, alternative="greater").pvalue > 1e-3
    assert np.median(ratios) < 400  # a bound that covers by being enormous would be worth nothing
