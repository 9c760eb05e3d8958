"""Spectra, crossings, verdicts and certificates against oracles, closed forms and the examples of the statements."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import problems
import pytest
from problems import loop_of, oracle_inputs

import dynamics as dyn
from dynamics.stability import critical, find_fixed_points, first_crossing, jacobian, spectral_radius, suggest
from dynamics.stability._critical import criticality_of
from dynamics.stability._normal_form import first_lyapunov_coefficient
from dynamics.stability._space import space_of

IPO_DPO = [(dyn.IPO, 1.0), (dyn.DPO, 4.0)]


def regular(K: int, advantage: float) -> tuple[np.ndarray, float]:
    """The regular tournament on an odd K and its largest frequency a cot(pi/2K) (statement 2.1)."""
    return np.asarray(dyn.preferences.cyclic(K, advantage)), advantage / np.tan(np.pi / (2 * K))


def ring(K: int, advantage: float) -> tuple[np.ndarray, float]:
    """Each response beats the next and ties with the rest; largest frequency 2a max sin(2 pi k/K) (statement 2.1)."""
    P = np.full((K, K), 0.5)
    i = np.arange(K)
    P[i, (i + 1) % K] += advantage
    P[(i + 1) % K, i] -= advantage
    return P, 2 * advantage * np.sin(2 * np.pi * i / K).max()


@pytest.mark.thorough
@pytest.mark.parametrize("objective", ["ipo", "dpo"])
@pytest.mark.parametrize("K", [2, 3, 6])
@pytest.mark.parametrize("scale", [0.0, 1.0, 4.0])
def test_jacobian_matches_formula_and_differences(objective, K, scale):
    loop = loop_of(objective, K=K)
    log_pi = problems.log_policy(K, 3, scale)
    got = np.asarray(jacobian(loop, log_pi))
    inputs = oracle_inputs(loop)
    np.testing.assert_allclose(got, oracles.jacobian_fd(log_pi=log_pi, **inputs), atol=1e-10)
    inputs.pop("log_reference")
    np.testing.assert_allclose(got, oracles.jacobian_analytic(log_pi=log_pi, **inputs), atol=1e-12)
    np.testing.assert_allclose(got.sum(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(got.sum(axis=1), 0, atol=1e-13)


def test_jacobian_and_radius_under_jit_and_vmap():
    loop = loop_of("dpo", K=3)
    policies = jnp.stack([jnp.asarray(problems.log_policy(3, s)) for s in range(3)])
    many = jax.vmap(lambda p: spectral_radius(loop, p))(policies)
    np.testing.assert_allclose(many, [spectral_radius(loop, p) for p in policies], atol=1e-13)
    np.testing.assert_allclose(
        jax.jit(lambda p: jacobian(loop, p))(policies[0]), jacobian(loop, policies[0]), atol=1e-14
    )


@pytest.mark.thorough
@pytest.mark.parametrize("objective", ["ipo", "dpo"])
def test_fixed_points_match_the_oracle(objective):
    for seed in range(4):
        loop = loop_of(objective, K=4, seed=seed, beta=0.3)
        found = find_fixed_points(loop)
        assert all(point.residual < 1e-11 for point in found)
        want, residual = oracles.fixed_point(**oracle_inputs(loop))
        assert residual < 1e-11
        assert min(np.abs(point.log_policy - want).max() for point in found) < 1e-9
        if objective == "ipo":
            assert len(found) == 1  # statement 7.1


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "kappa"), IPO_DPO)
@pytest.mark.parametrize(
    ("shape", "alpha"),
    [
        ((regular, 3), 0.3),
        ((regular, 5), 0.8),
        ((ring, 4), 0.3),
        pytest.param((regular, 7), 0.3, marks=pytest.mark.slow),
        pytest.param((ring, 5), 0.8, marks=pytest.mark.slow),
        pytest.param((ring, 6), 0.3, marks=pytest.mark.slow),
    ],
)
def test_critical_beta_at_uniform_is_the_closed_form(kind, kappa, shape, alpha):
    """alpha² + (kappa lam w/(K beta))² = 1 to 1e-8 (statement 2.1)."""
    build, K = shape
    P, w = build(K, 0.3)
    want = kappa * 0.9 * w / (K * np.sqrt(1 - alpha**2))
    loop = dyn.SelfSampling(P, kind(2 * want), alpha, 0.9)
    crossing = first_crossing(loop, "beta", (want / 3, 3 * want), downward=True)
    assert abs(crossing.value / want - 1) < 1e-8
    assert crossing.kind == "Neimark–Sacker"
    assert crossing.direction == "gains stability"
    eigenvalue = complex(alpha, np.sqrt(1 - alpha**2))
    assert abs(crossing.rotation_number - np.angle(eigenvalue) / (2 * np.pi)) < 1e-8


@pytest.mark.parametrize(("kind", "kappa"), IPO_DPO)
def test_critical_lists_the_crossings_of_each_parameter(kind, kappa):
    P = dyn.preferences.cyclic(3, 0.2)
    beta, alpha, lam = 0.3, 0.6, 0.8
    loop = dyn.SelfSampling(P, kind(beta), alpha, lam)
    pull = kappa * 0.2 / (np.sqrt(3) * beta)

    def at(name):
        return [c.value for c in critical(loop, name)]

    np.testing.assert_allclose(at("beta"), [kappa * 0.2 * lam / (np.sqrt(3) * np.sqrt(1 - alpha**2))], rtol=1e-8)
    by_lam, by_alpha = np.sqrt(1 - alpha**2) / pull, 1 - (pull * lam) ** 2
    np.testing.assert_allclose(at("lam"), [by_lam] if by_lam < 1 else [], rtol=1e-8)
    np.testing.assert_allclose(at("alpha"), [np.sqrt(by_alpha)] if by_alpha > 0 else [], rtol=1e-8)


def test_criticality_of_the_normal_form_agrees_with_statement_7_5():
    for kind, kappa in IPO_DPO:
        for advantage, lam in [(0.2, 0.9), (0.4, 1.0), (0.45, 1.0), (0.49, 0.95)]:
            alpha = 0.5
            beta = kappa * advantage * lam / (np.sqrt(3) * np.sqrt(1 - alpha**2))
            loop = dyn.SelfSampling(dyn.preferences.cyclic(3, advantage), kind(beta), alpha, lam)
            closed, source = criticality_of(loop, space_of(loop), np.zeros(2))
            assert source.startswith("statement 7.5")
            coefficient = first_lyapunov_coefficient(loop, space_of(loop), np.zeros(2))
            assert (coefficient < 0) == (closed == "supercritical")
            # 7.5's rates for |w|², k² = 1 - alpha² at onset, in the scale of a unit eigenvector: one factor for both.
            k2 = 1 - alpha**2
            want = -k2 / 4 if kind is dyn.IPO else -k2 / 3 * (0.75 - 4 * (advantage * lam) ** 2)
            np.testing.assert_allclose(coefficient, want, rtol=1e-6)
    resonant = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.4 / np.sqrt(3)), 0.0, 1.0)
    assert first_lyapunov_coefficient(resonant, space_of(resonant), np.zeros(2)) is None


def test_a_fold_is_followed_around_and_named():
    """z' = z + (p + s - s³) along one direction: folds at p = ±2/(3√3), where the eigenvalue passes +1."""

    class Cubic(dyn.RoundMap):
        p: jax.Array

        @property
        def num_responses(self):
            return 2

        def __call__(self, logits, key=None):
            s = (logits[0] - logits[1]) / 2
            return logits + 0.1 * (self.p + s - s**3) * jnp.array([1.0, -1.0])

    crossings = critical(Cubic(jnp.asarray(0.0)), "p", bounds=(-1.0, 1.0))
    np.testing.assert_allclose([c.value for c in crossings], [-2 / (3 * np.sqrt(3)), 2 / (3 * np.sqrt(3))], rtol=1e-8)
    assert [c.kind for c in crossings] == ["fold", "fold"]
    assert [c.direction for c in crossings] == ["gains stability", "loses stability"]


def test_crossings_of_a_users_parameter_are_found_over_decades():
    """The gain g/(1 + (g/4)³) rises and falls, so stability is lost and regained between .01 and 100."""

    class Bump(dyn.RoundMap):
        preference: jax.Array
        gain: jax.Array

        def __call__(self, logits, key=None):
            strength = 3 * self.gain / (1 + (self.gain / 4) ** 3)
            return 0.5 * logits + strength * (self.preference - 0.5) @ jax.nn.softmax(logits)

    crossings = critical(Bump(dyn.preferences.cyclic(3, 0.4), jnp.asarray(1.0)), "gain", bounds=(1e-2, 1e2))
    assert [c.direction for c in crossings] == ["loses stability", "gains stability"]
    for c in crossings:
        strength = 3 * c.value / (1 + (c.value / 4) ** 3)
        np.testing.assert_allclose(0.25 + (strength * 0.4) ** 2 / 3, 1.0, rtol=1e-8)


@pytest.mark.thorough
def test_slow_convergence_is_not_called_oscillation():
    """rho = .999775: three thousand rounds look like a steady oscillation."""
    beta = np.sqrt(0.16 / (3 * 0.75)) * (1 + 3e-4)
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(beta), 0.5, 1.0)
    report = dyn.stability.analyze(loop, initial=np.log(np.array([0.33, 0.33, 0.34])), max_rounds=30_000)
    assert report.verdict in ("converged", "undecided"), str(report)


def test_a_flip_is_named():
    class Overshoots(dyn.RoundMap):
        gain: jax.Array

        @property
        def num_responses(self):
            return 2

        def __call__(self, logits, key=None):
            return -self.gain * jnp.tanh(logits - logits.mean())

    (crossing,) = critical(Overshoots(jnp.asarray(0.5)), "gain", bounds=(0.1, 2.0))
    assert crossing.kind == "flip"
    np.testing.assert_allclose(crossing.value, 1.0, rtol=1e-10)


def test_three_attractors_of_dpo_below_full_self_sampling():
    """Statement 7.1's example: uniqueness fails for DPO at lam < 1."""
    x = problems.TWO_ATTRACTORS
    loop = dyn.SelfSampling(x["P"], dyn.DPO(x["beta"]), x["alpha"], x["lam"], x["log_reference"], x["log_offline"])
    found = find_fixed_points(loop)
    assert sum(point.spectral_radius < 1 for point in found) >= 2
    assert all(point.residual < 1e-9 for point in found)


@pytest.mark.thorough
def test_local_stability_without_global_at_four_responses():
    x = problems.LOCAL_NOT_GLOBAL
    loop = dyn.SelfSampling(x["P"], dyn.IPO(x["beta"]), x["alpha"], x["lam"], x["log_reference"])
    report = dyn.stability.analyze(loop, starts=128)
    np.testing.assert_allclose(report.spectral_radius**2, 0.866, atol=5e-4)
    assert 0.4 < report.basins["oscillating"] < 0.85  # 66% of all starts; 64 of them here
    assert report.basins["converged"] > 0.1
    assert report.certificate == "none"


@pytest.mark.thorough
def test_vertices_at_alpha_one_follow_statement_2_2():
    P = problems.matrix(4, 3)
    log_offline = problems.log_policy(4, 4)
    beta, lam = 0.2, 0.6
    loop = dyn.SelfSampling(P, dyn.IPO(beta), 1.0, lam, log_offline=log_offline)
    vertices = [p for p in find_fixed_points(loop, 16) if p.vertex is not None]
    assert [p.vertex for p in vertices] == [0, 1, 2, 3]
    for point in vertices:
        mu = lam * np.eye(4)[point.vertex] + (1 - lam) * np.exp(log_offline)
        want = np.exp(np.delete(P @ mu - (P @ mu)[point.vertex], point.vertex) / beta)
        np.testing.assert_allclose(point.multipliers, want, rtol=1e-12)
    dpo = dyn.SelfSampling(P, dyn.DPO(beta), 1.0, 1.0)
    point = find_fixed_points(dpo, 16)[-1]
    want = np.exp(np.delete(np.log(P[:, 3] / P[3]), 3) / beta)
    np.testing.assert_allclose(point.multipliers, want, rtol=1e-12)


@pytest.mark.parametrize(
    ("alpha", "beta", "verdict", "certificate"),
    [
        (0.5, 1.0, "converged", "proven stable"),
        (0.5, 0.2, "oscillating", "proven unstable"),
        (1.0, 0.5, "oscillating", "unstable at every fixed point found"),
        (0.5, 0.28, "converged", "none"),  # between 7.2 and the linear threshold .2667
    ],
)
def test_verdicts_on_the_three_cycle(alpha, beta, verdict, certificate):
    report = dyn.stability.analyze(dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(beta), alpha, 1.0))
    assert (report.verdict, report.certificate) == (verdict, certificate), str(report)
    assert report.reason.endswith(".")
    assert report.to_dict()["verdict"] == verdict
    if verdict == "oscillating" and alpha < 1:
        assert abs(report.lyapunov_exponent) < 0.01
        assert 5 < report.period < 7


def test_collapse_comes_before_convergence():
    x = np.array([0.3, 0.0, -0.1])
    P = 0.5 + (x[:, None] - x[None, :])
    report = dyn.stability.analyze(dyn.SelfSampling(P, dyn.IPO(0.1), 1.0, 1.0))
    assert report.verdict == "collapsed"
    inside = dyn.stability.analyze(dyn.SelfSampling(P, dyn.IPO(0.1), 0.5, 1.0))
    assert (inside.verdict, inside.certificate) == ("converged", "proven stable")
    assert "7.6" in inside.certificate_reason or "7." in inside.contraction_rate.statement


@pytest.mark.thorough
def test_suggestions_make_it_stable():
    for kind in (dyn.IPO, dyn.DPO):
        loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), kind(0.2), 0.5, 1.0)
        suggestions = suggest(loop)
        assert suggestions
        assert [s.change for s in suggestions] == sorted(s.change for s in suggestions)
        for s in suggestions:
            assert s.spectral_radius < 1
    stable = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(5.0), 0.5, 1.0)
    assert suggest(stable) == ()


@pytest.mark.thorough
def test_a_report_does_not_depend_on_the_names_of_responses():
    loop = loop_of("ipo", K=4, seed=2, beta=0.05)
    order = np.array([2, 3, 0, 1])
    moved = problems.relabelled(loop, order)
    a, b = dyn.stability.analyze(loop, starts=16), dyn.stability.analyze(moved, starts=16)
    assert (a.verdict, a.certificate) == (b.verdict, b.certificate)
    np.testing.assert_allclose(a.spectral_radius, b.spectral_radius, atol=1e-10)


@pytest.mark.thorough
def test_verdicts_spectra_and_certificates_agree_on_random_loops():
    """What theory does not explain must not happen; a thousand loops in the slow set."""
    assert [line for line in compare(8, seed=0, sizes=(3,)) if not line.startswith("explained")] == []


@pytest.mark.slow
def test_verdicts_spectra_and_certificates_agree_on_a_thousand_random_loops():
    """Every disagreement is listed with ``-s``."""
    lines = compare(1000, seed=1)
    print(*lines, sep="\n")
    assert [line for line in lines if not line.startswith("explained")] == []


def compare(count: int, seed: int, sizes: tuple[int, ...] = (3, 4)) -> list[str]:
    """Every loop whose verdict contradicts its spectrum or certificate, with the statement that explains it, if one does.

    Oscillation beside an attracting fixed point is possible under IPO from K = 4 on (statement 7.2; open at K = 3) and
    under DPO (hysteresis, statement 7.5; several fixed points, statement 7.1).
    """
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        K = int(rng.choice(sizes))
        kind = dyn.IPO if rng.random() < 0.5 else dyn.DPO
        beta = float(np.exp(rng.uniform(np.log(0.03), np.log(2.0))))
        alpha, lam = float(rng.uniform(0, 0.95)), float(rng.uniform(0, 1))
        P = problems.matrix(K, int(rng.integers(1 << 30)))
        ref = problems.log_policy(K, int(rng.integers(1 << 30)))
        report = dyn.stability.analyze(dyn.SelfSampling(P, kind(beta), alpha, lam, ref, ref), starts=16)
        rho, moves = report.spectral_radius, report.verdict == "oscillating"
        proven = {"proven stable": False, "proven unstable": True}.get(report.certificate, moves)
        undecided = rho is None or abs(rho - 1) < 1e-3
        if report.verdict != "undecided" and proven == moves and (undecided or moves == (rho > 1)):
            continue
        bistable = moves and rho is not None and rho < 1 and proven and (kind is dyn.DPO or K >= 4)
        why = "explained (bistability)" if bistable else "UNEXPLAINED"
        found.append(
            f"{why} {i}: {kind.__name__} K={K} alpha={alpha:.6f} lam={lam:.6f} beta={beta:.6f} radius={rho} "
            f"{report.certificate}; {report.verdict}: {report.reason}"
        )
    return found


def test_an_orbit_on_a_closed_curve_neither_parts_nor_approaches():
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.1), 0.5, 1.0)
    report = dyn.stability.analyze(loop, np.log([0.5, 0.3, 0.2]), starts=2)
    assert report.verdict == "oscillating"
    told = dict(report.lines())["nearby runs"]
    assert told.startswith("keep their distance")
    assert 0 < abs(report.lyapunov_exponent) < 1e-3
    assert "0 to what this run resolves" in told
    settled = dyn.stability.analyze(
        dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.5), 0.5, 1.0), np.log([0.5, 0.3, 0.2]), starts=2
    )
    assert dict(settled.lines())["nearby runs"].startswith("approach")
