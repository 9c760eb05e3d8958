"""Statements on unseen samples: their edges, what breaks them, and the sample size they ask for."""

from __future__ import annotations

import math

import jax
import margin_oracles
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamics import theorems

ASKED = {"pairs": 1, "Q": 4, "d": 3, "l_b": 0.3, "v": 0.005, "seed": 0, "beta": 1.0}


@pytest.mark.parametrize(
    ("error", "roots"), [(1.0, (608.1, 680.6, 727.9)), (0.05, (763.4, 833.7, 879.8))], ids=("vacuous below", "5%")
)
def test_required_samples_of_one_four_and_ten_values(error, roots):
    assert [theorems.required_samples(K, error) for K in (1, 4, 10)] == [math.ceil(root) for root in roots]


@given(K=st.integers(1, 10**6), error=st.floats(1e-12, 1.0))
def test_required_samples_is_the_least_that_suffices(K, error):
    Q = theorems.required_samples(K, error)
    bound = lambda Q: math.exp(math.log(2 * K) + 2 * math.log(Q) - Q / 45)
    # 1e-12 for a root that is all but whole.
    assert bound(Q) <= error * (1 + 1e-12)
    assert bound(Q - 1) > error * (1 - 1e-12)


def test_required_samples_grow_like_45_log_K():
    Q = [theorems.required_samples(K, 0.05) for K in (10**3, 10**6, 10**9)]
    growth = np.diff(Q) / math.log(10**3)
    assert growth[1] < growth[0]
    assert 45 < growth[1] < 49


@pytest.mark.parametrize(
    ("K", "error", "words"),
    [(0, 0.1, "K = 0"), (2, 0.0, "error = 0.0"), (2, 1.5, "error = 1.5")],
)
def test_required_samples_name_what_is_wrong(K, error, words):
    with pytest.raises(ValueError, match=words):
        theorems.required_samples(K, error)


def test_noise_norms_are_as_small_as_promised():
    rng, delta, runs = np.random.default_rng(0), 0.3, 2000
    largest = np.linalg.norm(0.2 * rng.standard_normal((runs, 50, 3)), axis=2).max(axis=1)
    failures = (largest > theorems.noise_norm(0.2, 3, 50, delta)).sum()
    assert failures <= delta * runs
    # At half the radius it is no longer true: the formula is not merely large.
    assert (largest > theorems.noise_norm(0.2, 3, 50, delta) / 2).mean() > delta


@pytest.mark.parametrize(
    ("arguments", "words"), [((0.0, 3, 5, 0.1), "v"), ((0.1, 3, 5, 1.0), "delta"), ((0.1, 0, 5, 0.1), "d")]
)
def test_noise_norm_names_what_is_wrong(arguments, words):
    with pytest.raises(ValueError, match=f"^{words} = "):
        theorems.noise_norm(*arguments)


@pytest.mark.thorough
def test_accuracy_moves_where_the_shift_is_not_orthogonal():
    x = {"mean": np.array([1.0, 0.0]), "shift": np.array([2.0, 1.0]), "v": 1.0, "beta": 0.5, "time": 5.0}
    bound = theorems.gaussian_accuracy(**x)
    assert [name for name, holds in bound.assumptions.items() if not holds] == ["b ⟂ m"]
    first = margin_oracles.first_accuracy(x)
    later = margin_oracles.population_accuracy(x)
    assert first == pytest.approx(float(theorems.initial_accuracy(**{k: x[k] for k in ("mean", "shift", "v")}).upper))
    assert later > first + 0.05


def test_the_margin_bounds_of_the_paper_have_room():
    x = {**ASKED, "time": theorems.generalization.last_time(1, 1.0)}
    bound, r = theorems.value_margins(**x), margin_oracles.published_margins(x)
    assert bound.failure_probability is None
    assert r.min() / bound.lower[0] == pytest.approx(7.5, abs=0.7)
    assert bound.upper[0] / r.max() == pytest.approx(5.0, abs=0.5)
    # The floor and the ceiling at tau_1 are those of statement 4.1.
    assert bound.lower[0] == pytest.approx(math.log(3) / 40)
    assert bound.upper[0] == pytest.approx(math.log(3))


@pytest.mark.parametrize("name", ["value_margins", "nearly_orthogonal_margins"])
def test_loose_bounds_strengthened_by_twice_their_least_slack_are_refuted(name):
    drawn = theorems.all()[name].draw(jax.random.key(5), 25)
    pairs = [(theorems.all()[name](**x), margin_oracles.published_margins(x)) for x in drawn]
    slack = min(float((value / bound.lower - 1).min()) for bound, value in pairs)
    assert 4 < slack < 15
    assert any((value < bound.lower * (1 + 2 * slack)).any() for bound, value in pairs)


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"v": 0.1}, "v ≤ 1/(32 √Q)"),
        ({"l_b": 0.4}, "Z = 2 ≤ 1/(4 l_b²)"),
        ({"l_b": 0.2}, "1/4 ≤ l_b ≤ 1/2"),
        ({"d": 21}, "d ≤ 5Q"),
        ({"time": 0.3}, "time ≤ tau_1"),
    ],
)
def test_what_the_published_bounds_assume(change, missing):
    bound = theorems.value_margins(**{**ASKED, "time": 0.1, **change})
    assert [name for name, holds in bound.assumptions.items() if not holds] == [missing]


def test_the_error_bound_says_nothing_below_the_required_samples_and_something_above():
    x = {**ASKED, "v": 1e-4}
    needed = theorems.required_samples(1, 1.0)
    assert theorems.value_error(**{**x, "Q": needed - 1}).vacuous
    assert not theorems.value_error(**{**x, "Q": needed}).vacuous
    assert not theorems.value_error(**{**x, "Q": 39}).applicable
