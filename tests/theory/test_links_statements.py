"""Statements of docs/theory/links.md that no theorem measures: losses as links, entropy, and prompts that share features."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import dynamics as dyn
from dynamics.objectives import LINKS, Link, MarginLoss

RNG = np.random.default_rng(0)
L = {
    "linear": lambda r: r,
    "logistic": lambda r: np.tanh(r / 2) / 2,
    "probit": lambda r: np.asarray(jax.scipy.stats.norm.cdf(r)) - 0.5,
    "cauchit": lambda r: np.arctan(r) / np.pi,
}


class Exponential(MarginLoss):
    def loss(self, margin):
        return jnp.exp(-margin)


def matrix(K, rng=RNG, most=0.49):
    upper = np.triu(rng.uniform(-most, most, (K, K)), 1)
    return 0.5 + upper - upper.T


def uniform(K):
    return np.full(K, -np.log(K))


def gaps(f):
    return f[:, None] - f[None, :]


def spectrum(J):
    basis = np.linalg.svd(np.ones((1, len(J))))[2][1:].T
    return np.linalg.eigvals(basis.T @ J @ basis)


class TestLossesAndWinRates:
    """7.17: what a loss sees of P."""

    @staticmethod
    def unseen(mu):
        """A skew matrix D with D mu = 0."""
        rows = np.linalg.svd(mu[None])[2][1:]
        B = RNG.normal(size=(len(mu) - 1,) * 2)
        D = rows.T @ (B - B.T) @ rows
        return 0.05 * (D - D.T) / np.abs(D).max()

    @pytest.mark.parametrize(
        "loss", [*(Link(1.0, name) for name in LINKS), dyn.IPO(1.0), dyn.DPO(1.0), Exponential(1.0)]
    )
    def test_the_loss_is_a_function_of_win_rates_iff_its_odd_part_is_linear(self, loss):
        far = []
        for K in (3, 5):
            mu = RNG.dirichlet(np.ones(K))
            P, D = matrix(K, most=0.4), self.unseen(mu)
            np.testing.assert_allclose(D @ mu, 0, atol=1e-15)
            mass, r = np.outer(mu, mu), RNG.normal(size=(4, K))
            values = [[(mass * Q * np.asarray(loss.loss(jnp.asarray(gaps(x))))).sum() for x in r] for Q in (P, P + D)]
            far.append(np.ptp(np.subtract(*values)))
        assert (max(far) < 1e-14) == (type(loss) is not Exponential)

    @pytest.mark.thorough
    @pytest.mark.parametrize("link", LINKS)
    @pytest.mark.parametrize("K", [3, 6])
    def test_the_optimum_solves_the_links_equation_and_ranks_by_win_rates(self, link, K):
        for _ in range(5):
            P, mu = matrix(K, most=0.3), RNG.dirichlet(np.full(K, 0.5))
            f = np.asarray(Link(0.7, link).implicit_reward(P, np.log(mu)))
            np.testing.assert_allclose(L[link](gaps(f)) @ mu, (P - 0.5) @ mu, atol=1e-10)
            assert (np.argsort(f) == np.argsort(P @ mu)).all()

    @pytest.mark.thorough
    @pytest.mark.parametrize("link", LINKS)
    def test_only_a_matrix_of_the_links_own_kind_hides_the_sampler(self, link):
        x = np.array([0.3, -0.1, -0.2])
        own, samplers = 0.5 + L[link](gaps(x)), np.log(RNG.dirichlet(np.ones(3), 2))
        bent = own + 0.02 * np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]])
        moved = [np.ptp(np.subtract(*(Link(1.0, link).implicit_reward(P, m) for m in samplers))) for P in (own, bent)]
        assert moved[0] < 1e-10
        assert moved[1] > 1e-3
        # Rounds of it are linear in logs (7.6).
        log_reference, z = np.log([0.2, 0.5, 0.3]), np.log([0.6, 0.3, 0.1])
        loop = dyn.SelfSampling(own, Link(0.4, link), 0.6, 1.0, log_reference)
        run = dyn.iterate(loop, 5, initial=z).log_policy[-1]
        left = 0.6**5
        expected = left * z + (1 - left) * (log_reference + x / (0.4 * 0.4))
        np.testing.assert_allclose(oracles.centre(np.asarray(run)), oracles.centre(expected), atol=1e-9)

    @pytest.mark.thorough
    def test_flipped_labels_and_the_robust_loss(self):
        class Robust(MarginLoss):
            def loss(self, margin):
                return (0.8 * jax.nn.softplus(-margin) - 0.2 * jax.nn.softplus(margin)) / 0.6

        assert float(dyn.objectives.kappa(Robust(1.0))) == pytest.approx(4 / 0.6)
        P, beta = dyn.preferences.cyclic(3, 0.3), 0.5
        parts = {
            "sampler": dyn.samplers.OnPolicy(),
            "reference": dyn.references.Geometric(0.5, uniform(3)),
            "feedback": dyn.feedback.Noisy(0.2),
        }
        # The share 1 - 2 rate of the labels' frequency, which the robust loss restores.
        for loss, share in ((dyn.DPO(beta), 0.6), (Link(beta, label_smoothing=0.2), 0.36), (Robust(beta), 1.0)):
            found = float(dyn.stability.spectral_radius(dyn.Rounds(P, loss, **parts), uniform(3)))
            assert found == pytest.approx(np.hypot(0.5, share * 4 * 0.3 / (np.sqrt(3) * beta)), rel=1e-9)


class TestEntropy:
    """7.16."""

    @pytest.mark.parametrize(("L", "share"), [(0.0, 0.9), (1.0, 0.999), (4.0, 0.99), (9.0, 0.5)])
    def test_the_frequency_that_bradley_terry_rewards_reach(self, L, share):
        """omega² = share² e^L/(2/(1+s²)² + s/(1+s)²), s = e^-L, and the fixed point is one of rounds."""
        s, f = np.exp(-L), np.array([2 * L, 0.0, L])
        pi = np.array([1.0, 1.0, s * s]) / (2 + s * s)
        cycle = np.array([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
        size = share * s * s / ((2 + s * s) ** 2 * (1 + s))
        P = 1 / (1 + np.exp(-gaps(f))) + size * cycle / np.outer(pi, pi)
        assert ((P > 0) & (P < 1)).all()
        np.testing.assert_allclose(P[1, 2], 1 - (1 - share) / (1 + s), rtol=1e-9)
        wanted = share**2 / s / (2 / (1 + s * s) ** 2 + s / (1 + s) ** 2)
        args = (P, np.log(pi), 0.0, 1.0, 1.0, uniform(3), "dpo")
        found = spectrum(oracles.jacobian_analytic(*args))
        np.testing.assert_allclose(np.abs(found) ** 2, wanted, rtol=1e-6)
        # With alpha = .5 and beta = gamma = 1 the reference that keeps pi there.
        log_reference = 3 * np.log(pi) - 2 * f
        loop = dyn.Rounds(
            P,
            dyn.ReverseKL(1.0, 1.0),
            sampler=dyn.samplers.OnPolicy(),
            reference=dyn.references.Geometric(0.5, oracles.log_softmax(log_reference)),
        )
        np.testing.assert_allclose(oracles.centre(np.asarray(loop(jnp.log(pi)))), oracles.centre(np.log(pi)), atol=1e-7)
        radius = float(dyn.stability.spectral_radius(loop, jnp.log(pi)))
        assert radius**2 == pytest.approx(1 / 16 + wanted / 4, rel=1e-5)

    def test_at_alpha_one_the_limit_is_a_softmax_of_win_rates(self):
        for K in (2, 3, 5):
            P, beta, lam = matrix(K), 0.3, 0.8
            N = np.linalg.norm(P - 0.5 - (P - 0.5).mean(0) - (P - 0.5).mean(1)[:, None], 2)
            gamma = 1.01 * (np.hypot(beta, lam * N / 2) - beta) + 1e-3  # just above what 7.2 asks for
            loop = dyn.Rounds(
                P,
                dyn.ReverseKL(gamma, beta, "win-rate"),
                sampler=dyn.samplers.Mixture(lam, uniform(K)),
                reference=dyn.references.Geometric(1.0, uniform(K)),
            )
            run = np.asarray(
                dyn.iterate(loop, 20_000, initial=oracles.log_softmax(3 * RNG.normal(size=K))).log_policy[-1]
            )
            mu = lam * np.exp(run) + (1 - lam) / K
            np.testing.assert_allclose(oracles.centre(run), oracles.centre(P @ mu) / gamma, atol=1e-9)


@pytest.mark.thorough
def test_a_shared_parameter_turns_back_at_small_beta():
    """9.2: k = (1, 3), c = (-.3, .4): the fixed point above 0 has slope alpha + (1-alpha) theta w'/w, below -1 and falling."""
    phi = np.array([[[0.5], [-0.5]], [[1.5], [-1.5]]])
    P = np.array([[[0.5, 0.2], [0.8, 0.5]], [[0.5, 0.9], [0.1, 0.5]]])
    slopes = []
    for theta in (0.75, 0.85, 0.93):
        ratio = (np.cosh(theta / 2) / np.cosh(3 * theta / 2)) ** 2  # s_2/s_1
        w = (-0.3 + 1.2 * ratio) / (1 + 9 * ratio)
        moved = 3.9 / (1 + 9 * ratio) ** 2 * ratio * (np.tanh(theta / 2) - 3 * np.tanh(3 * theta / 2))
        beta = w / (0.5 * theta)
        slopes.append(0.5 + 0.5 * theta * moved / w)
        parts = {"sampler": dyn.samplers.OnPolicy(), "reference": dyn.references.Geometric(0.5, uniform(2))}
        loop = dyn.Rounds(P, dyn.IPO(beta), policy=dyn.LogLinear(phi), **parts)
        at = jax.nn.log_softmax(jnp.asarray(phi @ [theta]), axis=-1)
        np.testing.assert_allclose(np.asarray(dyn.iterate(loop, 1, initial=at).log_policy[-1]), at, atol=1e-12)
        assert float(dyn.stability.spectral_radius(loop, at)) == pytest.approx(abs(slopes[-1]), rel=1e-9)
    assert slopes[0] < -1
    assert (np.diff(slopes) < 0).all()


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [dyn.IPO, dyn.DPO])
def test_prompts_with_independent_features_move_each_by_itself(kind):
    """9.3: X(K-1) parameters are enough, one fewer is not."""
    X, K = 2, 3
    P = np.stack([matrix(K, most=0.4) for _ in range(X)])
    phi = RNG.normal(size=(X, K, X * (K - 1)))
    start = np.stack([oracles.log_softmax(RNG.normal(size=K)) for _ in range(X)])
    tabular = dyn.SelfSampling(P, kind(0.3), 0.5, 1.0, weights=[3.0, 1.0])
    apart = np.asarray(dyn.iterate(tabular, 12, initial=start).log_policy)
    shared = dyn.SelfSampling(P, kind(0.3), 0.5, 1.0, policy=dyn.LogLinear(phi), weights=[3.0, 1.0])
    np.testing.assert_allclose(np.asarray(dyn.iterate(shared, 12, initial=start).log_policy), apart, atol=1e-8)
    radii = [float(dyn.stability.spectral_radius(loop, jnp.asarray(apart[-1]))) for loop in (shared, tabular)]
    assert radii[0] == pytest.approx(radii[1], rel=1e-8)
    fewer = dyn.LogLinear(phi[..., :-1])
    inside = np.asarray(fewer.log_policy(jnp.asarray(RNG.normal(size=3))))
    ends = [
        np.asarray(dyn.iterate(dyn.SelfSampling(P, kind(0.3), 0.5, 1.0, **options), 1, initial=inside).log_policy[-1])
        for options in ({}, {"policy": fewer})
    ]
    assert np.abs(np.subtract(*ends)).max() > 1e-3


@pytest.mark.parametrize("kind", [dyn.IPO, dyn.DPO])
class TestClassesOfFeatures:
    """9.4."""

    @pytest.mark.thorough
    def test_the_jacobian_of_a_round(self, kind):
        for K, d, lam in ((3, 1, 1.0), (5, 3, 0.6)):
            P, phi, alpha, beta = matrix(K), RNG.normal(size=(K, d)), 0.4, 0.5
            policy = dyn.LogLinear(phi)
            log_pi = np.asarray(policy.log_policy(jnp.asarray(RNG.normal(size=d))))
            loop = dyn.SelfSampling(P, kind(beta), alpha, lam, policy=policy)
            moved = np.asarray(dyn.iterate(loop, 1, initial=log_pi).log_policy[-1])
            f = beta * (moved - alpha * log_pi)
            pi = np.exp(log_pi)
            mu, s = lam * pi + (1 - lam) / K, gaps(f) + 0.5 if kind is dyn.IPO else 1 / (1 + np.exp(-gaps(f)))
            E, W = P - s, np.outer(mu, mu) * (1.0 if kind is dyn.IPO else s * (1 - s))
            H = phi.T @ (np.diag(W.sum(1)) - W) @ phi
            D = lam * phi.T @ (np.diag(E @ mu) + mu[:, None] * E) @ (np.diag(pi) - np.outer(pi, pi)) @ phi
            wanted = np.linalg.eigvals(alpha * np.eye(d) + np.linalg.solve(H, D) / beta)
            found = np.asarray(dyn.stability.eigenvalues(loop, jnp.asarray(log_pi)))
            np.testing.assert_allclose(np.sort(np.abs(found)), np.sort(np.abs(wanted)), rtol=1e-8)

    @pytest.mark.thorough
    def test_at_uniform_fewer_features_have_a_smaller_norm(self, kind):
        K, alpha, lam, kappa = 5, 0.5, 0.9, 1.0 if kind is dyn.IPO else 4.0
        P = np.asarray(dyn.preferences.cyclic(K, 0.3))
        phi = np.linalg.qr(oracles.centre(RNG.normal(size=(K - 1, K))).T)[0]
        norms = [np.linalg.norm(phi[:, :d].T @ (P - 0.5) @ phi[:, :d], 2) for d in range(1, K)]
        assert norms[0] < 1e-15
        assert (np.diff(norms) > -1e-15).all()
        assert norms[-1] == pytest.approx(np.linalg.norm(P - 0.5, 2))
        for d, norm in enumerate(norms, 1):
            loop = dyn.SelfSampling(P, kind(0.7), alpha, lam, policy=dyn.LogLinear(phi[:, :d]))
            radius = float(dyn.stability.spectral_radius(loop, uniform(K)))
            assert radius == pytest.approx(np.hypot(alpha, kappa * lam * norm / (K * 0.7)), rel=1e-8)


@pytest.mark.parametrize(("kind", "unit"), [(dyn.IPO, 1.0), (dyn.DPO, 4.0)])
def test_the_noise_of_a_round_at_uniform(kind, unit):
    """9.6: Cov of the logits after one round from uniform, unit² K/(8 n beta²) C to leading order, whatever A with A1 = 0."""
    K, n, beta = 3, 4000, 0.7 * unit
    P = dyn.preferences.cyclic(K, 0.4)
    loop = dyn.SelfSampling(P, kind(beta), 0.5, 1.0, samples=n)
    keys = jax.random.split(jax.random.key(0), 4000)
    z = np.asarray(jax.jit(jax.vmap(lambda key: loop(jnp.zeros(K), key)))(keys))
    covariance = np.cov(oracles.centre(z).T)
    wanted = unit**2 * K / (8 * n * beta**2) * (np.eye(K) - 1 / K)
    np.testing.assert_allclose(covariance, wanted, atol=0.12 * wanted.max())
    mode = z @ np.exp(-2j * np.pi * np.arange(K) / K) / K
    assert (np.abs(mode) ** 2).mean() == pytest.approx(unit**2 / (8 * n * beta**2), rel=0.1)


def test_a_response_that_lost_everything_is_left_by_penalised_likelihood():
    """9.7: with gamma < 1 the value falls as the loser's mass goes to 0, however large beta is; with gamma > 1 it rises."""
    wins = np.array([[0.0, 3.0, 2.0], [1.0, 0.0, 4.0], [0.0, 0.0, 0.0]])
    log_ref = np.log([0.2, 0.3, 0.5])
    mass = wins / wins.sum()

    def value(eps, gamma, beta):
        log_pi = np.log([0.6 * (1 - eps), 0.4 * (1 - eps), eps])
        return (mass * np.logaddexp(0, -gamma * gaps(log_pi))).sum() + beta * np.exp(log_pi) @ (log_pi - log_ref)

    for beta in (0.1, 1.0, 100.0):
        falls = [value(eps, 0.5, beta) for eps in np.geomspace(1e-16, 1e-9 / beta**2, 8)]
        assert (np.diff(falls) > 0).all()
        rises = [value(eps, 1.5, beta) for eps in np.geomspace(1e-12, 1e-9 * beta, 8)]
        assert (np.diff(rises) < 0).all()
