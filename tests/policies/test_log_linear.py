"""Self-sampling of log-linear policies: the fit itself, its derivative, and everything that runs on rounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import dynamics as dyn
from dynamics import stability
from dynamics.objectives import _projected, exact_for
from dynamics.preferences import Pairs

OBJECTIVES = {"ipo": dyn.IPO, "dpo": dyn.DPO}
PHI = np.array([[1.0, 0.2], [-0.4, 1.0], [0.3, -1.1], [-0.9, 0.1], [0.0, -0.2]])


def matrix(K, seed=0, size=0.4):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.uniform(-size, size, (K, K)), 1)
    return 0.5 + upper - upper.T


def loop(kind="ipo", phi=PHI, P=None, alpha=0.5, lam=1.0, beta=0.1, **options):
    P = matrix(len(phi)) if P is None else P
    return dyn.SelfSampling(P, OBJECTIVES[kind](beta), alpha, lam, policy=dyn.LogLinear(phi), **options)


def pairwise_loss(kind, P, mu, h, beta):
    gap = h[:, None] - h[None, :]
    mass = mu[:, None] * mu[None, :]
    if kind == "ipo":  # in units of f = beta h
        return np.sum(mass * (P * (gap - 0.5) ** 2 + (1 - P) * (gap + 0.5) ** 2))
    return np.sum(mass * (P * np.logaddexp(0, -gap) + (1 - P) * np.logaddexp(0, gap)))


@pytest.mark.thorough
@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize("seed", range(4))
def test_a_round_minimises_the_pairwise_loss_in_theta(kind, seed):
    rng = np.random.default_rng(seed)
    P, beta, alpha = matrix(5, seed), 0.3, 0.4
    theta, theta_ref = rng.normal(size=2), rng.normal(size=2)
    policy = dyn.LogLinear(PHI)
    process = loop(kind, P=P, alpha=alpha, lam=0.7, beta=beta, log_reference=policy.log_policy(jnp.asarray(theta_ref)))
    z = PHI @ theta
    pi = np.exp(z - np.logaddexp.reduce(z))
    mu = 0.7 * pi + 0.3 / 5
    out = scipy.optimize.minimize(
        lambda w: pairwise_loss(kind, P, mu, PHI @ w, beta),
        np.zeros(2),
        method="Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-15, "maxiter": 4000},
    )
    expected = alpha * theta + (1 - alpha) * theta_ref + out.x / beta
    got = policy.theta(jax.nn.log_softmax(process(jnp.asarray(z))))
    np.testing.assert_allclose(got, expected, atol=1e-5)  # what a minimum tells of its place


@pytest.mark.thorough
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_identity_features_are_the_tabular_rounds(kind):
    P = 0.5 + 0.35 * np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0.0]])
    tabular = dyn.SelfSampling(P, OBJECTIVES[kind](0.2), 0.5, 0.9)
    linear = dyn.SelfSampling(P, OBJECTIVES[kind](0.2), 0.5, 0.9, policy=dyn.LogLinear(np.eye(3)))
    start = np.log([0.7, 0.2, 0.1])
    a, b = (dyn.iterate(p, 60, initial=start, measure=["entropy", "verdict"]) for p in (tabular, linear))
    np.testing.assert_allclose(a.log_policy, b.log_policy, atol=1e-10)
    np.testing.assert_allclose(stability.jacobian(tabular, start), stability.jacobian(linear, start), atol=1e-10)
    np.testing.assert_allclose(stability.eigenvalues(tabular, start), stability.eigenvalues(linear, start), atol=1e-10)
    found = [[c.value for c in stability.critical(p, "beta")] for p in (tabular, linear)]
    assert len(found[0]) == 1
    np.testing.assert_allclose(*found, rtol=1e-10)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_the_restricted_solver_agrees_with_the_tabular_one_where_nothing_is_restricted(kind):
    """The same numbers by the general path, also next to a vertex."""
    basis = dyn.LogLinear(np.eye(5)).basis()
    P, objective = matrix(5, 3), OBJECTIVES[kind](1.0)
    for scale in (1.0, 30.0, 300.0):
        log_mu = jax.nn.log_softmax(scale * jnp.array([0.3, -1.0, 0.2, 0.9, -0.2]))
        pairs = Pairs(jnp.asarray(P), log_mu, jnp.exp(log_mu))
        f, found = exact_for(objective, Pairs, free=False).solve(objective, pairs, basis, None)
        expected, _ = objective.solve(pairs, jnp.zeros(5))
        assert bool(found)
        np.testing.assert_allclose(f, expected - expected.mean(), atol=1e-9)


@pytest.mark.thorough
@given(
    seed=st.integers(0, 10_000), scale=st.sampled_from([0.0, 1.0, 40.0, 2000.0]), kind=st.sampled_from(["ipo", "dpo"])
)
def test_the_fit_is_stationary_at_every_level_of_weight(seed, scale, kind):
    """Against the same fit with 60 digits: next to a vertex the normal equations of doubles would be blind."""
    import mpmath

    rng = np.random.default_rng(seed)
    P, log_mu = matrix(4, seed), scale * rng.normal(size=4)
    log_mu -= np.logaddexp.reduce(log_mu)
    basis = np.asarray(dyn.LogLinear(rng.normal(size=(4, 2))).basis())
    pairs = Pairs(jnp.asarray(P), jnp.asarray(log_mu), jnp.exp(jnp.asarray(log_mu)))
    f, found = OBJECTIVES[kind](1.0).solve(pairs, jnp.zeros(4), jnp.asarray(basis))
    assert bool(found)
    with mpmath.workdps(60 + int(np.ptp(log_mu))):
        mu = [mpmath.exp(mpmath.mpf(x)) for x in log_mu]
        w = [mpmath.mpf(x) for x in basis.T @ np.asarray(f)]
        for _ in range(1 if kind == "ipo" else 6):
            H, g = mpmath.zeros(2), mpmath.zeros(2, 1)
            for i in range(4):
                for j in range(i):
                    row = [mpmath.mpf(basis[i, k]) - mpmath.mpf(basis[j, k]) for k in range(2)]
                    x = row[0] * w[0] + row[1] * w[1]
                    s = 1 / (1 + mpmath.exp(-x))
                    pull, curve = (P[i, j] - 0.5 - x, 1) if kind == "ipo" else (P[i, j] - s, s * (1 - s))
                    for a in range(2):
                        g[a] += mu[i] * mu[j] * pull * row[a]
                        for b in range(2):
                            H[a, b] += mu[i] * mu[j] * curve * row[a] * row[b]
            step = mpmath.lu_solve(H, g)
            w = [w[k] + step[k] for k in range(2)]
        exact = basis @ np.array([float(x) for x in w])
    np.testing.assert_allclose(f, exact, atol=1e-9 * (1 + np.abs(exact).max()), rtol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize("scale", [1.0, 25.0])
def test_jacobian_in_theta_is_a_finite_difference(kind, scale):
    process = loop(kind, lam=0.8, beta=0.3)
    policy = process.policy
    theta = scale * np.array([0.4, -0.7])
    J = np.asarray(stability.jacobian(process, policy.log_policy(jnp.asarray(theta))))
    assert J.shape == (2, 2)
    advance = lambda t: np.asarray(policy.theta(jax.nn.log_softmax(process(policy.logits(jnp.asarray(t))))))
    h = 1e-6
    numeric = np.stack([(advance(theta + h * e) - advance(theta - h * e)) / (2 * h) for e in np.eye(2)], axis=1)
    np.testing.assert_allclose(J, numeric, atol=2e-7)
    values = stability.eigenvalues(process, policy.log_policy(jnp.asarray(theta)))
    np.testing.assert_allclose(np.sort(np.abs(values)), np.sort(np.abs(np.linalg.eigvals(J))), atol=1e-12)


@pytest.mark.thorough
def test_derivatives_by_hyper_parameters_are_exact():
    from dynamics._parameters import replace

    process = loop("dpo", lam=0.8, beta=0.3)
    z = process.policy.logits(jnp.array([0.4, -0.7]))
    for name, value in (("lam", 0.8), ("objective.beta", 0.3), ("alpha", 0.5)):
        f = lambda v, name=name: replace(process, {name: v})(z)
        slope = jax.jacfwd(f)(jnp.asarray(value))
        np.testing.assert_allclose(
            slope, (f(jnp.asarray(value + 1e-6)) - f(jnp.asarray(value - 1e-6))) / 2e-6, atol=1e-7
        )
    with pytest.raises(NotImplementedError, match="features"):
        jax.grad(lambda phi: loop("ipo", phi=phi)(z).sum())(jnp.asarray(PHI))


@pytest.mark.thorough
def test_rank_deficient_features_are_named_and_change_nothing():
    wide = PHI @ np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    with pytest.warns(UserWarning, match="rank 2 of 3"):
        doubled = loop("dpo", phi=wide)
    plain = loop("dpo")
    a, b = (dyn.iterate(p, 20, initial=plain.policy.log_policy(jnp.array([1.0, 0.5]))) for p in (plain, doubled))
    np.testing.assert_allclose(a.log_policy, b.log_policy, atol=1e-10)
    start = np.asarray(plain.policy.log_policy(jnp.array([1.0, 0.5])))
    assert stability.jacobian(doubled, start).shape == (3, 3)
    np.testing.assert_allclose(stability.eigenvalues(plain, start), stability.eigenvalues(doubled, start), atol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["ipo", pytest.param("dpo", marks=pytest.mark.slow)])  # compiles for 20 s
def test_analysis_sweep_and_certificates_of_a_log_linear_loop(kind):
    """Two features of three responses on a circle keep the cycle; with one, the loop has nowhere to turn."""
    P = 0.5 + 0.35 * np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0.0]])
    line = loop(kind, phi=np.array([[1.0], [-1.0], [0.3]]), P=P, beta=0.02)
    initial = line.policy.log_policy(jnp.array([0.8]))
    report = stability.analyze(line, initial=initial, rounds=500, starts=8)
    assert report.certificate in ("none", "unstable at every fixed point found")
    assert report.contraction_rate is None
    assert len(report.fixed_points[0].eigenvalues) == 1
    for point in report.fixed_points:
        moved = np.asarray(line(jnp.asarray(point.log_policy)))
        assert np.abs(moved - moved.mean() - (point.log_policy - point.log_policy.mean())).max() < 1e-8
    ds = dyn.sweep(
        line, {"alpha": [0.1, 0.6], "beta": [0.05, 0.5]}, rounds=50, initial=initial, measure="final_entropy"
    )
    one = dyn.iterate(
        loop(kind, phi=np.array([[1.0], [-1.0], [0.3]]), P=P, alpha=0.6, beta=0.05),
        50,
        initial=initial,
        measure="entropy",
    )
    assert float(ds["final_entropy"].sel(alpha=0.6, beta=0.05)) == pytest.approx(float(one.entropy[-1]), abs=1e-10)


@pytest.mark.thorough
def test_a_policy_next_to_a_vertex_stays_finite():
    for kind in OBJECTIVES:
        sol = dyn.iterate(
            loop(kind, alpha=1.0, lam=1.0, beta=1e-3), 400, initial=dyn.LogLinear(PHI).log_policy(jnp.array([1.0, 1.0]))
        )
        assert np.isfinite(np.asarray(sol.log_policy)).all()
        assert float(sol.log_policy[-1].min()) < -1e3


def test_existence_within_the_features():
    P = np.array([[0.5, 1.0, 0.5], [0.0, 0.5, 0.5], [0.5, 0.5, 0.5]])
    apart = np.array([[1.0], [-1.0], [0.0]])
    assert dyn.SelfSampling(P, dyn.DPO(0.5), 0.5, 1.0, policy=dyn.LogLinear(apart)).basis().shape == (3, 1)
    certain = np.array([[0.5, 1.0, 1.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.5]])
    with pytest.raises(ValueError, match="raising response 0 over 2"):
        dyn.SelfSampling(certain, dyn.DPO(0.5), 0.5, 1.0, policy=dyn.LogLinear(np.array([[1.0], [0.0], [-1.0]])))
    against = np.array([[1.0], [2.0], [0.0]])  # 0 and 1 cannot both be raised as the certain wins ask for
    process = dyn.SelfSampling(certain, dyn.DPO(0.5), 0.5, 1.0, policy=dyn.LogLinear(against))
    assert np.isfinite(
        np.asarray(dyn.iterate(process, 5, initial=process.policy.log_policy(jnp.array([0.3]))).log_policy)
    ).all()


def test_bad_features_and_policies_off_the_class():
    cases = [
        (lambda: dyn.LogLinear(np.zeros((3, 0))), r"phi has shape \(3, 0\)"),
        (lambda: dyn.LogLinear(np.ones((3, 2))), "nothing to learn"),
        (lambda: dyn.LogLinear(np.array([[1.0], [np.nan]])), r"phi\[1, 0\] is not finite"),
        (lambda: loop(phi=np.ones((2, 5, 2)) * PHI), r"LogLinear has logits of shape \(2, 5\)"),
        (lambda: loop(P=matrix(4)), r"logits of shape \(5,\), preferences ask for \(4,\)"),
        (lambda: loop(log_reference=np.log([0.4, 0.3, 0.1, 0.1, 0.1])), "log_reference is .* nats off"),
        (lambda: dyn.iterate(loop(), 3, initial=np.log([0.4, 0.3, 0.1, 0.1, 0.1])), "initial is .* nats off"),
        (
            lambda: dyn.sweep(loop(), {"policy.phi": np.zeros((2, 5, 2))}, rounds=3, measure="entropy"),
            "cannot be swept",
        ),
        (lambda: dyn.Tabular(1), "K = 1"),
    ]
    for build, words in cases:
        with pytest.raises(ValueError, match=words):
            build()


def exact_fit(X, log_weight, target):
    """The weighted least squares from its normal equations, in as many digits as the weights span."""
    import mpmath

    with mpmath.workdps(60 + int(np.ptp(log_weight))):
        weight = [mpmath.exp(mpmath.mpf(float(x))) for x in log_weight]
        normal, rhs = mpmath.zeros(X.shape[1]), mpmath.zeros(X.shape[1], 1)
        for i, row in enumerate(X):
            for a in range(X.shape[1]):
                rhs[a] += weight[i] * mpmath.mpf(float(row[a])) * mpmath.mpf(float(target[i]))
                for b in range(X.shape[1]):
                    normal[a, b] += weight[i] * mpmath.mpf(float(row[a])) * mpmath.mpf(float(row[b]))
        return np.array([float(x) for x in mpmath.lu_solve(normal, rhs)])


def test_weights_far_apart_are_fitted_in_order():
    """Two parameters, three levels of weight: the heaviest two rows are met exactly, the third not at all."""
    X = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    w = _projected.weighted_fit(jnp.asarray(X), jnp.array([0.0, -900.0, -5000.0]), jnp.array([1.0, 5.0, -7.0]))
    np.testing.assert_allclose(w, [1.0, 4.0], rtol=1e-14)
    w = _projected.weighted_fit(jnp.asarray(X), jnp.array([-5000.0, -900.0, 0.0]), jnp.array([1.0, 5.0, -7.0]))
    np.testing.assert_allclose(w, [12.0, -7.0], rtol=1e-14)


@pytest.mark.parametrize("gap", [1.0, 15.0, 30.0, 60.0, 800.0])
def test_heavy_rows_that_cannot_all_be_met_do_not_spoil_a_light_one(gap):
    """Three heavy responses on a line in feature space, whose misfit is large, and one light response off it."""
    X = np.array([[1.0, 0, 0], [1, 1, 0], [1, 2, 0], [1, 0, 1]])
    log_weight, target = np.array([0.0, 0.0, -0.3, -gap]), np.array([0.0, 1.0, 0.0, 0.7])
    w = _projected.weighted_fit(jnp.asarray(X), jnp.asarray(log_weight), jnp.asarray(target))
    np.testing.assert_allclose(w, exact_fit(X, log_weight, target), atol=1e-14)


@pytest.mark.thorough
@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    shape=st.sampled_from([(8, 5), (16, 13)]),
    span=st.sampled_from([3.0, 30.0, 200.0, 4000.0]),
    whole=st.booleans(),
)
def test_the_fit_at_any_spread_of_weights_and_any_ties(seed, shape, span, whole):
    """Whole features make rows depend on each other exactly, which rounding must not hide."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-1, 3, shape).astype(float) if whole else rng.normal(size=shape)
    X[:, 0] = 1.0
    assume(np.linalg.matrix_rank(X) == shape[1])
    log_weight = -rng.uniform(0, span, shape[0]) * rng.integers(0, 2, shape[0]) - rng.uniform(0, 2, shape[0])
    target = rng.normal(size=shape[0])
    w = _projected.weighted_fit(jnp.asarray(X), jnp.asarray(log_weight), jnp.asarray(target))
    expected = exact_fit(X, log_weight, target)
    # Rounding of the target times what independent rows of whole features amplify.
    np.testing.assert_allclose(w, expected, atol=1e-11 * (1 + np.abs(expected).max()))


@pytest.mark.thorough
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_responses_never_sampled_count_as_the_limit_of_vanishing_mass(kind):
    P, phi = matrix(5, 4), np.array([[1.0, 0.2, 0], [-0.4, 1, 0], [0.3, -1.1, 0], [-0.9, 0.1, 1], [0, -0.2, -0.4]])
    start = dyn.LogLinear(phi).log_policy(jnp.array([0.3, -0.2, 0.1]))
    ends = []
    for empty in (-np.inf, -900.0):
        offline = np.array([np.log(0.5), np.log(0.3), np.log(0.2), empty, empty])
        process = loop(kind, phi=phi, P=P, lam=0.0, beta=0.4, log_offline=offline)
        ends.append(dyn.iterate(process, 3, initial=start).log_policy)
        assert np.isfinite(np.asarray(stability.jacobian(process, start))).all()
    np.testing.assert_allclose(*ends, atol=1e-12)


def test_existence_where_samples_leave_a_direction_open():
    """Response 2 is never sampled and beats both that are for certain: nothing holds it along its own feature."""
    P = np.array([[0.5, 0.6, 0.0, 0.5], [0.4, 0.5, 0.0, 0.5], [1.0, 1.0, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]])
    phi = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    offline = np.array([np.log(0.5), np.log(0.5), -np.inf, -np.inf])
    with pytest.raises(ValueError, match="raising response 2"):
        loop("dpo", phi=phi, P=P, lam=0.0, log_offline=offline)
    process = loop("dpo", phi=phi, P=np.clip(P, 0.01, 0.99), lam=0.0, log_offline=offline)
    assert np.isfinite(np.asarray(process(jnp.zeros(4)))).all()


@pytest.mark.slow
def test_a_cycle_seen_through_two_features_loses_stability_where_orbits_say_so():
    """The crossing, its kind and its side, against runs 3% to either side of it."""
    P = np.full((4, 4), 0.5)
    for i in range(3):
        P[i, (i + 1) % 3], P[(i + 1) % 3, i] = 0.85, 0.15
    P[3, 0], P[0, 3] = 0.6, 0.4
    phi = np.array([[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8], [0.1, 0.05]])
    process = loop("ipo", phi=phi, P=P, lam=0.9, beta=0.15)
    (crossing,) = stability.critical(process, "beta", bounds=(0.12, 0.2))
    assert (crossing.kind, crossing.criticality, crossing.direction) == (
        "Neimark–Sacker",
        "supercritical",
        "gains stability",
    )
    nearby = jax.nn.log_softmax(jnp.asarray(crossing.log_policy + phi @ np.array([0.05, 0.02])))
    moves = []
    for factor in (0.97, 1.03):
        there = loop("ipo", phi=phi, P=P, lam=0.9, beta=crossing.value * factor)
        tail = np.asarray(dyn.iterate(there, 2000, initial=nearby).log_policy)[-50:]
        moves.append(np.ptp(tail, axis=0).max())
    assert moves[0] > 0.05
    assert moves[1] < 1e-8
