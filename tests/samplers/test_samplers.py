"""Fitted and skewed samplers: linear programs against the other player's side, targets that do not exist, lost orders."""

from __future__ import annotations

import warnings
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import problems
import pytest
import sampling_oracles
import scipy.optimize
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import dynamics as dyn
from dynamics import samplers, testing, theorems

FEW = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
# beartype looks at a random item of a container, which Hypothesis takes for randomness of the strategy's own.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

# Statement 1.5: from K = 4 on an order may be out of reach.
UNREACHABLE = problems.from_upper([0.57, 0.82, 0.51], [0.88, 0.61], [0.51])
TARGETS = ("condorcet", "smith", "order")


def quietly(P, target, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return samplers.fitted(P, target, **options)


def other_side(gaps):
    """min over y of max_k (y·gaps)_k, by an interior-point method: what no sampler can exceed."""
    m, K = gaps.shape
    scale = np.abs(gaps).max()
    found = scipy.optimize.linprog(
        np.append(np.zeros(m), 1.0),
        A_ub=np.hstack([gaps.T / scale, -np.ones((K, 1))]),
        b_ub=np.zeros(K),
        A_eq=np.append(np.ones(m), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * m + [(None, None)],
        method="highs-ipm",
    )
    y = np.maximum(found.x[:m], 0)
    return (y / y.sum() @ gaps).max()


@pytest.mark.parametrize("target", TARGETS)
def test_the_margin_is_the_value_of_the_game_and_at_least_gamma(target):
    kinds = ("weakly transitive", "strongly transitive") if target != "smith" else ("any", "cyclic")

    @FEW
    @given(st.sampled_from(kinds).flatmap(testing.preference_matrices))
    def check(P):
        exists = target != "condorcet" or oracles.condorcet_winner(P) is not None
        assume(exists)
        pairs = sampling_oracles.ordered_pairs(P, target)
        log_mu, margin = quietly(P, target)
        mu = np.exp(log_mu)
        assert mu.sum() == pytest.approx(1, abs=1e-14)
        if not pairs:
            assert margin == np.inf
            np.testing.assert_array_equal(log_mu, -np.log(len(P)))
            return
        gaps = sampling_oracles.row_gaps(P, pairs)
        # Of two bounds on one number the interior-point one is looser; it stops at 1e-8 of the largest difference.
        assert margin == pytest.approx(other_side(gaps), abs=1e-8)
        assert margin == pytest.approx((gaps @ mu).min(), abs=1e-14)
        if target != "order":
            assert margin >= min(P[i, j] for i, j in pairs) - 0.5 - 1e-10
        for objective, factor in (("ipo", 1), ("dpo", 4)):
            f = oracles.reward(P, np.asarray(log_mu), objective)
            assert sampling_oracles.least(f, pairs) >= factor * margin - 1e-9 or margin < 0

    check()


def test_the_example_of_the_theory_has_its_margin_and_its_certificate():
    with pytest.warns(UserWarning, match="no sampler keeps the majority order: the best margin is -0.0378"):
        fitted = samplers.fitted(UNREACHABLE, "order")
    assert fitted.margin == pytest.approx(-0.0378, abs=5e-5)
    gaps = sampling_oracles.row_gaps(UNREACHABLE, [(0, 1), (1, 2), (2, 3)])
    value, y = theorems.sampling.game_value(gaps)
    np.testing.assert_allclose(y, [0.683, 0, 0.317], atol=5e-4)
    assert value == pytest.approx(fitted.margin, abs=1e-10)
    assert "impossible: the best margin is -0.0378" in str(fitted)
    for target in ("condorcet", "smith"):
        assert samplers.fitted(UNREACHABLE, target).margin >= 0.01


@pytest.mark.parametrize("target", TARGETS)
def test_a_fitted_sampler_restores_its_target_in_a_round(target):
    P = problems.from_upper([0.55, 0.6, 0.9], [0.95, 0.7], [0.55])
    log_mu, margin = samplers.fitted(P, target, floor=0.02)
    assert margin > 0
    assert np.exp(log_mu).min() >= 0.02 - 1e-12
    for objective in (dyn.IPO(0.5), dyn.DPO(0.5)):
        f = np.asarray(objective.implicit_reward(P, log_mu))
        assert f.argmax() == 0
        if target == "order":
            assert (np.diff(f) < 0).all()
            # Uniform sampling does not keep this order, so the fit did something.
            assert (np.diff(objective.implicit_reward(P, np.log(np.full(4, 0.25)))) > 0).any()


def test_a_floor_costs_margin_and_may_cost_the_target():
    margins = [quietly(UNREACHABLE, "condorcet", floor=floor).margin for floor in (0.0, 0.01, 0.1, 0.2, 0.25)]
    assert (np.diff(margins) < 0).all()
    assert margins[3] > 0 > margins[4]
    with pytest.warns(UserWarning, match=r"every response at least 0.25 keeps .*; pass a smaller floor"):
        uniform = samplers.fitted(UNREACHABLE, "condorcet", floor=0.25).log_mu
    np.testing.assert_allclose(uniform, -np.log(4), rtol=1e-12)


def test_masses_that_are_zero_are_exactly_zero():
    log_mu, _ = samplers.fitted(UNREACHABLE, "condorcet")
    assert np.isneginf(log_mu).sum() == 2
    dyn.samplers.Fixed(log_mu)


def test_responses_that_tie_share_a_rank():
    P = problems.from_upper([0.5, 0.7, 0.8], [0.9, 0.6], [0.7])
    fitted = samplers.fitted(P, "order")
    gaps = sampling_oracles.row_gaps(P, [(0, 2), (1, 2), (2, 3)])
    assert fitted.margin == pytest.approx(other_side(gaps), abs=1e-9)
    nothing = samplers.fitted(np.full((3, 3), 0.5), "order")
    assert nothing.margin == np.inf
    assert "met by any sampler" in str(nothing)
    assert "kept by a margin" in str(fitted)


def test_at_three_responses_every_order_can_be_kept():
    rng = np.random.default_rng(0)
    for _ in range(50):
        P = problems.from_upper(list(rng.uniform(0.5, 1, 2) + 1e-6), [rng.uniform(0.5, 1) - 1e-6 + 2e-6])
        P = np.clip(P, 0, 1)
        assert samplers.fitted(P, "order").margin >= min(P[0, 1], P[1, 2]) - 0.5 - 1e-10


def test_renaming_the_responses_leaves_the_margin():
    order = np.array([2, 0, 3, 1])
    renamed = UNREACHABLE[np.ix_(order, order)]
    for target in TARGETS:
        assert quietly(renamed, target).margin == pytest.approx(quietly(UNREACHABLE, target).margin, abs=1e-10)


def test_nearly_tied_matrices_keep_their_relative_margin():
    margin = samplers.fitted(0.5 + 1e-9 * (UNREACHABLE - 0.5), "smith").margin
    assert margin == pytest.approx(1e-9 * samplers.fitted(UNREACHABLE, "smith").margin, rel=1e-5)


@pytest.mark.thorough
def test_the_smallest_orders_that_no_sampler_keeps_are_those_of_the_witness():
    """Every 4x4 majority order of fractions with denominator below 7, or 5 where certainty is allowed, can be kept."""
    for n in range(2, 7):
        assert not sampling_oracles.lost_orders(n, certain=False)
    for n in range(2, 5):
        assert not sampling_oracles.lost_orders(n, certain=True)
    for n, certain, advantage in ((7, False, Fraction(1, 14)), (5, True, Fraction(1, 10))):
        smallest = min(sampling_oracles.lost_orders(n, certain))
        numerators, value, y = smallest
        assert value == -advantage / 2
        assert y == [Fraction(1, 2), 0, Fraction(1, 2)]
        exact = np.array(sampling_oracles.fractions_of(numerators, n), float)
        np.testing.assert_allclose(theorems.lost_order.witness(4, float(advantage)), exact, atol=1e-15)
        assert quietly(exact, "order").margin == pytest.approx(float(value), abs=1e-10)


def test_a_maximal_lottery_loses_to_nobody():
    for seed in range(20):
        P = problems.matrix(6, seed)
        log_mu = theorems.top_sampler.witness(P)
        inside = sorted(oracles.smith_set(P))
        assert np.isneginf(np.delete(log_mu, inside)).all()
        assert (P[inside] @ np.exp(log_mu)).min() >= 0.5 - 1e-10


def test_the_certificate_is_exact():
    """y·(row r - row r+1) < 0 in every column: whatever the masses, one of the two pairs is reversed."""
    gaps = sampling_oracles.consecutive(sampling_oracles.fractions_of((4, 5, 4, 6, 5, 4), 7))
    columns = [(gaps[0][k] + gaps[2][k]) / 2 for k in range(4)]
    assert columns == [Fraction(-1, 28)] * 4


LOGS = np.log([0.2, 0.3, 0.5])


def test_skewing_by_nothing_changes_nothing():
    np.testing.assert_allclose(samplers.skew(LOGS, [2, 0, 1], 0.0), LOGS, atol=1e-15)


def test_skewing_tilts_by_rank():
    order = [2, 0, 1]
    mu = np.exp(samplers.skew(LOGS, order, 2.0))
    want = np.exp(LOGS) * np.exp([-1.0, -2.0, 0.0])
    np.testing.assert_allclose(mu, want / want.sum(), rtol=1e-14)


def test_skewing_more_dominates_skewing_less():
    @FEW
    @given(testing.samplers(), st.data())
    def check(log_mu, data):
        order = data.draw(st.permutations(range(len(log_mu))))
        amounts = sorted(data.draw(st.lists(st.floats(0, 100), min_size=2, max_size=2)))
        less, more = (np.exp(np.asarray(samplers.skew(log_mu, order, a)))[order] for a in amounts)
        assert (np.cumsum(more) >= np.cumsum(less) - 1e-12).all()
        np.testing.assert_array_equal(more == 0, np.exp(log_mu)[order] == 0) if amounts[1] < 1 else None

    check()


def test_what_is_never_sampled_stays_so():
    skewed = samplers.skew([-np.inf, np.log(0.5), np.log(0.5)], [0, 1, 2], 5.0)
    assert np.isneginf(skewed[0])
    assert np.exp(skewed).sum() == pytest.approx(1)


def test_skewing_differentiates_and_compiles():
    gap = lambda amount: jnp.exp(samplers.skew(LOGS, (0, 1, 2), amount))[0]
    step = 1e-6
    slope = (gap(1 + step) - gap(1 - step)) / (2 * step)
    assert jax.grad(gap)(1.0) == pytest.approx(float(slope), rel=1e-8)
    assert jax.jit(gap)(1.0) == pytest.approx(float(gap(1.0)), rel=1e-14)


def test_skewing_serves_statement_1_7():
    x = theorems.skewed_sampling.draw(jax.random.key(0), 1)[0]
    skewed = np.asarray(samplers.skew(x["log_mu"], x["order"], 1.0))
    assert theorems.skewed_sampling(**{**x, "log_mu_skewed": skewed}).applicable


# Finite samples: three errors that a proof of 7.4 could make, each refuted by runs.
CALM = {"P": np.full((2, 2), 0.5), "alpha": 0.0, "lam": 0.0, "beta": 1.0, "rounds": 1, "comparisons": 1000}


@pytest.mark.parametrize(
    ("what", "x", "share"),
    [
        ("no logarithm", {**CALM, "failure": 1e-3}, lambda K, T, delta, r: 1 / np.sqrt(np.log(2 * K * T / delta))),
        ("no √K", {**CALM, "P": np.full((16, 16), 0.5), "failure": 0.5}, lambda K, T, delta, r: 1 / np.sqrt(K)),
        (
            "errors do not add up",
            {**CALM, "alpha": 0.99, "rounds": 300, "failure": 0.5},
            lambda K, T, delta, r: 1 - r,
        ),
    ],
)
def test_runs_refute_a_finite_sample_bound_with_an_error(what, x, share):
    bound = theorems.finite_samples(**x)
    value = sampling_oracles.sampled(x)
    factor = share(len(x["P"]), x["rounds"], x["failure"], x["alpha"])
    assert value <= bound.upper
    assert value > factor * bound.upper, what


def test_finite_sample_errors_fall_with_the_root_of_the_comparisons():
    x = {**CALM, "P": problems.matrix(4, 3), "lam": 0.5, "failure": 0.1, "rounds": 5}
    errors = [sampling_oracles.sampled({**x, "comparisons": n}) for n in (100, 10_000)]
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.15)  # 600 runs each
    bounds = [theorems.finite_samples(**{**x, "comparisons": n}).upper for n in (100, 10_000)]
    assert bounds[0] / bounds[1] == pytest.approx(10, rel=1e-12)


def test_without_rounds_a_run_is_where_it_started():
    assert theorems.finite_samples(**{**CALM, "rounds": 0, "failure": 0.1}).upper == 0.0
