"""Statements of docs/theory/estimation.md that no theorem object covers, at random and at extreme inputs."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import eigh
from scipy.optimize import brentq
from scipy.special import expit, log_softmax

import dynamics as dyn


def information(log_target, gamma, pairs):
    """Σ over pairs of (p_ab + p_ba) sigma'(gamma log pi_a/pi_b) (e_a - e_b)(e_a - e_b)ᵀ."""
    P = expit(gamma * (log_target[:, None] - log_target[None, :]))
    weight = (pairs + pairs.T) * P * P.T * (1 - np.eye(len(log_target)))
    return np.diag(weight.sum(axis=1)) - weight


def covariance(log_target):
    p = np.exp(log_target)
    return np.diag(p) - np.outer(p, p)


def cost(log_target, gamma, mu):
    return dyn.PreferenceModel(log_target, gamma, log_sampler=np.log(mu)).error_constant()


def bound_of(log_target, gamma, mu):
    p = np.exp(log_target)
    return float(np.sum(p * (1 - p) / mu) / gamma**2)


@pytest.mark.parametrize("K", [2, 3, 6])
def test_7_10_equality_holds_for_the_uniform_target_only(K):
    rng = np.random.default_rng(K)
    even = np.full(K, -np.log(K))
    for gamma in (0.1, 1.0, 5.0):
        mu = rng.dirichlet(np.ones(K))
        assert cost(even, gamma, mu) == pytest.approx(bound_of(even, gamma, mu), rel=1e-10)
        for size in (0.1, 1.0):
            target = log_softmax(size * rng.normal(size=K))
            g = gamma * np.ptp(target)
            ratio = cost(target, gamma, mu) / bound_of(target, gamma, mu)
            assert 1 + 1e-9 * g**2 < ratio < (1 + 1e-9) / (4 * expit(g) * expit(-g))


def test_7_10_on_policy_sampling_may_cost_a_fraction_of_uniform_sampling():
    for K in (3, 4, 10, 30):
        p = np.append(0.5, np.full(K - 1, 0.5 / (K - 1)))
        ratio = cost(np.log(p), 12.0, p) / cost(np.log(p), 12.0, np.full(K, 1 / K))
        assert ratio == pytest.approx(4 * (K - 1) / K**2, rel=1e-2)
    assert ratio < 0.13


def test_7_10_no_law_of_pairs_beats_the_bound_that_another_one_proves():
    rng = np.random.default_rng(0)
    for _ in range(20):
        K, gamma = int(rng.integers(2, 6)), 10 ** rng.uniform(-1, 0.5)
        target = log_softmax(rng.normal(size=K))
        model = dyn.PreferenceModel(target, gamma, log_sampler=np.full(K, -np.log(K)))
        best = np.exp(np.asarray(dyn.samplers.design(model, pairs=True).log_pairs))
        others = [np.tril(rng.dirichlet(np.full(K * K, a)).reshape(K, K), -1) for a in (0.3, 1.0)]
        laws = [best] + [q / q.sum() for q in others]
        phi, largest = [], []
        P, S = expit(gamma * (target[:, None] - target[None, :])), covariance(target)
        for q in laws:
            inverse = np.linalg.pinv(information(target, gamma, q), rcond=1e-12)
            worth = inverse @ S @ inverse
            diagonal = np.diag(worth)
            c = P * P.T * (diagonal[:, None] + diagonal[None, :] - 2 * worth)
            phi.append(np.trace(S @ inverse))
            largest.append(c.max())
            assert np.sum(np.triu(q + q.T, 1) * c) == pytest.approx(phi[-1], rel=1e-6)
        for one, two in itertools.product(range(3), repeat=2):
            assert phi[two] >= phi[one] ** 2 / largest[one] * (1 - 1e-6)
        assert largest[0] <= phi[0] * (1 + 2e-5)  # the best law meets the condition


def below_the_maximum(wins, reward, other):
    loss = lambda R: (wins * np.logaddexp(0.0, R[None, :] - R[:, None])).sum()
    return loss(other) - loss(reward)


@pytest.mark.parametrize(("n", "gamma"), [(200, 0.3), (200, 2.0), (5000, 0.5), (5000, 1.5)])
def test_7_12_holds_without_probability_on_the_whole_confidence_set(n, gamma):
    """Every R with l(R) - l(Rhat) = tau has a KL within the bound, and from many comparisons some has a third of it."""
    rng, worst = np.random.default_rng(n), 0.0
    for K in (2, 3, 5):
        target = log_softmax(0.7 * rng.normal(size=K) / gamma)
        model = dyn.PreferenceModel(target, gamma, log_sampler=np.full(K, -np.log(K)))
        wins = np.asarray(model.sample(n, key=jax.random.key(K)).wins) * (1 - np.eye(K))
        made = dyn.certify(wins, gamma=gamma, delta=0.05, scale=1.0)
        reward = gamma * made.log_policy
        H = information(made.log_policy, gamma, (wins + wins.T) / 2)
        # Where KL is largest for a given likelihood, where a difference of two rewards is, and at random.
        vectors = eigh(covariance(made.log_policy)[1:, 1:], H[1:, 1:])[1].T
        steepest = [sign * np.append(0.0, v) for v in vectors for sign in (1, -1)]
        apart = [np.linalg.pinv(H) @ (np.eye(K)[a] - np.eye(K)[b]) for a, b in itertools.permutations(range(K), 2)]
        for given in [*steepest, *apart, *rng.normal(size=(40, K))]:
            d = (given - given.mean()) / np.linalg.norm(given - given.mean())
            over = lambda t, d=d: below_the_maximum(wins, reward, reward + t * d) - made.tau  # noqa: B023
            far = 1.0
            while over(far) < 0:
                far *= 2
            R = reward + brentq(over, 0.0, far, xtol=1e-13) * d
            true = log_softmax(R / gamma)
            error = np.exp(true) @ (true - made.log_policy)
            assert np.ptp(R - reward) <= made.M * (1 + 1e-9)
            assert error <= made.bound * (1 + 1e-9)
            worst = max(worst, error / made.bound)
    assert worst > (1 / 3 if n > 1000 else 1e-3)


def loss_of(scores, gamma, beta, log_prior, wins):
    """PMLE's loss with pairs of equals on the diagonal, in R = gamma log pi."""
    rest = wins * (1 - jnp.eye(len(wins)))
    log_pi, share = jax.nn.log_softmax(scores / gamma), rest.sum() / wins.sum()
    unpenalised = dyn.PMLE(gamma, 0.0).value(log_pi, log_prior, dyn.feedback.Masses(rest, rest.sum()))
    return share * unpenalised + beta * jnp.exp(log_pi) @ (log_pi - log_prior)


derivatives = jax.jit(lambda *given: (jax.grad(loss_of)(*given), jax.hessian(loss_of)(*given)))


def shrunk(log_target, gamma, mu, beta, d, y, eps):
    """KL/eps² of PMLE with the prior at log pi* - eps d, on counts whose maximum-likelihood reward is R* + eps y."""
    prior, reward = log_softmax(log_target - eps * d), gamma * log_target + eps * y
    wins = 2 * np.outer(mu, mu) * expit(reward[:, None] - reward[None, :])
    np.fill_diagonal(wins, mu**2)
    R = gamma * log_target
    for _ in range(8):
        slope, curvature = map(np.asarray, derivatives(R, gamma, beta, prior, wins))
        R = R - np.linalg.pinv(curvature, rcond=1e-10) @ slope
    assert np.abs(slope).max() < 1e-14
    return float(np.exp(log_target) @ (log_target - log_softmax(R / gamma))) / eps**2


def foretold(log_target, gamma, mu, beta, d, y):
    L, S = information(log_target, gamma, np.outer(mu, mu)), covariance(log_target)
    moved = np.linalg.pinv(L + beta / gamma**2 * S) @ (L @ y - beta / gamma * S @ d)
    return float(moved @ S @ moved) / (2 * gamma**2)


def simple(log_target, gamma, beta, d, y, theta):
    s = beta / (beta + theta * gamma**2)
    w, p = -s * d + (1 - s) * y / gamma, np.exp(log_target)
    return float(p @ w**2 - (p @ w) ** 2) / 2


def test_7_13_pmle_shrinks_like_reverse_kl_only_where_its_information_is_a_multiple_of_the_covariance():
    rng, gamma, eps = np.random.default_rng(5), 0.6, 1e-3
    even = np.full(4, -np.log(4))
    for mu, alike in ((np.full(4, 0.25), True), (np.array([0.55, 0.25, 0.15, 0.05]), False)):
        d, y, beta = rng.normal(size=4), rng.normal(size=4), 0.05
        found, law = shrunk(even, gamma, mu, beta, d, y, eps), foretold(even, gamma, mu, beta, d, y)
        assert found == pytest.approx(law, rel=5e-3)
        same = law == pytest.approx(simple(even, gamma, beta, d, y, 0.5), rel=1e-9)
        assert same == alike


def least_mean(mu, d, gamma, N):
    """PMLE's least mean over beta of KL/eps² at a uniform target, and the law of reverse KL."""
    K = len(mu)
    even = np.full(K, -np.log(K))
    L, S = information(even, gamma, np.outer(mu, mu)), covariance(even)

    def mean(beta):
        J = np.linalg.pinv(L + beta / gamma**2 * S)
        bias = beta / gamma * J @ S @ d
        return (bias @ S @ bias + np.trace(S @ J @ L @ J) / N) / (2 * gamma**2)

    v = dyn.PreferenceModel(even, gamma, log_sampler=np.log(mu)).error_constant() / N
    return min(map(mean, np.geomspace(1e-4, 1e3, 4001))), 1 / (2 / np.var(d) + 1 / v)


def test_7_13_pmles_tuned_law_fails_for_other_samplers():
    even, d = np.full(3, 1 / 3), np.array([1.0, 0.2, -1.2])
    least, law = least_mean(even, d, 0.5, 50)
    assert least == pytest.approx(law, rel=1e-5)
    least, law = least_mean(np.array([0.6, 0.3, 0.1]), np.array([1.0, -0.5, -0.5]), 0.5, 50)
    assert (round(least, 3), round(law, 3)) == (0.098, 0.129)
    least, law = least_mean(np.array([0.8, 0.1, 0.1]), np.array([0.0, 1.0, -1.0]), 0.5, 50)
    assert (round(least, 3), round(law, 3)) == (0.204, 0.177)


def test_7_13_the_best_beta_of_several_contexts_is_the_root_of_the_mean():
    rng = np.random.default_rng(6)
    gamma, weights = 0.7, np.array([0.2, 0.3, 0.5])
    target, prior = log_softmax(rng.normal(size=(3, 4)), axis=1), log_softmax(0.5 * rng.normal(size=(3, 4)), axis=1)
    p = np.exp(target)
    tilted = lambda k: log_softmax(prior + k * target, axis=1)
    slope = lambda k: weights @ ((np.exp(tilted(k)) - p) * target).sum(axis=1)
    assert slope(0.0) < 0
    best = brentq(slope, 0.0, 20.0, xtol=1e-13)
    counts = dyn.PreferenceModel(target, gamma, log_sampler=np.full((3, 4), -np.log(4)), weights=weights).expected(1.0)

    found = np.asarray(dyn.fit(dyn.RLHF(gamma / best), counts, log_reference=jnp.asarray(prior)).log_policy)
    np.testing.assert_allclose(found, tilted(best), atol=1e-9)
    error = lambda log_pi: weights @ (p * (target - log_pi)).sum(axis=1)
    for k in (0.0, 0.8 * best, 0.99 * best, 1.01 * best, 1.2 * best):
        assert error(found) < error(tilted(k))
