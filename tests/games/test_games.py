"""Round maps of games: radii against closed forms, critical steps, reductions to IPO's rounds, and equilibria."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq, linprog

import dynamics as dyn
from dynamics import games

A = 0.4
CYCLE = np.asarray(dyn.preferences.cyclic(3, A))
OMEGA = A / np.sqrt(3)
EVEN = np.full(3, -np.log(3))
OFF = np.asarray(jax.nn.log_softmax(jnp.array([0.02, 0.0, -0.03])))


def random_matrix(K, seed):
    x = np.random.default_rng(seed).normal(0, 1.5, (K, K))
    upper = np.triu(1 / (1 + np.exp(-x)), 1)
    return upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(K)


def skewed(K, seed):
    z = np.random.default_rng(seed).normal(size=K)
    return z - np.log(np.exp(z).sum())


def maps(P, eta, tau, ref=None):
    """Every map, and its eigenvalues for an eigenvalue i omega of C A Sigma, written down from the table of section 8."""
    q, e = 1 - eta * tau, lambda w: eta * w
    return {
        "omd": (lambda: games.MirrorDescent(P, eta, tau, ref), lambda w: [q + 1j * e(w)]),
        "mmd": (
            lambda: games.MirrorDescent(P, eta, tau, ref, proximal=True),
            lambda w: [(1 + 1j * e(w)) / (1 + eta * tau)],
        ),
        "egpo": (lambda: games.Extragradient(P, eta, tau, ref), lambda w: [q + 1j * e(w) * (q + 1j * e(w))]),
        "mirror prox": (
            lambda: games.Extragradient(P, eta, tau, ref, proximal=True),
            lambda w: [(1 + 1j * e(w) * (1 + 1j * e(w)) / (1 + eta * tau)) / (1 + eta * tau)],
        ),
        "optimistic": (
            lambda: games.OptimisticMirrorDescent(P, eta, tau, ref),
            lambda w: np.roots([1, -(q + 2j * e(w)), 1j * e(w)]),
        ),
    }


@pytest.mark.thorough
@pytest.mark.parametrize("name", maps(CYCLE, 1.0, 0.1))
@pytest.mark.parametrize(("eta", "tau"), [(1.3, 0.1), (0.4, 0.3)])
@pytest.mark.parametrize("K", [3, 5])
def test_radii_are_those_of_the_table(name, eta, tau, K):
    P, ref = (CYCLE, EVEN) if K == 3 else (random_matrix(K, 2), skewed(K, 3))
    make, values = maps(P, eta, tau, ref)[name]
    game = make()
    at = games.nash(P, tau, ref).log_policy
    p = np.exp(at)
    C = np.eye(K) - 1 / K
    basis = np.linalg.svd(C)[0][:, : K - 1]
    omegas = np.linalg.eigvals(basis.T @ (P - 0.5) @ (np.diag(p) - np.outer(p, p)) @ basis).imag
    wanted = max(abs(value) for w in omegas for value in values(w))
    found = dyn.stability.spectral_radius(game, jnp.asarray(at))
    np.testing.assert_allclose(float(found), wanted, rtol=1e-9)
    moved, _ = game.advance(game.start(jnp.asarray(at)), None)
    np.testing.assert_allclose(np.asarray(game.log_policy(moved)), at, atol=1e-11)


def test_nash_md_moves_its_mixture_to_the_equilibrium_of_another_temperature():
    P, ref, eta, tau = random_matrix(4, 1), skewed(4, 2), 0.5, 0.4
    game = games.NashMD(P, eta, tau, ref)
    z = dyn.iterate(game, 400, initial=ref).log_policy[-1]
    mixed = jax.nn.log_softmax((1 - eta * tau) * z + eta * tau * ref)
    wanted = games.nash(P, tau / (1 - eta * tau), ref).log_policy
    np.testing.assert_allclose(np.asarray(mixed), wanted, atol=1e-10)
    assert np.abs(np.asarray(z) - games.nash(P, tau, ref).log_policy).max() > 0.01
    q, e = 1 - eta * tau, eta * OMEGA
    found = dyn.stability.spectral_radius(games.NashMD(CYCLE, eta, tau), jnp.asarray(EVEN))
    np.testing.assert_allclose(float(found) ** 2, q**2 * (1 + e**2), rtol=1e-10)


def test_the_online_gradient_and_the_proximal_point():
    s, tau = 0.2, 0.5
    found = dyn.stability.spectral_radius(games.OnlineGradient(CYCLE, s, tau), jnp.asarray(EVEN))
    np.testing.assert_allclose(float(found), abs(1 - 4 * s / 3 * (1 - 1j * OMEGA / tau)), rtol=1e-10)
    for tau in (0.02, 0.5):
        game = games.ProximalPoint(CYCLE, tau)
        found = dyn.stability.spectral_radius(game, jnp.asarray(EVEN))
        np.testing.assert_allclose(float(found), 1 / np.sqrt(1 + (OMEGA / tau) ** 2), rtol=1e-9)
    P, z = random_matrix(5, 4), 10 * skewed(5, 5)
    moved, found = games.ProximalPoint(P, 0.05).advance(jnp.asarray(z - z.mean()), None)
    gap = np.asarray(moved) - z - P @ np.asarray(jax.nn.softmax(moved)) / 0.05
    assert bool(found)
    assert np.ptp(gap) < 1e-11


CRITICAL = {  # statement 8.3, 3-cycle with a = .4: eta by tau
    "omd": {0.05: 1.79, 0.2: 4.29},
    "mmd": {0.05: 1.97, 0.1: 4.62},
    "optimistic": {0.05: 2.46, 0.2: 2.21},
    "egpo": {0.05: 4.89, 0.2: 4.52},
    "mirror prox": {0.05: 6.48, 0.1: 9.89},
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", CRITICAL)
def test_critical_steps_by_radius_and_by_simulation(name):
    for tau, wanted in CRITICAL[name].items():
        game = lambda eta, tau=tau: maps(CYCLE, eta, tau)[name][0]()
        found = dyn.stability.critical(game(1.0), "eta", (0.01, min(1 / tau, 40.0) if name == "omd" else 40.0))
        values = [c.value for c in found if c.direction == "loses stability"]
        assert min(values) == pytest.approx(wanted, rel=5e-3)
        for factor, settles in ((0.97, True), (1.03, False)):
            run = dyn.iterate(game(factor * values[0]), 6000, initial=OFF)
            far = float(jnp.abs(jnp.exp(run.log_policy[-200:]) - 1 / 3).max())
            assert (far < 1e-4) == settles


def test_rounds_of_mirror_descent_and_of_sppo_are_those_of_ipo_and_have_their_certificates():
    P, ref = random_matrix(4, 7), skewed(4, 8)
    eta, tau = 0.6, 0.7
    plain = dyn.SelfSampling(P, dyn.IPO(1 / eta), 1 - eta * tau, 1.0, ref)
    proximal = dyn.SelfSampling(P, dyn.IPO((1 + eta * tau) / eta), 1 / (1 + eta * tau), 1.0, ref)
    pairs = (
        (games.MirrorDescent(P, eta, tau, ref), plain),
        (games.MirrorDescent(P, eta, tau, ref, proximal=True), proximal),
        (games.SPPO(P, eta), dyn.SelfSampling(P, dyn.IPO(1 / eta), 1.0, 1.0)),
    )
    for game, loop in pairs:
        one, other = (dyn.iterate(rounds, 40, initial=ref).log_policy for rounds in (game, loop))
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1e-12)
        assert dyn.rounds.canonical(game) is not None
    rates = [dyn.stability.contraction_rates(rounds) for rounds in pairs[0]]
    assert [r.statement for r in rates[0]] == [r.statement for r in rates[1]]
    assert rates[0]
    np.testing.assert_allclose([r.rate for r in rates[0]], [r.rate for r in rates[1]], rtol=1e-12)


PROMPTS = np.stack([random_matrix(4, seed) for seed in range(3)])
MAGNETS = np.stack([skewed(4, seed) for seed in range(3)])
ON_PROMPTS = {
    "mirror": lambda P, ref, **more: games.MirrorDescent(P, 0.7, 0.3, ref, **more),
    "magnetic": lambda P, ref, **more: games.MirrorDescent(P, 0.7, 0.3, ref, proximal=True, **more),
    "sppo": lambda P, ref, **more: games.SPPO(P, 0.7, **more),
    "nash-md": lambda P, ref, **more: games.NashMD(P, 0.7, 0.3, ref, **more),
    "extragradient": lambda P, ref, **more: games.Extragradient(P, 0.7, 0.3, ref, **more),
    "gradient": lambda P, ref, **more: games.OnlineGradient(P, 0.3, 0.3, ref, **more),
    "optimistic": lambda P, ref, **more: games.OptimisticMirrorDescent(P, 0.7, 0.3, ref, **more),
    "proximal point": lambda P, ref, **more: games.ProximalPoint(P, 0.3, **more),
}


@pytest.mark.thorough
@pytest.mark.parametrize("magnets", [MAGNETS, MAGNETS[0]], ids=["one for each", "one for all"])
@pytest.mark.parametrize("name", ON_PROMPTS)
def test_prompts_are_played_each_by_itself(name, magnets):
    make, weights = ON_PROMPTS[name], np.array([1.0, 2.0, 1.0])
    gap = lambda P: dyn.diagnostics.DualityGap(P, 0.3)
    game = make(PROMPTS, magnets, weights=weights)
    run = dyn.iterate(game, 30, initial=MAGNETS, measure=[gap(PROMPTS), "verdict"])
    for x, one in enumerate(game.prompts()):
        alone = make(PROMPTS[x], np.broadcast_to(magnets, MAGNETS.shape)[x])
        assert jax.tree.structure(one) == jax.tree.structure(alone)
        wanted = dyn.iterate(alone, 30, initial=MAGNETS[x], measure=gap(PROMPTS[x]))
        np.testing.assert_allclose(np.asarray(run.log_policy[:, x]), np.asarray(wanted.log_policy), atol=1e-13)
        np.testing.assert_allclose(
            np.asarray(run.values["duality_gap"][:, x]), np.asarray(wanted.values["duality_gap"]), atol=1e-13
        )
    mean = np.asarray(run.values["duality_gap"]) @ (weights / 4)
    np.testing.assert_allclose(np.asarray(run.values["mean_duality_gap"]), mean, atol=1e-15)


@pytest.mark.thorough
def test_prompts_in_stability_and_sweeps():
    game = games.Extragradient(PROMPTS, 0.7, 0.3, MAGNETS)
    found = dyn.stability.critical(game, "eta", (0.01, 40.0))
    alone = [
        dyn.stability.critical(games.Extragradient(P, 0.7, 0.3, ref), "eta", (0.01, 40.0))
        for P, ref in zip(PROMPTS, MAGNETS, strict=True)
    ]
    assert sorted((c.prompt, c.value) for c in found) == [(x, c.value) for x, each in enumerate(alone) for c in each]
    others = np.stack([PROMPTS, PROMPTS[::-1]])
    swept = dyn.sweep(
        game, over={"preference": others, "tau": [0.1, 0.5]}, rounds=20, initial=MAGNETS, measure="entropy"
    )
    for i, P in enumerate(others):
        for j, tau in enumerate((0.1, 0.5)):
            run = dyn.iterate(games.Extragradient(P, 0.7, tau, MAGNETS), 20, initial=MAGNETS, measure="entropy")
            np.testing.assert_allclose(swept.entropy.values[i, j], np.asarray(run.statistics["entropy"]), atol=1e-13)
    sizes = [random_matrix(K, K) for K in (3, 4, 5)]
    swept = dyn.sweep(games.NashMD(sizes[0], 0.5, 0.2), over={"preference": sizes}, rounds=10, measure="entropy")
    for P, entropy in zip(sizes, swept.entropy.values, strict=True):
        run = dyn.iterate(games.NashMD(P, 0.5, 0.2), 10, measure="entropy")
        assert float(run.statistics["entropy"]) == pytest.approx(entropy, abs=1e-13)


@pytest.mark.thorough
def test_equilibria_and_gaps_of_prompts():
    for tau, magnets in ((0.0, None), (0.1, MAGNETS), (0.1, MAGNETS[0])):
        found = games.nash(PROMPTS, tau, magnets)
        refs = [magnets] * 3 if magnets is None or magnets.ndim == 1 else magnets
        each = [games.nash(P, tau, ref) for P, ref in zip(PROMPTS, refs, strict=True)]
        for name in ("log_policy", "gap", "unique"):
            np.testing.assert_array_equal(getattr(found, name), [getattr(one, name) for one in each])
        if tau:
            gaps = games.duality_gap(np.stack([MAGNETS, MAGNETS[::-1]]), PROMPTS, tau, magnets)
            for x, ref in enumerate(refs):
                rows = np.stack([MAGNETS[x], MAGNETS[::-1][x]])
                np.testing.assert_allclose(
                    np.asarray(gaps[:, x]), np.asarray(games.duality_gap(rows, PROMPTS[x], tau, ref)), atol=1e-15
                )


def test_wrong_prompts_of_games_are_named():
    game = games.MirrorDescent(PROMPTS, 0.5, 0.2)
    gap = dyn.diagnostics.DualityGap
    for wrong, message in (
        (lambda: games.MirrorDescent(PROMPTS, 0.5, 0.2, MAGNETS[:2]), r"log_reference has shape \(2, 4\)"),
        (lambda: games.MirrorDescent(PROMPTS, 0.5, 0.2, weights=np.ones(2)), r"weights have shape \(2,\)"),
        (lambda: games.SPPO(PROMPTS[0], 0.5, weights=np.ones(3)), "weights are for several prompts"),
        (lambda: dyn.iterate(game, 5, measure=gap(PROMPTS[0])), r"one P for each prompt, \(3, K, K\)"),
        (lambda: dyn.iterate(game, 5, measure=gap(PROMPTS[:2])), r"one P for each prompt, \(3, K, K\)"),
        (lambda: dyn.iterate(games.SPPO(PROMPTS[0], 0.5), 5, measure=gap(PROMPTS)), "the run one prompt"),
        (
            lambda: dyn.sweep(game, over={"weights": np.ones((2, 3))}, rounds=5, measure="entropy"),
            "weights cannot be swept",
        ),
        (lambda: game.with_preference(PROMPTS[0]), "the same number of prompts"),
        (lambda: games.duality_gap(MAGNETS[0], PROMPTS), r"pass \(X, K\) or \(T, X, K\) with X = 3"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


def test_a_map_of_ones_own_gets_no_certificate_by_claiming_to_be_ipos():
    class Claims(dyn.RoundMap):
        preference: jax.Array

        def __call__(self, logits, key=None):
            return 2.0 * logits

        def as_rounds(self):
            return games.MirrorDescent(self.preference, 0.5, 0.5).as_rounds()

    assert dyn.rounds.canonical(Claims(jnp.asarray(CYCLE))) is None


@pytest.mark.parametrize("seed", range(6))
def test_the_lottery_solves_the_linear_programme(seed):
    K = 3 + seed
    P = random_matrix(K, seed)
    found = games.nash(P)
    p = np.exp(found.log_policy)
    plain = linprog(np.zeros(K), P - 0.5, np.zeros(K), np.ones((1, K)), [1.0], [(0, None)] * K)
    np.testing.assert_allclose(p, plain.x, atol=1e-8)  # of a random P the equilibrium is unique
    assert found.unique
    assert found.gap < 1e-12
    assert abs(p.sum() - 1) < 1e-14
    assert (p > 0).sum() % 2 == 1


def test_lotteries_that_are_not_unique_are_said():
    even = np.full((4, 4), 0.5)
    found = games.nash(even)
    assert not found.unique
    np.testing.assert_allclose(np.exp(found.log_policy), 0.25, atol=1e-9)
    winner = np.array([[0.5, 0.8, 0.9], [0.2, 0.5, 0.6], [0.1, 0.4, 0.5]])
    found = games.nash(winner)
    assert found.unique
    assert np.exp(found.log_policy).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("tau", [10.0, 0.3, 0.01])
def test_the_regularised_equilibrium_is_a_fixed_point_and_has_no_gap(tau):
    P, ref = random_matrix(5, 11), skewed(5, 12)
    found = games.nash(P, tau, ref)
    left = ref + P @ np.exp(found.log_policy) / tau - found.log_policy
    assert np.ptp(left) < 1e-12 * (1 + np.abs(found.log_policy).max())
    assert found.unique
    assert abs(found.gap) < 1e-13
    eta = 0.5 * min(tau, 1 / tau)
    fixed = dyn.iterate(games.MirrorDescent(P, eta, tau, ref), 4000, initial=ref).log_policy[-1]
    if tau >= 0.3:  # where this step is stable
        np.testing.assert_allclose(np.asarray(fixed), found.log_policy, atol=1e-9)


def test_the_gap_is_what_best_replies_gain():
    P, ref, tau = random_matrix(4, 5), skewed(4, 6), 0.3
    logs = np.stack([skewed(4, 20), skewed(4, 21)])
    gaps = np.asarray(games.duality_gap(logs, P, tau, ref))
    payoff = lambda q, p: q @ P @ p - tau * (q * (np.log(q) - ref)).sum() + tau * (p * (np.log(p) - ref)).sum()
    for log_p, gap in zip(logs, gaps, strict=True):
        p = np.exp(log_p)
        reply = np.exp(ref + P @ p / tau)
        reply /= reply.sum()
        assert gap == pytest.approx(2 * (payoff(reply, p) - payoff(p, p)), rel=1e-12)
    corner = jnp.array([0.0, -jnp.inf, -jnp.inf])
    assert float(games.duality_gap(corner, CYCLE)) == pytest.approx(2 * A)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: games.MirrorDescent(CYCLE, 0.0, 0.1), "eta = 0"),
        (lambda: games.MirrorDescent(CYCLE, 1.0, -0.1), "tau = -0.1"),
        (lambda: games.MirrorDescent(CYCLE, 3.0, 0.5), "eta tau = 1.5"),
        (lambda: games.NashMD(CYCLE, 3.0, 0.5), "eta tau = 1.5"),
        (lambda: games.OnlineGradient(CYCLE, 0.1, 0.0), "tau = 0"),
        (lambda: games.ProximalPoint(CYCLE, 0.0), "tau = 0"),
        (lambda: games.Extragradient(CYCLE, 0.1, 0.1, np.zeros(3)), "log_reference"),
        (lambda: games.nash(CYCLE, -1.0), "tau = -1"),
        (lambda: games.duality_gap(np.zeros(2), CYCLE), "log_policy"),
    ],
)
def test_bad_input_is_refused_by_name(make, told):
    with pytest.raises(ValueError, match=told):
        make()


@pytest.mark.thorough
def test_a_sweep_over_the_step_and_the_matrix():
    game = games.MirrorDescent(CYCLE, 1.0, 0.2)
    ds = dyn.sweep(game, {"eta": [1.0, 4.2, 4.4]}, rounds=3000, measure="verdict", initial=OFF, progress=False)
    assert [dyn.schema.VERDICTS[k] for k in ds.verdict.values] == ["converged", "converged", "oscillating"]


@pytest.mark.thorough
def test_the_gap_and_the_average_stream_through_a_run_and_a_sweep():
    """SPPO's policies circle for ever far from the equilibrium; their average comes near it."""
    P, start = jnp.asarray(CYCLE), jax.nn.log_softmax(jnp.array([0.3, 0.0, -0.3]))
    measures = [dyn.diagnostics.DualityGap(P), "log_average_policy"]
    run = dyn.iterate(games.SPPO(P, 1.0), 4000, initial=start, measure=measures)
    np.testing.assert_allclose(run.duality_gap, dyn.diagnostics.duality_gap(run.log_policy, P), atol=1e-14)
    np.testing.assert_allclose(
        np.exp(run.log_average_policy), np.exp(np.asarray(run.log_policy)).mean(axis=0), rtol=1e-11
    )
    np.testing.assert_array_equal(run.log_average_policy, dyn.diagnostics.log_average_policy(run.log_policy))
    late = dyn.diagnostics.log_average_policy(run.log_policy, burn_in=3000)
    np.testing.assert_allclose(np.exp(late), np.exp(np.asarray(run.log_policy[3000:])).mean(axis=0), rtol=1e-11)
    assert float(run.duality_gap[-1]) > 0.5
    assert float(games.duality_gap(run.log_average_policy, P)) < 0.02
    swept = dyn.sweep(
        games.MirrorDescent(P, 1.0, 0.1),
        {"eta": np.array([0.5, 1.0])},
        rounds=600,
        measure=[dyn.diagnostics.DualityGap(P, 0.1), "log_average_policy"],
        initial=start,
    )
    assert np.abs(swept.duality_gap.values).max() < 1e-12
    assert swept.log_average_policy.dims == ("eta", "response")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: dyn.diagnostics.DualityGap(CYCLE, -1.0), "tau = -1"),
        (
            lambda: dyn.iterate(games.SPPO(random_matrix(4, 1), 1.0), 3, measure=[dyn.diagnostics.DualityGap(CYCLE)]),
            "has 3 responses, the run 4",
        ),
        (lambda: dyn.diagnostics.DualityGap(CYCLE, 0.1, np.log([0.5, 0.5])), "log_reference"),
        (lambda: dyn.diagnostics.log_average_policy(np.log([[0.5, 0.5]]), burn_in=3), "burn_in = 3"),
        (lambda: dyn.diagnostics.AveragePolicy(-1), "burn_in"),
    ],
)
def test_measures_of_games_refuse_bad_input(make, told):
    with pytest.raises(ValueError, match=told):
        make()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("make", "path", "threshold"),
    [
        (lambda: games.MirrorDescent(CYCLE, 2.0, 0.05), "eta", 2 * 0.05 / (0.05**2 + OMEGA**2)),
        (lambda: games.Extragradient(CYCLE, 6.0, 0.05), "eta", 4.892351),
        (
            lambda: dyn.SelfSampling(CYCLE, dyn.ReverseKL(0.05, 0.1, "win-rate"), 1.0, 1.0),
            "objective.gamma",
            np.hypot(0.1, OMEGA) - 0.1,
        ),
    ],
)
def test_suggestions_answer_with_steps_and_with_entropy(make, path, threshold):
    """At alpha = 1 entropy is a remedy (7.16)."""
    found = {s.parameter: s for s in dyn.stability.suggest(make())}[path]
    assert found.threshold == pytest.approx(threshold, rel=1e-6)
    assert found.spectral_radius < 1


@pytest.mark.parametrize("tau", [0.0, 0.1, 1e12])
def test_equilibria_are_in_double_precision_whatever_jax_has(tau):
    rng = np.random.default_rng(5)
    upper = np.triu(rng.uniform(0.1, 0.9, (5, 5)), 1)
    P = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(5)
    with jax.enable_x64(False):
        found = dyn.games.nash(P, tau)
    p = np.exp(found.log_policy)
    assert found.gap < 1e-12
    if tau == 0:
        assert ((P - 0.5) @ p).max() < 1e-14
    else:
        left = (P - 0.5) @ p / tau - found.log_policy
        assert np.ptp(left) < 1e-12
    assert np.asarray(dyn.diagnostics.duality_gap(found.log_policy, P, tau)) < 1e-14 * max(1.0, tau * 1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(3))
def test_online_gradients_rest_at_the_regularised_equilibrium_only(seed):
    """z' - z is a multiple of p, so that near a face everything looks fixed."""
    rng = np.random.default_rng(100 * 4 + seed)
    upper = np.triu(rng.uniform(0.02, 0.98, (4, 4)), 1)
    P = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(4)
    z = dyn.games.nash(P, 0.3).log_policy
    radius = lambda eta: float(dyn.stability.spectral_radius(dyn.games.OnlineGradient(P, eta, 0.3), z))
    edge = brentq(lambda eta: radius(eta) - 1, 1e-2, 1e3)
    for eta in (0.1, 3.0):
        game = dyn.games.OnlineGradient(P, eta, 0.3)
        (crossing,) = dyn.stability.critical(game, "eta")
        assert crossing.value == pytest.approx(edge, rel=1e-6)
    (point,) = dyn.stability.analyze(dyn.games.OnlineGradient(P, 0.1, 0.3), rounds=100, max_rounds=100).fixed_points
    np.testing.assert_allclose(point.log_policy, z, atol=1e-8)


def test_single_precision_finds_no_step_that_is_stable_for_sppo():
    with jax.enable_x64(False):
        assert dyn.stability.critical(dyn.games.SPPO(dyn.preferences.cyclic(3, 0.4), 1.0), "eta") == ()


def test_a_game_may_not_begin_beyond_the_magnet_and_analysis_follows_its_equation_there():
    P, start = dyn.preferences.cyclic(3, 0.4), np.log([0.5, 0.3, 0.2])
    for kind in (dyn.games.MirrorDescent, dyn.games.NashMD):
        with pytest.raises(ValueError, match=r"eta tau = 1\.2 is above 1"):
            kind(P, 12.0, 0.1)
    # Online IPO at tau = .3 (8.3): (1 - eta tau)² + (eta omega)² = 1, omega = .4/(2√3) at the uniform policy.
    (crossing,) = dyn.stability.critical(dyn.games.MirrorDescent(P, 1.0, 0.3), "eta")
    assert crossing.value == pytest.approx(2 * 0.3 / (0.3**2 + 0.4**2 / 3), rel=1e-8)
    assert crossing.value > 1 / 0.3
    ds = dyn.sweep(
        dyn.games.MirrorDescent(P, 1.0, 0.3), {"eta": [4.0, 4.3]}, rounds=2000, measure="verdict", initial=start
    )
    assert dyn.schema.words(ds.verdict).values.tolist()[0] == "converged"
    assert dyn.schema.words(ds.verdict).values.tolist()[1] != "converged"


def test_entropy_is_suggested_where_no_parameter_of_ipo_suffices():
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.1), 1.0, 1.0)
    (found,) = dyn.stability.suggest(loop)
    assert (found.parameter, found.value) == ("gamma", 0.0)
    assert found.spectral_radius < 1
    # With an entropy the rounds are IPO's with alpha beta/(beta + gamma) and beta + gamma (7.16); 2.1 gives the threshold.
    assert found.threshold == pytest.approx(np.sqrt(0.1**2 + 0.4**2 / 3) - 0.1, rel=1e-6)
