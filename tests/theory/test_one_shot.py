"""Statements of docs/theory/one_shot.md that no theorem measures: minimisers, existence, transitivity, a counterexample."""

import jax
import numpy as np
import oracles
import pytest

import dynamics as dyn

RNG = np.random.default_rng(0)


def matrix(K, certain=0.0, rng=RNG):
    """Random preferences; a share ``certain`` of the pairs has entries 0 and 1."""
    upper = np.triu(rng.uniform(0.02, 0.98, (K, K)), 1)
    hard = np.triu(rng.random((K, K)) < certain, 1)
    upper = np.where(hard, np.triu(np.round(upper), 1), upper)
    return upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(K)


def sampler(K, empty, rng=RNG):
    """log mu with ``empty`` masses of 0."""
    log_mu = rng.normal(size=K)
    log_mu[rng.permutation(K)[:empty]] = -np.inf
    return log_mu - np.logaddexp.reduce(log_mu)


def test_ipo_minimises_its_loss_on_the_support_and_is_continuous_off_it():
    """1.1, by weighted least squares on the pairs that are drawn."""
    beta = 0.3
    for _ in range(60):
        K = int(RNG.integers(2, 7))
        P, log_mu = matrix(K, certain=0.3), sampler(K, int(RNG.integers(0, K - 1)))
        mu = np.exp(log_mu)
        h = np.asarray(dyn.IPO(beta).implicit_reward(P, log_mu)) / beta
        drawn = [(i, j) for i in range(K) for j in range(K) if i != j and mu[i] * mu[j] > 0]
        weight = np.sqrt([mu[i] * mu[j] for i, j in drawn])
        rows = np.array([np.eye(K)[i] - np.eye(K)[j] for i, j in drawn])
        target = np.array([(P[i, j] - P[j, i]) / (2 * beta) for i, j in drawn])  # the mean of I/(2 beta)
        least = np.linalg.lstsq(weight[:, None] * rows, weight * target, rcond=None)[0]
        assert np.ptp((h - least)[mu > 0]) < 1e-11
        nearly = np.log(0.999999 * mu + 0.000001 / K)
        np.testing.assert_allclose(dyn.IPO(beta).implicit_reward(P, nearly), beta * h, atol=3e-6)


def connected(arcs):
    """Whether every response reaches every other."""
    reach = arcs | np.eye(len(arcs), dtype=bool)
    for _ in range(len(arcs)):
        reach = reach @ reach
    return bool(reach.all())


def test_dpo_has_an_optimum_iff_the_support_is_connected_and_nobody_outside_always_wins_or_loses():
    """1.2 (b)."""
    seen = {True: 0, False: 0, "outside": 0}
    for _ in range(150):
        K = int(RNG.integers(2, 6))
        P, log_mu = matrix(K, certain=0.6), sampler(K, int(RNG.integers(0, K)))
        drawn = log_mu > -np.inf
        linked = connected(P[np.ix_(drawn, drawn)] > 0)
        won, lost = (P[:, drawn] > 0).any(1)[~drawn], (P[:, drawn] < 1).any(1)[~drawn]
        exists = linked and bool((won & lost).all())
        seen[exists] += 1
        seen["outside"] += linked and not exists
        if exists:
            f = np.asarray(dyn.DPO(1.0).implicit_reward(P, log_mu))
            np.testing.assert_allclose((dyn_sigma(f) - P) @ np.exp(log_mu), 0, atol=1e-13)
        else:
            with pytest.raises(ValueError, match="every"):
                dyn.DPO(1.0).implicit_reward(P, log_mu)
    assert min(seen.values()) > 5


def dyn_sigma(f):
    return np.asarray(jax.nn.sigmoid(f[:, None] - f[None, :]))


def test_strong_transitivity_is_row_dominance():
    """1.6 (a), ties and certain preferences included: by the definition, by rows, and as `classify` says it."""
    few = np.array([0.5, 0.6, 0.75, 1.0])
    found = 0
    for _ in range(1500):
        K = int(RNG.integers(3, 5))
        upper = np.triu(RNG.choice(few if RNG.random() < 0.8 else 1 - few, (K, K)), 1)
        P = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(K)
        triples = [(i, j, k) for i in range(K) for j in range(K) for k in range(K) if min(P[i, j], P[j, k]) >= 0.5]
        strong = all(P[i, k] >= max(P[i, j], P[j, k]) for i, j, k in triples)
        assert strong == oracles.row_dominant(P)
        found += strong
        if RNG.random() < 0.1:
            assert strong == (dyn.preferences.classify(P).transitivity in ("strong", "strict strong"))
    assert 100 < found < 1400


def test_a_gap_of_dpo_shrinks_where_that_of_ipo_cannot():
    """1.7: d is constant, so IPO's gap stays at .25; DPO's falls from 1.2310 to 1.1872."""
    P = np.array([[0.5, 0.75, 0.9], [0.25, 0.5, 0.65], [0.1, 0.35, 0.5]])
    before, after = np.log([0.5, 0.2, 0.3]), np.log([0.6, 0.2, 0.2])
    gap = lambda objective, log_mu: float(np.asarray(objective(1.0).implicit_reward(P, log_mu))[:2] @ [1, -1])
    assert gap(dyn.IPO, before) == pytest.approx(0.25, abs=1e-14)
    assert gap(dyn.IPO, after) == pytest.approx(0.25, abs=1e-14)
    assert gap(dyn.DPO, before) == pytest.approx(1.2310, abs=5e-5)
    assert gap(dyn.DPO, after) == pytest.approx(1.1872, abs=5e-5)
    assert dyn.theorems.skewed_sampling(P=P, log_mu=before, log_mu_skewed=after, better=0, worse=1).applicable
