"""What holds for every preference matrix (7.14, 7.15, 7.16), at the edge and just beyond it."""

import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import dynamics as dyn
from dynamics import theorems
from dynamics.stability import contraction_rates, proven_everywhere, stable_everywhere


def tournament(K):
    """Each response beats the (K-1)/2 that follow it, always."""
    ahead = (np.arange(K)[None] - np.arange(K)[:, None]) % K
    return np.where(ahead == 0, 0.5, (ahead <= K // 2) * 1.0)


def reach(P):
    """The largest frequency of Sigma^½ A Sigma^½ at uniform."""
    return np.abs(np.linalg.eigvals((P - 0.5) / len(P))).max()


def test_regular_tournaments_approach_one_over_pi_from_below():
    sizes = range(3, 103, 2)
    found = np.array([reach(tournament(K)) for K in sizes])
    assert found[0] == pytest.approx(1 / (2 * np.sqrt(3)))
    assert (np.diff(found) > 0).all()
    assert (found < 1 / np.pi).all()
    assert found[-1] == pytest.approx(1 / np.pi, rel=2e-4)


def test_no_policy_and_matrix_that_a_search_finds_goes_beyond_one_over_pi():
    rng, largest = np.random.default_rng(0), 0.0
    for K in (3, 4, 5, 8):
        for start in range(6):
            upper = np.triu(rng.choice([-1.0, 1.0], (K, K)), 1)
            A, log_pi = (upper - upper.T) / 2, rng.standard_normal(K)
            best, size = _frequency(A, log_pi), 0.5
            for _ in range(300):
                moved = log_pi + size * rng.standard_normal(K)
                i, j = rng.choice(K, 2, replace=False)
                flipped = A.copy()
                if start % 2:
                    flipped[i, j], flipped[j, i] = A[j, i], A[i, j]
                new = _frequency(flipped, moved)
                if new > best:
                    A, log_pi, best = flipped, moved, new
                else:
                    size *= 0.99
            largest = max(largest, best)
    assert 0.28 < largest < 1 / np.pi


def _frequency(A, log_pi):
    pi = np.exp(oracles.log_softmax(log_pi))
    return np.abs(np.linalg.eigvals(A @ (np.diag(pi) - np.outer(pi, pi)))).max()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.99])
def test_convergence_at_the_edge_over_ten_thousand_rounds(alpha):
    """KL(pi*‖pi_t) falls by the proven factor in each of 10⁴ rounds, just above the beta that suffices for this P."""
    rng = np.random.default_rng(1)
    P = np.where(np.triu(np.ones((4, 4)), 1) > 0, rng.choice([0.0, 1.0], (4, 4)), 0.5)
    P = np.triu(P, 1) + np.tril(1 - P.T, -1) + 0.5 * np.eye(4)
    A = P - 0.5
    D = max(np.ptp(A[i] - A[j]) for i in range(4) for j in range(4))
    beta = D / (4 * np.sqrt(1 - alpha)) * 1.0001
    inputs = {"P": P, "alpha": alpha, "lam": 1.0, "beta": beta}
    rate = float(theorems.dimension_free_convergence(**inputs).upper)
    even = np.full(4, -np.log(4))
    target, residual = oracles.fixed_point(P, alpha, 1.0, beta, even, even)
    assert residual < 1e-10
    loop = dyn.SelfSampling(P, dyn.IPO(beta), alpha, 1.0)
    run = dyn.iterate(loop, 10_000, initial=jnp.asarray(oracles.log_softmax(np.array([0.0, -5.0, -9.0, -2.0]))))
    kl = oracles.kl_divergence(target, np.asarray(run.log_policy))
    clear = kl[:-1] > 1e-20
    assert clear.sum() > 10
    assert (kl[1:][clear] <= rate * kl[:-1][clear] * (1 + 1e-7)).all()


def test_three_times_the_reach_of_715_is_refuted_on_the_cycle():
    """At x = 3√(1-alpha) on the 3-cycle with certain wins at alpha = .5 the fixed point repels: radius² 2.92."""
    P, alpha = tournament(3), 0.5
    beta = 1.5 / (4 * 3 * np.sqrt(1 - alpha))
    assert not theorems.dimension_free_convergence(P=P, alpha=alpha, lam=1.0, beta=beta).applicable
    loop = dyn.SelfSampling(P, dyn.IPO(beta), alpha, 1.0)
    assert float(dyn.stability.spectral_radius(loop, loop.log_start())) ** 2 == pytest.approx(2.9167, abs=1e-4)
    run = dyn.iterate(loop, 400, initial=jnp.asarray(oracles.log_softmax(np.array([1e-3, 0.0, -1e-3]))))
    kl = oracles.kl_divergence(np.full(3, -np.log(3)), np.asarray(run.log_policy))
    assert kl[-1] > 1e3 * kl[0]


@pytest.mark.thorough
def test_the_certificate_reaches_where_the_older_statements_do_not():
    # Ends of lam/beta on the 3-cycle with a = .4 at alpha = .2: 7.3 2.667, 7.2 2.828, 7.15 2.981.
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(1 / 2.9), 0.2, 1.0)
    rates = contraction_rates(loop)
    assert [rate.statement for rate in rates] == ["[derived] statement 7.15"]
    report = dyn.stability.analyze(loop, starts=4)
    assert report.certificate == "proven stable"
    assert "7.15" in report.certificate_reason
    assert report.verdict == "converged"


def test_thresholds_for_every_matrix():
    for alpha in (0.0, 0.5, 0.99):
        proven, local = proven_everywhere(alpha, 0.7)[0, 0], stable_everywhere(alpha, 0.7)[0, 0]
        assert local < proven < 2.3 * local
        worst = tournament(101)
        for share, stable in ((1.001, True), (0.99, False)):
            radius = np.hypot(alpha, 0.7 * reach(worst) / (share * local))
            assert (radius < 1) == stable


@pytest.mark.parametrize(("L", "square"), [(1.0, 1.55), (3.0, 9.85), (7.0, 547.0)])
def test_with_bradley_terry_rewards_no_entropy_is_safe_for_every_matrix(L, square):
    """f = (2L, 0, L), pi ∝ (1, 1, e^-2L), P12, P23, P31 → 1: the squared frequency grows like e^L/2."""
    gap = np.array([2 * L, 0.0, L])
    S = 1 / (1 + np.exp(gap[None] - gap[:, None]))
    pi = np.exp(oracles.log_softmax(np.array([0.0, 0.0, -2 * L])))
    # B_ij = pi_i pi_j (P - S)_ij is skew with zero row sums, a multiple of the cycle; as large as P ≤ 1 allows.
    cycle = np.array([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
    room = np.where(cycle > 0, (1 - S) * np.outer(pi, pi), np.inf).min()
    below = np.where(cycle < 0, S * np.outer(pi, pi), np.inf).min()
    size = min(room, below)
    P = S + size * cycle / np.outer(pi, pi)
    dyn.preferences.check(P)
    bound = theorems.spectrum_dpo(P=P, alpha=0.0, beta=1.0, log_pi=np.log(pi), reward=gap - gap.mean())
    assert float(np.max(bound.upper)) ** 2 == pytest.approx(square, rel=5e-3)


@pytest.mark.parametrize("tau", [1.0, 1e-2, 1e-4, 1e-6])
def test_the_equilibrium_of_theorems_solves_its_equation_at_small_temperatures(tau):
    rng = np.random.default_rng(3)
    for _ in range(6):
        K = int(rng.integers(3, 6))
        upper = np.triu(rng.random((K, K)), 1)
        P = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(K)
        log_ref = oracles.log_softmax(rng.choice([0.0, 1.0, 5.0]) * rng.standard_normal(K))
        log_p = theorems.games.equilibrium(P, tau, log_ref)
        left = tau * (log_ref - log_p) + P @ np.exp(log_p)
        assert np.ptp(left) < 1e-10 * (1 + tau)
