"""Statements of docs/theory/distribution.md that no theorem object covers, at random and at extreme inputs."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_softmax

import dynamics as dyn


def subsets(K):
    return [list(s) for size in range(1, K) for s in itertools.combinations(range(K), size)]


def won_out(table, inside):
    """What the group gets against the rest."""
    return table[np.ix_(inside, np.setdiff1d(np.arange(len(table)), inside))].sum()


def random_wins(rng, K, share):
    wins = rng.integers(1, 6, (K, K)) * (rng.uniform(size=(K, K)) < share)
    return (wins * (1 - np.eye(K))).astype(float)


@pytest.mark.thorough
@pytest.mark.parametrize("K", [2, 3, 5])
def test_5_1_a_finite_reward_exists_iff_every_group_won_something_against_the_rest(K):
    rng = np.random.default_rng(K)
    tables = np.array([random_wins(rng, K, share) for share in (0.3, 0.5, 0.8) for _ in range(20)])
    found = dyn.rewards.bradley_terry(tables, throw=False)
    expected = [all(won_out(wins, inside) > 0 for inside in subsets(K)) for wins in tables]
    assert (np.isfinite(found.reward).all(axis=-1) == expected).all()
    assert 0 < np.mean(expected) < 1


@jax.jit
def curvature(gamma, beta, log_prior, wins, at):
    """Second derivative of PMLE's loss in the first logit, the others 0."""
    objective, seen = dyn.PMLE(gamma, beta), dyn.feedback.Masses(wins, wins.sum())
    loss = lambda t: objective.value(jax.nn.log_softmax(jnp.zeros(len(log_prior)).at[0].set(t)), log_prior, seen)
    return jax.vmap(jax.grad(jax.grad(loss)))(at)


def test_5_1_pmle_with_a_penalty_is_not_convex_in_logits_and_convex_below_the_stated_beta():
    t = np.linspace(-40.0, 40.0, 1601)
    votes = np.array([[0.0, 3.0], [2.0, 0.0]])
    least = lambda gamma, beta, prior, wins=votes: float(curvature(gamma, beta, np.log(prior), wins, t).min())
    for gamma, p in itertools.product((0.1, 0.5, 0.9), (0.5, 0.2, 1e-3)):
        prior = [p, 1 - p]
        safe = np.e / 4 * gamma**2 * (1 - gamma) * np.exp(-(1 - gamma) * abs(np.log(p / (1 - p))))
        assert least(gamma, safe, prior) > -1e-12 * gamma**2
        # 11 times as much is too much where the prior is even: the stated beta is of the right order.
        assert p != 0.5 or least(gamma, 11 * safe, prior) < 0
    three, even = np.ones((3, 3)) - np.eye(3), np.full(3, 1 / 3)
    for gamma, beta in itertools.product((1.0, 2.0), (0.3, 1.0)):
        assert least(gamma, beta, [0.3, 0.7]) < 0
        assert least(gamma, beta, even, three) < 0
    assert least(0.3, 1e3, even, three) < 0


def pmle_loss(scores, wins):
    return (wins * np.logaddexp(0.0, scores[None, :] - scores[:, None])).sum() / wins.sum()


def distillation_loss(scores, wins, reward):
    P, Q = (expit(x[:, None] - x[None, :]) for x in (reward, scores))
    return ((wins + wins.T) * P * (np.log(P) - np.log(Q))).sum() / wins.sum()


def test_5_2_distillation_is_pmle_less_a_constant_for_rewards_and_policies_in_the_same_features():
    rng = np.random.default_rng(0)
    for gamma in (0.2, 1.0, 4.0):
        wins, phi = random_wins(rng, 5, 1.0), rng.normal(size=(5, 2))
        reward = np.asarray(dyn.rewards.bradley_terry(wins, features=phi).reward)
        at = gamma * np.array([log_softmax(phi @ theta) for theta in rng.normal(scale=2.0, size=(8, 2))])
        gaps = [pmle_loss(x, wins) - distillation_loss(x, wins, reward) for x in at]
        assert np.ptp(gaps) < 1e-9
        # Policies outside the features see the difference of linear and tabular win totals.
        away = gamma * log_softmax(rng.normal(scale=2.0, size=(8, 5)), axis=1)
        assert np.ptp([pmle_loss(x, wins) - distillation_loss(x, wins, reward) for x in away]) > 1e-3


def kl(log_p, log_q):
    return np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)


def rlhf_limit(log_target, log_prior, gamma, beta):
    """RLHF's policy on expected counts, by ``dyn.fit``."""
    uniform = np.full(len(log_target), -np.log(len(log_target)))
    counts = dyn.PreferenceModel(log_target, gamma, log_sampler=uniform).expected(1.0)
    return np.asarray(dyn.fit(dyn.RLHF(beta), counts, log_reference=log_prior).log_policy)


@pytest.mark.parametrize("k", [-2.0, 0.0, 0.6])
def test_5_4_a_prior_that_is_a_power_of_the_target_has_one_exact_beta(k):
    rng = np.random.default_rng(1)
    target = log_softmax(rng.normal(size=4))
    prior, gamma = log_softmax(k * target), 0.7
    exact = gamma / (1 - k)
    assert kl(target, rlhf_limit(target, prior, gamma, exact)) < 1e-12
    for beta in (0.9 * exact, 1.1 * exact):
        assert kl(target, rlhf_limit(target, prior, gamma, beta)) > 1e-5


@pytest.mark.thorough
def test_5_4_every_other_prior_keeps_an_error_and_a_vanishing_beta_degenerates():
    rng = np.random.default_rng(2)
    for _ in range(3):
        target, prior, gamma = log_softmax(rng.normal(size=4)), log_softmax(rng.normal(size=4)), 0.7
        grid = np.geomspace(0.05, 50.0, 16)
        errors = [kl(target, rlhf_limit(target, prior, gamma, beta)) for beta in grid]
        log_pi = prior + np.linspace(0, 30, 30001)[:, None] * target
        floor = kl(target, log_softmax(log_pi, axis=1)).min()
        assert min(errors) >= floor * (1 - 1e-9) > 1e-4
        slope = gamma * (target.max() - np.exp(target) @ target)
        assert 1e-3 * kl(target, rlhf_limit(target, prior, gamma, 1e-3)) == pytest.approx(slope, rel=0.02)


def test_5_4_a_prior_beyond_the_target_is_best_left_alone():
    target = log_softmax(np.array([0.0, 0.5, 1.5]))
    prior = log_softmax(1.5 * target)
    errors = [kl(target, rlhf_limit(target, prior, 0.5, beta)) for beta in (0.5, 2.0, 50.0, 1e4)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] > kl(target, prior)


def bounds(P, mu, weights, n):
    """Of the probability that some context has no finite reward: Chung and Erdős below, the union bound above."""
    K, X = len(mu), len(weights)
    law = 2 * np.outer(mu, mu) * P
    np.fill_diagonal(law, 0.0)
    above = sum((1 - w * won_out(law, inside)) ** n for w in weights for inside in subsets(K))
    groups = [inside for inside in subsets(K) if len(inside) in (1, K - 1)]
    wins = [np.isin(np.arange(K)[:, None], s) & ~np.isin(np.arange(K)[None, :], s) for s in groups]
    each = [(x, law * weights[x] * won) for x in range(X) for won in wins]
    single = sum((1 - q.sum()) ** n for _, q in each)
    joint = 0.0
    for (x, q), (y, r) in itertools.product(each, each):
        union = np.maximum(q, r).sum() if x == y else q.sum() + r.sum()
        joint += (1 - union) ** n
    return single**2 / joint, above


@pytest.mark.parametrize("n", [20, 60, 120])
def test_5_5_the_share_of_data_without_a_finite_reward_lies_within_its_bounds(n):
    rng = np.random.default_rng(3)
    target, mu, gamma, weights = log_softmax(rng.normal(size=4)), np.array([0.1, 0.2, 0.3, 0.4]), 0.8, np.ones(2) / 2
    model = dyn.PreferenceModel(np.stack([target] * 2), gamma, log_sampler=np.log(mu), weights=weights)
    sets = 4000
    wins = np.asarray(model.sample(n, key=jax.random.key(4), data_sets=sets).wins)
    finite = np.isfinite(dyn.rewards.bradley_terry(wins, throw=False).reward).all(axis=(1, 2))
    share, error = 1 - finite.mean(), np.sqrt(finite.var() / sets) + 1e-3
    low, high = bounds(expit(gamma * (target[:, None] - target[None, :])), mu, weights, n)
    assert low - 4 * error < share < high + 4 * error
    assert n < 120 or (0.05 < low < high < 1)


def test_5_5_the_numbers_of_the_toy_at_even_preferences():
    P, mu, tenth = np.full((10, 10), 0.5), np.full(10, 0.1), np.full(1, 0.1)
    for n, low, high in ((2**9, 0.65, np.inf), (2**10, 0.0, 0.02), (2**11, 0.0, 2e-6)):
        # Contexts are alike: sums over one of them, times 10, and pairs of events of two contexts are apart.
        of_one, above = bounds(P, mu, tenth, n)
        one = 20 * (1 - 0.009) ** n
        joint = 10 * one**2 / of_one + 90 * 20**2 * (1 - 0.018) ** n
        assert (10 * one) ** 2 / joint >= low
        assert 10 * above <= high
