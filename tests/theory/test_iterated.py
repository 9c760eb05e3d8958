"""Statements of docs/theory/rounds.md where no theorem measures them: the onset, vertices with ties, the noise of a round."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn

A, ALPHA, LAM = 0.4, 0.5, 1.0
KINDS = [(dyn.IPO, 1.0), (dyn.DPO, 4.0)]
TURN = np.exp(-2j * np.pi * np.arange(3) / 3) / 3


def onset(kappa):
    """2.1: the beta at which the 3-cycle loses stability."""
    return kappa * LAM * A * np.sqrt(3) / (3 * np.sqrt(1 - ALPHA**2))


@pytest.mark.parametrize(("kind", "kappa"), KINDS)
@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.5, 0.9])
def test_the_pair_at_the_onset_has_argument_arccos_alpha(kind, kappa, alpha):
    """2.1, on the regular tournament of 5; at alpha = 0 a quarter of a turn."""
    beta = kappa * A / np.tan(np.pi / 10) / (5 * np.sqrt(1 - alpha**2))
    loop = dyn.SelfSampling(dyn.preferences.cyclic(5, advantage=A), kind(beta), alpha, 1.0)
    J = np.asarray(dyn.stability.jacobian(loop, jnp.full(5, -np.log(5.0))))
    values = np.linalg.eigvals(J)
    leading = values[np.abs(values) > 1 - 1e-9]
    assert len(leading) == 2
    np.testing.assert_allclose(np.abs(np.angle(leading)), np.arccos(alpha), atol=1e-9)


def test_not_every_tournament_in_which_all_win_equally_often_has_the_frequency_of_the_circle():
    """2.1: √7 against cot(pi/14) = 4.38."""
    beats = np.isin((np.arange(7) - np.arange(7)[:, None]) % 7, [1, 2, 4])
    P = np.where(beats, 0.5 + A, 0.5 - A) + A * np.eye(7)
    loop = dyn.SelfSampling(P, dyn.IPO(1.0), 0.0, 1.0)
    radius = float(dyn.stability.spectral_radius(loop, jnp.full(7, -np.log(7.0))))
    assert radius == pytest.approx(A * np.sqrt(7) / 7, rel=1e-10)
    circle = dyn.SelfSampling(dyn.preferences.cyclic(7, advantage=A), dyn.IPO(1.0), 0.0, 1.0)
    assert float(dyn.stability.spectral_radius(circle, jnp.full(7, -np.log(7.0)))) == pytest.approx(
        A / np.tan(np.pi / 14) / 7, rel=1e-10
    )


@pytest.mark.parametrize(("kind", "kappa"), KINDS)
@pytest.mark.parametrize("margin", [-0.02, 0.0, 0.02])
def test_a_vertex_attracts_iff_it_beats_every_other_at_its_own_sampler(kind, kappa, margin):
    """2.2 (b) and (c): from a start of full support near the vertex, lam < 1, with one gap g of either sign or 0."""
    lam = 0.6
    offline = np.array([0.3, 0.5, 0.2])
    p13, p23 = 0.8, 0.7
    # g_2 = lam (P_12 - 1/2) + (1 - lam)(P_1 - P_2)·pi_0 is to be `margin`.
    fixed = (1 - lam) * offline[2] * (p13 - p23)
    p12 = 0.5 + (margin - fixed) / (lam + (1 - lam) * (offline[0] + offline[1]))
    P = np.array([[0.5, p12, p13], [1 - p12, 0.5, p23], [1 - p13, 1 - p23, 0.5]])
    mu = lam * np.eye(3)[0] + (1 - lam) * offline
    assert (P @ mu)[0] - (P @ mu)[1] == pytest.approx(margin, abs=1e-14)
    loop = dyn.SelfSampling(P, kind(0.05 * kappa), 1.0, lam, log_offline=np.log(offline))
    start = jax.nn.log_softmax(jnp.array([0.0, -4.0, -5.0]))
    policy = np.exp(np.asarray(dyn.iterate(loop, 400, initial=start).log_policy))
    if margin > 0:
        assert policy[-1, 1:].max() < 1e-6
    else:
        assert policy[-1, 1] > 0.5 * policy[0, 1]
    edge = dyn.SelfSampling(P[:2, :2], kind(0.05 * kappa), 1.0, 1.0)
    ratio = np.diff(np.asarray(dyn.iterate(edge, 5, initial=np.log([0.9, 0.1])).log_policy), axis=1)[:, 0]
    assert (np.sign(np.diff(ratio)) == -np.sign(p12 - 0.5)).all()


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "share"), [(dyn.IPO, 1 / 8), (dyn.DPO, 2.0)])
@pytest.mark.parametrize("K", [3, 5])
def test_the_noise_of_a_round_at_the_uniform_policy(kind, share, K):
    """2.5 (a): n times the covariance of C f is K/8 C for IPO and 2K C for DPO."""
    n, draws = 4000, 6000
    loop = dyn.SelfSampling(dyn.preferences.cyclic(K, advantage=A), kind(1.0), 0.5, 1.0, samples=n)
    z = jax.jit(jax.vmap(lambda key: loop(jnp.zeros(K), key)))(jax.random.split(jax.random.key(K), draws))
    f = np.asarray(z - z.mean(axis=1, keepdims=True))
    covariance = n * np.cov(f.T) / (share * K)
    np.testing.assert_allclose(covariance, np.eye(K) - 1 / K, atol=0.06)  # four standard errors of 6,000 draws
    assert np.trace(covariance) / (K - 1) == pytest.approx(1.0, abs=0.05)


def modes(kind, beta, n, runs, rounds):
    """w of every run in every round, (runs, rounds)."""
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, advantage=A), kind(beta), ALPHA, LAM, samples=n)

    def one(key):
        def step(z, k):
            z = loop(z, k)
            return z - z.mean(), z

        return jax.lax.scan(step, jnp.array([0.3, 0.0, -0.3]), jax.random.split(key, rounds))[1]

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), runs))) @ TURN


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "kappa"), KINDS)
def test_finite_samples_keep_the_mean_square_of_2_5(kind, kappa):
    n, ratio = 3000, 1.5
    beta = ratio * onset(kappa)
    square = ALPHA**2 + (1 - ALPHA**2) / ratio**2
    w = modes(kind, beta, n, 64, 300)[:, 60:]
    predicted = kappa**2 / (8 * n * beta**2 * (1 - square))
    measured = np.mean(np.abs(w) ** 2)
    print(kind.__name__, measured / predicted)
    assert measured == pytest.approx(predicted, rel=0.06)
    average = np.mean(np.abs(w.mean(axis=0)) ** 2)
    assert average == pytest.approx(predicted / 64, rel=0.4)  # of 240 correlated rounds


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "kappa"), KINDS)
def test_an_average_over_seeds_hides_the_oscillation(kind, kappa):
    w = modes(kind, 0.8 * onset(kappa), 30, 128, 120)[:, 80:]
    single = np.sqrt(np.mean(np.abs(w) ** 2))
    average = np.sqrt(np.mean(np.abs(w.mean(axis=0)) ** 2))
    print(kind.__name__, single, average)
    assert single > 0.5
    assert average < 3 * single / np.sqrt(128)


def test_cycle_strength_of_a_run_that_converges_is_bounded():
    """2.6: KL(pi*||start)/(K T (1 - q)), and (K-1)/K² for every run."""
    P = dyn.preferences.cyclic(3, advantage=A)
    alpha, beta = 0.5, 0.5
    q = max(alpha, alpha**2 + (float(np.linalg.norm(np.asarray(P) - 0.5, 2)) / (2 * beta)) ** 2)
    assert q < 1
    loop = dyn.SelfSampling(P, dyn.IPO(beta), alpha, 1.0)
    start = np.log([0.98, 0.015, 0.005])
    divergence = -np.log(3) - start.mean()
    for rounds in (1, 10, 1000):
        strength = float(dyn.diagnostics.cycle_strength(dyn.iterate(loop, rounds, initial=start).log_policy))
        assert strength <= divergence / (3 * (rounds + 1) * (1 - q))
    swing = np.log(np.full((3, 3), 1e-12) + np.eye(3))
    assert float(dyn.diagnostics.cycle_strength(swing)) == pytest.approx(2 / 9, rel=1e-9)
