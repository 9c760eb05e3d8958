"""Rounds of finite samples: what is drawn, the optimum of a sample, and what many samples amount to."""

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
from scipy import optimize, stats

import dynamics as dyn
from dynamics.preferences import Masses, draw_wins, win_rates
from dynamics.solve import RESULTS

draw_many = jax.jit(jax.vmap(draw_wins, (0, None, None)))
optimum = lambda objective, wins, smoothing: objective.solve(
    Masses(wins, jnp.sum(wins), smoothing), jnp.zeros(len(wins))
)
least_squares = jax.jit(lambda wins: optimum(dyn.IPO(1.0), wins, 0.0))
maximum_likelihood = jax.jit(lambda wins, smoothing: optimum(dyn.DPO(1.0), wins, smoothing))


def wins_of(K, seed, edges):
    """Random counts on the first ``edges`` of all pairs, in random order."""
    rng = np.random.default_rng(seed)
    i, j = np.triu_indices(K, 1)
    W = np.zeros((K, K))
    for e in rng.permutation(len(i))[:edges]:
        W[i[e], j[e]], W[j[e], i[e]] = rng.integers(0, 6, 2)
    return W


@pytest.mark.parametrize("count", [1, 7, 60, 5000])
def test_counts_are_multinomial(count):
    """Each count is binomial (chi-squared over its values), and pairs of counts have the multinomial's covariance."""
    rates = np.asarray(win_rates(jnp.asarray(problems.matrix(3, 0)), jnp.array([0.6, 0.3, 0.1])))
    drawn = np.asarray(draw_many(jax.random.split(jax.random.key(count), 20_000), jnp.asarray(float(count)), rates))
    assert (drawn == np.floor(drawn)).all()
    assert (drawn >= 0).all()
    assert (drawn.sum((1, 2)) <= count).all()
    assert (np.diagonal(drawn, axis1=1, axis2=2) == 0).all()
    off = ~np.eye(3, dtype=bool)
    counts, p = drawn[:, off], rates[off]
    for values, share in zip(counts.T, p, strict=True):
        low, high = stats.binom.ppf([0.01, 0.99], count, share)
        edges = np.arange(max(low, 0), high + 1) if high - low < 25 else np.linspace(low, high, 25).astype(int)
        seen = np.histogram(values, [-np.inf, *(edges + 0.5), np.inf])[0]
        want = np.diff(stats.binom.cdf([-1, *edges, count], count, share)) * len(values)
        keep = want > 5
        # Rare values are taken together, so that the totals agree.
        seen, want = np.append(seen[keep], seen[~keep].sum()), np.append(want[keep], want[~keep].sum())
        seen, want = seen[want > 0], want[want > 0]
        if len(want) > 1:
            assert stats.chisquare(seen, want * seen.sum() / want.sum()).pvalue > 1e-4
    covariance = count * (np.diag(p) - np.outer(p, p))
    error = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)) * 2 / len(counts))
    assert (np.abs(np.cov(counts.T) - covariance) < 5 * error).all()


@pytest.mark.thorough
def test_draws_at_the_edges_of_what_is_likely():
    count = jnp.asarray(1e6)
    one = np.zeros((3, 3))
    one[1, 0] = 1.0
    keys = jax.random.split(jax.random.key(0), 50)
    assert (np.asarray(draw_many(keys, count, jnp.asarray(one))) == 1e6 * one).all()
    rare = np.zeros((3, 3))
    rare[0, 1], rare[1, 2] = 1e-300, 1 - 1e-12
    drawn = np.asarray(draw_many(keys, count, jnp.asarray(rare)))
    assert (drawn[:, 0, 1] == 0).all()
    assert (drawn[:, 1, 2] >= 1e6 - 2).all()
    even = np.full((4, 4), 1 / 12) * (1 - np.eye(4))
    drawn = np.asarray(draw_many(jax.random.split(jax.random.key(1), 4000), jnp.asarray(1e8), even))[:, 2, 3]
    assert abs(drawn.mean() - 1e8 / 12) < 4 * np.sqrt(1e8 / 12 / 4000)
    assert abs(drawn.std() / np.sqrt(1e8 * 11 / 144) - 1) < 0.05


@pytest.mark.parametrize("edges", [0, 1, 3, 6, 15])
@pytest.mark.parametrize("K", [6, 14])
def test_least_squares_of_least_norm(K, edges):
    W = wins_of(K, edges, edges)
    f, found = least_squares(W)
    assert bool(found)
    i, j = np.nonzero(W)
    rows = np.sqrt(W[i, j])[:, None] * (np.eye(K)[i] - np.eye(K)[j])
    want = np.linalg.lstsq(rows, 0.5 * np.sqrt(W[i, j]), rcond=None)[0] if len(i) else np.zeros(K)
    np.testing.assert_allclose(f, want, atol=1e-12)


@pytest.mark.parametrize("edges", [0, 1, 3, 6, 15])
def test_maximum_likelihood_of_least_norm(edges):
    K = 6
    W = wins_of(K, edges + 20, edges)
    f, found = maximum_likelihood(W, jnp.asarray(0.5))
    assert bool(found)
    smoothed = W + 0.5 * ((W + W.T) > 0)

    def loss(x):
        gap = x[:, None] - x[None, :]
        return np.sum(smoothed * np.logaddexp(0, -gap))

    def slope(x):
        pull = smoothed / (1 + np.exp(x[:, None] - x[None, :]))
        return pull.sum(0) - pull.sum(1)

    # From 0 descent stays orthogonal to what the loss does not see, and so ends at the minimiser of least norm.
    want = optimize.minimize(loss, np.zeros(K), jac=slope, method="BFGS", options={"gtol": 1e-10}).x
    np.testing.assert_allclose(f, want, atol=1e-6)  # as far as BFGS goes
    np.testing.assert_allclose(slope(np.asarray(f)), 0, atol=1e-10)


def test_an_optimum_at_infinity_is_seen_exactly():
    """0 beats 1, 1 beats 2, 2 beats 0: finite without smoothing. One win taken away: none."""
    W = np.zeros((4, 4))
    W[0, 1] = W[1, 2] = W[2, 0] = 3.0
    f, found = maximum_likelihood(W, jnp.asarray(0.0))
    assert bool(found)
    np.testing.assert_allclose(f, 0, atol=1e-14)
    W[2, 0] = 0.0
    f, found = maximum_likelihood(W, jnp.asarray(0.0))
    assert not bool(found)
    assert np.isfinite(f).all()


def test_an_optimum_at_infinity_is_a_result():
    loop = dyn.SelfSampling(problems.matrix(4, 0), dyn.DPO(0.3), 0.5, 1.0, samples=3, smoothing=0.0)
    with pytest.raises(RuntimeError, match="no finite optimum"):
        dyn.iterate(loop, 50, key=jax.random.key(0))
    sol = dyn.iterate(loop, 50, key=jax.random.key(0), throw=False)
    assert sol.result == RESULTS.unsolved
    assert np.isfinite(sol.log_policy).all()


@pytest.mark.thorough
@pytest.mark.parametrize("objective", [dyn.IPO(0.3), dyn.DPO(0.5)], ids=["IPO", "DPO"])
@pytest.mark.parametrize("K", [2, 4])
def test_samples_approach_the_exact_round_as_the_root_of_their_number(objective, K):
    """Mean distance over draws, at 64, 256, …, 2^18 comparisons: slope -1/2."""
    P, start, reference = problems.matrix(K, K, 0.2, 0.8), problems.log_policy(K, 1), problems.log_policy(K, 2)
    start = jnp.asarray(start)
    exact = dyn.SelfSampling(P, objective, 0.4, 0.7, reference)
    want = exact(start)
    sizes = 4.0 ** np.arange(3, 10)

    @jax.jit
    @jax.vmap
    def distance(n, key):
        loop = dyn.SelfSampling(P, objective, 0.4, 0.7, reference, samples=n)
        return jnp.linalg.norm(loop(start, key) - want)

    keys = jax.random.split(jax.random.key(K), (len(sizes), 400))
    off = np.array([distance(jnp.full(400, n), k).mean() for n, k in zip(sizes, keys, strict=True)])
    slope = np.polyfit(np.log(sizes[2:]), np.log(off[2:]), 1)[0]
    assert abs(slope + 0.5) < 0.03  # means of 400 distances scatter by 3–4 %
    assert off[-1] < off[0] / 20


@pytest.mark.thorough
def test_responses_that_no_comparison_links_keep_the_reference():
    """Four responses, two of them never sampled: their log-ratio to each other is the reference's."""
    offline = np.log(np.array([0.5, 0.5, 1e-300, 1e-300]))
    reference = problems.log_policy(4, 3)
    for objective in (dyn.IPO(0.2), dyn.DPO(0.2)):
        loop = dyn.SelfSampling(problems.matrix(4, 0), objective, 0.0, 0.0, reference, offline, samples=50)
        z = np.asarray(loop(jnp.asarray(problems.log_policy(4, 5)), jax.random.key(0)))
        change = z - reference
        np.testing.assert_allclose(change[2], change[3], atol=1e-13)
        np.testing.assert_allclose(change[:2].mean(), change[2], atol=1e-13)
        assert abs(change[0] - change[1]) > 1e-3


@pytest.mark.thorough
def test_a_sweep_draws_what_each_run_would():
    loop = dyn.SelfSampling(problems.matrix(4, 1), dyn.DPO(0.4), 0.5, 1.0, samples=40)
    key, start = jax.random.key(3), problems.log_policy(4, 0)
    over = {"samples": [5, 1000], "alpha": [0.2, 0.9]}
    ds = dyn.sweep(loop, over, rounds=30, measure=["cycle_strength", "final_entropy"], key=key, initial=start)
    for i, n in enumerate(over["samples"]):
        for j, alpha in enumerate(over["alpha"]):
            one = dyn.SelfSampling(problems.matrix(4, 1), dyn.DPO(0.4), alpha, 1.0, samples=n)
            run = dyn.iterate(
                one,
                30,
                initial=start,
                key=jax.random.fold_in(key, 2 * i + j),
                measure=["cycle_strength", "final_entropy"],
            )
            np.testing.assert_allclose(ds["cycle_strength"][i, j], run.cycle_strength, rtol=1e-8)
            np.testing.assert_allclose(ds["final_entropy"][i, j], run.final_entropy, rtol=1e-8)


def test_a_restart_draws_what_an_uninterrupted_run_would():
    loop = dyn.SelfSampling(problems.matrix(3, 1), dyn.IPO(0.3), 0.5, 1.0, samples=20)
    key = jax.random.key(1)
    whole = dyn.iterate(loop, 20, key=key)
    half = dyn.iterate(loop, 9, key=key)
    rest = dyn.iterate(loop, 11, key=key, initial=half.final)
    np.testing.assert_array_equal(whole.log_policy[-1], rest.log_policy[-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, "samples = 0; pass a whole number from 1"),
        ({"samples": 2.5}, "samples = 2.5; pass a whole number"),
        ({"samples": -3}, "samples = -3; pass a whole number"),
        ({"samples": 1e12}, "samples = 1e\\+12; pass a whole number from 1 to 1e\\+08"),
        ({"samples": np.nan}, "samples = nan"),
        ({"samples": np.array([1, 2])}, "samples has shape"),
        ({"samples": 5, "smoothing": -1.0}, "smoothing = -1 is outside"),
        ({"smoothing": 0.5}, "smoothing = 0.5 is for sampled comparisons; pass samples="),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        dyn.SelfSampling(problems.matrix(3, 0), dyn.IPO(0.3), 0.5, 1.0, **arguments)


def test_random_rounds_need_a_key_and_have_no_fixed_points():
    loop = dyn.SelfSampling(problems.matrix(3, 0), dyn.IPO(0.3), 0.5, 1.0, samples=10)
    with pytest.raises(ValueError, match="is random; pass key="):
        dyn.iterate(loop, 3)
    with pytest.raises(ValueError, match="no fixed points to analyse"):
        dyn.stability.analyze(loop)
    with pytest.raises(ValueError, match="samples = 0; pass"):
        dyn.sweep(loop, {"samples": [1, 0]}, rounds=2, measure="entropy", key=jax.random.key(0))


def test_a_round_by_itself_asks_for_its_key():
    loop = dyn.SelfSampling(problems.matrix(3, 0), dyn.IPO(0.3), 0.5, 1.0, samples=10)
    with pytest.raises(ValueError, match="pass key="):
        loop(jnp.zeros(3))


def test_more_comparisons_than_single_precision_counts_need_double():
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"from 1 to 10000 .or switch on jax_enable_x64"):
        dyn.SelfSampling(np.full((3, 3), 0.5), dyn.IPO(0.3), 0.5, 1.0, samples=20_000)
