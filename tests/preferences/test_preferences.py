"""`check`, the families of matrices, and `from_wins`."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamics import preferences

CYCLE = np.array([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])


def with_entry(i: int, j: int, value: float) -> np.ndarray:
    P = CYCLE.copy()
    P[i, j] = value
    return P


def triples(P: np.ndarray):
    """(P_ij, P_jk, P_ik) of all ordered triples of distinct responses."""
    return [(P[i, j], P[j, k], P[i, k]) for i, j, k in itertools.permutations(range(len(P)), 3)]


def is_weak(P: np.ndarray) -> bool:
    return all(c >= 0.5 for a, b, c in triples(P) if a >= 0.5 and b >= 0.5)


def is_strong(P: np.ndarray) -> bool:
    return all(c >= max(a, b) for a, b, c in triples(P) if a >= 0.5 and b >= 0.5)


def is_strict(P: np.ndarray) -> bool:
    tie_free = all(P[i, j] != 0.5 for i, j in itertools.combinations(range(len(P)), 2))
    return tie_free and all(c > max(a, b) for a, b, c in triples(P) if a > 0.5 and b > 0.5)


# check


@pytest.mark.parametrize("P", [CYCLE, CYCLE.tolist(), jnp.asarray(CYCLE), [[0.5, 1], [0, 0.5]]])
def test_check_returns_its_argument(P):
    assert np.array_equal(preferences.check(P), np.asarray(P))


def test_check_does_not_symmetrise_within_its_tolerance():
    P = with_entry(0, 1, 0.9 + 5e-10)
    assert np.array_equal(preferences.check(P), P)


@pytest.mark.parametrize(
    ("P", "message"),
    [
        (np.zeros((2, 3)), r"shape \(2, 3\)"),
        (np.full(4, 0.5), r"shape \(4,\)"),
        (np.full((2, 2, 2), 0.5), r"shape \(2, 2, 2\)"),
        ([[0.5]], r"K ≥ 2"),
        (np.zeros((0, 0)), r"K ≥ 2"),
        ([[0.5, 1.0], [0.0]], "different lengths"),
        (CYCLE.astype(complex), "complex128"),
        (CYCLE.astype(str), "real numbers"),
        (with_entry(1, 2, np.nan), r"P\[1, 2\] = nan is not finite"),
        (with_entry(2, 0, -np.inf), r"P\[2, 0\] = -inf is not finite"),
        (with_entry(1, 0, -1e-6), r"P\[1, 0\] = .* is outside \[0, 1\]"),
        (with_entry(0, 1, np.nextafter(1, 2)), r"P\[0, 1\] = .* is outside \[0, 1\]"),
        (with_entry(2, 2, 0.5 + 1e-8), r"P\[2, 2\] = .* diagonal"),
        (with_entry(1, 2, 0.9 + 2e-9), r"P\[1, 2\] \+ P\[2, 1\] = 1\.000000002, not 1"),
        (with_entry(2, 1, 0.3), r"P\[1, 2\] \+ P\[2, 1\] = 1\.2, not 1"),
    ],
)
def test_check_names_the_first_bad_entry(P, message):
    with pytest.raises(ValueError, match=message) as caught:
        preferences.check(P)
    assert str(caught.value).count(". ") == 0


def test_check_of_a_traced_matrix_looks_at_its_shape_only():
    assert np.array_equal(jax.jit(preferences.check)(jnp.ones((3, 3))), np.ones((3, 3)))
    with pytest.raises(ValueError, match="square"):
        jax.jit(preferences.check)(jnp.ones((3, 2)))
    with pytest.raises(ValueError, match="K ≥ 2"):
        jax.jit(preferences.check)(jnp.ones((1, 1)))


@pytest.mark.filterwarnings("ignore:JAX runs in float32")
def test_check_in_single_precision():
    with jax.enable_x64(False):
        # Looked at before the cast: off by 1e-8 in float64, invisible in float32.
        with pytest.raises(ValueError, match="not 1"):
            preferences.check(with_entry(0, 1, 0.9 + 1e-8))
        assert preferences.check(CYCLE).dtype == jnp.float32
    rounded = CYCLE.astype(np.float32)
    rounded[0, 1] += 1.5e-7
    assert preferences.check(rounded).dtype == jnp.float64
    rounded[0, 1] += 1e-6
    with pytest.raises(ValueError, match="not 1"):
        preferences.check(rounded)


# families


@pytest.mark.parametrize("K", [2, 3, 4, 5, 8, 9])
def test_cyclic_is_the_circle(K):
    P = np.asarray(preferences.check(preferences.cyclic(K, 0.3)))
    for i in range(K):
        beaten = {(i + step) % K for step in range(1, (K - 1) // 2 + 1)}
        assert set(np.flatnonzero(P[i] == 0.8)) == beaten
        assert P[i, i] == 0.5
        assert K % 2 or P[i, (i + K // 2) % K] == 0.5
    assert np.array_equal(P, np.roll(P, (1, 1), (0, 1)))


@pytest.mark.parametrize(("K", "advantage"), [(1, 0.1), (0, 0.1), (3, 0.0), (3, -0.1), (3, 0.51), (3, np.nan)])
def test_cyclic_refuses(K, advantage):
    with pytest.raises(ValueError, match=r"K = |advantage = "):
        preferences.cyclic(K, advantage)


def test_cyclic_with_a_traced_advantage():
    slope = jax.jacobian(lambda a: preferences.cyclic(3, a))(0.25)
    assert np.array_equal(slope, [[0, 1, -1], [-1, 0, 1], [1, -1, 0]])


@given(scores=st.lists(st.floats(-350, 350), min_size=2, max_size=6))
def test_bradley_terry_keeps_relative_precision(scores):
    P = np.asarray(preferences.check(preferences.bradley_terry(scores)))
    gap = np.subtract.outer(scores, scores)
    small = np.exp(-np.abs(gap)) / (1 + np.exp(-np.abs(gap)))
    np.testing.assert_allclose(P, np.where(gap <= 0, small, 1 - small), rtol=1e-15)
    np.testing.assert_allclose(P + P.T, 1.0, rtol=0, atol=2.3e-16)


def test_bradley_terry_under_transformations():
    s = jnp.array([0.3, -1.0, 40.0])
    P = preferences.bradley_terry(s)
    np.testing.assert_allclose(jax.jit(preferences.bradley_terry)(s), P, rtol=1e-15)
    np.testing.assert_allclose(jax.vmap(preferences.bradley_terry)(jnp.stack([s, s]))[1], P, rtol=1e-15)
    slope = jax.jacobian(preferences.bradley_terry)(s)
    np.testing.assert_allclose(slope[0, 1], np.array([1.0, -1.0, 0.0]) * P[0, 1] * P[1, 0], rtol=1e-14)


@pytest.mark.parametrize("scores", [[1.0], [[1.0, 2.0]], [0.0, np.nan], [0.0, np.inf], ["a", "b"]])
def test_bradley_terry_refuses(scores):
    with pytest.raises(ValueError, match="scores"):
        preferences.bradley_terry(scores)


def many(family, K: int, **options) -> np.ndarray:
    keys = jax.random.split(jax.random.key(K), 200)
    return np.asarray(jax.vmap(lambda key: family(K, key=key, **options))(keys))


@pytest.mark.thorough
@pytest.mark.parametrize("K", [2, 3, 4, 6])
def test_strongly_transitive(K):
    for P in many(preferences.strongly_transitive, K):
        preferences.check(P)
        assert is_strict(P)
    for P in many(preferences.strongly_transitive, K, strict=False):
        preferences.check(P)
        assert is_strong(P)


def test_strongly_transitive_is_generic():
    """Neither family of one score per response: neither P nor logit P is additive, and labels carry no order."""
    P = many(preferences.strongly_transitive, 3)
    for form in (P - 0.5, np.log(P) - np.log1p(-P)):
        assert np.median(np.abs(form[:, 0, 1] + form[:, 1, 2] + form[:, 2, 0])) > 0.01
    winners = np.argmax(P.sum(axis=2), axis=1)
    assert set(winners) == {0, 1, 2}
    loose = [is_strict(p) for p in many(preferences.strongly_transitive, 3, strict=False)]
    assert 20 < sum(loose) < 180


@pytest.mark.parametrize("K", [3, 4, 6])
def test_transitive_is_weakly_but_not_strongly_so(K):
    for P in many(preferences.transitive, K):
        preferences.check(P)
        assert is_weak(P)
        assert not is_strong(P)


def test_random_is_uniform_above_the_diagonal():
    draws = jax.vmap(lambda key: preferences.random(3, key=key))(jax.random.split(jax.random.key(1), 4000))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        share = np.sort(np.asarray(draws[:, i, j]))
        # Kolmogorov–Smirnov distance of 4000 draws: above 1.95/√4000 with probability 1e-3, and the key is fixed.
        assert np.abs(share - np.arange(4000) / 4000).max() < 1.95 / np.sqrt(4000)
    preferences.check(draws[0])
    assert np.abs(np.corrcoef(np.asarray(draws[:, 0, 1]), np.asarray(draws[:, 1, 2]))[0, 1]) < 4 / np.sqrt(4000)


def test_random_families_refuse_small_sizes_and_repeat_by_key():
    key = jax.random.key(3)
    for family, least in ((preferences.random, 2), (preferences.transitive, 3), (preferences.strongly_transitive, 2)):
        with pytest.raises(ValueError, match=f"K ≥ {least}"):
            family(least - 1, key=key)
        assert np.array_equal(family(5, key=key), family(5, key=key))
        assert not np.array_equal(family(5, key=key), family(5, key=jax.random.key(4)))
        assert family(4, key=jax.random.PRNGKey(0)).shape == (4, 4)


# from_wins


def test_from_wins_is_the_share():
    P = np.asarray(preferences.from_wins([[0, 3, 1], [1, 0, 2], [0, 2, 0]]))
    assert np.array_equal(P, [[0.5, 0.75, 1.0], [0.25, 0.5, 0.5], [0.0, 0.5, 0.5]])


@given(wins=st.lists(st.integers(0, 10**6), min_size=6, max_size=6))
def test_from_wins_passes_check_and_orders_as_the_counts_do(wins):
    counts = np.zeros((3, 3))
    counts[~np.eye(3, dtype=bool)] = wins
    P = np.asarray(preferences.check(preferences.from_wins(counts, missing=0.5)))
    assert np.array_equal(P > 0.5, counts > counts.T)
    assert np.array_equal(P == 0.5, counts == counts.T)


def test_from_wins_missing_pairs():
    counts = [[0, 2, 0], [1, 0, 1], [0, 1, 0]]
    with pytest.raises(ValueError, match=r"counts\[0, 2\] and counts\[2, 0\] are both 0"):
        preferences.from_wins(counts)
    assert preferences.from_wins(counts, missing=0.5)[0, 2] == 0.5
    with pytest.raises(ValueError, match=r"missing = 0\.4"):
        preferences.from_wins(counts, missing=0.4)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([[0, 1], [-1, 0]], r"counts\[1, 0\] = -1 is negative"),
        ([[0, np.nan], [1, 0]], r"counts\[0, 1\] = nan is not finite"),
        ([[0, 1], [np.inf, 0]], r"counts\[1, 0\] = inf is not finite"),
        ([[0, 1e300], [1, 0]], r"counts\[0, 1\] = 1e\+300 is above"),
        ([[0, 1], [1, 3]], r"counts\[1, 1\] = 3 is on the diagonal"),
        ([[0, 1, 2], [1, 0, 2]], "square"),
        ([[0]], "K ≥ 2"),
    ],
)
def test_from_wins_refuses(counts, message):
    with pytest.raises(ValueError, match=message):
        preferences.from_wins(counts, missing=0.5)


def test_host_functions_refuse_traced_arrays():
    for function in (preferences.from_wins, preferences.classify):
        with pytest.raises(ValueError, match="traced"):
            jax.jit(function)(jnp.full((2, 2), 0.5))
