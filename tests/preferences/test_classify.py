"""`classify` against definitions spelled out by enumeration, and against the properties stored with real data."""

from __future__ import annotations

import itertools
import json
import time

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from dynamics import preferences
from dynamics.preferences._bradley_terry import bradley_terry_fit

GRID = (0.0, 0.125, 0.25, 0.5, 0.5, 0.625, 0.75, 0.75, 1.0)


@st.composite
def matrices(draw, largest: int = 5):
    """Any P with K ≤ 5: entries off a grid rich in ties, zeros and equal values, or anywhere in [0, 1]."""
    K = draw(st.integers(2, largest))
    entry = draw(st.sampled_from([st.sampled_from(GRID), st.sampled_from((0.0, 1.0)), st.floats(0, 1)]))
    P = np.full((K, K), 0.5)
    for i, j in itertools.combinations(range(K), 2):
        P[i, j] = draw(entry)
        P[j, i] = 1 - P[i, j]
        # Once both are rounded, P_ij must be the share that 1 - P_ji is, as it is for all but the smallest floats.
        P[i, j] = 1 - P[j, i]
    return P


def proper_subsets(K: int):
    return (set(s) for size in range(1, K) for s in itertools.combinations(range(K), size))


def smith_set(P: np.ndarray) -> tuple[int, ...]:
    K = len(P)
    everyone = set(range(K))
    dominating = [s for s in proper_subsets(K) if all(P[i, j] > 0.5 for i in s for j in everyone - s)]
    return tuple(sorted(min([*dominating, everyone], key=len)))


def cycle_margin(P: np.ndarray) -> float:
    """The best over all simple cycles, each listed from its smallest response."""
    best = 0.0
    for size in range(3, len(P) + 1):
        for cycle in itertools.permutations(range(len(P)), size):
            weakest = min(P[i, j] - 0.5 for i, j in zip(cycle, cycle[1:] + cycle[:1], strict=True))
            best = max(best, weakest)
    return best


def transitivity(P: np.ndarray) -> str:
    edges = [(P[i, j], P[j, k], P[i, k]) for i, j, k in itertools.permutations(range(len(P)), 3)]
    chained = [(a, b, c) for a, b, c in edges if a >= 0.5 and b >= 0.5]
    if not all(c >= 0.5 for _, _, c in chained):
        return "none"
    if not all(c >= max(a, b) for a, b, c in chained):
        return "weak"
    tie_free = all(P[i, j] != 0.5 for i, j in itertools.combinations(range(len(P)), 2))
    strict = all(c > max(a, b) for a, b, c in edges if a > 0.5 and b > 0.5)
    return "strict strong" if tie_free and strict else "strong"


@settings(max_examples=300, deadline=None)
@given(P=matrices())
def test_against_enumeration(P):
    found = preferences.classify(P)
    K = len(P)
    winners = [i for i in range(K) if all(P[i, j] > 0.5 for j in range(K) if j != i)]
    assert found.condorcet_winner == (winners[0] if winners else None)
    assert found.smith_set == smith_set(P)
    assert found.transitivity == transitivity(P)
    assert found.cycle_margin == cycle_margin(P)
    assert found.has_cycle == (cycle_margin(P) > 0)
    assert found.bt_finite == all(any(P[i, j] > 0 for i in s for j in set(range(K)) - s) for s in proper_subsets(K))


@settings(max_examples=200, deadline=None)
@given(P=matrices())
def test_order_lists_layers_and_follows_a_transitive_majority(P):
    found = preferences.classify(P)
    assert sorted(found.order) == list(range(len(P)))
    rest = list(found.order)
    while rest:
        layer = smith_set(P[np.ix_(rest, rest)])
        assert layer == tuple(range(len(layer)))
        rest = rest[len(layer) :]
    if found.transitivity != "none":
        for earlier, later in itertools.combinations(found.order, 2):
            assert P[earlier, later] >= 0.5
            assert P[earlier, later] > 0.5 or all(
                P[earlier, k] == 0.5 for k in found.order[found.order.index(earlier) : found.order.index(later)]
            )


@settings(max_examples=100, deadline=None)
@given(P=matrices(6), data=st.data())
def test_relabelling(P, data):
    new = np.array(data.draw(st.permutations(range(len(P)))))
    old, found = preferences.classify(P), preferences.classify(P[np.ix_(new, new)])
    assert found.smith_set == tuple(sorted(np.flatnonzero(np.isin(new, old.smith_set)).tolist()))
    assert (None if found.condorcet_winner is None else new[found.condorcet_winner]) == old.condorcet_winner
    for name in ("transitivity", "has_cycle", "cycle_margin", "bt_finite"):
        assert getattr(found, name) == getattr(old, name)
    # Newton sums in another order.
    assert found.bt_residual == pytest.approx(old.bt_residual, abs=1e-11)
    copeland = (P > 0.5).sum(axis=1) + 0.5 * (P == 0.5).sum(axis=1)
    assert [copeland[new[i]] for i in found.order] == [copeland[i] for i in old.order]


@settings(max_examples=200, deadline=None)
@given(P=matrices(7))
def test_bradley_terry_fit_is_certified(P):
    """The likelihood is concave, so its score equations and the form σ(s_i - s_j) certify the maximum or its limit."""
    S = bradley_terry_fit(P)
    # Newton stops at a summed gradient of 1e-13 K.
    np.testing.assert_allclose(S.sum(axis=1), P.sum(axis=1), atol=1e-12)
    assert preferences.classify(P).bt_residual == np.abs(P - S).max()
    for i, j, k in itertools.permutations(range(len(P)), 3):
        # Additive log odds, as a polynomial identity that also holds at 0 and 1.
        assert S[i, j] * S[j, k] * S[k, i] == pytest.approx(S[j, i] * S[k, j] * S[i, k], abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), K=st.integers(2, 6))
def test_bradley_terry_residual_against_scipy(seed, K):
    P = np.asarray(preferences.random(K, key=jax.random.key(seed)))

    def loss(s):
        return np.sum(P * np.logaddexp(0, s[None, :] - s[:, None])) + s.sum() ** 2

    s = minimize(loss, np.zeros(K), method="BFGS", options={"gtol": 1e-9}).x
    residual = np.abs(P - 1 / (1 + np.exp(s[None, :] - s[:, None]))).max()
    # BFGS with numerical derivatives is right to about 1e-7.
    assert preferences.classify(P).bt_residual == pytest.approx(residual, abs=1e-5)


def test_bradley_terry_by_hand():
    assert preferences.classify(preferences.bradley_terry([0.0, 3.0, -5.0, 1.0])).bt_residual < 1e-14
    far = preferences.classify(preferences.bradley_terry([0.0, 30.0, -300.0, 500.0]))
    assert far.bt_finite
    # Newton stops at a summed gradient of 1e-13 K.
    assert far.bt_residual < 1e-12
    # A 3-cycle of margin a is fitted by all ties.
    assert preferences.classify(preferences.cyclic(3, 0.3)).bt_residual == pytest.approx(0.3, abs=1e-14)
    # One response beats a 3-cycle outright: in the limit those entries are met and the cycle's are ties.
    P = np.ones((4, 4))
    P[1:, 0] = 0.0
    P[0, 0] = 0.5
    P[1:, 1:] = preferences.cyclic(3, 0.2)
    found = preferences.classify(P)
    assert (found.bt_finite, found.condorcet_winner, found.transitivity, found.has_cycle) == (False, 0, "none", True)
    assert found.bt_residual == pytest.approx(0.2, abs=1e-14)


def test_families_are_what_they_say():
    for seed in range(5):
        key = jax.random.key(seed)
        assert preferences.classify(preferences.strongly_transitive(8, key=key)).transitivity == "strict strong"
        assert preferences.classify(preferences.transitive(8, key=key)).transitivity == "weak"
    five = preferences.classify(preferences.cyclic(5, 0.5))
    assert (five.transitivity, five.smith_set, five.cycle_margin) == ("none", (0, 1, 2, 3, 4), 0.5)
    tied = preferences.classify(np.full((3, 3), 0.5))
    assert (tied.transitivity, tied.order, tied.smith_set) == ("strong", (0, 1, 2), (0, 1, 2))


def test_text_names_what_was_found():
    text = str(preferences.classify(preferences.cyclic(3, 0.25)))
    assert "Condorcet winner" in text
    assert "0.25" in text
    assert "none" in text
    assert "response 1" in str(preferences.classify(preferences.bradley_terry([0.0, 1.0])))


@pytest.mark.parametrize("P", [[[0.5, 0.7], [0.7, 0.5]], [[0.5]], [[0.5, np.nan], [0.5, 0.5]]])
def test_bad_input(P):
    with pytest.raises(ValueError, match="P"):
        preferences.classify(P)


def test_forty_responses_take_milliseconds():
    P = preferences.random(40, key=jax.random.key(0))
    preferences.classify(P)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        preferences.classify(P)
        best = min(best, time.perf_counter() - start)
    assert best < 0.05


def disagreements(folder, most_per_family: int | None) -> list[str]:
    index = json.loads((folder / "preferences" / "index.json").read_text())
    differ = []
    for family in index["families"]:
        loaded = preferences.read(folder / "preferences" / family["npz"])
        for stored in family["matrices"][:most_per_family]:
            found = preferences.classify(loaded[stored["i"]])
            exact = {
                "condorcet_winner": found.condorcet_winner is not None,
                "smith_set_size": len(found.smith_set),
                "weakly_transitive": found.transitivity != "none",
                "strongly_transitive": found.transitivity in ("strong", "strict strong"),
                "majority_cycle": found.has_cycle,
                "bt_mle_finite": found.bt_finite,
            }
            # The index rounds margins to 5 digits after the point and residuals to 6.
            rounded = {"cycle_strength": (found.cycle_margin, 6e-6), "bt_max_abs_residual": (found.bt_residual, 1e-6)}
            differ += [f"{family['family']} {stored['i']} {k}" for k, v in exact.items() if v != stored[k]]
            differ += [
                f"{family['family']} {stored['i']} {k}: {v} against {stored[k]}"
                for k, (v, tolerance) in rounded.items()
                if abs(v - (stored[k] or 0.0)) > tolerance
            ]
    return differ


@pytest.mark.thorough
def test_real_data_sample(shared_data):
    assert disagreements(shared_data, 4) == []


@pytest.mark.slow
def test_real_data_all(shared_data):
    assert disagreements(shared_data, None) == []


@pytest.mark.parametrize("name", ["sub3_cyclic", "sub4_cyclic", "sub4_strictly_strongly_transitive"])
def test_real_submatrices(shared_data, name):
    for P in preferences.read(shared_data / "preferences" / f"{name}.npz")[:100]:
        found = preferences.classify(P)
        assert found.has_cycle == ("cyclic" in name)
        assert (found.transitivity == "strict strong") == ("cyclic" not in name)
