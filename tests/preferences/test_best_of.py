"""Best against worst of n: by enumeration in Python, by simulation, and by mpmath where masses are tiny."""

import itertools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from dynamics import preferences
from dynamics.preferences import best_of_scores, best_of_tournament
from dynamics.sweeps import spread, vectorise

by_tournament = jax.jit(best_of_tournament, static_argnums=2)
by_scores = jax.jit(best_of_scores)

SCORES = {
    "distinct": [1.0, 2.0, 0.0, 0.5],
    "two and two": [1.0, 1.0, 0.0, 0.0],
    "all equal": [3.0, 3.0, 3.0, 3.0],
    "two at the top": [0.0, 2.0, 2.0, 1.0],
    "two inside": [0.0, 1.0, 1.0, 2.0],
}


def drawn(seed, K):
    rng = np.random.default_rng(seed)
    P = np.triu(rng.uniform(size=(K, K)), 1)
    return P + np.tril(1 - P.T, -1) + 0.5 * np.eye(K), rng.dirichlet(np.ones(K))


def extremes(values):
    """[(s, t, share)]: how likely draw s is the best and t the worst, by the values that rank them."""
    n, high, low = len(values), max(values), min(values)
    if high == low:
        return [(s, t, 1 / (n * (n - 1))) for s, t in itertools.permutations(range(n), 2)]
    best = [s for s in range(n) if values[s] == high]
    worst = [t for t in range(n) if values[t] == low]
    return [(s, t, 1 / (len(best) * len(worst))) for s in best for t in worst]


def enumerated_tournament(P, mu, n):
    M = np.zeros_like(P)
    matches = list(itertools.combinations(range(n), 2))
    for x in itertools.product(range(len(mu)), repeat=n):
        for first_wins in itertools.product((True, False), repeat=len(matches)):
            mass, wins = np.prod(mu[list(x)]), [0] * n
            for (s, t), first in zip(matches, first_wins, strict=True):
                rate = 0.5 if x[s] == x[t] else P[x[s], x[t]]
                mass *= rate if first else 1 - rate
                wins[s if first else t] += 1
            for s, t, share in extremes(wins):
                M[x[s], x[t]] += mass * share
    return M


def enumerated_scores(scores, mu, n):
    M = np.zeros((len(mu), len(mu)))
    for x in itertools.product(range(len(mu)), repeat=n):
        for s, t, share in extremes([scores[k] for k in x]):
            M[x[s], x[t]] += np.prod(mu[list(x)]) * share
    return M


@pytest.mark.parametrize("n", [2, 3, 4])
def test_tournament_is_what_enumeration_gives(n):
    P, mu = drawn(0, 3)
    P[0, 1], P[1, 0] = 1.0, 0.0
    np.testing.assert_allclose(
        by_tournament(jnp.asarray(P), jnp.asarray(mu), n), enumerated_tournament(P, mu, n), 1e-12
    )


@pytest.mark.parametrize("n", [3, 4])
def test_tournament_is_what_simulation_gives(n):
    P, mu = drawn(1, 4)
    rng, runs = np.random.default_rng(7), 200_000
    x = rng.choice(4, size=(runs, n), p=mu)
    wins = np.zeros((runs, n))
    for s, t in itertools.combinations(range(n), 2):
        rate = np.where(x[:, s] == x[:, t], 0.5, P[x[:, s], x[:, t]])
        first = rng.uniform(size=runs) < rate
        wins[:, s] += first
        wins[:, t] += ~first
    # A tie is broken by a uniform number of each draw; where all tie, its largest and smallest are a random ordered pair.
    luck = rng.uniform(size=(runs, n))
    best, worst = np.argmax(wins + luck, axis=1), np.argmin(wins + luck, axis=1)
    rows = np.arange(runs)
    counted = np.zeros((4, 4))
    np.add.at(counted, (x[rows, best], x[rows, worst]), 1 / runs)
    M = np.asarray(by_tournament(jnp.asarray(P), jnp.asarray(mu), n))
    assert (np.abs(counted - M) < 4 * np.sqrt(M * (1 - M) / runs)).all()


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("n", [2, 3, 5])
def test_scores_are_what_enumeration_gives(name, n):
    _, mu = drawn(2, 4)
    M = by_scores(jnp.asarray(SCORES[name]), jnp.asarray(mu), n)
    np.testing.assert_allclose(M, enumerated_scores(SCORES[name], mu, n), 1e-12, 1e-300)


def test_scores_are_what_simulation_gives():
    _, mu = drawn(3, 5)
    scores, n, runs = np.array([0.0, 1.0, 1.0, 2.0, 2.0]), 8, 200_000
    rng = np.random.default_rng(8)
    x = rng.choice(5, size=(runs, n), p=mu)
    ranked = scores[x] + 0.5 * rng.uniform(size=(runs, n))
    counted = np.zeros((5, 5))
    rows = np.arange(runs)
    np.add.at(counted, (x[rows, ranked.argmax(1)], x[rows, ranked.argmin(1)]), 1 / runs)
    M = np.asarray(by_scores(jnp.asarray(scores), jnp.asarray(mu), n))
    assert (np.abs(counted - M) <= 4 * np.sqrt(M * (1 - M) / runs)).all()


def exact_scores(scores, mu, n):
    m = [mp.mpf(float(x)) for x in mu]
    group = [sum(m[k] for k in range(len(m)) if scores[k] == s) for s in scores]

    def entry(i, j):
        a, b = group[i], group[j]
        if scores[i] < scores[j]:
            return mp.mpf(0)
        if scores[i] == scores[j]:
            return m[i] * m[j] * a ** (n - 2)
        S = sum(m[k] for k in range(len(m)) if scores[j] <= scores[k] <= scores[i])
        return m[i] * m[j] / (a * b) * (S**n - (S - a) ** n - (S - b) ** n + (S - a - b) ** n)

    return np.array([[entry(i, j) for j in range(len(m))] for i in range(len(m))])


@pytest.mark.parametrize("n", [2, 3, 7, 1000, 2.5])
def test_scores_keep_tiny_masses(n):
    """Masses down to 1e-200; n/eps is what rounding of mu itself makes of the result."""
    rng = np.random.default_rng(4)
    with mp.workdps(700):
        for trial in range(12):
            mu = 10.0 ** (-[0, 4, 30, 200][trial % 4] * rng.uniform(size=4))
            mu /= mu.sum()
            scores = rng.integers(0, 4, size=4).astype(float)
            M, exact = np.asarray(by_scores(jnp.asarray(scores), jnp.asarray(mu), n)), exact_scores(scores, mu, n)
            for got, want in zip(M.ravel(), exact.ravel(), strict=True):
                if want > mp.mpf("1e-290"):
                    assert abs(mp.mpf(float(got)) / want - 1) < 2e-15 * (n + 4)
                else:
                    assert got <= 1.01e-290


def masses(by, n, dtype=float):
    P, mu = (jnp.asarray(x, dtype) for x in drawn(5, 5))
    scores = jnp.array([1.0, 0.0, 1.0, 2.0, -1.0])
    return (lambda mu: by_tournament(P, mu, n)) if by == "matches" else (lambda mu: by_scores(scores, mu, n)), mu


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("K", [2, 5, 20])
def test_order_of_responses_does_not_matter_and_the_sum_is_one(n, K):
    P, mu = drawn(6, K)
    scores = np.random.default_rng(6).integers(0, 3, size=K).astype(float)
    order = np.random.default_rng(6).permutation(K)
    for function, given in ((by_tournament, P), (by_scores, scores)):
        M = np.asarray(function(jnp.asarray(given), jnp.asarray(mu), n))
        moved = given[order] if given.ndim == 1 else given[np.ix_(order, order)]
        moved = function(jnp.asarray(moved), jnp.asarray(mu[order]), n)
        np.testing.assert_allclose(moved, M[np.ix_(order, order)], 1e-12)
        assert abs(M.sum() - 1) < 1e-13
        assert M.min() >= 0


def test_two_draws_are_one_comparison():
    P, mu = drawn(7, 4)
    rates, copies = preferences.win_rates(jnp.asarray(P), jnp.asarray(mu)), np.diag(mu**2)
    np.testing.assert_allclose(by_tournament(jnp.asarray(P), jnp.asarray(mu), 2), rates + copies, 1e-15)
    ranked = jnp.array([0.0, 2.0, 2.0, 1.0])
    certain = 0.5 + 0.5 * jnp.sign(ranked[:, None] - ranked[None, :])
    expected = preferences.win_rates(certain, jnp.asarray(mu)) + copies
    np.testing.assert_allclose(by_scores(ranked, jnp.asarray(mu), 2), expected, 1e-14)


def test_a_strict_order_gives_the_same_by_matches_and_by_scores_but_for_copies():
    """With P = 0 or 1 by one order and hardly any copies, matches rank as scores do."""
    K = 60
    order = np.arange(K, dtype=float)
    mu = jnp.full(K, 1 / K)
    P = jnp.asarray(0.5 + 0.5 * np.sign(order[:, None] - order[None, :]))
    M, N = by_tournament(P, mu, 3), by_scores(jnp.asarray(order), mu, 3)
    assert float(jnp.abs(M - N).sum()) < 2 * 3 / K


@pytest.mark.thorough
@pytest.mark.parametrize("by", ["matches", "scores"])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_transformations(by, n):
    function, mu = masses(by, n)
    want = function(mu)
    lanes = jnp.stack([mu, mu[::-1], jnp.eye(5)[0]], axis=-1)
    expected = jnp.stack([function(lanes[:, k]) for k in range(3)], axis=-1)
    np.testing.assert_allclose(jax.vmap(function, -1, -1)(lanes), expected, 1e-13)
    got, flag = vectorise(function, (True,), 3)(lanes)
    np.testing.assert_allclose(spread(got, flag, 3), expected, 1e-13)
    function, mu = masses(by, n, jnp.float32)
    single = np.asarray(function(mu))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, want, 2e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("by", ["matches", "scores"])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_derivatives(by, n):
    function, mu = masses(by, n)
    rng = np.random.default_rng(9)
    d, e = (jnp.asarray(x * np.asarray(mu)) for x in rng.normal(size=(2, 5)))
    first = lambda m: jax.jvp(function, (m,), (d,))[1]
    step = 1e-5
    difference = lambda g, by: (g(mu + step * by) - g(mu - step * by)) / (2 * step)
    np.testing.assert_allclose(first(mu), difference(function, d), 1e-7, 1e-9)
    np.testing.assert_allclose(jax.jvp(first, (mu,), (e,))[1], difference(first, e), 1e-7, 1e-9)
    weights = jnp.asarray(rng.normal(size=(5, 5)))
    slope = jax.grad(lambda m: jnp.sum(weights * function(m)))(mu)
    np.testing.assert_allclose(slope @ d, jnp.sum(weights * first(mu)), 1e-12)


def test_derivatives_of_ranks_by_scores_next_to_and_at_masses_of_zero():
    scores = jnp.array([2.0, 1.0, 0.0, 0.0])
    by = lambda tiny: jnp.array([0.5, 0.0, 0.5 - 1.0, 1.0]) * tiny + jnp.array([0.5, 0.5, 0.0, 0.0])
    function = lambda tiny: by_scores(scores, by(tiny) / jnp.sum(by(tiny)), 6)
    for at in (0.0, 1e-300, 1e-12):
        _, slope = jax.jvp(function, (jnp.asarray(at),), (jnp.asarray(1.0),))
        assert bool(jnp.isfinite(slope).all())
    # Pr(best = 0, worst = 3) = 6·mu_3 · (1 - (1/2)^5) to first order in mu_3.
    _, slope = jax.jvp(function, (jnp.asarray(0.0),), (jnp.asarray(1.0),))
    np.testing.assert_allclose(slope[0, 3], 6 * (1 - 0.5**5), 1e-12)


@pytest.mark.thorough
def test_n_may_be_traced_and_is_differentiable():
    scores, mu = jnp.array([2.0, 1.0, 0.0]), jnp.array([0.2, 0.3, 0.5])
    function = jax.jit(lambda n: by_scores(scores, mu, n))
    slope = jax.jacfwd(function)(3.0)
    np.testing.assert_allclose(slope, (function(3.0 + 1e-5) - function(3.0 - 1e-5)) / 2e-5, 1e-8, 1e-10)


@pytest.mark.parametrize("n", [1, 5])
def test_other_numbers_of_matches_are_refused(n):
    with pytest.raises(ValueError, match=f"n = {n} responses cannot be ranked by matches"):
        best_of_tournament(jnp.full((2, 2), 0.5), jnp.full(2, 0.5), n)
