"""Preference models and comparisons: laws, draws and errors against NumPy and SciPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

import dynamics as dyn
from dynamics.preferences import weighted_chi_square_cdf, weighted_chi_square_quantile
from dynamics.rewards import bradley_terry

UNIFORM = np.full(4, -np.log(4.0))


def model(seed=0, X=3, K=4, spread=1.0, gamma=0.5, **options):
    rng = np.random.default_rng(seed)
    logs = jax.nn.log_softmax(jnp.asarray(rng.normal(0, spread, (X, K))))
    mu = jax.nn.log_softmax(jnp.asarray(rng.normal(0, 0.5, (X, K))))
    return dyn.PreferenceModel(logs, gamma, log_sampler=mu, **options)


def information(log_target, gamma, pairs):
    """The Fisher information of one comparison, by its definition."""
    gap = gamma * (log_target[:, None] - log_target[None, :])
    p = 1 / (1 + np.exp(-gap))
    c = 2 * pairs * p * (1 - p) * (1 - np.eye(len(p)))
    return np.diag(c.sum(1)) - c


def spectra(m):
    found = []
    for x in range(len(m.log_target)):
        u = np.asarray(m.log_target[x])
        L = information(u, float(m.gamma), np.asarray(m.pairs[x]))
        pi = np.exp(u)
        found.append(np.linalg.eigvals(np.linalg.pinv(L) @ (np.diag(pi) - np.outer(pi, pi))).real)
    return np.array(found)


def test_the_error_constant_is_the_trace_and_ignores_weights():
    for weights in (None, [1.0, 5.0, 2.0]):
        m = model(weights=weights)
        expected = spectra(m).sum(1) / (2 * 0.5**2)
        np.testing.assert_allclose(m.error_constants(), expected, rtol=1e-10)
        assert m.error_constant() == pytest.approx(expected.sum(), rel=1e-10)
    # A context of weight 0 is not part of the mean error.
    assert model(weights=[1.0, 0.0, 2.0]).error_constant() == pytest.approx(expected[0] + expected[2], rel=1e-10)


def test_uniform_pairs_of_a_uniform_target_cost_what_7_9_says():
    m = dyn.PreferenceModel(UNIFORM, 0.7, log_sampler=UNIFORM)
    assert m.error_constant() == pytest.approx(3 / 0.7**2, rel=1e-13)


def test_pairs_by_name_are_those_of_the_sampler():
    m = model()
    log_pairs = m.log_sampler[..., :, None] + m.log_sampler[..., None, :]
    other = dyn.PreferenceModel(m.log_target, 0.5, log_pairs=log_pairs)
    np.testing.assert_allclose(other.error_constants(), m.error_constants(), rtol=1e-12)
    # One order alone is the same law of unordered pairs.
    p = np.exp(np.asarray(log_pairs[0]))
    with np.errstate(divide="ignore"):
        upper = np.log(np.triu(2 * p, 1) + np.diag(np.diag(p)))
    one = dyn.PreferenceModel(m.log_target[0], 0.5, log_pairs=upper)
    np.testing.assert_allclose(one.pairs, m.pairs[0], rtol=1e-12)


def test_responses_that_are_never_compared_leave_an_infinite_error():
    half = np.log(np.array([0.5, 0.5, 0.0, 0.0]) + 0.0, where=np.array([1, 1, 0, 0], bool), out=np.full(4, -np.inf))
    m = dyn.PreferenceModel(UNIFORM, 0.5, log_sampler=half)
    assert m.error_constant() == np.inf
    assert m.error_quantile(100, 0.5) == np.inf


def test_expected_counts_give_back_the_target():
    m = model(spread=3.0)
    data = m.expected(1e6)
    assert data.n == pytest.approx(1e6)
    reward = np.asarray(bradley_terry(data).reward) / 0.5
    np.testing.assert_allclose(jax.nn.log_softmax(jnp.asarray(reward)), m.log_target, atol=1e-11)


def test_drawn_counts_have_the_expected_mean_and_variance():
    m = model(weights=[1.0, 2.0, 0.5])
    n, sets = 400, 3000
    data = m.sample(n, key=jax.random.key(1), data_sets=sets)
    wins = np.asarray(data.wins)
    assert wins.shape == (sets, 3, 4, 4)
    np.testing.assert_array_equal(wins.sum((1, 2, 3)), n)
    assert data.of_equals == np.einsum("sxii->", wins)
    p = np.asarray(m.expected(1.0).wins)
    z = (wins.mean(0) - n * p) / np.sqrt(n * p * (1 - p) / sets)
    assert np.abs(z).max() < 5
    variance = wins.var(0) / (n * p * (1 - p))
    assert np.abs(variance - 1).max() < 6 * np.sqrt(2 / sets) + 6 / np.sqrt(sets * n * p.min())
    again = m.sample(n, key=jax.random.key(1), data_sets=sets)
    np.testing.assert_array_equal(again.wins, wins)
    assert (np.asarray(m.sample(n, key=jax.random.key(2), data_sets=sets).wins) != wins).any()


def test_the_error_times_n_is_its_constant():
    """n E_x KL over ΣV within 4 standard errors of 1, and its .9 quantile that of the weighted chi-square law."""
    m = model(spread=0.3, weights=[1.0, 3.0, 2.0])
    n, sets = 2**18, 200
    reward = np.asarray(bradley_terry(m.sample(n, key=jax.random.key(5), data_sets=sets)).reward)
    policy = np.asarray(jax.nn.log_softmax(jnp.asarray(reward) / 0.5))
    target = np.asarray(m.log_target)
    error = np.sum(np.exp(target) * (target - policy), axis=-1) @ np.asarray(m.weights)
    ratio = n * error / m.error_constant()
    assert abs(ratio.mean() - 1) < 4 * ratio.std(ddof=1) / np.sqrt(sets)
    assert ratio.std(ddof=1) / np.sqrt(sets) < 0.05
    below = int((error < m.error_quantile(n, 0.9)).sum())
    assert scipy.stats.binomtest(below, sets, 0.9).pvalue > 1e-3


@pytest.mark.parametrize("k", [1, 2, 7, 90, 400])
def test_equal_weights_are_a_chi_square_law(k):
    law = scipy.stats.chi2(k)
    for q in (1e-3, 0.05, 0.5, 0.95, 0.9999):
        x = law.ppf(q)
        assert weighted_chi_square_cdf(3.0 * x, np.full(k, 3.0)) == pytest.approx(q, abs=1e-11)
        assert weighted_chi_square_quantile(q, np.full(k, 3.0)) == pytest.approx(3.0 * x, rel=1e-7)


@pytest.mark.parametrize("ratio", [1e-6, 1e-3, 0.3])
def test_two_double_weights_are_a_sum_of_exponentials(ratio):
    a, b = 1.0, ratio
    law = lambda x: 1 - (a * np.exp(-x / (2 * a)) - b * np.exp(-x / (2 * b))) / (a - b)
    for x in (1e-3, 0.1, 1.0, 6.0, 20.0):
        assert weighted_chi_square_cdf(x, np.array([a, b, a, b])) == pytest.approx(law(x), abs=1e-11)


def test_one_heavy_and_many_light_weights():
    """Z² plus almost a constant: against a numerical convolution."""
    weights = np.concatenate([[1.0], np.full(400, 2.5e-3)])
    light, heavy = scipy.stats.chi2(400, scale=2.5e-3), scipy.stats.chi2(1)
    for x in (0.9, 1.5, 4.0):
        expected = scipy.integrate.quad(
            lambda y, x=x: light.pdf(y) * heavy.cdf(x - y), 0.5, x, epsabs=1e-12, limit=400
        )[0]
        assert weighted_chi_square_cdf(x, weights) == pytest.approx(expected, abs=1e-9)


def test_counts_are_checked_and_named():
    for wins, message in [
        ([[0, -1], [1, 0]], r"wins\[0, 1\] = -1 is negative"),
        ([[0, np.inf], [1, 0]], r"wins\[0, 1\] = inf is not finite"),
        ([[0, 2**60], [1, 0]], r"wins\[0, 1\] = 1.15292e\+18 is not below 9007199254740992"),
        (np.array([[0, 2], [-5, 0]], np.int32), r"wins\[1, 0\] = -5 is negative.*overflowed"),
        ([1, 2], r"wins has shape \(2,\)"),
        ([[1]], r"wins has shape \(1, 1\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            dyn.Comparisons(wins)


def test_bad_models_are_refused_by_name():
    good = {"log_target": UNIFORM, "gamma": 0.5, "log_sampler": UNIFORM}
    for change, message in [
        ({"gamma": 0.0}, "gamma = 0 is outside"),
        ({"gamma": -1.0}, "gamma = -1 is outside"),
        ({"log_target": np.array([0.0, -np.inf])}, "full support"),
        ({"log_sampler": None}, "either log_sampler= or log_pairs="),
        ({"log_pairs": np.full((4, 4), -np.log(16.0))}, "either log_sampler= or log_pairs="),
        ({"log_sampler": np.zeros(1)}, "log_sampler has shape"),
        ({"log_sampler": None, "log_pairs": UNIFORM}, "log_pairs has shape"),
        ({"log_target": np.stack([UNIFORM] * 2), "weights": [-1.0, 2.0]}, "negative"),
    ]:
        with pytest.raises(ValueError, match=message):
            dyn.PreferenceModel(**(good | change))
    m = dyn.PreferenceModel(**good)
    for call, message in [
        (lambda: m.sample(0, key=jax.random.key(0)), "n = 0"),
        (lambda: m.sample(2**60, key=jax.random.key(0)), "above 2"),
        (lambda: m.expected(0), "n = 0 is outside"),
        (lambda: m.error_quantile(10, 1.0), "q = 1 is outside"),
        (lambda: m.error_quantile(10, 0.0), "q = 0 is outside"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_counts_of_a_file_come_back_whole(tmp_path):
    wins = np.array([[0, 3, 7], [4, 0, 1], [2, 5, 0]])
    path = tmp_path / "votes.csv"
    path.write_text(
        "\n".join([",a,b,c", *(f"{name},{','.join(map(str, row))}" for name, row in zip("abc", wins, strict=True))])
    )
    np.testing.assert_array_equal(dyn.preferences.read(path).comparisons(0).wins, wins)
