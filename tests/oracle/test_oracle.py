"""The NumPy rounds against the compiled ones, which share no code with them: what agrees is right twice."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import dynamics as dyn
from dynamics import oracle
from dynamics._parameters import replace
from dynamics.schema import VERDICTS

KINDS = {"ipo": dyn.IPO, "dpo": dyn.DPO}
CYCLE = np.array([[0.5, 0.7, 0.3], [0.3, 0.5, 0.7], [0.7, 0.3, 0.5]])


def matrices(K, count, seed, scale=1.5):
    x = np.random.default_rng(seed).normal(0, scale, (count, K, K))
    upper = np.triu(1 / (1 + np.exp(-x)), 1)
    return upper + np.tril(1 - upper.swapaxes(1, 2), -1) + 0.5 * np.eye(K)


def skewed(K, seed):
    z = np.random.default_rng(seed).normal(size=K)
    return z - np.log(np.exp(z).sum())


def loop_of(P, kind, alpha, lam, beta, ref=None, offline=None):
    return dyn.SelfSampling(P, KINDS[kind](beta), alpha, lam, ref, offline)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("K", "alpha", "lam", "beta"), [(3, 0.5, 1.0, 0.3), (4, 0.9, 0.4, 0.2), (6, 1.0, 0.7, 1.0)])
def test_fifty_rounds_are_those_of_iterate(kind, K, alpha, lam, beta):
    ref, offline = skewed(K, 1), skewed(K, 2)
    stack = matrices(K, 3, K)
    rounds = oracle.Rounds(stack, kind, alpha, lam, beta, ref, offline)
    kept = oracle.run(rounds, np.tile(offline, (3, 1)), 50)
    for m, P in enumerate(stack):
        run = dyn.iterate(loop_of(P, kind, alpha, lam, beta, ref, offline), 50, initial=offline)
        mine = kept[:, m] - kept[:, m].max(axis=1, keepdims=True)
        mine = mine - np.log(np.exp(mine).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(mine, np.asarray(run.log_policy), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_closed_jacobian_is_that_of_differences_and_of_automatic_differentiation(kind):
    K, stack = 5, matrices(5, 2, 7)
    rounds = oracle.Rounds(stack, kind, 0.6, 0.8, 0.4, skewed(K, 1), skewed(K, 2))
    z = np.tile(skewed(K, 3), (2, 1))
    slope = rounds.slope(z)
    for k in range(K):
        step = 1e-6 * np.eye(K)[k]
        difference = (rounds.step(z + step) - rounds.step(z - step)) / 2e-6
        np.testing.assert_allclose(slope[:, :, k], difference, atol=2e-8)
    loop = loop_of(stack[0], kind, 0.6, 0.8, 0.4, skewed(K, 1), skewed(K, 2))
    # Conjugate pairs have real parts that differ by rounding only, so that no order of them is safe.
    theirs, mine = np.asarray(dyn.stability.eigenvalues(loop, z[0])), np.linalg.eigvals(slope[0])
    mine, theirs = (x[np.abs(x) > 1e-9] for x in (mine, theirs))
    gaps = np.abs(mine[:, None] - theirs)
    assert len(mine) == len(theirs)
    assert gaps[linear_sum_assignment(gaps)].max() < 1e-9


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("K", [2, 3, 6])
def test_fixed_points_radii_and_critical_betas_are_those_of_the_compiled_curves(kind, K):
    stack, ref, offline = matrices(K, 12, 10 + K), skewed(K, 4), skewed(K, 5)
    given = {"log_reference": ref, "log_offline": offline}
    beta, alphas = 0.35, np.array([0.0, 0.5, 0.9])
    for lam in (0.0, 0.6, 1.0):
        theirs = dyn.stability.spectral_radii(stack, KINDS[kind](beta), 0.5, lam, **given)
        mine = oracle.follow(stack, kind, [0.5], lam, [beta], **given)
        np.testing.assert_array_equal(mine.lost, theirs.status != 0)
        np.testing.assert_allclose(mine.radius[:, 0], theirs.radius, rtol=1e-9)
        there = theirs.log_policy - theirs.log_policy.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(mine.logits, there, atol=1e-9)
        edges = dyn.stability.critical_betas(stack, KINDS[kind], alphas, np.array([lam]), **given)
        found = oracle.follow(stack, kind, alphas, lam, np.full(3, edges.floor), **given)
        kept = edges.status[:, 0] == 0
        assert kept.sum() >= 8
        np.testing.assert_allclose(found.crossing[kept], edges.beta[kept, :, 0], rtol=1e-8, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_that_of_analyze(kind):
    for P, beta in ((CYCLE, 0.1), (CYCLE, 0.7), (matrices(4, 1, 3)[0], 0.3)):
        mine = oracle.answer(P, kind, 0.5, 1.0, beta)
        report = dyn.stability.analyze(loop_of(P, kind, 0.5, 1.0, beta))
        assert mine.verdict == report.verdict
        point = report.fixed_points[0]
        assert mine.spectral_radius == pytest.approx(point.spectral_radius, abs=1e-9)
        np.testing.assert_allclose(mine.log_fixed_point, point.log_policy, atol=1e-9)
        by_turn = lambda values: values[np.lexsort((values.real.round(6), values.imag.round(6)))]
        np.testing.assert_allclose(by_turn(mine.eigenvalues), by_turn(point.eigenvalues), atol=1e-9)
        crossings = dyn.stability.critical(loop_of(P, kind, 0.5, 1.0, beta), "beta")
        wanted = max((c.value for c in crossings), default=0.0)
        assert mine.critical_beta == pytest.approx(wanted, rel=1e-9)


@pytest.mark.thorough
def test_a_run_from_an_unstable_fixed_point_leaves_it():
    certain = np.array([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]])
    for P, alpha, lam, beta in ((certain, 1.0, 1.0, 0.2), (CYCLE, 1.0, 1.0, 1.0), (CYCLE, 0.5, 1.0, 0.1)):
        mine = oracle.answer(P, "ipo", alpha, lam, beta)
        report = dyn.stability.analyze(loop_of(P, "ipo", alpha, lam, beta))
        assert mine.verdict == report.verdict == "oscillating"
        assert (mine.spectral_radius is None) == (alpha == 1)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("alpha", "lam", "beta"), [(0.5, 1.0, 0.1), (1.0, 1.0, 1.0), (0.95, 0.8, 0.5)])
def test_verdicts_are_those_of_a_sweep(kind, alpha, lam, beta):
    stack = np.concatenate([matrices(3, 20, 1), CYCLE[None]])
    start = oracle.beside(np.full(3, -np.log(3)))
    start = start - np.log(np.exp(start).sum())
    mine = oracle.fates(oracle.Rounds(stack, kind, alpha, lam, beta), np.tile(start, (len(stack), 1)), 1500)
    loop = loop_of(CYCLE, kind, alpha, lam, beta)
    ds = dyn.sweep(loop, {"preference": stack}, measure=dyn.diagnostics.Verdict(), rounds=1500, initial=start)
    theirs = [VERDICTS[code] for code in ds.verdict.values]
    assert list(mine.verdict) == theirs
    assert len(set(theirs)) > 1


def test_the_rounding_of_files_and_of_float32_is_accepted_as_everywhere():
    off = CYCLE + 4e-10 * np.triu(np.ones((3, 3)), 1)
    dyn.preferences.check(off)
    assert oracle.answer(off, "ipo", 0.5, 1.0, 0.1).verdict == "oscillating"
    assert oracle.critical_beta(CYCLE.astype(np.float32), "dpo", 0.5, 1.0) == pytest.approx(0.53333, abs=1e-4)
    with pytest.raises(ValueError, match="add up to 1"):
        oracle.answer(CYCLE + 4e-9 * np.triu(np.ones((3, 3)), 1), "ipo", 0.5, 1.0, 0.1)


def test_a_window_of_instability_is_not_stepped_over():
    first = np.array([[0.5, 0.2911, 0.986], [0.7089, 0.5, 0.5535], [0.014, 0.4465, 0.5]])
    second = np.array([[0.5, 0.5279, 0.9672], [0.4721, 0.5, 0.1141], [0.0328, 0.8859, 0.5]])
    assert oracle.critical_beta(first, "ipo", 0.0, 1.0) == pytest.approx(0.0596631, abs=1e-7)
    assert oracle.critical_beta(second, "dpo", 0.0, 1.0) == pytest.approx(0.378317, abs=1e-6)


@pytest.mark.parametrize(
    ("alpha", "beta"), [(0.02020510264, 0.05300674), (0.02119458209, 0.05137366), (0.02120448203, 0.05121096)]
)
def test_narrow_windows_whose_radius_hardly_passes_one_are_found(alpha, beta):
    """Radii of at most 1 + 1e-3, 1 + 1e-5 and 1 + 1e-7, for which short steps alone do not suffice in the end."""
    P = np.array([[0.5, 0.2911, 0.986], [0.7089, 0.5, 0.5535], [0.014, 0.4465, 0.5]])
    assert oracle.critical_beta(P, "ipo", alpha, 1.0) == pytest.approx(beta, rel=1e-4)
    found = dyn.stability.critical_betas(P[None], dyn.IPO, [alpha], [1.0])
    assert found.beta[0, 0, 0] == pytest.approx(beta, rel=1e-4)


def test_a_vertex_is_reached_without_a_loss_of_digits():
    P = np.array([[0.5, 0.9, 0.8], [0.1, 0.5, 0.6], [0.2, 0.4, 0.5]])
    for kind in KINDS:
        loop = loop_of(P, kind, 1.0, 1.0, 0.5)
        mine = oracle.run(oracle.Rounds(P[None], kind, 1.0, 1.0, 0.5), np.zeros((1, 3)), 300)[-1, 0]
        theirs = np.asarray(dyn.iterate(loop, 300).log_policy[-1])
        np.testing.assert_allclose(mine - mine[0], theirs - theirs[0], rtol=1e-9)
        assert theirs[1] < -100


def test_it_does_not_load_jax():
    code = (
        "import sys, numpy as np, dynamics as dyn\n"
        "P = np.array([[.5, .7, .3], [.3, .5, .7], [.7, .3, .5]])\n"
        "print(dyn.oracle.answer(P, 'dpo', .5, 1., .3).verdict, sorted({'jax', 'equinox'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["oscillating", "[]"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"P": CYCLE}, "shape"),
        ({"P": CYCLE[None] + 0.1}, "add up to 1"),
        ({"P": np.array([[[0.5, 1.0], [0.0, 0.5]]]), "objective": "dpo"}, "0 or 1"),
        ({"P": np.full((1, 2, 2), np.nan)}, "probabilities"),
        ({"alpha": 1.5}, "alpha = 1.5"),
        ({"lam": -0.1}, "lam = -0.1"),
        ({"beta": 0.0}, "beta = 0.0"),
        ({"log_offline": np.array([0.0, -np.inf, -np.inf])}, "log_offline"),
    ],
)
def test_bad_input_is_refused_by_name(change, told):
    arguments = {"P": CYCLE[None], "objective": "ipo", "alpha": 0.5, "lam": 1.0, "beta": 0.1} | change
    with pytest.raises(ValueError, match=told):
        oracle.Rounds(**arguments)


@pytest.mark.thorough
def test_a_posterior_in_numpy_is_that_of_verdict_probability():
    from dynamics.cli import _draws

    wins = np.array([[0.0, 18, 12], [12, 0, 18], [18, 12, 0]])
    file = dyn.preferences.PreferenceSet([dyn.preferences.from_wins(wins)], counts=[wins + wins.T])
    for kind, beta in (("ipo", 0.05), ("dpo", 0.3)):
        mine = _draws.probability(file, 0, kind, 0.5, 1.0, beta, 300)
        options = {"one_sided": True, "key": jax.random.key(0), "draws": _draws.DRAWS, "rounds": 300}
        theirs = dyn.stability.verdict_probability(wins, KINDS[kind](beta), 0.5, 1.0, **options)
        assert mine.verdicts == theirs.verdicts
        assert mine.radius_quantiles == pytest.approx(theirs.radius_quantiles, rel=1e-9)
        assert (mine.unstable, mine.mean_verdict, mine.basis) == (theirs.unstable, theirs.mean_verdict, theirs.basis)


@pytest.mark.thorough
@pytest.mark.parametrize(("K", "scale", "spread"), [(5, 15.0, 30.0), (10, 6.0, 30.0), (3, 6.0, 3.0)])
def test_rewards_of_extreme_matrices_and_samplers_are_found(K, scale, spread):
    """Plain Newton steps leave for infinity on many of these; damped ones, from the start again, do not."""
    rng = np.random.default_rng(0)
    odds = np.triu(scale * rng.standard_normal((60, K, K)), 1)
    P = 1 / (1 + np.exp(np.clip(odds.transpose(0, 2, 1) - odds, -27, 27)))
    log_ref = spread * rng.standard_normal(K)
    log_ref -= log_ref.max()
    log_ref -= np.log(np.exp(log_ref).sum())
    rounds = oracle.Rounds(P, "dpo", 0.0, 1.0, 1.0, log_ref)
    mine = rounds.step(np.tile(rounds.reference, (60, 1)))
    loop = dyn.SelfSampling(P[0], dyn.DPO(1.0), 0.0, 1.0, log_reference=log_ref)
    theirs = np.asarray(jax.vmap(lambda p: replace(loop, {"preference": p})(jnp.asarray(log_ref)))(jnp.asarray(P)))
    theirs = theirs - theirs.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12 * np.abs(theirs).max())


class TestEverywhere:
    def test_thresholds_are_where_the_theorems_begin_to_apply(self):
        P = np.array([[0.5, 0.5, 1.0, 0.0], [0.5, 0.5, 0.0, 1.0], [0.0, 1.0, 0.5, 0.5], [1.0, 0.0, 0.5, 0.5]])
        for alpha, lam in ((0.0, 1.0), (0.5, 0.3), (0.99, 1.0)):
            found = oracle.everywhere(alpha, lam)
            for share, applies in ((1 + 1e-9, True), (1 - 1e-9, False)):
                inputs = {"P": P, "alpha": alpha, "lam": lam}
                bound = dyn.theorems.universal_convergence(**inputs, beta=share * found.proven)
                assert bound.applicable is applies
                even = np.full(4, -np.log(4))
                bound = dyn.theorems.universal_spectrum(**inputs, beta=share * found.local, log_pi=even)
                assert (bound.upper.max() < 1) == applies

    @pytest.mark.thorough
    @pytest.mark.parametrize(("alpha", "lam", "beta"), [(0.5, 1.0, 0.3), (0.9, 0.7, 0.5), (0.0, 1.0, 0.3179)])
    def test_the_tournament_that_is_named_is_the_smallest_unstable_one(self, alpha, lam, beta):
        found = oracle.everywhere(alpha, lam, beta)
        assert found.verdict == "depends"
        for K in (found.worst - 2, found.worst):
            if K < 3:
                continue
            P = dyn.theorems.source.circulant(K, 0.5, K // 2)
            loop = dyn.SelfSampling(P, dyn.IPO(beta), alpha, lam)
            assert (float(dyn.stability.spectral_radius(loop, loop.log_start())) > 1) == (found.worst == K)

    @pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.3), (1.0, 0.2), (0.9, 1.0)])
    def test_the_changes_that_are_enough_are_at_the_edge_of_the_theorems(self, alpha, beta):
        found, P = oracle.everywhere(alpha, 0.9, beta), dyn.theorems.source.circulant(3, 0.5, 1)
        D = 1.5  # of this matrix; the theorem's condition scales with lam D, the answers are for D = 2
        inputs = {"P": P, "alpha": alpha, "lam": 0.9, "beta": beta}
        for share, applies in ((1 + 1e-9, True), (1 - 1e-9, False)):
            at = {**inputs, "gamma": share * found.gamma, "lam": 0.9 * 2 / D} if 0.9 * 2 / D <= 1 else None
            if at is not None:
                assert dyn.theorems.entropy_remedy(**at).applicable is applies
        if found.enough_lam is not None:
            assert dyn.theorems.universal_convergence(
                P=P, alpha=alpha, lam=0.999 * found.enough_lam, beta=beta
            ).applicable
            more = min(1.0, 1.001 * found.enough_lam)
            assert not dyn.theorems.universal_convergence(P=P, alpha=alpha, lam=more, beta=beta).applicable
        if found.enough_alpha is not None:
            lower, higher = 0.999 * found.enough_alpha, min(0.9999, 1.001 * found.enough_alpha)
            assert dyn.theorems.universal_convergence(P=P, alpha=lower, lam=0.9, beta=beta).applicable
            assert not dyn.theorems.universal_convergence(P=P, alpha=higher, lam=0.9, beta=beta).applicable

    def test_below_the_entropy_that_is_needed_a_tournament_is_unstable(self):
        alpha, lam, beta = 1.0, 1.0, 0.2
        needed = oracle.everywhere(alpha, lam, beta).needed_gamma
        P = dyn.theorems.source.circulant(101, 0.5, 50)
        at = dyn.theorems.entropy_threshold(P=P, alpha=alpha, lam=lam, beta=beta)
        assert 0.999 * needed < float(at.upper) < needed

    def test_extreme_scales_neither_overflow_nor_underflow(self):
        assert oracle.everywhere(0.5, 1.0, 1e200).verdict == "converges"
        assert oracle.everywhere(0.5, 1.0, 1e-200).enough_alpha is None
        tiny = oracle.everywhere(0.5, 1e-199, 1e-200)
        assert tiny.gamma >= tiny.needed_gamma > 0
        edge = oracle.everywhere(0.5, 1.0)
        assert oracle.everywhere(0.5, 1.0, edge.local).verdict == "attracts"

    @pytest.mark.parametrize(
        ("change", "told"), [({"alpha": 2.0}, "alpha = 2"), ({"lam": -1.0}, "lam = -1"), ({"beta": 0.0}, "beta = 0")]
    )
    def test_bad_input(self, change, told):
        with pytest.raises(ValueError, match=told):
            oracle.everywhere(**({"alpha": 0.5, "lam": 1.0, "beta": 0.1} | change))
