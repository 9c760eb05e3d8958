"""One-shot optima against independent solvers, at the edges of the simplex and of the matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import problems
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics.objectives import DPO, IPO, MarginLoss, Objective

OBJECTIVES = (IPO, DPO)


@pytest.mark.parametrize("K", [2, 3, 5, 9])
@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0])
def test_ipo_matches_its_formula(K, scale):
    P, log_mu, log_ref = problems.matrix(K, K), problems.log_policy(K, 1, scale), problems.log_policy(K, 2)
    got = IPO(0.3).optimum(P, log_mu, log_ref)
    np.testing.assert_allclose(got, oracles.ipo_optimum(P, log_mu, log_ref, 0.3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("K", [2, 3, 5, 9])
@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0, 30.0])
def test_dpo_reward_to_twelve_digits(K, scale):
    for seed in range(8):
        P, log_mu = problems.matrix(K, seed), problems.log_policy(K, seed + 100, scale)
        f = DPO(1.0).implicit_reward(P, log_mu)
        np.testing.assert_allclose(f, oracles.dpo_reward(P, log_mu), rtol=1e-12, atol=1e-12)
        assert abs(float(f.sum())) < 1e-12


def test_both_optima_minimise_their_population_loss():
    """The losses themselves, not their stationarity: no nearby h does better."""
    P, log_mu, beta = problems.matrix(4, 3), problems.log_policy(4, 4), 0.7
    rng = np.random.default_rng(0)
    f_dpo = np.asarray(DPO(beta).implicit_reward(P, log_mu))
    h_ipo = np.asarray(IPO(beta).implicit_reward(P, log_mu)) / beta
    for _ in range(50):
        off = 1e-3 * rng.normal(size=4)
        assert oracles.dpo_population_loss(P, log_mu, f_dpo) < oracles.dpo_population_loss(P, log_mu, f_dpo + off)
        assert oracles.ipo_population_loss(P, log_mu, h_ipo, beta) < oracles.ipo_population_loss(
            P, log_mu, h_ipo + off, beta
        )


@pytest.mark.parametrize("w", [0, 1, 3])
def test_dpo_at_a_vertex_is_the_row_of_logits(w):
    P = problems.matrix(4, 7)
    log_mu = np.where(np.arange(4) == w, 0.0, -np.inf)
    f = np.asarray(DPO(1.0).implicit_reward(P, log_mu))
    np.testing.assert_allclose(f - f[w], np.log(P[:, w] / P[w]), atol=1e-13)


def test_dpo_near_a_vertex_solves_the_equation_not_its_weighted_gradient():
    """At mu = (1-2e, e, e) the mu-weighted gradient vanishes for wrong f too; the equation's rows do not."""
    P = problems.matrix(3, 11)
    for e in (1e-3, 1e-8, 1e-20, 1e-300):
        log_mu = np.log(np.array([1 - 2 * e, e, e]))
        f = np.asarray(DPO(1.0).implicit_reward(P, log_mu))
        S = 1 / (1 + np.exp(-(f[:, None] - f[None, :])))
        mu = np.exp(log_mu)
        np.testing.assert_allclose(S @ mu, P @ mu, rtol=1e-14)


@settings(max_examples=150, deadline=None)
@given(
    K=st.integers(2, 6),
    seed=st.integers(0, 10**6),
    edge=st.sampled_from([1e-2, 1e-6, 1e-12, 1e-15]),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e3, 1e5]),
    dropped=st.booleans(),
)
def test_dpo_stationarity_is_relative_to_rounding_everywhere(K, seed, edge, scale, dropped):
    """Odds of winning an encounter, right to 1e-14 of the larger of log-odds and 1, whatever the masses are."""
    P = problems.matrix(K, seed, edge, 1 - edge)
    hard = np.random.default_rng(seed).random((K, K)) < 0.5
    P = np.where(np.triu(hard, 1), np.where(P > 0.5, 1 - edge, edge), P)
    P = np.triu(P, 1) + np.tril(1 - np.triu(P, 1).T, -1) + 0.5 * np.eye(K)
    log_mu = problems.log_policy(K, seed + 1, scale)
    if dropped:
        log_mu[seed % K] = -np.inf
        log_mu = log_mu - np.logaddexp.reduce(log_mu)
    f = np.asarray(DPO(1.0).implicit_reward(P, log_mu))
    off = ~np.eye(K, dtype=bool)
    gap = f[:, None] - f[None, :]
    log_win, log_lose = -np.logaddexp(0, -gap), -np.logaddexp(0, gap)
    for i in range(K):
        j = off[i] & (log_mu > -np.inf)
        if j.any():
            side = lambda logs, i=i, j=j: np.logaddexp.reduce(log_mu[j] - log_mu[j].max() + logs[i, j])
            have = side(log_win) - side(log_lose)
            want = side(np.log(P)) - side(np.log(P.T))
            assert abs(have - want) <= 1e-14 * (1 + abs(side(np.log(P))) + abs(side(np.log(P.T))))


def test_zero_and_one_entries_where_the_optimum_exists():
    P = np.array([[0.5, 1, 0, 0.3], [0, 0.5, 1, 0.6], [1, 0, 0.5, 0.2], [0.7, 0.4, 0.8, 0.5]])
    log_mu = problems.log_policy(4, 0)
    f = DPO(1.0).implicit_reward(P, log_mu)
    np.testing.assert_allclose(f, oracles.dpo_reward(P, log_mu), atol=1e-12)


def test_missing_optimum_names_the_group_that_beats_the_rest():
    P = problems.from_upper([0.6, 1.0, 1.0], [1.0, 1.0], [0.3])
    with pytest.raises(ValueError, match=r"responses \[0, 1\] beat every other"):
        DPO(1.0).implicit_reward(P, np.log(np.full(4, 0.25)))
    # Off the support of the sampler the pair (0, 2) is never compared: what is left is linked.
    only_top = np.log(np.array([0.5, 0.5, 1e-300, 1e-300]))
    only_top[2:] = -np.inf
    with pytest.raises(ValueError, match="response 2, outside the sampler's support, loses to every"):
        DPO(1.0).implicit_reward(P, only_top)
    assert np.isfinite(IPO(1.0).implicit_reward(P, only_top)).all()


def test_traced_missing_optimum_is_an_error_not_a_nan():
    P = jnp.asarray(problems.from_upper([1.0]))
    reward = jax.jit(lambda P, log_mu: DPO(1.0).implicit_reward(P, log_mu))
    with pytest.raises(RuntimeError, match="no finite minimiser"):
        reward(P, jnp.log(jnp.array([0.5, 0.5]))).block_until_ready()


def test_dpo_derivative_is_the_implicit_one():
    """Lap df = -(S - P) dmu, S - P and Lap at mu; and by P itself against central differences."""
    P, log_mu = problems.matrix(5, 2), problems.log_policy(5, 3)
    got = jax.jacfwd(lambda l: DPO(1.0).implicit_reward(P, l))(jnp.asarray(log_mu))
    want = oracles.reward_derivative(P, log_mu, "dpo") * np.exp(log_mu)[None, :]
    np.testing.assert_allclose(oracles.centre(np.asarray(got).T).T, oracles.centre(want.T).T, atol=1e-12)
    np.testing.assert_allclose(
        jax.jacrev(lambda l: DPO(1.0).implicit_reward(P, l))(jnp.asarray(log_mu)), got, atol=1e-14
    )
    skew = np.zeros((5, 5))
    skew[1, 3], skew[3, 1] = 1, -1
    _, df = jax.jvp(lambda p: DPO(1.0).implicit_reward(p, log_mu), (jnp.asarray(P),), (jnp.asarray(skew),))
    h = 1e-5
    central = (oracles.dpo_reward(P + h * skew, log_mu) - oracles.dpo_reward(P - h * skew, log_mu)) / (2 * h)
    np.testing.assert_allclose(df, central, atol=1e-8)  # central differences: h² and eps/h


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_equivariance_and_duplicates(objective):
    P, log_mu, log_ref = problems.matrix(4, 5), problems.log_policy(4, 6), problems.log_policy(4, 7)
    out = np.asarray(objective(0.2).optimum(P, log_mu, log_ref))
    order = np.array([2, 0, 3, 1])
    moved = objective(0.2).optimum(P[np.ix_(order, order)], log_mu[order], log_ref[order])
    np.testing.assert_allclose(moved, out[order], atol=1e-12)
    # Response 3 split into two equal halves: each keeps half of its probability, the others theirs.
    twice = np.array([0, 1, 2, 3, 3])
    half = np.array([0, 0, 0, 1, 1]) * np.log(2)
    split = objective(0.2).optimum(P[np.ix_(twice, twice)], log_mu[twice] - half, log_ref[twice] - half)
    np.testing.assert_allclose(split, out[twice] - half, atol=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_works_under_jit_and_vmap_without_recompiling(objective):
    P, log_mu = jnp.asarray(problems.matrix(3, 1)), jnp.asarray(problems.log_policy(3, 1))
    traces = []

    @jax.jit
    def reward(beta: jax.Array, log_mu: jax.Array) -> jax.Array:
        traces.append(1)
        return objective(beta).optimum(P, log_mu, log_mu)

    direct = objective(0.2).optimum(P, log_mu, log_mu)
    np.testing.assert_allclose(reward(jnp.asarray(0.2), log_mu), direct, atol=1e-14)
    reward(jnp.asarray(0.9), log_mu)
    assert len(traces) == 1
    many = jax.vmap(lambda b: objective(b).optimum(P, log_mu, log_mu))(jnp.array([0.2, 0.5]))
    np.testing.assert_allclose(many[0], direct, atol=1e-14)


@pytest.mark.parametrize("beta", [0.0, -1.0, np.nan, np.inf, np.array([0.1, 0.2])])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_bad_beta_is_refused(objective, beta):
    with pytest.raises(ValueError, match="beta"):
        objective(beta)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    ("log_mu", "words"),
    [
        (np.array([0.5, 0.3, 0.2]), "total probability"),
        (np.array([np.nan, 0.0, 0.0]), r"log_mu\[0\]"),
        (np.full(3, -np.inf), "total probability"),
    ],
)
def test_bad_sampler_is_refused(objective: type[Objective], log_mu, words):
    with pytest.raises(ValueError, match=words):
        objective(0.1).implicit_reward(problems.matrix(3, 0), log_mu)


def test_a_loss_that_rises_is_refused():
    class Wrong(MarginLoss):
        def loss(self, margin):
            return jnp.exp(margin)

    with pytest.raises(ValueError, match=r"prefers the response that lost; write f\(-r\)"):
        Wrong(0.5)
