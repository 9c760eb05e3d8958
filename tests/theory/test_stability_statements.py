"""What docs/theory/stability.md states beside the theorems: DPO off policy, bounded rewards, and how far each proof reaches."""

import numpy as np
import oracles
import pytest
import scipy.optimize

from dynamics import theorems


def complete(upper):
    """The preference matrix with this upper triangle."""
    P = np.triu(upper, 1)
    return P + np.tril(1 - P.T, -1) + 0.5 * np.eye(len(P))


def cycle(a):
    return complete(np.array([[0, 0.5 + a, 0.5 - a], [0, 0, 0.5 + a], [0, 0, 0]]))


def tournament(K):
    ahead = (np.arange(K)[None] - np.arange(K)[:, None]) % K
    return np.where(ahead == 0, 0.5, (ahead <= K // 2) * 1.0)


def row_span(P):
    """D, from the rate of the span norm at alpha = 0."""
    return float(theorems.span_contraction.claim(P=P, alpha=0.0, lam=1.0, beta=0.25).upper)


def reach(theorem, P, alpha):
    """The largest lam/beta at which a theorem applies, in logarithms."""

    def excess(log_ratio):
        return 0.5 - theorem(P=P, alpha=alpha, lam=1.0, beta=np.exp(-log_ratio)).applicable

    return np.exp(scipy.optimize.bisect(excess, -10.0, 10.0, xtol=1e-12))


def test_dpo_off_policy_has_five_fixed_points_of_which_three_attract():
    """7.1 at lam < 1: the signs of det(I - J) sum to 1, the degree of a map of the ball, so the five may be all."""
    P = complete(np.array([[0, 0.124, 0.1954], [0, 0, 0.9938], [0, 0, 0]]))
    alpha, lam, beta = 0.272218, 0.371459, 0.0273321
    reference = oracles.log_softmax(np.array([75.643, -103.58, 27.937]))
    offline = np.log([0.00093, 0.55943, 0.43964])
    starts = [
        [-73.45, 0.0, -121.73],
        [-0.067, -23.637, -2.736],
        [-0.30435, -6.34, -1.3446],
        [-0.2899, -7.273, -1.3824],
        [-1.454, -0.2661, -32.727],
    ]
    radii, signs, found = [], [], []
    for start in starts:
        log_pi, residual = oracles.fixed_point(P, alpha, lam, beta, reference, offline, "dpo", np.array(start))
        assert residual < 1e-9
        slope = oracles.jacobian_analytic(P, log_pi, alpha, lam, beta, offline, "dpo")
        signs.append(np.sign(np.linalg.det(np.eye(3) - slope)))
        radii.append(float(oracles.spectral_radius(slope)))
        found.append(log_pi)
    np.testing.assert_allclose(radii, [0.272, 0.656, 0.954, 1.227, 14.15], atol=5e-3)
    assert min(np.abs(a - b).max() for i, a in enumerate(found) for b in found[:i]) > 0.5
    assert sum(signs) == 1


def test_gaps_of_dpo_rewards_are_at_most_the_largest_log_odds():
    """7.1, existence: sorted rewards lie at most log(max P/(1 - max P)) apart, whatever the sampler; attained at K = 2."""
    rng, closest = np.random.default_rng(0), 0.0
    for trial in range(120):
        K = int(rng.integers(2, 6))
        P = complete(1 / (1 + np.exp(-rng.choice([0.3, 2.0, 6.0]) * rng.standard_normal((K, K)))))
        f = oracles.dpo_reward(P, oracles.log_softmax(rng.choice([1.0, 8.0]) * rng.standard_normal(K)))
        largest = np.log(P.max()) - np.log1p(-P.max())
        gap = np.diff(np.sort(f)).max()
        assert gap <= largest * (1 + 1e-9), trial
        closest = max(closest, gap / largest)
    assert closest == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("a", [0.1, 0.5])
def test_which_proof_reaches_furthest_on_the_cycle(a):
    """7.2: the span norm up to alpha = 1/7 and 7.15 up to 1/3 prove more; the onset lies 3/2 beyond 7.2."""
    P = cycle(a)
    for edge, other in ((1 / 7, theorems.span_contraction), (1 / 3, theorems.dimension_free_convergence)):
        below, above = (
            reach(other, P, alpha) / reach(theorems.global_convergence, P, alpha)
            for alpha in (edge - 1e-3, edge + 1e-3)
        )
        assert above < 1 < below
    for alpha in (0.0, 0.4, 0.95):
        proven = reach(theorems.global_convergence, P, alpha)
        onset = theorems.uniform_threshold(structure="cycle", K=3, advantage=a, alpha=alpha, lam=1.0).lower
        assert 1 / (proven * onset) == pytest.approx(1.5, rel=1e-9)


def test_rows_span_two_from_four_responses_on():
    """7.3: D ≤ 3/2 at K = 3, D = 0 at K = 2, and D = 2 occurs at K = 4."""
    assert row_span(cycle(0.5)) == pytest.approx(1.5)
    assert row_span(complete(np.array([[0, 0.9], [0, 0]]))) == pytest.approx(0.0, abs=1e-12)
    wins = np.array([[0.5, 0.5, 1, 0], [0.5, 0.5, 0, 1], [0, 1, 0.5, 0.5], [1, 0, 0.5, 0.5]])
    assert row_span(wins) == pytest.approx(2.0)
    largest = max(row_span(complete(np.array(upper))) for upper in corners())
    assert largest == pytest.approx(1.5)


def corners():
    """Upper triangles of the matrices of three responses with certain wins: D is convex in P, so largest at one of them."""
    for bits in np.ndindex(2, 2, 2):
        yield [[0.0, bits[0], bits[1]], [0.0, 0.0, bits[2]], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("alpha", [0.0, 0.9])
def test_the_universal_threshold_itself_is_stable_and_one_below_it_is_not(alpha):
    """7.14: its inequality is strict at every finite K, and tournaments come as close as one likes."""
    P, even = tournament(201), np.full(201, -np.log(201.0))
    threshold = 1 / (np.pi * np.sqrt(1 - alpha**2))
    at, below = (
        theorems.spectrum(P=P, alpha=alpha, lam=1.0, beta=share * threshold, log_pi=even).upper.max()
        for share in (1.0, 0.9997)
    )
    assert at < 1 < below
    cotangent = np.hypot(alpha, 1 / (np.tan(np.pi / 402) * 402 * threshold))
    assert at == pytest.approx(cotangent, rel=1e-12)
