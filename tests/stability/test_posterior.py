"""The hierarchical posterior: against brute force, its prior, ranks of truths from the prior, and pinned laws."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

import dynamics as dyn
from dynamics.stability import posterior, share
from dynamics.stability._gibbs import Pairs, log_odds, polya_gamma
from dynamics.stability._hierarchical import hierarchical
from dynamics.stability._laplace import SIGMAS, TAUS, log_prior_sigma, log_prior_tau
from dynamics.stability._triangles import Evidence, Triangles
from experiments.calibration._judge import judge
from experiments.calibration._laws import LAWS
from experiments.calibration._radii import critical, radii

KEY = jax.random.key(3)
LAW = {law.name: law for law in LAWS}


def three(*wins: float) -> np.ndarray:
    """Counts of three responses from the wins along the cycle and against it."""
    c = np.zeros((3, 3))
    c[0, 1], c[1, 0], c[1, 2], c[2, 1], c[2, 0], c[0, 2] = wins
    return c


def prior_scales(rng: np.random.Generator, n: int, K: int) -> tuple[np.ndarray, np.ndarray]:
    """(sigma, tau) from the prior, by inverse distribution functions on fine grids."""

    def drawn(grid: np.ndarray, log_density: np.ndarray) -> np.ndarray:
        cumulative = np.cumsum(np.exp(log_density))
        return np.interp(rng.uniform(size=n), cumulative / cumulative[-1], grid)

    sigma, tau = np.geomspace(SIGMAS[0], SIGMAS[-1], 4000), np.geomspace(TAUS[0], TAUS[-1], 4000)
    return drawn(sigma, log_prior_sigma(sigma)), drawn(tau, log_prior_tau(tau, K, 1.0))


def prior_draws(rng: np.random.Generator, n: int, K: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-odds of pairs without triangles, ``(n, p)``, sigma and tau."""
    pairs = Pairs(K)
    sigma, tau = prior_scales(rng, n, K)
    z = rng.standard_normal((n, len(pairs.i)))
    means = z @ pairs.B / K
    C = (tau / np.sqrt(1 - 2 / K))[:, None] * (z - pairs.differences(means))
    return pairs.differences(sigma[:, None] * rng.standard_normal((n, K))) + C, sigma, tau


class TestAgainstBruteForce:
    @pytest.mark.thorough
    @pytest.mark.parametrize("wins", [(7, 3, 6, 4, 8, 2), (5, 0, 3, 0, 0, 0), (2, 1, 2, 1, 2, 1)])
    def test_quantiles_with_three_responses(self, wins):
        """Importance sampling from the prior; the curl is the mean of the three log-odds around the cycle."""
        rng, counts = np.random.default_rng(1), three(*wins)
        eta, sigma, tau = prior_draws(rng, 400_000, 3)
        pairs = Pairs(3)
        c, n = counts[pairs.i, pairs.j], (counts + counts.T)[pairs.i, pairs.j]
        log = eta @ c - np.logaddexp(0, eta) @ n
        weight = np.exp(log - log.max())
        weight /= weight.sum()
        assert 1 / (weight**2).sum() > 20_000
        found = hierarchical(counts, rng, 6000, 1.0)
        P = found.P
        logit = np.log(P) - np.log(np.swapaxes(P, 1, 2))
        curl = (eta[:, 0] + eta[:, 2] - eta[:, 1]) / 3
        have = (logit[:, 0, 1] + logit[:, 1, 2] + logit[:, 2, 0]) / 3
        order = np.argsort(curl)
        wanted = np.interp((0.05, 0.5, 0.95), np.cumsum(weight[order]), curl[order])
        spread = np.sqrt(weight @ (curl - weight @ curl) ** 2)
        np.testing.assert_allclose(np.quantile(have, (0.05, 0.5, 0.95)), wanted, atol=0.09 * spread)
        assert found.tau.mean() == pytest.approx(weight @ tau, rel=0.05)
        assert found.sigma.mean() == pytest.approx(weight @ sigma, rel=0.12)
        if wins[0] == 7:  # pinned: from a million draws elsewhere
            np.testing.assert_allclose(wanted, (0.114, 0.728, 1.405), atol=0.02)

    def test_polya_gamma_has_its_laplace_transform(self):
        rng = np.random.default_rng(2)
        for b, z in ((1.0, 0.0), (15.0, 3.0), (2.5, 6.0)):
            x = polya_gamma(rng, np.full(200_000, b), np.full(200_000, z))
            u = 1 / x.mean()
            wanted = b * (np.log(np.cosh(z / 2)) - np.log(np.cosh(np.sqrt(z**2 + 2 * u) / 2)))
            assert np.log(np.exp(-u * x).mean()) == pytest.approx(wanted, abs=0.01)

    def test_the_constrained_draw_has_its_mean_and_covariance(self):
        K, M, rng = 4, 60_000, np.random.default_rng(3)
        pairs = Pairs(K)
        omega, D, kappa = rng.gamma(2, 1, 6), 3 * rng.gamma(1, 1, 6), rng.normal(size=6)
        omega[2] = 0  # a pair that was never compared
        s, C = log_odds(rng, pairs, kappa, np.tile(omega, (M, 1)), np.tile(D, (M, 1)), np.full(M, 0.7))
        np.testing.assert_allclose(C @ pairs.B, 0, atol=1e-12)
        inside = np.linalg.svd(pairs.B.T)[2][K - 1 :].T
        whole = np.hstack([pairs.B, inside])
        precision = whole.T @ np.diag(omega) @ whole
        precision[:K, :K] += np.eye(K) / 0.7**2
        precision[K:, K:] += inside.T @ np.diag(D) @ inside
        covariance = np.linalg.inv(precision)
        x = np.hstack([s, C @ inside])
        np.testing.assert_allclose(x.mean(0), covariance @ (whole.T @ kappa), atol=0.012)
        np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.012)

    def test_evidence_for_triangles_is_that_of_the_whole_covariance(self):
        K, rng = 5, np.random.default_rng(4)
        pairs = Pairs(K)
        omega, kappa, t, sigma = rng.gamma(2, 1, (1, 10)), rng.normal(size=(1, 10)), np.array([0.4]), np.array([0.8])
        prior = t[0] ** 2 * np.eye(10) + (sigma[0] ** 2 - t[0] ** 2 / K) * pairs.B @ pairs.B.T
        H = np.linalg.inv(prior + np.diag(1 / omega[0]))
        slots, evidence = Triangles(pairs, 1, 1, rng), Evidence(pairs, omega, t, sigma)
        np.testing.assert_allclose(evidence.left(kappa)[0], H @ (kappa / omega)[0])
        information = evidence.information(slots.corners[:, None], slots.sides[:, None])[0]
        for T in range(slots.count):
            u = np.zeros(10)
            u[slots.sides[:, T]] = 1, 1, -1
            assert information[T] == pytest.approx(u @ H @ u)


class TestPrior:
    def test_no_counts_give_the_prior(self):
        """Scales and a log-odds; triangles make log-odds wider than the Gaussian part alone, by their variance."""
        rng = np.random.default_rng(5)
        found = posterior(np.zeros((5, 5)), key=KEY, draws=4000)
        sigma, tau = prior_scales(rng, 100_000, 5)
        np.testing.assert_allclose(np.quantile(found.tau, (0.1, 0.5, 0.9)), np.quantile(tau, (0.1, 0.5, 0.9)), rtol=0.1)
        ratio = np.quantile(found.sigma, (0.2, 0.5, 0.8)) / np.quantile(sigma, (0.2, 0.5, 0.8))
        np.testing.assert_allclose(ratio, 1, atol=0.25)
        assert found.caution == ("There are no comparisons, so that the answer is the prior.",)
        assert found.prior_share == pytest.approx(1, abs=0.1)
        assert found.log10_bayes_factor == pytest.approx(0, abs=1e-9)
        assert abs((found.draws > 0.5)[:, 0, 1].mean() - 0.5) < 0.05

    def test_two_responses_are_as_by_quadrature(self):
        sigma, eta = np.geomspace(SIGMAS[0], SIGMAS[-1], 400)[:, None], np.linspace(-40, 40, 8001)
        joint = np.exp(log_prior_sigma(sigma) - 0.25 * (eta / sigma) ** 2 + 9 * eta - 12 * np.logaddexp(0, eta)) / sigma
        joint /= joint.sum()
        found = posterior(np.array([[0, 9], [3, 0]]), key=KEY, draws=6000)
        assert found.mean[0, 1] == pytest.approx((joint / (1 + np.exp(-eta))).sum(), abs=0.01)
        assert found.sigma.mean() == pytest.approx((joint * sigma).sum(), rel=0.1)

    @pytest.mark.parametrize(
        "counts",
        [
            np.array([[0, 3], [1, 0]]),
            three(5, 0, 5, 0, 0, 5),
            three(0.5, 1.5, 0, 0, 2, 0.5),
            three(1000, 0, 0, 0, 1, 1),
            np.kron(np.eye(2), np.array([[0, 4], [2, 0]])),
        ],
        ids=["K = 2", "one-sided", "halves", "1000:0", "disconnected"],
    )
    def test_edges(self, counts):
        found = posterior(counts, key=KEY, draws=60, one_sided=True)
        assert found.draws.shape == (60, *counts.shape)
        assert ((found.draws > 0) & (found.draws < 1)).all() or counts.max() == 1000
        np.testing.assert_allclose(found.draws + np.swapaxes(found.draws, 1, 2), 1, atol=1e-12)
        np.testing.assert_allclose(found.mean + found.mean.T, 1, atol=1e-12)
        assert np.isfinite(found.sigma).all()
        if len(counts) == 2:
            assert found.prior_share is None
        again = posterior(counts, key=KEY, draws=60, one_sided=True)
        np.testing.assert_array_equal(found.draws, again.draws)

    def test_bounds_on_one_side_and_few_votes_are_told(self):
        told = " ".join(posterior(three(5, 0, 5, 0, 0, 5), key=KEY, draws=60, one_sided=True).caution)
        assert "on one side only" in told
        assert "Fewer than 10 votes" in told
        enough = posterior(np.full((6, 6), 200.0) - 200 * np.eye(6), key=KEY, draws=60)
        assert enough.caution == ()

    @pytest.mark.parametrize(("name", "value"), [("model", "beta"), ("residual_scale", 0.0)])
    def test_bad_input_is_named(self, name, value):
        with pytest.raises(ValueError, match=name):
            posterior(three(1, 1, 1, 1, 1, 1), key=KEY, **{name: value})

    def test_a_strong_cycle_is_evidence_and_bradley_terry_is_not(self):
        cycle = posterior(three(300, 100, 300, 100, 300, 100), key=KEY, draws=60)
        assert cycle.log10_bayes_factor > 3
        P = np.asarray(dyn.preferences.bradley_terry(np.linspace(-1, 1, 8)))
        assert posterior(200 * P * (1 - np.eye(8)), key=KEY, draws=60).log10_bayes_factor < -0.5
        plant = 60 * P * (1 - np.eye(8))
        for i, j in ((5, 6), (6, 7), (7, 5)):
            plant[i, j], plant[j, i] = 45, 15
        found = posterior(plant, key=KEY, draws=300)
        assert found.log10_bayes_factor > 1
        assert found.mean[5, 6] > 0.65  # not shrunk away: the shares are .75


class TestRadii:
    @pytest.mark.thorough
    def test_radii_and_critical_betas_are_those_of_the_library(self):
        rng = np.random.default_rng(6)
        eta = rng.normal(size=(12, 5, 5))
        P = 1 / (1 + np.exp(np.swapaxes(eta, 1, 2) - eta))
        wanted = dyn.stability.spectral_radii(P, dyn.IPO(0.08), 0.5, 1.0).radius
        np.testing.assert_allclose(radii(P, 0.08, 0.5), wanted, rtol=1e-6)
        limits = dyn.stability.critical_betas(P, dyn.IPO, [0.5], [1.0], floor=0.02).beta[:, 0, 0]
        np.testing.assert_allclose(critical(P, 0.5, 0.02), limits, rtol=5e-3)
        assert (limits > 0).any()


@pytest.mark.slow
class TestCalibration:
    def test_ranks_of_truths_from_the_prior_are_uniform(self):
        """K = 4, 8 votes a pair, without triangles: 150 truths; 90% intervals cover within four standard errors."""
        rng, K, T = np.random.default_rng(7), 4, 150
        eta, sigma, tau = prior_draws(rng, T, K)
        pairs, ranks = Pairs(K), []
        for m in range(T):
            wins = rng.binomial(8, 1 / (1 + np.exp(-eta[m])))
            counts = np.zeros((K, K))
            counts[pairs.i, pairs.j], counts[pairs.j, pairs.i] = wins, 8 - wins
            found = hierarchical(counts, rng, 240, 1.0, slots=0)
            P01 = 1 / (1 + np.exp(-eta[m, 0]))
            ranks.append(
                [(found.sigma < sigma[m]).mean(), (found.tau < tau[m]).mean(), (found.P[:, 0, 1] < P01).mean()]
            )
        inside = ((np.array(ranks) > 0.05) & (np.array(ranks) < 0.95)).mean(axis=0)
        np.testing.assert_allclose(inside, 0.9, atol=4 * np.sqrt(0.09 / T))

    @pytest.mark.parametrize(
        ("name", "what", "bound"),
        [("BT .5", "cover", 0.8), ("BT 1, 12", "unstable", 0.1), ("BT 1 + .3, half missing", "unstable", 0.2)],
    )
    def test_pinned_laws(self, name, what, bound):
        law = LAW[name]
        rows = [judge(law, "hierarchical", (11, d), 240) for d in range(40)]
        if what == "cover":
            independent = [judge(law, "independent", (11, d), 240).cover[1] for d in range(40)]
            assert np.mean([row.cover[1] for row in rows]) > bound - 2 * np.sqrt(bound * (1 - bound) / 40)
            assert np.mean(independent) < 0.2
        else:
            assert np.mean([row.unstable for row in rows]) < bound

    def test_the_beta_called_safe_on_a_cycle_is(self):
        rows = [judge(LAW["3-cycle .6/.4"], "hierarchical", (12, d), 240) for d in range(100)]
        assert np.mean([row.safe[1] for row in rows]) >= 0.88


@pytest.mark.parametrize(("count", "draws"), [(3, 2), (-1, 2), (0, 0)])
def test_a_share_of_what_is_not_there_is_refused(count, draws):
    with pytest.raises(ValueError, match="0 ≤ count ≤ draws"):
        share(count, draws)


def test_the_interval_of_a_share_is_that_of_binomial_tails():
    found = share(3, 10, 0.9)
    assert (share(0, 5).low, share(5, 5).high) == (0.0, 1.0)
    assert stats.binom.sf(2, 10, found.low) == pytest.approx(0.05)
    assert stats.binom.cdf(3, 10, found.high) == pytest.approx(0.05)
